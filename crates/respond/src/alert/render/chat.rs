//! Chat rooms: Slack's incoming webhooks (Block Kit: 50 blocks, header 150 characters, section 3,000, field 2,000) and
//! Microsoft Teams' workflows (Adaptive Card 1.2 of at most 28 KB).

use serde_json::{Value, json};
use tokenwatch_model::alert::{AlertCause, Message, SecretPlace};

use super::post;
use super::text::{commands, cut, cut_escaped, facts, parts, references};
use crate::alert::Alert;

const HEADER_MAX: usize = 150;
const SECTION_MAX: usize = 3_000;
const FIELD_MAX: usize = 2_000;
/// So that six parts of four-byte characters, escaped, stay below 28 KB.
const CARD_PART_MAX: usize = 1_000;

pub(super) fn slack(alert: &Alert) -> Message {
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": cut(&alert.headline, HEADER_MAX)}}),
    ];
    let fields: Vec<Value> = facts(alert)
        .into_iter()
        .map(|(name, value)| mrkdwn(&format!("*{name}*\n{}", escaped(&value, FIELD_MAX - 20))))
        .collect();
    blocks.push(json!({"type": "section", "fields": fields}));
    for part in parts(alert) {
        let lines = escaped(&part.lines.join("\n"), SECTION_MAX - 40);
        blocks.push(json!({"type": "section", "text": mrkdwn(&format!("*{}*\n{lines}", part.heading))}));
    }
    if !alert.what_to_press.is_empty() {
        let commands = escaped(&commands(alert).join("\n"), SECTION_MAX - 40);
        let text = format!("*What to press*\n```{commands}```");
        blocks.push(json!({"type": "section", "text": mrkdwn(&text)}));
    }
    let mut foot: Vec<Value> = alert
        .links
        .iter()
        .map(|link| mrkdwn(&format!("<{}|{}>", escaped(&link.url, FIELD_MAX - 100), link.text)))
        .collect();
    let cited = references(alert);
    if !cited.is_empty() {
        foot.push(mrkdwn(&escaped(&cited, FIELD_MAX)));
    }
    if !foot.is_empty() {
        blocks.push(json!({"type": "context", "elements": foot}));
    }
    let fallback = escaped(&format!("{} ({})", alert.headline, alert.subject.id()), SECTION_MAX);
    let body = json!({"text": fallback, "blocks": blocks});
    post(String::new(), &body, SecretPlace::None)
}

fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text})
}

/// Slack's three control characters as entities. A back-tick could end a block of code, and a star make text bold; in
/// names that callers chose they become what looks alike.
fn escaped(text: &str, chars_max: usize) -> String {
    cut_escaped(text, chars_max, |c| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '`' => Some("'"),
        _ => None,
    })
}

pub(super) fn teams(alert: &Alert) -> Message {
    let color = match alert.cause {
        AlertCause::Resolved | AlertCause::Dismissed => "Good",
        AlertCause::Acknowledged | AlertCause::Test => "Default",
        AlertCause::Opened | AlertCause::Updated | AlertCause::Escalated => "Attention",
    };
    let title = cut(&escaped_markdown(&alert.headline), 300);
    let mut body = vec![json!({
        "type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium", "wrap": true, "color": color,
    })];
    let facts: Vec<Value> = facts(alert)
        .into_iter()
        .map(|(name, value)| json!({"title": name, "value": cut(&escaped_markdown(&value), CARD_PART_MAX)}))
        .collect();
    body.push(json!({"type": "FactSet", "facts": facts}));
    for part in parts(alert) {
        body.push(json!({"type": "TextBlock", "text": part.heading, "weight": "Bolder", "wrap": true}));
        body.push(block(&part.lines.join("\n\n")));
    }
    if !alert.what_to_press.is_empty() {
        body.push(json!({"type": "TextBlock", "text": "What to press", "weight": "Bolder", "wrap": true}));
        let text = cut(&escaped_markdown(&commands(alert).join("\n")), 2 * CARD_PART_MAX);
        body.push(json!({"type": "TextBlock", "text": text, "wrap": true, "fontType": "Monospace"}));
    }
    let cited = references(alert);
    if !cited.is_empty() {
        body.push(json!({
            "type": "TextBlock", "text": cut(&cited, CARD_PART_MAX), "wrap": true, "isSubtle": true, "size": "Small",
        }));
    }
    let actions: Vec<Value> = alert
        .links
        .iter()
        .map(|link| json!({"type": "Action.OpenUrl", "title": link.text, "url": link.url}))
        .collect();
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.2",
        "body": body, "actions": actions, "msteams": {"width": "full"},
    });
    let body = json!({"type": "message", "attachments": [{
        "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card,
    }]});
    post(String::new(), &body, SecretPlace::None)
}

fn block(text: &str) -> Value {
    json!({"type": "TextBlock", "text": cut(&escaped_markdown(text), CARD_PART_MAX), "wrap": true})
}

/// A card's text is Markdown: no link or picture may come out of a name that a caller chose.
fn escaped_markdown(text: &str) -> String {
    text.replace(['[', ']'], "|").replace('`', "'")
}
