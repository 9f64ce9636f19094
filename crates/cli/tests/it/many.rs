//! Thousands of keys at once.

use serde_json::{Value, json};
use tokenwatch_model::secret::Secret;

use crate::harness::{Mock, Place};

const KEYS: usize = 5_000;

#[test]
fn five_thousand_keys_are_imported_and_work() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    place.ok(&["owner", "add", "--name", "search", "--on-call", "rota"]);
    let lines: Vec<String> =
        (0..KEYS).map(|i| json!({ "name": format!("k{i}"), "owner": "search" }).to_string()).collect();
    std::fs::write(place.path("keys.jsonl"), lines.join("\n")).unwrap();
    let out = place.path("issued.jsonl").display().to_string();
    let done = place.ok(&["key", "import", "--file", "keys.jsonl", "--out", &out]);
    assert!(done.stdout.is_empty() && done.stderr.contains("5000 keys are issued"), "{done:?}");
    // All or none: the names are taken now.
    let again = place.run(&["key", "import", "--file", "keys.jsonl"]);
    assert_eq!((again.code, again.stdout.as_str()), (1, ""));
    let issued: Vec<Value> = std::fs::read_to_string(&out)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(issued.len(), KEYS);
    let server = place.serve();
    let client = server.client();
    for i in [0, 1, KEYS / 2, KEYS - 1] {
        assert_eq!(client.status(&Secret::new(issued[i]["key"].as_str().unwrap())), 200);
    }
    assert_eq!(place.ok(&["key", "list", "--json"]).json().as_array().unwrap().len(), KEYS);
    server.stop();
}
