//! The real binary as processes: commands, servers, crashes, reloads, hand-overs.

mod crash;
mod harness;
mod past;
mod power;
