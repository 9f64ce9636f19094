//! Containment: policy, plans and incidents as pure values.
