//! What a thief can know of a victim. Each kind of theft uses no more than its thief would.

use tokenwatch_model::provider::Dialect;

use crate::persona::Persona;
use crate::traffic::{DAY_MS, Row};

const HOUR_MS: u64 = 3_600_000;
/// How many rows are kept to copy sizes and hours from.
const ROWS_MAX: usize = 4_096;

/// A victim, seen from outside.
///
/// * Every thief knows the dialect: the key's form tells it.
/// * [`crate::theft::Theft::ModelUpgrade`] and [`crate::theft::Theft::QuietSharing`] go by the victim's rate and sizes,
///   which the reports compare them with.
/// * [`crate::theft::Theft::OffHours`] goes by the victim's quiet hours.
/// * [`crate::theft::Theft::InsideBurst`] is on the victim's machine; [`crate::theft::Theft::Mimic`] copies everything.
#[derive(Clone, Debug)]
pub struct Victim {
    pub(crate) persona: Persona,
    pub(crate) rows: Vec<Row>,
    pub(crate) calls_per_hour: f64,
    /// Hours of the day (UTC), quietest first.
    pub(crate) quiet_hours: Vec<u64>,
}

impl Victim {
    /// The victim `persona` whose past requests are `rows`.
    pub fn new(persona: &Persona, rows: &[Row]) -> Self {
        let rows = rows.get(rows.len().saturating_sub(ROWS_MAX)..).unwrap_or_default().to_vec();
        let span_ms = match (rows.first(), rows.last()) {
            (Some(first), Some(last)) => (last.t_ms - first.t_ms).max(HOUR_MS),
            _ => HOUR_MS,
        };
        let mut by_hour = [0_u64; 24];
        for row in &rows {
            let hour = (persona.start_ms().saturating_add(row.t_ms)) % DAY_MS / HOUR_MS;
            if let Some(count) = by_hour.get_mut(hour as usize) {
                *count += 1;
            }
        }
        let mut quiet: Vec<(u64, u64)> = by_hour.into_iter().zip(0..).collect();
        quiet.sort_unstable();
        Self {
            calls_per_hour: rows.len() as f64 * HOUR_MS as f64 / span_ms as f64,
            quiet_hours: quiet.into_iter().map(|(_, hour)| hour).collect(),
            persona: persona.clone(),
            rows,
        }
    }

    /// The protocol the key is for.
    pub fn dialect(&self) -> Dialect {
        self.persona.dialect()
    }

    /// Mean requests an hour.
    pub fn calls_per_hour(&self) -> f64 {
        self.calls_per_hour
    }
}
