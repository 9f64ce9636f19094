//! Logs and metrics: set-up, and metrics as a closed set.
