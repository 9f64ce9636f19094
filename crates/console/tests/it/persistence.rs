//! What a stranger left at the providers, over the API: which are asked, with what, and what becomes of the answers.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::{Value, json};
use tokenwatch_console::persistence::{ProviderHost, ProviderPlace};
use tokenwatch_console::records::Role;
use tokenwatch_model::SmolStr;
use tokenwatch_model::artifact::{Answer, Question};
use tokenwatch_model::provider::{Dialect, SecretRef};

use crate::server::{START, Server};

/// Status and body, or why there is no answer.
type Said = Result<(u16, String), &'static str>;

/// Two providers; `openai` has two credentials. Everything that is not answered otherwise is an empty list.
#[derive(Default)]
pub(crate) struct TestProviders {
    /// Credential, start of the target, and the answer.
    answers: Mutex<Vec<(&'static str, &'static str, Said)>>,
    /// What was asked: provider, credential, target.
    asked: Mutex<Vec<(SmolStr, String, String)>>,
    /// While set, asking says that it began and waits for a word.
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl TestProviders {
    fn answer(
        &self,
        credential: &'static str,
        target: &'static str,
        answer: Result<(u16, Value), &'static str>,
    ) {
        let answer = answer.map(|(status, body)| (status, body.to_string()));
        self.answers.lock().unwrap().insert(0, (credential, target, answer));
    }

    /// Paths that were asked with a credential since the last call.
    fn paths(&self, of: &str) -> Vec<String> {
        let asked: Vec<_> = self.asked.lock().unwrap().drain(..).collect();
        let with = asked.into_iter().filter(|(_, credential, _)| credential == of);
        with.map(|(_, _, target)| target.split('?').next().unwrap().to_owned()).collect()
    }
}

impl ProviderHost for TestProviders {
    fn places(&self) -> Vec<ProviderPlace> {
        let place = |name: &str, dialect, credentials: &[&str]| ProviderPlace {
            name: name.into(),
            dialect,
            base_url: format!("https://{name}.example"),
            credentials: credentials.iter().map(|text| text.parse().unwrap()).collect(),
        };
        vec![
            place("openai", Dialect::OpenAi, &["env:ONE", "env:TWO"]),
            place("anthropic", Dialect::Anthropic, &["env:THREE"]),
        ]
    }

    fn ask(
        &self,
        place: &ProviderPlace,
        credential: &SecretRef,
        question: &Question,
    ) -> Result<Answer, String> {
        if let Some((began, go_on)) = &*self.gate.lock().unwrap() {
            began.send(()).unwrap();
            go_on.recv().unwrap();
        }
        let credential = credential.to_string();
        let answers = self.answers.lock().unwrap();
        let fits =
            |(of, target, _): &&(&str, &str, _)| *of == credential && question.target.starts_with(target);
        let answer = answers.iter().find(fits).map(|(_, _, answer)| answer.clone());
        self.asked.lock().unwrap().push((place.name.clone(), credential, question.target.clone()));
        match answer.unwrap_or(Ok((200, r#"{"data":[],"has_more":false}"#.to_owned()))) {
            Ok((status, body)) => Ok(Answer { status, body: body.into_bytes() }),
            Err(why) => Err(why.to_owned()),
        }
    }
}

/// A list of files, newest first: ids, and seconds after the start.
fn files(entries: &[(&str, u64)], has_more: bool) -> Value {
    let entry = |(id, after): &(&str, u64)| json!({ "id": id, "created_at": START.seconds() + after, "filename": "a" });
    json!({ "data": entries.iter().map(entry).collect::<Vec<_>>(), "has_more": has_more })
}

fn ids(out: &Value) -> Vec<&str> {
    out["found"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[test]
fn every_provider_of_the_key_is_asked_with_each_credential() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let path = format!("/api/v1/incidents/{}", server.steal(key));
    let check = |body: Value| server.ask(Role::Responder, "POST", &format!("{path}/persistence"), Some(body));
    let out = check(json!({})).expect(200).json();
    assert_eq!((&out["verdict"], out["asked"].as_array().unwrap().len()), (&json!("nothing"), 3));
    assert_eq!(server.changes.load(std::sync::atomic::Ordering::Acquire), 1);
    let all = ["/v1/files", "/v1/fine_tuning/jobs", "/v1/batches", "/v1/assistants", "/v1/vector_stores"];
    assert_eq!(server.providers.paths("env:ONE"), all);
    check(json!({})).expect(200);
    assert_eq!(server.providers.paths("env:THREE"), ["/v1/files", "/v1/messages/batches"]);

    // Both credentials see the same account, over two pages; the second sees more.
    server.providers.answer("env:ONE", "/v1/files", Ok((200, files(&[("file-3", 9), ("file-2", 8)], true))));
    let page = files(&[("file-1", 7)], false);
    server.providers.answer("env:ONE", "/v1/files?limit=100&order=desc&after=file-2", Ok((200, page)));
    server.providers.answer("env:TWO", "/v1/files", Ok((200, files(&[("file-4", 9), ("file-3", 9)], false))));
    // One list that may not be read, and one that is none, take nothing from the rest.
    let refused = json!({ "error": { "message": "missing scope" } });
    server.providers.answer("env:TWO", "/v1/batches", Ok((403, refused.clone())));
    server.providers.answer("env:TWO", "/v1/assistants", Ok((403, refused)));
    server.providers.answer("env:TWO", "/v1/vector_stores", Ok((200, json!("welcome"))));
    let out = check(json!({ "accounted": ["file-1"] })).expect(200).json();
    assert_eq!((&out["verdict"], ids(&out)), (&json!("found"), vec!["file-1", "file-2", "file-3", "file-4"]));
    assert_eq!(out["found"][0]["accounted"]["who"], "admin:responder");
    assert_eq!(
        (&out["found"][2]["credential"], &out["found"][3]["credential"]),
        (&json!("env:ONE"), &json!("env:TWO"))
    );
    assert_eq!(out["found"][3]["call"], "nobody");
    assert_eq!(
        out["found"][3]["remove"][0],
        "printf 'Authorization: Bearer %s' \"$TWO\" | curl -sS -X DELETE -H @- https://openai.example/v1/files/file-4"
    );
    assert_eq!(
        out["asked"][1]["failed"],
        json!([
            { "kinds": ["batch", "assistant"], "why": "403: missing scope" },
            { "kinds": ["vector_store"], "why": "its answer is no list: it has another form" },
        ])
    );
    let shown = server.ask(Role::Viewer, "GET", &path, None).expect(200).json();
    assert_eq!(shown["incident"]["handling"]["persistence"]["found"].as_array().unwrap().len(), 4);
    let audit = server.ask(Role::Viewer, "GET", "/api/v1/audit?limit=1", None).expect(200).json();
    assert_eq!(audit["rows"][0]["entry"]["action"], "incident.persistence");
}

#[test]
fn whoever_does_not_answer_is_not_asked_again_and_again() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let path = format!("/api/v1/incidents/{}/persistence", server.steal(key));
    server.providers.answer("env:ONE", "/v1/fine_tuning", Err("no answer within 20 s"));
    server.providers.answer("env:TWO", "/v1/files", Ok((401, json!({ "error": "who are you" }))));
    let out = server.ask(Role::Responder, "POST", &path, Some(json!({}))).expect(200).json();
    assert_eq!(out["verdict"], "not_asked");
    assert_eq!(out["asked"][0]["kinds"], json!(["file"]));
    let rest = json!(["fine_tuning_job", "batch", "assistant", "vector_store"]);
    assert_eq!(out["asked"][0]["failed"], json!([{ "kinds": rest, "why": "no answer within 20 s" }]));
    assert_eq!(out["asked"][1]["failed"][0]["why"], "401: who are you");
    assert_eq!(server.providers.paths("env:ONE"), ["/v1/files", "/v1/fine_tuning/jobs"]);
    server.ask(Role::Responder, "POST", &path, None).expect(200);
    assert_eq!(server.providers.paths("env:TWO"), ["/v1/files"]);
}

#[test]
fn scope_role_and_kind_of_incident_decide() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let incident = server.steal(key);
    let path = format!("/api/v1/incidents/{incident}/persistence");
    server.ask(Role::Viewer, "POST", &path, None).expect_error(403, "role_too_low", None);
    let wrong = server.ask(Role::Responder, "POST", &path, Some(json!({ "accounts": [] })));
    wrong.expect_error(400, "invalid", Some("accounts"));
    let many = server.ask(Role::Responder, "POST", &path, Some(json!({ "accounted": vec!["x"; 1_001] })));
    many.expect_error(400, "invalid", Some("accounted"));
    server.ask(Role::Responder, "POST", "/api/v1/incidents/inc_x/persistence", None).expect_error(
        404,
        "not_found",
        None,
    );
    let scope = json!({ "policy": { "scope": { "providers": ["anthropic"] } } });
    server.ask(Role::Admin, "PATCH", &format!("/api/v1/keys/{key}"), Some(scope)).expect(200);
    let out = server.ask(Role::Responder, "POST", &path, None).expect(200).json();
    assert_eq!(out["asked"].as_array().unwrap().len(), 1);
    // Nobody else asks meanwhile.
    let (began, waits) = channel();
    let (go, go_on) = channel();
    *server.providers.gate.lock().unwrap() = Some((began, go_on));
    std::thread::scope(|threads| {
        let first = threads.spawn(|| server.ask(Role::Responder, "POST", &path, None).expect(200).json());
        waits.recv().unwrap();
        server.ask(Role::Responder, "POST", &path, None).expect_error(409, "conflict", None);
        go.send(()).unwrap();
        waits.recv().unwrap();
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap()["verdict"], "nothing");
    });
    *server.providers.gate.lock().unwrap() = None;
    let dismiss = format!("/api/v1/incidents/{incident}/dismiss");
    server.ask(Role::Responder, "POST", &dismiss, Some(json!({}))).expect(200);
    server.ask(Role::Responder, "POST", &path, None).expect_error(409, "not_possible", None);
}
