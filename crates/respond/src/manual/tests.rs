//! Orders by hand, and how they are refused.

use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::finding::Tier;
use tokenwatch_model::key::Mode;
use tokenwatch_model::time::HOUR;

use super::*;
use crate::situation::examples::{NOW, Scene, context, finding, ids, key};
use crate::{ResponsePolicy, execute, plan};

fn order(key: &Key, action: Action) -> Order<'_> {
    Order {
        key,
        incident: None,
        id: ContainmentId::from_bits(77),
        action,
        reason: "seen on a paste site",
        expires: Some(NOW.plus(HOUR)),
        who: "admin:ops",
    }
}

#[track_caller]
fn check_refused(change: impl Fn(&mut Order<'_>), want: &OrderError) {
    let key = key();
    let mut order = order(&key, Action::Suspend);
    change(&mut order);
    assert_eq!(contain(&order, NOW).as_ref(), Err(want));
}

#[test]
fn orders_that_do_nothing_are_refused() {
    check_refused(|o| o.action = Action::RefuseContext(ContextMatch::default()), &OrderError::Empty);
    check_refused(|o| o.action = Action::Clamp(Clamp::default()), &OrderError::Empty);
    let only = |context| Clamp { only: Some(context), ..Clamp::default() };
    check_refused(|o| o.action = Action::Clamp(only(context(1))), &OrderError::Empty);
    let void = Clamp { requests_per_minute: Some(1), ..only(ContextMatch::default()) };
    check_refused(|o| o.action = Action::Clamp(void.clone()), &OrderError::Empty);
    check_refused(|o| o.reason = " ", &OrderError::NoReason);
    check_refused(|o| o.expires = Some(NOW), &OrderError::Over(NOW));
    let revoked = Key { state: KeyState::Revoked, ..key() };
    assert_eq!(contain(&order(&revoked, Action::Suspend), NOW), Err(OrderError::Revoked));
}

#[test]
fn revoking_by_hand_ends_the_key() {
    let key = key();
    let effects = contain(&order(&key, Action::Revoke), NOW).unwrap();
    let ended = effects.key.unwrap();
    assert_eq!((ended.state, ended.state_reason.as_str()), (KeyState::Revoked, "seen on a paste site"));
    assert_eq!(effects.containments[0].expires, None);
    assert_eq!(effects.containments[0].incident, None);
}

#[test]
fn an_order_may_belong_to_a_case_and_be_lifted_again() {
    let mut scene = Scene::new(Mode::Observe, finding(1, Tier::Alert));
    scene.store(execute(&plan(&ResponsePolicy::default(), &scene.situation(), &mut ids()), NOW));
    let (key, incident) = (scene.key.clone(), scene.incident.clone());
    let order = Order { incident: incident.as_ref(), ..order(&key, Action::Suspend) };
    scene.store(contain(&order, NOW).unwrap());
    let contained = scene.incident.clone().unwrap();
    assert_eq!(contained.state, IncidentState::Contained);
    let row = scene.containments[0].clone();
    scene.store(lift(&row, Some(&contained), &scene.containments, "admin:ops", NOW).unwrap());
    assert_eq!(scene.incident.clone().unwrap().state, IncidentState::Open);
    assert_eq!(scene.incident.clone().unwrap().timeline.last().unwrap().what, "lifted: suspend the key");
    let again = lift(&scene.containments[0], None, &[], "admin:ops", NOW);
    assert_eq!(again, Err(LiftError::NotInForce(row.id)));
}

#[test]
fn a_revocation_is_not_lifted() {
    let key = key();
    let row = contain(&order(&key, Action::Revoke), NOW).unwrap().containments.remove(0);
    assert_eq!(lift(&row, None, &[], "admin:ops", NOW), Err(LiftError::Final(row.id)));
}
