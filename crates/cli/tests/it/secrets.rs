//! Nothing secret is left behind: not in the state directory, a log, an output or a metric.

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokenwatch_model::secret::Secret;

use crate::harness::{Done, Mock, PROVIDER_KEY, Place, Server, Start, chat_with, wait_for};

const PROMPT: &str = "the launch code of the moon rocket is plover-ziggurat-17";
const SYSTEM: &str = "you are the vault keeper of quixotic-hamster-42";
const QUERY: &str = "planted-in-a-query-29f1";
const COOKIE: &str = "planted-in-a-cookie-77aa";

/// Searches bytes, in plain, JSON-escaped or hexadecimal form.
fn holds(bytes: &[u8], secret: &str) -> bool {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    [secret, &hex].into_iter().any(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes()))
}

/// A body that holds secrets.
fn secret_body(model: &str, stream: bool) -> Value {
    let messages = json!([{ "role": "system", "content": SYSTEM }, { "role": "user", "content": PROMPT }]);
    json!({ "model": model, "stream": stream, "messages": messages, "user": PROMPT })
}

/// What works, what is refused, and what breaks at every place it can.
fn exercise(server: &Server, good: &Secret, dead: &Secret) {
    let client = server.client();
    for fail in ["", "reset", "reset-after=40", "garbage", "short-body", "401", "429", "500", "529"] {
        for stream in [false, true] {
            let mut headers = vec![("cookie", COOKIE), ("x-mock-chunks", "5")];
            if !fail.is_empty() {
                headers.push(("x-mock-fail", fail));
            }
            let _ = client.send(chat_with(good, &secret_body("gpt-4o-mini", stream), &headers));
        }
    }
    // The server is killed while this one hangs.
    let (hanging, request) =
        (server.client(), chat_with(good, &secret_body("m", true), &[("x-mock-fail", "hang-after=2")]));
    std::thread::spawn(move || hanging.send(request));
    let forged = Secret::new(format!("{}x", good.expose()));
    for key in [&forged, &Secret::new(PROVIDER_KEY), dead] {
        assert!(client.send(chat_with(key, &secret_body(PROMPT, false), &[])).is_ok());
    }
    let post = |uri: &str, header: &str, body: &str| {
        let value = if header == "authorization" {
            format!("Bearer {}", good.expose())
        } else {
            good.expose().to_owned()
        };
        let request = Request::builder().method("POST").uri(uri).header("content-type", "application/json");
        let request = request.header(header, value).body(Full::from(body.to_owned())).unwrap();
        let _ = client.send(request);
    };
    let body = secret_body("claude-x", true).to_string();
    post(&format!("/v1/chat/completions?key={}&q={QUERY}", good.expose()), "x-other", &body);
    post(&format!("/v1/chat/completions?key={QUERY}"), "x-api-key", PROMPT);
    post("/v1/chat/completions", "authorization", PROMPT);
    post("/v1/messages", "x-api-key", &body);
    post(&format!("/nowhere/{QUERY}"), "api-key", PROMPT);
    assert_eq!(client.status(good), 200);
}

/// Commands and their outputs, a mistaken configuration among them.
fn ask_everything(place: &Place, mock: &Mock) -> Vec<Done> {
    let mut outputs: Vec<Done> = [
        &["key", "list", "--json"][..],
        &["key", "show", "dead"],
        &["audit", "show", "--json"],
        &["provider", "list"],
        &["provider", "list", "--json"],
        &["check"],
        &["incident", "list", "--all", "--json"],
    ]
    .iter()
    .map(|args| place.run(args))
    .collect();
    // A secret where a reference belongs.
    let reference = format!("file:{}", place.path("provider.key").display());
    std::fs::write(place.path("wrong.toml"), place.config(mock, "").replace(&reference, PROVIDER_KEY))
        .unwrap();
    outputs.push(place.run(&["check", "--config", "wrong.toml"]));
    std::fs::remove_file(place.path("wrong.toml")).unwrap();
    outputs
}

#[test]
fn planted_secrets_are_found_nowhere() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "[log]\nlevel = \"trace\"\n[storage]\ncheckpoint_every_s = 1\n");
    let (good, dead) = (place.issue("good", &[]), place.issue("dead", &[]));
    let server = place.serve();
    exercise(&server, &good, &dead);
    let reason = format!("found {} on a wall", dead.expose());
    let revoked = place.ok(&["key", "revoke", "dead", "--reason", &reason]);
    wait_for("the end of a key", || (server.client().status(&dead) == 401).then_some(()));
    let paths = ["/metrics", "/api/v1/live", "/api/v1/keys", "/api/v1/audit", "/api/v1/providers"];
    let exposed = paths.map(|path| server.admin_text(path));
    server.kill();
    let server = place.serve();
    assert_eq!(server.client().status(&good), 200);
    assert_eq!(server.client().status(&dead), 401);
    server.stop();
    let mut outputs = ask_everything(&place, &mock);
    outputs.push(revoked);

    let tails = [&good, &dead].map(|key| key.expose().rsplit('-').next().unwrap().to_owned());
    let secrets = [PROMPT, SYSTEM, QUERY, COOKIE, PROVIDER_KEY, tails[0].as_str(), tails[1].as_str()];
    let mut looked = 0;
    for file in place.files().iter().filter(|file| **file != place.path("provider.key")) {
        let bytes = std::fs::read(file).unwrap();
        looked += bytes.len();
        for secret in secrets {
            assert!(!holds(&bytes, secret), "{secret} is in {}", file.display());
        }
    }
    for text in outputs.iter().flat_map(|done| [&done.stdout, &done.stderr]).chain(&exposed) {
        for secret in secrets {
            assert!(!holds(text.as_bytes(), secret), "{secret} was printed: {text}");
        }
    }
    // The search itself works, and there was something to search.
    assert!(holds(&std::fs::read(place.path("provider.key")).unwrap(), PROVIDER_KEY));
    assert!(looked > 100_000, "{looked}");
}

#[test]
fn the_first_key_is_printed_and_nowhere_else() {
    let mock = Mock::start();
    let place = Place::new();
    place.configure(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[server]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"trace\"\n",
    );
    let mut start = Start::default();
    start.env.insert("OPENAI_API_KEY", PROVIDER_KEY.to_owned());
    start.env.insert("OPENAI_UPSTREAM_URL", format!("http://{}", mock.address));
    let server = place.serve_with(start);
    let printed = server.stdout();
    let secrets: Vec<&str> = printed
        .split_whitespace()
        .filter(|word| word.starts_with("sk-tw-") || word.starts_with("twa_"))
        .collect();
    assert_eq!(secrets.len(), 2, "{printed}");
    assert_eq!(
        server.client().status(&Secret::new(*secrets.iter().find(|s| s.starts_with("sk-")).unwrap())),
        200
    );
    server.stop();
    for file in place.files().iter().filter(|file| !file.to_string_lossy().contains("stdout.")) {
        let bytes = std::fs::read(file).unwrap();
        for secret in secrets.iter().copied().chain([PROVIDER_KEY]) {
            assert!(!holds(&bytes, secret), "{secret} is in {}", file.display());
        }
    }
}
