//! From a planned step to the request that is sent.

use hyper::Method;
use tokenwatch_model::SmolStr;
use tokenwatch_model::provider::{Dialect, Endpoint};

use super::Theft;
use super::plan::{Act, Actor, Step, Taste};
use crate::body::{Talk, Tool};
use crate::persona::conversation;
use crate::rng::Rng;
use crate::sim::{Label, SimRequest};

/// New and dear models, which thieves want most, and the dearest of all.
pub(crate) const fn wanted(dialect: Dialect, taste: Taste) -> &'static str {
    match (dialect, taste) {
        (Dialect::OpenAi, Taste::Dearest) => "gpt-5.5-pro",
        (Dialect::OpenAi, _) => "gpt-5.5",
        (Dialect::Anthropic, Taste::Dearest) => "claude-fable-5",
        (Dialect::Anthropic, _) => "claude-opus-5",
    }
}

/// What public checkers ask for.
pub(crate) const fn checked(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi => "gpt-4o-mini",
        Dialect::Anthropic => "claude-haiku-4-5",
    }
}

/// Models that a sweep asks for.
pub(crate) const fn swept(dialect: Dialect, number: u32) -> &'static str {
    let (openai, anthropic) = (&SWEPT_OPENAI, &SWEPT_ANTHROPIC);
    match dialect {
        Dialect::OpenAi => openai[number as usize % openai.len()],
        Dialect::Anthropic => anthropic[number as usize % anthropic.len()],
    }
}

const SWEPT_OPENAI: [&str; 14] = [
    "gpt-5.5-pro",
    "gpt-5.5",
    "gpt-5.4",
    "gpt-5.1",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5-nano",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4.1-nano",
    "gpt-4o",
    "gpt-4o-mini",
    "o4-mini",
    "gpt-5.4-mini",
];
const SWEPT_ANTHROPIC: [&str; 9] = [
    "claude-fable-5",
    "claude-mythos-5",
    "claude-opus-5",
    "claude-opus-4-8",
    "claude-sonnet-5",
    "claude-sonnet-4-6",
    "claude-sonnet-4-5",
    "claude-haiku-5-5",
    "claude-haiku-4-5",
];

const CODING_TOOLS: [Tool; 2] = [
    Tool {
        name: "read",
        description: "Reads a file of the workspace.",
        schema: r#"{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}"#,
    },
    Tool {
        name: "shell",
        description: "Runs a command in the workspace.",
        schema: r#"{"type":"object","properties":{"command":{"type":"string"}},"required":["command"]}"#,
    },
];

const CHARACTERS: [&str; 8] = [
    "the captain of a trading ship that has lost its wind",
    "the keeper of an inn on a mountain pass in winter",
    "a retired detective in a town where nothing happens",
    "the librarian of a castle whose books change places at night",
    "a young baker who inherits a map instead of a bakery",
    "the pilot of an old airship on its last voyage",
    "a knight who would rather keep bees",
    "the gardener of a queen who never leaves her tower",
];

const SCENES: [&str; 8] = [
    "The rain has stopped and somebody knocks three times, although the road has been closed for a week.",
    "You find a key in the bread, and it is still warm.",
    "The compass points to the cellar door, whatever way you turn it.",
    "A letter arrives that is dated tomorrow and signed in your own hand.",
    "The market is full, but nobody says a word until the bell rings.",
    "Your oldest friend asks for a favour and will not say what it is.",
    "The lamp goes out; when it is lit again there is one chair more at the table.",
    "The river runs backwards this morning, and only the children laugh.",
];

const CHORES: [&str; 6] = [
    "The tests of the parser fail on empty input; find out why and mend it.",
    "Move the settings into one file and keep the old names working.",
    "The page loads twice; look where it is asked for.",
    "Write the missing checks for the upload.",
    "Rename the table and everything that depends on it.",
    "Explain what this module does and where it is used.",
];

/// Most turns that are written out; the tokens dictated are those of the whole conversation.
const TURNS_MAX: u32 = 3;

/// What a thief needs to know of a key to ask with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stolen<'a> {
    pub(crate) theft: Theft,
    pub(crate) dialect: Dialect,
    /// The model its owner uses most.
    pub(crate) main_model: &'a str,
}

/// The request of a step with words of the thief's own.
pub(crate) fn request(stolen: Stolen<'_>, actor: &Actor, step: &Step, rng: &mut Rng) -> SimRequest {
    let Stolen { theft, dialect, main_model } = stolen;
    let has_body = !matches!(step.act, Act::ListModels | Act::Organisation);
    let (path, endpoint) = match step.act {
        Act::ListModels => ("/v1/models", Endpoint::Models),
        Act::Organisation => ("/v1/organizations", Endpoint::Administration),
        _ => conversation(dialect),
    };
    let model = match step.act {
        Act::ListModels | Act::Organisation => "",
        Act::EmptyChat | Act::Tiny => checked(dialect),
        Act::Sweep { model, .. } => swept(dialect, model),
        Act::Probe if actor.taste == Taste::Dearest => wanted(dialect, actor.taste),
        Act::Probe => checked(dialect),
        Act::Use { .. } | Act::Copy | Act::Borrow => match actor.taste {
            Taste::Victims => main_model,
            taste => wanted(dialect, taste),
        },
    };
    let stream = matches!(step.act, Act::Use { .. }) && rng.chance(actor.stream_share);
    let limit = limit(actor, step, dialect);
    let body = if has_body { body(actor, step, dialect, model, stream, limit, rng) } else { Vec::new() };
    SimRequest {
        at_ms: step.at_ms,
        source: actor.source,
        method: if has_body { Method::POST } else { Method::GET },
        path,
        headers: actor.software.headers(dialect, has_body),
        dialect,
        endpoint,
        model: SmolStr::new(model),
        stream,
        output_tokens_max: limit.unwrap_or(0),
        body,
        tokens: step.tokens,
        status: match step.act {
            Act::EmptyChat | Act::Sweep { allowed: true, .. } => 400,
            Act::Organisation | Act::Sweep { allowed: false, .. } => 403,
            _ => 200,
        },
        client: actor.software.client(dialect),
        label: Label::Thief(theft),
    }
}

/// The output limit a step sets. Anthropic demands one.
fn limit(actor: &Actor, step: &Step, dialect: Dialect) -> Option<u32> {
    match step.act {
        Act::EmptyChat | Act::Sweep { .. } => Some(0),
        Act::Probe => Some(256),
        Act::Tiny => Some(1),
        Act::Use { .. } | Act::Copy | Act::Borrow => {
            let needed = actor.limit.map(|limit| limit.max(step.tokens.output));
            needed.or_else(|| (dialect == Dialect::Anthropic).then_some(4_096.max(step.tokens.output)))
        }
        Act::ListModels | Act::Organisation => None,
    }
}

fn body(
    actor: &Actor,
    step: &Step,
    dialect: Dialect,
    model: &str,
    stream: bool,
    limit: Option<u32>,
    rng: &mut Rng,
) -> Vec<u8> {
    let (system, turns) = match step.act {
        Act::EmptyChat | Act::Sweep { .. } => (None, vec![String::new()]),
        Act::Probe | Act::Tiny => (None, vec!["hi".to_owned()]),
        Act::Use { turn } if actor.codes => {
            let system = "You are a coding agent. Work in small steps and check each of them.".to_owned();
            (Some(system), talk(turn, &CHORES, rng))
        }
        Act::Use { turn } => {
            let system = format!("Let us play a story together. You are {}.", rng.pick(&CHARACTERS));
            (Some(system), talk(turn, &SCENES, rng))
        }
        Act::ListModels | Act::Organisation | Act::Copy | Act::Borrow => (None, Vec::new()),
    };
    let tools: &[Tool] = if actor.codes && system.is_some() { &CODING_TOOLS } else { &[] };
    Talk {
        model,
        system: system.as_deref(),
        turns,
        tools,
        stream,
        include_usage: actor.codes,
        max_tokens: limit.map(i64::from),
        new_limit_name: actor.codes,
        temperature: (!actor.codes && system.is_some()).then_some("0.9"),
    }
    .to_json(dialect)
}

/// The last turns of a conversation, ending with the user's.
fn talk<const N: usize>(turn: u32, lines: &[&'static str; N], rng: &mut Rng) -> Vec<String> {
    let pairs = turn.min(TURNS_MAX) as usize;
    (0..=2 * pairs).map(|_| (*rng.pick(lines)).to_owned()).collect()
}
