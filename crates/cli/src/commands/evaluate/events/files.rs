//! Opening files of events: what they are is told by their first bytes, not by their names.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;
use tokenwatch_evaluate::record::Column;

/// How much is read at a time.
const BUFFER: usize = 256 * 1024;

/// A file's content.
pub(super) enum Content {
    /// Text, unpacked as it is read.
    Lines(Box<dyn BufRead + Send>),
    /// Parquet, which is read at places of its own choice.
    Parquet(File),
}

/// Counts what is read of the file itself.
struct Counted<R> {
    inner: R,
    bar: ProgressBar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

/// A file's name for people.
pub(super) fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

/// Opens a file of text, plain or gzip, or of Parquet; `-` is standard input.
pub(super) fn open(path: &Path, bar: &ProgressBar) -> anyhow::Result<Content> {
    let shown = || shown(path);
    if path.as_os_str() == "-" {
        return lines(Counted { inner: io::stdin(), bar: bar.clone() }).with_context(shown);
    }
    let mut file = File::open(path).with_context(shown)?;
    let mut magic = [0; 4];
    let read = read_up_to(&mut file, &mut magic).with_context(shown)?;
    file.seek(SeekFrom::Start(0)).with_context(shown)?;
    match magic.get(..read).unwrap_or_default() {
        b"PAR1" => Ok(Content::Parquet(file)),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            bail!("{}: compressed with zstd, which is not read here; unpack it or use gzip", shown())
        }
        _ => lines(Counted { inner: file, bar: bar.clone() }).with_context(shown),
    }
}

/// Text, unpacked when it begins as gzip does.
fn lines(file: impl Read + Send + 'static) -> anyhow::Result<Content> {
    let mut plain = BufReader::with_capacity(BUFFER, file);
    let is_gzip = plain.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(Content::Lines(if is_gzip {
        unmarked(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(plain)))
    } else {
        unmarked(plain)
    }?))
}

/// Text without the byte order mark that some editors and shells write before it.
fn unmarked(mut text: impl BufRead + Send + 'static) -> anyhow::Result<Box<dyn BufRead + Send>> {
    let mut start = [0; 3];
    let read = read_up_to(&mut text, &mut start)?;
    Ok(match start.get(..read).unwrap_or_default() {
        [0xef, 0xbb, 0xbf] => Box::new(text),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => bail!("text in UTF-16, which is not read here; write UTF-8"),
        start => Box::new(Cursor::new(start.to_vec()).chain(text)),
    })
}

fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Opens a small table: JSON lines or CSV, plain or gzip.
pub(super) fn open_table(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    match open(path, &ProgressBar::hidden())? {
        Content::Lines(lines) => Ok(lines),
        Content::Parquet(_) => bail!("{}: Parquet is not read here; write JSON lines or CSV", path.display()),
    }
}

/// The rows of a small table as field values by name; the first `needed` of the fields must be there. JSON lines when the
/// first byte that is not white space opens an object, CSV with a header otherwise. Fields that events have too may have
/// the other names that they have there. `row` gets the line's number and its error is given that number.
pub(in super::super) fn read_table(
    path: &Path,
    fields: &[&'static str],
    needed: usize,
    mut row: impl FnMut(&[Option<String>]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut reader = open_table(path)?;
    let first = reader.fill_buf()?.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(b'{') {
        return read_csv(path, reader, fields, needed, row);
    }
    for (index, line) in reader.lines().enumerate() {
        let shown = || format!("{}, line {}", path.display(), index + 1);
        let line = line.with_context(shown)?;
        if line.trim().is_empty() {
            continue;
        }
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&line).with_context(shown)?;
        let value = |name: &&'static str| match names_of(name).find_map(|name| object.get(name)) {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(serde_json::Value::String(text)) => Ok(Some(text.clone())),
            Some(other @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
                Ok(Some(other.to_string()))
            }
            Some(_) => bail!("field {name}: a list or object; write a text"),
        };
        let cells: Vec<Option<String>> =
            fields.iter().map(value).collect::<anyhow::Result<_>>().with_context(shown)?;
        if let Some(missing) =
            fields.iter().take(needed).find(|field| !names_of(field).any(|name| object.contains_key(name)))
        {
            bail!("{}: field {missing}: missing; write an object with {}", shown(), fields.join(", "));
        }
        row(&cells).with_context(shown)?;
    }
    Ok(())
}

/// A field's name, and what others call it.
fn names_of(field: &'static str) -> impl Iterator<Item = &'static str> {
    let aliases = Column::from_name(field).map(Column::aliases).unwrap_or_default();
    std::iter::once(field).chain(aliases.iter().copied())
}

fn read_csv(
    path: &Path,
    reader: Box<dyn BufRead + Send>,
    fields: &[&'static str],
    needed: usize,
    mut row: impl FnMut(&[Option<String>]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut csv = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(reader);
    let shown = || path.display().to_string();
    let headers = csv.headers().with_context(shown)?.clone();
    let place = |name| headers.iter().position(|header| header == name);
    let places: Vec<Option<usize>> = fields.iter().map(|field| names_of(field).find_map(place)).collect();
    if places.iter().take(needed).any(Option::is_none) {
        bail!("{}: the first line must name the columns, such as {}", shown(), fields.join(","));
    }
    for record in csv.records() {
        let record = record.with_context(shown)?;
        let cell = |place: &Option<usize>| {
            place.and_then(|place| record.get(place)).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let cells: Vec<Option<String>> = places.iter().map(cell).collect();
        let line = record.position().map_or(0, csv::Position::line);
        row(&cells).with_context(|| format!("{}, line {line}", path.display()))?;
    }
    Ok(())
}
