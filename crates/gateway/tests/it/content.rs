//! Content signals: what an event has of a prompt and an answer, and that the switch takes it all away.

use serde_json::{Value, json};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::phrase::PhraseClass;

use crate::rig::{Rig, Setup, chat, message, post, rig};

/// The event of one request more.
#[track_caller]
fn event(rig: &Rig, path: &str, body: &Value) -> UsageEvent {
    let before = rig.memory.events().len();
    let secret = rig.key();
    let answer = rig.run(rig.client.send_http(post(path, body, secret.expose(), &[]))).unwrap();
    assert_eq!(answer.status, 200);
    rig.events(before + 1).remove(before)
}

fn checks() -> Value {
    json!([{"role": "user", "content": "Say this is a test!"}])
}

#[test]
fn events_have_sketches_and_phrases_in_every_dialect() {
    let rig = rig();
    for (path, body) in [
        ("/v1/chat/completions", chat(&json!({"messages": checks()}))),
        ("/v1/chat/completions", chat(&json!({"messages": checks(), "stream": true}))),
        ("/v1/responses", json!({"model": "gpt-4o-mini", "input": "Say this is a test!", "stream": true})),
        ("/v1/messages", message(&json!({"messages": checks()}))),
        ("/v1/messages", message(&json!({"messages": checks(), "stream": true}))),
    ] {
        let event = event(&rig, path, &body);
        let classes: Vec<PhraseClass> = PhraseClass::of(event.request.shape.phrases).collect();
        assert_eq!(classes, [PhraseClass::KeyCheck], "{body}");
        assert!(event.request.shape.topic != 0 && event.completion != 0, "{body}");
    }
}

#[test]
fn an_answer_has_the_same_sketch_streamed_or_not() {
    let rig = rig();
    let whole = event(&rig, "/v1/messages", &message(&json!({})));
    let streamed = event(&rig, "/v1/messages", &message(&json!({"stream": true})));
    assert_eq!(whole.request.shape.topic, streamed.request.shape.topic);
    assert_eq!(whole.completion, streamed.completion);
}

#[test]
fn switched_off_no_event_has_any_of_it() {
    let rig = Rig::start(Setup { content_signals: false, ..Setup::default() });
    for stream in [false, true] {
        let event =
            event(&rig, "/v1/chat/completions", &chat(&json!({"messages": checks(), "stream": stream})));
        let shape = event.request.shape;
        assert_eq!((shape.topic, shape.phrases, event.completion), (0, 0, 0));
        assert!(shape.prompt != 0, "the hashes of the form stay");
    }
}

#[test]
fn of_a_caller_that_is_known_a_sample_is_read() {
    let rig = rig();
    let mut read = 0;
    for i in 0..400 {
        let event = event(&rig, "/v1/chat/completions", &chat(&json!({})));
        let shape = event.request.shape;
        assert_eq!(shape.topic != 0, event.completion != 0, "request and answer are read together");
        assert!(i >= 256 || shape.topic != 0, "the first are all read");
        read += usize::from(shape.topic != 0);
    }
    assert!((256..300).contains(&read), "{read} of 400");
}
