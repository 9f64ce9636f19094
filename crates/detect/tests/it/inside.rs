//! What the key's own callers do that the key never did.

use tokenwatch_detect::{Engine, InFlight, KeyProfile, KeyState};
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::finding::{Decision, Feedback, Finding, Says, Tier};
use tokenwatch_model::key::Workload;
use tokenwatch_model::time::{DAY, HOUR, MINUTE, Timestamp};

use crate::volume::usual;
use crate::world::{Call, day, event, key, request};

/// What somebody on the owner's machine asks.
#[derive(Clone, Copy, Debug)]
struct Asks {
    model: &'static str,
    /// How many templates he goes through; none for the owner's.
    templates: u64,
}

impl Asks {
    fn call(self, i: u64, time: Timestamp) -> Call {
        let template = if self.templates == 0 { 0x1111 } else { 0xabc0_0000 + (i % self.templates) * 7_919 };
        Call { model: self.model, template, ..usual(time) }
    }
}

struct Lived {
    engine: Engine,
    profile: KeyProfile,
    state: KeyState,
    seq: u64,
    alerts: Vec<Finding>,
    /// Requests let pass, and refused.
    served: u64,
    refused: u64,
}

impl Lived {
    /// A service with ten days of six calls an hour.
    fn new() -> Self {
        Self::of(Workload::Service)
    }

    fn of(workload: Workload) -> Self {
        let profile = KeyProfile { workload, ..KeyProfile::default() };
        let (engine, state) = (Engine::default(), KeyState::new());
        let mut lived = Self { engine, profile, state, seq: 0, alerts: Vec::new(), served: 0, refused: 0 };
        for i in 0..10 * 144 {
            lived.send(&usual(day(0).plus(i * 10 * MINUTE)));
        }
        assert_eq!((lived.alerts.len(), lived.refused), (0, 0));
        lived.served = 0;
        lived
    }

    /// Judges a request and lets it pass if nothing speaks against it.
    fn send(&mut self, call: &Call) -> Decision {
        let asked = request(key(0), call);
        let decision = self.engine.judge(&self.state, &self.profile, &asked, InFlight::default()).decision;
        if decision == Decision::Refuse {
            self.refused += 1;
            return decision;
        }
        self.served += 1;
        self.seq += 1;
        let told = self.engine.observe(&mut self.state, &self.profile, &event(key(0), self.seq, call, None));
        self.alerts.extend(told.into_iter().filter(|finding| finding.tier >= Tier::Alert));
        decision
    }

    /// An hour with so many requests, evenly.
    fn hour(&mut self, hour: u64, count: u64, asks: Asks) {
        for i in 0..count {
            let time = day(10).plus(hour * HOUR + i * HOUR / count);
            self.send(&asks.call(i, time));
        }
    }
}

/// A burst of an hour from the owner's own machine and software: how many requests are served of it, and what it is
/// told by. The owner's own call afterwards must pass.
#[track_caller]
fn check(count: u64, asks: Asks, served: std::ops::RangeInclusive<u64>, context: Option<ContextMatch>) {
    let mut lived = Lived::new();
    lived.hour(0, count, asks);
    assert!(served.contains(&lived.served), "{asks:?}: {} served", lived.served);
    let alerts: Vec<_> = lived.alerts.iter().filter(|alert| alert.rule == "unfamiliar_burst").collect();
    let told = alerts.first().map(|alert| alert.actor.as_ref().map(|actor| actor.context.clone()));
    assert!(alerts.len() <= 1, "{asks:?}: told of once: {alerts:#?}");
    match context {
        Some(context) if context.is_empty() => assert_eq!(told, Some(None), "{asks:?}"),
        wanted => assert_eq!(told, wanted.map(Some), "{asks:?}"),
    }
    assert_eq!(lived.send(&usual(day(10).plus(HOUR + MINUTE))), Decision::Forward, "{asks:?}");
}

fn of_model(model: &str) -> Option<ContextMatch> {
    Some(ContextMatch { model: Some(model.into()), ..ContextMatch::default() })
}

#[test]
fn a_thief_on_the_owners_machine_is_told_by_what_he_asks_and_how_much() {
    // A model and prompts that the key never had: what they have in common is the model.
    check(3_000, Asks { model: "o1", templates: 3_000 }, 40..=400, of_model("o1"));
    check(3_000, Asks { model: "o1", templates: 1 }, 100..=1_500, of_model("o1"));
    // The owner's model with prompts that are all different: nothing to refuse them by, so a person is told.
    check(
        3_000,
        Asks { model: "gpt-4o-mini", templates: 3_000 },
        3_000..=3_000,
        Some(ContextMatch::default()),
    );
}

#[test]
fn deployments_and_jobs_are_quiet() {
    for (count, asks) in [
        (3_000, Asks { model: "gpt-4o-mini", templates: 0 }),
        (60, Asks { model: "gpt-4o-mini", templates: 1 }),
        (60, Asks { model: "gpt-4o-mini", templates: 6 }),
        (90, Asks { model: "gpt-4o", templates: 1 }),
        (180, Asks { model: "gpt-4o-mini", templates: 1 }),
    ] {
        check(count, asks, count..=count, None);
    }
}

#[test]
fn many_prompts_at_once_that_are_all_new_are_told_of_however_few_requests_there_are() {
    check(60, Asks { model: "gpt-4o-mini", templates: 30 }, 60..=60, Some(ContextMatch::default()));
    check(60, Asks { model: "gpt-4o-mini", templates: 8 }, 60..=60, None);
    // People try a model by many prompts.
    let mut team = Lived::of(Workload::Team);
    team.hour(0, 60, Asks { model: "gpt-4o-mini", templates: 30 });
    assert_eq!(team.alerts, []);
}

#[test]
fn prompts_that_are_all_rewritten_at_once_are_the_owners() {
    let mut lived = Lived::new();
    let own = Asks { model: "gpt-4o-mini", templates: 12 };
    // Twelve prompts come one after the other over two weeks, and are used from then on.
    let used = |lived: &mut Lived, day_number: u64, first: u64| {
        for i in 0..24 {
            let template = 0xabc0_0000 + (first + i % own.templates.min(1 + day_number)) * 7_919;
            lived.send(&Call { template, ..usual(day(10 + day_number).plus(i * HOUR / 24)) });
        }
    };
    (0..14).for_each(|day| used(&mut lived, day, 0));
    used(&mut lived, 15, 100);
    assert_eq!(lived.alerts, [], "all twelve are new in one hour");
}

#[test]
fn who_says_that_it_was_the_owner_is_believed() {
    let mut lived = Lived::new();
    let asks = Asks { model: "o1", templates: 300 };
    lived.hour(0, 3_000, asks);
    assert!(lived.refused > 0);
    let later = day(10).plus(2 * HOUR);
    assert_eq!(lived.send(&asks.call(1, later)), Decision::Refuse);
    let context = lived.alerts.last().and_then(|alert| alert.actor.clone()).unwrap().context;
    let says = Says::Ours { until: later.plus(30 * DAY) };
    lived.engine.feedback(&mut lived.state, &Feedback { key: key(0), time: later, context, says });
    assert_eq!(lived.send(&asks.call(1, later.plus(MINUTE))), Decision::Forward);
}

#[test]
fn what_is_expected_goes_on() {
    let mut lived = Lived::new();
    let asks = Asks { model: "o1", templates: 300 };
    lived.hour(0, 3_000, asks);
    let later = day(10).plus(2 * HOUR);
    assert_eq!(lived.send(&asks.call(1, later)), Decision::Refuse);
    let actor = lived.alerts.last().and_then(|alert| alert.actor.as_ref()).unwrap().id;
    lived.engine.suppress(&mut lived.state, key(0), actor);
    assert_eq!(lived.send(&asks.call(1, later.plus(MINUTE))), Decision::Forward);
}

#[test]
fn an_episode_is_over_after_a_day_of_silence_and_survives_a_restart() {
    let mut lived = Lived::new();
    let asks = Asks { model: "o1", templates: 300 };
    lived.hour(0, 3_000, asks);
    lived.state = KeyState::decode(&lived.state.encode()).unwrap();
    assert_eq!(lived.send(&asks.call(1, day(11))), Decision::Refuse);
    assert_eq!(lived.send(&asks.call(1, day(13))), Decision::Forward);
}
