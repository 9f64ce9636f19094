//! Logs and metrics: set-up, flood control, and metrics as a closed set.
//!
//! Invariants:
//! * Metric names and label values come from this crate's enums, never from requests. The one exception
//!   are provider names, which come from configuration and are made when it is loaded.
//! * Updating a metric is one relaxed atomic operation on a handle that exists already: no lock, no
//!   allocation, no look-up by name.
//! * What is worth telling is told in one place ([`told`]): log line and metric together.

pub mod cells;
pub mod flood;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod told;

pub use flood::RateLimited;
pub use logs::{Format, InitLogsError};
pub use metrics::{BuildInfo, Metrics};
