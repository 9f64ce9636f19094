//! Counts what sibling keys know of newcomers, on clean simulated traffic and of thieves: where the factors of
//! `tokenwatch_detect::household` come from.
//!
//! `cargo run --release -p tokenwatch-evaluate --example siblings -- [keys] [seeds] [pace]`

#![expect(clippy::print_stdout, reason = "a table for developers")]

use std::collections::{BTreeMap, HashSet};

use tokenwatch_detect::FALSE_ALARMS_PER_YEAR;
use tokenwatch_evaluate::fleet::{FleetSettings, FleetWorld};
use tokenwatch_evaluate::plan::{Options, seed_of, start_of};
use tokenwatch_evaluate::siblings::{WithSiblings, by_owner};
use tokenwatch_evaluate::world::{Group, World};
use tokenwatch_model::context::{RequestContext, SiblingsKnow};
use tokenwatch_model::time::DAY;
use tokenwatch_testkit::fleet::clients;

/// Everything a key used so far.
#[derive(Clone, Default)]
struct Seen(HashSet<(u8, String)>);

fn values(request: &RequestContext) -> Vec<(u8, String)> {
    let (facts, client, shape) = (request.source.facts, &request.client, &request.shape);
    let template = if shape.template == 0 { shape.tools } else { shape.template };
    vec![
        (0, request.source.prefix().to_string()),
        (1, facts.asn.to_string()),
        (2, facts.country.code().to_owned()),
        (3, client.family.to_string()),
        (4, format!("{} {}", client.family, client.version)),
        (5, client.tls.to_string()),
        (6, request.model.to_string()),
        (7, template.to_string()),
    ]
}

impl Seen {
    /// What is new in each dimension, and what the siblings said, in words; `None` when nothing makes it a newcomer.
    fn describe(&self, request: &RequestContext) -> Option<Vec<String>> {
        let values = values(request);
        let new: Vec<bool> = values.iter().map(|value| !self.0.contains(value)).collect();
        let knows = |bit: SiblingsKnow| request.siblings.known.has(bit);
        if request.siblings.keys == 0 || ![0, 1, 3, 4, 5].iter().any(|&of| new[of]) {
            return None;
        }
        let mut words = Vec::new();
        let mut source = String::new();
        if new[0] {
            let level = if new[2] {
                "country"
            } else if new[1] {
                "network"
            } else {
                "block"
            };
            let known = if knows(SiblingsKnow::PREFIX) {
                "block"
            } else if knows(SiblingsKnow::NETWORK) {
                "network"
            } else {
                "unknown"
            };
            source = format!("source {level}: {known}");
            words.push(source.clone());
        }
        let client = if new[3] {
            Some(("family", SiblingsKnow::FAMILY))
        } else if new[5] {
            Some(("tls", SiblingsKnow::TLS))
        } else if new[4] {
            Some(("version", SiblingsKnow::VERSION))
        } else {
            None
        };
        let say = |bit| if knows(bit) { "known" } else { "unknown" };
        if let Some((level, bit)) = client {
            words.push(format!("client {level}: {}", say(bit)));
        }
        if new[6] {
            words.push(format!("model: {}", say(SiblingsKnow::MODEL)));
        }
        if new[7] {
            words.push(format!("template: {}", say(SiblingsKnow::TEMPLATE)));
            if new[0] {
                words.push(format!("{source} + template: {}", say(SiblingsKnow::TEMPLATE)));
            }
            if let Some((level, bit)) = client {
                words.push(format!(
                    "client {level}: {} + template: {}",
                    say(bit),
                    say(SiblingsKnow::TEMPLATE)
                ));
            }
        }
        Some(words)
    }

    fn learn(&mut self, request: &RequestContext) {
        self.0.extend(values(request));
    }
}

type Counts = BTreeMap<String, [u64; 7]>;

const ARCHETYPES: [&str; 5] = ["service", "pool", "ci", "team", "public_app"];

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default: u64| args.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (keys, seeds, pace) = (number(560) as u32, number(4), number(1) as f64);
    let mut counts = Counts::new();
    // The first seed is the one that results are told of.
    for seed in 2..2 + seeds {
        let settings = FleetSettings {
            seed,
            keys,
            pace,
            false_alarms_per_year: FALSE_ALARMS_PER_YEAR,
            is_declared: true,
            theft_requests_max: 20,
        };
        let Ok(clients) = clients::bundled() else { return };
        let mut world = WithSiblings::new(FleetWorld::new(clients, &settings));
        let options = Options { seed, ..Options::default() };
        let all: Vec<usize> = (0..world.keys().len()).collect();
        for owner in by_owner(&world, &all) {
            world.ask(&owner, options.end_day());
        }
        for key in 0..world.keys().len() {
            count(&world, &options, key, &mut counts);
        }
    }
    print!("{:<48}", "new on the key: known by siblings");
    ARCHETYPES.iter().chain(&["loud", "careful"]).for_each(|column| print!(" {column:>10}"));
    println!();
    for (what, columns) in counts {
        print!("{what:<48}");
        columns.iter().for_each(|count| print!(" {count:>10}"));
        println!();
    }
}

/// Honest newcomers from the seventh day on, and the first request of each theft.
fn count(world: &dyn World, options: &Options, key: usize, counts: &mut Counts) {
    let mut seen = Seen::default();
    let from = world.start().plus(6 * DAY);
    let own = ARCHETYPES.iter().position(|name| *name == world.keys()[key].archetype).unwrap_or(0);
    let clean = world.events(key, options.end_day());
    let mut note = |words: Option<Vec<String>>, column: usize| {
        for what in words.into_iter().flatten() {
            counts.entry(what).or_default()[column] += 1;
        }
    };
    let mut thefts = Vec::new();
    for (place, attack) in world.attacks().iter().enumerate() {
        let column = match attack.group {
            Group::Loud | Group::Documented => 5,
            Group::Careful => 6,
            Group::Mimic | Group::Recorded => continue,
        };
        let start = start_of(world, options, key, attack.name);
        let end = start.plus(DAY);
        let first =
            world.theft(key, place, seed_of(options, key, attack.name), start, end).into_iter().next();
        thefts.extend(first.map(|first| (first, column)));
    }
    thefts.sort_by_key(|(first, _)| first.request.time);
    let mut thefts = thefts.into_iter().peekable();
    for event in &clean {
        while let Some((theft, column)) =
            thefts.next_if(|(theft, _)| theft.request.time <= event.request.time)
        {
            note(seen.describe(&theft.request), column);
        }
        if event.request.time >= from {
            note(seen.describe(&event.request), own);
        }
        seen.learn(&event.request);
    }
}
