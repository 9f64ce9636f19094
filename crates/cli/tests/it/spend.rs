//! Budgets from real spend: proposed, adopted by the command that is printed, and checked.

use serde_json::Value;
use tokenwatch_model::time::Timestamp;

use crate::harness::{Mock, Place};
use crate::past;

fn subject<'a>(report: &'a Value, kind: &str) -> &'a Value {
    let subjects = report["subjects"].as_array().unwrap();
    subjects.iter().find(|subject| subject["kind"] == kind).unwrap()
}

fn dollars(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn budgets_are_proposed_from_spend_adopted_and_checked() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let nothing = place.ok(&["spend", "propose"]).stdout;
    assert!(nothing.starts_with("Nothing can be proposed yet: it takes 7 whole days"), "{nothing}");
    assert_eq!(place.ok(&["spend", "check"]).stdout, "Nothing is over its thresholds.\n");
    place.ok(&["owner", "add", "--name", "search-team", "--on-call", "pager"]);
    past::stolen(&place, "search-prod");
    place.ok(&["key", "edit", "search-prod", "--owner", "search-team"]);
    let propose = || place.ok(&["spend", "propose", "--json"]).json();
    let report = propose();
    let made = &subject(&report, "key")["proposal"];
    assert!(made["days"].as_u64() >= Some(7), "{report:#}");
    assert!(dollars(&made["dearest_day"]) <= dollars(&made["budget_day"]));
    for kind in ["owner", "provider", "all"] {
        assert_eq!(subject(&report, kind)["proposal"]["typical_day"], made["typical_day"], "{kind}");
    }
    let text = place.ok(&["spend", "propose"]).stdout;
    let adopt = subject(&report, "key")["adopt"][0].as_str().unwrap();
    assert!(text.contains(adopt) && text.contains("tokenwatch:cost_usd:month_cap"), "{text}");
    let words: Vec<&str> = adopt.split(' ').skip(1).collect();
    place.ok(&words);
    assert_eq!(subject(&propose(), "key")["adopt"], Value::Array(Vec::new()), "adopted");
    // A month's budget that is used up; on the first day of a month, when nothing of it is spent, one that will be.
    place.ok(&["key", "edit", "search-prod", "--budget-month", "0.000001"]);
    let over = place.run(&["spend", "check"]);
    let today: Timestamp = serde_json::from_value(report["today"].clone()).unwrap();
    let month = today.month();
    let budget = "the month's budget of $0.0000010";
    let said = if past::journalled(&place).iter().any(|event| event.request.time.month() == month) {
        over.stdout.contains(&format!("spent this month: {budget} is used up"))
    } else {
        over.stdout.contains("this month will come to $")
            && over.stdout.contains(&format!(", over {budget}\n"))
    };
    assert!(over.code == 3 && said, "{over:?}");
}
