//! The responder acts on findings, and not on those that people have answered meanwhile.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokenwatch_console::records::Records as _;
use tokenwatch_console::responder::{self, ResponderParts};
use tokenwatch_gateway::FindingSink as _;
use tokenwatch_model::finding::{Finding, Tier};
use tokenwatch_model::incident::IncidentState;
use tokenwatch_respond::{Effects, Plan};

use crate::server::{Server, TestRandom};
use crate::world::finding;

/// Lets a responder act on a finding; `seed` makes the ids.
fn respond(server: &Server, seed: u64, finding: Finding) {
    let (handle, queue) = responder::channel();
    handle.found(finding);
    handle.stop();
    let parts = ResponderParts {
        records: server.records.clone(),
        random: Arc::new(TestRandom::seeded(seed)),
        policy: Arc::new(ArcSwap::default()),
        watcher: Box::new(|_: &Plan, _: &Effects| ()),
    };
    responder::start(server.gateway.clone(), handle, queue, parts).unwrap().join().unwrap();
}

#[test]
fn what_was_found_of_a_context_before_it_was_let_in_does_not_contain_it_again() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let now = || server.manager.clock.now();
    respond(&server, 1, finding(key, Tier::Alert, now()));
    let open = || server.records.incidents(true, Some(key), 10).unwrap();
    let in_force =
        || server.records.containments_of(key).unwrap().iter().filter(|c| c.in_force(now())).count();
    assert_eq!((open().len(), in_force()), (1, 1));
    server.manager.dismiss(&Default::default(), &open()[0].id.to_string(), "cli:ada").unwrap();
    assert_eq!((open().len(), in_force()), (0, 0));
    // It was on its way when the person spoke.
    respond(&server, 2, finding(key, Tier::Act, now()));
    assert_eq!((open().len(), in_force()), (0, 0));
    assert_eq!(server.records.incidents(false, Some(key), 10).unwrap()[0].state, IncidentState::Dismissed);
    // Facts are told whatever was said, and so is somebody else.
    let fact = Finding { rule: "canary_key_used".into(), ..finding(key, Tier::Alert, now()) };
    let mut other = finding(key, Tier::Alert, now());
    other.actor.as_mut().unwrap().context.asn = Some(64_501);
    respond(&server, 3, fact);
    assert_eq!(open().len(), 1);
    respond(&server, 4, other);
    assert!(in_force() >= 1);
}
