//! The data plane as clients see it: real sockets, a mock provider behind, ports in memory.

#[cfg(test)]
mod accounting;
#[cfg(test)]
mod batches;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod containment;
#[cfg(test)]
mod content;
#[cfg(test)]
mod encrypted;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod owners;
#[cfg(test)]
mod passage;
#[cfg(test)]
mod pieces;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod websockets;
