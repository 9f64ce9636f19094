//! Every rule: an example that fires and a counter-example that does not.

use std::collections::BTreeSet;

use tokenwatch_detect::{Config, Engine, FleetPriors, KeyProfile, KeyState, RuleSet, catalogue};
use tokenwatch_model::finding::{Finding, Severity, Tier};
use tokenwatch_model::key::Workload;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{DAY, HOUR, MINUTE, SECOND, Timestamp};

use crate::world::{Agent, Call, Place, day, event, key};

const HOME: Place = Place { block: 10, asn: 3_320, country: "DE", kind: NetworkKind::Access };
/// The history ends here: Monday, 10:00.
const DAYS: u64 = 14;

fn now() -> Timestamp {
    day(DAYS).plus(10 * HOUR)
}

fn usual(time: Timestamp) -> Call {
    Call {
        time,
        place: HOME,
        host: 3,
        agent: Agent { family: "openai-python", version: "1.52.0".into(), tls: 5 },
        model: "gpt-4o-mini",
        endpoint: Endpoint::ChatCompletions,
        template: 0x1111,
        input: 500,
        output: 100,
        output_max: 500,
        status: 200,
    }
}

/// Fourteen days, 40 to 54 requests between 8 and 18 o'clock, each costing a cent.
fn history(profile: &KeyProfile, engine: &Engine) -> KeyState {
    let mut state = KeyState::new();
    for at in 0..DAYS {
        let n = 40 + at;
        for i in 0..n {
            let time = day(at).plus(8 * HOUR + i * 10 * HOUR / n);
            engine.observe(&mut state, profile, &priced(&usual(time), 1));
        }
    }
    state
}

fn priced(call: &Call, cents: u64) -> tokenwatch_model::event::UsageEvent {
    let mut done = event(key(0), 0, call, None);
    done.cost = NanoUsd::from_cents(cents);
    done
}

fn told(calls: &[(Call, u64)], profile: &KeyProfile) -> Vec<Finding> {
    let engine = Engine::default();
    let mut state = history(profile, &engine);
    calls
        .iter()
        .flat_map(|(call, cents)| engine.observe(&mut state, profile, &priced(call, *cents)))
        .collect()
}

/// `fires` must tell of the rule exactly once at the severity; `silent` must not.
#[track_caller]
fn check(rule: &str, severity: Severity, fires: &[(Call, u64)], silent: &[(Call, u64)]) {
    let profile = KeyProfile {
        workload: Workload::Service,
        monthly_cap: Some(NanoUsd::from_cents(900)),
        ..KeyProfile::default()
    };
    let findings = told(fires, &profile);
    let hits: Vec<&Finding> = findings.iter().filter(|finding| finding.rule == rule).collect();
    assert!(!hits.is_empty(), "{rule} did not fire: {findings:#?}");
    assert_eq!(hits.last().map(|hit| hit.severity), Some(severity), "{rule}");
    assert!(
        hits.iter().all(|hit| hit.summary.contains(|c: char| c.is_ascii_digit())),
        "{rule} without numbers"
    );
    let levels: BTreeSet<Severity> = hits.iter().map(|hit| hit.severity).collect();
    assert_eq!(levels.len(), hits.len(), "{rule} was told twice at one level");
    let findings = told(silent, &profile);
    assert!(findings.iter().all(|finding| finding.rule != rule), "{rule} fired: {findings:#?}");
}

/// `n` usual calls from `start`, one each `gap`, changed by `change`.
fn run(start: Timestamp, n: u64, gap: u64, change: impl Fn(u64, Call) -> Call) -> Vec<(Call, u64)> {
    (0..n).map(|i| (change(i, usual(start.plus(i * gap))), 1)).collect()
}

fn same(_: u64, call: Call) -> Call {
    call
}

#[test]
fn requests_per_minute() {
    let rule = "requests_per_minute_over_5x_baseline";
    check(rule, Severity::High, &run(now(), 30, SECOND, same), &run(now(), 30, 10 * SECOND, same));
}

#[test]
fn new_country() {
    let abroad = |tokens| {
        move |_, call: Call| Call {
            place: Place { block: 99, asn: 4_134, country: "CN", ..HOME },
            input: tokens,
            ..call
        }
    };
    check(
        "new_country_high_tokens",
        Severity::High,
        &run(now(), 8, MINUTE, abroad(5_000)),
        &run(now(), 8, MINUTE, abroad(100)),
    );
}

#[test]
fn model_profile() {
    let every = |n: u64| {
        move |i: u64, call: Call| {
            if i.is_multiple_of(n) {
                Call {
                    place: Place { block: 5_000, asn: 77, country: "FR", ..HOME },
                    model: "gpt-5-pro",
                    template: 9,
                    ..call
                }
            } else {
                call
            }
        }
    };
    check(
        "model_profile_deviation",
        Severity::High,
        &run(now(), 40, MINUTE, every(2)),
        &run(now(), 40, MINUTE, every(10)),
    );
}

#[test]
fn unknown_model() {
    let other = |model| move |_, call: Call| Call { model, ..call };
    check(
        "unknown_model",
        Severity::High,
        &run(now(), 3, MINUTE, other("claude-opus")),
        &run(now(), 3, MINUTE, other("gpt-4o-mini")),
    );
}

#[test]
fn unknown_source() {
    let from = |block, host| move |_, call: Call| Call { place: Place { block, ..HOME }, host, ..call };
    check(
        "unknown_source_ip",
        Severity::High,
        &run(now(), 3, MINUTE, from(11, 3)),
        &run(now(), 3, MINUTE, from(10, 200)),
    );
}

#[test]
fn volume_spike() {
    check("volume_spike", Severity::High, &run(now(), 70, MINUTE, same), &run(now(), 55, MINUTE, same));
    check("volume_spike", Severity::Critical, &run(now(), 480, MINUTE, same), &[]);
}

#[test]
fn cost_spike() {
    let dear = |cents| vec![(usual(now()), cents)];
    check("cost_spike", Severity::Critical, &dear(1_100), &dear(900));
}

#[test]
fn off_hours() {
    let night = day(DAYS).plus(2 * HOUR);
    check("off_hours_usage", Severity::Medium, &run(night, 20, MINUTE, same), &run(now(), 20, MINUTE, same));
    // A few are not a third of a day.
    check("off_hours_usage", Severity::Medium, &run(night, 20, MINUTE, same), &run(night, 9, MINUTE, same));
}

#[test]
fn usage_spike() {
    // Sustained for five minutes, against a minute's burst.
    check(
        "usage_spike",
        Severity::Critical,
        &run(now(), 120, 5 * SECOND, same),
        &run(now(), 12, SECOND, same),
    );
}

#[test]
fn new_sources() {
    let hosts = |n: u64| move |i: u64, call: Call| Call { host: (i % n) as u8, ..call };
    check(
        "new_source_addresses",
        Severity::Medium,
        &run(now(), 30, MINUTE, hosts(20)),
        &run(now(), 30, MINUTE, hosts(1)),
    );
}

#[test]
fn billing() {
    let spend = |cents| vec![(usual(now()), cents)];
    check("billing_thresholds", Severity::Medium, &spend(90), &spend(60));
    check("billing_thresholds", Severity::High, &spend(200), &[]);
    check("billing_thresholds", Severity::Critical, &spend(600), &[]);
    let slowly: Vec<(Call, u64)> =
        run(now(), 60, MINUTE, same).into_iter().map(|(call, _)| (call, 10)).collect();
    check("billing_thresholds", Severity::Critical, &slowly, &[]);
}

#[test]
fn monthly_cap() {
    check("monthly_cap", Severity::Critical, &[(usual(now()), 400)], &[(usual(now()), 100)]);
}

#[test]
fn recon() {
    let probe = |i: u64, call: Call| match i {
        0 => Call { endpoint: Endpoint::Models, model: "", template: 0, ..call },
        1 | 2 => Call { status: 400, output_max: 1, template: 0, ..call },
        _ => Call { endpoint: Endpoint::Administration, status: 403, model: "", template: 0, ..call },
    };
    let clumsy = |_: u64, call: Call| Call { status: 400, ..call };
    check("recon", Severity::High, &run(now(), 4, SECOND, probe), &run(now(), 10, SECOND, clumsy));
}

#[test]
fn many_clients() {
    let agents = |n: u64| {
        move |i: u64, call: Call| Call {
            agent: Agent { version: format!("{}.0", i % n), tls: 0, ..call.agent.clone() },
            ..call
        }
    };
    check(
        "many_clients",
        Severity::High,
        &run(now(), 40, MINUTE, agents(20)),
        &run(now(), 40, MINUTE, agents(3)),
    );
}

#[test]
fn impossible_travel() {
    let mut far = run(now(), 2, 10 * MINUTE, same);
    far[1].0.place = Place { block: 999, asn: 1_221, country: "AU", ..HOME };
    let mut slow = far.clone();
    slow[1].0.time = now().plus(2 * DAY);
    check("impossible_travel", Severity::High, &far, &slow);
    let mut near = far.clone();
    near[1].0.place.country = "NL";
    check("impossible_travel", Severity::High, &far, &near);
}

#[test]
fn dormant() {
    let back = |days: u64| run(now().plus(days * DAY), 4, MINUTE, same);
    check("dormant_key_revived", Severity::Medium, &back(35), &back(20));
    check("dormant_key_revived", Severity::Medium, &back(400), &[]);
}

#[test]
fn rules_only_give_notices() {
    let profile = KeyProfile::default();
    for finding in told(&run(now(), 500, SECOND, same), &profile) {
        assert_eq!(finding.tier, Tier::Notice, "{finding:#?}");
        assert_eq!(finding.once_in_days, 0.0);
    }
}

#[test]
fn rules_can_be_switched_off() {
    let rules = RuleSet::none().switch("volume_spike", true).unwrap();
    let engine = Engine::new(Config { rules, ..Config::default() }, FleetPriors::shipped());
    let profile = KeyProfile::default();
    let mut state = history(&profile, &engine);
    let calls = run(now(), 500, SECOND, same);
    let told: BTreeSet<String> = calls
        .iter()
        .flat_map(|(call, cents)| engine.observe(&mut state, &profile, &priced(call, *cents)))
        .map(|finding| finding.rule.to_string())
        .collect();
    assert_eq!(told, BTreeSet::from(["volume_spike".to_owned()]));
}

#[test]
fn the_catalogue_is_sound() {
    let all = catalogue();
    let ids: BTreeSet<&str> = all.iter().map(|about| about.id).collect();
    assert_eq!(ids.len(), all.len());
    for about in all {
        assert!(about.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
        assert!(!about.title.is_empty() && !about.title.ends_with('.'));
        assert!(about.atlas.iter().all(|id| id.starts_with("AML.T")) && !about.atlas.is_empty());
        assert!(about.owasp.iter().all(|id| id.starts_with("LLM")) && !about.owasp.is_empty());
        assert!(!about.nist.is_empty());
    }
}
