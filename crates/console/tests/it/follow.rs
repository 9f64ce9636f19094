//! What another process changed in the store is in force after one tick of following it, and not before: how long that
//! takes is how often the keeper ticks.

use std::sync::Arc;

use tokenwatch_console::follow::Follower;
use tokenwatch_console::manage::Lifecycle;
use tokenwatch_console::records::Records as _;
use tokenwatch_gateway::Gateway;
use tokenwatch_model::containment::Action;
use tokenwatch_model::id::{IncidentId, KeyId};
use tokenwatch_model::key::{KeyState, Policy};
use tokenwatch_model::time::{HOUR, Timestamp};
use tokenwatch_respond::ResponsePolicy;

use crate::server::Server;
use crate::world::{self, Journal};

/// A data plane that follows the records of a server which it is not part of. Its clock stands.
struct Following {
    other: Server,
    gateway: Arc<Gateway>,
    journal: Arc<Journal>,
    follower: Follower,
    key: KeyId,
    incident: IncidentId,
}

impl Following {
    fn start() -> Self {
        let other = Server::start();
        let key = other.make_key("k");
        let incident = other.steal(key);
        let journal = Arc::new(Journal::default());
        let random = other.manager.random.clone();
        let gateway = world::gateway_with(other.clock.clone(), random, journal.clone());
        let (records, policy) = (other.records.clone(), ResponsePolicy::default());
        let follower = Follower::load(records, gateway.clone(), Policy::default(), policy).unwrap();
        Self { other, gateway, journal, follower, key, incident }
    }

    fn now(&self) -> Timestamp {
        self.gateway.now()
    }

    fn state(&self) -> KeyState {
        self.gateway.live.entry(self.key).unwrap().state
    }

    fn contained(&self) -> usize {
        self.gateway.live.view_key(self.key, self.now()).unwrap().containments.len()
    }
}

/// Makes a change elsewhere; it must be in force after exactly one tick, and leave nothing for a second.
#[track_caller]
fn check(change: impl FnOnce(&Following), in_force: impl Fn(&Following) -> bool) {
    let mut following = Following::start();
    assert!(!following.follower.poll().unwrap(), "nothing changed yet");
    change(&following);
    assert!(!in_force(&following), "in force before it was followed");
    assert!(following.follower.poll().unwrap());
    assert!(in_force(&following), "not in force after a tick");
    assert!(!following.follower.poll().unwrap(), "something was left over");
}

fn change_life(following: &Following, change: Lifecycle) {
    following.other.manager.change_life("k", change, "test", "test").unwrap();
}

#[test]
fn a_key_is_known_after_one_tick() {
    let known = |f: &Following| {
        f.other.manager.find_key("new").is_ok_and(|key| f.gateway.live.entry(key.id).is_some())
    };
    let issue = |f: &Following| {
        f.other.make_key("new");
    };
    check(issue, known);
}

#[test]
fn a_key_ends_after_one_tick() {
    check(|f| change_life(f, Lifecycle::Disable), |f| f.state() == KeyState::Disabled);
    check(|f| change_life(f, Lifecycle::Revoke), |f| f.state() == KeyState::Revoked);
    let soon = |f: &Following| f.now().plus(HOUR);
    check(
        |f| change_life(f, Lifecycle::Expire(Some(soon(f)))),
        |f| f.gateway.live.entry(f.key).unwrap().expires == Some(soon(f)),
    );
}

#[test]
fn rules_of_a_key_and_of_its_owner_are_in_force_after_one_tick() {
    let rpm = |f: &Following| f.gateway.live.entry(f.key).unwrap().policy.limits.requests_per_minute;
    check(
        |f| {
            let edit = |key: &mut tokenwatch_model::key::Key| key.policy.limits.requests_per_minute = Some(7);
            f.other.manager.edit("k", "test", edit).unwrap();
        },
        |f| rpm(f) == Some(7),
    );
    check(
        |f| {
            let mut defaults = Policy::default();
            defaults.limits.requests_per_minute = Some(9);
            let edit = |owner: &mut tokenwatch_model::owner::Owner| owner.defaults = defaults;
            f.other.manager.edit_owner("search-team", "test", edit).unwrap();
        },
        |f| rpm(f) == Some(9),
    );
}

#[test]
fn a_containment_and_its_undo_are_in_force_after_one_tick() {
    check(
        |f| drop(f.other.manager.contain("k", Action::Suspend, "test", None, "test").unwrap()),
        |f| f.contained() == 2,
    );
    check(
        |f| {
            let now = f.now();
            let row = f.other.records.containments_of(f.key).unwrap().remove(0);
            assert!(row.in_force(now));
            drop(f.other.manager.lift(&row.id.to_string(), "test").unwrap());
        },
        |f| f.contained() == 0,
    );
}

#[test]
fn a_dismissal_lifts_and_is_told_to_the_engine_after_one_tick() {
    check(
        |f| {
            assert_eq!(f.contained(), 1);
            let policy = ResponsePolicy::default();
            f.other.manager.dismiss(&policy, &f.incident.to_string(), "test").unwrap();
        },
        |f| {
            let told = f.journal.feedback();
            f.contained() == 0 && !told.is_empty() && told == f.other.records.feedback()
        },
    );
}
