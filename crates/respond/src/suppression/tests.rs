//! What suppressions silence, and what they never do.

use proptest::prelude::*;
use tokenwatch_model::client::Client;
use tokenwatch_model::context::{Shape, Source};
use tokenwatch_model::finding::Tier;
use tokenwatch_model::id::RequestId;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{Country, NetworkFacts, NetworkKind};
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::HOUR;

use super::*;
use crate::situation::examples::{NOW, finding, volume_finding};

fn request(key: u64, asn: u32, client: &str) -> RequestContext {
    RequestContext {
        id: RequestId::new(NOW.ms(), 1),
        key: KeyId::from_bits(key),
        time: NOW,
        source: Source {
            address: "203.0.113.7".parse().unwrap(),
            facts: NetworkFacts { asn, country: Country::from_code("NL"), kind: NetworkKind::Hosting },
        },
        client: Client { family: client.into(), version: "1".into(), ..Client::default() },
        provider: "openai".into(),
        endpoint: Endpoint::ChatCompletions,
        model: "gpt-4o".into(),
        stream: false,
        shape: Shape::default(),
        input_tokens_estimate: 0,
        output_tokens_max: 0,
        cost_worst: NanoUsd::ZERO,
        request_bytes: 0,
        siblings: Default::default(),
        previous_credential: false,
    }
}

fn asn(asn: u32) -> ContextMatch {
    ContextMatch { asn: Some(asn), ..ContextMatch::default() }
}

fn wish(rule: Option<&str>, context: Option<ContextMatch>) -> Wish<'static> {
    Wish {
        id: SuppressionId::from_bits(1),
        reach: Reach::Everywhere,
        rule: rule.map(Into::into),
        context,
        reason: "load test",
        expires: NOW.plus(4 * HOUR),
        who: "cli:ops",
    }
}

#[track_caller]
fn check_refused(wish: &Wish<'_>, want: &SuppressError) {
    assert_eq!(suppress(wish, NOW).unwrap_err(), *want);
}

#[test]
fn what_would_silence_too_much_is_refused() {
    let newcomer = || wish(Some("newcomer"), None);
    check_refused(&wish(None, None), &SuppressError::All);
    check_refused(&wish(None, Some(ContextMatch::default())), &SuppressError::EmptyContext);
    check_refused(&wish(Some("canary_key_used"), None), &SuppressError::Fact("canary_key_used".into()));
    check_refused(&Wish { reason: " \n", ..newcomer() }, &SuppressError::Reason);
    check_refused(&Wish { reason: &"x".repeat(501), ..newcomer() }, &SuppressError::Reason);
    check_refused(&Wish { expires: NOW, ..newcomer() }, &SuppressError::Short(NOW));
    check_refused(&Wish { expires: NOW.plus(SPAN_MAX + 1), ..newcomer() }, &SuppressError::Long);
    assert!(suppress(&Wish { expires: NOW.plus(SPAN_MAX), ..newcomer() }, NOW).is_ok());
}

#[test]
fn one_is_lifted_once() {
    let (row, entry) = suppress(&wish(None, Some(asn(64_501))), NOW).unwrap();
    assert_eq!((entry.action.as_str(), entry.subject.as_str()), ("suppression.add", &*row.id.to_string()));
    let (lifted, entry) = lift_suppression(&row, "cli:ops", NOW.plus(HOUR)).unwrap();
    assert_eq!((lifted.state_at(NOW), entry.action.as_str()), ("lifted", "suppression.lift"));
    assert!(lift_suppression(&lifted, "cli:ops", NOW.plus(HOUR)).is_err());
    assert!(lift_suppression(&row, "cli:ops", row.expires).is_err());
}

/// Whether a suppression of the wish silences a finding that a request raises.
#[track_caller]
fn check(wish: &Wish<'_>, finding: &Finding, request: &RequestContext, want: bool) {
    let (row, _) = suppress(wish, NOW).unwrap();
    let mut known = Suppressions::default();
    known.take([row], NOW);
    assert_eq!(known.find(finding, None, request, NOW).is_some(), want);
}

#[test]
fn rule_and_context_must_both_fit() {
    let found = finding(1, Tier::Alert);
    let from = |asn| request(1, asn, "axios");
    check(&wish(Some("newcomer"), None), &found, &from(64_501), true);
    check(&wish(Some("recon"), None), &found, &from(64_501), false);
    check(&wish(None, Some(asn(64_501))), &found, &from(64_501), true);
    check(&wish(None, Some(asn(64_501))), &found, &from(64_502), false);
    check(&wish(Some("recon"), Some(asn(64_501))), &found, &from(64_501), false);
}

#[test]
fn a_context_says_nothing_of_the_key_as_a_whole() {
    let volume = volume_finding(Tier::Alert);
    check(&wish(None, Some(asn(64_501))), &volume, &request(1, 64_501, "axios"), false);
    check(&wish(Some("volume_spike"), None), &volume, &request(1, 64_501, "axios"), true);
}

#[test]
fn facts_are_never_silent() {
    let canary = Finding { rule: "canary_key_used".into(), ..finding(1, Tier::Act) };
    check(&wish(None, Some(asn(64_501))), &canary, &request(1, 64_501, "axios"), false);
}

/// Suppressions as they are stored: reach, rule, context, life.
#[test]
fn what_is_expected_on_a_key_is_expected_on_its_stand_in() {
    let (key, stand_in, other) = (KeyId::from_bits(1), KeyId::from_bits(7), KeyId::from_bits(2));
    let mut known = Suppressions::default();
    let on = |reach| Wish { reach, ..wish(None, Some(asn(64500))) };
    known.take([suppress(&on(Reach::Key(key)), NOW).unwrap().0], NOW);
    let finds = |known: &Suppressions, of: KeyId| {
        let found = Finding { key: of, ..finding(1, Tier::Alert) };
        known.find(&found, None, &request(of.bits(), 64500, "axios"), NOW).is_some()
    };
    assert_eq!([key, stand_in, other].map(|of| finds(&known, of)), [true, false, false]);
    let rehearsed = known.for_stand_in(key, stand_in);
    assert_eq!([key, stand_in, other].map(|of| finds(&rehearsed, of)), [false, true, false]);
}

fn rows() -> impl Strategy<Value = Vec<Suppression>> {
    let reach = prop_oneof![
        (0u64..3).prop_map(|n| Reach::Key(KeyId::from_bits(n))),
        (0u64..3).prop_map(|n| Reach::Owner(OwnerId::from_bits(n))),
        Just(Reach::Everywhere),
    ];
    let rule = prop::option::of(prop_oneof![Just("newcomer"), Just("recon")]);
    let context = prop::option::of((64_500u32..64_503).prop_map(asn));
    let life = (0u64..8, prop::option::of(0u64..8), 1u64..9);
    let one = (0u64..6, reach, rule, context, life).prop_map(|(id, reach, rule, context, life)| {
        let (begins, lifted, hours) = life;
        let at = |hours: u64| NOW.plus((begins + hours) * HOUR);
        Suppression {
            id: SuppressionId::from_bits(id),
            reach,
            rule: rule.map(Into::into),
            context,
            reason: "test".to_owned(),
            by: "cli:ops".into(),
            created: at(0),
            expires: at(hours),
            lifted: lifted.map(|hours| (at(hours), "cli:ops".into())),
            revision: 0,
        }
    });
    prop::collection::vec(one, 0..12).prop_map(|mut rows| {
        for (revision, row) in (1..).zip(&mut rows) {
            row.revision = revision;
        }
        rows
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever the order in which revisions become known, the newest of each suppression counts.
    #[test]
    fn order_does_not_matter(
        (rows, shuffled) in rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
        chunk in 1usize..5, hours in 0u64..20, key in 0u64..3, owner in prop::option::of(0u64..3), net in 64_500u32..64_503,
    ) {
        let now = NOW.plus(hours * HOUR);
        let mut whole = Suppressions::default();
        whole.take(rows.clone(), NOW);
        let mut parts = Suppressions::default();
        shuffled.chunks(chunk).for_each(|chunk| parts.take(chunk.to_vec(), NOW));
        let owner = owner.map(OwnerId::from_bits);
        let found = Finding { key: KeyId::from_bits(key), ..finding(1, Tier::Alert) };
        let request = request(key, net, "axios");
        let by = whole.find(&found, owner, &request, now);
        prop_assert_eq!(by, parts.find(&found, owner, &request, now));
        // What silences is in force, holds there and fits.
        if let Some(by) = by {
            let row = rows.iter().filter(|row| row.id == by).max_by_key(|row| row.revision).unwrap();
            prop_assert!(row.lifted.is_none() && row.created <= now && now < row.expires);
            prop_assert!(row.reach.holds(found.key, owner));
            prop_assert!(row.rule.as_ref().is_none_or(|rule| rule == "newcomer"));
            prop_assert!(row.context.as_ref().is_none_or(|context| context.asn == Some(net)));
        }
    }

    /// One key's suppression leaves every other key's alerts alone, and lifted or expired ones leave all alone.
    #[test]
    fn only_what_is_in_force_and_in_reach_silences(mut rows in rows(), hours in 0u64..20, ends: bool) {
        let now = NOW.plus(hours * HOUR);
        for row in &mut rows {
            if ends {
                row.lifted = Some((row.created, "cli:ops".into()));
            } else {
                row.reach = Reach::Key(KeyId::from_bits(7));
            }
        }
        let mut known = Suppressions::default();
        known.take(rows, now);
        let found = finding(1, Tier::Alert);
        prop_assert_eq!(known.find(&found, Some(OwnerId::from_bits(1)), &request(1, 64_501, "axios"), now), None);
        known.take([], now.plus(100 * DAY));
        prop_assert_eq!(known, Suppressions::default());
    }
}
