//! After a theft: the runbook by its commands, and a proposed step taken by the signed link of an alert.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;

use crate::harness::{Client, Mock, Place, Server, wait_for};
use crate::past;
use crate::receiver::Receiver;

/// A server that only observes, and a webhook that gets signed links.
fn configure(mock: &Mock, hook: &Receiver) -> Place {
    let place = Place::with_config(mock, "");
    std::fs::write(place.path("hook.url"), format!("http://{}/tokenwatch", hook.address)).unwrap();
    std::fs::write(place.path("sign.key"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let path = |name: &str| place.path(name).display().to_string();
    let more = format!(
        "[containment]\nmode = \"observe\"\n[[containment.runbook]]\nid = \"legal\"\ntitle = \"Call legal\"\n\
         who = \"legal@example.com\"\ndue_minutes = 30\nafter = \"rotate\"\n\
         [alerts.links]\naddress = \"http://127.0.0.1:8081\"\nto = [\"hook\"]\n\
         [alerts.destination.hook]\nkind = \"webhook\"\nurl = \"file:{}\"\nsecret = \"file:{}\"\n\
         [[alerts.route]]\nname = \"all\"\nto = [\"hook\"]\ngroup_s = 0\n",
        path("hook.url"),
        path("sign.key"),
    );
    place.configure(&place.config(mock, &more));
    place
}

/// What a browser does with a page of the admin port.
fn browse(server: &Server, method: Method, path: &str) -> (u16, String) {
    let origin = format!("http://{}", server.admin);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("origin", origin)
        .body(Full::new(Bytes::new()))
        .unwrap();
    let answer = Client::new(server.admin).send(request).unwrap();
    (answer.status.as_u16(), answer.text())
}

fn state_of(runbook: &Value, id: &str) -> String {
    let steps = runbook["steps"].as_array().unwrap();
    steps.iter().find(|step| step["id"] == id).unwrap()["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_theft_is_worked_off_by_runbook_and_signed_link() {
    let (mock, hook) = (Mock::start(), Receiver::willing());
    let place = configure(&mock, &hook);
    let stolen = past::stolen(&place, "search-prod");
    let server = place.serve();
    // Nobody is refused: what would be is proposed.
    let client = server.client();
    stolen.thief.iter().for_each(|request| drop(client.send_sim(request, &stolen.key)));
    let posted = wait_for("a webhook", || hook.taken().first().cloned()).json();
    let id = posted["incident"]["id"].as_str().unwrap().to_owned();
    assert_eq!(posted["next_step"]["id"], "rotate");
    let runbook = || place.ok(&["incident", "runbook", &id, "--json"]).json();
    assert_eq!(
        ["rotate", "legal", "clamp_spending"].map(|step| state_of(&runbook(), step)),
        ["open", "open", "proposed"]
    );

    // The link of the alert: looking does nothing, its button acts, once.
    let links = posted["links"].as_array().unwrap();
    let link = links.iter().find(|link| link["text"].as_str().unwrap().starts_with("approve refuse_context"));
    let link =
        link.unwrap()["url"].as_str().unwrap().strip_prefix("http://127.0.0.1:8081").unwrap().to_owned();
    // Whoever may only look at alerts does not get it.
    let listed = server.admin("/api/v1/alerts?all=true");
    let shown = server.admin(&format!("/api/v1/alerts/{}", listed["deliveries"][0]["id"]));
    let message = shown["message"]["text"].as_str().unwrap();
    assert!(posted.to_string().contains("/approve/") && !message.contains("/approve/"), "{message}");
    let (status, page) = browse(&server, Method::GET, &link);
    assert!(
        status == 200 && page.contains("search-prod") && page.contains("<form method=\"post\">"),
        "{page}"
    );
    assert_eq!(state_of(&runbook(), "clamp_spending"), "proposed");
    let (status, page) = browse(&server, Method::POST, &link);
    assert!(status == 200 && page.contains("In force now: refuse"), "{status} {page}");
    assert_eq!(state_of(&runbook(), "clamp_spending"), "done");
    assert_eq!(browse(&server, Method::POST, &link).0, 409);
    assert_eq!(browse(&server, Method::POST, &link.replace("refuse_context", "suspend")).0, 404);
    assert!(place.ok(&["audit", "show"]).stdout.contains("link:hook"));

    // Ticked off by hand.
    assert_eq!(place.run(&["incident", "step", &id, "legal"]).code, 2, "a word is needed");
    assert_eq!(place.run(&["incident", "step", &id, "legal", "--skip"]).code, 2, "a note is needed");
    place.ok(&["incident", "step", &id, "legal", "--done", "--note", "called at nine"]);
    place.ok(&["key", "rotate", "search-prod"]);
    assert_eq!(["rotate", "revoke_old_key"].map(|step| state_of(&runbook(), step)), ["done", "open"]);
    place.ok(&["key", "retire", "search-prod", "--reason", "stolen"]);
    let done = runbook();
    let states = ["rotate", "legal", "clamp_spending", "revoke_old_key"].map(|step| state_of(&done, step));
    assert_eq!(states, ["done"; 4]);
    let text = place.ok(&["incident", "runbook", &id]).stdout;
    assert!(text.contains("2. Call legal  [done]") && text.contains("called at nine"), "{text}");
    let shown = place.ok(&["incident", "show", &id]).stdout;
    assert!(shown.contains("next: Review activity") && shown.contains("step done: legal"), "{shown}");
    assert_eq!(place.run(&["incident", "restore", &id]).code, 1, "nothing was relaxed");
    assert_eq!(server.metric("tokenwatch_runbook_steps_overdue"), 0.0);
    server.stop();
    let file = std::fs::metadata(place.state().join("links.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o600);
}
