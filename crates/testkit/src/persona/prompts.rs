//! What simulated customers say: a handful of jobs, each with its system prompt, tools and parameters.
//!
//! Texts are ours. `{date}`, `{tenant}`, `{id}` and `{n}` vary from request to request, as in real prompts, and must not
//! make a new template of each.

use tokenwatch_model::time::Timestamp;

use crate::body::Tool;
use crate::rng::Rng;

/// One job that a customer has a model do.
#[derive(Debug)]
pub(super) struct Role {
    /// System prompt.
    system: &'static str,
    /// What a new version of the prompt adds.
    revision: &'static str,
    /// User messages.
    asks: [&'static str; 3],
    /// Tools offered.
    pub(super) tools: &'static [Tool],
    /// Temperature, as written in the body.
    pub(super) temperature: Option<&'static str>,
}

const SEARCH: Tool = Tool {
    name: "search_orders",
    description: "Finds orders of a customer by number, date or state.",
    schema: r#"{"type":"object","properties":{"query":{"type":"string"},"limit":{"type":"integer"}},"required":["query"]}"#,
};
const REFUND: Tool = Tool {
    name: "open_refund",
    description: "Opens a refund for one line of an order.",
    schema: r#"{"type":"object","properties":{"order":{"type":"string"},"line":{"type":"integer"}},"required":["order","line"]}"#,
};
const SQL: Tool = Tool {
    name: "run_query",
    description: "Runs a read-only query on the reporting database.",
    schema: r#"{"type":"object","properties":{"query":{"type":"string"}},"required":["query"]}"#,
};
const READ_FILE: Tool = Tool {
    name: "read_file",
    description: "Reads a file of the repository.",
    schema: r#"{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}"#,
};

/// Every job.
pub(super) static ROLES: [Role; 10] = [
    // support
    Role {
        system: "You are the support assistant of shop {tenant}. Today is {date}. Answer in the language of the customer, in at most five sentences, and use the tools for anything about an order.",
        revision: " Never promise a delivery date. Offer a return label when the customer is unhappy with the size.",
        asks: [
            "Ticket {id}: the parcel of order {n} has not arrived, the tracking page has not changed for days.",
            "Ticket {id}: wants to change the address of order {n} before it is sent.",
            "Ticket {id}: asks whether order {n} can still be paid by invoice.",
        ],
        tools: &[SEARCH, REFUND],
        temperature: Some("0.2"),
    },
    // extract
    Role {
        system: "Extract the fields supplier, invoice number, date, currency, net, tax and total from the text as JSON with exactly these keys. Use null for what is not there. Schema revision {n}.",
        revision: " Dates are ISO 8601. Amounts are numbers with a point, without thousands separators.",
        asks: [
            "Document {id}, page 1 of {n}: Invoice. Net 30 days. Positions as delivered, carriage paid, tax as stated below.",
            "Document {id}, page 2 of {n}: carried over from the previous page, subtotal, discount for early payment.",
            "Document {id}: credit note to invoice {n}, goods returned in good order.",
        ],
        tools: &[],
        temperature: Some("0"),
    },
    // summary
    Role {
        system: "Summarise the meeting notes for people who were not there: decisions first, then open questions, then who does what until when. No more than 150 words.",
        revision: " Leave out small talk and greetings. Write names as they stand in the notes.",
        asks: [
            "Notes {id}: the release moves by {n} days because the migration is not rehearsed; the rehearsal is planned with operations.",
            "Notes {id}: two vendors were compared on {n} points; the cheaper one lacks single sign-on.",
            "Notes {id}: planning for the quarter, {n} topics, three of them without an owner.",
        ],
        tools: &[],
        temperature: Some("0.3"),
    },
    // classify
    Role {
        system: "Classify the message into exactly one of: billing, delivery, product, account, other. Answer with the word only.",
        revision: " A complaint about a charge is billing even when it mentions a product.",
        asks: [
            "Message {id}: I was charged {n} times for the same thing.",
            "Message {id}: the second box of {n} is missing.",
            "Message {id}: how do I change the mail address of account {n}?",
        ],
        tools: &[],
        temperature: Some("0"),
    },
    // report
    Role {
        system: "You write the daily figures of region {tenant} for {date} as three short paragraphs. Query the database for every number you state.",
        revision: " Compare with the same weekday of the week before and name the largest change.",
        asks: [
            "Report {id}: revenue, orders and returns, {n} shops.",
            "Report {id}: stock below the reorder point, {n} articles.",
            "Report {id}: new customers by channel, top {n}.",
        ],
        tools: &[SQL],
        temperature: None,
    },
    // review
    Role {
        system: "You review changes to a code base. Point out defects only: wrong results, crashes, leaks, races. Say nothing about style. One line for each defect, file and line first.",
        revision: " Mark what you are not sure of with a question mark.",
        asks: [
            "Change {id}, {n} files: the cache is now keyed by account and region; eviction runs after each insert.",
            "Change {id}, {n} lines: retries moved into the transport, callers no longer loop.",
            "Change {id}: parser reads the length before the checksum, {n} call sites.",
        ],
        tools: &[READ_FILE],
        temperature: Some("0.1"),
    },
    // translate
    Role {
        system: "Translate the text of the user interface into German. Keep placeholders such as %s and line breaks as they are. Use the formal form of address.",
        revision: " Use the glossary: cart is Warenkorb, checkout is Kasse, account is Konto.",
        asks: [
            "String {id}: Your cart holds %s items, {n} of them on sale.",
            "String {id}: The session ends in {n} minutes. Stay signed in?",
            "String {id}: Page %s of {n}.",
        ],
        tools: &[],
        temperature: Some("0"),
    },
    // describe
    Role {
        system: "Write a product description of 60 to 90 words from the attributes. No superlatives, no exclamation marks, no claims about health. Brand {tenant}.",
        revision: " End with one sentence on care and materials.",
        asks: [
            "Article {id}: lamp, oak, height {n} cm, dimmable, cable 2 m.",
            "Article {id}: rain jacket, {n} g, taped seams, two pockets.",
            "Article {id}: pan, cast iron, {n} cm, oven safe.",
        ],
        tools: &[],
        temperature: Some("0.7"),
    },
    // route
    Role {
        system: "You plan the stops of delivery vans for depot {tenant} on {date}. Return the order of stops as a list of numbers, nothing else.",
        revision: " Stops marked early come before 10:00.",
        asks: [
            "Tour {id}: {n} stops, four of them before noon.",
            "Tour {id}: {n} stops, one with a lift that takes no pallets.",
            "Tour {id}: {n} stops, two closed on this day.",
        ],
        tools: &[],
        temperature: Some("0"),
    },
    // helpdesk
    Role {
        system: "You answer questions of colleagues about the handbook. Quote the section you rely on. If the handbook does not say it, say so and name whom to ask.",
        revision: " Do not answer questions about single colleagues.",
        asks: [
            "Question {id}: how many days before a trip must it be booked, {n} people travel?",
            "Question {id}: may a device of year {n} still be used?",
            "Question {id}: who signs an order above {n} euro?",
        ],
        tools: &[],
        temperature: Some("0.4"),
    },
];

impl Role {
    /// The system prompt in a version counted from 1.
    pub(super) fn system(&self, version: usize, at_ms: u64, rng: &mut Rng) -> String {
        let mut system = fill(self.system, at_ms, rng);
        if version > 1 {
            system.push_str(self.revision);
        }
        system
    }

    /// The turns of a conversation: mostly one question, sometimes an answer and one more.
    pub(super) fn turns(&self, rng: &mut Rng) -> Vec<String> {
        let ask = *rng.pick(&self.asks);
        let mut turns = vec![fill(ask, 0, rng)];
        if rng.chance(0.2) {
            let again = *rng.pick(&self.asks);
            turns.push("Understood. What else do you want me to take into account?".to_owned());
            turns.push(fill(again, 0, rng));
        }
        turns
    }
}

/// Puts varying parts into a text.
fn fill(text: &str, at_ms: u64, rng: &mut Rng) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((what, after)) = after.split_once('}') else { break };
        match what {
            "date" => out.extend(Timestamp::from_ms(at_ms).to_string().chars().take(10)),
            "tenant" => out.push_str(&rng.range(1_000, 9_999).to_string()),
            "id" => out.push_str(&format!("{:08x}", rng.next_u64() as u32)),
            _ => out.push_str(&rng.range(2, 999).to_string()),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
