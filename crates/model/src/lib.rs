//! The nouns of TokenWatch: keys, contexts, usage events, findings, containments, and the ports.
//!
//! Invariants:
//! * No runtime, network, files, clock, randomness or logging: every function is a pure function of
//!   its arguments; time and random bytes are passed in.
//! * Every type that is written to disk is encodable by a non-self-describing codec (no untagged or
//!   internally tagged enums, no skipped fields), because the journal uses one.
//! * A secret is a type without `Debug`, `Display` or `Serialize`; see [`secret`].

pub mod account;
pub mod alarm;
pub mod alert;
pub mod artifact;
pub mod audit;
pub mod client;
pub mod containment;
pub mod context;
pub mod credential;
pub mod drill;
pub mod event;
pub mod finding;
pub mod handling;
pub mod id;
pub mod incident;
pub mod key;
pub mod limit;
pub mod money;
pub mod network;
pub mod outcome;
pub mod owner;
pub mod phrase;
pub mod ports;
pub mod provider;
pub mod scope;
pub mod secret;
pub mod suppression;
pub mod time;
pub mod usage;

pub use smol_str::SmolStr;
