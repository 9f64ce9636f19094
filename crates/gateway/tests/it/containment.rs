//! Containments take force at once, on new requests and on those in flight, and hit the thief alone.

use serde_json::{Value, json};
use tokenwatch_model::containment::{Action, Clamp, Containment, ContextMatch};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Finding, Tier};
use tokenwatch_model::id::SuppressionId;
use tokenwatch_model::key::{KeyState, Mode, Policy};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::Prefix;
use tokenwatch_model::outcome::{Cut, Outcome, Refusal};
use tokenwatch_model::secret::Secret;
use tokenwatch_model::suppression::{Reach, Suppression};
use tokenwatch_model::time::{HOUR, SECOND, Timestamp};
use tokenwatch_testkit::client::Answer;

use crate::rig::{
    NOON, OUTPUT, Raw, Rig, chat, containment, error_code, eventually, key_entry, key_id, message, post,
    raw_post, rig,
};

const CHAT: &str = "/v1/chat/completions";
const OWNER: &str = "198.51.100.7";
const THIEF: &str = "203.0.113.9";
/// A stream that would go on for two minutes.
const SLOWLY: &str = "x-mock-output-tokens: 4000\r\nx-mock-chunks: 1200\r\nx-mock-chunk-delay-ms: 100\r\n";

fn of_thief() -> ContextMatch {
    ContextMatch { prefix: Some(Prefix::of(THIEF.parse().unwrap())), ..ContextMatch::default() }
}

/// Starts a stream and waits until some of it has come.
fn start_stream(rig: &Rig, path: &str, body: &Value, secret: &Secret, from: &str) -> Raw {
    let mut raw = rig.connect();
    let headers = format!("{SLOWLY}x-forwarded-for: {from}\r\n");
    raw.write(raw_post(path, secret, &body.to_string(), &headers));
    let read = raw.read_until(|read| read.matches("data:").count() > 1);
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
    raw
}

/// Cuts a thief's stream with `cut`; checks its last words and that the owner's goes on unless `both`.
#[track_caller]
fn check_cut(path: &str, body: &Value, both: bool, cut: impl Fn(&Rig), marks: &[&str]) {
    let rig = rig();
    let secret = rig.key();
    let mut owner = start_stream(&rig, path, body, &secret, OWNER);
    let mut thief = start_stream(&rig, path, body, &secret, THIEF);
    cut(&rig);
    let last = thief.read_until(|read| read.ends_with("0\r\n\r\n"));
    assert!(last.ends_with("0\r\n\r\n"), "the stream ends as a whole one: {last}");
    assert!(marks.iter().all(|mark| last.contains(mark)), "{last}");
    eventually("the provider is told to stop", || rig.mock.abandoned() == 1 + u64::from(both));
    if both {
        assert!(owner.read_until(|read| read.ends_with("0\r\n\r\n")).contains(marks[0]));
    } else {
        let more = owner.read_until(|read| read.matches("data:").count() > 2);
        assert!(!more.contains("error"), "{more}");
        assert_eq!(rig.gateway.live.totals().in_flight, 1);
        drop(owner);
    }
    let events = rig.events(2);
    assert_eq!((events[0].outcome, events[0].status), (Outcome::Cut(Cut::Containment), 200));
    assert!(events[0].cost > NanoUsd::ZERO && events[0].cost.0 < 1_000 * OUTPUT);
    let other = if both { Outcome::Cut(Cut::Containment) } else { Outcome::ClientLeft };
    assert_eq!(events[1].outcome, other);
    assert_eq!(events[1].request.source.address.to_string(), if both { THIEF } else { OWNER }.to_string());
}

#[test]
fn a_contained_stream_is_cut_and_the_owners_goes_on() {
    let stream = json!({"stream": true});
    let contain = |rig: &Rig| rig.contain(1, 1, 1, Action::RefuseContext(of_thief()));
    check_one(CHAT, &chat(&stream), &contain, &["data: {\"error\":", "permission_error", "contained"]);
    let body = json!({"model": "gpt-4o-mini", "input": "Say hello.", "stream": true});
    check_one("/v1/responses", &body, &contain, &["event: error", "\"code\":\"contained\""]);
    check_one("/v1/messages", &message(&stream), &contain, &["event: error", "permission_error"]);

    #[track_caller]
    fn check_one(path: &str, body: &Value, contain: &impl Fn(&Rig), marks: &[&str]) {
        check_cut(path, body, false, contain, marks);
    }
}

#[test]
fn what_ends_a_key_cuts_all_its_streams() {
    let body = chat(&json!({"stream": true}));
    let marks = ["data: {\"error\":"];
    let sorted = |cut: &dyn Fn(&Rig)| {
        let rig = rig();
        let secret = rig.key();
        let mut streams = [OWNER, THIEF].map(|from| start_stream(&rig, CHAT, &body, &secret, from));
        cut(&rig);
        for stream in &mut streams {
            assert!(stream.read_until(|read| read.ends_with("0\r\n\r\n")).contains(marks[0]));
        }
        let events = rig.events(2);
        assert!(events.iter().all(|event| event.outcome == Outcome::Cut(Cut::Containment)));
        rig.check_refused(&secret, &[(OWNER, true), (THIEF, true)]);
    };
    sorted(&|rig| rig.contain(1, 1, 1, Action::Suspend));
    sorted(&|rig| rig.contain(1, 1, 1, Action::Revoke));
    sorted(&|rig| drop(rig.put_key(1, 2, KeyState::Revoked, None, Policy::default())));
    sorted(&|rig| drop(rig.put_key(1, 2, KeyState::Disabled, None, Policy::default())));
}

#[test]
fn a_stream_ends_with_the_time_of_its_key() {
    let body = chat(&json!({"stream": true}));
    let later = NOON.plus(60 * SECOND);
    let check = |expire: &dyn Fn(&Rig)| {
        let rig = rig();
        let secret = rig.put_key(1, 1, KeyState::Active, Some(later.plus(HOUR)), Policy::default());
        let mut stream = start_stream(&rig, CHAT, &body, &secret, OWNER);
        rig.clock.advance(60);
        let read = stream.read_until(|read| read.matches("data:").count() > 1);
        assert!(!read.contains("error"), "the key has an hour left: {read}");
        expire(&rig);
        let last = stream.read_until(|read| read.ends_with("0\r\n\r\n"));
        assert!(last.contains("data: {\"error\":") && last.contains("key_expired"), "{last}");
        let event = rig.event();
        assert_eq!((event.outcome, event.status), (Outcome::Cut(Cut::Expired), 200));
        rig.check_refused(&secret, &[(OWNER, true)]);
    };
    check(&|rig| rig.clock.advance(3_600));
    // A person shortens its time while the stream runs: to the past, and to soon.
    check(&|rig| drop(rig.put_key(1, 2, KeyState::Active, Some(NOON), Policy::default())));
    check(&|rig| {
        rig.put_key(1, 2, KeyState::Active, Some(later.plus(SECOND)), Policy::default());
        rig.clock.advance(1);
    });
}

#[test]
fn what_waits_ends_with_the_time_of_its_key_too() {
    let rig = rig();
    let secret = rig.put_key(1, 1, KeyState::Active, Some(NOON.plus(60 * SECOND)), Policy::default());
    let mut raw = rig.connect();
    raw.write(raw_post(CHAT, &secret, &chat(&json!({"stream": true})).to_string(), "x-mock-fail: hang\r\n"));
    eventually("the provider has it", || rig.mock.requests() == 1);
    rig.clock.advance(59);
    rig.gateway.live.cut_expired(rig.clock_now());
    assert_eq!(rig.gateway.live.totals().in_flight, 1);
    rig.clock.advance(1);
    rig.gateway.live.cut_expired(rig.clock_now());
    let read = raw.read_until(|read| read.contains("key_expired"));
    assert!(read.starts_with("HTTP/1.1 403"), "{read}");
    assert_eq!(rig.event().outcome, Outcome::Cut(Cut::Expired));
}

impl Rig {
    fn ask_from(&self, secret: &Secret, from: &str, model: &str, headers: &[(&str, &str)]) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("x-forwarded-for", from));
        let body = chat(&json!({"model": model, "max_tokens": 20}));
        self.run(self.client.send_http(post(CHAT, &body, secret.expose(), &headers))).unwrap()
    }

    #[track_caller]
    fn check_refused(&self, secret: &Secret, want: &[(&str, bool)]) {
        for (from, refused) in want {
            let answer = self.ask_from(secret, from, "gpt-4o-mini", &[]);
            assert_eq!(answer.status != 200, *refused, "{from}: {}", answer.text());
        }
    }
}

#[test]
fn a_request_that_waits_for_its_answer_is_cut_too() {
    let rig = rig();
    let secret = rig.key();
    for (n, stream) in [true, false].into_iter().enumerate() {
        let mut raw = rig.connect();
        let body = chat(&json!({"stream": stream, "max_tokens": 9})).to_string();
        let headers = format!("x-mock-delay-ms: 1500\r\nx-forwarded-for: {THIEF}\r\n");
        raw.write(raw_post(CHAT, &secret, &body, &headers));
        eventually("the provider has it", || rig.mock.requests() == n as u64 + 1);
        rig.contain(1, n as u64 + 1, 1, Action::RefuseContext(of_thief()));
        let read = raw.read_until(|read| read.contains("context_refused"));
        assert!(read.starts_with("HTTP/1.1 403"), "{read}");
        let event = rig.events(n + 1).remove(n);
        assert_eq!(event.outcome, Outcome::Cut(Cut::Containment));
        // A stream is dropped at the provider and booked at its most; a whole answer is read on.
        assert!(event.usage.output == 9, "{:?}", event.usage);
        rig.gateway.live.put_containments(
            key_id(1),
            vec![Containment {
                lifted: Some((rig.clock_now(), "test".into())),
                ..containment(1, n as u64 + 1, 2, Action::Watch, NOON)
            }],
            rig.clock_now(),
        );
    }
    rig.check_settled(1, &secret);
}

#[test]
fn a_request_that_waits_is_told_what_ended_its_key() {
    let check = |told: &str, status: &str, end: &dyn Fn(&Rig)| {
        let rig = rig();
        let secret = rig.key();
        let mut raw = rig.connect();
        let body = chat(&json!({"max_tokens": 9})).to_string();
        raw.write(raw_post(CHAT, &secret, &body, "x-mock-fail: hang\r\n"));
        eventually("the provider has it", || rig.mock.requests() == 1);
        end(&rig);
        let read = raw.read_until(|read| read.contains(told));
        assert!(read.starts_with(&format!("HTTP/1.1 {status}")), "{read}");
    };
    let put = |state| move |rig: &Rig| drop(rig.put_key(1, 2, state, None, Policy::default()));
    check("key_revoked", "401", &put(KeyState::Revoked));
    check("key_disabled", "403", &put(KeyState::Disabled));
    check("key_suspended", "403", &|rig| rig.contain(1, 1, 1, Action::Suspend));
    check("key_revoked", "401", &|rig| rig.contain(1, 1, 1, Action::Revoke));
}

#[test]
fn a_whole_answer_is_broken_off_and_booked_whole() {
    let rig = rig();
    let secret = rig.key();
    let mut raw = rig.connect();
    // Far more than fits into the buffers of the sockets.
    let body = json!({"model": "text-embedding-3-small", "input": vec!["x"; 500], "dimensions": 4096});
    raw.write(raw_post("/v1/embeddings", &secret, &body.to_string(), "x-mock-input-tokens: 120\r\n"));
    raw.read_until(|read| read.len() > 1_000);
    rig.contain(1, 1, 1, Action::Suspend);
    let rest = raw.read_all();
    assert!(!rest.ends_with('}'), "the answer was whole");
    let event = rig.event();
    assert_eq!((event.outcome, event.usage.input), (Outcome::Cut(Cut::Containment), 120));
}

#[test]
fn an_older_revision_never_undoes_a_newer() {
    let rig = rig();
    let secret = rig.key();
    let now = rig.clock_now();
    let live = &rig.gateway.live;
    let refuse = Action::RefuseContext(of_thief());
    let first = containment(1, 1, 1, refuse, now);
    let lifted = Containment { lifted: Some((now, "owner".into())), revision: 2, ..first.clone() };
    live.put_containments(key_id(1), vec![first.clone()], now);
    rig.check_refused(&secret, &[(THIEF, true), (OWNER, false)]);
    live.put_containments(key_id(1), vec![lifted], now);
    rig.check_refused(&secret, &[(THIEF, false), (OWNER, false)]);
    live.put_containments(key_id(1), vec![first.clone()], now);
    rig.check_refused(&secret, &[(THIEF, false), (OWNER, false)]);
    // The other way round: lifting that arrives late does not end what is newer.
    let again = Containment { revision: 4, ..first.clone() };
    live.put_containments(key_id(1), vec![again], now);
    live.put_containments(
        key_id(1),
        vec![Containment { lifted: Some((now, "owner".into())), revision: 3, ..first }],
        now,
    );
    rig.check_refused(&secret, &[(THIEF, true), (OWNER, false)]);
    rig.put_key(1, 5, KeyState::Revoked, None, Policy::default());
    rig.put_key(1, 4, KeyState::Active, None, Policy::default());
    rig.check_refused(&secret, &[(OWNER, true)]);
}

#[test]
fn containments_expire_by_themselves() {
    let rig = rig();
    let secret = rig.key();
    let now = rig.clock_now();
    let expires = Some(now.plus(60 * SECOND));
    let hour = Containment { expires, ..containment(1, 1, 1, Action::RefuseContext(of_thief()), now) };
    rig.gateway.live.put_containments(key_id(1), vec![hour], now);
    rig.check_refused(&secret, &[(THIEF, true), (OWNER, false)]);
    rig.clock.advance(60);
    rig.check_refused(&secret, &[(THIEF, false), (OWNER, false)]);
}

#[test]
fn a_refused_request_says_which_containments_it_was_in() {
    let rig = rig();
    let secret = rig.key();
    let of_model = ContextMatch { model: Some("gpt-4o".into()), ..ContextMatch::default() };
    rig.contain(1, 1, 1, Action::RefuseContext(of_thief()));
    rig.contain(1, 2, 2, Action::RefuseContext(of_model));
    rig.contain(1, 3, 3, Action::Watch);
    rig.ask_from(&secret, THIEF, "gpt-4o-mini", &[]);
    rig.ask_from(&secret, THIEF, "gpt-4o", &[]);
    rig.ask_from(&secret, OWNER, "gpt-4o-mini", &[]);
    rig.events(3);
    let met: Vec<Vec<u64>> =
        rig.memory.met().iter().map(|met| met.iter().map(|id| id.bits()).collect()).collect();
    assert_eq!(met, [vec![1, 3], vec![1, 2, 3]]);
}

#[test]
fn a_clamp_holds_one_context_to_its_rate_money_and_models() {
    let rig = rig();
    let secret = rig.key();
    let clamp = Clamp {
        only: Some(of_thief()),
        requests_per_minute: Some(2),
        cost_per_hour: Some(NanoUsd(30 * OUTPUT)),
        models: Some(vec!["gpt-4o-mini".into()]),
    };
    rig.contain(1, 1, 1, Action::Clamp(clamp));
    let dear = rig.ask_from(&secret, THIEF, "gpt-4o", &[]);
    assert_eq!((dear.status.as_u16(), dear.header("retry-after")), (429, None), "waiting does not help");
    rig.check_refused(&secret, &[(THIEF, false)]);
    rig.events(2);
    rig.check_refused(&secret, &[(THIEF, false)]);
    rig.events(3);
    let refused = rig.ask_from(&secret, THIEF, "gpt-4o-mini", &[]);
    assert_eq!(error_code(&refused.body), "clamped");
    // The clock stands at 20 seconds past the minute.
    assert_eq!(refused.header("retry-after"), Some("40"));
    rig.clock.advance(40);
    let refused = rig.ask_from(&secret, THIEF, "gpt-4o-mini", &[]);
    // The money of the hour: two answers of twenty tokens were more than thirty.
    assert_eq!(error_code(&refused.body), "clamped");
    assert_eq!(refused.header("retry-after"), Some((3_600 - 60).to_string().as_str()));
    rig.check_refused(&secret, &[(OWNER, false), (OWNER, false), (OWNER, false)]);
    let dear = rig.ask_from(&secret, OWNER, "gpt-4o", &[]);
    assert_eq!(dear.status, 200);
}

const OWNERS_CLIENT: &[(&str, &str)] = &[("user-agent", "OpenAI/Python 1.99.1")];
const THIEFS_CLIENT: &[(&str, &str)] = &[("user-agent", "curl/8.5.0")];

/// Lets the owner use the key for some weeks, as a service does.
fn live_through_weeks(rig: &Rig, secret: &Secret) -> usize {
    let mut sent = 0;
    for day in 0..35_u64 {
        for hour in 0..12_u64 {
            rig.clock.set(Timestamp(NOON.0 - (36 - day) * 24 * HOUR + hour * 2 * HOUR));
            assert_eq!(rig.ask_from(secret, OWNER, "gpt-4o-mini", OWNERS_CLIENT).status, 200);
            sent += 1;
        }
    }
    rig.clock.set(NOON);
    sent
}

/// Says that what a rule tells of the key, or what a context does, is expected for an hour.
fn expect_for_an_hour(rig: &Rig, rule: Option<&str>, context: Option<ContextMatch>) {
    let now = rig.clock_now();
    let suppression = Suppression {
        id: SuppressionId::from_bits(1),
        reach: Reach::Key(key_id(1)),
        rule: rule.map(Into::into),
        context,
        reason: "load test".to_owned(),
        by: "test".into(),
        created: now,
        expires: now.plus(HOUR),
        lifted: None,
        revision: 1,
    };
    rig.gateway.live.put_suppressions(vec![suppression], now);
}

#[test]
fn a_newcomer_is_judged_and_refused_and_the_owner_is_served_on() {
    let rig = rig();
    let secret = rig.key();
    let known = live_through_weeks(&rig, &secret);
    let mut judged = 0;
    for n in 0..60 {
        rig.clock.advance(2);
        let thief = rig.ask_from(&secret, THIEF, "gpt-4o", THIEFS_CLIENT);
        judged += usize::from(error_code(&thief.body) == "judged_not_owner");
        let owner = rig.ask_from(&secret, OWNER, "gpt-4o-mini", OWNERS_CLIENT);
        assert_eq!(owner.status, 200, "the owner at request {n}");
    }
    assert!(judged > 0, "the thief was never refused");
    let events: Vec<UsageEvent> = rig.events(known + 120);
    let refused = |event: &&UsageEvent| event.outcome == Outcome::Refused(Refusal::Judged);
    assert_eq!(events.iter().filter(refused).count(), judged);
    assert!(events.iter().filter(refused).all(|event| event.request.source.address.to_string() == THIEF));
    assert_eq!(rig.memory.contained(), judged as u64);
    let findings = rig.memory.findings();
    assert!(findings.iter().any(|finding| finding.key == key_id(1)), "{findings:?}");
    // What is judged is only watched on a key in observe mode.
    let observe = Policy { mode: Some(Mode::Observe), ..Policy::default() };
    rig.put_key(1, 2, KeyState::Active, None, observe);
    rig.clock.advance(1);
    assert_eq!(rig.ask_from(&secret, THIEF, "gpt-4o", THIEFS_CLIENT).status, 200);
}

#[test]
fn a_thief_on_the_owners_machine_is_refused_by_what_he_asks() {
    let rig = rig();
    let secret = rig.key();
    live_through_weeks(&rig, &secret);
    let mut served = 0;
    while rig.ask_from(&secret, OWNER, "gpt-4o", OWNERS_CLIENT).status == 200 {
        served += 1;
        assert!(served < 1_000, "the thief was never refused");
        rig.clock.advance(2);
    }
    assert_eq!(rig.ask_from(&secret, OWNER, "gpt-4o-mini", OWNERS_CLIENT).status, 200);
    let found = |finding: &Finding| finding.rule == "unfamiliar_burst" && finding.tier >= Tier::Alert;
    let [alert, ..] = &rig.memory.findings().into_iter().filter(found).collect::<Vec<_>>()[..] else {
        panic!("{:?}", rig.memory.findings())
    };
    let of_model = ContextMatch { model: Some("gpt-4o".into()), ..ContextMatch::default() };
    assert_eq!(alert.actor.as_ref().map(|actor| &actor.context), Some(&of_model));
    // What is expected goes on.
    expect_for_an_hour(&rig, Some("unfamiliar_burst"), None);
    assert_eq!(rig.ask_from(&secret, OWNER, "gpt-4o", OWNERS_CLIENT).status, 200);
}

#[test]
fn what_is_expected_is_served_and_recorded_until_it_ends() {
    let rig = rig();
    let secret = rig.key();
    let known = live_through_weeks(&rig, &secret);
    let now = rig.clock_now();
    expect_for_an_hour(&rig, None, Some(of_thief()));
    for n in 0..60 {
        rig.clock.advance(2);
        let thief = rig.ask_from(&secret, THIEF, "gpt-4o", THIEFS_CLIENT);
        assert_eq!(thief.status, 200, "request {n}: {}", error_code(&thief.body));
    }
    let alerts = |findings: Vec<Finding>| findings.iter().filter(|f| f.tier >= Tier::Alert).count();
    assert_eq!(alerts(rig.memory.findings()), 0);
    let silenced: Vec<Finding> = rig.memory.suppressed().into_iter().map(|alert| alert.finding).collect();
    let silenced = alerts(silenced);
    // Found with each request, recorded once for each tier.
    assert!((1..=4).contains(&silenced), "{silenced}");
    // Whoever reads the journal knows the same, without knowing of suppressions.
    rig.events(known + 60);
    let again = Rig::bare(now);
    again.live.put_key(key_entry(1, 1, KeyState::Active, None, Policy::default()).1, now);
    for record in rig.memory.records() {
        if let Some(key) = again.live.needs_loading(&record) {
            again.live.begin(key);
        }
        assert!(again.live.replay(&record));
    }
    assert!(again.live.take_checkpoints() == rig.gateway.live.take_checkpoints());
    // Its time is over: who comes from there with other software alerts and is refused.
    rig.clock.set(now.plus(HOUR));
    let other = &[("user-agent", "Go-http-client/2.0")];
    let refused = |_| rig.ask_from(&secret, THIEF, "gpt-4o", other).status == 403;
    assert!((0..5).any(refused), "the thief was never refused");
    eventually("the alert", || alerts(rig.memory.findings()) == 1);
    assert_eq!(rig.ask_from(&secret, OWNER, "gpt-4o-mini", OWNERS_CLIENT).status, 200);
}
