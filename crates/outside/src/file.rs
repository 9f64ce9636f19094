//! Lines of a file: appended whole and synced before they count as taken.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::SendError;

pub(crate) async fn append(path: &Path, line: &str) -> Result<(), SendError> {
    let (path, line) = (path.to_owned(), line.to_owned());
    let written = tokio::task::spawn_blocking(move || write(&path, &line)).await;
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(SendError::away(format_args!("the file can not be written: {error}"))),
        Err(_) => Err(SendError::away("writing the file was broken off")),
    }
}

fn write(path: &PathBuf, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut text = String::with_capacity(line.len() + 2);
    // Half a line of a process that died stays a line of its own.
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    text.push_str(line);
    text.push('\n');
    file.write_all(text.as_bytes())?;
    file.sync_data()
}
