//! What a thief leaves at the provider: asked of the provider itself, through the gateway and past it, and removed.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tokenwatch_model::secret::Secret;
use tokenwatch_testkit::client::Answer;
use tokenwatch_testkit::sim::SimRequest;

use crate::harness::{Client, Done, Mock, PROVIDER_KEY, Place, Server, wait_for};
use crate::past::{self, Stolen};
use crate::receiver::Receiver;

const UPLOAD: &str = "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"loot.jsonl\"\r\n\r\n{\"custom_id\":\"1\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"model\":\"gpt-4o-mini\",\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}}\r\n--b--\r\n";
const FORM: &str = "multipart/form-data; boundary=b";

/// A call as the sender of a request makes them: its address, its software.
fn call(
    like: Option<&SimRequest>,
    key: &Secret,
    method: Method,
    path: &str,
    typed: &str,
    body: &str,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {}", key.expose()))
        .header("content-type", typed);
    if let Some(like) = like {
        request = request.header("x-forwarded-for", like.source.to_string());
        for (name, value) in
            like.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type"))
        {
            request = request.header(name, value);
        }
    }
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice::<Value>(&answer.body).unwrap()["id"].as_str().unwrap().to_owned()
}

/// Does something at the provider itself, with its credential.
fn at_provider(address: SocketAddr, method: Method, path: &str, age_s: u64) -> Answer {
    let mut request = call(None, &Secret::new(PROVIDER_KEY), method, path, FORM, UPLOAD);
    request.headers_mut().insert("x-mock-age-s", age_s.into());
    Client::new(address).send(request).unwrap()
}

/// A server that only observes at first, and a key that may upload files and make batches.
fn configure(mock: &Mock) -> (Place, Stolen) {
    let place = Place::with_config(mock, "[containment]\nmode = \"observe\"\n");
    let stolen = past::stolen(&place, "search-prod");
    let endpoints =
        ["chat_completions", "completions", "embeddings", "responses", "files", "batches", "models"];
    let endpoints: Vec<&str> = endpoints.iter().flat_map(|endpoint| ["--endpoint", endpoint]).collect();
    place.ok(&[&["key", "edit", "search-prod"], endpoints.as_slice()].concat());
    (place, stolen)
}

/// The thief calls until an incident is open; its id.
fn open_incident(place: &Place, server: &Server, stolen: &Stolen) -> String {
    let client = server.client();
    stolen.thief.iter().for_each(|request| drop(client.send_sim(request, &stolen.key)));
    wait_for("an incident", || {
        let listed = place.ok(&["incident", "list", "--json"]).json();
        Some(listed.as_array()?.first()?["id"].as_str()?.to_owned())
    })
}

#[track_caller]
fn check(place: &Place, args: &[&str], code: i32) -> Value {
    let done: Done = place.run(&[&["incident", "persistence"], args, &["--json"]].concat());
    assert_eq!(done.code, code, "{done:?}");
    assert!(!done.stdout.contains(PROVIDER_KEY) && !done.stderr.contains(PROVIDER_KEY), "{done:?}");
    done.json()
}

fn step(place: &Place, incident: &str) -> (String, String) {
    let runbook = place.ok(&["incident", "runbook", incident, "--json"]).json();
    let steps = runbook["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["id"] == "check_persistence").unwrap();
    (step["state"].as_str().unwrap().to_owned(), step["why"].as_str().unwrap().to_owned())
}

fn ids(out: &Value) -> Vec<String> {
    let found = out["found"].as_array().unwrap();
    let mut ids: Vec<String> = found.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn what_a_thief_left_is_found_removed_and_then_nothing_is_left() {
    let mock = Mock::start();
    let (place, stolen) = configure(&mock);
    let before = id(&at_provider(mock.address, Method::POST, "/v1/files", 7_200));
    let server = place.serve();
    let incident = open_incident(&place, &server, &stolen);
    assert!(step(&place, &incident).1.starts_with("no provider was asked yet"));

    let client = server.client();
    let thief = stolen.thief.first();
    let make = |path: &str, typed: &str, body: &str| {
        id(&client.send(call(thief, &stolen.key, Method::POST, path, typed, body)).unwrap())
    };
    let file = make("/v1/files", FORM, UPLOAD);
    let batch =
        json!({ "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h" });
    let batch = make("/v1/batches", "application/json", &batch.to_string());
    let past_it = id(&at_provider(mock.address, Method::POST, "/v1/files", 0));
    // Whose call it was is read from the events: they are on disk before they are asked for.
    wait_for("the thief's calls", || {
        let endpoints = past::journalled(&place).into_iter().map(|event| event.request.endpoint.name());
        endpoints.into_iter().any(|endpoint| endpoint == "batches").then_some(())
    });

    let out = check(&place, &[&incident], 3);
    let mut want = vec![batch.clone(), file.clone(), past_it.clone()];
    want.sort();
    assert_eq!((ids(&out), out["verdict"].as_str().unwrap()), (want, "found"));
    assert!(!out.to_string().contains(&before), "created before the stranger came");
    let found = out["found"].as_array().unwrap();
    let of = |id: &str| found.iter().find(|one| one["id"] == id).unwrap();
    assert_eq!((&of(&batch)["call"], &of(&batch)["kind"]), (&json!("stranger"), &json!("batch")));
    // Two files and one call, seconds apart at most: which of them it made can not be told, or it can.
    assert!(["nobody", "unclear"].contains(&of(&past_it)["call"].as_str().unwrap()), "{out:#}");
    let remove = of(&past_it)["remove"][0].as_str().unwrap();
    let reference = place.path("provider.key").display().to_string();
    assert_eq!(
        remove,
        format!(
            "printf 'Authorization: Bearer %s' \"$(cat {reference})\" | curl -sS -X DELETE -H @- \
             http://{}/v1/files/{past_it}",
            mock.address
        )
    );
    let (state, why) = step(&place, &incident);
    assert!(state == "open" && why.contains("2 files, 1 batch") && why.contains(&past_it), "{why}");
    let shown = place.ok(&["incident", "show", &incident]).stdout;
    assert!(
        shown.contains("checked persistence at openai: 2 files, 1 batch, anthropic: nothing since "),
        "{shown}"
    );
    assert!(place.ok(&["audit", "show"]).stdout.contains("incident.persistence"));
    let text = place.run(&["incident", "persistence", &incident]);
    assert!(text.code == 3 && text.stdout.contains("loot.jsonl, purpose batch"), "{text:?}");

    // The files are removed as the output says; a batch that was cancelled stays listed, and a person accounts for it.
    for id in [&file, &past_it] {
        assert_eq!(at_provider(mock.address, Method::DELETE, &format!("/v1/files/{id}"), 0).status, 200);
    }
    assert_eq!(ids(&check(&place, &[&incident], 3)), [batch.as_str()]);
    let out = check(&place, &[&incident, "--accounted", &batch, "--accounted", "file-nobody"], 0);
    assert_eq!((&out["verdict"], &out["unknown"]), (&json!("nothing"), &json!(["file-nobody"])));
    let (state, why) = step(&place, &incident);
    assert!(state == "open" && why.contains("the stranger is not stopped"), "{why}");
    place.ok(&["incident", "contain", "search-prod", "--action", "suspend", "--reason", "theft"]);
    // Over the API of the running server, as a responder.
    let path = format!("/api/v1/incidents/{incident}/persistence");
    assert_eq!(server.admin_post(&path, "{}")["verdict"], "nothing");
    let (state, why) = step(&place, &incident);
    assert!(state == "done" && why.contains("accounted for by cli:tester"), "{why}");
    server.stop();
    // What asked with the provider's credential left it nowhere.
    for file in place.files().iter().filter(|file| **file != place.path("provider.key")) {
        let bytes = std::fs::read(file).unwrap();
        let holds = bytes.windows(PROVIDER_KEY.len()).any(|window| window == PROVIDER_KEY.as_bytes());
        assert!(!holds, "{}", file.display());
    }
}

#[test]
fn what_can_not_be_asked_is_never_nothing() {
    let mock = Mock::start();
    let (place, stolen) = configure(&mock);
    let server = place.serve();
    let incident = open_incident(&place, &server, &stolen);
    server.stop();
    // The mock knows this path but not this key: every list is refused.
    let wrong = place.path("wrong.key");
    std::fs::write(&wrong, "sk-nobody-0123456789").unwrap();
    let second = format!("credentials = [\"file:{}\"", place.path("provider.key").display());
    let text = std::fs::read_to_string(place.path("tokenwatch.toml")).unwrap();
    let both = text.replacen(&second, &format!("{second}, \"file:{}\"", wrong.display()), 1);
    place.configure(&both);
    let out = check(&place, &[&incident], 1);
    assert_eq!(out["verdict"], "not_asked");
    assert_eq!(out["asked"][0]["failed"], json!([]));
    let why = out["asked"][1]["failed"][0]["why"].as_str().unwrap();
    assert_eq!(why, "401: The API key is not valid.");
    let (state, told) = step(&place, &incident);
    assert!(state == "open" && told.contains("openai could not be asked: 401"), "{told}");
    // What the other credential sees is told all the same.
    let file = id(&at_provider(mock.address, Method::POST, "/v1/files", 0));
    assert_eq!(ids(&check(&place, &[&incident], 3)), [file.as_str()]);
    check(&place, &[&incident, "--accounted", &file], 1);

    // A key that may use one provider only; its credential may not list, and then it is away.
    place.ok(&["key", "edit", "search-prod", "--provider", "anthropic"]);
    let elsewhere = |address: &str| {
        let section = |address: &str| format!("dialect = \"anthropic\"\nbase_url = \"http://{address}");
        place.configure(&both.replacen(&section(&mock.address.to_string()), &section(address), 1));
    };
    let strict = Receiver::start(|_| "403 Forbidden".to_owned());
    elsewhere(&strict.address.to_string());
    let out = check(&place, &[&incident], 1);
    assert_eq!(out["asked"][0]["failed"], json!([{ "kinds": ["file", "batch"], "why": "403" }]));
    assert!(step(&place, &incident).1.contains("anthropic could not be asked: 403"));
    elsewhere("127.0.0.1:1");
    let out = check(&place, &[&incident], 1);
    let asked = out["asked"].as_array().unwrap();
    assert_eq!((asked.len(), &asked[0]["kinds"]), (1, &json!([])));
    assert!(asked[0]["failed"][0]["why"].as_str().unwrap().starts_with("no connection: "), "{out:#}");
    let text = place.run(&["incident", "persistence", &incident]);
    assert!(
        text.code == 1 && text.stdout.contains("anthropic could not be asked: no connection"),
        "{text:?}"
    );
    assert!(!text.stdout.contains("nothing was found"), "{text:?}");
    assert_eq!(place.run(&["incident", "persistence", "inc_nobody"]).code, 1);
}
