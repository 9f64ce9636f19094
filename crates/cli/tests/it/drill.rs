//! Drills against a real server: a key with a past is stolen on purpose, and neither it nor its provider notice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokenwatch_gateway::drill::{HEADER, body_hash, sign};
use tokenwatch_model::drill::DrillCall;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::Timestamp;

use std::process::Stdio;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use rustix::process::Signal;

use crate::harness::{Done, Mock, Place, Process, Server, wait_for};
use crate::past::{self, journalled};
use crate::receiver::Receiver;

/// Runs drills of a key.
fn drill(place: &Place, server: &Server, key: &str, more: &[&str]) -> Done {
    let (admin, gateway) = (format!("http://{}", server.admin), server.gateway.to_string());
    let args = ["drill", "run", key, "--url", &admin, "--gateway", &gateway];
    place.run(&[&args, more].concat())
}

fn check_of<'a>(theft: &'a Value, name: &str) -> &'a Value {
    theft["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()
}

#[test]
fn a_rehearsed_theft_is_contained_paged_and_undone_and_leaves_the_key_alone() {
    let (mock, hook) = (Mock::start(), Receiver::willing());
    let place = Place::with_config(&mock, "");
    std::fs::write(place.path("hook.url"), format!("http://{}/", hook.address)).unwrap();
    std::fs::write(place.path("sign.key"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let more = format!(
        "[alerts.destination.hook]\nkind = \"webhook\"\nurl = \"file:{}\"\nsecret = \"file:{}\"\n\
         [[alerts.route]]\nname = \"all\"\nto = [\"hook\"]\ngroup_s = 0\n",
        place.path("hook.url").display(),
        place.path("sign.key").display()
    );
    place.configure(&place.config(&mock, &more));
    let stolen = past::stolen(&place, "search-prod");
    let server = place.serve();
    let (before, spent) = (journalled(&place), server.admin(&format!("/api/v1/keys/{}", stolen.id)));
    let done = drill(&place, &server, "search-prod", &["--requests", "200", "--page", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let report = done.json();
    let theft = &report["thefts"][0];
    assert_eq!((theft["theft"].as_str(), theft["verdict"].as_str()), (Some("resale"), Some("passed")));
    for name in ["detected", "contained", "owner_served", "unforgeable", "undone", "paged"] {
        assert_eq!(check_of(theft, name)["mark"], "passed", "{}", check_of(theft, name));
    }
    assert!(theft["thief_requests"].as_u64().unwrap() > 50, "{theft}");
    assert!(theft["owner_requests"].as_u64().unwrap() > 10, "{theft}");
    // The page says what it is, and that it is over.
    let pages = hook.taken();
    assert!(pages.iter().all(|page| page.json()["drill"] == true), "{pages:?}");
    assert!(pages.iter().all(|page| page.json()["headline"].as_str().unwrap().starts_with("DRILL")));
    wait_for("the end of the page", || {
        hook.taken().iter().any(|page| page.json()["cause"] == "dismissed").then_some(())
    });
    // Nothing of it is anywhere but in the list of drills.
    // Refusals are written some time after they are answered.
    let beside = wait_for("the refused claims on disk", || {
        let beside = journalled(&place).split_off(before.len());
        (beside.len() >= 2).then_some(beside)
    });
    assert!(beside.iter().all(|event| event.request.key == UsageEvent::NO_KEY), "{beside:?}");
    assert_eq!(beside.len(), 2, "a forged claim and one sent twice, like any bad credential");
    assert_eq!(server.admin(&format!("/api/v1/keys/{}", stolen.id)), spent);
    assert!(server.admin("/api/v1/incidents?all=true")["incidents"].as_array().unwrap().is_empty());
    assert!(server.admin("/api/v1/containments")["containments"].as_array().unwrap().is_empty());
    assert_eq!(server.metric("tokenwatch_requests_total"), 0.0);
    assert!(server.metric("tokenwatch_drill_requests_total") >= 200.0);
    assert!(server.metric("tokenwatch_drill_last_seconds{result=\"passed\"}") > 1e9);
    assert_eq!(server.metric("tokenwatch_drill_last_seconds{result=\"failed\"}"), 0.0);
    let shown = place.ok(&["drill", "list", "--url", &format!("http://{}", server.admin)]).stdout;
    assert!(shown.contains("search-prod") && shown.contains("passed"), "{shown}");
    // The key's own normal is what it was: owner in, thief out.
    stolen.assert_owner_is_served(&server);
    stolen.steal(&server);
    server.stop();
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}

/// A gateway that speaks TLS with a certificate that nobody signed, behind a balancer that says who calls.
#[test]
fn a_gateway_with_tls_and_proxy_heads_is_reached_too() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let made = rcgen::generate_simple_self_signed(vec!["gateway.example".to_owned()]).unwrap();
    std::fs::write(place.path("tls.crt"), pem("CERTIFICATE", made.cert.der())).unwrap();
    std::fs::write(place.path("tls.key"), pem("PRIVATE KEY", &made.signing_key.serialize_der())).unwrap();
    let tls = format!(
        "[server]\nproxy_protocol = true\ntls_certificate = \"{}\"\ntls_key = \"{}\"\n",
        place.path("tls.crt").display(),
        place.path("tls.key").display()
    );
    place.configure(&place.config(&mock, "").replace("[server]\n", &tls));
    past::stolen(&place, "search-prod");
    let server = place.serve();
    let done = drill(&place, &server, "search-prod", &["--theft", "recon", "--requests", "20", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.json()["thefts"][0]["failed"], 0, "{done:?}");
    server.stop();
}

/// Claims that must not be taken, by a drill that runs.
#[test]
fn a_claim_is_taken_once_for_what_it_was_signed_for() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let stolen = past::stolen(&place, "search-prod");
    let server = place.serve();
    let started = server.admin_post("/api/v1/drills", r#"{"key":"search-prod","theft":"by hand"}"#);
    let secret = Secret::new(started["secret"].as_str().unwrap());
    let own = Secret::new(started["credential"].as_str().unwrap());
    let body = br#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"drill"}]}"#;
    let target = "/openai/v1/chat/completions";
    let call = |seq| DrillCall {
        drill: started["id"].as_str().unwrap().parse().unwrap(),
        seq,
        time: Timestamp(started["started"].as_u64().unwrap()),
        source: "203.0.113.7".parse().unwrap(),
        client: None,
        shape: None,
        input_tokens: None,
        body: body_hash(body).into(),
    };
    let send = |target: &str, claim: &str, body: &'static [u8], key: Option<&Secret>| {
        let mut request = Request::builder().method(Method::POST).uri(target).header(&HEADER, claim);
        request = request.header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {}", key.expose()));
        }
        let answer =
            server.client().send(request.body(Full::new(Bytes::from_static(body))).unwrap()).unwrap();
        answer.status.as_u16()
    };
    let claim = |seq| sign(&secret, &Method::POST, target, &call(seq)).unwrap();
    let upstream = |server: &Server| server.metric("tokenwatch_requests_total{outcome=\"served\"}");
    // A stranger, by the key's own normal: heard, judged and refused.
    assert_eq!(send(target, &claim(1), body, Some(&own)), 403);
    assert_eq!(send(target, &claim(1), body, Some(&own)), 401, "taken before");
    assert_eq!(send("/openai/v1/responses", &claim(2), body, Some(&own)), 401, "signed for another path");
    let other_body = br#"{"model":"gpt-4o","messages":[]}"#;
    assert_eq!(send(target, &claim(3), other_body, Some(&own)), 401, "another body");
    assert_eq!(send(target, &claim(4), body, Some(&stolen.key)), 401, "with the key's credential");
    assert_eq!(send(target, &claim(5), body, None), 401, "without a credential");
    let other = sign(&Secret::new("other"), &Method::POST, target, &call(6)).unwrap();
    assert_eq!(send(target, &other, body, Some(&own)), 401, "signed by somebody else");
    assert_eq!(send(target, "v1.e30.AAAA", body, Some(&own)), 401);
    assert_eq!(server.client().status(&own), 401, "worth nothing without a claim");
    assert_eq!(send(target, "", body, Some(&stolen.key)), 401, "no way back to the credential");
    assert_eq!(upstream(&server), 0.0, "nothing reached the provider");
    let id = started["id"].as_str().unwrap();
    server.admin_post(&format!("/api/v1/drills/{id}/end"), r#"{"passed":true,"summary":"done"}"#);
    assert_eq!(send(target, &claim(7), body, Some(&own)), 401, "it is over");
    server.stop();
}

#[test]
fn a_drill_needs_a_key_that_is_used_and_free() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let stolen = past::stolen(&place, "search-prod");
    place.issue("unused", &[]);
    let fresh = place.issue("fresh", &[]);
    let server = place.serve();
    let refused = |key: &str, more: &[&str], want: &str| {
        let done = drill(&place, &server, key, more);
        assert!(done.code != 0 && done.stderr.contains(want), "{want}: {done:?}");
    };
    refused("unused", &[], "made no request in the last 8 days");
    refused("nobody", &[], "nobody");
    // A key of today has no normal, and the drill says so rather than blame the detector.
    for request in stolen.owner.iter().take(5) {
        server.client().send_sim(request, &fresh);
    }
    let young = wait_for("events of a new key", || {
        let done = drill(&place, &server, "fresh", &["--theft", "recon"]);
        (!done.stderr.contains("made no request")).then_some(done)
    });
    assert!(young.code == 3 && young.stdout.contains("warning learned"), "{young:?}");
    // A driver that is interrupted ends its drill; one that is killed leaves it to a person.
    let (admin, gateway) = (format!("http://{}", server.admin), server.gateway.to_string());
    let left = server.admin_post("/api/v1/drills", r#"{"key":"search-prod","theft":"by hand"}"#);
    let id = left["id"].as_str().unwrap();
    refused("search-prod", &[], &format!("tokenwatch drill end {id}"));
    place.ok(&["drill", "end", id, "--url", &admin]);
    let mut command = place.command();
    command.args(["drill", "run", "search-prod", "--theft", "all", "--url", &admin, "--gateway", &gateway]);
    let mut driver = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let latest = || server.admin("/api/v1/drills?limit=1")["drills"][0].clone();
    wait_for("a drill that runs", || (latest()["end"].is_null() && latest()["id"] != id).then_some(()));
    driver.signal(Signal::INT);
    assert!(!driver.ended().success());
    assert!(latest()["end"]["summary"].as_str().unwrap().starts_with("broken off"), "{}", latest());
    refused("search-prod", &["--theft", "resail"], "\"resail\" is none of all");
    stolen.steal(&server);
    wait_for("an incident", || {
        let open = server.admin("/api/v1/incidents");
        (!open["incidents"].as_array().unwrap().is_empty()).then_some(())
    });
    refused("search-prod", &[], "on this key is open");
    server.stop();
}

/// Every theft that the generator knows; `TOKENWATCH_DRILL_REQUESTS` makes them longer and prints the table.
#[test]
fn every_theft_can_be_rehearsed() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    past::stolen(&place, "search-prod");
    let server = place.serve();
    let asked = std::env::var("TOKENWATCH_DRILL_REQUESTS").ok();
    let requests = asked.as_deref().unwrap_or("30");
    let done = drill(&place, &server, "search-prod", &["--theft", "all", "--requests", requests, "--json"]);
    let report = done.json();
    let thefts = report["thefts"].as_array().unwrap();
    assert_eq!(thefts.len(), tokenwatch_testkit::theft::Theft::ALL.len());
    for theft in thefts {
        assert_eq!(theft["failed"], 0, "{theft}");
        assert_eq!(check_of(theft, "unforgeable")["mark"], "passed", "{theft}");
        assert_ne!(check_of(theft, "undone")["mark"], "failed", "{theft}");
    }
    if asked.is_some() {
        let more = ["--theft", "all", "--requests", requests];
        println!("{}", drill(&place, &server, "search-prod", &more).stdout);
    }
    server.stop();
}
