//! What callers ask, as the hashes an engine sees of it: template, tools, parameters, last message.

use tokenwatch_model::context::Shape;

use super::content::{self, Content};
use crate::rng::{self, Rng};

/// One prompt template with its habits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prompt {
    pub(crate) template: u64,
    /// Sketch of what it is about.
    topic: u64,
    tools: u64,
    tool_count: u32,
    parameters: u64,
    /// Different last messages after numbers and ids are flattened; 0 when people write freely.
    asks: u32,
    /// Share of requests that carry earlier turns.
    talks: f64,
    /// Output limit; 0 sets none.
    pub(crate) limit: u32,
    /// Share of the input that the provider reads from its cache.
    pub(crate) cached: f64,
}

impl Prompt {
    /// A template of its own. `limit_min` is what answers may need; `people` write freely and talk on.
    pub(crate) fn draw(rng: &mut Rng, limit_min: f64, people: bool) -> Self {
        let tool_count = if rng.chance(0.35) { rng.range(1, 12) as u32 } else { 0 };
        let free = people || rng.chance(0.4);
        let limits = [1_024_u32, 2_048, 4_096, 8_192, 16_384, 32_768];
        let first =
            limits.iter().position(|&limit| f64::from(limit) >= limit_min).unwrap_or(limits.len() - 1);
        let limit = limits.get(first + rng.below(2) as usize).copied().unwrap_or(32_768);
        let template = absent_is_zero(rng.next_u64());
        Self {
            template,
            topic: content::topic_of(template),
            tools: if tool_count > 0 { absent_is_zero(rng.next_u64()) } else { 0 },
            tool_count,
            parameters: absent_is_zero(rng.below(64)),
            asks: if free { 0 } else { rng.range(1, 6) as u32 },
            talks: if people { 0.5 } else { *rng.pick(&[0.0, 0.0, 0.1, 0.3]) },
            limit: if rng.chance(0.15) { 0 } else { limit },
            cached: *rng.pick(&[0.0, 0.0, 0.0, 0.3, 0.6]),
        }
    }

    /// The next version: another template, the rest as before but for the odd parameter.
    pub(crate) fn revised(&self, rng: &mut Rng) -> Self {
        let parameters = if rng.chance(0.15) { absent_is_zero(rng.below(64)) } else { self.parameters };
        let template = absent_is_zero(rng.next_u64());
        Self { template, topic: content::revised(self.topic, template), parameters, ..*self }
    }

    /// The same with one and the same last message.
    pub(crate) const fn fixed(&self) -> Self {
        Self { asks: 1, talks: 0.0, ..*self }
    }

    /// What one request of this shape says, drawn by its own seed.
    pub(crate) fn content(&self, shape: &Shape, seed: u64) -> Content {
        content::of_owner(self.topic, shape, self.asks == 0, self.asks == 1, seed)
    }

    /// The shape of one request.
    pub(crate) fn shape(&self, rng: &mut Rng) -> Shape {
        let pairs = if rng.chance(self.talks) { 1 + rng.below(6) as u32 } else { 0 };
        let prompt = match self.asks {
            0 => rng.next_u64() | 1,
            asks => rng::mix(self.template ^ (1 + rng.below(asks.into()))) | 1,
        };
        Shape {
            template: self.template,
            tools: self.tools,
            roles: roles(true, pairs > 0),
            parameters: self.parameters,
            prompt,
            messages: 2 + 2 * pairs,
            tool_count: self.tool_count,
            ..Shape::default()
        }
    }
}

/// The pattern of roles, runs folded.
pub(crate) fn roles(system: bool, talks: bool) -> u64 {
    let pattern: &[u8] = match (system, talks) {
        (true, true) => b"system user (assistant user)*",
        (true, false) => b"system user",
        (false, true) => b"user (assistant user)*",
        (false, false) => b"user",
    };
    rng::hash(pattern) | 1
}

/// A hash that does not stand for "absent".
pub(crate) const fn absent_is_zero(bits: u64) -> u64 {
    rng::mix(bits) | 1
}

/// Places of a list are used unevenly: the first most, each next one less.
pub(crate) fn uneven<'a, T>(items: &'a [T], rng: &mut Rng) -> Option<&'a T> {
    let u = rng.unit();
    items.get((u * u * items.len() as f64) as usize)
}
