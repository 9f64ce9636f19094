//! What web pages of others, broken clients and slow ones must not achieve.

use std::io::Write;
use std::time::Duration;

use serde_json::json;
use tokenwatch_console::api::{ApiLimits, Needs, routes};
use tokenwatch_console::records::{Records as _, Role};

use crate::server::{Answer, Choices, Server};

#[test]
fn a_page_that_gave_this_server_a_name_of_its_own_gets_nothing() {
    let server = Server::with(Choices { hosts: vec!["tokenwatch.example.com"], ..Choices::default() });
    let token = server.token(Role::Admin);
    let ask = |host: &str| server.ask_with(Some(token), "GET", "/api/v1/whoami", None, &[("Host", host)]);
    for host in ["attacker.example:8081", "localhost.attacker.example", "127.0.0.1.attacker.example"] {
        ask(host).expect_error(403, "host_not_allowed", None);
    }
    for host in ["localhost", "127.0.0.1:8081", "[::1]:8081", "tokenwatch.example.com"] {
        ask(host).expect(200);
    }
    // Load balancers name what they like when they ask whether the process lives; nobody else may.
    for route in routes() {
        let path = route.path.replace(['{', '}'], "");
        let answer =
            server.ask_with(None, route.method.as_str(), &path, None, &[("Host", "attacker.example")]);
        match route.needs {
            Needs::Nothing => assert_eq!(answer.status, 200, "{path}"),
            _ => answer.expect_error(403, "host_not_allowed", None),
        }
    }
}

#[test]
fn a_page_of_another_origin_gets_nothing_even_with_a_token() {
    let server = Server::with(Choices { origins: vec!["https://console.example.com"], ..Choices::default() });
    let token = server.token(Role::Admin);
    let own = format!("http://{}", server.address);
    let ask = |field, value: &str| {
        server.ask_with(Some(token), "POST", "/api/v1/keys", Some(json!({ "name": "x" })), &[(field, value)])
    };
    for origin in ["https://attacker.example", "null", "http://localhost:3000", "http://127.0.0.1:1"] {
        ask("Origin", origin).expect_error(403, "origin_not_allowed", None);
    }
    ask("Sec-Fetch-Site", "cross-site").expect_error(403, "origin_not_allowed", None);
    assert!(server.records.keys().unwrap().is_empty());
    ask("Origin", &own).expect(201);
    ask("Origin", "https://console.example.com").expect(409);
    let preflight = server.ask_with(None, "OPTIONS", "/api/v1/keys", None, &[("Origin", &own)]);
    preflight.expect_error(405, "method_not_allowed", None);
    assert!(preflight.fields.iter().all(|(name, _)| !name.starts_with("access-control")));
}

#[test]
fn a_form_can_not_post() {
    let server = Server::start();
    let body = r#"{"name":"x"}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let request = format!(
            "POST /api/v1/keys HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            server.token(Role::Admin),
            body.len()
        );
        server.send(request.as_bytes()).expect_error(415, "not_json", None);
    }
}

#[test]
fn answers_tell_browsers_to_keep_out() {
    let server = Server::start();
    for (path, status) in [("/api/v1/whoami", 200), ("/api/v1/nothing", 404), ("/healthz", 200)] {
        let answer = server.ask(Role::Viewer, "GET", path, None).expect(status);
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.field("x-frame-options"), Some("DENY"));
        assert_eq!(answer.field("referrer-policy"), Some("no-referrer"));
        assert_eq!(
            answer.field("content-security-policy"),
            Some("default-src 'none'; frame-ancestors 'none'")
        );
        assert_eq!(answer.field("cross-origin-resource-policy"), Some("same-origin"));
    }
}

#[test]
fn what_is_not_there_says_so() {
    let server = Server::start();
    let ask = |method: &str, path: &str| server.ask(Role::Admin, method, path, None);
    ask("GET", "/").expect_error(404, "not_found", None);
    ask("GET", "/api/v1/keys/").expect_error(404, "not_found", None);
    ask("GET", "/api/v2/keys").expect_error(404, "not_found", None);
    ask("GET", "/api/v1/keys/../audit").expect_error(404, "not_found", None);
    let wrong = ask("DELETE", "/api/v1/keys/x");
    wrong.expect_error(405, "method_not_allowed", None);
    assert_eq!(wrong.field("allow"), Some("GET, PATCH"));
    ask("GET", "/api/v1/keys/%ff").expect_error(400, "invalid", Some("key"));
}

fn post(server: &Server, fields: &str, body: &str) -> String {
    format!(
        "POST /api/v1/keys HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\n{fields}\r\n{body}",
        server.token(Role::Admin)
    )
}

#[test]
fn huge_bodies_are_refused_whether_or_not_they_say_their_length() {
    let server = Server::start();
    let large = " ".repeat((1 << 20) + 1);
    let declared = post(&server, &format!("Content-Length: {}\r\n", large.len()), &large);
    server.send(declared.as_bytes()).expect_error(413, "body_too_large", None);
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let chunked = post(&server, "Transfer-Encoding: chunked\r\n", &chunk);
    server.send(chunked.as_bytes()).expect_error(413, "body_too_large", None);
    let at_the_limit = format!("{}{}", r#"{"name":"x"}"#, " ".repeat((1 << 20) - 12));
    let fits = post(&server, &format!("Content-Length: {}\r\n", at_the_limit.len()), &at_the_limit);
    server.send(fits.as_bytes()).expect(201);
    let boast = post(&server, "Content-Length: 99999999999\r\n", "");
    let mut stream = server.connect();
    stream.write_all(boast.as_bytes()).unwrap();
    Answer::read(&mut stream).unwrap().expect_error(413, "body_too_large", None);
}

fn impatient() -> Server {
    let limits = ApiLimits {
        head_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(200),
        connections_max: 4,
        ..ApiLimits::default()
    };
    Server::with(Choices { limits, ..Choices::default() })
}

#[test]
fn slow_bodies_and_slow_heads_are_given_up() {
    let server = impatient();
    let mut stream = server.connect();
    stream.write_all(post(&server, "Content-Length: 12\r\n", "{").as_bytes()).unwrap();
    Answer::read(&mut stream).unwrap().expect_error(408, "body_timeout", None);
    assert!(server.records.keys().unwrap().is_empty());
    let mut stream = server.connect();
    stream.write_all(b"GET /healthz HT").unwrap();
    assert!(Answer::read(&mut stream).is_none_or(|answer| answer.status == 408));
}

#[test]
fn idle_connections_do_not_keep_others_out_for_ever() {
    let server = impatient();
    let idle: Vec<_> = (0..8).map(|_| server.connect()).collect();
    server.ask(Role::Viewer, "GET", "/api/v1/whoami", None).expect(200);
    drop(idle);
}

#[test]
fn a_body_that_ends_early_changes_nothing() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.write_all(post(&server, "Content-Length: 500\r\n", r#"{"name":"x"}"#).as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    if let Some(answer) = Answer::read(&mut stream) {
        answer.expect_error(400, "malformed", None);
    }
    assert!(server.records.keys().unwrap().is_empty());
}

#[test]
fn huge_heads_are_refused() {
    let server = Server::start();
    let request =
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Fill: {}\r\n\r\n", "x".repeat(64 << 10));
    assert_eq!(server.send(request.as_bytes()).status, 431);
}

#[test]
fn a_stopped_server_lets_its_thread_end() {
    let server = Server::start();
    let kept_alive = server.connect();
    server.ask(Role::Viewer, "GET", "/api/v1/whoami", None).expect(200);
    server.stop();
    drop(kept_alive);
}
