//! The judge of detection methods: clean traffic, thefts put into it, and what each method makes of them.
//!
//! The protocol, told once; `docs/detection.md` says why:
//!
//! 1. Clients are split into calibration and test clients; every key of a client is on its client's side ([`plan`]).
//! 2. Thresholds come from the calibration keys' clean days alone: the score that at most so many key-days exceed
//!    ([`threshold`]).
//! 3. On each test key the first days teach; what is known then is forked at the start of each theft, and the merged
//!    stream of owner and thief is scored ([`trial`]). The same keys' days without theft count false alarms.
//! 4. From the scores any threshold gives what was found, after how many requests, seconds and dollars; intervals are
//!    over clients, because keys of one client resemble each other ([`report`]).
//!
//! Keys of one owner are asked about each other's newcomers ([`siblings`]), as a gateway asks them.
//!
//! Beside that, events that somebody else mixed can be read ([`record`]) and replayed as a gateway would have seen them
//! ([`replay`]), also twice: under the settings in force and under proposed ones ([`dry`]).
//!
//! Invariants:
//! * No files, clock, threads or logging: worlds and clocks are handed in, and a key's trial is a function of the
//!   world, the plan and the methods, so any number of threads gives the same report.
//! * A method sees events in time order and nothing of the truth.
//! * No threshold is chosen on a key that it is judged by.

pub mod blank;
pub mod budget;
pub mod counted;
pub mod dry;
pub mod fleet;
pub mod html;
pub mod plan;
pub mod record;
pub mod recorded;
pub mod replay;
pub mod report;
pub mod siblings;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod threshold;
pub mod trial;
pub mod world;
