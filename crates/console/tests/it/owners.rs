//! Owners: what their keys inherit is in force at once.

use serde_json::json;
use tokenwatch_console::records::Role;

use crate::server::Server;

#[test]
fn owners_are_registered_changed_and_inherited_from() {
    let server = Server::start();
    let ask = |method: &str, path: &str, body| server.ask(Role::Admin, method, path, body);
    let key = server.make_key("search-prod");
    let added =
        ask("POST", "/api/v1/owners", Some(json!({ "name": "billing-team", "on_call": "billing-rota" })));
    let added = added.expect(201);
    let tag = added.field("etag").unwrap().to_owned();
    assert_eq!(
        added.field("location").unwrap(),
        format!("/api/v1/owners/{}", added.json()["id"].as_str().unwrap())
    );
    ask("POST", "/api/v1/owners", Some(json!({ "name": "billing-team" }))).expect_error(
        409,
        "not_possible",
        None,
    );
    ask("POST", "/api/v1/owners", Some(json!({ "name": "x", "on_call": "a\nb" }))).expect_error(
        400,
        "invalid",
        Some("on_call"),
    );
    let defaults = json!({ "limits": { "requests_per_minute": 3 } });
    ask("PATCH", "/api/v1/owners/search-team", Some(json!({ "defaults": defaults }))).expect(200);
    assert_eq!(server.gateway.live.entry(key).unwrap().policy.limits.requests_per_minute, Some(3));
    let token = server.token(Role::Admin);
    let path = "/api/v1/owners/billing-team";
    let edit = |channel: &str| {
        server.ask_with(
            Some(token),
            "PATCH",
            path,
            Some(json!({ "channel": channel })),
            &[("If-Match", &tag)],
        )
    };
    assert_eq!(edit("#billing").expect(200).json()["channel"], "#billing");
    edit("#other").expect_error(412, "revision_mismatch", None);
    ask("GET", "/api/v1/owners/nobody", None).expect_error(404, "not_found", None);
    let listed = ask("GET", "/api/v1/owners", None).expect(200).json();
    let names: Vec<_> =
        listed["owners"].as_array().unwrap().iter().map(|owner| owner["name"].clone()).collect();
    assert_eq!(names, ["billing-team", "search-team"]);
}
