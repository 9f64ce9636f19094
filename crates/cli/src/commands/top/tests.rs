//! Pictures of the screen, and what keys and looks make of it.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tokenwatch_console::api::shapes::{Known, LiveKey, Suspect};
use tokenwatch_model::id::KeyId;
use tokenwatch_model::key::Mode;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::Timestamp;

use super::plain::{days, describe, per_second, spark};
use super::state::Sort;
use super::*;

fn key(name: &str, per_second: u64) -> LiveKey {
    LiveKey {
        id: KeyId::from_bits(name.bytes().fold(7, |id, byte| id.wrapping_mul(31) + u64::from(byte))),
        name: name.into(),
        state: "active".into(),
        mode: Mode::Contain,
        requests_by_second: (0..60).map(|second| per_second * (1 + second % 5) / 3).collect(),
        in_flight: 2,
        spent_day: NanoUsd::from_cents(per_second * 100),
        spent_month: NanoUsd::from_cents(per_second * 2_000),
        forwarded: per_second * 900,
        refused: 0,
        containments: Vec::new(),
        score_days: 0.0,
        known: Known { prefixes: 3, networks: 2, countries: 1, clients: 2, models: 3, templates: 9 },
        suspects: Vec::new(),
        last_used: Some(Timestamp::from_seconds(1_772_366_400)),
    }
}

fn stolen() -> LiveKey {
    let newcomer = Suspect {
        context: "network AS64500 (NL, hosting), client axios".to_owned(),
        once_in_days: 4_000.0,
        first_seen: Timestamp::from_seconds(1_772_366_300),
        requests: 40,
        forwarded: 12,
        cost: NanoUsd::from_cents(37),
        alerted: true,
    };
    LiveKey {
        refused: 28,
        containments: vec!["refuse_context: a newcomer from AS64500 with axios spends fast".to_owned()],
        score_days: 4_000.0,
        suspects: vec![newcomer],
        ..key("search-prod", 4)
    }
}

fn live(keys: Vec<LiveKey>) -> Live {
    Live {
        time: Timestamp::from_seconds(1_772_366_400),
        draining: false,
        connections: 15,
        incidents_open: 1,
        keys_known: 1_234,
        in_flight: 6,
        requests_by_second: (0..60).map(|second| second % 7).collect(),
        spent_day: NanoUsd::from_cents(4_210),
        spent_month: NanoUsd::from_cents(100_000),
        keys,
    }
}

fn some() -> Live {
    let revoked = LiveKey { state: "revoked".into(), mode: Mode::Full, ..key("old-batch", 0) };
    live(vec![key("billing", 1), revoked, stolen(), key("nightly-evaluation", 60)])
}

fn top_with(live: Live) -> Top {
    let mut top = Top::new("127.0.0.1:8081".to_owned(), Duration::from_secs(1));
    top.take(live);
    top
}

fn picture(top: &mut Top, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, top)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn the_screen_shows_keys_and_the_selected_one_in_detail() {
    let mut top = top_with(some());
    top.press(Input::Down(1));
    insta::assert_snapshot!("screen", picture(&mut top, 140, 30));
}

#[test]
fn a_small_window_shows_the_table_alone() {
    insta::assert_snapshot!("small_screen", picture(&mut top_with(some()), 80, 8));
}

#[test]
fn no_window_is_too_small() {
    for (width, height) in [(1, 1), (3, 2), (10, 5), (20, 24), (200, 3)] {
        picture(&mut top_with(some()), width, height);
        picture(&mut Top::new("127.0.0.1:8081".to_owned(), Duration::from_secs(1)), width, height);
    }
}

#[test]
fn what_is_wrong_is_said_and_what_was_seen_stays() {
    let mut top = Top::new("127.0.0.1:8081".to_owned(), Duration::from_secs(1));
    assert!(picture(&mut top, 80, 6).contains("asking 127.0.0.1:8081"));
    top.fail("no server answers".to_owned());
    assert!(picture(&mut top, 80, 6).contains("no server answers"));
    top.take(some());
    assert!(!picture(&mut top, 80, 6).contains("no server answers"));
    top.fail("no server answers".to_owned());
    top.silent_s = 12;
    let shown = picture(&mut top, 120, 10);
    assert!(shown.contains("no answer since 12 s, trying again: no server answers"), "{shown}");
    assert!(shown.contains("search-prod"));
}

#[test]
fn silence_is_told_after_more_than_one_interval() {
    let mut top = Top::new("127.0.0.1:8081".to_owned(), Duration::from_secs(60));
    top.take(some());
    for (silent_s, is_told) in [(59, false), (62, false), (63, true)] {
        top.silent_s = silent_s;
        assert_eq!(picture(&mut top, 80, 6).contains("no answer since"), is_told, "{silent_s}");
    }
}

#[test]
fn the_selected_key_stays_selected_when_rows_change_places() {
    let mut top = top_with(some());
    let names = |top: &Top| top.keys().iter().map(|key| key.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&top), ["nightly-evaluation", "search-prod", "billing", "old-batch"]);
    top.press(Input::Down(1));
    for (sort, first) in [
        (Sort::SpentDay, "nightly-evaluation"),
        (Sort::Score, "search-prod"),
        (Sort::Refused, "search-prod"),
        (Sort::Name, "billing"),
        (Sort::Rate, "nightly-evaluation"),
    ] {
        top.press(Input::Sort);
        assert_eq!((top.sort, names(&top)[0].as_str()), (sort, first));
        assert_eq!(top.selected().unwrap().name, "search-prod");
    }
    top.press(Input::Down(usize::MAX));
    assert_eq!(top.selected().unwrap().name, "old-batch");
    top.press(Input::Up(usize::MAX));
    assert_eq!(top.selected().unwrap().name, "nightly-evaluation");
    top.take(live(vec![key("billing", 1)]));
    assert_eq!(top.selected().unwrap().name, "billing");
    top.take(live(Vec::new()));
    assert!(top.selected().is_none() && top.press(Input::Down(1)));
}

#[test]
fn a_paused_screen_stands_still() {
    let mut top = top_with(some());
    top.press(Input::Pause);
    top.take(live(Vec::new()));
    assert_eq!(top.keys().len(), 4);
    top.press(Input::Pause);
    top.take(live(Vec::new()));
    assert!(top.keys().is_empty());
    assert!(!top.press(Input::Quit));
}

#[test]
fn the_selected_row_is_always_on_the_screen() {
    let mut top = top_with(live((0..50).map(|i| key(&format!("key {i:02}"), 50 - i)).collect()));
    for input in
        [Input::Down(10), Input::Down(30), Input::Up(15), Input::Down(usize::MAX), Input::Up(usize::MAX)]
    {
        top.press(input);
        let name = top.selected().unwrap().name.clone();
        assert!(picture(&mut top, 100, 12).contains(name.as_str()), "{name}");
    }
}

#[test]
fn plain_text_has_the_same_figures() {
    insta::assert_snapshot!("plain", describe(&some()));
    assert!(describe(&live(Vec::new())).contains("No key was used"));
}

#[test]
fn figures_are_short() {
    assert_eq!([0.0, 0.04, 1.25, 9.94, 9.96, 123.4].map(per_second), ["0", "0.0", "1.2", "9.9", "10", "123"]);
    assert_eq!([0.0, 0.5, 12.4, 4_000.0, 1e9].map(days), ["-", "<1 d", "12 d", "11 y", ">1000 y"]);
    assert_eq!(spark(&[0, 1, 4, 8], 4), " ▁▄█");
    assert_eq!(spark(&[0, 1, 4, 4], 2), "▁█");
    assert_eq!(spark(&[u64::MAX / 2; 2], 2), "██");
    assert_eq!(spark(&[9, 1, 1, 1, 1], 3), "█▂▂");
    assert_eq!(spark(&[], 4), "");
}

#[test]
fn the_address_is_a_place_that_may_see_the_token() {
    let check = |url: &str, is_local: bool| {
        Server::new(url, PathBuf::new(), is_local).map(|s| s.address().to_owned())
    };
    assert_eq!(check("http://127.0.0.1:8081", true).unwrap(), "127.0.0.1:8081");
    assert_eq!(check("http://[::1]:8081/", true).unwrap(), "[::1]:8081");
    assert_eq!(check("http://localhost", true).unwrap(), "localhost:80");
    assert_eq!(check("http://10.0.0.5:8081", false).unwrap(), "10.0.0.5:8081");
    for (url, is_local) in [
        ("http://10.0.0.5:8081", true),
        ("http://localhost.example.com:8081", true),
        ("https://127.0.0.1:8081", true),
        ("http://127.0.0.1:8081/api", true),
        ("127.0.0.1:8081", true),
        ("", true),
    ] {
        assert!(check(url, is_local).is_err(), "{url}");
    }
    assert_eq!(url_of("0.0.0.0:8081".parse().unwrap()), "http://127.0.0.1:8081");
    assert_eq!(url_of("[::]:8081".parse().unwrap()), "http://[::1]:8081");
    assert_eq!(url_of("10.0.0.5:9".parse().unwrap()), "http://10.0.0.5:9");
}

#[test]
fn a_server_that_is_away_or_a_token_that_is_missing_says_what_to_do() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let missing = Server::new("http://127.0.0.1:1", dir.path().join("none"), true).unwrap();
    assert!(matches!(runtime.block_on(missing.get::<Live>(LIVE)), Err(AskError::NoToken { .. })));
    let file = dir.path().join("token");
    std::fs::write(&file, "twa_x\n").unwrap();
    // Nothing listens on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = Server::new(&format!("http://{free}"), file, true).unwrap();
    let error = runtime.block_on(away.get::<Live>(LIVE)).unwrap_err();
    assert!(error.to_string().contains("is `tokenwatch serve` running?"), "{error}");
}

/// What a look makes of an answer.
fn look_at(status: &str, body: &str) -> Result<Live, AskError> {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "twa_x\n").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let looked = runtime.block_on(Server::new(&url, file, true).unwrap().get::<Live>(LIVE));
    assert!(server.join().unwrap().contains("authorization: Bearer twa_x\r\n"));
    looked
}

#[test]
fn a_look_reads_the_answer_or_says_why_not() {
    let live = some();
    assert_eq!(look_at("200 OK", &serde_json::to_string(&live).unwrap()).unwrap(), live);
    let refusal = r#"{"error":{"code":"unknown_token","message":"no such admin token","field":null}}"#;
    let refused = look_at("401 Unauthorized", refusal).unwrap_err();
    assert_eq!(refused.to_string(), "the server refuses: no such admin token");
    assert!(matches!(look_at("200 OK", "<html>"), Err(AskError::Foreign { .. })));
    assert!(matches!(look_at("404 Not Found", "nothing"), Err(AskError::Foreign { .. })));
}
