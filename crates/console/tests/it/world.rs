//! What stands around the API: a data plane with one provider that is never called, and a theft on the records.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokenwatch_console::manage::{KeySpec, OwnerSpec};
use tokenwatch_console::records::Records as _;
use tokenwatch_detect::{Config, Engine, FleetPriors};
use tokenwatch_gateway::registry::KeyEntry;
use tokenwatch_gateway::settings::{Credential, HttpLimits, Provider, Settings};
use tokenwatch_gateway::{FindingSink, Gateway, Ports};
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::finding::{Actor, Feedback, Finding, Reason, Severity, Tier};
use tokenwatch_model::id::{ActorId, ContainmentId, IncidentId, KeyId, RequestId};
use tokenwatch_model::key::Mode;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{AddressFacts, NetworkFacts};
use tokenwatch_model::ports::{Clock, EventSink, Random, StateError, StateSource};
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::secret::Secret;
use tokenwatch_model::suppression::SuppressedAlert;
use tokenwatch_model::time::{HOUR, MINUTE, Timestamp};
use tokenwatch_respond::relax::{Fading, RecentRelaxations, loosen, relax};
use tokenwatch_respond::{RecentActions, ResponsePolicy, Situation, execute, plan};
use tokenwatch_telemetry::metrics::{BuildInfo, Metrics};
use tokenwatch_wire::price::PriceTable;
use tokenwatch_wire::request::ShapeKey;

use crate::server::Server;

/// The provider credential of the world: it must never leave.
pub(crate) const PROVIDER_SECRET: &str = "sk-provider-0123456789abcdefghijklmnop";

struct Nowhere;

impl EventSink for Nowhere {
    fn push(&self, _record: JournalRecord) -> bool {
        true
    }
}

impl StateSource for Nowhere {
    fn load(&self, _key: KeyId) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }
}

impl AddressFacts for Nowhere {
    fn facts(&self, _address: IpAddr) -> NetworkFacts {
        NetworkFacts::default()
    }

    fn organisation(&self, _asn: u32) -> Option<&str> {
        None
    }
}

impl FindingSink for Nowhere {
    fn found(&self, _finding: Finding) {}

    fn suppressed(&self, _alert: SuppressedAlert) {}

    fn contained(&self, _key: KeyId, _met: &[ContainmentId]) {}
}

pub(crate) fn settings() -> Settings {
    let credential = Credential::new("env:OPENAI_API_KEY".into());
    assert!(credential.set(Dialect::OpenAi, Some(&Secret::new(PROVIDER_SECRET))));
    let missing = Credential::new("file:/run/secrets/second".into());
    let provider = Provider {
        name: "openai".into(),
        dialect: Dialect::OpenAi,
        origin: "https://api.openai.com/v1".parse().unwrap(),
        prices_as: "openai".into(),
        credentials: vec![Arc::new(credential), Arc::new(missing)],
    };
    Settings {
        http: HttpLimits::default(),
        trusted_proxies: Vec::new(),
        proxy_protocol: false,
        providers: vec![Arc::new(provider)],
        prices: Arc::new(PriceTable::bundled().clone()),
        shape_key: ShapeKey::new([0; 16]),
        reserve_output_tokens: 4_096,
        budget_is_402: false,
    }
}

/// A journal in memory.
#[derive(Default)]
pub(crate) struct Journal(Mutex<Vec<JournalRecord>>);

impl Journal {
    /// What the engine was told that people said.
    pub(crate) fn feedback(&self) -> Vec<Feedback> {
        let said = |record: &JournalRecord| match record {
            JournalRecord::Feedback { feedback, .. } => Some(feedback.clone()),
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(said).collect()
    }
}

impl EventSink for Journal {
    fn push(&self, record: JournalRecord) -> bool {
        self.0.lock().unwrap().push(record);
        true
    }
}

pub(crate) fn gateway(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Arc<Gateway> {
    gateway_with(clock, random, Arc::new(Nowhere))
}

pub(crate) fn gateway_with(
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    events: Arc<dyn EventSink>,
) -> Arc<Gateway> {
    let addresses: Box<dyn AddressFacts> = Box::new(Nowhere);
    let ports = Ports {
        clock,
        random,
        events,
        states: Arc::new(Nowhere),
        addresses: Arc::new(ArcSwap::from_pointee(addresses)),
        findings: Arc::new(Nowhere),
    };
    let engine = Engine::new(Config::default(), FleetPriors::shipped());
    let metrics = Metrics::new(&BuildInfo { version: "0", commit: "test" });
    Arc::new(Gateway::new(engine, settings(), ports, Arc::new(metrics)))
}

pub(crate) fn finding(key: KeyId, tier: Tier, now: Timestamp) -> Finding {
    let context = ContextMatch { asn: Some(64_500), client: Some("axios".into()), ..ContextMatch::default() };
    Finding {
        rule: "newcomer".into(),
        key,
        time: now,
        severity: Severity::High,
        tier,
        once_in_days: 4_000.0,
        summary: "a newcomer from AS64500 with axios spends fast".to_owned(),
        reasons: vec![Reason { nats: 8.5, what: "network never seen on this key".to_owned() }],
        actor: Some(Actor {
            id: ActorId::from_bits(5),
            context,
            first_seen: Timestamp(now.0 - MINUTE),
            requests: 40,
            requests_forwarded: 12,
            cost: NanoUsd::from_cents(37),
        }),
        events: vec![RequestId::new(now.ms(), 9)],
    }
}

impl Server {
    /// A key of the given name, with an owner on the first call.
    pub(crate) fn make_key(&self, name: &str) -> KeyId {
        if self.manager.find_owner("search-team").is_err() {
            let spec = OwnerSpec {
                name: "search-team".into(),
                on_call: "search-rota".into(),
                ..OwnerSpec::default()
            };
            self.manager.add_owner(spec, "test").unwrap();
        }
        let spec = KeySpec {
            name: name.into(),
            owner: Some("search-team".into()),
            environment: "production".into(),
            ..KeySpec::default()
        };
        self.manager.issue(vec![spec], "test").unwrap().remove(0).key.id
    }

    /// A key that the data plane knows too.
    pub(crate) fn make_known_key(&self, name: &str) -> KeyId {
        let id = self.make_key(name);
        let stored = self.records.key(id).unwrap().unwrap();
        self.gateway.live.put_key(Arc::new(KeyEntry::new(&stored, Arc::default())), self.gateway.now());
        id
    }

    /// A theft on a key, contained as the responder does it.
    pub(crate) fn steal(&self, key: KeyId) -> IncidentId {
        self.steal_for_sure(key, Tier::Alert)
    }

    /// What the responder does when nobody came back for three days.
    pub(crate) fn relax(&self, incident: IncidentId) {
        let incident = self.records.incident(incident).unwrap().unwrap();
        let key = self.records.key(incident.key).unwrap().unwrap().key;
        let containments = self.records.containments_of(key.id).unwrap();
        let now = self.manager.clock.now().plus(72 * HOUR);
        let fading = Fading {
            key: &key,
            mode: Mode::Contain,
            leaked: false,
            incident: &incident,
            containments: &containments,
            said: &[],
            normal: None,
            recent: RecentRelaxations::default(),
            now,
        };
        let plan = relax(&ResponsePolicy::default(), &fading).unwrap();
        self.records.apply(&loosen(&plan, &containments, now)).unwrap();
    }

    /// A theft that is found with the certainty given.
    pub(crate) fn steal_for_sure(&self, key: KeyId, tier: Tier) -> IncidentId {
        let now = self.manager.clock.now();
        let policy = ResponsePolicy::default();
        let key = self.records.key(key).unwrap().unwrap().key;
        let finding = finding(key.id, tier, now);
        let situation = Situation {
            key: &key,
            mode: Mode::Contain,
            owner: None,
            finding: &finding,
            open_incident: None,
            containments: &[],
            normal: None,
            recent: RecentActions::count([].iter(), key.id, now),
            now,
        };
        let random = self.manager.random.clone();
        let plan = plan(&policy, &situation, &mut || random.next_u64());
        let effects = execute(&plan, now);
        self.records.apply(&effects).unwrap();
        effects.incident.unwrap().id
    }
}
