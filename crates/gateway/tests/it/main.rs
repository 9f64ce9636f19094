//! The data plane as clients see it: real sockets, a mock provider behind, ports in memory.

mod accounting;
mod budgets;
mod containment;
mod hostile;
mod passage;
mod recovery;
mod refusals;
mod rig;
