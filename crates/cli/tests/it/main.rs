//! The real binary as processes: commands, servers, crashes, reloads, hand-overs.

mod crash;
mod demo;
mod first;
mod handover;
mod harness;
mod many;
mod past;
mod power;
mod reload;
