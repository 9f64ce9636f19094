//! The newcomer channel: cold start, quarantine and poisoning, contexts, crowds, feedback, requests in flight,
//! missing facts.

use tokenwatch_detect::{Engine, InFlight, KeyProfile, KeyState, actor_of};
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::finding::{Decision, Feedback, Finding, Says, Tier};
use tokenwatch_model::key::Workload;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{DAY, HOUR, MINUTE, SECOND, Timestamp};

use crate::world::{Agent, Call, Place, day, event, key, request};

const HOME: Place = Place { block: 10, asn: 16_509, country: "US", kind: NetworkKind::Hosting };
const NEAR: Place = Place { block: 910, asn: 24_940, country: HOME.country, kind: NetworkKind::Hosting };
const ABROAD: Place = Place { block: 900, asn: 200_019, country: "MD", kind: NetworkKind::Vpn };

fn sdk() -> Agent {
    Agent { family: "openai-python", version: "1.52.0".into(), tls: 5 }
}

fn tool() -> Agent {
    Agent { family: "axios", version: "1.7.4".into(), tls: 6 }
}

fn usual(time: Timestamp) -> Call {
    Call {
        time,
        place: HOME,
        host: 3,
        agent: sdk(),
        model: "gpt-4o-mini",
        endpoint: Endpoint::ChatCompletions,
        template: 0x1111,
        input: 500,
        output: 100,
        output_max: 500,
        status: 200,
    }
}

/// Strange, but not enough alone: the owner's client and model in another network of its country.
fn neighbour(time: Timestamp) -> Call {
    Call { place: NEAR, template: 0x9999, ..usual(time) }
}

fn stranger(time: Timestamp) -> Call {
    Call { place: ABROAD, agent: tool(), template: 0x9999, model: "gpt-5-pro", ..usual(time) }
}

/// A key under test: what the gateway would do with it.
struct Key {
    engine: Engine,
    profile: KeyProfile,
    state: KeyState,
    seq: u64,
}

impl Key {
    /// A service with `days` of a request each ten minutes.
    fn with_history(days: u64) -> Self {
        let profile = KeyProfile { workload: Workload::Service, ..KeyProfile::default() };
        let mut key = Self { engine: Engine::default(), profile, state: KeyState::new(), seq: 0 };
        for i in 0..days * 144 {
            key.serve(&usual(day(0).plus(i * 10 * MINUTE)));
        }
        key
    }

    fn judge(&self, call: &Call) -> Decision {
        self.engine.judge(&self.state, &self.profile, &request(key(0), call), InFlight::default()).decision
    }

    /// Forwards without judging, as in observe mode.
    fn serve(&mut self, call: &Call) -> Vec<Finding> {
        self.seq += 1;
        self.engine.observe(&mut self.state, &self.profile, &event(key(0), self.seq, call, None))
    }

    /// Judges, then forwards or refuses.
    fn pass(&mut self, call: &Call) -> (Decision, Vec<Finding>) {
        let decision = self.judge(call);
        let refused = (decision == Decision::Refuse).then_some(Refusal::Judged);
        self.seq += 1;
        (
            decision,
            self.engine.observe(&mut self.state, &self.profile, &event(key(0), self.seq, call, refused)),
        )
    }

    fn say(&mut self, time: Timestamp, context: ContextMatch, says: Says) {
        self.engine.feedback(&mut self.state, &Feedback { key: key(0), time, context, says });
    }
}

fn alerts(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.tier >= Tier::Alert).collect()
}

#[test]
fn the_first_day_defines_the_key() {
    let mut key = Key::with_history(0);
    assert_eq!(key.judge(&stranger(day(0))), Decision::Forward);
    for i in 0..20 {
        key.serve(&usual(day(0).plus(i * HOUR)));
        let (decision, findings) = key.pass(&stranger(day(0).plus(i * HOUR + MINUTE)));
        assert_eq!(decision, Decision::Forward);
        assert!(alerts(&findings).is_empty());
    }
    // Both callers are the key's own from then on.
    assert_eq!(key.judge(&stranger(day(40))), Decision::Forward);
}

#[test]
fn a_key_tried_once_and_deployed_later_is_still_new() {
    let mut key = Key::with_history(0);
    key.serve(&stranger(day(0)));
    for i in 0..300 {
        let (decision, findings) = key.pass(&usual(day(9).plus(i * 10 * MINUTE)));
        assert_eq!(decision, Decision::Forward);
        assert!(alerts(&findings).is_empty());
    }
}

#[test]
fn a_key_in_use_is_judged_in_its_first_day_already() {
    let in_use = |hours: u64| {
        let mut key = Key::with_history(0);
        (0..hours * 20).for_each(|i| drop(key.serve(&usual(day(0).plus(i * 3 * MINUTE)))));
        key
    };
    let score = |hours: u64| {
        let asked = request(key(0), &stranger(day(0).plus(hours * HOUR)));
        let key = in_use(hours);
        key.engine.judge(&key.state, &key.profile, &asked, InFlight::default()).once_in_days
    };
    assert_eq!(score(2), 0.0, "whoever comes defines it");
    assert!(score(4) > 1.0 && 2.0 * score(4) < score(30), "{} {}", score(4), score(30));
    // A deployment elsewhere, ten times as busy, is the key's own.
    let mut key = in_use(4);
    for i in 0..600 {
        let deployed = Call { place: NEAR, ..usual(day(0).plus(4 * HOUR + i * 18 * SECOND)) };
        let (decision, findings) = key.pass(&deployed);
        assert!(decision == Decision::Forward && alerts(&findings).is_empty());
    }
}

#[test]
fn young_keys_are_judged_leniently_and_grown_ones_strictly() {
    let score = |days: u64| {
        let key = Key::with_history(days);
        let asked = request(crate::world::key(0), &stranger(day(days)));
        let verdict = key.engine.judge(&key.state, &key.profile, &asked, InFlight::default());
        (verdict.once_in_days, verdict.finding.map(|finding| finding.tier), key.profile.alert_days())
    };
    let ((young, ..), (week, ..), (month, tier, alert)) = (score(2), score(8), score(40));
    assert!(young < week && week < month, "{young} {week} {month}");
    // Far over the threshold, and of a kind that honest keys do not meet: certain.
    assert!(month > 4.0 * alert && tier == Some(Tier::Act), "{month} {tier:?}");
}

#[test]
fn a_loud_stranger_is_refused_at_once_and_told_of_once() {
    let mut key = Key::with_history(30);
    let (decision, findings) = key.pass(&stranger(day(30)));
    assert_eq!(decision, Decision::Refuse);
    let told = alerts(&findings);
    assert_eq!(told.len(), 1);
    insta::assert_snapshot!(told[0].summary);
    let reasons: Vec<String> =
        told[0].reasons.iter().map(|reason| format!("{:+.1} {}", reason.nats, reason.what)).collect();
    insta::assert_snapshot!(reasons.join("\n"));
    for i in 1..200 {
        let (decision, findings) = key.pass(&stranger(day(30).plus(i * MINUTE)));
        assert_eq!(decision, Decision::Refuse);
        assert!(alerts(&findings).iter().all(|finding| finding.tier == Tier::Act), "only the tier may rise");
    }
    // After a day of silence a new episode begins.
    let (decision, findings) = key.pass(&stranger(day(33)));
    assert_eq!(decision, Decision::Refuse);
    assert_eq!(alerts(&findings).len(), 1);
}

#[test]
fn the_finding_counts_the_actor() {
    let mut key = Key::with_history(30);
    let mut findings = Vec::new();
    let careful = neighbour;
    for i in 0..60u64 {
        let call = Call { template: 0x9000 + i, ..careful(day(30).plus(i * MINUTE)) };
        findings.extend(key.pass(&call).1);
    }
    let alert = alerts(&findings)[0];
    let actor = alert.actor.as_ref().unwrap();
    assert_eq!(actor.id, actor_of(&request(crate::world::key(0), &careful(day(30)))));
    assert_eq!(actor.first_seen, day(30));
    assert!(actor.requests_forwarded > 0 && actor.requests_forwarded < actor.requests);
    assert!(actor.cost.0 > 0);
    assert!(!alert.events.is_empty() && alert.events.len() <= 4);
}

/// The context of the alert on a stranger who differs in one dimension must name just that, match the
/// stranger and never the owner.
#[track_caller]
fn check_context(change: impl Fn(Call) -> Call, want: &str) {
    let mut key = Key::with_history(30);
    let mut found = None;
    for i in 0..400u64 {
        // Loud in every other respect, so that it alerts.
        let base =
            Call { template: 0x9000 + i, model: "gpt-5-pro", status: 403, ..usual(day(30).plus(i * SECOND)) };
        let call = change(base);
        let (_, findings) = key.pass(&call);
        if let Some(alert) = alerts(&findings).first() {
            found = alert.actor.clone().map(|actor| (actor.context, call));
            break;
        }
    }
    // No alert shows as "no context" below.
    let (context, call) = found.unwrap_or_else(|| (ContextMatch::default(), stranger(day(30))));
    assert_eq!(context.to_string(), want);
    assert!(context.matches(&request(crate::world::key(0), &call)));
    assert!(!context.matches(&request(crate::world::key(0), &usual(day(30)))));
    assert_eq!(key.judge(&usual(day(31))), Decision::Forward);
}

#[test]
fn contexts_name_what_is_new() {
    let rented = Place { kind: NetworkKind::Hosting, ..ABROAD };
    check_context(|call| Call { place: rented, agent: tool(), ..call }, "network AS200019");
    check_context(|call| Call { place: ABROAD, agent: tool(), ..call }, "network 20.3.132.0/24");
    check_context(
        |call| Call { place: Place { block: 77, ..HOME }, agent: tool(), ..call },
        "network 20.0.77.0/24",
    );
    check_context(|call| Call { agent: tool(), endpoint: Endpoint::Administration, ..call }, "client axios");
}

#[test]
fn owners_are_served_while_the_thief_is_refused() {
    let mut key = Key::with_history(30);
    for i in 0..100 {
        let now = day(30).plus(i * MINUTE);
        assert_eq!(key.pass(&stranger(now)).0, Decision::Refuse);
        assert_eq!(key.pass(&usual(now)).0, Decision::Forward);
        // The owner may even change its prompt, its model and its version meanwhile, and call far more than ever.
        let changed = Call {
            template: 0x2222,
            model: "gpt-5",
            agent: Agent { version: "1.53.0".into(), ..sdk() },
            ..usual(now)
        };
        assert_ne!(key.pass(&changed).0, Decision::Refuse);
    }
}

#[test]
fn refused_requests_never_teach() {
    let mut key = Key::with_history(30);
    let before = key.state.clone();
    for i in 0..5_000u64 {
        let call = Call { template: i + 1, ..stranger(day(30).plus(i * SECOND)) };
        key.seq += 1;
        let refused = event(crate::world::key(0), key.seq, &call, Some(Refusal::ContextRefused));
        key.engine.observe(&mut key.state, &key.profile, &refused);
    }
    let asked = request(crate::world::key(0), &stranger(day(31)));
    assert!(!key.state.knows(&asked) && !before.knows(&asked));
    assert_eq!(key.judge(&usual(day(31))), Decision::Forward);
}

#[test]
fn a_patient_thief_does_not_become_normal() {
    // In observe mode nothing is refused: the thief calls for four weeks and must still be a stranger.
    let mut key = Key::with_history(30);
    for i in 0..28 * 24 {
        let now = day(30).plus(i * HOUR);
        key.serve(&usual(now));
        key.serve(&stranger(now.plus(MINUTE)));
    }
    assert_eq!(key.judge(&stranger(day(58))), Decision::Refuse);
    assert!(!key.state.knows(&request(crate::world::key(0), &stranger(day(58)))));
}

#[test]
fn a_newcomer_below_notice_is_promoted_after_a_week() {
    let mut key = Key::with_history(30);
    // A new component: new block in the same network, same client, its own prompt.
    let newcomer = |time| Call { place: Place { block: 55, ..HOME }, template: 0x3333, ..usual(time) };
    for i in 0..9 * 24 {
        let (decision, findings) = key.pass(&newcomer(day(30).plus(i * HOUR)));
        assert_ne!(decision, Decision::Refuse);
        assert!(alerts(&findings).is_empty());
    }
    assert!(key.state.knows(&request(crate::world::key(0), &newcomer(day(39)))));
    assert_eq!(key.state.newcomers(), 0);
}

#[test]
fn a_crowd_from_many_networks_accumulates() {
    // Each alone stays below the alert: known client and model, new network, its own prompt.
    let mut key = Key::with_history(30);
    let mut refused_at = None;
    let mut told = Vec::new();
    for i in 0..60u32 {
        let place =
            Place { block: 5_000 + i * 40, asn: 50_000 + i, country: "BR", kind: NetworkKind::Access };
        let call = Call { place, template: 0x7777, ..usual(day(30).plus(u64::from(i) * 10 * MINUTE)) };
        let (decision, findings) = key.pass(&call);
        told.extend(findings.into_iter().filter(|finding| finding.tier >= Tier::Alert));
        if decision == Decision::Refuse && refused_at.is_none() {
            refused_at = Some(i);
        }
    }
    assert!(refused_at.is_some_and(|i| (2..15).contains(&i)), "{refused_at:?}");
    assert_eq!(told[0].rule, "newcomer_crowd");
    let tiers: Vec<Tier> = told.iter().map(|finding| finding.tier).collect();
    assert!(
        tiers == [Tier::Alert] || tiers == [Tier::Alert, Tier::Act],
        "told once, then only rising: {tiers:?}"
    );
    let context = &told[0].actor.as_ref().unwrap().context;
    assert_eq!(context.template, Some(0x7777));
    assert!(!context.matches(&request(crate::world::key(0), &usual(day(30)))));
}

#[test]
fn requests_in_flight_count_as_observed() {
    let key = Key::with_history(30);
    let call = neighbour(day(30));
    let asked = request(crate::world::key(0), &call);
    let judge = |actor| key.engine.judge(&key.state, &key.profile, &asked, InFlight { actor, watched: 0 });
    assert_eq!(judge(0).decision, Decision::Watch);
    assert!(judge(100).once_in_days > 2.0 * judge(0).once_in_days);
    let crowd = key.engine.judge(&key.state, &key.profile, &asked, InFlight { actor: 400, watched: 0 });
    assert!(crowd.once_in_days > judge(100).once_in_days);
    assert_eq!(judge(2).once_in_days, judge(0).once_in_days);
}

#[test]
fn ours_is_learned_at_once_and_stays_trusted() {
    let mut key = Key::with_history(30);
    let alert = key.pass(&stranger(day(30))).1;
    let context = alerts(&alert)[0].actor.clone().unwrap().context;
    key.say(day(30).plus(MINUTE), context, Says::Ours { until: day(120) });
    for i in 0..300u64 {
        let call = Call { template: 0x5000 + i, ..stranger(day(30).plus(2 * MINUTE + i * SECOND)) };
        let (decision, findings) = key.pass(&call);
        assert_eq!(decision, Decision::Forward);
        assert!(alerts(&findings).is_empty());
    }
    assert_eq!(key.judge(&stranger(day(100))), Decision::Forward);
    // What was vouched for teaches: it is the key's own after the trust has ended, too.
    assert_eq!(key.judge(&stranger(day(121))), Decision::Forward);
}

#[test]
fn after_a_theft_newcomers_are_judged_more_strictly() {
    let careful = Call { agent: sdk(), model: "gpt-4o-mini", ..stranger(day(31)) };
    let calm = Key::with_history(30);
    let mut warned = Key::with_history(30);
    warned.pass(&stranger(day(30)));
    let score = |key: &Key, call: &Call| {
        let asked = request(crate::world::key(0), call);
        key.engine.judge(&key.state, &key.profile, &asked, InFlight::default()).once_in_days
    };
    let other = Call { place: Place { block: 70_000, asn: 60_001, country: "VN", ..ABROAD }, ..careful };
    assert!(score(&warned, &other) > 3.0 * score(&calm, &other));
    let context = ContextMatch { asn: Some(ABROAD.asn), ..ContextMatch::default() };
    warned.say(day(30).plus(HOUR), context, Says::Theft);
    assert!(score(&warned, &other) > 7.0 * score(&calm, &other));
    assert_eq!(warned.judge(&stranger(day(60))), Decision::Refuse, "a confirmed theft stays refused");
    // A week later the key is calm again.
    let later = Call { time: day(45), ..other.clone() };
    assert!(score(&warned, &later) < 2.0 * score(&calm, &other));
}

#[test]
fn a_theft_that_had_been_learned_is_forgotten() {
    let mut key = Key::with_history(0);
    for i in 0..30 * 24 {
        key.serve(&usual(day(0).plus(i * HOUR)));
        key.serve(&stranger(day(0).plus(i * HOUR + MINUTE)));
    }
    assert_eq!(key.judge(&stranger(day(30))), Decision::Forward);
    let context = ContextMatch {
        prefix: Some(request(crate::world::key(0), &stranger(day(30))).source.prefix()),
        ..ContextMatch::default()
    };
    key.say(day(30), context, Says::Theft);
    assert_eq!(key.judge(&stranger(day(30).plus(1))), Decision::Refuse);
    assert_eq!(key.judge(&usual(day(30).plus(1))), Decision::Forward);
}

#[test]
fn an_empty_context_says_nothing() {
    let mut key = Key::with_history(30);
    let before = key.state.clone();
    key.say(day(30), ContextMatch::default(), Says::Theft);
    assert_eq!(key.state, before);
}

#[test]
fn missing_facts_are_neutral() {
    // A key whose callers never had a template, agent or network facts: a request that has them is no
    // newcomer for that.
    let bare_place = Place { asn: 0, country: "", kind: NetworkKind::Unknown, ..HOME };
    let bare = |time| Call {
        place: bare_place,
        agent: Agent { family: "", version: String::new(), tls: 0 },
        template: 0,
        model: "",
        ..usual(time)
    };
    let mut key = Key::with_history(0);
    for i in 0..30 * 24 {
        key.serve(&bare(day(0).plus(i * HOUR)));
    }
    assert_eq!(key.judge(&Call { place: HOME, ..usual(day(30)) }), Decision::Forward);
    // And the other way: facts that are suddenly missing.
    let mut key = Key::with_history(30);
    let blind = Call { place: bare_place, template: 0, model: "", ..usual(day(30)) };
    assert_eq!(key.judge(&blind), Decision::Forward);
    let elsewhere = Call { place: Place { block: 444, ..bare_place }, ..blind };
    let (decision, findings) = key.pass(&elsewhere);
    assert_ne!(decision, Decision::Refuse);
    assert!(alerts(&findings).is_empty());
}

#[test]
fn a_missing_agent_is_new_where_agents_were_always_sent() {
    let key = Key::with_history(30);
    let score = |agent: Agent| {
        let asked = request(crate::world::key(0), &Call { agent, ..stranger(day(30)) });
        key.engine.judge(&key.state, &key.profile, &asked, InFlight::default()).once_in_days
    };
    let none = Agent { family: "", version: String::new(), tls: 0 };
    assert!(score(none) > 10.0 * score(sdk()));
}

#[test]
fn a_leaked_key_is_judged_in_its_first_day_too() {
    let mut key = Key::with_history(0);
    key.profile.leaked = Some(day(0).plus(HOUR));
    for i in 0..12 {
        key.serve(&usual(day(0).plus(i * 10 * MINUTE)));
    }
    let (_, findings) = key.pass(&stranger(day(0).plus(3 * HOUR)));
    assert!(findings.iter().any(|finding| finding.rule == "newcomer"), "{findings:#?}");
    assert!(!key.state.knows(&request(crate::world::key(0), &stranger(day(0)))));
}

#[test]
fn canary_keys_are_certain() {
    let mut key = Key::with_history(0);
    key.profile.canary = true;
    let (decision, findings) = key.pass(&usual(day(0)));
    assert_eq!(decision, Decision::Refuse);
    assert!(findings.iter().any(|finding| finding.rule == "canary_key_used" && finding.tier == Tier::Act));
    assert!(key.pass(&usual(day(0).plus(HOUR))).1.iter().all(|finding| finding.rule != "canary_key_used"));
}

#[test]
fn the_budget_moves_the_threshold() {
    let mut key = Key::with_history(30);
    let call = neighbour(day(30));
    assert_ne!(key.judge(&call), Decision::Refuse);
    key.profile.false_alarms_per_year = 12.0;
    assert_eq!(key.judge(&call), Decision::Refuse);
}

#[test]
fn a_prompt_that_always_differs_makes_new_prompts_cheap() {
    let mut churning = Key::with_history(0);
    for i in 0..30 * 144u64 {
        churning.serve(&Call { template: 0x10_0000 + i, ..usual(day(0).plus(i * 10 * MINUTE)) });
    }
    let quiet = Key::with_history(30);
    let call =
        Call { place: Place { kind: NetworkKind::Hosting, ..ABROAD }, template: 0x9999, ..usual(day(30)) };
    let score = |key: &Key| {
        let asked = request(crate::world::key(0), &call);
        key.engine.judge(&key.state, &key.profile, &asked, InFlight::default()).once_in_days
    };
    assert!(score(&churning) < score(&quiet) / 2.0, "{} {}", score(&churning), score(&quiet));
    let _ = DAY;
}
