//! Which thefts the layered detector misses, and why: one line for each theft, harmless change and clean day of note, and
//! for each theft below a threshold the request that came closest, with what spoke for and against it.
//!
//! `cargo run --release -p tokenwatch-evaluate --example misses -- SEED [KEYS] [CLEAN_KEYS] [THRESHOLD] [THEFT,…]`
//!
//! Keys, thefts and starts are those of `tokenwatch evaluate --seed SEED --keys KEYS --calibration-keys CLEAN_KEYS
//! --clean-keys CLEAN_KEYS --theft-requests 2000`. Lines are separated by tabs:
//! `clean half key client kind day score`, `theft name key client kind found score already requests`,
//! `change name key client kind score without`, `why name key …`. With thefts named, only those are tried.

#![expect(clippy::print_stdout, reason = "a table for developers")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokenwatch_detect::method::Layered;
use tokenwatch_detect::{Engine, FALSE_ALARMS_PER_YEAR, InFlight, KeyProfile, KeyState};
use tokenwatch_evaluate::fleet::{FleetSettings, FleetWorld};
use tokenwatch_evaluate::plan::{Options, Plan, seed_of, start_of};
use tokenwatch_evaluate::siblings::{WithSiblings, by_owner};
use tokenwatch_evaluate::trial::{Contestant, Trial};
use tokenwatch_evaluate::world::World;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_testkit::fleet::clients;

/// Clean days with less are left out.
const OF_NOTE: f64 = 3.0;

struct Asked {
    seed: u64,
    keys: u32,
    clean_keys: u32,
    threshold: f64,
    thefts: Vec<String>,
}

impl Asked {
    fn read() -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let number =
            |at: usize, default: f64| args.get(at).and_then(|arg| arg.parse().ok()).unwrap_or(default);
        Self {
            seed: number(0, 2.0) as u64,
            keys: number(1, 280.0) as u32,
            clean_keys: number(2, 5_250.0) as u32,
            threshold: number(3, 0.0),
            thefts: args
                .get(4)
                .map(|names| names.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
        }
    }

    fn options(&self) -> Options {
        Options {
            seed: self.seed,
            calibration_keys: Some(self.clean_keys),
            test_keys: Some(self.keys),
            clean_keys: self.clean_keys,
            ..Options::default()
        }
    }

    /// As many keys of each client as `tokenwatch evaluate` makes.
    fn world(&self) -> Option<FleetWorld> {
        let clients = FleetWorld::fit(clients::bundled().ok()?);
        let settings = FleetSettings {
            seed: self.seed,
            keys: Plan::keys_of(clients.len(), &self.options()),
            pace: 1.0,
            false_alarms_per_year: FALSE_ALARMS_PER_YEAR,
            is_declared: true,
            theft_requests_max: 2_000,
        };
        Some(FleetWorld::new(clients, &settings))
    }
}

fn main() {
    let asked = Asked::read();
    let (Some(world), options) = (asked.world(), asked.options()) else { return };
    let plan = Plan::new(&world, &options);
    let engine = Arc::new(Engine::default());
    let is_asked = |place: &usize| {
        let name = world.attacks()[*place].name;
        asked.thefts.is_empty() || asked.thefts.iter().any(|asked| asked == name)
    };
    let attacks: Vec<usize> = (0..world.attacks().len()).filter(is_asked).collect();
    let changes: Vec<usize> = (0..world.changes().len()).collect();
    let contestants = [Contestant {
        method: Box::new(Layered::new(Arc::clone(&engine))),
        nominal: None,
        engine: None,
        published: None,
    }];
    for (half, keys) in [("test", &plan.test), ("clean", &plan.clean), ("calibration", &plan.calibration)] {
        let judged = half == "test";
        if !judged && !asked.thefts.is_empty() {
            continue;
        }
        let owners = by_owner(&world, keys);
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(keys) = owners.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut world = WithSiblings::new(&world);
                world.ask(keys, options.end_day());
                let trial = Trial {
                    world: &world,
                    options: &options,
                    contestants: &contestants,
                    thresholds: &[],
                    attacks: if judged { &attacks } else { &[] },
                    changes: if judged && asked.thefts.is_empty() { &changes } else { &[] },
                    checks_budgets: false,
                    clock: &|| 0,
                };
                for &key in keys {
                    report(&trial, half, key, asked.threshold, &engine);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(work);
            }
        });
    }
    println!("days\t{}\t{}", 4 * plan.calibration.len(), 4 * (plan.test.len() + plan.clean.len()));
}

fn report(trial: &Trial<'_>, half: &str, key: usize, threshold: f64, engine: &Engine) {
    let about = &trial.world.keys()[key];
    let who = format!("{key}\t{}\t{}", about.client, about.archetype);
    let tried = trial.run(key);
    let Some(method) = tried.methods.first() else { return };
    for (day, score) in method.days.iter().enumerate().filter(|(_, score)| **score >= OF_NOTE) {
        println!("clean\t{half}\t{who}\t{day}\t{score:.2}");
        if threshold > 0.0 && *score >= threshold {
            why(&alarm(trial, key, day), &about.profile, engine, &format!("clean\t{who}"));
        }
    }
    for theft in &method.thefts {
        let name = trial.world.attacks()[theft.attack].name;
        let (highest, already, requests) = (theft.highest(), theft.already, theft.requests);
        let found = theft.at(threshold.max(1.0)).map_or(0, |found| found.requests);
        println!("theft\t{name}\t{who}\t{found}\t{highest:.2}\t{already:.2}\t{requests}");
        if threshold > 0.0 && theft.at(threshold).is_none() {
            why(&merged(trial, key, theft.attack), &about.profile, engine, &format!("{name}\t{who}"));
        }
    }
    for change in &method.changes {
        let name = trial.world.changes()[change.change].name;
        println!("change\t{name}\t{who}\t{:.2}\t{:.2}", change.highest, change.without);
    }
}

/// Clean events until the end of a scored day, and whether they are of that day.
fn alarm(trial: &Trial<'_>, key: usize, day: usize) -> Vec<(UsageEvent, bool)> {
    let from = trial.world.start().plus((u64::from(trial.options.teach_days) + day as u64) * DAY);
    let clean = trial.world.events(key, trial.options.end_day());
    let is_past = |event: &UsageEvent| event.request.time < from.plus(DAY);
    clean
        .into_iter()
        .filter(is_past)
        .map(|event| (event.request.time >= from, event))
        .map(|(is, e)| (e, is))
        .collect()
}

/// Events of owner and thief, and whether they are the thief's.
fn merged(trial: &Trial<'_>, key: usize, attack: usize) -> Vec<(UsageEvent, bool)> {
    let world = trial.world;
    let about = world.attacks()[attack];
    let start = start_of(world, trial.options, key, about.name);
    let end = world.start().plus(u64::from(trial.options.end_day()) * DAY);
    let theft = world.theft(key, attack, seed_of(trial.options, key, about.name), start, end);
    let first = theft.first().map_or(start, |event| event.request.time);
    let silent = Timestamp(first.0.saturating_sub(about.owner_silent_days * DAY));
    let is_there = |event: &UsageEvent| about.owner_silent_days == 0 || event.request.time < silent;
    let clean = world.events(key, trial.options.end_day()).into_iter().filter(is_there);
    let mut events: Vec<(UsageEvent, bool)> = clean.map(|event| (event, false)).collect();
    events.extend(theft.into_iter().map(|mut event| {
        event.key_seq = 0;
        (event, true)
    }));
    events.sort_by_key(|(event, is_thief)| (event.request.time, !is_thief));
    events
}

/// Says which of the marked requests came closest to an alert, and why.
fn why(events: &[(UsageEvent, bool)], profile: &KeyProfile, engine: &Engine, name: &str) {
    // Whoever is refused is explained, so a key that nobody may use otherwise explains everybody.
    let strict = KeyProfile { false_alarms_per_year: 2_190.0, ..profile.clone() };
    let mut state = KeyState::new();
    let (mut marked, mut newcomers, mut closest) = (0, 0, (0.0, String::new()));
    for (event, is_marked) in events {
        let time = event.request.time;
        if *is_marked {
            marked += 1;
            let verdict = engine.judge(&state, &strict, &event.request, InFlight::default());
            if let Some(finding) = verdict.finding {
                newcomers += 1;
                if verdict.once_in_days > closest.0 {
                    let reasons: Vec<String> = finding
                        .reasons
                        .iter()
                        .map(|reason| format!("{:+.1} {}", reason.nats, reason.what))
                        .collect();
                    closest = (
                        verdict.once_in_days,
                        format!(
                            "{marked} on {time}: {}\n        {}",
                            finding.summary,
                            reasons.join("\n        ")
                        ),
                    );
                }
            }
        }
        drop(engine.observe(&mut state, profile, event));
    }
    let known = events.iter().take_while(|(_, is_marked)| !is_marked);
    let mut hours: Vec<u32> = known.map(|(event, _)| event.request.time.hour()).collect();
    let requests = hours.len();
    hours.dedup();
    let first = events.iter().find(|(_, is_marked)| *is_marked).map(|(event, _)| event.request.time);
    let age =
        first.zip(state.first_event()).map_or(0.0, |(first, born)| first.since(born) as f64 / DAY as f64);
    println!(
        "why\t{name}\t{age:.1} days old: {requests} requests in {} hours; then {marked}, {newcomers} judged\n    \
         {:.1} days at request {}",
        hours.len(),
        closest.0,
        closest.1
    );
}
