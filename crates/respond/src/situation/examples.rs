//! The key, owner, findings and containments that the tests of this crate are about.

use tokenwatch_model::containment::{Action, Containment, ContextMatch};
use tokenwatch_model::finding::{Actor, Finding, Reason, Severity, Tier};
use tokenwatch_model::id::{ActorId, ContainmentId, IncidentId, KeyId, OwnerId, RequestId};
use tokenwatch_model::key::{Key, KeyState, Mode, Policy, Workload};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{Country, NetworkKind};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{DAY, MINUTE, SECOND, Timestamp};

use crate::ids::Ids;
use crate::situation::{Normal, RecentActions, Situation};

/// 2026-03-01 12:00:00 UTC, a Sunday.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_772_366_400);

pub(crate) fn key_id(n: u64) -> KeyId {
    KeyId::from_bits(n)
}

pub(crate) fn key() -> Key {
    Key {
        id: key_id(1),
        name: "search-prod".into(),
        owner: Some(OwnerId::from_bits(1)),
        environment: "production".into(),
        service: "search".into(),
        workload: Workload::Service,
        policy: Policy::default(),
        state: KeyState::Active,
        state_reason: "".into(),
        created: Timestamp(NOW.0 - 90 * DAY),
        expires: None,
        rotation: None,
        revision: 4,
    }
}

pub(crate) fn owner() -> Owner {
    Owner {
        id: OwnerId::from_bits(1),
        name: "search-team".into(),
        on_call: "search-oncall".into(),
        channel: "#search".into(),
        defaults: Policy::default(),
        created: Timestamp(NOW.0 - 90 * DAY),
        revision: 1,
    }
}

/// The context of the `n`-th thief: a network and client of its own.
pub(crate) fn context(n: u32) -> ContextMatch {
    ContextMatch {
        asn: Some(64_500 + n),
        country: Some(Country::from_code("NL")),
        kind: Some(NetworkKind::Hosting),
        client: Some("axios".into()),
        ..ContextMatch::default()
    }
}

pub(crate) fn normal() -> Normal {
    Normal {
        requests_per_minute: Some(40),
        cost_per_hour: Some(NanoUsd::from_cents(300)),
        models: Some(vec!["gpt-4o-mini".into(), "text-embedding-3-small".into()]),
    }
}

/// A finding about the `n`-th thief, who sent 12 requests of which 10 were forwarded.
pub(crate) fn finding(n: u32, tier: Tier) -> Finding {
    Finding {
        rule: "newcomer".into(),
        key: key_id(1),
        time: Timestamp(NOW.0 - SECOND),
        severity: Severity::High,
        tier,
        once_in_days: 12_000.0,
        summary: format!(
            "a stranger from AS{} (NL, hosting) with axios 1.7.4 sent 12 requests in 42 s, all to models this key never used",
            64_500 + n
        ),
        reasons: vec![
            Reason { nats: 7.0, what: "network never seen on this key in 90 days".into() },
            Reason {
                nats: 3.0,
                what: "client axios, where 100 % of requests came from openai-python".into(),
            },
            Reason { nats: -0.9, what: "the hour is usual".into() },
        ],
        actor: Some(Actor {
            id: ActorId::from_bits(u64::from(n)),
            context: context(n),
            first_seen: Timestamp(NOW.0 - 43 * SECOND),
            requests: 12,
            requests_forwarded: 10,
            cost: NanoUsd::from_cents(42),
        }),
        events: vec![RequestId::new(NOW.ms() - 1_000, 7)],
    }
}

/// A finding about the key as a whole.
pub(crate) fn volume_finding(tier: Tier) -> Finding {
    Finding {
        rule: "volume_spike".into(),
        severity: Severity::Critical,
        once_in_days: 400.0,
        summary: "5,200 requests in 10 minutes, 26 times its busiest 10 minutes of 30 days".into(),
        reasons: vec![Reason { nats: 5.0, what: "5,200 requests where 200 were the most".into() }],
        actor: None,
        ..finding(1, tier)
    }
}

/// A containment of key `n` that an incident put in force a minute ago, for a day.
pub(crate) fn containment(n: u64, action: Action) -> Containment {
    Containment {
        id: ContainmentId::from_bits(1_000 + n),
        key: key_id(n),
        incident: Some(IncidentId::from_bits(500)),
        action,
        reason: "an earlier finding".into(),
        created: Timestamp(NOW.0 - MINUTE),
        expires: Some(NOW.plus(DAY)),
        lifted: None,
        revision: 1,
    }
}

/// Ids that count up, so that equal inputs give equal ids.
pub(crate) fn ids() -> impl Ids {
    ids_after(0)
}

/// Ids that count up and do not meet those of the first `taken`.
pub(crate) fn ids_after(taken: usize) -> impl Ids {
    let mut next = 0x7000 + 0x20 * taken as u64;
    move || {
        next += 1;
        next
    }
}

/// Owns what a [`Situation`] borrows.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) key: Key,
    pub(crate) owner: Option<Owner>,
    pub(crate) mode: Mode,
    pub(crate) finding: Finding,
    pub(crate) incident: Option<tokenwatch_model::incident::Incident>,
    pub(crate) containments: Vec<Containment>,
    pub(crate) normal: Option<Normal>,
    pub(crate) recent: RecentActions,
    pub(crate) now: Timestamp,
}

impl Scene {
    /// A quiet key with an owner and a learned normal, on which `finding` was just made.
    pub(crate) fn new(mode: Mode, finding: Finding) -> Self {
        Self {
            key: key(),
            owner: Some(owner()),
            mode,
            finding,
            incident: None,
            containments: Vec::new(),
            normal: Some(normal()),
            recent: RecentActions::default(),
            now: NOW,
        }
    }

    pub(crate) fn situation(&self) -> Situation<'_> {
        Situation {
            key: &self.key,
            mode: self.mode,
            owner: self.owner.as_ref(),
            finding: &self.finding,
            open_incident: self.incident.as_ref(),
            containments: &self.containments,
            normal: self.normal.as_ref(),
            recent: self.recent,
            now: self.now,
        }
    }

    /// The scene after `effects` were stored.
    pub(crate) fn store(&mut self, effects: crate::Effects) {
        if let Some(key) = effects.key {
            self.key = key;
        }
        if let Some(incident) = effects.incident {
            self.incident = Some(incident);
        }
        for row in effects.containments {
            match self.containments.iter_mut().find(|have| have.id == row.id) {
                Some(have) => *have = row,
                None => self.containments.push(row),
            }
        }
    }
}
