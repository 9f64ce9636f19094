//! Everything the commands print: the one module that writes to the terminal.

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    ignore_closed_pipe(writeln!(std::io::stdout().lock(), "{text}"))
}

/// Prints a value as JSON on one line.
pub(crate) fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(value)?;
    let mut out = std::io::stdout().lock();
    ignore_closed_pipe(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// Prints data.
pub(crate) fn line(text: &str) {
    // A reader that has seen enough (`| head`) is not an error.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints control sequences as they are.
pub(crate) fn raw(text: &str) {
    let _ = write!(std::io::stdout().lock(), "{text}");
}

/// Says something to the person at the terminal.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Says what goes on, in place of what it said before; nothing ends it. Only to a person who watches.
pub(crate) fn progress(text: &str) {
    let mut out = std::io::stderr().lock();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
    }
}

/// Says what went wrong, with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
}

fn ignore_closed_pipe(written: std::io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether a person watches standard output.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Rows under headings, columns as wide as their widest cell; the last column is not padded.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let write_row = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            if !text.is_empty() {
                text.push_str("  ");
            }
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count().min(*width)));
        }
        text.trim_end().to_owned()
    };
    let mut lines = vec![write_row(&mut headings.iter().copied())];
    lines.extend(rows.iter().map(|row| write_row(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".to_owned(), "long cell".to_owned(), "x".to_owned()],
            vec!["bbb".to_owned(), "é".to_owned(), "y".to_owned()],
        ];
        assert_eq!(
            table(&["N", "NAME", "LAST"], &rows),
            "N    NAME       LAST\na    long cell  x\nbbb  é          y"
        );
    }
}
