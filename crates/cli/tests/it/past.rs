//! A key with a past: nine days of real traffic in the journal, and a thief who comes today.

use std::time::{Duration, UNIX_EPOCH};

use tokenwatch_model::event::{JournalRecord, UsageEvent};
use tokenwatch_model::id::KeyId;
use tokenwatch_model::key::Workload;
use tokenwatch_model::ports::EventSink as _;
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::Timestamp;
use tokenwatch_network::Bundled;
use tokenwatch_store::{Journal, JournalOptions, JournalPositions, JournalReader, Options, Store, Stream};
use tokenwatch_testkit::client::Answer;
use tokenwatch_testkit::events::EventMaker;
use tokenwatch_testkit::persona::Persona;
use tokenwatch_testkit::sim::SimRequest;
use tokenwatch_testkit::theft::{Start, Theft, Victim};
use tokenwatch_testkit::traffic::{DAY_MS, HISTORY_DAYS, Sample};
use tokenwatch_wire::price::PriceTable;
use tokenwatch_wire::request::ShapeKey;

use crate::harness::{PATIENCE, Place, Server};

pub(crate) fn open_store(place: &Place) -> Store {
    Store::open(&place.state(), Options::default()).unwrap()
}

/// Every usage event in the journal.
pub(crate) fn journalled(place: &Place) -> Vec<UsageEvent> {
    let mut events = Vec::new();
    let mut reader = JournalReader::new(&place.state().join("journal"), JournalPositions::default());
    let progress = reader
        .read(|record| {
            if let JournalRecord::Usage(event) = record {
                events.push(event);
            }
        })
        .unwrap();
    assert_eq!(progress.damaged, 0);
    events
}

/// A key that its owner has used for days, and what owner and thief send today.
pub(crate) struct Stolen {
    pub(crate) key: Secret,
    pub(crate) id: KeyId,
    pub(crate) owner: Vec<SimRequest>,
    pub(crate) thief: Vec<SimRequest>,
}

/// Issues a key and writes its past into the journal. No server may have seen the key before.
pub(crate) fn stolen(place: &Place, name: &str) -> Stolen {
    let key = place.issue(name, &["--workload", "service"]);
    let store = open_store(place);
    let id = store.key_by_name(name).unwrap().unwrap().key.id;
    let shape_key = ShapeKey::new(store.shape_key(&[7; 16]).unwrap());
    let now = UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let start = now - HISTORY_DAYS * DAY_MS;
    let sample = Sample::bundled().unwrap();
    let customer = sample.customer("steady").unwrap();
    let persona = Persona::with_dialect(1, name, Workload::Service, Dialect::OpenAi, start);
    let facts = Bundled::new();
    let shape = |request: &SimRequest| {
        let parsed =
            tokenwatch_wire::request::parse(request.dialect, request.endpoint, &request.body, &shape_key);
        parsed.unwrap().shape
    };
    let price = |model: &str, usage: &_| {
        let (price, _) = PriceTable::bundled().find("openai", model);
        tokenwatch_wire::price::cost(usage, &price)
    };
    let maker =
        EventMaker { key: id, provider: "openai".into(), facts: &facts, shape: &shape, price: &price };
    let stream = Stream::new(Timestamp::from_ms(start), &format!("past{:x}", id.bits())).unwrap();
    let options = JournalOptions { segment_age: Duration::from_secs(3_600), ..JournalOptions::new(stream) };
    let journal = Journal::open(&store.journal_dir(), options).unwrap();
    let requests: Vec<SimRequest> = persona.requests(customer.history()).collect();
    for (i, request) in requests.iter().enumerate() {
        let event = maker.event(request, (1 << 32) + i as u64 + 1);
        assert!(journal.handle().push(JournalRecord::Usage(event)));
    }
    journal.close(PATIENCE).unwrap();
    let victim = Victim::new(&persona, customer.history());
    let thief = Theft::Resale.campaign(&victim, 1, Start::FirstCall(now)).take(60).collect();
    let owner = requests.into_iter().rev().take(20).collect();
    Stolen { key, id, owner, thief }
}

impl Stolen {
    /// Sends a request with the key, from where its sender is.
    pub(crate) fn send(&self, server: &Server, request: &SimRequest) -> Answer {
        server.client().send_sim(request, &self.key)
    }

    /// Lets the thief call until a request is refused, and returns that one.
    #[track_caller]
    pub(crate) fn steal(&self, server: &Server) -> SimRequest {
        let client = server.client();
        let refused = |request: &&SimRequest| client.send_sim(request, &self.key).status == 403;
        self.thief.iter().find(refused).expect("the thief was never refused").clone()
    }

    /// The owner works on, undisturbed.
    #[track_caller]
    pub(crate) fn assert_owner_is_served(&self, server: &Server) {
        let client = server.client();
        for request in &self.owner {
            let answer = client.send_sim(request, &self.key);
            assert_eq!(answer.status.as_u16(), request.status, "{}", answer.text());
        }
    }
}
