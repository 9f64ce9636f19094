//! What is raised, once, and what never is.

use proptest::prelude::*;
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::limit::Budgets;
use tokenwatch_model::time::{DAY, HOUR};

use super::*;
use crate::spend::ledger::ModelSpend;

/// 2026-03-17.
const TODAY: u64 = 20_529;

fn noon() -> Timestamp {
    Timestamp(TODAY * DAY + 12 * HOUR)
}

fn usd(dollars: f64) -> NanoUsd {
    NanoUsd::from_dollars(dollars)
}

fn history(days: &[f64], today: f64, month: f64) -> History {
    let days = days.iter().copied().map(usd).collect();
    History { days, today: usd(today), month: usd(month), days_left: 14 }
}

fn key(n: u64, history: History, budget: Option<f64>) -> KeySpend {
    let today = history.today;
    KeySpend {
        id: KeyId::from_bits(n),
        name: format!("key-{n}").into(),
        owner: Some(OwnerId::from_bits(1)),
        budgets: Budgets { month: budget.map(usd), ..Budgets::default() },
        history,
        providers: BTreeMap::from([("openai".into(), today)]),
        models: vec![ModelSpend { provider: "openai".into(), model: format!("model-{n}").into(), today }],
    }
}

/// What keys of one owner at one provider spent.
fn spent(keys: Vec<KeySpend>) -> Spent {
    let mut sum = History::default();
    keys.iter().for_each(|key| sum.add(&key.history));
    Spent {
        first_day: TODAY - 30,
        keys,
        owners: vec![(OwnerId::from_bits(1), "search-team".into())],
        providers: BTreeMap::from([("openai".into(), sum)]),
    }
}

fn raise(rules: &AlarmRules, spent: &Spent, known: &Known, now: Timestamp) -> Vec<Alarm> {
    let mut id = 0;
    let mut next = || {
        id += 1;
        id
    };
    due(rules, spent, known, now, &mut next)
}

fn remember(known: &mut Known, alarms: &[Alarm]) {
    known.told.extend(alarms.iter().map(|alarm| (alarm.spender.clone(), alarm.kind, alarm.period)));
}

/// What is raised about one key that spends at one provider; its owner tells nothing that the key does not.
#[track_caller]
fn check(days: &[f64], today: f64, month: f64, budget: Option<f64>, want: &[&str]) {
    let spent = spent(vec![key(7, history(days, today, month), budget)]);
    let raised = raise(&AlarmRules::default(), &spent, &Known::default(), noon());
    let of_key = raised.iter().filter(|alarm| matches!(alarm.spender, Spender::Key(_)));
    assert_eq!(of_key.map(|alarm| alarm.kind.name()).collect::<Vec<_>>(), want);
    assert!(raised.iter().all(|alarm| !matches!(alarm.spender, Spender::Owner(_))));
}

#[test]
fn thresholds_are_crossed_by_spend_that_is_not_usual() {
    let usual = [10.0; 30];
    check(&usual, 15.0, 100.0, None, &[]);
    check(&usual, 15.01, 100.0, None, &["day_low"]);
    check(&usual, 30.5, 100.0, None, &["day_medium"]);
    // One message says all of it.
    check(&usual, 4_000.0, 4_100.0, None, &["day_high"]);
    // Absurdly little money, a key that never spent, and one that is hardly known.
    check(&[0.001; 30], 4.99, 5.0, None, &[]);
    check(&[0.001; 30], 5.01, 5.1, None, &["day_high"]);
    check(&[0.0; 30], 400.0, 400.0, None, &[]);
    check(&[10.0; 6], 400.0, 460.0, None, &[]);
}

#[test]
fn what_a_person_allowed_is_told_before_it_is_used_up_and_then() {
    let usual = [10.0; 30];
    // 14 days at 10 dollars and what is left of today are still to come.
    check(&usual, 5.0, 100.0, Some(245.0), &[]);
    check(&usual, 5.0, 100.0, Some(244.9), &["month_forecast"]);
    check(&usual, 5.0, 100.0, Some(100.0), &["month_cap"]);
    check(&usual, 40.0, 100.0, Some(90.0), &["day_medium", "month_cap"]);
    // A cap needs no history, and holds from the first dollar on.
    check(&[], 0.5, 0.5, Some(0.5), &["month_cap"]);
    check(&[], 0.4, 0.4, Some(0.5), &[]);
    check(&usual, 5.0, 100.0, Some(NanoUsd::MAX.dollars()), &[]);
}

#[test]
fn owners_and_providers_have_alarms_of_their_own_with_what_drives_them() {
    let keys = (1..=5).map(|n| key(n, history(&[10.0; 30], 12.0 + n as f64, 100.0), None)).collect();
    let rules = AlarmRules {
        provider_caps: BTreeMap::from([("openai".into(), usd(500.0))]),
        owner_caps: BTreeMap::from([("search-team".into(), usd(600.0))]),
        ..AlarmRules::default()
    };
    let raised = raise(&rules, &spent(keys), &Known::default(), noon());
    insta::assert_debug_snapshot!("owner_and_provider", raised);
    assert_eq!(
        raise(&AlarmRules { enabled: false, ..rules }, &spent(Vec::new()), &Known::default(), noon()),
        []
    );
}

#[test]
fn rules_are_checked() {
    let check = |rules: AlarmRules, want: &[&str]| {
        assert_eq!(rules.wrong().iter().map(|(field, _)| *field).collect::<Vec<_>>(), want);
    };
    let rules = AlarmRules::default;
    check(rules(), &[]);
    check(AlarmRules { multiples: [3.0, 2.0, 10.0], ..rules() }, &["multiples"]);
    check(AlarmRules { multiples: [0.5, 2.0, f64::NAN], ..rules() }, &["multiples"]);
    check(AlarmRules { every_s: 0, ..rules() }, &["every_s"]);
    let none = BTreeMap::from([("openai".into(), NanoUsd::ZERO)]);
    check(
        AlarmRules { provider_caps: none.clone(), owner_caps: none, ..rules() },
        &["provider_caps", "owner_caps"],
    );
}

/// Spend of some keys over some days, in looks: hours that pass, and cents that each key spends meanwhile.
fn looks() -> impl Strategy<Value = Vec<(u64, Vec<u64>)>> {
    prop::collection::vec((0u64..9, prop::collection::vec(0u64..20_000, 3)), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Each threshold of a spender is told once in its day or month, worse ones after milder ones, and a restart between
    /// any two looks tells nothing again.
    #[test]
    fn everything_is_told_once(looks in looks(), budget in 0u64..3_000) {
        let budget = (budget > 1_000).then_some(budget as f64);
        let rules = AlarmRules {
            provider_caps: BTreeMap::from([("openai".into(), usd(2_500.0))]),
            ..AlarmRules::default()
        };
        let mut now = noon();
        let mut keys: Vec<KeySpend> = (1..=3).map(|n| key(n, history(&[10.0; 30], 0.0, 0.0), budget)).collect();
        let mut known = Known::default();
        let mut all: Vec<Alarm> = Vec::new();
        for (hours, cents) in looks {
            let later = now.plus(hours * HOUR);
            for (key, cents) in keys.iter_mut().zip(cents) {
                let history = &mut key.history;
                if later.day() > now.day() {
                    history.days.push(history.today);
                    history.today = NanoUsd::ZERO;
                }
                if later.month() > now.month() {
                    history.month = NanoUsd::ZERO;
                }
                history.today += NanoUsd::from_cents(cents);
                history.month += NanoUsd::from_cents(cents);
            }
            now = later;
            let spent = spent(keys.clone());
            let raised = raise(&rules, &spent, &known, now);
            remember(&mut known, &raised);
            // The process ends here and another one looks.
            prop_assert_eq!(raise(&rules, &spent, &known, now), vec![]);
            all.extend(raised);
        }
        let mut told: Told = HashSet::new();
        for (at, alarm) in all.iter().enumerate() {
            prop_assert!(told.insert((alarm.spender.clone(), alarm.kind, alarm.period)), "{:?}", alarm);
            if alarm.kind.is_of_day() {
                let worse = |other: &Alarm| {
                    other.spender == alarm.spender && other.period == alarm.period
                        && other.kind.is_of_day() && other.kind > alarm.kind
                };
                prop_assert!(!all[..at].iter().any(worse), "{:?} after a worse one", alarm);
                prop_assert!(alarm.today >= rules.floor && alarm.today > alarm.limit);
            }
        }
    }

    /// More spend never crosses less.
    #[test]
    fn more_spend_never_crosses_less(
        days in prop::collection::vec(0u64..5_000, 0..40),
        today in 0u64..100_000,
        more in 0u64..100_000,
        cap in 0u64..200_000,
    ) {
        let days: Vec<NanoUsd> = days.into_iter().map(NanoUsd::from_cents).collect();
        let of = |today: u64| {
            let history = History {
                days: days.clone(),
                today: NanoUsd::from_cents(today),
                month: NanoUsd::from_cents(today),
                days_left: 9,
            };
            let proposal = propose_at(&history, TIMES);
            let all = crossed(&AlarmRules::default(), &history, proposal.as_ref(), Some(NanoUsd::from_cents(cap)));
            let (day, month): (Vec<_>, Vec<_>) = all.iter().map(|c| c.kind).partition(|kind| kind.is_of_day());
            (day.first().copied(), month.first().copied())
        };
        let (less, more) = (of(today), of(today + more));
        prop_assert!(less.0 <= more.0 && less.1 <= more.1);
    }

    /// What is snoozed is not raised, and is raised afterwards when it is still so.
    #[test]
    fn a_snooze_holds_back_one_spender(today in 16u64..1_000) {
        let spent = spent(vec![key(7, history(&[10.0; 30], today as f64, 100.0), None)]);
        let snoozed = HashSet::from([Spender::Key(KeyId::from_bits(7))]);
        let known = Known { snoozed, ..Known::default() };
        let raised = raise(&AlarmRules::default(), &spent, &known, noon());
        prop_assert!(raised.iter().all(|alarm| alarm.spender == Spender::Provider("openai".into())));
        prop_assert_eq!(raise(&AlarmRules::default(), &spent, &Known::default(), noon()).len(), raised.len() + 1);
    }
}
