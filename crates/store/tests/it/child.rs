//! Other processes for tests: this test binary again, told by its environment what to be.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::processes;

const ROLE: &str = "TOKENWATCH_STORE_TEST_ROLE";
const DIR: &str = "TOKENWATCH_STORE_TEST_DIR";
const FIRST: &str = "TOKENWATCH_STORE_TEST_FIRST";
/// Longest wait for a line of a child.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running child and what it says, line by line.
pub(crate) struct Helper {
    pub(crate) process: Child,
    lines: Receiver<String>,
}

/// Starts a child in `role` that works on `dir` and counts from `first`.
pub(crate) fn start(role: &str, dir: &Path, first: u64) -> Helper {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::child", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    let stdout: ChildStdout = process.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // A line that was cut off by a kill has no end mark, and the test harness's own have none.
            if let Some(said) = line.strip_suffix(';')
                && sender.send(said.to_owned()).is_err()
            {
                break;
            }
        }
    });
    Helper { process, lines }
}

impl Helper {
    /// The next line; `None` when the child has ended.
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("a child says nothing any more"),
        }
    }
}

/// Says a line to whoever started this child; a kill cuts it off whole or leaves it without its end mark.
pub(crate) fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line};\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "runs inside other tests"]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let dir = PathBuf::from(std::env::var(DIR).unwrap());
    let first = std::env::var(FIRST).unwrap().parse().unwrap();
    match role.as_str() {
        "everything" => processes::write_everything(&dir, first),
        "count" => processes::count_up(&dir, first),
        other => panic!("there is no role {other}"),
    }
}
