//! `tokenwatch simulate` as people start it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::harness::{Place, done};

fn lines(bytes: &[u8]) -> Vec<Value> {
    bytes
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

#[test]
fn events_truth_and_keys_fit_together_and_come_again() {
    let place = Place::new();
    let out = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let dir = out.path().join(name);
        let mut command =
            vec!["simulate", "--json", "--keys", "6", "--theft-events", "50", "--change", "batch-job"];
        command.extend(more);
        command.push(dir.to_str().unwrap());
        let summary: Value = serde_json::from_str(&place.ok(&command).stdout).unwrap();
        (dir, summary)
    };
    let (dir, summary) = run("plain", &[]);
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let (events, truth, keys) = (read("events.jsonl"), read("truth.jsonl"), read("keys.jsonl"));
    let (event_lines, truth_lines, key_lines) = (lines(&events), lines(&truth), lines(&keys));
    assert_eq!(summary["events"], event_lines.len());
    assert_eq!(summary["thefts"].as_array().unwrap().len(), 3);
    assert_eq!(summary["changes"].as_array().unwrap().len(), 1);
    assert_eq!(key_lines.len(), 6);

    let declared: BTreeSet<&str> = key_lines.iter().map(|key| key["key"].as_str().unwrap()).collect();
    let mut counts = BTreeMap::<&str, u64>::new();
    let mut last = "";
    for (event, truth) in event_lines.iter().zip(&truth_lines) {
        assert_eq!(event["request"], truth["request"]);
        assert!(declared.contains(event["key"].as_str().unwrap()));
        *counts.entry(truth["attack"].as_str().unwrap()).or_default() += 1;
        let time = event["time"].as_str().unwrap();
        assert!(last <= time, "times of one form sort as texts");
        last = time;
    }
    for theft in summary["thefts"].as_array().unwrap() {
        assert_eq!(theft["events"], counts[theft["attack"].as_str().unwrap()], "{theft}");
    }

    let (packed, _) = run("packed", &["--gzip"]);
    let mut unpacked = Vec::new();
    let file = std::fs::File::open(packed.join("events.jsonl.gz")).unwrap();
    MultiGzDecoder::new(file).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == events, "the same seed gives the same events");

    let mut again = place.command();
    again.args(["simulate", "--keys", "6"]).arg(&dir);
    let refused = done(&mut again);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("is there already; name another folder, or add --force"), "{refused:?}");
}

#[track_caller]
fn check(arguments: &[&str], code: i32, said: &str) {
    let place = Place::new();
    let out = tempfile::tempdir().unwrap();
    let mut command = place.command();
    command.arg("simulate").arg(out.path()).args(arguments);
    let ended = done(&mut command);
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(ended.stderr.contains(said), "{ended:?}");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn wrong_options_say_what_to_write() {
    check(
        &["--theft", "heist"],
        1,
        "--theft: there is no heist; `tokenwatch simulate --list-thefts` names them",
    );
    check(
        &["--change", "rain"],
        1,
        "--change: there is no rain; `tokenwatch simulate --list-changes` names them",
    );
    check(&["--stolen", "7"], 1, "--stolen: write a share from 0 to 1");
    check(&["--days", "5"], 1, "--quiet-days: 7 quiet days leave none of 5 to steal on");
    check(&["--keys", "0"], 2, "0 is not in 1..=20000");
}

#[test]
fn thefts_and_changes_are_listed() {
    let place = Place::new();
    let thefts: Value =
        serde_json::from_str(&place.ok(&["simulate", "--list-thefts", "--json"]).stdout).unwrap();
    let groups =
        |group: &str| thefts.as_array().unwrap().iter().filter(|theft| theft["group"] == group).count();
    assert_eq!((groups("loud"), groups("careful"), groups("mimic")), (8, 4, 3));
    let changes = place.ok(&["simulate", "--list-changes"]).stdout;
    assert!(changes.contains("second-service"), "{changes}");
}
