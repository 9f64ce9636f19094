//! The console: administration of keys, owners and incidents, the responder that acts on findings, and the
//! admin API.
//!
//! Invariants:
//! * It sees the store through [`records::Records`] only; every change carries its audit entry.
//! * A finding becomes a plan, a plan becomes rows in one transaction, and only then is it in force.
//! * Credentials are handed out once and never logged.

pub mod admins;
pub mod alarms;
pub mod alerts;
pub mod api;
pub mod billing;
pub mod cases;
pub mod drills;
pub mod follow;
pub mod links;
pub mod manage;
pub mod persistence;
mod radius;
pub mod records;
pub mod responder;
pub mod rotation;
pub mod runbooks;
pub mod suppressions;
pub mod tend;
