//! Dry runs of a tiny world: what would have fired, added and gone.

use proptest::prelude::*;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::time::HOUR;

use super::*;
use crate::testing::Tiny;
use crate::world::World as _;

const FROM_DAY: u64 = 7;

/// The events of keys 0 and 1, and a theft of key 0 on day 8.
fn events(attack: usize, as_recorded: impl Fn(&mut UsageEvent)) -> Vec<(UsageEvent, bool)> {
    let world = Tiny::new(3, 2, 1);
    let start = world.start().plus(8 * DAY + 5 * HOUR);
    let mut thief = world.theft(0, attack, 1, start, start.plus(DAY));
    thief.iter_mut().for_each(as_recorded);
    let owners = world.events(0, 11).into_iter().chain(world.events(1, 11)).map(|event| (event, false));
    let mut all: Vec<_> = owners.chain(thief.into_iter().map(|event| (event, true))).collect();
    all.sort_by_key(|(event, _)| event.request.time);
    all
}

fn profiles(events: &[(UsageEvent, bool)], rate: f64) -> Profiles {
    let profile = KeyProfile { false_alarms_per_year: rate, ..KeyProfile::default() };
    events.iter().map(|(event, _)| (event.request.key, profile.clone())).collect()
}

fn run(events: &[(UsageEvent, bool)], proposed: Option<f64>, feedback: Vec<Feedback>) -> DryReport {
    let from = Tiny::new(3, 2, 1).start().plus(FROM_DAY * DAY + HOUR);
    let under = |rate| Under { engine: Arc::new(Engine::default()), profiles: profiles(events, rate) };
    let mut dry = DryRun::new(from, under(0.25), proposed.map(under), feedback, false);
    for (event, _) in events {
        dry.see(event.clone(), &event.request.key.to_string());
    }
    dry.finish()
}

#[test]
fn alerts_say_what_people_said_of_them() {
    let events = events(0, |_| {});
    let report = run(&events, None, Vec::new());
    let [alert] = report.alerts.as_slice() else { panic!("{:?}", report.alerts) };
    assert_eq!(
        (alert.fires, alert.marked, report.in_force, report.proposed),
        (Fires::InForce, None, 1, None)
    );
    assert_eq!((report.from.0 % DAY, report.days_covered > 3.0), (0, true));
    let thief = &events.iter().find(|(_, is_thief)| *is_thief).unwrap().0.request;
    let said = |says| Feedback {
        key: thief.key,
        time: thief.time.plus(20 * DAY),
        context: ContextMatch { asn: Some(thief.source.facts.asn), ..ContextMatch::default() },
        says,
    };
    let marked = |feedback| run(&events, None, feedback).alerts[0].marked;
    let ours = said(Says::Ours { until: thief.time.plus(90 * DAY) });
    assert_eq!(marked(vec![said(Says::Theft)]), Some(Mark::Confirmed));
    assert_eq!(marked(vec![said(Says::Theft), ours]), Some(Mark::Dismissed));
}

#[test]
fn what_was_refused_then_is_judged_anew() {
    let refuse = |refusal| {
        move |event: &mut UsageEvent| {
            event.outcome = Outcome::Refused(refusal);
            event.usage = TokenUsage::default();
            event.cost = Default::default();
        }
    };
    let served = run(&events(0, |_| {}), None, Vec::new());
    for refusal in [Refusal::Judged, Refusal::ContextRefused] {
        let report = run(&events(0, refuse(refusal)), None, Vec::new());
        assert_eq!(report.alerts.len(), served.alerts.len(), "{refusal:?}");
    }
    // A copy of the owner alerts nobody, also where a gateway refused it for whatever it knew.
    assert_eq!(run(&events(2, refuse(Refusal::Judged)), None, Vec::new()).alerts, []);
}

#[test]
fn nothing_kept_is_nothing_covered() {
    let report = run(&[], Some(1.0), Vec::new());
    assert_eq!((report.events, report.first, report.days_covered, report.proposed), (0, None, 0.0, Some(0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn both_sides_add_up(attack in 0usize..3, rate in prop_oneof![Just(0.01), Just(0.25), Just(4.0), Just(365.0)]) {
        let report = run(&events(attack, |_| {}), Some(rate), Vec::new());
        let of = |fires| report.alerts.iter().filter(|alert| alert.fires == fires).count() as u64;
        prop_assert_eq!(report.in_force, of(Fires::Both) + of(Fires::Gone));
        prop_assert_eq!(report.proposed, Some(of(Fires::Both) + of(Fires::Added)));
        prop_assert_eq!(report.keys.iter().map(|key| key.added).sum::<u64>(), of(Fires::Added));
        prop_assert_eq!(report.keys.iter().map(|key| key.gone).sum::<u64>(), of(Fires::Gone));
        prop_assert_eq!(report.keys.iter().map(|key| key.in_force).sum::<u64>(), report.in_force);
        if rate == 0.25 {
            prop_assert_eq!(of(Fires::Added) + of(Fires::Gone), 0);
        }
    }
}
