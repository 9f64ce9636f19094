//! Sums in any order and in parts, and what they say of whom.

use proptest::prelude::*;

use super::*;
use crate::situation::examples::{Scene, finding};
use tokenwatch_model::finding::Tier;
use tokenwatch_model::key::Mode;

/// A Friday in the middle of a month.
const TODAY: u64 = 20_528;

fn now() -> Timestamp {
    Timestamp(TODAY * DAY + DAY / 2)
}

fn usd(dollars: f64) -> NanoUsd {
    NanoUsd::from_dollars(dollars)
}

fn scene() -> Scene {
    let mut scene = Scene::new(Mode::Contain, finding(1, Tier::Alert));
    scene.key.created = Timestamp(0);
    scene
}

fn openai() -> SmolStr {
    SmolStr::new_static("openai")
}

/// Sums up what one key of one owner spent.
fn sum(ledgers: &[&Ledger], read_from: u64, thefts: &Thefts) -> Spent {
    let scene = scene();
    let owners: Vec<Owner> = scene.owner.iter().cloned().collect();
    let who = Spenders {
        keys: std::slice::from_ref(&scene.key),
        owners: &owners,
        defaults: &Policy::default(),
        thefts,
    };
    sum_up(ledgers, read_from, &Calendar::new(30, now()), &who)
}

#[track_caller]
fn check_calendar(now: &str, month: &str, days_left: u32) {
    let now: Timestamp = now.parse().unwrap();
    let calendar = Calendar::new(30, now);
    let first: Timestamp = month.parse().unwrap();
    assert_eq!((calendar.month, calendar.days_left), (first.0 / DAY, days_left), "{now}");
    assert_eq!(calendar.today - calendar.first, 30);
}

#[test]
fn months_have_their_length() {
    check_calendar("2026-02-10T12:00:00Z", "2026-02-01T00:00:00Z", 18);
    check_calendar("2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", 30);
    check_calendar("2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", 0);
    check_calendar("2028-02-29T01:00:00Z", "2028-02-01T00:00:00Z", 0);
}

#[test]
fn days_before_the_first_whole_one_do_not_count() {
    let mut ledger = Ledger::default();
    let key = scene().key.id;
    for day in TODAY - 10..=TODAY {
        ledger.add(key, &openai(), &"m".into(), day, usd(2.0));
    }
    // The first day that is kept may lack its beginning.
    let kept = sum(&[&ledger], TODAY - 30, &Thefts::default());
    assert_eq!((kept.first_day, kept.keys[0].history.days.len()), (TODAY - 9, 9));
    let spend = &kept.keys[0];
    assert_eq!((spend.history.today, spend.providers.get("openai")), (usd(2.0), Some(&usd(2.0))));
    assert_eq!(kept.providers["openai"], spend.history);
    assert_eq!(total(&kept.by_owner()[&kept.owners[0].0]).days, spend.history.days);
    // Something of another key is kept from the first day that was asked for.
    ledger.add(KeyId::from_bits(9), &openai(), &"m".into(), TODAY - 30, NanoUsd::ZERO);
    let kept = sum(&[&ledger], TODAY - 30, &Thefts::default());
    assert_eq!((kept.first_day, kept.keys[0].history.days.len()), (TODAY - 30, 30));
    let nothing = sum(&[&Ledger::default()], TODAY - 30, &Thefts::default());
    assert_eq!((nothing.first_day, nothing.keys[0].history.days.len()), (TODAY, 0));
}

#[test]
fn days_of_thefts_count_as_usual_ones_unless_they_were_dismissed() {
    let mut ledger = Ledger::default();
    let key = scene().key.id;
    for day in TODAY - 10..=TODAY {
        let cost = if day == TODAY - 3 { 90.0 } else { 2.0 };
        ledger.add(key, &openai(), &"m".into(), day, usd(cost));
    }
    let mut scene = scene();
    scene.finding.time = now();
    let made = crate::plan(
        &crate::ResponsePolicy::default(),
        &scene.situation(),
        &mut crate::situation::examples::ids(),
    );
    scene.store(crate::execute(&made, now()));
    let mut theft = scene.incident.unwrap();
    theft.first_seen = Timestamp((TODAY - 3) * DAY + 5);
    theft.contained = Some(Timestamp((TODAY - 3) * DAY + 9));
    let dearest = |theft: &Incident| {
        let spent = sum(&[&ledger], TODAY - 30, &Thefts::of([theft]));
        spent.keys[0].history.days.iter().max().copied()
    };
    assert_eq!(dearest(&theft), Some(usd(2.0)));
    theft.state = IncidentState::Dismissed;
    assert_eq!(dearest(&theft), Some(usd(90.0)));
}

#[test]
fn models_beyond_the_limit_are_one_and_yesterdays_are_none() {
    let mut ledger = Ledger::default();
    let key = scene().key.id;
    ledger.add(key, &openai(), &"old".into(), TODAY - 1, usd(9.0));
    for n in 0..MODELS_MAX + 10 {
        ledger.add(key, &openai(), &format!("m{n}").into(), TODAY, usd(1.0));
    }
    ledger.add(key, &openai(), &"old".into(), TODAY - 1, usd(9.0));
    let spent = sum(&[&ledger], TODAY - 30, &Thefts::default());
    let models = &spent.keys[0].models;
    let others = models.iter().find(|spend| spend.model == OTHERS).unwrap();
    assert_eq!((models.len(), others.today), (MODELS_MAX + 1, usd(10.0)));
    assert!(models.iter().all(|spend| spend.model != "old"));
}

proptest! {
    /// However events are spread over ledgers, and whatever is forgotten and read again, the sums are the same.
    #[test]
    fn sums_do_not_depend_on_how_they_came(
        costs in prop::collection::vec((0u64..3, 0u64..40, 0usize..3, 1u64..1_000), 1..60),
        again_from in 0u64..40,
    ) {
        let models = ["a", "b", "c"].map(SmolStr::new_static);
        let key = scene().key.id;
        let put = |ledger: &mut Ledger, (_, ago, model, cents): &(u64, u64, usize, u64)| {
            ledger.add(key, &openai(), &models[*model], TODAY - ago, NanoUsd::from_cents(*cents));
        };
        let mut whole = Ledger::default();
        costs.iter().for_each(|cost| put(&mut whole, cost));
        let mut parts = [Ledger::default(), Ledger::default(), Ledger::default()];
        costs.iter().for_each(|cost| put(&mut parts[cost.0 as usize], cost));
        let [mut own, others, mut read] = parts;
        own.absorb(others);
        // From some day on it is read again.
        read.forget_from(TODAY - again_from);
        costs.iter().filter(|cost| cost.0 == 2 && cost.1 <= again_from).for_each(|cost| put(&mut read, cost));
        read.forget_before(TODAY - 31);
        let thefts = Thefts::default();
        let (want, got) = (sum(&[&whole], TODAY - 40, &thefts), sum(&[&own, &read], TODAY - 40, &thefts));
        // A key of which all was forgotten has no days, where it had days of nothing.
        let facts = |spent: &Spent| {
            let history = &spent.keys[0].history;
            (crate::spend::propose(history), history.today, history.month)
        };
        prop_assert_eq!(facts(&want), facts(&got));
        let by_model = |spent: &Spent| -> BTreeMap<SmolStr, NanoUsd> {
            spent.keys[0].models.iter().map(|spend| (spend.model.clone(), spend.today)).collect()
        };
        prop_assert_eq!(by_model(&want), by_model(&got));
    }
}
