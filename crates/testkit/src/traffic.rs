//! Real traffic: a bundled sample of production customers, their arrival times and token counts.
//!
//! Source: `alibaba/ServeGen`, commit `f891d1189eb3` (Apache-2.0; arXiv 2505.09999), thinned; the folder
//! `data/` says what was changed. Times and token counts are what the trace gives. The trace has no
//! addresses, clients or prompts: [`crate::persona`] simulates those.
//!
//! Invariant: the rows of a customer are in time order and lie within [`DAYS`] days.

use std::io::Read;

use flate2::read::GzDecoder;
use tokenwatch_model::key::Workload;

/// Milliseconds in a day.
pub const DAY_MS: u64 = 24 * 3_600_000;
/// Days the sample covers, from local midnight of day 0. Dates and weekdays are not published.
pub const DAYS: u64 = 11;
/// Days meant to be learned from; the rest is meant to be watched live.
pub const HISTORY_DAYS: u64 = 9;

/// Most bytes the unpacked sample may have: a damaged file must not fill the memory.
const UNPACKED_MAX: u64 = 16 * 1024 * 1024;

static BUNDLED: &[u8] = include_bytes!("../data/servegen_sample.csv.gz");

/// Who is in the sample: name, client in the source, workload that fits its rhythm, character.
const CUSTOMERS: [(&str, &str, Workload, &str); 8] = [
    ("steady", "m-large/49", Workload::Service, "runs round the clock at one level"),
    (
        "tides",
        "m-large/48",
        Workload::Pool,
        "day and night: ten times more at the peak than in the small hours",
    ),
    ("office", "m-large/56", Workload::Team, "working hours with a lunch break, and two quiet days in seven"),
    ("nightly", "m-mid/44", Workload::Ci, "a job at the same hours each day, silent half of the day"),
    (
        "growing",
        "m-small/16",
        Workload::Pool,
        "a daytime rhythm; from day 8 on three times as much, most of it at 02:00",
    ),
    (
        "bursty",
        "m-mid/22",
        Workload::Pool,
        "bursts of eight times its median hour, days that differ ninefold",
    ),
    ("peaks", "m-large/16", Workload::Service, "two scheduled peaks a day, some hours silent"),
    ("small", "m-mid/14", Workload::Service, "eight requests an hour around the clock"),
];

/// One request of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Milliseconds since midnight of day 0.
    pub t_ms: u64,
    /// Input tokens.
    pub input_tokens: u32,
    /// Output tokens.
    pub output_tokens: u32,
}

/// One customer of the trace: one key used with one model.
#[derive(Clone, Debug)]
pub struct Customer {
    /// Our name for it, such as `steady`.
    pub name: &'static str,
    /// Its name in the source, such as `m-large/49`.
    pub source: &'static str,
    /// The workload whose rhythm it has; a guess of ours, the trace does not say.
    pub workload: Workload,
    /// Its character in a few words.
    pub character: &'static str,
    rows: Vec<Row>,
}

impl Customer {
    /// Its requests in time order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Requests of the first [`HISTORY_DAYS`] days.
    pub fn history(&self) -> &[Row] {
        self.rows.get(..self.split()).unwrap_or_default()
    }

    /// Requests after the first [`HISTORY_DAYS`] days.
    pub fn live(&self) -> &[Row] {
        self.rows.get(self.split()..).unwrap_or_default()
    }

    fn split(&self) -> usize {
        self.rows.partition_point(|row| row.t_ms < HISTORY_DAYS * DAY_MS)
    }
}

/// The bundled sample.
#[derive(Clone, Debug)]
pub struct Sample {
    customers: Vec<Customer>,
}

/// Why the sample can not be read. It is part of the binary, so this means a damaged build.
#[derive(Debug, thiserror::Error)]
pub enum ReadSampleError {
    /// It is not a gzip file, or too large.
    #[error("the traffic sample can not be unpacked")]
    Unpack(#[source] std::io::Error),
    /// A line is not `customer,t_ms,input_tokens,output_tokens`.
    #[error("line {0} of the traffic sample is not customer,t_ms,input_tokens,output_tokens")]
    Line(usize),
    /// A line names a customer that is not known.
    #[error("line {0} of the traffic sample names an unknown customer")]
    Customer(usize),
    /// A line is earlier than the one before it, or outside the days covered.
    #[error("line {0} of the traffic sample is out of order or outside its {DAYS} days")]
    Order(usize),
}

impl Sample {
    /// Reads the sample in the binary.
    ///
    /// # Errors
    ///
    /// When the build is damaged; see [`ReadSampleError`].
    pub fn bundled() -> Result<Self, ReadSampleError> {
        Self::read(BUNDLED)
    }

    /// Reads a gzip of lines `customer,t_ms,input_tokens,output_tokens` with a header.
    fn read(packed: &[u8]) -> Result<Self, ReadSampleError> {
        let mut text = String::new();
        GzDecoder::new(packed)
            .take(UNPACKED_MAX)
            .read_to_string(&mut text)
            .map_err(ReadSampleError::Unpack)?;
        let mut customers: Vec<Customer> = CUSTOMERS
            .iter()
            .map(|&(name, source, workload, character)| Customer {
                name,
                source,
                workload,
                character,
                rows: Vec::new(),
            })
            .collect();
        for (index, line) in text.lines().enumerate().skip(1) {
            let number = index + 1;
            let (source, row) = parse_line(line).ok_or(ReadSampleError::Line(number))?;
            let customer = customers
                .iter_mut()
                .find(|customer| customer.source == source)
                .ok_or(ReadSampleError::Customer(number))?;
            let before = customer.rows.last().map_or(0, |row| row.t_ms);
            if row.t_ms < before || row.t_ms >= DAYS * DAY_MS {
                return Err(ReadSampleError::Order(number));
            }
            customer.rows.push(row);
        }
        Ok(Self { customers })
    }

    /// The customers, in a fixed order.
    pub fn customers(&self) -> &[Customer] {
        &self.customers
    }

    /// The customer with this name.
    pub fn customer(&self, name: &str) -> Option<&Customer> {
        self.customers.iter().find(|customer| customer.name == name)
    }

    /// The rows of all customers in one stream in time order, each with its customer.
    pub fn merged(&self) -> impl Iterator<Item = (&Customer, &Row)> {
        let mut order: Vec<(&Customer, &Row)> = self
            .customers
            .iter()
            .flat_map(|customer| customer.rows.iter().map(move |row| (customer, row)))
            .collect();
        // Stable: rows of one millisecond keep the order of customers.
        order.sort_by_key(|(_, row)| row.t_ms);
        order.into_iter()
    }
}

fn parse_line(line: &str) -> Option<(&str, Row)> {
    let mut cells = line.split(',');
    let source = cells.next()?;
    let row = Row {
        t_ms: cells.next()?.parse().ok()?,
        input_tokens: cells.next()?.parse().ok()?,
        output_tokens: cells.next()?.parse().ok()?,
    };
    cells.next().is_none().then_some((source, row))
}

#[cfg(test)]
mod tests;
