//! How much each kind of evidence about a newcomer counts beside the others.
//!
//! Every factor is a likelihood ratio by itself, from stated assumptions. Together they are not: habits come in bundles,
//! requests of one caller resemble each other, and bounds cut off what is extreme. So each ratio is taken to a power
//! before all are multiplied, above one where the factor says more than its bounds let it, below where it says again what
//! others said. The powers, and the bets on ways to steal in the shipped tables, were fitted together to find the most
//! thefts at one to two false alarms in a thousand key-days, on half of the clients of simulated fleets (seeds 2, 3 and 5)
//! and on fleets of a second simulator, written by somebody who knew neither the first nor this detector; then rounded as
//! far as neither lost by it. Where it makes no difference the power is one.

/// To what power a ratio is taken, by what it speaks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Power {
    thief: f64,
    owner: f64,
}

impl Power {
    const ONE: Self = Self { thief: 1.0, owner: 1.0 };
    /// Nothing that speaks for the owner counts.
    const ONLY_THIEF: Self = Self { thief: 1.0, owner: 0.0 };

    /// Weighs evidence in nats.
    pub(crate) const fn of(self, nats: f64) -> f64 {
        nats * if nats > 0.0 { self.thief } else { self.owner }
    }
}

/// Powers of what a newcomer does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Powers {
    pub(crate) prompt: Power,
    pub(crate) repeat: Power,
    pub(crate) size: Power,
    pub(crate) hours: Power,
    pub(crate) volume: Power,
    /// Of models, errors, prices and topics.
    pub(crate) like_the_key: Power,
}

/// Against thieves who do not hide.
pub(crate) const OPEN: Powers = Powers {
    prompt: Power { thief: 0.5, owner: 0.5 },
    repeat: Power::ONE,
    size: Power { thief: 1.75, owner: 1.5 },
    hours: Power { thief: 1.5, owner: 1.25 },
    volume: Power { thief: 1.5, owner: 1.0 },
    like_the_key: Power::ONE,
};

/// Against thieves in disguise: it is no evidence to be like the key, only to be unlike it. To ask the same again and
/// again is like nobody's key.
pub(crate) const DISGUISED: Powers = Powers {
    prompt: Power { thief: 0.5, owner: 0.0 },
    repeat: Power { thief: 1.5, owner: 1.2 },
    size: Power::ONLY_THIEF,
    hours: Power { thief: 1.75, owner: 0.0 },
    volume: Power { thief: 0.65, owner: 1.0 },
    like_the_key: Power::ONLY_THIEF,
};

/// Of phrases.
pub(crate) const PHRASES: Power = Power { thief: 1.3, owner: 1.0 };
/// Of the kind of network and the house.
pub(crate) const ORIGIN: Power = Power { thief: 1.3, owner: 0.8 };
/// Of the kind of software.
pub(crate) const SOFTWARE: Power = Power { thief: 1.4, owner: 1.25 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_depends_on_what_the_evidence_speaks_for() {
        let power = Power { thief: 2.0, owner: 0.5 };
        assert_eq!([power.of(3.0), power.of(-3.0), power.of(0.0)], [6.0, -1.5, 0.0]);
    }

    #[test]
    fn to_be_like_the_key_never_speaks_for_who_may_be_in_disguise() {
        let Powers { prompt, size, hours, like_the_key, repeat: _, volume: _ } = DISGUISED;
        assert!([prompt, size, hours, like_the_key].iter().all(|power| power.of(-1.0) == 0.0));
    }
}
