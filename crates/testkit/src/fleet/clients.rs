//! The real clients that keys are made from: requests in ten minutes, their spread, token sizes in six hours.
//!
//! Source: `alibaba/ServeGen`, see `data/README.md`. A client is one customer of one model. Windows with fewer than ten
//! requests are censored in the source; where the requests of the six hours are known, what is left of them is spread
//! evenly over the censored windows, elsewhere censored windows count as empty.
//!
//! Invariant: every client has [`WINDOWS`] windows and token sizes, its own or those of another client of its model.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;

use crate::traffic::DAYS;

mod own;

pub use own::{ClientTables, RowError, SizeField};

/// Windows of ten minutes in a day.
pub(crate) const WINDOWS_A_DAY: usize = 144;
/// Windows of ten minutes in the trace.
pub(crate) const WINDOWS: usize = WINDOWS_A_DAY * DAYS as usize;
/// Windows of ten minutes in six hours.
const WINDOWS_A_QUARTER: usize = 36;
/// Quarters of a day in the trace.
const QUARTERS: usize = WINDOWS / WINDOWS_A_QUARTER;
/// Quantiles of a token law, and where they stand.
const LEVELS: [f64; 25] = [
    0.0, 0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70,
    0.75, 0.80, 0.85, 0.90, 0.95, 0.99, 0.999, 1.0,
];
/// Most bytes an unpacked table may have.
const UNPACKED_MAX: u64 = 64 * 1024 * 1024;

static COUNTS: &[u8] = include_bytes!("../../data/servegen_counts.csv.gz");
static TOKENS: &[u8] = include_bytes!("../../data/servegen_tokens.csv.gz");

/// Why the tables can not be read. They are part of the binary, so this means a damaged build.
#[derive(Debug, thiserror::Error)]
pub enum ReadClientsError {
    /// Not a gzip file, or too large.
    #[error("the table of {table} can not be unpacked")]
    Unpack {
        /// Which table.
        table: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not of the expected form.
    #[error("line {line} of the table of {table} can not be read")]
    Line {
        /// Which table.
        table: &'static str,
        /// Counted from 1.
        line: usize,
    },
    /// No client of a model has token sizes.
    #[error("no client like {0} has token sizes")]
    NoTokens(String),
}

/// A law of token counts, as quantiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Law([f32; LEVELS.len()]);

impl Law {
    /// The value at `u` in `0..1`, straight between the known quantiles.
    pub(crate) fn at(&self, u: f64) -> f64 {
        let above = LEVELS.partition_point(|&level| level <= u).clamp(1, LEVELS.len() - 1);
        let (low, high) = (LEVELS[above - 1], LEVELS[above]);
        let (from, to) = (f64::from(self.0[above - 1]), f64::from(self.0[above]));
        from + (to - from) * ((u - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// Input and output sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sizes {
    pub(crate) input: Law,
    pub(crate) output: Law,
}

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    name: String,
    has_tokens: bool,
    /// Requests in each window.
    counts: Vec<f32>,
    /// Coefficient of variation of the gaps in each window.
    spreads: Vec<f32>,
    /// One for each quarter of a day; the nearest that is known where the source has none.
    sizes: Vec<Sizes>,
}

impl Client {
    /// Its name in the source, such as `m-large/49`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether token sizes are its own; 36 clients of the source have none and borrow another's.
    pub const fn has_tokens(&self) -> bool {
        self.has_tokens
    }

    /// Requests of the trace, censored ones as far as they are known.
    pub fn requests(&self) -> f64 {
        self.counts.iter().map(|&count| f64::from(count)).sum()
    }

    /// Days of the trace, counted from 0, with any request.
    pub fn active_days(&self) -> Vec<u64> {
        let days = self.counts.chunks(WINDOWS_A_DAY).zip(0..);
        days.filter(|(day, _)| day.iter().any(|&count| count > 0.0)).map(|(_, day)| day).collect()
    }

    /// Requests and spread of a window; none outside the trace.
    pub(crate) fn window(&self, window: usize) -> (f64, f64) {
        let of = |values: &[f32], other: f64| values.get(window).map_or(other, |&value| f64::from(value));
        (of(&self.counts, 0.0), of(&self.spreads, 1.0))
    }

    /// Sizes at a window.
    pub(crate) fn sizes(&self, window: usize) -> Option<&Sizes> {
        self.sizes.get((window / WINDOWS_A_QUARTER).min(QUARTERS - 1))
    }

    /// The largest 99.9 % point of output sizes.
    pub(crate) fn output_tail(&self) -> f64 {
        self.sizes.iter().map(|sizes| sizes.output.at(0.999)).fold(0.0, f64::max)
    }
}

/// Reads the clients in the binary, by name.
///
/// # Errors
///
/// When the build is damaged; see [`ReadClientsError`].
pub fn bundled() -> Result<Vec<Client>, ReadClientsError> {
    with_sizes(read_counts()?, &read_tokens()?, &BTreeMap::new())
}

/// Gives clients their sizes, and to those that have none another's: one of theirs, or where none has any one of `spare`.
fn with_sizes(
    mut clients: Vec<Client>,
    laws: &BTreeMap<String, Quarters>,
    spare: &BTreeMap<String, Quarters>,
) -> Result<Vec<Client>, ReadClientsError> {
    for client in &mut clients {
        let own = laws.get(&client.name);
        client.has_tokens = own.is_some_and(is_whole);
        if let Some(quarters) = own {
            spread_censored(client, quarters);
        }
    }
    let theirs = clients.iter().filter(|client| client.has_tokens).map(|client| client.name.clone());
    let mut lenders: Vec<(String, &Quarters)> =
        theirs.filter_map(|name| laws.get(&name).map(|quarters| (name, quarters))).collect();
    if lenders.is_empty() {
        lenders = spare.iter().map(|(name, quarters)| (name.clone(), quarters)).collect();
    }
    for (index, client) in clients.iter_mut().enumerate() {
        let own = laws.get(&client.name).filter(|_| client.has_tokens);
        let quarters = own.or_else(|| lent(&client.name, index, &lenders));
        client.sizes = filled(quarters.ok_or_else(|| ReadClientsError::NoTokens(client.name.clone()))?);
    }
    Ok(clients)
}

/// Whose sizes a client without any has: those of a client of its model, else of any, in turn, so that not all borrow from
/// one.
fn lent<'a>(name: &str, index: usize, lenders: &[(String, &'a Quarters)]) -> Option<&'a Quarters> {
    let model = |name: &str| name.split('/').next().map(str::to_owned);
    let alike: Vec<&Quarters> = lenders
        .iter()
        .filter(|(lender, _)| model(lender) == model(name))
        .map(|(_, quarters)| *quarters)
        .collect();
    let any = || lenders.get(index % lenders.len().max(1)).map(|(_, quarters)| *quarters);
    alike.get(index % alike.len().max(1)).copied().or_else(any)
}

/// Whether sizes can be drawn: some quarter has both laws.
fn is_whole(quarters: &Quarters) -> bool {
    quarters.values().any(|quarter| quarter.input.is_some() && quarter.output.is_some())
}

/// One quarter of a day: requests and sizes.
#[derive(Clone, Copy, Debug)]
struct Quarter {
    n: f32,
    input: Option<Law>,
    output: Option<Law>,
}

type Quarters = BTreeMap<usize, Quarter>;

fn filled(quarters: &Quarters) -> Vec<Sizes> {
    let known: Vec<(usize, Sizes)> = quarters
        .iter()
        .filter_map(|(&at, quarter)| Some((at, Sizes { input: quarter.input?, output: quarter.output? })))
        .collect();
    (0..QUARTERS)
        .filter_map(|at| known.iter().min_by_key(|(place, _)| place.abs_diff(at)))
        .map(|&(_, sizes)| sizes)
        .collect()
}

fn spread_censored(client: &mut Client, quarters: &Quarters) {
    for (&at, quarter) in quarters {
        let windows = at * WINDOWS_A_QUARTER..(at + 1) * WINDOWS_A_QUARTER;
        let Some(counts) = client.counts.get_mut(windows) else { continue };
        let visible: f32 = counts.iter().sum();
        let censored = counts.iter().filter(|&&count| count == 0.0).count();
        // A censored window has at most nine.
        let each = ((quarter.n - visible) / censored.max(1) as f32).clamp(0.0, 9.0);
        counts.iter_mut().filter(|count| **count == 0.0).for_each(|count| *count = each);
    }
}

fn unpack(packed: &[u8], table: &'static str) -> Result<String, ReadClientsError> {
    let mut text = String::new();
    GzDecoder::new(packed)
        .take(UNPACKED_MAX)
        .read_to_string(&mut text)
        .map_err(|source| ReadClientsError::Unpack { table, source })?;
    Ok(text)
}

fn read_counts() -> Result<Vec<Client>, ReadClientsError> {
    const TABLE: &str = "requests";
    let mut clients: BTreeMap<&str, Client> = BTreeMap::new();
    let text = unpack(COUNTS, TABLE)?;
    for (index, line) in text.lines().enumerate().skip(1) {
        let wrong = || ReadClientsError::Line { table: TABLE, line: index + 1 };
        let mut cells = line.split(',');
        let (name, field) = (cells.next().ok_or_else(wrong)?, cells.next().ok_or_else(wrong)?);
        let client = clients.entry(name).or_insert_with(|| Client {
            name: name.to_owned(),
            has_tokens: false,
            counts: vec![0.0; WINDOWS],
            spreads: vec![1.0; WINDOWS],
            sizes: Vec::new(),
        });
        let values = if field == "requests" { &mut client.counts } else { &mut client.spreads };
        for (window, cell) in cells.enumerate().filter(|(_, cell)| !cell.is_empty()) {
            *values.get_mut(window).ok_or_else(wrong)? = cell.parse().map_err(|_| wrong())?;
        }
    }
    Ok(clients.into_values().collect())
}

fn read_tokens() -> Result<BTreeMap<String, Quarters>, ReadClientsError> {
    const TABLE: &str = "tokens";
    let mut clients: BTreeMap<String, Quarters> = BTreeMap::new();
    let text = unpack(TOKENS, TABLE)?;
    for (index, line) in text.lines().enumerate().skip(1) {
        let (name, at, field, n, law) =
            parse_law(line).ok_or(ReadClientsError::Line { table: TABLE, line: index + 1 })?;
        let quarters = clients.entry(name.to_owned()).or_default();
        let quarter = quarters.entry(at).or_insert(Quarter { n, input: None, output: None });
        let place = if field == "in" { &mut quarter.input } else { &mut quarter.output };
        *place = Some(law);
    }
    Ok(clients)
}

fn parse_law(line: &str) -> Option<(&str, usize, &str, f32, Law)> {
    let mut cells = line.split(',');
    let (name, at, field) = (cells.next()?, cells.next()?.parse().ok()?, cells.next()?);
    let n = cells.next()?.parse().ok()?;
    let mut law = [0.0; LEVELS.len()];
    for value in &mut law {
        *value = cells.next()?.parse().ok()?;
    }
    (cells.next().is_none() && law.is_sorted()).then_some((name, at, field, n, Law(law)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_are_the_published_ones() {
        let clients = bundled().unwrap();
        assert_eq!(clients.len(), 163, "six of the 169 have no window with ten requests");
        assert_eq!(clients.iter().filter(|client| client.has_tokens()).count(), 127);
        for client in &clients {
            assert_eq!((client.counts.len(), client.sizes.len()), (WINDOWS, QUARTERS), "{}", client.name);
            assert!(client.spreads.iter().all(|&spread| spread > 0.0), "{}", client.name);
            assert!(client.requests() >= 10.0 && !client.active_days().is_empty());
        }
        let one = clients.iter().find(|client| client.name() == "m-large/1").unwrap();
        assert_eq!(one.window(31_800 / 600), (26.0, 1.0));
        assert!((one.requests() - 293_247.0).abs() < 100.0, "{}", one.requests());
        assert_eq!(one.sizes(36).unwrap().input.at(0.5), 339.0);
    }

    #[test]
    fn laws_are_read_between_their_points() {
        let mut points = [0.0_f32; LEVELS.len()];
        for (point, level) in points.iter_mut().zip(LEVELS) {
            *point = 1_000.0 * level as f32;
        }
        let law = Law(points);
        for u in [0.0, 0.005, 0.123, 0.5, 0.9995, 1.0] {
            assert!((law.at(u) - 1_000.0 * u).abs() < 0.01, "{u}: {}", law.at(u));
        }
    }
}
