//! The admin API over real sockets: a real data plane without traffic, and records in memory.

#[cfg(test)]
mod access;
#[cfg(test)]
mod alerts;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod contexts;
#[cfg(test)]
mod document;
#[cfg(test)]
mod drills;
#[cfg(test)]
mod follow;
#[cfg(test)]
mod incidents;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod links;
#[cfg(test)]
mod owners;
#[cfg(test)]
mod persistence;
#[cfg(test)]
mod records;
#[cfg(test)]
mod responder;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod runbook;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod server;
#[cfg(test)]
mod suppressions;
#[cfg(test)]
mod system;
#[cfg(test)]
mod tend;
#[cfg(test)]
mod world;
