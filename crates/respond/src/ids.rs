//! New ids for what a plan creates. This crate has no randomness: the caller supplies the bits.

use tokenwatch_model::id::{ContainmentId, IncidentId};

/// Hands out ids nobody else has. Any closure that returns 64 fresh random bits is one.
pub trait Ids {
    /// An id for a new incident.
    fn incident(&mut self) -> IncidentId;
    /// An id for a new containment.
    fn containment(&mut self) -> ContainmentId;
}

impl<F: FnMut() -> u64> Ids for F {
    fn incident(&mut self) -> IncidentId {
        IncidentId::from_bits(self())
    }

    fn containment(&mut self) -> ContainmentId {
        ContainmentId::from_bits(self())
    }
}
