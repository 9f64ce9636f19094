//! Benign changes that must not page, and the measured rate of false alarms.

use tokenwatch_detect::{Engine, InFlight, KeyProfile, KeyState};
use tokenwatch_model::finding::{Decision, Finding, Tier};
use tokenwatch_model::key::Workload;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{HOUR, SECOND};

use crate::thefts::trained;
use crate::world::{Agent, Call, Dice, Owner, Place, day, event, key, request};

/// Plays calls after 30 days of history; nothing may be refused, nothing may reach an alert.
#[track_caller]
fn check(workload: Workload, name: &str, change: impl Fn(&Owner, &Call, u64) -> Call, calls_a_day: u64) {
    for seed in 11..=13 {
        let engine = Engine::default();
        let (mut owner, mut state, profile, mut seq) = trained(workload, workload, seed);
        for at in 30..37 {
            let mut calls = owner.day(at, false);
            for i in 0..calls_a_day {
                let usual = owner.call(at);
                calls.push(change(&owner, &usual, i));
            }
            calls.sort_by_key(|call| call.time);
            for call in calls {
                let verdict = engine.judge(&state, &profile, &request(key(0), &call), InFlight::default());
                assert_ne!(
                    verdict.decision,
                    Decision::Refuse,
                    "{name} {workload:?} {seed}: {:#?}",
                    verdict.finding
                );
                seq += 1;
                let findings = engine.observe(&mut state, &profile, &event(key(0), seq, &call, None));
                let alert = findings.into_iter().find(|finding| finding.tier >= Tier::Alert);
                assert_eq!(alert, None, "{name} {workload:?} {seed}");
            }
        }
    }
}

const SERVERS: [Workload; 3] = [Workload::Service, Workload::Pool, Workload::Ci];
const ALL: [Workload; 5] =
    [Workload::Service, Workload::Pool, Workload::Ci, Workload::Team, Workload::PublicApp];

fn from(call: &Call, place: Place) -> Call {
    Call { place, ..call.clone() }
}

#[test]
fn new_blocks_in_the_same_cloud_do_not_alert() {
    for workload in SERVERS {
        check(
            workload,
            "block",
            |_, call, i| from(call, Place { block: 0x7_0000 + i as u32, ..call.place }),
            20,
        );
    }
}

#[test]
fn a_new_region_or_cloud_does_not_alert() {
    for workload in SERVERS {
        let place = Place { block: 0x7_0000, asn: 14_618, country: "IE", kind: NetworkKind::Hosting };
        check(workload, "cloud", |_, call, _| from(call, place), 40);
    }
}

#[test]
fn an_upgraded_client_does_not_alert() {
    for workload in ALL {
        check(
            workload,
            "upgrade",
            |_, call, _| Call {
                agent: Agent { version: "2.0.0".into(), tls: 77, ..call.agent.clone() },
                ..call.clone()
            },
            40,
        );
    }
}

#[test]
fn a_new_model_does_not_alert() {
    for workload in ALL {
        check(workload, "model", |_, call, _| Call { model: "gpt-6", ..call.clone() }, 40);
    }
}

#[test]
fn a_new_prompt_template_does_not_alert() {
    for workload in ALL {
        check(workload, "template", |_, call, _| Call { template: 0xabcd, ..call.clone() }, 40);
    }
}

#[test]
fn prompts_that_always_differ_do_not_alert() {
    for workload in ALL {
        check(workload, "templates", |_, call, _| Call { template: call.time.0 | 1, ..call.clone() }, 60);
    }
}

#[test]
fn people_who_travel_do_not_alert() {
    for (asn, country, kind) in [
        (12_479, "ES", NetworkKind::Access),
        (6_830, "AT", NetworkKind::Access),
        (9_009, "CH", NetworkKind::Vpn),
    ] {
        let place = Place { block: 0x7_1000, asn, country, kind };
        check(Workload::Team, "travel", |_, call, _| from(call, place), 20);
    }
}

#[test]
fn a_batch_ten_times_the_day_does_not_alert() {
    for workload in ALL {
        check(
            workload,
            "batch",
            |_, call, i| Call {
                time: day(call.time.day() as u64 - day(0).day() as u64).plus(2 * HOUR + i * 20 * SECOND),
                ..call.clone()
            },
            600,
        );
    }
}

#[test]
fn a_retry_storm_does_not_alert() {
    for workload in ALL {
        check(workload, "storm", |_, call, _| Call { status: 529, ..call.clone() }, 200);
    }
}

#[test]
fn a_load_test_from_a_new_block_does_not_alert() {
    for workload in SERVERS {
        let change = |_: &Owner, call: &Call, _| Call {
            place: Place { block: 0x7_2000, ..call.place },
            endpoint: Endpoint::ChatCompletions,
            ..call.clone()
        };
        check(workload, "load", change, 400);
    }
}

#[test]
fn growth_of_five_percent_a_day_does_not_alert() {
    let engine = Engine::default();
    let (mut owner, mut state, profile, mut seq) = trained(Workload::Service, Workload::Service, 21);
    for at in 30..75 {
        let mut calls = owner.day(at, false);
        let more = (calls.len() as f64 * (1.05f64.powi((at - 30) as i32) - 1.0)) as u64;
        for _ in 0..more {
            let call = owner.call(at);
            calls.push(call);
        }
        calls.sort_by_key(|call| call.time);
        for call in calls {
            seq += 1;
            let findings = engine.observe(&mut state, &profile, &event(key(0), seq, &call, None));
            assert!(findings.iter().all(|finding| finding.tier < Tier::Alert), "{findings:#?}");
        }
    }
}

/// What a clean fleet raised.
#[derive(Debug, Default)]
struct Clean {
    key_days: u64,
    alert_days: u64,
    refused: u64,
    notice_days: u64,
    rule_days: u64,
    /// States over 4 KiB at the end.
    large: u64,
    alerts: Vec<(u64, Workload, Finding)>,
}

/// Runs `keys` owners with benign changes for `days`; the mix of workloads is the stated fleet's.
fn simulate(keys: u64, days: u64, seed: u64, declared: bool, pace: u64) -> Clean {
    let engine = Engine::default();
    let mut clean = Clean::default();
    for n in 0..keys {
        let workload = match Dice::new(seed * 1_000 + n).below(100) {
            0..35 => Workload::Service,
            35..60 => Workload::Pool,
            60..70 => Workload::Ci,
            70..90 => Workload::Team,
            _ => Workload::PublicApp,
        };
        let mut owner = Owner::new(workload, seed * 7_919 + n);
        owner.pace = pace;
        let mut state = KeyState::new();
        let profile = KeyProfile {
            workload: if declared { workload } else { Workload::Unknown },
            ..KeyProfile::default()
        };
        let mut seq = 0;
        for at in 0..days {
            clean.key_days += 1;
            let (mut alerted, mut noticed, mut ruled) = (false, false, false);
            for call in owner.day(at, true) {
                let verdict = engine.judge(&state, &profile, &request(key(n), &call), InFlight::default());
                clean.refused += u64::from(verdict.decision == Decision::Refuse);
                seq += 1;
                for finding in engine.observe(&mut state, &profile, &event(key(n), seq, &call, None)) {
                    if finding.tier >= Tier::Alert {
                        alerted = true;
                        clean.alerts.push((at, workload, finding));
                    } else if finding.rule.starts_with("newcomer") {
                        noticed = true;
                    } else {
                        ruled = true;
                    }
                }
            }
            clean.alert_days += u64::from(alerted);
            clean.notice_days += u64::from(noticed);
            clean.rule_days += u64::from(ruled);
        }
        clean.large += u64::from(state.encode().len() > 4_096);
    }
    clean
}

/// Keys of a simulated fleet.
const KEYS: u64 = 100;

#[test]
fn false_alarms_stay_within_the_budget() {
    // The default budget is one false alarm in 1,000 days: 0.1 % of key-days. The bound leaves room for
    // the luck of 6,000 key-days.
    // The third fleet changes three times as often as the tables assume: the promise must hold.
    for (seed, declared, pace) in [(1, true, 1), (2, false, 1), (3, false, 3)] {
        let clean = simulate(KEYS, 60, seed, declared, pace);
        let share = |days: u64| 100.0 * days as f64 / clean.key_days as f64;
        assert!(share(clean.alert_days) <= 0.15, "{:#?}", clean.alerts);
        assert!(share(clean.notice_days) <= 1.0);
        assert!(share(clean.rule_days) <= 35.0);
        assert!(clean.large * 20 <= KEYS, "{} of {KEYS} states over 4 KiB", clean.large);
    }
}
