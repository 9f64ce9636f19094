//! HTTP receivers.
