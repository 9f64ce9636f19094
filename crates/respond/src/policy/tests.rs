//! What policies say, refuse, and differ in by environment.

use super::*;
use crate::situation::examples;

#[track_caller]
fn check(json: &str, want: &[&str]) {
    let policy: ResponsePolicy = serde_json::from_str(json).unwrap();
    let got: Vec<String> =
        policy.validate().err().unwrap_or_default().iter().map(ToString::to_string).collect();
    assert_eq!(got, want);
}

#[test]
fn everything_wrong_is_said_at_once() {
    check("{}", &[]);
    check(r#"{"blast":{"keys_per_hour":0,"suspends_per_hour":0}}"#, &[]);
    check(
        r#"{"context_hours":0,"trust_days":9999,"environments":{"":"full"},"revoke_automatic":true,
            "suspend_automatic":false,"blast":{"keys_per_hour":3}}"#,
        &[
            "respond.environments has an entry without a name; use respond.mode for keys without one",
            "respond.context_hours is 0; it must be 1 to 8760",
            "respond.trust_days is 9999; it must be 1 to 365",
            "respond.revoke_automatic needs suspend_automatic: what can not be undone must not be easier than what can",
            "respond.blast.suspends_per_hour is 5, above keys_per_hour (3); lower it or raise keys_per_hour",
        ],
    );
}

#[test]
fn unknown_fields_are_refused() {
    for wrong in [
        r#"{"contexthours":3}"#,
        r#"{"environments":{"a":{"contexthours":3}}}"#,
        r#"{"environments":{"a":"maximum"}}"#,
        r#"{"environments":{"a":3}}"#,
        r#"{"blast":{"keys":3}}"#,
        r#"{"mode":"maximum"}"#,
    ] {
        assert!(serde_json::from_str::<ResponsePolicy>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_nearest_mode_wins() {
    let policy = ResponsePolicy {
        environments: [("staging".into(), Environment::of_mode(Some(Mode::Observe)))].into(),
        ..Default::default()
    };
    let mut key = examples::key();
    let mut owner = examples::owner();
    assert_eq!(policy.mode_of(&key, Some(&owner)), Mode::Contain);
    key.environment = "staging".into();
    assert_eq!(policy.mode_of(&key, Some(&owner)), Mode::Observe);
    owner.defaults.mode = Some(Mode::Full);
    assert_eq!(policy.mode_of(&key, Some(&owner)), Mode::Full);
    assert_eq!(policy.mode_of(&key, None), Mode::Observe);
    key.policy.mode = Some(Mode::Contain);
    assert_eq!(policy.mode_of(&key, Some(&owner)), Mode::Contain);
}

#[test]
fn an_environment_overrides_the_ladder_and_inherits_the_rest() {
    let json = r#"{"context_hours":100,"environments":{"staging":"observe","production":{"mode":"full","clamp_hours":12,
        "revoke_automatic":true,"blast":{"keys_per_hour":3,"suspends_per_hour":1}}}}"#;
    let policy: ResponsePolicy = serde_json::from_str(json).unwrap();
    assert_eq!(policy.validate(), Ok(()));
    let production = policy.in_environment("production");
    assert_eq!((production.context_hours, production.clamp_hours, production.suspend_hours), (100, 12, 24));
    assert!(production.revoke_automatic && production.suspend_automatic && !policy.revoke_automatic);
    assert_eq!(production.blast, BlastRadius { keys_per_hour: 3, suspends_per_hour: 1 });
    for other in ["staging", "test", ""] {
        assert_eq!(*policy.in_environment(other), policy);
    }
    assert_eq!(["production", "staging", "x"].map(|name| policy.radius_of(name)), ["production", "", ""]);
    let key = Key { environment: "production".into(), ..examples::key() };
    assert_eq!(policy.mode_of(&key, None), Mode::Full);
    // What is written is read again.
    let again = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<ResponsePolicy>(&again).unwrap(), policy);
}

#[test]
fn what_an_environment_makes_wrong_is_told_with_its_name() {
    check(
        r#"{"suspend_automatic":false,"relax_after_hours":3,"runbook":[{"id":"x","title":"X"}],
            "environments":{"a":{"revoke_automatic":true,"clamp_hours":0},"b":{"blast":{"keys_per_hour":2}}}}"#,
        &[
            "respond.relax_after_hours is 3; it must be 0 (never) or 24 to 8760: a day's silence is a thief's night",
            "respond.runbook number 1 due_minutes: a new step needs a deadline",
            "respond.environments.a: clamp_hours is 0; it must be 1 to 8760",
            "respond.environments.a: revoke_automatic needs suspend_automatic: what can not be undone must not be easier \
             than what can",
            "respond.environments.b: blast.suspends_per_hour is 5, above keys_per_hour (2); lower it or raise \
             keys_per_hour",
        ],
    );
}
