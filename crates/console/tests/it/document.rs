//! The document and the table of routes say the same.

use std::collections::BTreeSet;

use serde_json::Value;
use tokenwatch_console::api::{Needs, routes};
use tokenwatch_console::records::Role;

use crate::schema::DOCUMENT;
use crate::server::Server;

/// Method, path, role, query parameters, body, `If-Match`: one line for each operation.
fn of_the_table() -> BTreeSet<String> {
    let line = |route: &tokenwatch_console::api::Route| {
        let role = match route.needs {
            Needs::Nothing => "none",
            Needs::KnownHost => "known_host",
            Needs::Link => "link",
            Needs::Token(role) => role.name(),
        };
        let query: BTreeSet<&str> = route.query.iter().copied().collect();
        format!(
            "{} {} role={role} query={query:?} body={} if-match={}",
            route.method, route.path, route.takes_body, route.takes_revision
        )
    };
    routes().iter().map(line).collect()
}

fn of_the_document() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (path, operations) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let named = |place: &str| -> BTreeSet<String> {
                let of_place = parameters.iter().filter(|parameter| parameter["in"] == place);
                of_place.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
            };
            let in_path: BTreeSet<String> = path
                .split('/')
                .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
                .map(str::to_owned)
                .collect();
            assert_eq!(named("path"), in_path, "{path}");
            lines.insert(format!(
                "{} {path} role={} query={:?} body={} if-match={}",
                method.to_uppercase(),
                operation["x-role"].as_str().unwrap(),
                named("query"),
                operation["requestBody"].is_object(),
                named("header").contains("If-Match")
            ));
        }
    }
    lines
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let (table, document) = (of_the_table(), of_the_document());
    assert_eq!(table.difference(&document).collect::<Vec<_>>(), Vec::<&String>::new(), "not described so");
    assert_eq!(
        document.difference(&table).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "described, not there"
    );
}

fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                found.insert(target);
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_schema_is_used_and_every_reference_leads_somewhere() {
    let mut found = BTreeSet::new();
    references(&DOCUMENT, &mut found);
    let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap();
    let defined: BTreeSet<String> =
        schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    assert_eq!(found.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), defined);
    let ids: Vec<&str> = DOCUMENT["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|operations| operations.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "operation ids are unique");
}

#[test]
fn the_server_hands_the_document_out() {
    let server = Server::start();
    let served = server.ask(Role::Viewer, "GET", "/api/v1/openapi.json", None).expect(200).json();
    assert_eq!(served, *DOCUMENT);
}
