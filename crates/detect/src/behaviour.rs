//! What a newcomer does after it appeared, as bounded likelihood ratios.
//!
//! Every factor compares a thief's law with the law of *benign newcomers*, not of the owner: a new
//! workload may have its own prompts and sizes. Every factor is bounded, so that one odd habit can never
//! decide alone, and so is their product.

use serde::{Deserialize, Serialize};
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::provider::Endpoint;

use crate::baseline::{Baseline, octaves, price_octaves};
use crate::engine::Prompts;
use crate::features::Features;
use crate::known::{Novelty, dimension};
use crate::math::{exp, ln, print};
use crate::powers;
use crate::sizes;

/// Kinds of reconnaissance, as bits.
pub(crate) mod recon {
    /// Models were listed.
    pub(crate) const LISTED: u16 = 1;
    /// Organisation, billing or administration was called.
    pub(crate) const ADMIN: u16 = 1 << 1;
    /// Malformed requests (400, 422).
    pub(crate) const BAD_REQUEST: u16 = 1 << 2;
    /// Requests without permission (401, 403, scope).
    pub(crate) const DENIED: u16 = 1 << 3;
    /// Names that do not exist (404).
    pub(crate) const MISSING: u16 = 1 << 4;
    /// Rate limits run into (429).
    pub(crate) const LIMITED: u16 = 1 << 5;
    /// Answers limited to a handful of tokens.
    pub(crate) const TINY: u16 = 1 << 6;
    /// More failures than successes.
    pub(crate) const BURST: u16 = 1 << 7;
    /// Several models unknown to the key tried in turn.
    pub(crate) const ENUMERATED: u16 = 1 << 8;

    /// The kinds that nobody does by accident.
    pub(crate) const DELIBERATE: u16 = LISTED | ADMIN | TINY | ENUMERATED;
}

/// Errors that a checker makes: the provider's answer, or a refusal by scope.
pub(crate) fn recon_bits(event: &UsageEvent) -> u16 {
    let by_status = |status: u16| match status {
        400 | 422 => recon::BAD_REQUEST,
        401 | 403 => recon::DENIED,
        404 => recon::MISSING,
        429 => recon::LIMITED,
        _ => 0,
    };
    let outcome = match event.outcome {
        Outcome::Refused(
            Refusal::ProviderNotInScope | Refusal::ModelNotInScope | Refusal::EndpointNotInScope,
        ) => recon::DENIED,
        Outcome::Refused(Refusal::BadBody | Refusal::BadHttp) => recon::BAD_REQUEST,
        Outcome::Refused(Refusal::UnknownRoute) => recon::MISSING,
        // Our own containment must not make evidence for itself, nor do the key's limits.
        Outcome::Refused(_) => 0,
        _ => by_status(event.status),
    };
    let endpoint = match event.request.endpoint {
        Endpoint::Models => recon::LISTED,
        Endpoint::Administration => recon::ADMIN,
        _ => 0,
    };
    let tiny = if (1..=2).contains(&event.request.output_tokens_max) { recon::TINY } else { 0 };
    outcome | endpoint | tiny
}

/// Whether bits hold an error.
pub(crate) const fn is_error(bits: u16) -> bool {
    bits & (recon::BAD_REQUEST | recon::DENIED | recon::MISSING | recon::LIMITED) != 0
}

/// Distinct values, the latest of them remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Few {
    prints: [u32; 6],
    distinct: u16,
}

impl Few {
    const EMPTY: Self = Self { prints: [0; 6], distinct: 0 };

    /// Notes a value; returns whether it was new.
    fn note(&mut self, print: u32) -> bool {
        if self.prints.contains(&print) {
            return false;
        }
        let place = usize::from(self.distinct) % self.prints.len();
        self.prints[place] = print;
        self.distinct = self.distinct.saturating_add(1);
        true
    }
}

/// A sum and how many are in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Sum {
    sum: f32,
    n: u32,
}

impl Sum {
    const NONE: Self = Self { sum: 0.0, n: 0 };

    fn add(&mut self, x: f64) {
        self.sum += x as f32;
        self.n = self.n.saturating_add(1);
    }

    /// The mean of the sum and of `more`, and how many requests it rests on.
    fn mean_with(self, more: Option<f64>) -> Option<(f64, f64)> {
        let n = f64::from(self.n) + f64::from(u8::from(more.is_some()));
        (n > 0.0).then(|| ((f64::from(self.sum) + more.unwrap_or(0.0)) / n, n))
    }
}

/// Running sums of what one newcomer did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Acts {
    started: bool,
    prompt: f32,
    model: f32,
    hours: f32,
    /// Sums of octaves of input and output, and of the price of a token, over requests that had any.
    input: Sum,
    output: Sum,
    price: Sum,
    pub(crate) recon: u16,
    /// Input of the request that is on its way, estimated; 0 when it ended or nothing is known.
    expected_input: u32,
    pub(crate) errors: u32,
    answered: u32,
    templates: Few,
    prompts: u32,
    /// Requests after the first with a prompt the key knew, and with another.
    later_known: u32,
    later_strange: u32,
    models: Few,
    /// Last messages, and requests that had one.
    asks: Few,
    asked: u32,
    hour: u32,
    hour_requests: u32,
    hour_cost: NanoUsd,
    /// Requests in its busiest hour.
    pub(crate) peak_requests: u32,
    /// Cost of its dearest hour.
    pub(crate) peak_cost: NanoUsd,
}

/// What the key's history says of a request, for [`Acts::note_request`].
pub(crate) struct Seen<'a> {
    pub(crate) features: &'a Features,
    pub(crate) novelty: Novelty,
    pub(crate) baseline: &'a Baseline,
    /// How much more prompt templates vary on this key than on others of its cohort.
    pub(crate) template_churn: f64,
}

fn add(sum: &mut f32, nats: f64, bounds: (f64, f64)) {
    *sum = (f64::from(*sum) + nats).clamp(bounds.0, bounds.1) as f32;
}

impl Acts {
    pub(crate) const NONE: Self = Self {
        started: false,
        prompt: 0.0,
        model: 0.0,
        hours: 0.0,
        input: Sum::NONE,
        output: Sum::NONE,
        price: Sum::NONE,
        recon: 0,
        expected_input: 0,
        errors: 0,
        answered: 0,
        templates: Few::EMPTY,
        prompts: 0,
        later_known: 0,
        later_strange: 0,
        models: Few::EMPTY,
        asks: Few::EMPTY,
        asked: 0,
        hour: 0,
        hour_requests: 0,
        hour_cost: NanoUsd::ZERO,
        peak_requests: 0,
        peak_cost: NanoUsd::ZERO,
    };

    /// What is known before a request is forwarded.
    pub(crate) fn note_request(&mut self, request: &RequestContext, seen: &Seen<'_>) {
        let hour = request.time.hour();
        if hour != self.hour {
            (self.hour, self.hour_requests, self.hour_cost) = (hour, 0, NanoUsd::ZERO);
            add(&mut self.hours, seen.baseline.any_hour_nats(request.time), HOURS);
        }
        self.hour_requests = self.hour_requests.saturating_add(1);
        self.peak_requests = self.peak_requests.max(self.hour_requests);
        self.note_prompt(seen);
        if request.shape.prompt != 0 {
            self.asks.note(print(request.shape.prompt));
            self.asked = self.asked.saturating_add(1);
        }
        if seen.features.model != 0 {
            let unknown = seen.novelty.has(dimension::MODEL);
            let another = unknown && self.models.note(seen.features.model);
            if another && self.models.distinct >= 4 {
                self.recon |= recon::ENUMERATED;
            }
            // To keep to the model that it came with is what everybody does.
            if self.started && another && self.models.distinct >= 2 {
                add(&mut self.model, ANOTHER_MODEL, MODEL);
            } else if self.started && !unknown {
                add(&mut self.model, -0.1, MODEL);
            }
        }
        self.expected_input = u32::try_from(request.input_tokens_estimate).unwrap_or(u32::MAX);
        // What the first request shows is in the type of the arrival already.
        self.started = true;
    }

    /// Prompts: the key's own templates speak for the owner; beyond them a benign newcomer has a few of
    /// its own, and a reseller's differ at each request (two Chinese restaurant processes).
    fn note_prompt(&mut self, seen: &Seen<'_>) {
        let template = seen.features.template;
        if template == 0 {
            return;
        }
        if !seen.novelty.has(dimension::TEMPLATE) {
            if self.started {
                self.later_known = self.later_known.saturating_add(1);
            }
            return;
        }
        if self.started {
            self.later_strange = self.later_strange.saturating_add(1);
        }
        let few = seen.template_churn.clamp(1.0, MANY);
        let before = f64::from(self.prompts);
        let new = self.templates.note(template);
        if self.prompts > 0 {
            let (thief, benign) = if new {
                (MANY / (MANY + before), few / (few + before))
            } else {
                (1.0 / (MANY + before), 1.0 / (few + before))
            };
            // Most thieves have a few prompts of their own too: a mixture, so a repeat costs little.
            add(&mut self.prompt, ln(0.6 + 0.4 * thief / benign), PROMPT);
        }
        self.prompts = self.prompts.saturating_add(1);
    }

    /// What is known after a request ended.
    pub(crate) fn note_outcome(&mut self, event: &UsageEvent) {
        let bits = recon_bits(event);
        self.recon |= bits;
        if is_error(bits) {
            self.errors = self.errors.saturating_add(1);
        } else if event.outcome == Outcome::Served {
            self.answered = self.answered.saturating_add(1);
        }
        if self.errors >= 5 && self.errors > self.answered {
            self.recon |= recon::BURST;
        }
        if event.outcome.was_forwarded() {
            self.hour_cost += event.cost;
            self.peak_cost = self.peak_cost.max(self.hour_cost);
            self.note_sizes(event);
        }
    }

    fn note_sizes(&mut self, event: &UsageEvent) {
        let (input, output) = (event.usage.input_total(), event.usage.output);
        if input > 0 {
            self.expected_input = 0;
            self.input.add(octaves(input as f64));
        }
        if output > 0 {
            self.output.add(octaves(output as f64));
        }
        if let Some(price) = price_octaves(&event.usage, event.cost) {
            self.price.add(price);
        }
    }

    /// Evidence in token sizes; a request on its way counts with its estimate.
    fn size_nats(&self, baseline: &Baseline) -> f64 {
        let expected = (self.expected_input > 0).then(|| octaves(f64::from(self.expected_input)));
        let input = self
            .input
            .mean_with(expected)
            .zip(baseline.input_level())
            .map_or(0.0, |((mean, n), key)| sizes::input_nats(mean, n, key));
        let output = self
            .output
            .mean_with(None)
            .zip(baseline.output_level())
            .map_or(0.0, |((mean, n), key)| sizes::output_nats(mean, n, key));
        (input + output).clamp(SIZE.0, SIZE.1)
    }

    /// Evidence in what a token costs.
    fn price_nats(&self, baseline: &Baseline) -> f64 {
        let Some(((mean, _), key)) = self.price.mean_with(None).zip(baseline.price_level()) else {
            return 0.0;
        };
        sizes::price_nats(mean - key)
    }

    /// Evidence in how often it says the same: honest programs that check, measure or report on schedule ask the same
    /// again and again, a thief has no use for an answer that he has.
    fn repeat_nats(&self) -> f64 {
        let distinct = f64::from(u32::from(self.asks.distinct).min(self.asked));
        let (again, other) = (f64::from(self.asked) - distinct, (distinct - 1.0).max(0.0));
        // How much likelier the messages are from somebody who repeats himself than from somebody who does not.
        let repeats = exp((again * ln(0.9 / 0.03) + other * ln(0.1 / 0.97)).clamp(-20.0, 20.0));
        let mixed = |share: f64| share * repeats + 1.0 - share;
        ln(mixed(REPEATING_THIEVES) / mixed(REPEATING_HONEST))
    }

    /// Distinct kinds of reconnaissance.
    pub(crate) const fn recon_kinds(&self) -> u32 {
        self.recon.count_ones()
    }

    /// Whether this is a key checker at work: three kinds of probing, one of them deliberate, and one
    /// failure in four or more. An honest caller collects kinds too, but over many successes.
    pub(crate) const fn is_checker(&self) -> bool {
        let deliberate = self.recon_kinds() >= 3 && self.recon & recon::DELIBERATE != 0 && self.errors >= 2;
        let burst = self.recon_kinds() >= 4 && self.recon & recon::BURST != 0;
        (deliberate || burst) && self.mostly_fails()
    }

    const fn mostly_fails(&self) -> bool {
        self.errors.saturating_mul(3) >= self.answered
    }

    /// All factors on a key that is so many days old, with `in_flight` requests more on the way.
    pub(crate) fn factors(&self, baseline: &Baseline, in_flight: u32, key_days: f64) -> Factors {
        let requests = u64::from(self.peak_requests.max(self.hour_requests.saturating_add(in_flight)));
        // The busiest hour of a part of a day is exceeded by as much more.
        let part = key_days.min(1.0);
        let by_requests = excess(part * requests as f64 / baseline.reference_requests());
        let by_cost = excess(part * self.peak_cost.dollars() / baseline.reference_cost());
        // Benign newcomers open a few connections; a hundred at once is one in ten of those that do.
        let at_once = if in_flight < 8 { 1.0 } else { (f64::from(in_flight) / 2.0).sqrt() / 2.0 };
        let kinds = if self.mostly_fails() { self.recon_kinds() } else { 0 };
        let probing = f64::from(kinds.saturating_sub(1)) * 0.7;
        Factors {
            prompt: f64::from(self.prompt),
            repeat: self.repeat_nats(),
            model: f64::from(self.model),
            error: error_nats(self.errors, self.answered),
            size: self.size_nats(baseline),
            price: self.price_nats(baseline),
            hours: hours_nats(f64::from(self.hours)),
            volume: ln(0.6 * by_requests + 0.4 * by_cost).clamp(0.0, VOLUME_MAX),
            at_once: ln(at_once.clamp(1.0, 10.0)),
            recon: probing.min(RECON_MAX),
        }
    }

    /// How it asked after its first request.
    pub(crate) const fn later_prompts(&self) -> Prompts {
        Prompts { known: self.later_known, strange: self.later_strange }
    }

    /// Distinct prompt templates of its own, and requests with one.
    pub(crate) const fn own_prompts(&self) -> (u16, u32) {
        (self.templates.distinct, self.prompts)
    }

    /// Distinct last messages, and requests that had one.
    pub(crate) const fn asks(&self) -> (u16, u32) {
        (self.asks.distinct, self.asked)
    }

    /// Distinct models the key did not know.
    pub(crate) const fn unknown_models(&self) -> u16 {
        self.models.distinct
    }
}

/// Chinese restaurant parameter of a reseller: nearly every prompt is new.
const MANY: f64 = 20.0;
// Lower bounds are the share of thieves who look like benign newcomers in that respect: seven of ten.
const PROMPT: (f64, f64) = (-0.36, 2.2);
const MODEL: (f64, f64) = (-0.36, 1.4);
/// Each further model that the key never used.
const ANOTHER_MODEL: f64 = 0.7;
const ERROR_MAX: f64 = 2.1;
const SIZE: (f64, f64) = (-0.7, 6.0);
const HOURS: (f64, f64) = (-8.0, 8.0);
/// Three benign newcomers of ten keep no hours, and seven thieves of ten.
const NO_HOURS: f64 = 0.3;
const RECON_MAX: f64 = 2.1;
/// Shares of those who ask the same again and again.
const REPEATING_HONEST: f64 = 0.25;
const REPEATING_THIEVES: f64 = 0.03;
const TOTAL: (f64, f64) = (-4.0, 8.0);
/// What a burst may be worth, in nats.
const VOLUME_MAX: f64 = 4.5;

/// What failures say: three thieves of ten fail in three requests of ten, everybody else in three of a hundred.
fn error_nats(errors: u32, answered: u32) -> f64 {
    let failing = f64::from(errors) * ln(0.3 / 0.03) + f64::from(answered) * ln(0.7 / 0.97);
    ln(0.7 + 0.3 * exp(failing.min(20.0))).min(ERROR_MAX)
}

/// What the hours of a newcomer say: `nats` is how much likelier they are from somebody who keeps none.
fn hours_nats(nats: f64) -> f64 {
    let any = exp(nats);
    ln(((1.0 - NO_HOURS) * any + NO_HOURS) / (NO_HOURS * any + 1.0 - NO_HOURS))
}

/// Share of thieves who take what they can, anything up to so many times the key's busiest hour.
const TAKES: f64 = 0.5;
const TAKES_MAX: f64 = 300.0;

/// A newcomer's busiest hour against the key's, as a likelihood ratio. Of benign newcomers one in four ever comes to half
/// the key's busiest hour, and from there on the tail falls like `x^-1.5`, a little steeper than that of the steps that
/// keys make themselves ([`crate::surge`]). Both are assumptions. To be quiet is no evidence for the owner.
fn excess(ratio: f64) -> f64 {
    const REACHES: f64 = 0.25;
    const SLOPE: f64 = 1.5;
    if ratio <= 1.0 || ratio.is_nan() {
        return 1.0;
    }
    // Densities on the logarithmic scale.
    let benign = REACHES * SLOPE * libm::pow(ratio.min(1e4) / 0.5, -SLOPE);
    let thief = 1.0 / ln(TAKES_MAX);
    1.0 - TAKES + TAKES * thief / benign
}

/// The same of a thief in disguise: one in ten of those takes what he can.
fn quiet_nats(volume: f64) -> f64 {
    ln(0.9 + 0.1 * (exp(volume) - (1.0 - TAKES)) / TAKES).max(0.0)
}

/// Evidence from behaviour, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Factors {
    pub(crate) prompt: f64,
    pub(crate) repeat: f64,
    pub(crate) model: f64,
    pub(crate) error: f64,
    pub(crate) size: f64,
    pub(crate) price: f64,
    pub(crate) hours: f64,
    pub(crate) volume: f64,
    pub(crate) at_once: f64,
    pub(crate) recon: f64,
}

impl Factors {
    /// What each counts for beside the others, against a thief who shows himself or one in disguise. That is no
    /// likelihood ratio of one law, so its mean on honest newcomers may exceed one; the realised rates of false alarms,
    /// not this arithmetic, say that the budget holds.
    pub(crate) fn weighed(&self, disguised: bool) -> Self {
        let powers = if disguised { powers::DISGUISED } else { powers::OPEN };
        Self {
            prompt: powers.prompt.of(self.prompt),
            repeat: powers.repeat.of(self.repeat),
            model: powers.like_the_key.of(self.model),
            error: powers.like_the_key.of(self.error),
            size: powers.size.of(self.size),
            price: powers.like_the_key.of(self.price),
            hours: powers.hours.of(self.hours),
            volume: powers.volume.of(if disguised { quiet_nats(self.volume) } else { self.volume }),
            ..*self
        }
    }

    /// The sum of what is weighed already.
    pub(crate) const fn sum(&self) -> f64 {
        let Self { prompt, repeat, model, error, size, price, hours, volume, at_once, recon } = *self;
        prompt + repeat + model + error + size + price + hours + volume + at_once + recon
    }

    /// The bounded sum.
    pub(crate) fn total(&self, disguised: bool) -> f64 {
        self.weighed(disguised).sum().clamp(TOTAL.0, TOTAL.1)
    }
}

#[cfg(test)]
mod tests;
