//! What a drill counts, and what becomes of it: pure.

use serde::Serialize;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_testkit::theft::{Theft, TheftGroup};

/// The thief's share that must be refused once it is contained.
pub(super) const REFUSED_MIN: f64 = 0.99;
/// The owner's share that must be served then.
pub(super) const SERVED_MIN: f64 = 0.999;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The mock answered it.
    Served,
    /// We refused it, and why.
    Refused(Refusal),
    /// There was no whole answer.
    Failed,
}

/// What was counted of one rehearsed theft.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Counts {
    /// The thief's requests.
    pub(super) thief_requests: u64,
    /// Of these, served.
    pub(super) thief_served: u64,
    /// What those would have cost.
    pub(super) thief_cost: NanoUsd,
    /// The thief's requests after its first refusal.
    pub(super) thief_after: u64,
    /// Of these, served.
    pub(super) thief_served_after: u64,
    /// The owner's requests.
    pub(super) owner_requests: u64,
    /// Of these, refused.
    pub(super) owner_refused: u64,
    /// The owner's requests after the thief's first refusal.
    pub(super) owner_after: u64,
    /// Of these, refused.
    pub(super) owner_refused_after: u64,
    /// Requests without a whole answer.
    pub(super) failed: u64,
    /// When the thief came first, on the drill's clock, in Unix milliseconds.
    pub(super) first_ms: Option<u64>,
    /// When it was found.
    pub(super) detected_ms: Option<u64>,
    /// When it was first refused.
    pub(super) refused_ms: Option<u64>,
}

impl Counts {
    /// Counts a request of the thief.
    pub(super) fn thief(&mut self, at_ms: u64, ended: Ended, cost: NanoUsd) {
        self.thief_requests += 1;
        self.first_ms.get_or_insert(at_ms);
        if let Ended::Refused(refusal) = ended
            && refusal.is_containment()
        {
            self.refused_ms.get_or_insert(at_ms);
        }
        let is_served = ended == Ended::Served;
        if is_served {
            self.thief_served += 1;
            self.thief_cost += cost;
        }
        self.failed += u64::from(ended == Ended::Failed);
        if self.refused_ms.is_some() {
            self.thief_after += 1;
            self.thief_served_after += u64::from(is_served);
        }
    }

    /// Counts a request of the owner.
    pub(super) fn owner(&mut self, ended: Ended) {
        let is_refused = matches!(ended, Ended::Refused(_));
        self.owner_requests += 1;
        self.owner_refused += u64::from(is_refused);
        self.failed += u64::from(ended == Ended::Failed);
        if self.refused_ms.is_some() {
            self.owner_after += 1;
            self.owner_refused_after += u64::from(is_refused);
        }
    }

    /// The thief's share that was refused once it was contained.
    pub(super) fn thief_refused_share(&self) -> Option<f64> {
        (self.thief_after > 0).then(|| 1.0 - self.thief_served_after as f64 / self.thief_after as f64)
    }

    /// The owner's share that was served then.
    pub(super) fn owner_served_share(&self) -> Option<f64> {
        (self.owner_after > 0).then(|| 1.0 - self.owner_refused_after as f64 / self.owner_after as f64)
    }

    /// Seconds on the drill's clock since the thief came.
    pub(super) fn since_first(&self, at_ms: Option<u64>) -> Option<f64> {
        Some(at_ms?.saturating_sub(self.first_ms?) as f64 / 1_000.0)
    }
}

/// What became of one line of the checklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    /// As it must be.
    Passed,
    /// Not as it must be.
    Failed,
    /// Not as it should be; says nothing about the drill.
    Warning,
    /// Nothing to see in this drill.
    Skipped,
}

/// One line of the checklist.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Check {
    /// Stable name.
    pub(super) name: &'static str,
    /// What became of it.
    pub(super) mark: Mark,
    /// Why, with its numbers.
    pub(super) what: String,
}

impl Check {
    pub(super) fn new(name: &'static str, is_good: bool, what: impl Into<String>) -> Self {
        Self { name, mark: if is_good { Mark::Passed } else { Mark::Failed }, what: what.into() }
    }

    pub(super) fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, mark: Mark::Skipped, what: why.into() }
    }
}

/// What became of one rehearsed theft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Everything on its checklist is as it must be.
    Passed,
    /// Something is not.
    Failed,
    /// It was not found, and careful ones are not always.
    Missed,
}

/// Whether a theft has to be found: its network or software is new to the key, and it is loud enough. A careful thief looks
/// like the key's own growth for a while, and nobody can tell a perfect copy by its traffic.
pub(super) const fn must_be_found(theft: Theft) -> bool {
    match theft.group() {
        TheftGroup::Documented | TheftGroup::Loud => !matches!(theft, Theft::Mimic),
        TheftGroup::Careful | TheftGroup::Mimic => false,
    }
}

/// Detection, containment and the owner's traffic as lines of a checklist.
pub(super) fn check_counts(theft: Theft, counts: &Counts) -> Vec<Check> {
    let mut checks = Vec::new();
    let detected = counts.since_first(counts.detected_ms);
    let what = match detected {
        Some(seconds) => format!("found {} after its first request", span(seconds)),
        None => format!("not found in {} requests", counts.thief_requests),
    };
    checks.push(Check::new("detected", detected.is_some(), what));
    checks.push(match (counts.refused_ms, counts.thief_refused_share()) {
        (Some(_), Some(share)) => Check::new(
            "contained",
            share >= REFUSED_MIN,
            format!(
                "{} of its requests refused since it was contained ({:.2} %, at least {:.0} %); {} served before, worth ${:.2}",
                counts.thief_after - counts.thief_served_after,
                share * 100.0,
                REFUSED_MIN * 100.0,
                counts.thief_served - counts.thief_served_after,
                counts.thief_cost.dollars(),
            ),
        ),
        // Whoever only looks whether a key works is gone before anybody could refuse it.
        _ if detected.is_some() && is_short(theft) => {
            Check::skipped("contained", "it made its few requests and left; the next would be refused")
        }
        _ => Check::new(
            "contained",
            false,
            format!("nothing was refused; {} requests served, worth ${:.2}", counts.thief_served, counts.thief_cost.dollars()),
        ),
    });
    checks.push(match counts.owner_served_share() {
        Some(share) => Check::new(
            "owner_served",
            share >= SERVED_MIN,
            format!(
                "{} of the owner's {} requests served since then ({:.2} %, at least {:.1} %)",
                counts.owner_after - counts.owner_refused_after,
                counts.owner_after,
                share * 100.0,
                SERVED_MIN * 100.0
            ),
        ),
        None if counts.owner_refused > 0 => Check::new(
            "owner_served",
            false,
            format!("{} of the owner's requests were refused", counts.owner_refused),
        ),
        None => Check::skipped("owner_served", "the owner made no request after the thief was contained"),
    });
    if counts.failed > 0 {
        checks.push(Check::new("answered", false, format!("{} requests got no whole answer", counts.failed)));
    }
    checks
}

/// Whether a theft is a handful of calls within seconds.
const fn is_short(theft: Theft) -> bool {
    matches!(theft, Theft::Validation | Theft::Recon | Theft::ModelSweep | Theft::Recheckers)
}

/// What becomes of a theft by its checklist.
pub(super) fn verdict(theft: Theft, checks: &[Check], counts: &Counts) -> Verdict {
    let failed = |check: &&Check| check.mark == Mark::Failed;
    if !checks.iter().any(|check| failed(&check)) {
        return Verdict::Passed;
    }
    let is_owner_harmed =
        checks.iter().filter(failed).any(|check| !matches!(check.name, "detected" | "contained"));
    let is_missed = counts.detected_ms.is_none() || counts.refused_ms.is_none();
    if !must_be_found(theft) && is_missed && !is_owner_harmed { Verdict::Missed } else { Verdict::Failed }
}

/// A span of seconds for people.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => "at once".to_owned(),
        s if s < 1.0 => format!("{:.0} ms", s * 1_000.0),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `requests`: `o` and `t` are served requests of owner and thief, in capitals refused ones.
    #[track_caller]
    fn check(theft: Theft, requests: &str, is_detected: bool, want: Verdict) -> Counts {
        let mut counts = Counts::default();
        for (at_ms, letter) in (1_000..).zip(requests.chars()) {
            let ended = if letter.is_uppercase() { Ended::Refused(Refusal::Judged) } else { Ended::Served };
            match letter.to_ascii_lowercase() {
                'o' => counts.owner(ended),
                _ => counts.thief(at_ms, ended, NanoUsd::from_cents(1)),
            }
        }
        counts.detected_ms = is_detected.then_some(1_002);
        let checks = check_counts(theft, &counts);
        assert_eq!(verdict(theft, &checks, &counts), want, "{requests}: {checks:?}");
        counts
    }

    #[test]
    fn a_theft_passes_when_the_thief_is_refused_and_the_owner_served() {
        let counts = check(Theft::Resale, "ooottTTToTo", true, Verdict::Passed);
        assert_eq!((counts.thief_served, counts.thief_after, counts.owner_after), (2, 4, 2));
        assert_eq!(counts.thief_cost, NanoUsd::from_cents(2));
        assert_eq!(counts.since_first(counts.refused_ms), Some(0.002));
        check(Theft::Resale, "oootttt", false, Verdict::Failed);
        check(Theft::Resale, "ottTtTo", true, Verdict::Failed);
        check(Theft::Resale, "otTO", true, Verdict::Failed);
    }

    #[test]
    fn a_careful_theft_may_be_missed_but_not_at_the_owners_cost() {
        check(Theft::SlowRamp, "ototot", false, Verdict::Missed);
        check(Theft::MimicVictimsPrompts, "ototot", false, Verdict::Missed);
        check(Theft::SlowRamp, "otOtot", false, Verdict::Failed);
        check(Theft::SlowRamp, "ototTo", true, Verdict::Passed);
    }

    #[test]
    fn a_checker_may_be_gone_before_it_is_refused() {
        check(Theft::Validation, "otttto", true, Verdict::Passed);
        check(Theft::Validation, "otttto", false, Verdict::Failed);
    }
}
