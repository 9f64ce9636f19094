//! The admin API and the plan executor.
