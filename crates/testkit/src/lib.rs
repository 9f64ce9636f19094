//! For tests, benches and the demo: a mock provider, real traffic samples, simulated customers and thieves.
//!
//! What is real and what is not: arrival times and token counts of honest customers come from production
//! ([`traffic`], [`fleet`]). Networks, clients, prompts and tools are simulated, because no public trace has them. Thefts are
//! generated from published reports; what a report does not say is an assumption and marked as one.
//!
//! Invariants:
//! * The same seed gives the same requests, bit for bit. Nothing here reads a clock for data.
//! * Everything is bounded: bodies, recordings, streams.

mod body;
pub mod client;
pub mod events;
pub mod fleet;
pub mod persona;
pub mod place;
pub mod price;
pub mod provider;
pub mod record;
pub mod rng;
pub mod scenario;
pub mod sim;
pub mod software;
pub mod theft;
pub mod traffic;
pub mod websocket;
