//! Channels of evidence that share one false-alarm budget.
//!
//! Each channel turns what it sees into a return period in days: "an honest key like this does that
//! once in so many days". Channels are merged by a weighted sum whose weights add up to one: for e-values
//! that depend on each other in unknown ways that is the only admissible merger (Vovk and Wang 2021), and
//! the sum keeps the budget that each part would have had alone. A new channel (an isolation forest, an LSTM)
//! brings its own statistic and a [`Tail`], takes a share from the others, and nothing else moves.

/// Share of the budget of the newcomer channel.
pub(crate) const NEWCOMER_SHARE: f64 = 0.7;
/// Share of the budget of the surge channel.
pub(crate) const SURGE_SHARE: f64 = 0.1;
/// Share of the budget of what the key's own callers do that the key never did.
pub(crate) const INSIDE_SHARE: f64 = 0.2;

/// How rare large values of a statistic are on clean keys: `days * (x / from)^slope` from `from` on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tail {
    pub(crate) from: f64,
    pub(crate) days: f64,
    pub(crate) slope: f64,
    /// Never claim a rarity beyond the exposure it was calibrated on, in days.
    pub(crate) cap: f64,
}

impl Tail {
    /// The return period of a value; 0 where the tail is not known.
    pub(crate) fn return_period(&self, x: f64) -> f64 {
        if x.is_nan() || x < self.from {
            return 0.0;
        }
        (self.days * libm::pow(x / self.from, self.slope)).min(self.cap)
    }
}

/// A newcomer's hour against the key's busiest of the month; the whole key's hour is for [`crate::surge`], which has the
/// same share of the budget: what a newcomer does, the key does too. On 183 real clients, 0.31 % of 1,281 clean key-days
/// exceeded the largest of the seven days before more than a hundred times: once in 322 days.
pub(crate) const SURGE: Tail = Tail { from: 100.0, days: 322.0, slope: 1.0, cap: 1_281.0 };

/// What is given back of the slack that bounds leave: on simulated clean keys the sum without it was exceeded at B less
/// than half as often as once in B days, when newcomers had nine tenths of the budget. The share that others were given
/// since was taken from that slack. `tokenwatch evaluate` prints what is stated beside what is realised; the factor
/// rests on the simulator's rates of honest change, so a fleet that changes more often sees more alarms than it was told.
pub(crate) const CALIBRATION: f64 = 18.0 / 7.0;

/// The merged score in days. A channel that was not asked, or has nothing to say, counts as zero.
pub(crate) fn merge(newcomer: f64, surge: f64) -> f64 {
    CALIBRATION * NEWCOMER_SHARE * newcomer + SURGE_SHARE * surge
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_the_whole_budget() {
        assert!((NEWCOMER_SHARE + SURGE_SHARE + INSIDE_SHARE - 1.0).abs() < 1e-12);
    }

    #[test]
    fn rarity_is_never_claimed_beyond_the_calibration() {
        assert_eq!(SURGE.return_period(99.0), 0.0);
        assert_eq!(SURGE.return_period(200.0), 644.0);
        assert_eq!(SURGE.return_period(1e12), 1_281.0);
        assert_eq!(SURGE.return_period(f64::NAN), 0.0);
        // Volume alone never reaches the default alert.
        assert!(merge(0.0, SURGE.return_period(1e12)) < 1_000.0);
    }
}
