//! What the whole key does: a step from one hour to the next, whoever calls.

use tokenwatch_detect::{Engine, InFlight, KeyProfile, KeyState};
use tokenwatch_model::finding::{Decision, Finding, Tier};
use tokenwatch_model::key::Workload;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{DAY, HOUR, MINUTE, Timestamp};

use crate::world::{Agent, Call, Place, day, event, key, request};

/// A call of a service: its machine, software, model and prompt.
pub(crate) fn usual(time: Timestamp) -> Call {
    Call {
        time,
        place: Place { block: 10, asn: 16_509, country: "US", kind: NetworkKind::Hosting },
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

/// What was raised.
#[derive(Debug, Default)]
struct Raised {
    alerts: Vec<Finding>,
    highest_days: f64,
}

/// A key with ten days of history is called by its own callers so many times an hour, evenly, hour after hour. Nobody is
/// refused.
#[track_caller]
fn check(false_alarms_per_year: f64, hours: &[u64]) -> Raised {
    let engine = Engine::default();
    let profile = KeyProfile { workload: Workload::Service, false_alarms_per_year, ..KeyProfile::default() };
    let (mut state, mut seq, mut raised) = (KeyState::new(), 0, Raised::default());
    for i in 0..10 * 144 {
        seq += 1;
        let call = usual(day(0).plus(i * 10 * MINUTE));
        engine.observe(&mut state, &profile, &event(key(0), seq, &call, None));
    }
    for (place, &calls) in hours.iter().enumerate() {
        for i in 0..calls {
            let call = usual(day(0).plus(10 * DAY + place as u64 * HOUR + i * HOUR / calls));
            let verdict = engine.judge(&state, &profile, &request(key(0), &call), InFlight::default());
            assert_eq!(verdict.decision, Decision::Forward, "{calls}");
            seq += 1;
            let told = engine.observe(&mut state, &profile, &event(key(0), seq, &call, None));
            raised.alerts.extend(told.into_iter().filter(|finding| finding.tier >= Tier::Alert));
            raised.highest_days = raised.highest_days.max(state.raised_days());
        }
    }
    raised
}

#[test]
fn ordinary_bursts_are_quiet_whatever_the_budget() {
    for hours in [&[60, 60, 60, 60][..], &[12; 24], &[20, 60, 200, 600, 1_500], &[80]] {
        let raised = check(36.5, hours);
        assert!(raised.alerts.is_empty() && raised.highest_days < 10.0, "{hours:?}: {raised:#?}");
    }
}

#[test]
fn a_step_beyond_everything_before_is_told_of_once_and_refuses_nobody() {
    let raised = check(3.65, &[3_000, 3_000, 3_000]);
    let [alert] = &raised.alerts[..] else { panic!("{raised:#?}") };
    assert_eq!((alert.rule.as_str(), &alert.actor), ("key_surge", &None));
    assert!(alert.once_in_days >= 100.0 && alert.reasons.len() == 1, "{alert:#?}");
}

#[test]
fn at_the_usual_budget_volume_is_hardly_ever_enough() {
    let raised = check(0.25, &[3_000, 3_000]);
    assert!(raised.alerts.is_empty() && raised.highest_days > 100.0, "{raised:#?}");
}
