//! Detection: baselines, rules and the newcomer channel; events in, findings out.
//!
//! A key is not one user but a set of contexts. The engine learns the contexts of each key, measures a
//! newcomer as "once in how many days does a benign newcomer of this kind appear on a key like this?", and
//! alerts when that number of days exceeds the key's false-alarm budget. The same number decides, before
//! a request is forwarded, whether it is refused.
//!
//! * [`Engine::judge`] is pure on the learned state: one request, before it is forwarded.
//! * [`Engine::observe`] learns and finds: one finished request.
//! * [`Engine::feedback`] takes a person's word.
//! * [`Fleet`] keeps the states of many keys, for logs, replays and tests.
//!
//! Beside the engine, behind one interface ([`method`]), stand the methods of the field ([`classic`]) and a detector of
//! a single series ([`series`]); [`calibrate`] learns what their scores mean, [`combined`] puts several under one
//! budget.
//!
//! Invariants:
//! * No clock, randomness, input or output. Time comes from events; the same events in the same order give
//!   the same findings, bit for bit, on every platform.
//! * A request whose network and client are both known to the key is never refused by the newcomer channel.
//! * Refused requests never teach. Newcomers with meaningful evidence teach nothing until they are
//!   promoted by time with little evidence, or by a person.
//! * Memory per key is bounded whatever is sent.
//!
//! What it cannot see: a theft that looks like a benign new workload cannot be found at a false-alarm rate
//! below the rate of such workloads, and a thief on the owner's own network with the owner's client and
//! prompts is the owner as far as traffic can tell. Volume alone hardly ever alerts: on real clean traffic the
//! volume rules fire on 6 to 13 % of key-days, so rules only give notices, and at the default budget an hour must
//! go some hundred times beyond every hour before it, in requests and in money.

mod baseline;
mod behaviour;
pub mod calibrate;
mod census;
mod channel;
mod churn;
pub mod classic;
pub mod combined;
mod config;
mod content;
mod crowd;
mod engine;
mod explain;
mod features;
mod fleet;
mod geography;
mod histogram;
mod household;
mod inside;
mod known;
mod math;
pub mod method;
mod powers;
mod priors;
mod profile;
mod prowlers;
mod rates;
mod rules;
pub mod series;
mod siblings;
mod sizes;
mod slot;
mod software;
mod standing;
mod state;
mod surge;
mod view;
mod windows;

pub use census::Census;
pub use config::{Config, RuleSet, UnknownRuleError};
pub use engine::{Engine, InFlight};
pub use features::actor_of;
pub use fleet::Fleet;
pub use household::{Household, Vouched};
pub use priors::{FleetPriors, NewcomerType};
pub use profile::{FALSE_ALARMS_PER_YEAR, KeyProfile};
pub use prowlers::Prowlers;
pub use rates::{Difference, FleetRates, FleetRatesError};
pub use rules::{About, catalogue};
pub use state::{DecodeStateError, KeyState};
pub use view::{KnownCounts, Suspect, Usual};
