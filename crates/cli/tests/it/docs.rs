//! `docs/configuration.md` documents every field, and no field that is not there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokenwatch_model::key::Policy;
use tokenwatch_respond::alert::route::{Escalation, Route};
use tokenwatch_respond::runbook::StepOverride;
use tokenwatch_respond::spend::alarm::AlarmRules;
use tokenwatch_respond::{Environment, ResponsePolicy};

type Fields = BTreeMap<String, BTreeSet<String>>;

/// Sections of the configuration and the types that describe them in `config.rs` and `config/alerts.rs`.
const TYPES: [(&str, &str); 11] = [
    ("Server", "server"),
    ("Admin", "admin"),
    ("Provider", "provider"),
    ("Detection", "detection"),
    ("Network", "network"),
    ("Storage", "storage"),
    ("PriceOverride", "price"),
    ("Log", "log"),
    ("Links", "alerts"),
    ("Approval", "alerts.links"),
    ("Destination", "alerts.destination.NAME"),
];

fn in_code() -> Fields {
    let read =
        |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let source = read("src/config.rs") + &read("src/config/alerts.rs");
    let mut fields = Fields::new();
    for (name, section) in TYPES {
        let start = format!("pub(crate) struct {name} {{");
        let body = source.split(&start).nth(1).unwrap_or_else(|| panic!("no {name} in config.rs"));
        let body = body.split("\n}").next().unwrap();
        let names =
            body.lines().filter_map(|line| line.trim().strip_prefix("pub(crate) ")?.split(':').next());
        fields.insert(section.to_owned(), names.map(str::to_owned).collect());
    }
    add_value("defaults", &serde_json::to_value(Policy::default()).unwrap(), &mut fields);
    add_value("containment", &serde_json::to_value(ResponsePolicy::default()).unwrap(), &mut fields);
    // A list of tables is a section of its own.
    fields.get_mut("containment").unwrap().remove("runbook");
    add_value("containment.runbook", &serde_json::to_value(StepOverride::default()).unwrap(), &mut fields);
    let environment = serde_json::to_value(Environment::default()).unwrap();
    add_value("containment.environments.NAME", &environment, &mut fields);
    add_value("alerts.route", &serde_json::to_value(Route::default()).unwrap(), &mut fields);
    add_value("alerts.route.escalate", &serde_json::to_value(Escalation::default()).unwrap(), &mut fields);
    add_value("alerts.billing", &serde_json::to_value(AlarmRules::default()).unwrap(), &mut fields);
    fields
}

fn add_value(section: &str, value: &Value, fields: &mut Fields) {
    let mut names = BTreeSet::new();
    for (name, value) in value.as_object().unwrap() {
        // A table with fields of its own is a section of its own; one with free names is a field.
        match value.as_object() {
            Some(table) if !table.is_empty() => add_value(&format!("{section}.{name}"), value, fields),
            _ => drop(names.insert(name.clone())),
        }
    }
    fields.insert(section.to_owned(), names);
}

/// Fields by section, from the tables under the headings.
fn in_docs() -> Fields {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md")).unwrap();
    let mut fields = Fields::new();
    let mut section: Option<String> = None;
    for line in text.lines() {
        if line.starts_with("##") {
            let named = line.split('`').nth(1).filter(|name| name.starts_with('['));
            section = named.map(|name| name.trim_matches(['[', ']']).to_owned());
            if let Some(section) = &section {
                fields.insert(section.clone(), BTreeSet::new());
            }
        }
        let (Some(section), Some(row)) = (&section, line.strip_prefix("| `")) else { continue };
        let cell = format!("`{}", row.split(" | ").next().unwrap());
        let names = cell.split('`').skip(1).step_by(2).map(str::to_owned);
        fields.get_mut(section).unwrap().extend(names);
    }
    fields
}

#[test]
fn every_field_is_documented_and_every_documented_field_is_there() {
    assert_eq!(in_docs(), in_code());
}

#[test]
fn the_references_of_every_rule_are_documented() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/standards.md")).unwrap();
    for about in tokenwatch_detect::catalogue() {
        let [atlas, owasp, nist] = [about.atlas, about.owasp, about.nist].map(|ids| ids.join(", "));
        let row = format!("| `{}` | {atlas} | {owasp} | {nist} |", about.id);
        assert!(text.lines().any(|line| line == row), "docs/standards.md lacks {row}");
        let names = |id: &&&str| !text.contains(&format!("{id} "));
        assert_eq!(about.atlas.iter().find(names), None, "a technique without a name");
    }
}
