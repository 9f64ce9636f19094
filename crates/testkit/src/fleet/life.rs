//! The life of a key: who is behind it from when on, and when more or fewer calls come than usual.
//!
//! Invariant: eras are in time order and the first begins at the start of the trace; within an era nobody changes but by
//! what a [`Stay`] or [`Placed::until_ms`] says, so a request is a function of its time and its draw.

use tokenwatch_model::id::KeyId;

use super::changes::Happening;
use super::identity::{Callers, Crew, Owner};
use super::{START_MS, apply};

/// Who is behind the key from a time on.
#[derive(Clone, Debug)]
pub(crate) struct Era {
    pub(crate) from_ms: u64,
    pub(crate) crew: Crew,
}

/// Unusual numbers of calls for a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Swell {
    pub(crate) from_ms: u64,
    pub(crate) until_ms: u64,
    pub(crate) kind: SwellKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SwellKind {
    /// The usual calls times this.
    Times(f64),
    /// So many times the key's mean rate on top, by this part.
    Extra { times: f64, part: usize },
    /// Five per cent more each day that has passed.
    Growth,
    /// What usually comes later comes this much earlier.
    Earlier { ms: u64 },
    /// The provider fails; most calls are tried again and again.
    Outage,
}

impl Swell {
    pub(crate) const fn covers(&self, at_ms: u64) -> bool {
        self.from_ms <= at_ms && at_ms < self.until_ms
    }
}

/// What a key lives through.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) eras: Vec<Era>,
    pub(crate) swells: Vec<Swell>,
    /// From when on the callers use which other key.
    pub(crate) rotated: Option<(u64, KeyId)>,
    /// When something new went live.
    pub(crate) deployments: Vec<u64>,
}

impl Life {
    /// The life of a crew to which `happenings` come, in time order.
    pub(crate) fn new(crew: Crew, owner: &Owner, happenings: &[Happening]) -> Self {
        let mut life = Self {
            eras: vec![Era { from_ms: START_MS, crew }],
            swells: Vec::new(),
            rotated: None,
            deployments: Vec::new(),
        };
        for happening in happenings {
            apply::apply(&mut life, owner, happening);
        }
        life
    }

    /// Who is behind the key at a time.
    pub(crate) fn crew(&self, at_ms: u64) -> Option<&Crew> {
        let after = self.eras.partition_point(|era| era.from_ms <= at_ms);
        self.eras.get(after.saturating_sub(1)).map(|era| &era.crew)
    }

    /// The crew from a time on, to be changed: the last one, in an era of its own.
    pub(crate) fn crew_from(&mut self, at_ms: u64) -> Option<&mut Crew> {
        let crew = self.eras.last()?.crew.clone();
        self.eras.push(Era { from_ms: at_ms, crew });
        self.eras.last_mut().map(|era| &mut era.crew)
    }

    /// Notes an unusual time.
    pub(crate) fn swell(&mut self, from_ms: u64, length_ms: u64, kind: SwellKind) {
        self.swells.push(Swell { from_ms, until_ms: from_ms.saturating_add(length_ms), kind });
    }

    /// Colleagues behind the key.
    pub(crate) fn heads(crew: &Crew) -> u64 {
        match crew.main().map(|part| &part.callers) {
            Some(Callers::People { people, .. }) => people.len() as u64,
            _ => 0,
        }
    }
}
