//! What a user tunes is in force on a running server without a restart: false-alarm budgets, suppressions; and a dry
//! run beside it.

use serde_json::Value;
use tokenwatch_testkit::sim::SimRequest;

use crate::harness::{Mock, Place, Server, Start, wait_for};
use crate::past::{Stolen, stolen};

/// A colleague: what the owner sends, from an address and a program the key has not seen.
fn colleague(stolen: &Stolen) -> SimRequest {
    newcomer(stolen, "203.0.113.77", "axios/1.7.4")
}

fn newcomer(stolen: &Stolen, address: &str, agent: &str) -> SimRequest {
    let mut request = stolen.owner.iter().find(|request| request.status == 200).unwrap().clone();
    request.source = address.parse().unwrap();
    for (name, value) in &mut request.headers {
        if name.eq_ignore_ascii_case("user-agent") {
            *value = agent.to_owned();
        }
    }
    request
}

#[track_caller]
fn wait_for_status(server: &Server, stolen: &Stolen, request: &SimRequest, status: u16) {
    wait_for("a status", || (stolen.send(server, request).status == status).then_some(()));
}

fn budget(server: &Server) -> (f64, String) {
    let shown = server.admin("/api/v1/keys/search-prod");
    let budget = &shown["alarm_budget"];
    (budget["false_alarms_per_year"].as_f64().unwrap(), budget["set_by"].as_str().unwrap().to_owned())
}

#[test]
fn a_false_alarm_budget_is_in_force_without_a_restart() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let stolen = stolen(&place, "search-prod");
    place.ok(&["owner", "add", "--name", "search", "--on-call", "rota"]);
    place.ok(&["key", "edit", "search-prod", "--owner", "search", "--false-alarms-per-key-year", "0.01"]);
    let args = ["--false-alarms-per-key-year", "5"].map(str::to_owned);
    let server = place.serve_with(Start { args: args.into(), ..Start::default() });
    let stranger = colleague(&stolen);
    assert_eq!(budget(&server), (0.01, "key".to_owned()));
    assert_eq!(stolen.send(&server, &stranger).status, 200);
    // An alert a day on the key's owner: whoever is new is refused from then on.
    place.ok(&["owner", "edit", "search", "--false-alarms-per-key-year", "365"]);
    place.ok(&["key", "edit", "search-prod", "--reset"]);
    wait_for_status(&server, &stolen, &stranger, 403);
    assert_eq!(budget(&server), (365.0, "owner".to_owned()));
    place.ok(&["owner", "edit", "search", "--reset"]);
    assert_eq!(budget(&server), (5.0, "default".to_owned()));
    stolen.assert_owner_is_served(&server);
    server.stop();
}

#[test]
fn who_is_allowed_beforehand_is_let_in_and_stays_known() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let stolen = stolen(&place, "search-prod");
    place.ok(&["key", "edit", "search-prod", "--false-alarms-per-key-year", "365"]);
    let server = place.serve();
    let stranger = colleague(&stolen);
    let network = ["--network", "203.0.113.0/24"];
    let allow = ["context", "allow", "search-prod", "--for", "1h", "--reason", "moves to another office"];
    place.ok(&[&allow[..], &network[..]].concat());
    // Without it whoever is new is refused: the budget is an alert a day.
    let later = place.issue("later", &[]);
    wait_for("the change to be in force", || (server.client().status(&later) == 200).then_some(()));
    for _ in 0..20 {
        assert_eq!(stolen.send(&server, &stranger).status, 200);
    }
    wait_for_status(&server, &stolen, &newcomer(&stolen, "198.51.100.7", "Go-http-client/2.0"), 403);
    // What was learned while it held stays.
    place.ok(&[&["context", "end", "search-prod"], &network[..]].concat());
    assert!(place.ok(&["context", "list", "search-prod", "--json"]).stdout.contains("\"contexts\": []"));
    let last = place.issue("last", &[]);
    wait_for("the change to be in force", || (server.client().status(&last) == 200).then_some(()));
    assert_eq!(stolen.send(&server, &stranger).status, 200);
    stolen.assert_owner_is_served(&server);
    server.stop();
}

fn is_taken_for_a_thief(server: &Server, stolen: &Stolen, request: &SimRequest) -> bool {
    let answer = stolen.send(server, request).text();
    answer.contains("judged_not_owner") || answer.contains("context_refused")
}

fn rows(place: &Place, args: &[&str]) -> Vec<Value> {
    place.ok(args).json().as_array().unwrap().clone()
}

const INCIDENTS: &[&str] = &["incident", "list", "--all", "--json"];
const ALERTS: &[&str] = &["suppression", "alerts", "--json"];

#[test]
fn a_suppression_holds_without_a_restart_survives_a_crash_and_can_be_lifted() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let stolen = stolen(&place, "search-prod");
    let server = place.serve();
    let add = |rule: &str| {
        let reason = ["--for", "1h", "--reason", "load test", "--json"];
        let args = ["suppression", "add", "--key", "search-prod", "--rule", rule];
        let added = place.ok(&[&args[..], &reason[..]].concat()).json();
        added["id"].as_str().unwrap().to_owned()
    };
    let ids = ["newcomer", "newcomer_crowd", "recon"].map(add);
    // Changes are taken over in their order: with the key that came after them, the suppressions are in force.
    let later = place.issue("later", &[]);
    wait_for("the changes to be in force", || (server.client().status(&later) == 200).then_some(()));
    let served = |server: &Server, requests: &[SimRequest]| {
        for request in requests {
            assert!(!is_taken_for_a_thief(server, &stolen, request));
        }
    };
    let (early, late) = stolen.thief.split_at(stolen.thief.len() / 2);
    served(&server, early);
    let suppressed = wait_for("a suppressed alert", || {
        let alerts = rows(&place, ALERTS);
        (!alerts.is_empty()).then_some(alerts)
    });
    assert!(suppressed.iter().all(|alert| ids.iter().any(|id| alert["suppression"] == id.as_str())));
    assert_eq!(rows(&place, INCIDENTS), Vec::<Value>::new());
    let listed = place.ok(&["incident", "list", "--all"]);
    assert!(listed.stdout.starts_with("suppressed  "), "{listed:?}");
    let counted = |tier| {
        let labels = format!("tokenwatch_findings_suppressed_total{{tier=\"{tier}\",severity=\"high\"}}");
        server.metric(&labels)
    };
    assert!(
        counted("alert")
            + counted("act")
            + server.metric("tokenwatch_findings_suppressed_total{tier=\"act\",severity=\"critical\"}")
            > 0.0
    );
    server.kill();
    let server = place.serve();
    served(&server, late);
    assert_eq!(rows(&place, INCIDENTS), Vec::<Value>::new());
    for id in &ids {
        place.ok(&["suppression", "lift", id]);
    }
    let stopped = || stolen.thief.iter().any(|request| is_taken_for_a_thief(&server, &stolen, request));
    wait_for("the thief to be stopped", || stopped().then_some(()));
    wait_for("an incident", || (!rows(&place, INCIDENTS).is_empty()).then_some(()));
    stolen.assert_owner_is_served(&server);
    server.stop();
    assert_eq!(place.ok(&["audit", "verify"]).code, 0);
}

#[test]
fn a_dry_run_says_what_would_have_fired_beside_a_running_server() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let stolen = stolen(&place, "search-prod");
    let server = place.serve();
    stolen.steal(&server);
    let run =
        |more: &[&str]| place.ok(&[&["dry-run", "--json", "--key", "search-prod"], more].concat()).json();
    let report = wait_for("the theft", || {
        let report = run(&[]);
        (report["in_force"].as_u64() >= Some(1)).then_some(report)
    });
    assert!(report["days_covered"].as_f64().unwrap() > 5.0, "{report}");
    assert_eq!((&report["proposed"], &report["alerts"][0]["fires"]), (&Value::Null, &"in_force".into()));
    let same = run(&["--false-alarms-per-key-year", "0.365"]);
    assert_eq!((&same["proposed"], &same["alerts"][0]["fires"]), (&same["in_force"], &"both".into()));
    let louder = run(&["--false-alarms-per-key-year", "365", "--days", "30"]);
    assert!(louder["proposed"].as_u64() >= louder["in_force"].as_u64(), "{louder}");
    let incident = rows(&place, INCIDENTS)[0]["id"].as_str().unwrap().to_owned();
    place.ok(&["incident", "dismiss", &incident]);
    let marked = run(&[]);
    let alerts = marked["alerts"].as_array().unwrap();
    assert!(alerts.iter().any(|alert| alert["marked"] == "dismissed"), "{marked}");
    let told = place.ok(&["dry-run", "--false-alarms-per-key-year", "1"]);
    assert!(
        told.stdout.contains("would have fired") && told.stdout.contains("Nothing was changed."),
        "{told:?}"
    );
    server.stop();
}

#[test]
fn a_fleets_rates_are_counted_proposed_and_put_in_force() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let stolen = stolen(&place, "search-prod");
    let path = place.path("fleet-rates.json");
    let file = path.to_str().unwrap();
    let none = Place::new().ok(&["dry-run", "--write-fleet-rates", file]);
    assert!(none.stderr.contains("no day could be counted") && none.stdout.contains("Nothing was changed."));
    assert!(!path.exists());
    let counted = place.ok(&["dry-run", "--write-fleet-rates", file, "--json"]).json();
    let rates = &counted["fleet_rates"];
    let days = rates["machine_key_days"].as_f64().unwrap() + rates["people_key_days"].as_f64().unwrap();
    assert!(days > 2.0 && rates["used"] == false, "{rates}");
    let told = place.ok(&["dry-run", "--write-fleet-rates", file]);
    let next =
        format!("What they change: tokenwatch dry-run --fleet-rates {file}. To judge by them: [detection]");
    assert!(told.stdout.contains(&next), "{told:?}");
    let proposed = place.ok(&["dry-run", "--fleet-rates", file]);
    assert!(proposed.stdout.contains(&format!("With the rates of {file}, ")), "{proposed:?}");
    place.configure(&place.config(&mock, &format!("[detection]\nfleet_rates = {file:?}\n")));
    assert_eq!(place.ok(&["check"]).code, 0);
    let server = place.serve();
    assert!(server.log().contains("judging by this fleet's own rates"), "{}", server.log());
    assert!(stolen.thief.iter().any(|request| is_taken_for_a_thief(&server, &stolen, request)));
    stolen.assert_owner_is_served(&server);
    server.stop();
    // A server does not start with rates that it can not read.
    for (text, says) in [("{}", "missing field `version`"), ("", "EOF while parsing")] {
        std::fs::write(&path, text).unwrap();
        let checked = place.run(&["check"]);
        let wrong = format!("error: [detection] fleet_rates: {file} holds no fleet rates: {says}");
        assert!(checked.code == 3 && checked.stdout.starts_with(&wrong), "{checked:?}");
    }
    std::fs::remove_file(&path).unwrap();
    let checked = place.run(&["check"]);
    assert!(
        checked.stdout.contains("fleet_rates") && checked.stdout.contains("can not be read"),
        "{checked:?}"
    );
    assert_eq!(place.run(&["serve"]).code, 1);
}
