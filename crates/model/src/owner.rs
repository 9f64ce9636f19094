//! Owners: teams or services with people to page, and the defaults of their keys.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::OwnerId;
use crate::key::Policy;
use crate::time::Timestamp;

/// A team or service that keys belong to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owner {
    /// Identity.
    pub id: OwnerId,
    /// Unique short name, such as `search-team`.
    pub name: SmolStr,
    /// Who is paged: a route of the alerting system, an e-mail address, a rota.
    pub on_call: SmolStr,
    /// Chat channel; may be empty.
    pub channel: SmolStr,
    /// What its keys inherit.
    pub defaults: Policy,
    /// When it was registered.
    pub created: Timestamp,
    /// Grows with every change.
    pub revision: u64,
}
