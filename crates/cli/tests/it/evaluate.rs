//! `tokenwatch evaluate` as people start it: on simulated fleets, and on events that somebody else mixed.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::harness::{Place, done};

/// A small contest; figures of speed are taken out, because they differ from run to run.
fn contest(place: &Place, more: &[&str]) -> Value {
    let mut args = vec!["evaluate", "--json", "--keys", "2", "--theft-requests", "60", "--rates", "0.05"];
    args.extend(["--calibration-keys", "6", "--clean-keys", "5"]);
    args.extend(["--attacks", "recon,new-country,mimic", "--methods", "layered,static_limits"]);
    args.extend(more);
    let mut report: Value = serde_json::from_str(&place.ok(&args).stdout).unwrap();
    for method in report["methods"].as_array_mut().unwrap() {
        let time = method["cost"]["ns_per_event"].take();
        assert!(time.as_f64().is_some_and(|time| time > 0.0), "{time}");
    }
    for method in report["comparison"].as_array_mut().unwrap() {
        method["ms_per_event"].take();
    }
    report
}

#[test]
fn a_contest_does_not_depend_on_threads() {
    let place = Place::new();
    let page = place.path("report.html");
    let one = contest(&place, &["--quick", "--threads", "1", "--html", &page.display().to_string()]);
    // Scores over time are computed for the page only.
    let mut two = contest(&place, &["--quick", "--threads", "3"]);
    assert_eq!(two["traces"].as_array().unwrap().len(), 0);
    two["traces"] = one["traces"].clone();
    assert_eq!(one, two);
    for (side, keys) in [("test", 2), ("calibration", 6), ("clean", 5)] {
        let side = &one["protocol"][side];
        assert_eq!((&side["keys"], &side["key_days"]), (&keys.into(), &(4 * keys).into()));
    }
    for check in one["budgets"].as_array().unwrap() {
        assert_eq!(check["realised"]["of"], 4 * 7, "test keys and the further keys of their clients");
    }
    let layered = &one["methods"][0];
    assert_eq!(layered["method"], "layered");
    let nominal = &layered["points"][0];
    assert_eq!((&nominal["point"], &nominal["threshold"]), (&"nominal".into(), &1000.0.into()));
    let found = |name: &str| {
        let attacks = nominal["attacks"].as_array().unwrap();
        attacks.iter().find(|attack| attack["attack"] == name).unwrap()["recall"]["value"].as_f64().unwrap()
    };
    assert!(found("recon") > found("mimic"), "{nominal}");
    assert_eq!(nominal["false_alarms"]["of"], 4 * 7);
    let limits = &one["comparison"][1];
    let points: Vec<&Value> = limits["rows"].as_array().unwrap().iter().map(|row| &row["point"]).collect();
    assert_eq!(
        (&limits["method"], points.as_slice()),
        (&"static_limits".into(), &[&"nominal".into(), &"rate_0.05".into(), &"published".into()][..])
    );
    assert!(limits["rows"].as_array().unwrap().iter().all(|row| row["layered"]["groups"].is_array()));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg") && page.contains("static_limits"));
}

#[test]
fn wrong_names_are_answered_with_the_right_ones() {
    let place = Place::new();
    for (args, want) in [
        (["--methods", "magic"], "--methods: there is no \"magic\"; there are all, layered, static_limits"),
        (["--attacks", "magic"], "--attacks: there is no \"magic\"; there are all, burst-resale, "),
        (
            ["--false-alarms-per-key-year", "0"],
            "--false-alarms-per-key-year: a number above 0, such as 0.365",
        ),
        (["--rates", "1.5"], "--rates: false alarms per key-day between 0 and 1, such as 0.001"),
    ] {
        let answer = place.run(&["evaluate", "--keys", "4", args[0], args[1]]);
        assert_eq!(answer.code, 1, "{answer:?}");
        assert!(answer.stderr.contains(want), "{answer:?}");
    }
    assert!(place.ok(&["evaluate", "--methods", "list"]).stdout.contains("isolation_forest"));
    assert!(place.ok(&["evaluate", "--attacks", "list"]).stdout.contains("mimic"));
}

/// A simulated data set in `place`.
fn simulate(place: &Place) -> String {
    let dir = place.path("data").display().to_string();
    place.ok(&[
        "simulate",
        "--keys",
        "4",
        "--days",
        "9",
        "--theft-events",
        "60",
        "--theft",
        "recon,burst-resale",
        &dir,
    ]);
    dir
}

#[test]
fn thefts_are_put_into_events_of_your_own() {
    let place = Place::new();
    let dir = simulate(&place);
    let file = |name: &str| format!("{dir}/{name}");
    let (events, truth, keys) = (file("events.jsonl"), file("truth.jsonl"), file("keys.jsonl"));
    let run = |more: &[&str]| {
        let mut args = vec!["evaluate", "--json", "--trace", &events, "--truth", &truth, "--profiles", &keys];
        args.extend(["--methods", "layered,statistics", "--theft-requests", "30", "--rates", "0.1"]);
        args.extend(more);
        place.run(&args)
    };
    let answer = run(&["--attacks", "crowd,recon,burst-resale"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stderr.contains("4 owners on 9 days, 7 of which only teach"), "{answer:?}");
    assert!(answer.stderr.contains("key-days to calibrate on do not support"), "{answer:?}");
    assert!(
        answer.stderr.contains("This fleet's own rates, used once results count: counted on"),
        "{answer:?}"
    );
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let protocol = &report["protocol"];
    assert_eq!((&protocol["test"]["keys"], &protocol["calibration"]["keys"]), (&2.into(), &2.into()));
    assert_eq!(protocol["test"]["key_days"], 4);
    let methods: Vec<&Value> =
        report["methods"].as_array().unwrap().iter().map(|method| &method["method"]).collect();
    assert_eq!(methods, ["layered", "statistics"]);
    let tried: Vec<(&Value, &Value)> = report["attacks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attack| (&attack["attack"], &attack["group"]))
        .collect();
    assert!(tried.contains(&(&"crowd".into(), &"loud".into())), "{tried:?}");
    // Those of the truth come beside those that are simulated, and have a name of their own.
    let answer = run(&["--attacks", "recorded", "--fleet-rates", "shipped"]);
    assert!(answer.code == 0 && !answer.stderr.contains("own rates"), "{answer:?}");
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let groups = report["attacks"].as_array().unwrap().iter().map(|attack| &attack["group"]);
    assert!(groups.clone().count() > 0 && groups.clone().all(|group| group == "recorded"), "{report}");
    let answer = run(&["--learn-days", "9"]);
    assert!(answer.code == 1 && answer.stderr.contains("so there is no day to judge"), "{answer:?}");
}

#[test]
fn keys_are_made_from_volumes_of_your_own() {
    let place = Place::new();
    let (volumes, sizes) = (place.path("volumes.csv"), place.path("sizes.csv"));
    let mut rows = "client,t,requests\n".to_owned();
    let mut laws = "client,t,field,q05,q50,q95\n".to_owned();
    for client in ["a", "b", "c"] {
        for hour in 0..24 * 12 {
            rows.push_str(&format!("{client},{},{}\n", hour * 3_600, 10 + hour % 24));
        }
        laws.push_str(&format!("{client},0,in,100,200,900\n{client},0,out,10,20,50\n"));
    }
    fs::write(&volumes, rows).unwrap();
    fs::write(&sizes, laws).unwrap();
    let (volumes, sizes) = (volumes.display().to_string(), sizes.display().to_string());
    let run = |more: &[&str]| {
        let mut args = vec!["evaluate", "--quick", "--json", "--keys", "2", "--attacks", "recon"];
        args.extend(more);
        place.run(&args)
    };
    let answer = run(&["--volumes", &volumes, "--sizes", &sizes]);
    assert_eq!(answer.code, 0, "{answer:?}");
    // The twelfth day.
    assert!(answer.stderr.contains("72 rows lie outside the 11 days from day 0 on"), "{answer:?}");
    assert!(answer.stderr.contains("3 clients of 3"), "{answer:?}");
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let protocol = &report["protocol"];
    let clients = |side: &str| protocol[side]["clients"].as_u64().unwrap();
    assert_eq!(clients("test") + clients("calibration"), 3, "{protocol}");
    for (from_day, want) in [("11", "0 of 3 clients"), ("300", "0 of 0 clients")] {
        let answer = run(&["--volumes", &volumes, "--volumes-from-day", from_day]);
        assert!(answer.code == 1 && answer.stderr.contains(want), "{answer:?}");
    }
    fs::write(&sizes, "client,t,field,q05,q95\na,0,sideways,1,2\n").unwrap();
    let answer = run(&["--volumes", &volumes, "--sizes", &sizes]);
    assert!(answer.code == 1 && answer.stderr.contains("line 2: field field: \"sideways\""), "{answer:?}");
}

fn pack(path: &Path) {
    let mut packed =
        GzEncoder::new(fs::File::create(path.with_extension("jsonl.gz")).unwrap(), Compression::fast());
    packed.write_all(&fs::read(path).unwrap()).unwrap();
    packed.finish().unwrap();
}

#[test]
fn what_simulate_writes_is_judged() {
    let place = Place::new();
    let dir = simulate(&place);
    let file = |name: &str| format!("{dir}/{name}");
    let run = |events: &[&str]| -> Value {
        let mut args = vec!["evaluate", "--json", "--learn-days", "7", "--events"];
        args.extend(events);
        let (truth, keys) = (file("truth.jsonl"), file("keys.jsonl"));
        args.extend(["--truth", &truth, "--profiles", &keys]);
        serde_json::from_str(&place.ok(&args).stdout).unwrap()
    };
    let events = file("events.jsonl");
    let report = run(&[&events]);
    let input = &report["input"];
    assert_eq!(input["events"], fs::read_to_string(&events).unwrap().lines().count());
    assert_eq!(input["truth_matched"], input["truth_thief_requests"]);
    assert_eq!((&input["unknown_fields"], &input["late"]), (&Value::Object(Default::default()), &0.into()));
    let overall = &report["overall"];
    assert_eq!(overall["found"]["of"], report["cases"].as_array().unwrap().len());
    assert!(overall["found"]["count"].as_u64() > Some(0), "{overall}");
    assert_eq!(
        overall["thief_served"].as_u64().unwrap() + overall["thief_refused"].as_u64().unwrap(),
        overall["thief_requests"].as_u64().unwrap()
    );

    pack(Path::new(&events));
    assert_eq!(run(&[&file("events.jsonl.gz")]), report, "packed or not is the same");

    // The lines dealt out to two files, one of them in another order within minutes.
    let text = fs::read_to_string(&events).unwrap();
    let (mut odd, mut even): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    text.lines().enumerate().for_each(|(i, line)| if i % 2 == 0 { even.push(line) } else { odd.push(line) });
    even.chunks_mut(2).for_each(<[&str]>::reverse);
    let (a, b) = (place.path("a.jsonl"), place.path("b.jsonl"));
    fs::write(&a, odd.join("\n")).unwrap();
    fs::write(&b, even.join("\r\n")).unwrap();
    let mut dealt = run(&[&a.display().to_string(), &b.display().to_string(), "--disorder", "12d"]);
    assert!(dealt["input"]["moved"].as_u64() > Some(0));
    dealt["input"]["moved"] = 0.into();
    assert!(dealt["notes"][0].as_str().is_some_and(|note| note.contains("came after later ones")));
    dealt["notes"] = report["notes"].clone();
    assert_eq!(dealt, report, "files are merged and put in order");
}

#[test]
fn without_truth_alerts_are_shown_with_their_reasons() {
    let place = Place::new();
    let events = format!("{}/events.jsonl", simulate(&place));
    let answer = place.ok(&["evaluate", "--learn-days", "7", "--events", &events]);
    assert!(answer.stdout.contains(" alerts would have been raised:\n"), "{answer:?}");
    assert!(answer.stdout.contains("\n  - "), "{answer:?}");
    assert!(
        answer.stderr.contains("warning: no truth was given: every request counts as the owner's"),
        "{answer:?}"
    );
    let report: Value = serde_json::from_str(
        &place.ok(&["evaluate", "--json", "--learn-days", "7", "--events", &events]).stdout,
    )
    .unwrap();
    let text = fs::read_to_string(&events).unwrap();
    let written = report["alerts"][0]["request_as_written"].as_str().unwrap();
    assert!(text.contains(&format!("\"{written}\"")), "{written}");
}

/// The notes about some events; people read them too.
#[track_caller]
fn check_notes(place: &Place, events: &str, more: &[&str], want: &[&str]) {
    let path = place.path("noted.jsonl");
    fs::write(&path, events).unwrap();
    let path = path.display().to_string();
    let answer = place.ok(&[&["evaluate", "--json", "--events", &path], more].concat());
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let notes: Vec<&str> = report["notes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(notes, want);
    let said: String = want.iter().map(|note| format!("warning: {note}\n")).collect();
    assert_eq!(answer.stderr, said);
}

#[test]
fn what_figures_do_not_say_is_noted() {
    let place = Place::new();
    let line = |day: u32| {
        format!("{{\"time\":\"2026-03-{day:02}T12:00:00Z\",\"key\":\"k\",\"request\":\"r-{day}\"}}\n")
    };
    let events: String = (1..6).map(line).collect();
    let (truth, profiles) = (place.path("truth.csv"), place.path("keys.csv"));
    fs::write(&truth, "request,attack\nr-1,\n").unwrap();
    fs::write(&profiles, "key,workload\nk,service\nelsewhere,team\nsk-0123456789abcdefghij,ci\n").unwrap();
    let (truth, profiles) = (truth.display().to_string(), profiles.display().to_string());
    let no_truth = "no truth was given: every request counts as the owner's and every alert as false, so `precision` says \
                    nothing";
    let no_thief = "the truth gives no request to a thief: every alert counts as false";
    let no_day =
        "no day counts: --learn-days or --score-from, with each key's first 24 hours, covers all of the data";
    check_notes(&place, &events, &[], &[no_truth]);
    check_notes(&place, &events, &["--truth", &truth, "--learn-days", "30"], &[no_day, no_thief]);
    let hidden = "2 keys of --profiles have no event: elsewhere, key_";
    let path = place.path("noted.jsonl").display().to_string();
    let answer = place.ok(&["evaluate", "--events", &path, "--truth", &truth, "--profiles", &profiles]);
    assert!(answer.stderr.contains(hidden) && !answer.stderr.contains("sk-0123"), "{answer:?}");
}

/// What is said of lines on standard input that are no events.
#[track_caller]
fn check_wrong(place: &Place, input: &str, more: &[&str], want: &str) {
    let mut command = place.command();
    command.args(["evaluate", "--events", "-"]).args(more);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.trim_end()), (Some(1), want));
    assert!(output.stdout.is_empty());
}

#[test]
fn wrong_lines_are_told_with_what_to_write() {
    let place = Place::new();
    let good = r#"{"time":"2026-03-01T12:00:00Z","key":"k","request":"r"}"#;
    check_wrong(
        &place,
        &format!(
            "{good}\n\n{{\"time\":\"yesterday\",\"key\":\"k\"}}\n{{\"time\":\"2026-03-01T12:00:00Z\"}}\n"
        ),
        &[],
        "error: standard input, line 3: field time: \"yesterday\" can not be read; write a time such as \
         \"2026-03-01T12:00:00.250Z\", or seconds, milliseconds or microseconds since 1970\nstandard input, line 4: \
         field key: missing; write the key's id or any other text that names it",
    );
    check_wrong(&place, "\n", &[], "error: the files hold no events");
    check_wrong(
        &place,
        "PAR1",
        &[],
        "error: standard input, line 1: not a JSON object: expected value at line 1 \
         column 1; write one event a line as {\"time\": …, \"key\": …}",
    );
    let truth = place.path("truth.csv").display().to_string();
    fs::write(&truth, "request,attack\nother,t1\n").unwrap();
    check_wrong(
        &place,
        good,
        &["--truth", &truth],
        "error: --truth: none of its 1 thief requests is among the events; the field `request` of both must hold the \
         same ids",
    );
    fs::write(&truth, "call,attack\nr,t1\n").unwrap();
    check_wrong(
        &place,
        good,
        &["--truth", &truth],
        &format!("error: {truth}: the first line must name the columns, such as request,attack"),
    );
    fs::write(&truth, "request,attack\nr,t1\nr,t2\n").unwrap();
    check_wrong(
        &place,
        good,
        &["--truth", &truth],
        &format!("error: {truth}, line 3: request \"r\" is given to two thefts; write each request once"),
    );
    let profiles = place.path("keys.csv").display().to_string();
    fs::write(&profiles, "key,workload\nk,server\n").unwrap();
    check_wrong(
        &place,
        good,
        &["--profiles", &profiles],
        &format!(
            "error: {profiles}, line 2: field workload: \"server\" is none; write unknown, service, pool, \
             ci, team, public_app"
        ),
    );
}

#[test]
fn a_fleets_rates_are_counted_written_and_read_again() {
    let place = Place::new();
    place.ok(&["simulate", "data", "--keys", "4", "--theft", "none"]);
    let events = place.path("data/events.jsonl").display().to_string();
    let file = place.path("rates.json").display().to_string();
    let replay = |more: &[&str]| {
        place.ok(&[&["evaluate", "--events", &events, "--learn-days", "7", "--json"], more].concat()).json()
    };
    let counted = replay(&["--write-fleet-rates", &file]);
    assert_eq!(counted["fleet_rates"]["used"], true, "{}", counted["fleet_rates"]);
    let shipped = replay(&["--fleet-rates", "shipped"]);
    assert_eq!(shipped["fleet_rates"], Value::Null);
    let read = replay(&["--fleet-rates", &file]);
    assert_eq!(read["fleet_rates"], Value::Null);
    assert_eq!(read["overall"]["owner_requests"], counted["overall"]["owner_requests"]);
    fs::write(&file, "[]").unwrap();
    let wrong = place.run(&["evaluate", "--events", &events, "--fleet-rates", &file]);
    assert!(wrong.code == 1 && wrong.stderr.contains("holds no fleet rates"), "{wrong:?}");
}

#[test]
fn events_can_not_be_mixed_with_a_fleet() {
    let place = Place::new();
    for option in ["--keys", "--calibration-keys", "--clean-keys"] {
        let answer = done(place.command().args(["evaluate", "--events", "x", option, "9"]));
        assert_eq!(answer.code, 2, "{answer:?}");
    }
    let answer = place.run(&["evaluate", "--truth", "x"]);
    assert_eq!(answer.code, 2, "{answer:?}");
}

#[test]
fn a_replay_for_people() {
    let place = Place::new();
    let (mut events, mut truth) = (String::new(), "request,attack\n".to_owned());
    for hour in 0..9 * 24 {
        let time = format!("2026-03-{:02}T{:02}", 2 + hour / 24, hour % 24);
        for key in ["billing", "search"] {
            events.push_str(&format!(
                "{{\"time\":\"{time}:10:00Z\",\"request\":\"{key}-{hour}\",\"key\":\"{key}\",\"address\":\"192.0.2.8\",\
                 \"user_agent\":\"OpenAI/Python 1.52.0\",\"provider\":\"openai\",\"model\":\"gpt-4o-mini\",\
                 \"template\":\"{key}\",\"input_tokens\":800,\"output_tokens\":90}}\n"
            ));
        }
        if hour >= 8 * 24 + 3 {
            let request = format!("thief-{hour}");
            truth.push_str(&format!("{request},stranger\n"));
            events.push_str(&format!(
                "{{\"time\":\"{time}:20:00Z\",\"request\":\"{request}\",\"key\":\"billing\",\"address\":\"185.220.101.5\",\
                 \"user_agent\":\"curl/8.5.0\",\"provider\":\"openai\",\"model\":\"gpt-4.1\",\"template\":\"{hour}\",\
                 \"input_tokens\":9000,\"output_tokens\":900,\"squad\":7}}\n"
            ));
        }
    }
    let (events_path, truth_path) = (place.path("events.jsonl"), place.path("truth.csv"));
    fs::write(&events_path, events).unwrap();
    fs::write(&truth_path, truth).unwrap();
    let (events, truth) = (events_path.display().to_string(), truth_path.display().to_string());
    let answer = place.run(&["evaluate", "--learn-days", "7", "--events", &events, "--truth", &truth]);
    let text = format!("{}\n{}(exit code {})\n", answer.stderr, answer.stdout, answer.code);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("evaluate_events", text);
    });
}

#[test]
fn methods_stand_beside_each_other_at_equal_false_alarms() {
    let place = Place::new();
    let args =
        ["evaluate", "--keys", "1", "--calibration-keys", "3", "--clean-keys", "1", "--theft-requests", "60"];
    let compared = |methods: &str| {
        let more = ["--attacks", "burst-resale,new-country,mimic", "--methods", methods];
        place.ok(&[&args[..], &more].concat()).stdout
    };
    let table = compared("layered,static_limits");
    let (_, table) = table.split_once("Method by method").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("static_limits ")).collect();
    assert_eq!(rows.len(), 4, "{table}");
    assert!(rows[0].contains("its own") && rows[0].ends_with("30 % at 0.50 %, below 1 ms"), "{table}");
    assert!(rows[3].contains("0.50 % (published)"), "{table}");
    assert!(!compared("static_limits").contains("Method by method"));
}
