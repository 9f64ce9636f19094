//! What passes is counted once and goes on to the journal.

use tokenwatch_model::client::Client;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::key::{Key, KeyState, Policy, Workload};
use tokenwatch_model::network::NetworkFacts;
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};
use tokenwatch_respond::spend::ledger::{Calendar, Spenders, Thefts, sum_up};

use super::*;

#[derive(Default)]
struct Nowhere(Mutex<Vec<JournalRecord>>);

impl EventSink for Nowhere {
    fn push(&self, record: JournalRecord) -> bool {
        self.0.lock().push(record);
        false
    }
}

pub(super) fn event() -> UsageEvent {
    UsageEvent {
        request: RequestContext {
            id: RequestId::new(1, 1),
            key: KeyId::from_bits(5),
            time: Timestamp(20 * DAY),
            source: Source { address: "203.0.113.7".parse().unwrap(), facts: NetworkFacts::default() },
            client: Client::default(),
            provider: "openai".into(),
            endpoint: Endpoint::ChatCompletions,
            model: "gpt-4o-mini".into(),
            stream: false,
            shape: Shape::default(),
            input_tokens_estimate: 10,
            output_tokens_max: 100,
            cost_worst: NanoUsd::from_cents(1),
            request_bytes: 300,
            siblings: Default::default(),
            previous_credential: false,
        },
        key_seq: 1,
        outcome: Outcome::Served,
        status: 200,
        usage: TokenUsage::default(),
        usage_source: UsageSource::Provider,
        cost: NanoUsd::from_cents(7),
        price_source: PriceSource::Exact,
        response_bytes: 900,
        first_byte_us: 400_000,
        duration_us: 1_200_000,
        completion: 0,
    }
}

#[test]
fn a_meter_passes_everything_on_and_says_what_the_journal_says() {
    let journal = Arc::new(Nowhere::default());
    let meter = Meter::new(journal.clone());
    let event = event();
    assert!(!meter.push(JournalRecord::Usage(event.clone())));
    assert!(!meter.push(JournalRecord::Usage(event.clone())));
    assert_eq!(journal.0.lock().len(), 2);
    assert!(!meter.take_others());
    meter.note_others();
    assert!(meter.take_others() && !meter.take_others());
    let spent = |ledger: &Ledger| {
        let key = Key {
            id: event.request.key,
            name: "k".into(),
            owner: None,
            environment: "".into(),
            service: "".into(),
            workload: Workload::Unknown,
            policy: Policy::default(),
            state: KeyState::Active,
            state_reason: "".into(),
            created: Timestamp(0),
            expires: None,
            rotation: None,
            revision: 0,
        };
        let (keys, thefts, defaults) = ([key], Thefts::default(), Policy::default());
        let who = Spenders { keys: &keys, owners: &[], defaults: &defaults, thefts: &thefts };
        sum_up(&[ledger], 0, &Calendar::new(30, Timestamp(20 * DAY)), &who).keys[0].history.today
    };
    assert_eq!(spent(&meter.drain()), NanoUsd::from_cents(14));
    assert_eq!(spent(&meter.drain()), NanoUsd::ZERO, "drained");
}
