//! The data plane: accept → identify → admit → judge → forward → tap → settle → observe.
//!
//! * [`listen`] and `workers`: sockets, TLS, one runtime per worker.
//! * `path`: the stages of one request, in order; `refuse`: every way to say no.
//! * [`live`]: what is known of every key right now, decided under one lock per shard.
//! * `forward`, `pool`, `answer`, `tunnel`: to the provider and back.
//! * `ticket`: every request ends in exactly one outcome.
//!
//! Invariants:
//! * Nothing is forwarded before its body was read whole and found unambiguous (uploads excepted), its key
//!   identified, its room reserved, and its context judged.
//! * A virtual key never travels to a provider, and a provider credential never to a client.
//! * No SQL, no vendor clients, no clock but the port's for anything that is recorded.

mod answer;
mod batch;
mod body;
mod breaker;
mod clamp;
mod credential;
mod flight;
mod forward;
mod gateway;
mod health;
mod io;
mod line;
mod lists;
mod path;
mod pool;
mod proxy_protocol;
mod pulse;
mod refuse;
mod sender;
mod source;
mod strict;
mod target;
#[cfg(test)]
mod testing;
mod ticket;
mod tunnel;
mod workers;

pub mod drill;
pub mod listen;
pub mod live;
pub mod registry;
pub mod settings;

pub use gateway::{FindingSink, Gateway, Ports};
pub use io::StallGuard;
pub use workers::{Workers, WorkersConfig};
