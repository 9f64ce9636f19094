//! E-mail: plain text, one thread for each incident or alarm.

use tokenwatch_model::alert::Message;

use super::text::{cut, plain};
use crate::alert::Alert;

pub(super) fn render(alert: &Alert) -> Message {
    Message::Mail {
        subject: cut(&format!("[TokenWatch] {}", alert.headline), 200),
        text: plain(alert),
        id: alert.id.clone(),
        thread: alert.subject.id().to_owned(),
    }
}
