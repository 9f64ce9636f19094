//! How much it weighs what the owner's other keys know of a newcomer.
//!
//! [`honest_factor`] is how much oftener (or rarer) honest newcomers get this answer than thieves do; the rate of honest
//! newcomers is multiplied by it. Only what is new to the key is asked about: that a sibling knows what the key knows too
//! says nothing.
//!
//! What is not asked: network, country and model. Thieves rent in the clouds that owners rent in and want the models that
//! owners use; on simulated fleets such an answer is as frequent about them.

use tokenwatch_model::context::{Siblings, SiblingsKnow};

use crate::known::{Novelty, dimension};

/// How often siblings know a new value, of honest newcomers and of thieves.
struct Shares {
    honest: f64,
    thief: f64,
}

impl Shares {
    const fn factor(&self, is_known: bool) -> f64 {
        if is_known { self.honest / self.thief } else { (1.0 - self.honest) / (1.0 - self.thief) }
    }
}

/// The answers together weigh at most so much.
const FACTOR_MAX: f64 = 20.0;

// Counted on four simulated fleets by `cargo run --release -p tokenwatch-evaluate --example siblings`; the table is in
// `docs/detection.md`. A caller chooses what it calls itself, some prompts are public, and a thief may sit on the owner's
// own machines: no thief's share is put below what that may come to, however few were counted.
const BLOCK: Shares = Shares { honest: 0.010, thief: 0.002 };
const FAMILY: Shares = Shares { honest: 0.35, thief: 0.05 };
const TLS: Shares = Shares { honest: 0.07, thief: 0.02 };
const VERSION: Shares = Shares { honest: 0.25, thief: 0.04 };
const TEMPLATE: Shares = Shares { honest: 0.057, thief: 0.005 };

/// What is asked: where it is new to the key, the answer's bit, how often it is given, and a word for it.
const ASKED: [(usize, SiblingsKnow, Shares, &str); 5] = [
    (dimension::PREFIX, SiblingsKnow::PREFIX, BLOCK, "address block"),
    (dimension::FAMILY, SiblingsKnow::FAMILY, FAMILY, "client"),
    (dimension::TLS, SiblingsKnow::TLS, TLS, "TLS print"),
    (dimension::VERSION, SiblingsKnow::VERSION, VERSION, "client version"),
    (dimension::TEMPLATE, SiblingsKnow::TEMPLATE, TEMPLATE, "prompt"),
];

/// How much oftener than about thieves siblings answer like this about honest newcomers; 1 when there are none.
pub(crate) fn honest_factor(siblings: Siblings, novelty: Novelty) -> f64 {
    if siblings.keys == 0 {
        return 1.0;
    }
    let asked = ASKED.iter().filter(|(of, ..)| novelty.has(*of));
    let factor: f64 = asked.map(|(_, bit, shares, _)| shares.factor(siblings.known.has(*bit))).product();
    factor.clamp(1.0 / FACTOR_MAX, FACTOR_MAX)
}

/// The answer in words.
pub(crate) fn describe(siblings: Siblings, novelty: Novelty) -> String {
    let asked = || ASKED.iter().filter(|(of, ..)| novelty.has(*of));
    let words = |is_known: bool| {
        let those = asked().filter(|(_, bit, ..)| siblings.known.has(*bit) == is_known);
        those.map(|(.., word)| *word).collect::<Vec<&str>>().join(" and ")
    };
    match (words(true), siblings.keys) {
        (known, keys) if known.is_empty() => {
            let others = if keys == 1 {
                "the owner's other key does not know".to_owned()
            } else {
                format!("none of the owner's {keys} other keys knows")
            };
            format!("{others} its {}", words(false))
        }
        (known, _) => format!("another key of the owner knows its {known}"),
    }
}
