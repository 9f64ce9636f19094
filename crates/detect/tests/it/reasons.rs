//! Reasons add up to the score, and the numbers they state are the ones they count for.

use proptest::prelude::*;
use tokenwatch_detect::{Engine, InFlight};
use tokenwatch_model::finding::{Finding, Reason};
use tokenwatch_model::key::Workload;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::time::HOUR;

use crate::thefts::trained;
use crate::thieves::{Theft, calls};
use crate::world::{Agent, Call, Place, day, event, key, request};

/// What may be left out of the sum, in nats, and what rounding may do to a number in a sentence.
const LEFT_OUT: f64 = 0.16;
const ROUNDED: f64 = 0.06;

/// The number behind `start`.
fn number(text: &str, start: &str, end: &str) -> Option<f64> {
    let (_, rest) = text.split_once(start)?;
    let (number, _) = rest.split_once(end)?;
    number.replace(',', "").parse().ok()
}

/// What the number in a sentence about something new is worth, in nats.
fn stated(reason: &Reason) -> Option<f64> {
    let text = &reason.what;
    number(text, "see that once per ", " day")
        .map(f64::ln)
        .or_else(|| number(text, "true of 1 in ", " ").map(f64::ln))
        .or_else(|| number(text, "true of ", " %").map(|percent| -(percent / 100.0).ln()))
        .or_else(|| number(text, "only 1 in ", " ").map(|few| -few.ln()))
}

#[track_caller]
fn check(finding: &Finding) {
    let sum: f64 = finding.reasons.iter().map(|reason| reason.nats).sum();
    let score = finding.once_in_days.ln();
    assert!((sum - score).abs() < LEFT_OUT, "{sum} is not {score}: {finding:#?}");
    for reason in &finding.reasons {
        if let Some(stated) = stated(reason) {
            assert!((stated - reason.nats).abs() < ROUNDED, "{stated} is not {reason:#?}");
        }
        assert!(!reason.what.contains("  ") && reason.nats.is_finite(), "{reason:#?}");
    }
}

/// The findings about a theft whose requests are refused as soon as they are judged so, or never.
fn findings(workload: Workload, theft: Theft, seed: u64, refuses: bool) -> Vec<Finding> {
    let engine = Engine::default();
    let (owner, mut state, profile, mut seq) = trained(workload, Workload::Unknown, seed);
    let mut findings = Vec::new();
    for call in calls(theft, &owner, day(30).plus(13 * HOUR), seed).into_iter().take(120) {
        let asked = request(key(0), &call);
        let in_flight = InFlight { actor: (seed % 40) as u32, watched: 0 };
        let verdict = engine.judge(&state, &profile, &asked, in_flight);
        let refused = (refuses && verdict.finding.is_some()).then_some(Refusal::Judged);
        findings.extend(verdict.finding.map(|finding| *finding));
        seq += 1;
        findings.extend(engine.observe(&mut state, &profile, &event(key(0), seq, &call, refused)));
    }
    findings
}

#[test]
fn a_client_without_a_version_is_named_without_one() {
    let engine = Engine::default();
    let (mut owner, state, profile, _) = trained(Workload::Service, Workload::Service, 1);
    let usual = owner.call(30);
    let agent = Agent { family: "undici", version: String::new(), tls: 7 };
    let place = Place { block: 0x60_0000, asn: 9_009, country: "RO", kind: NetworkKind::Hosting };
    let call = Call { time: day(30), agent, place, template: 9, ..usual };
    let verdict = engine.judge(&state, &profile, &request(key(0), &call), InFlight::default());
    let finding = verdict.finding.unwrap();
    check(&finding);
    let says = |start: &str| finding.reasons.iter().any(|reason| reason.what.starts_with(start));
    assert!(says("client undici never used with this key; true of "), "{finding:#?}");
    assert!(says("first time from AS9009 (RO, hosting) on this key; "), "{finding:#?}");
    assert!(says("AS9009 is a house that published thefts came from"), "{finding:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn reasons_add_up_to_the_score(
        workload in prop::sample::select(&Workload::ALL[..]),
        theft in prop::sample::select([&Theft::LOUD[..], &Theft::QUIET[..]].concat()),
        seed in 0u64..1_000,
        refuses in any::<bool>(),
    ) {
        let all = findings(workload, theft, seed, refuses);
        prop_assert!(!all.is_empty() || Theft::QUIET.contains(&theft));
        all.iter().filter(|finding| finding.once_in_days > 0.0).for_each(check);
    }
}
