//! The real binary as processes: commands, servers, crashes, reloads, hand-overs.

#[cfg(test)]
mod alerts;
#[cfg(test)]
mod billing;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod drill;
#[cfg(test)]
mod evaluate;
#[cfg(test)]
mod first;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod many;
#[cfg(test)]
mod outbox;
#[cfg(test)]
mod past;
#[cfg(test)]
mod persistence;
#[cfg(test)]
mod power;
#[cfg(test)]
mod receiver;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod runbook;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod spend;
#[cfg(test)]
mod tuning;
