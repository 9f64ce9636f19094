//! A key's hours as rows of numbers: what the forest and the recurrent network look at.
//!
//! An hour with traffic is one row of [`MEASURED`] figures: first what was used, then what was new, and the
//! hour of the day beside them. Every figure is normalised by the key's own past, so that one model serves
//! the whole fleet: a row says how unusual the hour is *for this key*.
//!
//! Invariants:
//! * A row rests on the hours before it and on itself; the key's normal learns from it afterwards, with
//!   figures held to three spreads, so that one wild hour does not become normal at once.
//! * No row before [`WARM_UP`] hours with traffic: until then the key has no normal to be measured by. The
//!   first day defines who the key's callers are, so nothing is new in it.
//! * Every figure is finite and at most [`FAR`] spreads from normal. Memory is bounded.

use serde::{Deserialize, Serialize};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::time::DAY;

use super::clock::{Clock, Tick};
use crate::behaviour::{is_error, recon_bits};
use crate::features::Features;
use crate::known::{Known, dimension};
use crate::math::{distinct, ln, mark};

/// Figures about usage: logarithms of requests, tokens and cost, mean logarithms of a request's input and
/// output, share of requests on expensive models.
pub(super) const USAGE: usize = 6;
/// Figures in all: first-seen networks, countries, client versions, TLS prints and templates, distinct
/// networks, share of errors.
pub(super) const MEASURED: usize = USAGE + 7;

/// Hours with traffic before a key has a normal.
pub(super) const WARM_UP: u16 = 24;
/// Figures are held to so many spreads from normal.
pub(super) const FAR: f32 = 20.0;
/// The normal is an average of about so many hours with traffic: two weeks round the clock.
const MEMORY: u16 = 336;
/// Spreads are at least this, so that a key that never varied is not infinitely surprised.
const FLOOR: [f32; MEASURED] = [0.25, 0.25, 0.25, 0.25, 0.25, 0.1, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.05];
/// What the normal learns is held to so many spreads.
const WINSOR: f32 = 3.0;
/// Dollars for a million input tokens above which a model is expensive; an output token counts as four
/// input tokens, and a cache read as a tenth.
const EXPENSIVE: f64 = 2.0;

/// Which figures a method looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Only how much is used.
    Usage,
    /// Also what is new: networks, countries, clients, prompt templates, and errors.
    Novelty,
}

impl Scope {
    /// How many of the figures.
    pub(super) const fn measured(self) -> usize {
        match self {
            Self::Usage => USAGE,
            Self::Novelty => MEASURED,
        }
    }
}

/// One hour with traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    /// Figures in spreads from the key's normal; those outside the scope are 0.
    pub(super) figures: [f32; MEASURED],
    /// The hour of the day on a circle.
    pub(super) sin: f32,
    pub(super) cos: f32,
    /// Logarithm of the hours since the row before.
    pub(super) gap: f32,
}

/// Sums of the hour that is open.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    requests: u32,
    tokens: u64,
    dollars: f64,
    with_usage: u32,
    input: f64,
    output: f64,
    expensive: u32,
    errors: u32,
    /// First-seen networks, countries, versions, TLS prints, templates.
    new: [u16; 5],
    networks: [u64; 2],
}

impl Open {
    fn add(&mut self, event: &UsageEvent) {
        self.requests = self.requests.saturating_add(1);
        self.errors = self.errors.saturating_add(u32::from(is_error(recon_bits(event))));
        let usage = &event.usage;
        let tokens = usage.total();
        if tokens == 0 {
            return;
        }
        self.tokens = self.tokens.saturating_add(tokens);
        self.dollars += event.cost.dollars();
        self.with_usage = self.with_usage.saturating_add(1);
        self.input += ln(1.0 + usage.input_total() as f64);
        self.output += ln(1.0 + usage.output as f64);
        let written = usage.input.saturating_add(usage.cache_write).saturating_add(usage.cache_write_1h);
        let weighed = written as f64 + 0.1 * usage.cache_read as f64 + 4.0 * usage.output as f64;
        let is_expensive = event.cost.dollars() * 1e6 > EXPENSIVE * weighed;
        self.expensive = self.expensive.saturating_add(u32::from(is_expensive));
    }

    fn figures(&self) -> [f32; MEASURED] {
        let share = |part: f64, whole: u32| part / f64::from(whole.max(1));
        let log = |x: f64| ln(1.0 + x);
        let [networks, countries, versions, tls, templates] = self.new.map(|n| log(f64::from(n)));
        [
            log(f64::from(self.requests)),
            log(self.tokens as f64),
            // In thousandths of a dollar: the logarithm is to be bent near nothing, not near a dollar.
            log(self.dollars * 1_000.0),
            share(self.input, self.with_usage),
            share(self.output, self.with_usage),
            share(f64::from(self.expensive), self.with_usage),
            networks,
            countries,
            versions,
            tls,
            templates,
            log(distinct(&self.networks) as f64),
            share(f64::from(self.errors), self.requests),
        ]
        .map(|figure| figure as f32)
    }
}

/// The key's own level and spread of each figure, over hours with traffic.
#[derive(Clone, Debug)]
struct Normal {
    hours: u16,
    mean: [f32; MEASURED],
    variance: [f32; MEASURED],
}

impl Normal {
    const NONE: Self = Self { hours: 0, mean: [0.0; MEASURED], variance: [0.0; MEASURED] };

    fn spread(&self, of: usize) -> f32 {
        self.variance[of].max(0.0).sqrt().max(FLOOR[of])
    }

    /// Figures in spreads from the level; `None` while there is no normal.
    fn measure(&self, figures: &[f32; MEASURED], scope: Scope) -> Option<[f32; MEASURED]> {
        if self.hours < WARM_UP {
            return None;
        }
        let mut measured = [0.0; MEASURED];
        for (of, place) in measured.iter_mut().enumerate().take(scope.measured()) {
            *place = ((figures[of] - self.mean[of]) / self.spread(of)).clamp(-FAR, FAR);
        }
        Some(measured)
    }

    fn learn(&mut self, figures: &[f32; MEASURED]) {
        let is_warm = self.hours >= WARM_UP;
        self.hours = (self.hours + 1).min(MEMORY);
        let weight = 1.0 / f32::from(self.hours);
        for (of, &figure) in figures.iter().enumerate() {
            let limit = WINSOR * self.spread(of);
            let step = figure - self.mean[of];
            let step = if is_warm { step.clamp(-limit, limit) } else { step };
            self.mean[of] += weight * step;
            // The exponentially weighted form of Welford's update.
            self.variance[of] = (1.0 - weight) * (self.variance[of] + weight * step * step);
        }
    }
}

/// The hours of one key.
#[derive(Clone, Debug)]
pub(super) struct Hours {
    scope: Scope,
    clock: Clock,
    hour: u32,
    open: Open,
    known: Option<Box<Known>>,
    normal: Normal,
    /// The hour of the latest row.
    before: Option<u32>,
}

impl Hours {
    pub(super) fn new(scope: Scope) -> Self {
        let known = match scope {
            Scope::Usage => None,
            Scope::Novelty => Some(Box::default()),
        };
        Self {
            scope,
            clock: Clock::default(),
            hour: 0,
            open: Open::default(),
            known,
            normal: Normal::NONE,
            before: None,
        }
    }

    /// Takes in an event. Gives the row of the hour that it ends, if that hour had traffic and the key has a
    /// normal.
    pub(super) fn see(&mut self, event: &UsageEvent) -> Option<Row> {
        let (time, rewound) = match self.clock.follow(event) {
            Tick::At(time) => (time, false),
            Tick::Rewound(time) => (time, true),
            Tick::Skip => return None,
        };
        let counts = event.outcome.was_forwarded() || is_error(recon_bits(event));
        let mut row = None;
        if rewound {
            (self.open, self.hour, self.before) = (Open::default(), time.hour(), None);
        } else if time.hour() > self.hour {
            row = self.close();
            self.hour = time.hour();
        }
        if counts {
            self.note_callers(event);
            self.open.add(event);
        }
        row
    }

    fn note_callers(&mut self, event: &UsageEvent) {
        let Some(known) = &mut self.known else { return };
        let features = Features::of(&event.request);
        mark(&mut self.open.networks, u64::from(features.network()));
        let flags = known.learn(&features, self.hour);
        if self.clock.age() < DAY {
            return;
        }
        let has = |of: usize| flags >> of & 1 == 1;
        // Where the network is not known, a new block of addresses stands for it.
        let network = has(dimension::NETWORK) || features.asn == 0 && has(dimension::PREFIX);
        let version = has(dimension::VERSION) || has(dimension::FAMILY);
        let new = [network, has(dimension::COUNTRY), version, has(dimension::TLS), has(dimension::TEMPLATE)];
        for (count, is_new) in self.open.new.iter_mut().zip(new) {
            *count = count.saturating_add(u16::from(is_new));
        }
    }

    fn close(&mut self) -> Option<Row> {
        let open = std::mem::take(&mut self.open);
        if open.requests == 0 {
            return None;
        }
        let figures = open.figures();
        let measured = self.normal.measure(&figures, self.scope);
        self.normal.learn(&figures);
        let gap = self.before.map_or(1, |before| self.hour.saturating_sub(before));
        self.before = Some(self.hour);
        let (sin, cos) = on_circle(self.hour);
        measured.map(|figures| Row { figures, sin, cos, gap: ln(f64::from(gap.max(1))) as f32 })
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.known.as_ref().map_or(0, |known| size_of::<Known>() + known.heap_bytes())
    }
}

/// An hour's place on the circle of the day.
fn on_circle(hour: u32) -> (f32, f32) {
    let angle = f64::from(hour % 24) / 24.0 * std::f64::consts::TAU;
    (libm::sin(angle) as f32, libm::cos(angle) as f32)
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::outcome::{Outcome, Refusal};
    use tokenwatch_model::time::{HOUR, MINUTE};

    use super::*;
    use crate::classic::sample::event;

    /// `hours` hours with four requests each, of about 50 output tokens.
    fn warm(scope: Scope, hours: u64) -> Hours {
        let mut watched = Hours::new(scope);
        for i in 0..hours * 4 {
            watched.see(&event(i * 15 * MINUTE, 40 + i * 7 % 20));
        }
        watched
    }

    /// The row of the hour after two days, in which `send` was called, seen by an event of the next hour.
    fn row(send: impl Fn(&mut Hours)) -> Row {
        let mut hours = warm(Scope::Novelty, 48);
        hours.see(&event(48 * HOUR, 50));
        send(&mut hours);
        hours.see(&event(49 * HOUR, 50)).unwrap()
    }

    #[test]
    fn there_is_no_row_before_there_is_a_normal() {
        let mut hours = Hours::new(Scope::Usage);
        let rows = (0..40 * 4).filter_map(|i| hours.see(&event(i * 15 * MINUTE, 50))).count();
        // The last hour is open, and the first 24 made the normal.
        assert_eq!(rows, 39 - usize::from(WARM_UP));
    }

    #[test]
    fn a_usual_hour_is_near_normal_and_a_flood_is_not() {
        let quiet = row(|hours| {
            (1..4).for_each(|i| {
                hours.see(&event(48 * HOUR + i * 15 * MINUTE, 50));
            })
        });
        assert!(quiet.figures.iter().all(|figure| figure.abs() < 2.5), "{quiet:?}");
        let flood = row(|hours| {
            (1..4_000).for_each(|i| {
                hours.see(&event(48 * HOUR + i * 800_000, 50));
            })
        });
        assert!(flood.figures[..3].iter().all(|&figure| figure > 8.0), "{flood:?}");
        assert!(flood.figures[3..].iter().all(|&figure| figure.abs() < 2.5), "{flood:?}");
    }

    #[test]
    fn what_is_new_is_counted_where_it_is_new() {
        let stranger = row(|hours| {
            let mut odd = event(48 * HOUR + MINUTE, 50);
            odd.request.source.facts.asn = 64_500;
            odd.request.source.address = "203.0.113.9".parse().unwrap();
            odd.request.client.tls = 99;
            hours.see(&odd);
        });
        let [networks, countries, versions, tls, templates, distinct, errors] = stranger.figures[USAGE..]
        else {
            panic!("other figures");
        };
        assert!(networks > 2.0 && tls > 2.0 && distinct > 1.0, "{stranger:?}");
        assert_eq!((countries, versions, templates, errors), (0.0, 0.0, 0.0, 0.0));
    }

    #[test]
    fn errors_count_even_when_refused_for_want_of_permission() {
        let probing = row(|hours| {
            for i in 1..4 {
                let mut odd = event(48 * HOUR + i * MINUTE, 0);
                odd.outcome = Outcome::Refused(Refusal::ModelNotInScope);
                odd.status = 403;
                hours.see(&odd);
            }
        });
        assert!(probing.figures[MEASURED - 1] > 10.0, "{probing:?}");
        let contained = row(|hours| {
            let mut odd = event(48 * HOUR + MINUTE, 0);
            odd.outcome = Outcome::Refused(Refusal::Suspended);
            hours.see(&odd);
        });
        assert_eq!(contained.figures[MEASURED - 1], 0.0);
    }

    #[test]
    fn usage_alone_remembers_no_callers() {
        let (usage, novelty) = (warm(Scope::Usage, 48), warm(Scope::Novelty, 48));
        assert!(usage.known.is_none() && usage.bytes() < novelty.bytes());
    }

    #[test]
    fn the_gap_and_the_hour_of_the_day_are_told() {
        let mut hours = warm(Scope::Usage, 48);
        hours.see(&event(53 * HOUR, 50));
        let row = hours.see(&event(54 * HOUR, 50)).unwrap();
        // From hour 47 to hour 53, which is five in the morning.
        assert!((row.gap - 6f32.ln()).abs() < 1e-6, "{row:?}");
        assert!((row.sin - 0.966).abs() < 1e-3 && (row.cos - 0.259).abs() < 1e-3, "{row:?}");
    }
}
