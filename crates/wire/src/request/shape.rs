//! The form of a request as keyed hashes and counts.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use tokenwatch_model::context::Shape;

use super::flatten::hash_flat;
use crate::json::RawStr;
use crate::sketch::ContentKey;

/// Most pieces of one text that are kept for its hash.
const TEXTS_MAX: usize = 64;
/// Turns of the folded role pattern that are kept.
const TURNS_MAX: usize = 16;

/// The deployment's secret for shape hashes: without it nobody can test a guess of a prompt against them.
#[derive(Clone)]
pub struct ShapeKey {
    secret: [u8; 16],
    content: Option<ContentKey>,
}

impl ShapeKey {
    /// Takes 16 random bytes, the same for the deployment's whole life. Content signals are on.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self { secret: bytes, content: Some(ContentKey::derive(&bytes)) }
    }

    /// Switches content signals: sketches of prompts and answers, and phrase rules. Off, they are absent.
    #[must_use]
    pub fn with_content(self, on: bool) -> Self {
        Self { content: on.then(|| ContentKey::derive(&self.secret)), ..self }
    }

    /// What keys sketches; `None` when content signals are off.
    pub const fn content(&self) -> Option<ContentKey> {
        self.content
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
    Tool,
    Unknown,
}

impl Role {
    pub(super) fn from_name(name: &str) -> Self {
        match name {
            "system" | "developer" => Self::System,
            "user" => Self::User,
            "assistant" => Self::Assistant,
            "tool" | "function" => Self::Tool,
            _ => Self::Unknown,
        }
    }
}

/// A text in pieces, borrowed from the body.
#[derive(Default)]
pub(super) struct Texts<'a>(Vec<RawStr<'a>>);

impl<'a> Texts<'a> {
    pub(super) fn push(&mut self, text: RawStr<'a>) {
        if self.0.len() < TEXTS_MAX && !text.raw.is_empty() {
            self.0.push(text);
        }
    }

    pub(super) fn pieces(&self) -> &[RawStr<'a>] {
        &self.0
    }
}

/// Gathers what the shape is made of while the body is read.
pub(super) struct ShapeBuilder<'a, 'k> {
    key: &'k ShapeKey,
    template: Texts<'a>,
    prompt: Texts<'a>,
    turns: [u8; TURNS_MAX],
    turn_count: usize,
    tools: u64,
    parameters: u64,
    messages: u32,
    tool_count: u32,
}

impl<'a, 'k> ShapeBuilder<'a, 'k> {
    pub(super) fn new(key: &'k ShapeKey) -> Self {
        Self {
            key,
            template: Texts::default(),
            prompt: Texts::default(),
            turns: [0; TURNS_MAX],
            turn_count: 0,
            tools: 0,
            parameters: 0,
            messages: 0,
            tool_count: 0,
        }
    }

    /// An empty one with the same key.
    pub(super) fn fresh(&self) -> Self {
        Self::new(self.key)
    }

    /// The system prompt as a field of its own.
    pub(super) fn add_template(&mut self, texts: &mut Texts<'a>) {
        self.template.0.append(&mut texts.0);
        self.template.0.truncate(TEXTS_MAX);
    }

    /// One message; `texts` is empty afterwards.
    pub(super) fn add_message(&mut self, role: Role, texts: &mut Texts<'a>) {
        self.messages = self.messages.saturating_add(1);
        match role {
            // Only what stands before the conversation is the template.
            Role::System if self.turn_count == 0 || self.is_only_system() => self.add_template(texts),
            Role::User if !texts.0.is_empty() => std::mem::swap(&mut self.prompt.0, &mut texts.0),
            _ => {}
        }
        texts.0.clear();
        self.add_turn(role as u8 + 1);
    }

    /// One tool by name.
    pub(super) fn add_tool(&mut self, name: &str) {
        // A sum does not depend on the order.
        self.tools = self.tools.wrapping_add(self.hash(&[b"tool", name.as_bytes()]));
        self.tool_count = self.tool_count.saturating_add(1);
    }

    /// One parameter that is set, and its value if that is configuration.
    pub(super) fn add_parameter(&mut self, name: &str, value: &str) {
        self.parameters =
            self.parameters.wrapping_add(self.hash(&[b"parameter", name.as_bytes(), value.as_bytes()]));
    }

    /// The shape without content signals, the system prompt's texts and the last user message's.
    pub(super) fn finish(self) -> (Shape, Texts<'a>, Texts<'a>) {
        let turns = self.turns.get(..self.turn_count).unwrap_or_default();
        let shape = Shape {
            template: hash_flat(&self.key.secret, &self.template.0, false),
            tools: if self.tool_count == 0 { 0 } else { self.tools.max(1) },
            roles: if turns.is_empty() { 0 } else { self.hash(&[b"roles", turns]).max(1) },
            parameters: self.parameters,
            prompt: hash_flat(&self.key.secret, &self.prompt.0, true),
            messages: self.messages,
            tool_count: self.tool_count,
            topic: 0,
            phrases: 0,
        };
        (shape, self.template, self.prompt)
    }

    fn is_only_system(&self) -> bool {
        self.turn_count == 1 && self.turns.first() == Some(&(Role::System as u8 + 1))
    }

    /// Folds runs of a role to one turn, and a return to the turn before last (`user assistant user`) to that
    /// turn, so that a conversation keeps its pattern as it grows.
    fn add_turn(&mut self, turn: u8) {
        let before =
            |back: usize| self.turn_count.checked_sub(back).and_then(|at| self.turns.get(at)).copied();
        if before(1) == Some(turn) {
            return;
        }
        if before(2) == Some(turn) {
            self.turn_count -= 1;
            return;
        }
        if let Some(place) = self.turns.get_mut(self.turn_count) {
            *place = turn;
            self.turn_count += 1;
        }
    }

    /// Hashes parts that are set apart. Short ones, which all common parameters are, are joined first: the
    /// hash is fastest on one piece.
    fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut buffer = [0xff; 128];
        let mut hasher = SipHasher24::new_with_key(&self.key.secret);
        let mut filled = 0;
        for part in parts {
            match buffer.get_mut(filled..filled + part.len()) {
                // The separator is the 0xff that is left after it.
                Some(place) if filled + part.len() < 128 => {
                    place.copy_from_slice(part);
                    filled += part.len() + 1;
                }
                _ => {
                    hasher.write(buffer.get(..filled).unwrap_or_default());
                    hasher.write(part);
                    hasher.write_u8(0xff);
                    (buffer, filled) = ([0xff; 128], 0);
                }
            }
        }
        hasher.write(buffer.get(..filled).unwrap_or_default());
        hasher.finish()
    }
}
