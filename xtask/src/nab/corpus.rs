//! Labelled series, read from a gzipped table.

use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, ensure};
use flate2::read::GzDecoder;
use tokenwatch_model::time::Timestamp;

/// Most bytes of an unpacked table.
const UNPACKED_MAX: u64 = 256 * 1024 * 1024;
/// Share of a series in which nothing is scored, and the length it is a share of at most.
const PROBATION: f64 = 0.15;
const PROBATION_OF_MAX: usize = 5_000;

/// One series.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Labelled {
    pub(super) name: String,
    pub(super) times: Vec<Timestamp>,
    pub(super) values: Vec<f64>,
    /// Places of the detection windows, in order.
    pub(super) windows: Vec<RangeInclusive<usize>>,
}

impl Labelled {
    /// Values at the start that detectors may learn from and that are not scored.
    pub(super) fn probation(&self) -> usize {
        (PROBATION * self.values.len().min(PROBATION_OF_MAX) as f64) as usize
    }

    /// Windows that do not lie in the probation as a whole.
    pub(super) fn scored_windows(&self) -> usize {
        self.windows.iter().filter(|window| *window.end() >= self.probation()).count()
    }

    fn push(&mut self, time: Timestamp, value: f64, in_window: bool) {
        let place = self.values.len();
        self.times.push(time);
        self.values.push(value);
        if !in_window {
            return;
        }
        match self.windows.last_mut() {
            Some(window) if window.end() + 1 == place => *window = *window.start()..=place,
            _ => self.windows.push(place..=place),
        }
    }
}

/// Reads a table; the rows of a series stand together, in order of time.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Labelled>> {
    let mut text = String::new();
    let unpacked = GzDecoder::new(std::fs::File::open(path)?).take(UNPACKED_MAX).read_to_string(&mut text)?;
    ensure!((unpacked as u64) < UNPACKED_MAX, "more than {UNPACKED_MAX} bytes unpacked");
    parse(&text)
}

fn parse(text: &str) -> anyhow::Result<Vec<Labelled>> {
    let mut corpus: Vec<Labelled> = Vec::new();
    for (index, line) in text.lines().enumerate().skip(1) {
        let (name, time, value, in_window) =
            parse_row(line).with_context(|| format!("line {}: {line}", index + 1))?;
        if corpus.last().is_none_or(|series| series.name != name) {
            corpus.push(Labelled { name: name.to_owned(), ..Labelled::default() });
        }
        corpus.iter_mut().next_back().context("no series")?.push(time, value, in_window);
    }
    ensure!(!corpus.is_empty(), "no rows");
    Ok(corpus)
}

fn parse_row(line: &str) -> anyhow::Result<(&str, Timestamp, f64, bool)> {
    let mut fields = line.split(',');
    let mut field = |name: &'static str| fields.next().with_context(|| format!("no {name}"));
    let name = field("series")?;
    let time = field("timestamp")?.replacen(' ', "T", 1) + "Z";
    let value = field("value")?.parse().context("value")?;
    Ok((name, time.parse().context("timestamp")?, value, field("in_window")? == "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_runs_of_marked_rows() {
        let rows = ["0", "1", "1", "0", "1"].iter().enumerate();
        let mut text = "series,timestamp,value,in_window,label\n".to_owned();
        for (i, mark) in rows {
            text += &format!("a/b,2014-04-01 00:0{i}:00,{i}.5,{mark},0\n");
        }
        text += "c,2014-04-01 00:00:00,1,0,0\n";
        let corpus = parse(&text).unwrap();
        assert_eq!(corpus.len(), 2);
        assert_eq!(corpus[0].windows, [1..=2, 4..=4]);
        assert_eq!(corpus[0].times[1].since(corpus[0].times[0]), 60_000_000);
        assert_eq!(corpus[1].values, [1.0]);
        assert!(parse("series\n").is_err());
        assert!(parse("series\na,yesterday,1,0,0\n").is_err());
    }

    #[test]
    fn the_probation_is_a_share_with_a_limit() {
        let of = |n: usize| Labelled { values: vec![0.0; n], ..Labelled::default() }.probation();
        assert_eq!((of(100), of(4_032), of(20_000)), (15, 604, 750));
    }
}
