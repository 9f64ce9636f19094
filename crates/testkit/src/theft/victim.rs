//! A victim of the demo: a simulated customer with its past requests.

use tokenwatch_model::provider::Dialect;

use super::habits::{Habits, rhythm};
use crate::persona::Persona;
use crate::rng::Rng;
use crate::traffic::Row;

/// How many rows are kept to copy sizes and hours from.
pub(crate) const ROWS_MAX: usize = 4_096;

/// A victim, seen from outside.
#[derive(Clone, Debug)]
pub struct Victim {
    pub(crate) persona: Persona,
    pub(crate) rows: Vec<Row>,
    pub(crate) calls_per_hour: f64,
    pub(crate) quiet_hours: Vec<u64>,
}

impl Victim {
    /// The victim `persona` whose past requests are `rows`.
    pub fn new(persona: &Persona, rows: &[Row]) -> Self {
        let rows = rows.get(rows.len().saturating_sub(ROWS_MAX)..).unwrap_or_default().to_vec();
        let (calls_per_hour, quiet_hours) = rhythm(&rows, persona.start_ms());
        Self { calls_per_hour, quiet_hours, persona: persona.clone(), rows }
    }

    /// The protocol the key is for.
    pub fn dialect(&self) -> Dialect {
        self.persona.dialect()
    }

    /// Mean requests an hour.
    pub fn calls_per_hour(&self) -> f64 {
        self.calls_per_hour
    }

    /// What its thief may know of it at a time.
    pub(crate) fn habits(&self, at_ms: u64, rng: &mut Rng) -> Habits {
        let software = self.persona.software(0, at_ms);
        Habits {
            dialect: self.dialect(),
            network: self.persona.network(),
            inside: self.persona.source(0, at_ms, rng),
            client: software.client(self.dialect()),
            software,
            rows: self.rows.clone(),
            rows_start_ms: self.persona.start_ms(),
            calls_per_hour: self.calls_per_hour,
            quiet_hours: self.quiet_hours.clone(),
        }
    }
}
