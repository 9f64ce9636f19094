//! What the sizes and prices of a newcomer's requests say, taken as a whole.
//!
//! A newcomer's requests resemble each other, so they are not independent evidence: what counts is the
//! newcomer's *mean*, compared under three laws for it. Benign newcomers are half like the key and half like any
//! customer, and one in fifty is of any size at all: nobody can rule out a new component that reads books. Thieves
//! are partly like the key (they use its own application), partly sell chats, and partly take all the key
//! gives: agents and the longest prompts; checkers say "hi". Every ratio is bounded by the laws themselves.
//!
//! Source of the fleet's law: geometric means of 128 real customers (ServeGen): input 9.3 octaves with a spread of
//! 1.7, none above 13.6; output 6.0 with a spread of 2.4. Thieves' sizes: published rates of resale proxies and
//! agent sessions (2,000 to 16,000 and 20,000 to 200,000 input tokens).

use crate::histogram::Level;
use crate::math::{exp, ln};

/// A normal law, in octaves.
struct Normal(f64, f64);

impl Normal {
    /// Density at `x` of a mean that has this variance of its own beside.
    fn density(&self, x: f64, variance: f64) -> f64 {
        let sigma = (self.1 * self.1 + variance).sqrt();
        let z = (x - self.0) / sigma;
        exp(-0.5 * z * z) / (sigma * 2.506_628_274_631_000_7)
    }
}

/// The laws of a mean size.
struct Laws {
    fleet: Normal,
    chats: Normal,
    all_it_gives: Normal,
    probes: Normal,
    /// Shares of thieves: like the key, chats, all it gives, probes.
    thieves: [f64; 4],
}

const INPUT: Laws = Laws {
    fleet: Normal(9.3, 1.7),
    chats: Normal(11.5, 1.8),
    all_it_gives: Normal(15.5, 1.5),
    probes: Normal(3.5, 0.7),
    thieves: [0.42, 0.30, 0.20, 0.08],
};
const OUTPUT: Laws = Laws {
    fleet: Normal(6.0, 2.4),
    chats: Normal(8.0, 1.5),
    all_it_gives: Normal(11.5, 1.2),
    probes: Normal(3.0, 1.5),
    thieves: [0.42, 0.33, 0.17, 0.08],
};

/// Benign newcomers of any size at all, over 16 octaves.
const ANY: f64 = 0.02 / 16.0;
/// How far a component's own mean lies from its key's, in octaves.
const BETWEEN: f64 = 0.5;
/// What one figure may add or take, in nats.
const BOUNDS: (f64, f64) = (-0.8, 4.0);
/// Spread of one caller's requests, in octaves: the median of real customers is half, a quarter have over 1.1.
const WITHIN: f64 = 1.1;
/// An average has settled after so many requests, whatever comes.
const SETTLED: f64 = 8.0;

impl Laws {
    fn nats(&self, mean: f64, requests: f64, key: Level) -> f64 {
        let n = requests.clamp(1.0, SETTLED);
        let within = WITHIN * WITHIN / n;
        let like_key = Normal(key.mean, BETWEEN).density(mean, key.sigma * key.sigma / n);
        let benign = 0.5 * like_key + 0.48 * self.fleet.density(mean, within) + ANY;
        let [key, chats, all, probes] = self.thieves;
        let thief = key * like_key
            + chats * self.chats.density(mean, within)
            + all * self.all_it_gives.density(mean, within)
            + probes * self.probes.density(mean, within)
            + ANY / 2.0;
        ln(thief / benign).clamp(BOUNDS.0, BOUNDS.1)
    }
}

/// Evidence in the mean input size, in octaves, of so many requests.
pub(crate) fn input_nats(mean: f64, requests: f64, key: Level) -> f64 {
    INPUT.nats(mean, requests, key)
}

/// The same for output.
pub(crate) fn output_nats(mean: f64, requests: f64, key: Level) -> f64 {
    OUTPUT.nats(mean, requests, key)
}

/// Evidence in the price of a token, as octaves above what the key pays: thieves want the dearest model, a
/// benign newcomer's model costs more than four times as much in one case of eight.
pub(crate) fn price_nats(octaves: f64) -> f64 {
    match octaves {
        x if x >= 2.0 => 1.3,
        x if x >= 1.0 => 0.4,
        _ => -0.25,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Level = Level { mean: 9.0, sigma: 0.8 };

    #[track_caller]
    fn check(mean: f64, requests: f64, want: std::ops::Range<f64>) {
        let nats = input_nats(mean, requests, KEY);
        assert!(want.contains(&nats), "{mean} {requests}: {nats}");
    }

    #[test]
    fn only_what_no_customer_sends_is_strong_evidence() {
        check(9.0, 20.0, -0.8..0.0);
        check(7.0, 20.0, -0.8..0.2);
        check(12.0, 20.0, 0.3..1.5);
        check(13.5, 20.0, 1.0..2.5);
        check(16.5, 1.0, 2.5..4.1);
        check(16.5, 8.0, 3.5..4.1);
        check(3.3, 1.0, 1.0..4.0);
        check(0.0, 1.0, -0.8..0.1);
        check(f64::INFINITY, 1.0, -1.0..0.1);
    }

    #[test]
    fn an_honest_newcomer_gains_nothing_on_average() {
        // The ratio's mean under the benign law is one or less: it is an e-value.
        let mut mean = 0.0;
        let steps = 4_000;
        for i in 0..steps {
            let x = 0.0 + 24.0 * (f64::from(i) + 0.5) / f64::from(steps);
            let like_key = Normal(KEY.mean, BETWEEN).density(x, KEY.sigma * KEY.sigma / SETTLED);
            let any = if (4.0..20.0).contains(&x) { ANY } else { 0.0 };
            let within = WITHIN * WITHIN / SETTLED;
            let benign = 0.5 * like_key + 0.48 * INPUT.fleet.density(x, within) + any;
            mean += benign * exp(input_nats(x, SETTLED, KEY)) * 24.0 / f64::from(steps);
        }
        assert!(mean < 1.05, "{mean}");
    }

    #[test]
    fn dear_models_speak_against_and_usual_ones_for() {
        assert!(price_nats(5.0) > price_nats(1.5) && price_nats(1.5) > 0.0 && price_nats(0.0) < 0.0);
        assert!(price_nats(f64::NAN) < 0.0);
    }
}
