//! What the key's own callers do that the key never did: prompts and models new to the key, from network and software that
//! it knows.
//!
//! A thief on the owner's machine, with the owner's software, is no newcomer. What is left to tell him by is what he asks
//! and how much of it: a new prompt or a new model comes with every deployment, but hardly ever at once many times over the
//! key's busiest hour. So the running hour is counted by what was new to the key a day ago, and weighed against how
//! often honest keys bring so much of it.
//!
//! Beside that, however few requests there are: many prompts at once that are all new. A reseller's users bring their own, a
//! deployment brings one or a few, or rewrites those that the key had.
//!
//! What it rests on: the rates of new prompts and models (`priors`), steps of whole keys on real traffic (`surge`), and the
//! assumption that a batch job comes each forty days, a quarter of them with a prompt of its own, a tenth with a model. How many
//! new prompts come in one hour was counted on clean simulated fleets of two authors; how often somebody evaluates a model
//! by many prompts is assumed.

use serde::{Deserialize, Serialize};
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::Timestamp;

use crate::baseline::Baseline;
use crate::churn::Churn;
use crate::engine::Rates;
use crate::features::Features;
use crate::known::Known;
use crate::math::{distinct, mark, print};
use crate::priors::Levels;
use crate::slot::EPISODE_SILENCE;
use crate::surge::{STEP, WHOLE_DAYS, by_cost, by_requests};

/// A new prompt or model and a surge are less independent than two dice: a launch brings both.
const LAUNCH: f64 = 3.0;
/// A new component brings an hour beyond the key's busiest nine times over once in ten, and further ones ever less.
const COMPONENT: f64 = 0.1;
/// Batch jobs a day, by what they bring, and how their size falls from five times the busiest hour on.
const JOBS: f64 = 1.0 / 40.0;
const JOB_HAS_PROMPT: f64 = 0.25;
const JOB_HAS_MODEL: f64 = 0.1;
const JOB_SIZE: f64 = 5.0;
const JOB_SLOPE: f64 = 1.5;
/// A new model may cost ten times as much a call, which is no surge.
const DEARER: u64 = 10;
/// So many prompts the key never had, in one hour, are hardly ever one deployment's or one job's.
const MANY_PROMPTS: u64 = 12;
const MANY_FACTOR: f64 = 8.0;
/// So many prompts in one hour that the key never had come from its own callers once in so many days (600 and 900 simulated
/// keys: seven or more on two of 13,500 key-days, five or more on six), more of them as much more seldom.
const SPREAD_FROM: u64 = 7;
const SPREAD_DAYS: f64 = 2_700.0;
const SPREAD_SLOPE: f64 = 2.0;
/// An evaluation of a model brings any number of prompts: times a day, on a key of machines and on one of people.
const EVALUATIONS: (f64, f64) = (1.0 / 10_000.0, 1.0 / 1_500.0);
/// No more than the key has: one change to what they have in common makes all of them new at once.
const REWRITTEN: f64 = 8.0;
/// A model or prompt that so large a share of the hour has in common is what to refuse. By votes: those for it, less
/// those against.
const LEADS: f64 = 0.6;

/// One sort of what is new, within the running hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Heap {
    requests: u32,
    cost: NanoUsd,
    /// Majority vote over the prints of what is new.
    leader: u32,
    votes: u32,
}

impl Heap {
    fn note(&mut self, print: u32, cost: NanoUsd) {
        self.requests = self.requests.saturating_add(1);
        self.cost += cost;
        if self.votes == 0 {
            self.leader = print;
        }
        self.votes =
            if self.leader == print { self.votes.saturating_add(1) } else { self.votes.saturating_sub(1) };
    }

    fn is_led_by(&self, print: u32) -> bool {
        self.leader == print && f64::from(self.votes) >= LEADS * f64::from(self.requests)
    }
}

/// An alert whose episode may still be open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    context: ContextMatch,
    last_seen: Timestamp,
}

/// The running hour of what is new to the key from its own callers.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Inside {
    hour: u32,
    /// The key's churn before the hour: a flood of new prompts does not make new prompts usual.
    churn: Option<Churn>,
    /// A new prompt on a model that the key uses.
    prompts: Heap,
    /// A new model, whatever the prompt.
    models: Heap,
    /// Of these, with a new prompt too.
    models_and_prompts: u32,
    /// Distinct new prompts.
    seen: [u64; 2],
    told: Option<Told>,
}

/// How the running hour weighs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weighed {
    pub(crate) requests: u32,
    pub(crate) cost: NanoUsd,
    pub(crate) busiest: u32,
    /// Whether it is about a model.
    pub(crate) by_model: bool,
    pub(crate) prompts: u64,
    /// How much rarer so many different ones make it.
    pub(crate) many: f64,
    /// Whether so many different ones are rarer than how much is asked.
    pub(crate) by_prompts: bool,
    /// An honest key does that once in so many days.
    pub(crate) days: f64,
}

/// What of a request was not the key's a day ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct New {
    pub(crate) model: bool,
    prompt: bool,
}

impl New {
    /// Before the request is learned; `None` when nothing is new.
    pub(crate) fn of(known: &Known, features: &Features, age_hours: u32) -> Option<Self> {
        let model = known.models.is_young(features.model, age_hours);
        let prompt = known.has_templates() && known.templates.is_young(features.template, age_hours);
        (model || prompt).then_some(Self { model, prompt })
    }
}

impl Inside {
    /// Counts a request of one of the key's own callers; `churn` is the key's, should the hour begin with it. Whether it has a
    /// new prompt that was not counted in this hour yet.
    pub(crate) fn note(
        &mut self,
        new: New,
        features: &Features,
        now: Timestamp,
        cost: NanoUsd,
        churn: Option<&Churn>,
    ) -> bool {
        if self.hour != now.hour() {
            let told = self.told.take();
            *self = Self { hour: now.hour(), told, churn: churn.cloned(), ..Self::default() };
        }
        if new.model {
            self.models.note(features.model, cost);
            self.models_and_prompts = self.models_and_prompts.saturating_add(u32::from(new.prompt));
        } else {
            self.prompts.note(features.template, cost);
        }
        let before = self.seen;
        if new.prompt {
            mark(&mut self.seen, u64::from(features.template));
        }
        self.seen != before
    }

    /// Weighs the hour by one of the two sorts; `None` when it is nothing special.
    pub(crate) fn weigh(&self, by_model: bool, key: &OfKey<'_>) -> Option<Weighed> {
        let heap = if by_model { &self.models } else { &self.prompts };
        let (busiest, dearest) = key.baseline.peaks();
        let dearest = if by_model { NanoUsd(dearest.0.saturating_mul(DEARER)) } else { dearest };
        let has_prompts = !by_model || f64::from(self.models_and_prompts) > 0.8 * f64::from(heap.requests);
        let levels = Levels {
            source: 1,
            client: 1,
            usage: if by_model { 1 << 1 } else { 1 },
            template: if has_prompts { 1 << 1 } else { Levels::ANY_TEMPLATE },
        };
        let days = |step: f64| {
            if step < STEP.from {
                return 0.0;
            }
            let own = (LAUNCH / STEP.return_period(step)).min(1.0);
            let jobs = JOBS * if by_model { JOB_HAS_MODEL } else { JOB_HAS_PROMPT };
            let jobs = jobs * libm::pow(JOB_SIZE / step, JOB_SLOPE).min(1.0);
            1.0 / (key.rates.rate_with(levels, |_, _| own, COMPONENT * STEP.from / step) + jobs)
        };
        let days = 0.5 * days(by_requests(heap.requests, busiest)) + 0.5 * days(by_cost(heap.cost, dearest));
        let prompts = distinct(&self.seen);
        // Where new prompts are everyday many of them are nothing.
        let many = if prompts >= MANY_PROMPTS { (MANY_FACTOR / key.prompt_churn).max(1.0) } else { 1.0 };
        let spread = if by_model { 0.0 } else { key.spread(prompts) };
        let (by_prompts, many) = if spread > days * many { (true, 1.0) } else { (false, many) };
        let days = if by_prompts { spread } else { days * many };
        let days = days * (key.maturity_days / WHOLE_DAYS).min(1.0);
        (days > 0.0).then_some(Weighed {
            requests: heap.requests,
            cost: heap.cost,
            busiest,
            by_model,
            prompts,
            many,
            by_prompts,
            days,
        })
    }

    /// The key's churn before the hour.
    pub(crate) const fn churn(&self) -> Option<&Churn> {
        self.churn.as_ref()
    }

    /// Whether an hour may be special, without looking at rates: a look that most requests end with. `is_one_more` as
    /// [`Inside::note`] said.
    pub(crate) fn may_be_special(&self, baseline: &Baseline, is_one_more: bool) -> bool {
        let (busy, dear) = baseline.peaks_at_least();
        // Two prompts may share a bit.
        let marked: u32 = self.seen.iter().map(|word| word.count_ones()).sum();
        if is_one_more && u64::from(marked) + 1 >= SPREAD_FROM {
            return true;
        }
        [self.prompts, self.models].iter().any(|heap| {
            by_requests(heap.requests, busy) >= STEP.from || by_cost(heap.cost, dear) >= STEP.from
        })
    }

    /// What most of the hour has in common and the request has, too; empty when there is no such thing.
    pub(crate) fn context(
        &self,
        by_model: bool,
        features: &Features,
        request: &RequestContext,
    ) -> ContextMatch {
        let mut context = ContextMatch::default();
        if by_model && self.models.is_led_by(features.model) {
            context.model = Some(request.model.clone());
        } else if !by_model && self.prompts.is_led_by(features.template) {
            // The print may be of the tools, where there is no template.
            let template = request.shape.template;
            context.template = (template != 0 && print(template) == features.template).then_some(template);
        }
        context
    }

    /// Whether an hour or an episode is still running.
    pub(crate) fn is_worth_keeping(&self, now: Timestamp) -> bool {
        self.hour == now.hour()
            || self.told.as_ref().is_some_and(|told| now.since(told.last_seen) <= EPISODE_SILENCE)
    }

    /// Opens an episode.
    pub(crate) fn tell(&mut self, context: ContextMatch, now: Timestamp) {
        self.told = Some(Told { context, last_seen: now });
    }

    /// The episode that a request is of, if it was told of: the request is refused, and teaches nothing.
    pub(crate) fn told(&self, request: &RequestContext) -> Option<&ContextMatch> {
        let told = self.told.as_ref()?;
        let is_open = request.time.since(told.last_seen) <= EPISODE_SILENCE;
        (is_open && told.context.matches(request)).then_some(&told.context)
    }

    /// Keeps an episode open while its requests come.
    pub(crate) fn hold(&mut self, now: Timestamp) {
        if let Some(told) = &mut self.told {
            told.last_seen = told.last_seen.max(now);
        }
    }

    /// Ends an episode about a context that somebody says is the owner's, or expects.
    pub(crate) fn release(&mut self, is_it: impl Fn(&ContextMatch) -> bool) {
        if self.told.as_ref().is_some_and(|told| is_it(&told.context)) {
            *self = Self::default();
        }
    }
}

/// What an hour is weighed against.
pub(crate) struct OfKey<'a> {
    pub(crate) baseline: &'a Baseline,
    pub(crate) rates: Rates<'a>,
    /// How much more often than others of its kind the key has new prompts.
    pub(crate) prompt_churn: f64,
    /// Prompts that it has had for a day or more.
    pub(crate) prompts: usize,
    /// How much people hold it.
    pub(crate) people: f64,
    pub(crate) maturity_days: f64,
}

impl OfKey<'_> {
    /// Once in how many days so many new prompts come in one hour from callers of an honest key like this; 0 when they are
    /// not many.
    fn spread(&self, prompts: u64) -> f64 {
        if prompts < SPREAD_FROM {
            return 0.0;
        }
        let step = prompts as f64 / SPREAD_FROM as f64;
        let rewritten = if prompts <= self.prompts as u64 { REWRITTEN } else { 1.0 };
        let own = self.prompt_churn * rewritten / (SPREAD_DAYS * libm::pow(step, SPREAD_SLOPE));
        let (machines, people) = EVALUATIONS;
        1.0 / (own + (1.0 - self.people) * machines + self.people * people)
    }
}
