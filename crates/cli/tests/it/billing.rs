//! Billing alarms of a real server: raised from what was really spent, told to whom it concerns, once, whatever happens to the
//! process in between.

use std::collections::BTreeMap;

use serde_json::Value;
use tokenwatch_model::client::Client;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::event::{JournalRecord, UsageEvent};
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::NetworkFacts;
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::ports::EventSink as _;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::{DAY, HOUR, Timestamp};
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};
use tokenwatch_store::{Journal, JournalOptions, Stream};

use crate::alerts::configure;
use crate::harness::{Mock, PATIENCE, Place, Server, wait_for};
use crate::past::{journalled, open_store};
use crate::receiver::{Got, Receiver};

/// What one request costs, in tokens of ten cents: between the first and the second threshold of a key that usually spends a
/// dollar a day.
const TOKENS: &str = "24";
const PRICES: &str =
    "\n[[price]]\nprovider = \"openai\"\nmodel = \"gpt-4o-mini\"\ninput = 0\noutput = 100000\n";

fn past_event(key: KeyId, n: u64, time: Timestamp) -> UsageEvent {
    UsageEvent {
        request: RequestContext {
            id: RequestId::new(time.ms(), u128::from(n)),
            key,
            time,
            source: Source { address: "203.0.113.7".parse().unwrap(), facts: NetworkFacts::default() },
            client: Client::default(),
            provider: "openai".into(),
            endpoint: Endpoint::ChatCompletions,
            model: "gpt-4o-mini".into(),
            stream: false,
            shape: Shape::default(),
            input_tokens_estimate: 10,
            output_tokens_max: 100,
            cost_worst: NanoUsd::from_cents(100),
            request_bytes: 300,
            siblings: Default::default(),
            previous_credential: false,
        },
        key_seq: (1 << 32) + n,
        outcome: Outcome::Served,
        status: 200,
        usage: TokenUsage::default(),
        usage_source: UsageSource::Provider,
        cost: NanoUsd::from_cents(100),
        price_source: PriceSource::Exact,
        response_bytes: 900,
        first_byte_us: 400_000,
        duration_us: 1_200_000,
        completion: 0,
    }
}

/// A key of the owner that spent a dollar on each of the past ten days.
fn key_with_past(place: &Place, name: &str) -> Secret {
    let secret = place.issue(name, &["--owner", "search-team", "--environment", "production"]);
    let store = open_store(place);
    let key = store.key_by_name(name).unwrap().unwrap().key;
    let today = key.created.0 / DAY;
    let stream = Stream::new(Timestamp((today - 10) * DAY), &format!("past{:x}", key.id.bits())).unwrap();
    let journal = Journal::open(&store.journal_dir(), JournalOptions::new(stream)).unwrap();
    for n in 1..=10 {
        let time = Timestamp((today - n) * DAY + 9 * HOUR);
        assert!(journal.handle().push(JournalRecord::Usage(past_event(key.id, 11 - n, time))));
    }
    journal.close(PATIENCE).unwrap();
    secret
}

fn spend(server: &Server, key: &Secret) {
    let answer = server.client().chat(key, &[("x-mock-output-tokens", TOKENS)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Alarms that a receiver of webhooks has, by whose and what: their ids.
fn told(hook: &Receiver) -> BTreeMap<(String, String), Vec<String>> {
    let mut all: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for body in hook.taken().iter().map(Got::json).filter(|body| body["schema"] == "tokenwatch.alarm.v1") {
        let text = |name: &str| body["alarm"][name].as_str().unwrap().to_owned();
        let ids = all.entry((text("spender_name"), text("kind"))).or_default();
        // What was taken just before a kill may come again, with the same id.
        if !ids.contains(&text("id")) {
            ids.push(text("id"));
        }
    }
    all
}

fn wait_for_alarm(hook: &Receiver, whose: &str, kind: &str) -> Value {
    wait_for(&format!("{kind} of {whose}"), || {
        let is_it = |body: &Value| body["alarm"]["spender_name"] == whose && body["alarm"]["kind"] == kind;
        hook.taken().iter().map(Got::json).find(is_it)
    })
}

/// The deliverer's receiver has everything, and nothing waits.
fn settled(place: &Place) {
    let store = open_store(place);
    wait_for("an empty outbox", || {
        let is_empty = store.unrouted_alerts(1).unwrap().is_empty()
            && store.deliveries(false, None, 1).unwrap().is_empty();
        is_empty.then_some(())
    });
}

#[test]
fn spend_that_is_not_usual_is_told_once_through_restarts_and_kills() {
    let (mock, pager, room, hook) =
        (Mock::start(), Receiver::willing(), Receiver::willing(), Receiver::willing());
    let place = Place::with_config(&mock, "");
    configure(&place, &mock, &pager, &room, &hook);
    let path = place.path("tokenwatch.toml");
    let off = format!(
        "{}\n[alerts.billing]\nenabled = false\nevery_s = 1\nfloor = 0.5\nprovider_caps = {{ openai = 100000 }}\n{PRICES}",
        std::fs::read_to_string(&path).unwrap()
    );
    place.configure(&off);
    place.ok(&["owner", "add", "--name", "search-team", "--on-call", "pager", "--channel", "room"]);
    let (prod, batch) = (key_with_past(&place, "search-prod"), key_with_past(&place, "batch"));
    let checked = place.ok(&["check"]).stdout;
    assert!(!checked.contains("alerts.billing"), "{checked}");
    place.ok(&["alert", "snooze", "--owner", "search-team", "--for", "1h"]);
    let server = place.serve();
    spend(&server, &prod);
    assert_eq!(server.metric("tokenwatch_billing_alarms_total{kind=\"day_low\"}"), 0.0);
    // Switched on while it runs: what was spent before is known.
    place.configure(&off.replace("enabled = false", "enabled = true"));
    let body = wait_for_alarm(&hook, "search-prod", "day_low");
    check_told(&body, &pager, &room);
    assert_eq!(server.metric("tokenwatch_billing_alarms_total{kind=\"day_low\"}"), 1.0);
    settled(&place);
    wait_for("the event on disk", || (journalled(&place).len() == 21).then_some(()));
    server.kill();
    // Half of it was spent in the life of a process that is gone.
    let server = place.serve();
    spend(&server, &prod);
    wait_for_alarm(&hook, "search-prod", "day_medium");
    // The provider's usual day is that of both keys.
    wait_for_alarm(&hook, "openai", "day_low");
    assert!(pager.taken().iter().all(|got| !got.body.contains("provider openai")), "no owner answers for it");
    settled(&place);
    server.stop();
    let server = place.serve();
    spend(&server, &batch);
    wait_for_alarm(&hook, "batch", "day_low");
    wait_for_alarm(&hook, "openai", "day_medium");
    place.ok(&["alert", "snooze", "--owner", "search-team", "--for", "0s"]);
    wait_for_alarm(&hook, "search-team", "day_medium");
    settled(&place);
    check_commands(&place, &server);
    let log = server.log();
    server.stop();
    let told = told(&hook);
    let got: Vec<(&str, &str)> = told.keys().map(|(whose, kind)| (whose.as_str(), kind.as_str())).collect();
    let want = [
        ("batch", "day_low"),
        ("openai", "day_low"),
        ("openai", "day_medium"),
        ("search-prod", "day_low"),
        ("search-prod", "day_medium"),
        ("search-team", "day_medium"),
    ];
    assert_eq!(got, want);
    assert!(told.values().all(|ids| ids.len() == 1), "{told:?}");
    for key in [&prod, &batch] {
        let secret = &key.expose()[20..];
        assert!(!log.contains(secret));
        assert!(
            [&hook, &pager, &room].iter().all(|to| to.all().iter().all(|got| !got.body.contains(secret)))
        );
    }
}

/// The owner's people and the one who gets everything read the same.
#[track_caller]
fn check_told(body: &Value, pager: &Receiver, room: &Receiver) {
    assert_eq!((&body["cause"], &body["owner"]["name"]), (&"opened".into(), &"search-team".into()));
    assert_eq!(
        (&body["alarm"]["today_dollars"], &body["alarm"]["limit_dollars"]),
        (&2.4.into(), &1.5.into())
    );
    assert_eq!(body["who_spends"], serde_json::json!(["model gpt-4o-mini: $2.40 today"]));
    assert!(
        body["what_to_press"]
            .as_array()
            .unwrap()
            .iter()
            .any(|press| { press["command"] == "tokenwatch alert snooze --key search-prod --for 24h" })
    );
    assert_eq!(body["references"]["rules"][0]["id"], "billing_thresholds");
    let is_it =
        |got: &Got| got.body.contains("key search-prod spent $2.40 today, 2.4 times a typical day ($1.00)");
    let paged = wait_for("a page", || pager.taken().into_iter().find(is_it)).json();
    assert_eq!((&paged["event_action"], &paged["dedup_key"]), (&"trigger".into(), &body["alarm"]["id"]));
    wait_for("a message in the room", || room.taken().into_iter().find(is_it));
}

/// `alert` and the admin API show what is about alarms as what is about incidents.
fn check_commands(place: &Place, server: &Server) {
    let alarms = server.admin("/api/v1/alarms");
    let latest = &alarms["alarms"][0];
    assert_eq!(alarms["alarms"].as_array().unwrap().len(), 6);
    let id = latest["id"].as_str().unwrap();
    let listed = place.ok(&["alert", "list", "--all", "--alarm", id, "--json"]).json();
    let rows = listed.as_array().unwrap();
    assert!(
        !rows.is_empty() && rows.iter().all(|row| row["alarm"] == id && row["state"] == "sent"),
        "{rows:?}"
    );
    let shown = place.ok(&["alert", "show", &rows[0]["id"].to_string()]).stdout;
    assert!(shown.contains(&format!("alarm        {id}")) && shown.contains("the_month"), "{shown}");
    assert!(place.ok(&["alert", "list", "--all"]).stdout.contains(id));
    let log = place.ok(&["audit", "show"]).stdout;
    assert!(log.contains("alarm.raise") && log.contains("alarm.snooze"), "{log}");
    // The command says what the server tells.
    let over = place.run(&["spend", "check"]);
    assert_eq!(over.code, 3);
    assert!(
        over.stdout.contains("key search-prod: $4.80 spent today, over 3 times a typical day ($1.00)"),
        "{over:?}"
    );
}
