//! Pages of signed links: what a proposed step would do and to whom, and one button that does it.
//!
//! * Looking (GET) changes nothing, so whatever fetches links by itself does no harm.
//! * Only the button (POST) acts, and only from this page: a request of another origin is refused before.
//! * No script, no style, nothing from elsewhere; every text is escaped.

use http::StatusCode;
use tokenwatch_model::time::{Timestamp, human_span};
use tokenwatch_respond::words::{clean, clock, key_name};
use tokenwatch_respond::{Disposition, commands};

use super::input::Call;
use super::problem::Problem;
use super::reply::Reply;
use crate::links::{Link, Preview, ReadLinkError};
use crate::records::RecordsError;

/// What a page says.
struct Page {
    status: StatusCode,
    title: String,
    /// Paragraphs.
    text: Vec<String>,
    /// Names and values.
    facts: Vec<(&'static str, String)>,
    /// What the button says; no button without it.
    button: Option<String>,
}

impl Page {
    fn of(status: StatusCode, title: &str, text: impl Into<String>) -> Self {
        let (title, text) = (title.to_owned(), vec![text.into()]);
        Self { status, title, text, facts: Vec::new(), button: None }
    }

    fn reply(self) -> Reply {
        let title = escaped(&self.title);
        let mut body = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">\
             <title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n"
        );
        for text in &self.text {
            body.push_str(&format!("<p>{}</p>\n", escaped(text)));
        }
        if !self.facts.is_empty() {
            body.push_str("<table>\n");
            for (name, value) in &self.facts {
                body.push_str(&format!(
                    "<tr><th align=\"left\">{name}</th><td>{}</td></tr>\n",
                    escaped(value)
                ));
            }
            body.push_str("</table>\n");
        }
        if let Some(button) = &self.button {
            // Without an action it goes to the address of this very page.
            body.push_str(&format!(
                "<form method=\"post\"><p><button type=\"submit\">{}</button></p></form>\n",
                escaped(button)
            ));
        }
        body.push_str("</body>\n</html>\n");
        Reply::page(body).with_status(self.status)
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// What a link would do.
pub(crate) fn show(call: &Call) -> Result<Reply, Problem> {
    Ok(with_link(call, |link| {
        let api = &call.shared.api;
        let normal = |key| Ok(api.gateway.live.normal(key));
        let preview = api.manager.preview_link(&api.policy.load(), &normal, link)?;
        Ok(page_of(&preview, link, api.manager.clock.now()))
    })
    .reply())
}

/// Does it.
pub(crate) fn act(call: &Call) -> Result<Reply, Problem> {
    Ok(with_link(call, |link| {
        let api = &call.shared.api;
        let normal = |key| Ok(api.gateway.live.normal(key));
        let effects = api.manager.use_link(&api.policy.load(), &normal, link)?;
        call.changed();
        let done: Vec<String> = effects
            .containments
            .iter()
            .map(|row| tokenwatch_respond::plan::describe_action(&row.action))
            .collect();
        let mut page = Page::of(StatusCode::OK, "Done", format!("In force now: {}.", done.join("; ")));
        page.facts.push(("Incident", link.incident.to_string()));
        page.text.push(format!("It was us after all: {} lifts it.", commands::dismiss(link.incident)));
        Ok(page)
    })
    .reply())
}

/// The page of a link, or of why there is none.
fn with_link(call: &Call, page: impl FnOnce(&Link) -> Result<Page, RecordsError>) -> Page {
    const REFUSED: &str = "Nothing was done";
    let api = &call.shared.api;
    let Some(issuer) = (api.links)() else {
        return Page::of(StatusCode::NOT_FOUND, REFUSED, "Signed links are switched off here.");
    };
    let link = match issuer.read(call.value(), api.manager.clock.now()) {
        Ok(link) => link,
        Err(error) => {
            let status = match error {
                ReadLinkError::Unknown => StatusCode::NOT_FOUND,
                ReadLinkError::Expired(_) => StatusCode::GONE,
                ReadLinkError::NotAllowed(_) => StatusCode::FORBIDDEN,
            };
            return Page::of(status, REFUSED, format!("{}.", capitalised(&error.to_string())));
        }
    };
    match page(&link) {
        Ok(page) => page,
        Err(error) => {
            let status = Problem::from(error.clone()).status;
            let mut page = Page::of(status, REFUSED, format!("{}.", capitalised(&error.to_string())));
            page.text.push(format!("{} tells the whole story.", commands::show(link.incident)));
            page
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn page_of(preview: &Preview, link: &Link, now: Timestamp) -> Page {
    let Preview { case, step, plan } = preview;
    let what = step.what();
    let mut page = Page::of(
        StatusCode::OK,
        &capitalised(&what),
        "TokenWatch proposes this and waits for a person. Nothing has happened yet.",
    );
    let owner = case.owner.as_ref().map_or_else(|| "nobody".to_owned(), |owner| clean(&owner.name));
    let until = step.expires.map_or_else(
        || "for good: it has no undo".to_owned(),
        |at| format!("{} (for {})", clock(at), human_span(at.since(now))),
    );
    page.facts = vec![
        ("Key", format!("{} ({})", key_name(&case.key), case.key.id)),
        ("Environment", clean(&case.key.environment)),
        ("Owner", owner),
        ("Incident", format!("{}, {}", link.incident, clean(&plan.title))),
        ("Why", step.reason.clone()),
        ("Until", until),
        ("Undo", step.undo.words.clone()),
        (
            "This link",
            format!("works once, until {}; it is recorded as {}", clock(link.expires), link.actor()),
        ),
    ];
    if let Disposition::Proposed { why } = step.disposition {
        page.facts.push(("Waits because", why.to_string()));
    }
    page.button = Some(capitalised(&what));
    page
}
