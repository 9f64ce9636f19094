//! The truth about events: which request belongs to which theft.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Context as _;
use tokenwatch_evaluate::record::text_bits;
use tokenwatch_model::SmolStr;

use super::files::read_table;

/// Labels by request.
#[derive(Debug, Default)]
pub(in super::super) struct Truth {
    attacks: Vec<SmolStr>,
    /// Thieves' requests only; every other is the owner's.
    labels: HashMap<u128, u32>,
}

impl Truth {
    /// Reads files of `request` and `attack`; an empty or absent attack is the owner's.
    pub(in super::super) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut truth = Self::default();
        let mut places: HashMap<SmolStr, u32> = HashMap::new();
        for path in paths {
            read_table(path, &["request", "attack"], 2, |row| {
                let [request, attack] = row else { return Ok(()) };
                let request =
                    request.as_deref().context("field request: missing; write the id that the event has")?;
                let Some(attack) = attack.as_deref().filter(|attack| !attack.is_empty()) else {
                    return Ok(());
                };
                let attacks = &mut truth.attacks;
                let label = *places.entry(attack.into()).or_insert_with(|| {
                    attacks.push(attack.into());
                    (attacks.len() - 1) as u32
                });
                let before = truth.labels.insert(text_bits(request), label);
                anyhow::ensure!(
                    before.is_none_or(|before| before == label),
                    "request {request:?} is given to two thefts; write each request once"
                );
                Ok(())
            })?;
        }
        Ok(truth)
    }

    /// Names of the thefts, which labels are places in.
    pub(in super::super) fn attacks(&self) -> &[SmolStr] {
        &self.attacks
    }

    /// How many requests are thieves'.
    pub(in super::super) fn thief_requests(&self) -> u64 {
        self.labels.len() as u64
    }

    /// Whether any of the thieves' requests was among the events, of which so many were found there.
    pub(in super::super) fn check_matched(&self, matched: u64) -> anyhow::Result<()> {
        anyhow::ensure!(
            matched > 0 || self.thief_requests() == 0,
            "--truth: none of its {} thief requests is among the events; the field `request` of both must hold the same ids",
            self.thief_requests()
        );
        Ok(())
    }

    /// The theft that a request belongs to.
    pub(in super::super) fn attack_of(&self, request: u128) -> Option<u32> {
        self.labels.get(&request).copied()
    }
}
