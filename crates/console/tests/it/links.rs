//! Signed links: the page changes nothing, its button acts once, and nothing else gets in.

use serde_json::json;
use tokenwatch_console::links::Issuer;
use tokenwatch_console::records::{Records as _, Role};
use tokenwatch_model::SmolStr;
use tokenwatch_model::containment::Action;
use tokenwatch_model::finding::Tier;
use tokenwatch_model::id::{IncidentId, KeyId};
use tokenwatch_model::time::HOUR;

use crate::server::{Answer, Choices, Server};

fn issuer(steps: &[&str]) -> Issuer {
    let steps: Vec<SmolStr> = steps.iter().map(SmolStr::new).collect();
    Issuer::new(&[7; 32], "https://tokenwatch.example.com", 3_600, &steps)
}

struct World {
    server: Server,
    key: KeyId,
    incident: IncidentId,
    issuer: Issuer,
}

/// A theft that is found for sure: suspension and revocation are proposed.
fn prepare() -> World {
    let issuer = issuer(&["suspend", "revoke"]);
    let hosts = vec!["tokenwatch.example.com"];
    let server = Server::with(Choices { links: Some(issuer.clone()), hosts, ..Choices::default() });
    let key = server.make_key("search-prod");
    let incident = server.steal_for_sure(key, Tier::Act);
    World { server, key, incident, issuer }
}

impl World {
    fn link(&self, incident: IncidentId, action: &str, nonce: u64) -> String {
        let now = self.server.manager.clock.now();
        let made = self.issuer.mint(incident, &action.into(), &"pager".into(), nonce, now).unwrap();
        made.url.strip_prefix("https://tokenwatch.example.com").unwrap().to_owned()
    }

    fn get(&self, path: &str) -> Answer {
        self.server.ask_with(None, "GET", path, None, &[("Sec-Fetch-Site", "cross-site")])
    }

    /// The button, as a browser presses it behind a proxy with TLS.
    fn post(&self, path: &str) -> Answer {
        let fields = [
            ("Host", "tokenwatch.example.com"),
            ("Origin", "https://tokenwatch.example.com"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Content-Length", "0"),
        ];
        self.server.ask_with(None, "POST", path, None, &fields)
    }

    fn suspended(&self) -> bool {
        let now = self.server.manager.clock.now();
        let rows = self.server.records.containments_of(self.key).unwrap();
        rows.iter().any(|row| row.in_force(now) && row.action == Action::Suspend)
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

#[track_caller]
fn refused(world: &World, answer: Answer, status: u16, says: &str) {
    assert_eq!(answer.status, status, "{}", text(&answer));
    assert!(text(&answer).contains(says) && !text(&answer).contains("<form"), "{}", text(&answer));
    assert!(!world.suspended());
}

#[test]
fn the_page_says_what_it_would_do_and_changes_nothing() {
    let world = prepare();
    let path = world.link(world.incident, "suspend", 1);
    let before = world.server.records.audit_latest(1).unwrap();
    for _ in 0..3 {
        let page = world.get(&path).expect(200);
        assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(page.field("cache-control"), Some("no-store"));
        assert_eq!(page.field("referrer-policy"), Some("same-origin"), "so that the button tells its origin");
        let policy = page.field("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("form-action 'self'"), "{policy}");
        for said in ["Suspend the key", "search-prod", "search-team", "link:pager", "method=\"post\""] {
            assert!(text(&page).contains(said), "{said}: {}", text(&page));
        }
    }
    assert_eq!(world.server.records.audit_latest(1).unwrap(), before);
    assert!(!world.suspended());
}

#[test]
fn the_button_acts_once_and_is_recorded() {
    let world = prepare();
    let path = world.link(world.incident, "suspend", 1);
    let done = world.post(&path).expect(200);
    assert!(text(&done).contains("In force now: suspend the key"), "{}", text(&done));
    assert!(world.suspended());
    let rows = world.server.records.audit_latest(20).unwrap();
    let applied = rows.iter().find(|row| row.entry.detail.contains("\"suspend\"")).unwrap();
    assert_eq!(
        (applied.entry.actor.as_str(), applied.entry.action.as_str()),
        ("link:pager", "containment.apply")
    );
    for again in [world.post(&path), world.get(&path)] {
        assert_eq!(again.status, 409);
        assert!(text(&again).contains("used already"), "{}", text(&again));
    }
    // Another link for the same step finds it taken.
    let other = world.get(&world.link(world.incident, "suspend", 2));
    assert!(other.status == 409 && text(&other).contains("in force"), "{}", text(&other));
}

#[test]
fn a_used_link_stays_used_when_its_step_is_lifted() {
    let world = prepare();
    let path = world.link(world.incident, "suspend", 1);
    world.post(&path).expect(200);
    let rows = world.server.records.containments_of(world.key).unwrap();
    let suspension = rows.iter().find(|row| row.action == Action::Suspend).unwrap();
    world.server.manager.lift(&suspension.id.to_string(), "test").unwrap();
    refused(&world, world.post(&path), 409, "used already");
}

#[test]
fn altered_expired_and_foreign_links_do_nothing() {
    let world = prepare();
    let path = world.link(world.incident, "suspend", 1);
    refused(&world, world.post(&path.replace("suspend", "revoke")), 404, "no link of this TokenWatch");
    let other = world.server.steal_for_sure(world.server.make_key("other"), Tier::Act);
    let moved = path.replace(&world.incident.to_string(), &other.to_string());
    refused(&world, world.post(&moved), 404, "no link of this TokenWatch");
    refused(&world, world.post("/approve/x"), 404, "no link of this TokenWatch");
    let never = world.link(IncidentId::from_bits(1), "suspend", 3);
    refused(&world, world.post(&never), 404, "no incident");
    world.server.clock.move_on(HOUR);
    refused(&world, world.post(&path), 410, "ended at");
    refused(&world, world.get(&path), 410, "ended at");
}

#[test]
fn a_closed_incident_and_a_step_that_is_not_proposed_are_refused() {
    let world = prepare();
    let quiet = world.server.steal(world.server.make_key("quiet"));
    let path = world.link(quiet, "revoke", 1);
    refused(&world, world.post(&path), 409, "not proposed");
    let path = world.link(world.incident, "suspend", 2);
    let close = format!("/api/v1/incidents/{}/resolve", world.incident);
    world.server.ask(Role::Responder, "POST", &close, Some(json!({}))).expect(200);
    refused(&world, world.post(&path), 409, "resolved already");
}

#[test]
fn pages_of_others_can_not_press_the_button() {
    let world = prepare();
    let path = world.link(world.incident, "suspend", 1);
    let press = |fields: &[(&str, &str)]| world.server.ask_with(None, "POST", &path, None, fields);
    for origin in ["https://attacker.example", "null"] {
        assert_eq!(press(&[("Origin", origin)]).status, 403);
    }
    assert_eq!(press(&[("Sec-Fetch-Site", "cross-site")]).status, 403);
    assert_eq!(press(&[("Host", "attacker.example")]).status, 403);
    assert!(!world.suspended());
    assert_eq!(world.server.ask_with(None, "HEAD", &path, None, &[]).status, 405);
}

#[test]
fn links_are_off_by_default_and_end_when_a_step_is_taken_from_the_list() {
    let world = prepare();
    let path = world.link(world.incident, "suspend", 1);
    let off = Server::start();
    let answer = off.ask_with(None, "GET", &path, None, &[]);
    assert!(answer.status == 404 && text(&answer).contains("switched off"), "{}", text(&answer));
    let strict = Server::with(Choices { links: Some(issuer(&["clamp"])), ..Choices::default() });
    let answer = strict.ask_with(None, "GET", &path, None, &[]);
    assert!(answer.status == 403 && text(&answer).contains("may not be approved"), "{}", text(&answer));
}

#[test]
fn a_link_that_meets_the_responder_acts_all_the_same_and_once() {
    let world = prepare();
    let path = world.link(world.incident, "suspend", 1);
    world.server.records.rivals.store(3, std::sync::atomic::Ordering::Release);
    world.post(&path).expect(200);
    assert!(world.suspended());
    assert_eq!(world.post(&path).status, 409);
}
