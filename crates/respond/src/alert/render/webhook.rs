//! The alert as JSON, signed: the Standard Webhooks specification, version 1. `docs/operating.md` tells receivers how
//! to verify it.

use serde_json::Value;
use tokenwatch_model::alert::{Message, SecretPlace};

use super::post;
use crate::alert::Alert;

pub(super) fn render(alert: &Alert) -> Message {
    // Every number in an alert is one that JSON has, so there is nothing that can fail.
    let body = serde_json::to_value(alert).unwrap_or(Value::Null);
    post(String::new(), &body, SecretPlace::Signature(alert.id.clone()))
}
