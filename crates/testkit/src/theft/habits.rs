//! What thieves go by: a victim's dialect, place, software, rate, sizes and hours at the time of the theft.
//!
//! Each kind of theft uses no more than its thief would know:
//!
//! * Every thief knows the dialect: the key's form tells it.
//! * Those at the victim's rate or sizes go by reports that compare them.
//! * Thieves inside, and mimics, are or watch where the victim is.

use std::net::IpAddr;

use tokenwatch_model::client::Client;
use tokenwatch_model::provider::Dialect;

use crate::place::Network;
use crate::software::Software;
use crate::traffic::{DAY_MS, Row};

const HOUR_MS: u64 = 3_600_000;

/// A victim as its thief may know it.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) dialect: Dialect,
    /// Where most calls come from.
    pub(crate) network: &'static Network,
    /// An address in use.
    pub(crate) inside: IpAddr,
    pub(crate) software: Software,
    /// What a reader makes of it, TLS print included.
    pub(crate) client: Client,
    /// Requests of late, to copy sizes and hours from.
    pub(crate) rows: Vec<Row>,
    /// Unix time of the rows' time 0, in milliseconds.
    pub(crate) rows_start_ms: u64,
    pub(crate) calls_per_hour: f64,
    /// Hours of the day (UTC), quietest first.
    pub(crate) quiet_hours: Vec<u64>,
}

/// Mean calls an hour of rows in time order, and the hours of the day, quietest first.
pub(crate) fn rhythm(rows: &[Row], start_ms: u64) -> (f64, Vec<u64>) {
    let span_ms = match (rows.first(), rows.last()) {
        (Some(first), Some(last)) => (last.t_ms - first.t_ms).max(HOUR_MS),
        _ => HOUR_MS,
    };
    let mut by_hour = [0_u64; 24];
    for row in rows {
        let hour = start_ms.saturating_add(row.t_ms) % DAY_MS / HOUR_MS;
        if let Some(count) = by_hour.get_mut(hour as usize) {
            *count += 1;
        }
    }
    let mut quiet: Vec<(u64, u64)> = by_hour.into_iter().zip(0..).collect();
    quiet.sort_unstable();
    (rows.len() as f64 * HOUR_MS as f64 / span_ms as f64, quiet.into_iter().map(|(_, hour)| hour).collect())
}
