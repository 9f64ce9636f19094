//! `[alerts]`: who is told of incidents, and how they are reached.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use serde::Deserialize;
use tokenwatch_model::SmolStr;
use tokenwatch_model::provider::SecretRef;
use tokenwatch_outside::SyslogPlace;
use tokenwatch_respond::alert::render::Format;
use tokenwatch_respond::alert::route::{CHANNEL, ON_CALL, Route, WAIT_S_MAX};
use tokenwatch_respond::spend::alarm::AlarmRules;
use toml::{Table, Value};

use super::parse::{fields, list, section};

/// Who is told of incidents.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Alerts {
    pub(crate) billing: AlarmRules,
    pub(crate) links: Links,
    pub(crate) approval: Approval,
    pub(crate) destinations: BTreeMap<SmolStr, Destination>,
    pub(crate) routes: Vec<Route>,
}

/// `[alerts]`: what every alert carries.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Links {
    /// Where people read on about an incident; `{incident}` stands for its id.
    pub(crate) link: Option<String>,
    /// Where it says what to do about incidents.
    pub(crate) runbook: Option<String>,
}

/// `[alerts.links]`: signed links by which a person takes a step that an alert proposes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Approval {
    /// The admin API as people reach it; without it there are no links.
    pub(crate) address: Option<String>,
    /// Seconds that a link holds.
    pub(crate) valid_s: u64,
    /// Steps that may be taken by a link.
    pub(crate) steps: Vec<SmolStr>,
    /// Destinations whose alerts carry links; those for people when empty.
    pub(crate) to: Vec<SmolStr>,
}

impl Default for Approval {
    fn default() -> Self {
        let steps = ["clamp", "refuse_context", "suspend"].map(SmolStr::new_static).into();
        Self { address: None, valid_s: 3_600, steps, to: Vec::new() }
    }
}

/// What a link can be for.
const APPROVABLE: [&str; 5] = ["watch", "clamp", "refuse_context", "suspend", "revoke"];

/// `[alerts.destination.NAME]`: a receiver.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Destination {
    /// What it understands.
    pub(crate) kind: SmolStr,
    /// Its address, where the address is a secret.
    pub(crate) url: Option<SecretRef>,
    /// Its address, where it is none.
    pub(crate) api: Option<String>,
    /// The key, token or password it wants, or the key that signs.
    pub(crate) secret: Option<SecretRef>,
    /// The word before a secret in the `Authorization` header.
    pub(crate) scheme: SmolStr,
    /// Place of a syslog receiver.
    pub(crate) syslog: Option<String>,
    /// File that lines are appended to.
    pub(crate) file: Option<PathBuf>,
    /// Mail server: host and port.
    pub(crate) server: Option<String>,
    /// How the connection to a mail server is protected.
    pub(crate) tls: SmolStr,
    /// User at a mail server.
    pub(crate) user: Option<String>,
    /// Sender of e-mail.
    pub(crate) from: Option<String>,
    /// Recipients of e-mail.
    pub(crate) to: Vec<String>,
    /// PEM file with certificates of authorities to trust besides the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Seconds that one try may take.
    pub(crate) timeout_s: u64,
}

impl Default for Destination {
    fn default() -> Self {
        Self {
            kind: SmolStr::default(),
            url: None,
            api: None,
            secret: None,
            scheme: "Bearer".into(),
            syslog: None,
            file: None,
            server: None,
            tls: "starttls".into(),
            user: None,
            from: None,
            to: Vec::new(),
            ca_file: None,
            timeout_s: 10,
        }
    }
}

/// Reads the section; every wrong field is told.
pub(super) fn parse(table: &mut Table, errors: &mut Vec<String>) -> Alerts {
    let Some(value) = table.remove("alerts") else { return Alerts::default() };
    let Value::Table(mut inner) = value else {
        errors.push("[alerts]: must be a section with fields".to_owned());
        return Alerts::default();
    };
    let routes = list(&mut inner, "route", "alerts.route", errors);
    let destinations = match inner.remove("destination") {
        None => BTreeMap::new(),
        Some(Value::Table(named)) => named
            .into_iter()
            .map(|(name, value)| {
                let place = format!("[alerts.destination.{name}]");
                (SmolStr::new(&name), fields(value, &place, errors))
            })
            .collect(),
        Some(_) => {
            errors.push("[alerts] destination: must be written [alerts.destination.NAME]".to_owned());
            BTreeMap::new()
        }
    };
    let approval = match inner.remove("links") {
        Some(value) => fields(value, "[alerts.links]", errors),
        None => Approval::default(),
    };
    let billing = match inner.remove("billing") {
        Some(value) => fields(value, "[alerts.billing]", errors),
        None => AlarmRules::default(),
    };
    let links =
        section(&mut Table::from_iter([("alerts".to_owned(), Value::Table(inner))]), "alerts", errors);
    let alerts = Alerts { billing, links, approval, destinations, routes };
    validate(&alerts, errors);
    alerts
}

fn validate(alerts: &Alerts, errors: &mut Vec<String>) {
    let is_address = |text: &str| text.starts_with("https://") || text.starts_with("http://");
    for (name, link) in [("link", &alerts.links.link), ("runbook", &alerts.links.runbook)] {
        if link.as_ref().is_some_and(|link| !is_address(link)) {
            errors.push(format!("[alerts] {name}: must begin with https:// or http://"));
        }
    }
    let wrong = |(field, text): (&str, String)| format!("[alerts.billing] {field}: {text}");
    errors.extend(alerts.billing.wrong().into_iter().map(wrong));
    let wrong = |(field, text): (&str, String)| format!("[alerts.links] {field}: {text}");
    errors.extend(check_approval(alerts).into_iter().map(wrong));
    for (name, destination) in &alerts.destinations {
        let wrong = |(field, text): (&str, String)| format!("[alerts.destination.{name}] {field}: {text}");
        errors.extend(check_destination(name, destination).into_iter().map(wrong));
    }
    let mut names = HashSet::new();
    for (i, route) in alerts.routes.iter().enumerate() {
        if !names.insert(route.name.as_str()) || route.name.is_empty() {
            errors.push(format!("[[alerts.route]] number {} name: must be set, and unique", i + 1));
        }
        let wrong =
            |(field, text): (&str, String)| format!("[[alerts.route]] {} {field}: {text}", route.name);
        errors.extend(check_route(route, alerts).into_iter().map(wrong));
    }
}

type Wrong = Vec<(&'static str, String)>;

/// A public address without a path: the pages lie below it.
fn check_approval(alerts: &Alerts) -> Wrong {
    let approval = &alerts.approval;
    let mut wrong = Wrong::new();
    if let Some(address) = &approval.address {
        let rest = ["https://", "http://"].into_iter().find_map(|scheme| address.strip_prefix(scheme));
        let bare = rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        if bare.is_none_or(|rest| rest.is_empty() || rest.contains(['/', '?', '#', '@', ' '])) {
            let text = "must be scheme, host and port alone, such as \"https://tokenwatch.example.com\"";
            wrong.push(("address", text.to_owned()));
        }
    }
    if !(60..=86_400).contains(&approval.valid_s) {
        wrong.push(("valid_s", "must be 60 to 86400".to_owned()));
    }
    for step in approval.steps.iter().filter(|step| !APPROVABLE.contains(&step.as_str())) {
        wrong.push(("steps", format!("{step:?} is none of {}", APPROVABLE.join(", "))));
    }
    for name in approval.to.iter().filter(|name| !alerts.destinations.contains_key(*name)) {
        wrong.push(("to", format!("there is no [alerts.destination.{name}]")));
    }
    wrong
}

fn check_destination(name: &str, destination: &Destination) -> Wrong {
    let mut wrong = Wrong::new();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        wrong.push(("name", "a name is lower-case letters, digits, - and _".to_owned()));
    }
    if !(1..=120).contains(&destination.timeout_s) {
        wrong.push(("timeout_s", "must be 1 to 120".to_owned()));
    }
    let Some(format) = Format::from_name(&destination.kind) else {
        let known: Vec<&str> = Format::ALL.into_iter().map(Format::name).collect();
        wrong.push(("kind", format!("{:?} is none of {}", destination.kind, known.join(", "))));
        return wrong;
    };
    if let Some(api) = &destination.api
        && let Err(error) = api.parse::<tokenwatch_gateway::settings::Origin>()
    {
        wrong.push(("api", error.to_string()));
    }
    let needs = |is_set: bool, field: &'static str, example: &str| {
        (!is_set)
            .then(|| (field, format!("a destination of kind {} needs it, such as {example}", format.name())))
    };
    match format {
        Format::Slack | Format::Teams | Format::Webhook => {
            wrong.extend(needs(destination.url.is_some(), "url", "\"file:/run/secrets/hook\""));
            if format == Format::Webhook {
                wrong.extend(needs(destination.secret.is_some(), "secret", "\"env:WEBHOOK_SECRET\""));
            }
        }
        Format::PagerDuty | Format::Opsgenie => {
            wrong.extend(needs(destination.secret.is_some(), "secret", "\"env:PAGER_KEY\""));
        }
        Format::Alertmanager => {
            wrong.extend(needs(destination.api.is_some(), "api", "\"http://alertmanager:9093\""));
        }
        Format::Email => check_mail(destination, &mut wrong),
        Format::Cef | Format::Ocsf | Format::Ecs => check_choice(destination, &mut wrong),
    }
    wrong
}

fn check_mail(destination: &Destination, wrong: &mut Wrong) {
    let is_server = |server: &String| {
        server.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if !destination.server.as_ref().is_some_and(is_server) {
        wrong.push(("server", "must be host and port, such as \"smtp.example.com:587\"".to_owned()));
    }
    if !["starttls", "implicit", "off"].contains(&destination.tls.as_str()) {
        wrong.push(("tls", format!("{:?} is none of starttls, implicit, off", destination.tls)));
    }
    if destination.user.is_some() != destination.secret.is_some() {
        wrong.push(("user", "set user and secret both or neither".to_owned()));
    }
    if destination.user.is_some() && destination.tls == "off" {
        wrong.push((
            "tls",
            "a password must not cross the network in the clear: set starttls or implicit".to_owned(),
        ));
    }
    if destination.to.is_empty() {
        wrong.push(("to", "name at least one recipient".to_owned()));
    }
    let server = crate::alerts::mail_server(destination, None);
    if let Some(address) = server.wrong_address() {
        let field =
            if destination.from.as_deref() == Some(address) || address.is_empty() { "from" } else { "to" };
        wrong.push((field, format!("{address:?} is no e-mail address")));
    }
}

fn check_choice(destination: &Destination, wrong: &mut Wrong) {
    let chosen = [destination.url.is_some(), destination.syslog.is_some(), destination.file.is_some()];
    if chosen.into_iter().filter(|is_set| *is_set).count() != 1 {
        wrong.push(("kind", "set exactly one of url, syslog and file".to_owned()));
    }
    if let Some(Err(error)) = destination.syslog.as_ref().map(|place| place.parse::<SyslogPlace>()) {
        wrong.push(("syslog", error.to_string()));
    }
}

fn check_route(route: &Route, alerts: &Alerts) -> Wrong {
    let mut wrong = Wrong::new();
    if route.to.is_empty() {
        wrong.push(("to", "name at least one destination".to_owned()));
    }
    let known = |name: &SmolStr| {
        [ON_CALL, CHANNEL].contains(&name.as_str()) || alerts.destinations.contains_key(name)
    };
    let escalated = route.escalate.iter().flat_map(|step| &step.to);
    for name in route.to.iter().chain(escalated).filter(|name| !known(name)) {
        wrong.push((
            "to",
            format!("there is no [alerts.destination.{name}], and it is neither {ON_CALL} nor {CHANNEL}"),
        ));
    }
    if route.hours.iter().any(|hour| *hour > 23) {
        wrong.push(("hours", "hours are 0 to 23".to_owned()));
    }
    if !(-14 * 60..=14 * 60).contains(&route.utc_offset_minutes) {
        wrong.push(("utc_offset_minutes", "must be -840 to 840".to_owned()));
    }
    if route.group_s > WAIT_S_MAX {
        wrong.push(("group_s", format!("must be at most {WAIT_S_MAX}")));
    }
    for step in &route.escalate {
        if !(1..=WAIT_S_MAX).contains(&step.after_s) {
            wrong.push(("escalate", format!("after_s must be 1 to {WAIT_S_MAX}")));
        }
        if step.to.is_empty() {
            wrong.push(("escalate", "to must name at least one destination".to_owned()));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    #[track_caller]
    fn check(text: &str, told: &[&str]) {
        let errors = parse(text).err().map(|errors| errors.0).unwrap_or_default();
        assert_eq!(errors.len(), told.len(), "{errors:#?}");
        for (error, told) in errors.iter().zip(told) {
            assert!(error.starts_with(told), "{error}");
        }
    }

    #[test]
    fn a_right_one_is_read() {
        let text = r##"
            [admin]
            hosts = ["tokenwatch.example"]
            [alerts]
            link = "https://tokenwatch.example/{incident}"
            [alerts.links]
            address = "https://tokenwatch.example:8443/"
            to = ["pager"]
            [alerts.billing]
            multiples = [2, 4, 20.5]
            floor = 25
            provider_caps = { openai = "2000.50" }
            [alerts.destination.pager]
            kind = "pagerduty"
            secret = "env:PAGER"
            [alerts.destination.room]
            kind = "slack"
            url = "file:/run/secrets/slack"
            [alerts.destination.mail]
            kind = "email"
            server = "smtp.example.com:587"
            from = "TokenWatch <tokenwatch@example.com>"
            to = ["ops@example.com"]
            [alerts.destination.siem]
            kind = "ocsf"
            syslog = "tls://siem.example.com:6514"
            [[alerts.route]]
            name = "production"
            environments = ["production"]
            severity = "high"
            to = ["@on_call", "room"]
            escalate = [{ after_s = 900, to = ["mail"] }]
            continue = true
            [[alerts.route]]
            name = "rest"
            to = ["siem"]
        "##;
        let text = &format!(
            "{text}\n[[provider]]\nname = \"openai\"\ndialect = \"openai\"\n\
             base_url = \"https://api.openai.com\"\ncredentials = [\"env:OPENAI_API_KEY\"]\n"
        );
        let alerts = parse(text).unwrap().alerts;
        let billing = &alerts.billing;
        assert_eq!((billing.multiples, billing.floor.dollars()), ([2.0, 4.0, 20.5], 25.0));
        assert_eq!(billing.provider_caps["openai"].dollars(), 2_000.5);
        check(
            &text.replace("{ openai =", "{ azure ="),
            &["[alerts.billing] provider_caps: there is no [[provider]] named \"azure\""],
        );
        assert_eq!((alerts.destinations.len(), alerts.routes.len()), (4, 2));
        assert!(alerts.routes[0].r#continue && alerts.routes[0].escalate[0].after_s == 900);
    }

    #[test]
    fn wrong_limits_of_spend_are_told() {
        check(
            "[alerts.billing]\nmultiples = [3, 2, 1]\nprovider_caps = { openai = 0 }\nloudness = 11\nevery_s = 0\n",
            &[
                "[alerts.billing]: unknown field `loudness`",
                "[alerts.billing] multiples: must be three numbers",
                "[alerts.billing] every_s: must be 1 to 3600",
                "[alerts.billing] provider_caps: \"openai\" must be more than 0",
            ],
        );
    }

    #[test]
    fn every_wrong_field_is_told_without_the_secret_that_stands_there() {
        let text = r#"
            [alerts]
            link = "here"
            colour = 1
            [alerts.links]
            address = "https://tokenwatch.example/path"
            valid_s = 1
            steps = ["suspend", "explode"]
            to = ["nobody"]
            [admin]
            hosts = ["tokenwatch.example"]
            [alerts.destination.Room]
            kind = "slack"
            url = "https://hooks.example/T0/secret"
            [alerts.destination.mail]
            kind = "email"
            server = "smtp"
            tls = "off"
            user = "u"
            secret = "env:PW"
            from = "me"
            to = ["ops@example.com"]
            [alerts.destination.siem]
            kind = "cef"
            syslog = "siem"
            file = "alerts.log"
            [alerts.destination.other]
            kind = "pigeon"
            timeout_s = 0
            [[alerts.route]]
            name = "a"
            to = ["room", "pigeons"]
            hours = [24]
            [[alerts.route]]
            name = "a"
            when = "now"
            [[alerts.route]]
        "#;
        let errors = parse(text).unwrap_err().0;
        assert!(!errors.iter().any(|error| error.contains("T0/secret")), "{errors:#?}");
        check(
            text,
            &[
                "[[alerts.route]] number 2: unknown field `when`",
                "[alerts.destination.Room] url: expected a reference",
                "[alerts]: unknown field `colour`",
                "[alerts] link: must begin with",
                "[alerts.links] address: must be scheme, host and port alone",
                "[alerts.links] valid_s: ",
                "[alerts.links] steps: \"explode\" is none of",
                "[alerts.links] to: there is no [alerts.destination.nobody]",
                "[alerts.destination.Room] name: ",
                "[alerts.destination.Room] url: a destination of kind slack needs it",
                "[alerts.destination.mail] server: ",
                "[alerts.destination.mail] tls: a password must not",
                "[alerts.destination.mail] from: \"me\" is no e-mail address",
                "[alerts.destination.other] timeout_s: ",
                "[alerts.destination.other] kind: \"pigeon\" is none of webhook, slack,",
                "[alerts.destination.siem] kind: set exactly one",
                "[alerts.destination.siem] syslog: expected udp://",
                "[[alerts.route]] a to: there is no [alerts.destination.room]",
                "[[alerts.route]] a to: there is no [alerts.destination.pigeons]",
                "[[alerts.route]] a hours: ",
                "[[alerts.route]] number 2 name: must be set",
                "[[alerts.route]]  to: name at least one",
            ],
        );
    }
}
