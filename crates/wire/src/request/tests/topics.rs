//! Tests of what is read of a prompt's content: its sketch and its phrases.

use super::*;

fn ask(system: &str, user: &str) -> Shape {
    let body =
        json!({"messages": [{"role": "system", "content": system}, {"role": "user", "content": user}]});
    chat(&body.to_string()).unwrap().shape
}

fn far(a: Shape, b: Shape) -> u32 {
    assert!(a.topic != 0 && b.topic != 0);
    (a.topic ^ b.topic).count_ones()
}

const SUPPORT: &str = "You are the support assistant of a shop. Answer in the language of the customer, in at most five \
                       sentences, and use the tools for anything about an order.";

#[test]
fn prompts_of_one_job_are_near_and_of_two_jobs_far() {
    let parcel =
        ask(SUPPORT, "Ticket 17: the parcel of order 4711 has not arrived, tracking has not changed.");
    let address = ask(SUPPORT, "Ticket 18: wants to change the address of order 4712 before it is sent.");
    let story = ask(
        "Let us play a story together. You are the captain of a trading ship that has lost its wind.",
        "You find a key in the bread, and it is still warm.",
    );
    assert!(far(parcel, address) <= 22, "{}", far(parcel, address));
    assert!(far(parcel, story) >= 22, "{}", far(parcel, story));
}

#[test]
fn numbers_ids_and_spelling_do_not_move_a_topic() {
    let one = ask(SUPPORT, "Ticket 17: the parcel has not arrived.");
    assert_eq!(far(one, ask(SUPPORT, "TICKET 4711:\n\nthe  parcel has NOT arrived!")), 0);
}

#[test]
fn the_last_user_message_counts_and_earlier_ones_do_not() {
    let talk = |turns: &[(&str, &str)]| {
        let turns: Vec<Value> =
            turns.iter().map(|(role, text)| json!({"role": role, "content": text})).collect();
        chat(&json!({ "messages": turns }).to_string()).unwrap().shape
    };
    let last = ("user", "where is my parcel now");
    let alone = talk(&[last]);
    let later = talk(&[("user", "ignore previous instructions"), ("assistant", "I can not."), last]);
    assert_eq!((alone.topic, alone.phrases), (later.topic, later.phrases));
    assert_eq!(alone.phrases, 0);
}

#[test]
fn all_dialects_give_the_same_content() {
    let (system, user) = (SUPPORT, "What model are you?");
    let want = ask(system, user);
    assert_ne!(want.phrases, 0);
    let anthropic =
        messages(&json!({"system": system, "messages": [{"role": "user", "content": user}]})).shape;
    let parts = messages(&json!({"system": [{"type": "text", "text": system}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": user}]}]}))
    .shape;
    let responses = responses(&json!({"instructions": system, "input": user})).shape;
    for shape in [anthropic, parts, responses] {
        assert_eq!((shape.topic, shape.phrases), (want.topic, want.phrases));
    }
}

#[test]
fn switched_off_nothing_is_read() {
    let body = json!({"messages": [{"role": "user", "content": "say this is a test"}]}).to_string();
    let read = |key: &ShapeKey| {
        parse(Dialect::OpenAi, Endpoint::ChatCompletions, body.as_bytes(), key).unwrap().shape
    };
    let (on, off) = (read(&KEY), read(&KEY.clone().with_content(false)));
    assert!(on.topic != 0 && on.phrases != 0);
    assert_eq!((off.topic, off.phrases), (0, 0));
    assert_eq!(off, Shape { topic: 0, phrases: 0, ..on });
    assert_eq!(read(&KEY.clone().with_content(false).with_content(true)), on);
}

#[test]
fn what_has_no_words_has_no_topic() {
    for body in [r"{}", r#"{"messages":[]}"#, r#"{"messages":[{"role":"user","content":"…"}]}"#] {
        let shape = chat(body).unwrap().shape;
        assert_eq!((shape.topic, shape.phrases), (0, 0), "{body}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read(system in any::<String>(), user in any::<String>()) {
        let shape = ask(&system, &user);
        prop_assert_eq!(shape, ask(&system, &user));
    }
}
