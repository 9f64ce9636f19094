//! Dialects: requests, streams, usage, prices, refusals; bytes in, values out.
//!
//! Invariants:
//! * Pure: no runtime, network, files, clock, randomness or logging.
//! * Nothing here panics or grows without bound on any input; limits are constants or arguments.
//! * No error, summary or hash holds content of a request or an answer.
//! * Bytes that pass through are never re-serialised: what is changed is spliced, the rest is forwarded as it came.

pub mod answer;
pub mod batch;
pub mod client;
pub mod encoding;
pub mod inventory;
pub mod models;
pub mod price;
pub mod refuse;
pub mod request;
pub mod route;
pub mod sketch;
pub mod tap;
pub mod usage;

mod json;
mod phrases;
mod words;
