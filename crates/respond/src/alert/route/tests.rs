//! Who is told, and when.

use tokenwatch_model::alert::{Subject, SubjectId};
use tokenwatch_model::key::Mode;
use tokenwatch_model::time::HOUR;

use super::*;
use crate::alert::tests::found;
use crate::situation::examples::{NOW, Scene};

fn route(name: &str, to: &[&str]) -> Route {
    Route { name: name.into(), to: to.iter().map(SmolStr::new).collect(), ..Route::default() }
}

fn delivery(destination: &str, route: &str, cause: AlertCause, created: Timestamp) -> Delivery {
    Delivery {
        id: 1,
        sequence: 1,
        subject: SubjectId::Incident(tokenwatch_model::id::IncidentId::from_bits(1)),
        destination: destination.into(),
        route: route.into(),
        cause,
        state: DeliveryState::Sent,
        due: created,
        attempts: 1,
        error: String::new(),
        created,
        ended: Some(created),
    }
}

fn whose(scene: &Scene) -> Whose<'_> {
    Whose { environment: Some(&scene.key.environment), owner: scene.owner.as_ref() }
}

/// Decides about an alert on the key `search-prod` of `search-team`, in production, at 12:00 UTC on a Sunday.
#[track_caller]
fn check(routes: &[Route], cause: AlertCause, before: &[Delivery], want: &[(&str, &str, AlertCause, u64)]) {
    let (mut scene, _) = found(Mode::Contain);
    let owner = scene.owner.as_mut().unwrap();
    (owner.on_call, owner.channel) = ("pager".into(), "room".into());
    let incident = scene.incident.clone().unwrap();
    let alert = StoredAlert { sequence: 2, time: NOW, cause, subject: Subject::Incident(Box::new(incident)) };
    let destinations = ["pager", "room", "siem", "boss"].map(SmolStr::new_static);
    let routing = Routing { routes, destinations: &destinations };
    let planned = routing.decide(&alert, whose(&scene), before, NOW);
    let got: Vec<(&str, &str, AlertCause, u64)> = planned
        .iter()
        .map(|p| (p.destination.as_str(), p.route.as_str(), p.cause, p.due.since(NOW) / SECOND))
        .collect();
    assert_eq!(got, want);
}

use AlertCause::{Escalated, Opened, Resolved, Updated};

#[test]
fn the_first_route_that_fits_decides_unless_it_says_continue() {
    let all = [route("a", &["siem"]), route("b", &["pager"])];
    check(&all, Opened, &[], &[("siem", "a", Opened, 0)]);
    let on = [Route { r#continue: true, ..route("a", &["siem"]) }, route("b", &["pager", "siem"])];
    check(&on, Opened, &[], &[("siem", "a", Opened, 0), ("pager", "b", Opened, 0)]);
    // One that leads nowhere is passed over.
    check(&[route("a", &["gone"]), route("b", &["pager"])], Opened, &[], &[("pager", "b", Opened, 0)]);
    check(&[], Opened, &[], &[]);
}

#[test]
fn the_owner_of_the_key_is_paged() {
    let owner = [route("owners", &["@on_call", "@channel"])];
    check(&owner, Opened, &[], &[("pager", "owners", Opened, 0), ("room", "owners", Opened, 0)]);
}

#[test]
fn routes_fit_by_owner_environment_severity_day_and_hour() {
    let yes = |edit: fn(&mut Route)| {
        let mut route = route("a", &["siem"]);
        edit(&mut route);
        check(&[route], Opened, &[], &[("siem", "a", Opened, 0)]);
    };
    let no = |edit: fn(&mut Route)| {
        let mut route = route("a", &["siem"]);
        edit(&mut route);
        check(&[route], Opened, &[], &[]);
    };
    yes(|r| r.owners = vec!["x".into(), "search-team".into()]);
    no(|r| r.owners = vec!["x".into()]);
    no(|r| r.owners = vec!["".into()]);
    yes(|r| r.environments = vec!["production".into()]);
    no(|r| r.environments = vec!["staging".into()]);
    yes(|r| r.severity = Severity::High);
    no(|r| r.severity = Severity::Critical);
    yes(|r| r.days = vec![Day::Sat, Day::Sun]);
    no(|r| r.days = vec![Day::Mon, Day::Sat]);
    yes(|r| r.hours = vec![11, 12]);
    no(|r| r.hours = vec![13]);
    // At 12:00 UTC it is 1:30 of Monday in a zone that is 13.5 hours ahead.
    yes(|r| (r.utc_offset_minutes, r.days, r.hours) = (810, vec![Day::Mon], vec![1]));
    yes(|r| (r.utc_offset_minutes, r.hours) = (-300, vec![7]));
}

#[test]
fn who_was_told_is_told_the_end_whatever_the_hour() {
    let day = [Route { hours: vec![3], ..route("night", &["pager"]) }, route("rest", &["siem"])];
    let told = [delivery("pager", "night", Opened, Timestamp(NOW.0 - 9 * HOUR))];
    let want = [("siem", "rest", Resolved, 0), ("pager", "night", Resolved, 0)];
    check(&day, Resolved, &told, &want);
}

#[test]
fn updates_are_grouped() {
    let routes = [route("a", &["siem"])];
    check(&routes, Updated, &[], &[("siem", "a", Updated, 0)]);
    let told = [delivery("siem", "a", Opened, Timestamp(NOW.0 - 20 * SECOND))];
    check(&routes, Updated, &told, &[("siem", "a", Updated, 40)]);
    let old = [delivery("siem", "a", Opened, Timestamp(NOW.0 - HOUR))];
    check(&routes, Updated, &old, &[("siem", "a", Updated, 0)]);
}

#[test]
fn escalations_are_planned_once() {
    let step = |after_s, to: &str| Escalation { after_s, to: vec![to.into()] };
    let escalate = vec![step(900, "boss"), step(3_600, "room")];
    let routes = [Route { escalate, ..route("a", &["pager"]) }];
    let want = [("pager", "a", Opened, 0), ("boss", "a", Escalated, 900), ("room", "a", Escalated, 3_600)];
    check(&routes, Opened, &[], &want);
    let pending = |destination| Delivery {
        state: DeliveryState::Pending,
        ended: None,
        ..delivery(destination, "a", Escalated, NOW)
    };
    let before = [delivery("pager", "a", Opened, Timestamp(NOW.0 - HOUR)), pending("boss"), pending("room")];
    check(&routes, Updated, &before, &[("pager", "a", Updated, 0)]);
    // Who was told by an escalation is told the rest.
    let before = [before[0].clone(), delivery("boss", "a", Escalated, NOW), pending("room")];
    let want = [("pager", "a", Resolved, 0), ("boss", "a", Resolved, 0)];
    let closed = |planned: &[(&str, &str, AlertCause, u64)]| planned.len();
    assert_eq!(closed(&want), 2);
    check(&[route("a", &["pager"])], Resolved, &before, &want);
}
