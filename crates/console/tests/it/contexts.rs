//! Contexts allowed beforehand over the API.

use serde_json::{Value, json};
use tokenwatch_console::records::Role;
use tokenwatch_model::time::HOUR;

use crate::server::{START, Server};

#[test]
fn a_context_is_allowed_listed_and_ended() {
    let server = Server::start();
    server.make_key("search-prod");
    let path = "/api/v1/keys/search-prod/contexts";
    let allow = |context: Value, reason: &str| {
        let body = json!({ "context": context, "until": START.plus(4 * HOUR).0, "reason": reason });
        server.ask(Role::Responder, "POST", path, Some(body))
    };
    let listed = || server.ask(Role::Viewer, "GET", path, None).expect(200).json();
    assert_eq!(listed()["contexts"], json!([]));
    let context = json!({ "asn": 64_500, "client": "k6" });
    let said = allow(context.clone(), "the import moves").expect(200).json();
    assert_eq!(said["contexts"][0]["context"]["asn"], 64_500);
    assert_eq!((&said["name"], listed()), (&json!("search-prod"), said.clone()));
    allow(json!({ "country": "NL" }), "x").expect_error(400, "invalid", Some("context"));
    allow(context.clone(), " ").expect_error(400, "invalid", Some("reason"));
    let end = || {
        let body = json!({ "context": context });
        server.ask(Role::Responder, "POST", &format!("{path}/end"), Some(body))
    };
    assert_eq!(end().expect(200).json()["contexts"], json!([]));
    end().expect_error(404, "not_found", None);
    let missing = server.ask(Role::Viewer, "GET", "/api/v1/keys/nobody/contexts", None);
    missing.expect_error(404, "not_found", None);
}

#[test]
fn a_refused_context_has_to_be_dismissed_first() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    server.steal(key);
    let body = json!({
        "context": { "asn": 64_500, "client": "axios" }, "until": START.plus(HOUR).0, "reason": "it is us",
    });
    let path = "/api/v1/keys/search-prod/contexts";
    server.ask(Role::Responder, "POST", path, Some(body)).expect_error(409, "not_possible", None);
}
