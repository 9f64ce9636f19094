//! Harmless changes in the life of a key: their names, their rates, and when they happen.
//!
//! The rates are assumptions, stated here once; measuring them is the first job of a deployment. A fleet's `pace`
//! multiplies all of them.

use std::fmt;

use tokenwatch_model::key::Workload;

use crate::rng::Rng;
use crate::traffic::{DAY_MS, DAYS};

/// A harmless change that must not be taken for a theft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`Change::description` documents each")]
pub enum Change {
    SdkUpgrade,
    NewModel,
    NewPrompt,
    NewEndpoint,
    NewPrefix,
    NewRegion,
    Migration,
    NewComponent,
    NewWorkload,
    Backfill,
    RetryStorm,
    Travel,
    Cafe,
    VpnExit,
    NewTeammate,
    StaffOnVpn,
    OfficeToHome,
    ServerlessPool,
    MobileCarrier,
    ModelMigration,
    PromptDeployment,
    BatchJob,
    Growth,
    Failover,
    Holiday,
    KeyRotation,
    LoadTest,
    DaylightSaving,
}

/// Name, description, how many days apart on a key (or on each of its people), and whether people do it.
type Facts = (Change, &'static str, &'static str, Option<f64>, Who);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Any key.
    Key,
    /// Keys that machines call with.
    Machines,
    /// Each colleague of a team.
    Person,
    /// Teams as a whole.
    Team,
    /// People, or end users.
    Mobile,
}

const FACTS: [Facts; 28] = {
    use Change as C;
    use Who::{Key, Machines, Mobile, Person, Team};
    [
        (
            C::SdkUpgrade,
            "sdk-upgrade",
            "a newer SDK; in three of ten cases with another TLS print",
            Some(30.0),
            Key,
        ),
        (C::NewModel, "new-model", "a part of the calls goes to a model never used before", Some(25.0), Key),
        (C::NewPrompt, "new-prompt", "a new prompt template, or a new version of one", Some(7.0), Key),
        (
            C::NewEndpoint,
            "new-endpoint",
            "a few per cent of the calls go to another endpoint",
            Some(60.0),
            Key,
        ),
        (C::NewPrefix, "new-prefix", "another address block of the same region", Some(45.0), Machines),
        (
            C::NewRegion,
            "new-region",
            "another cloud region or provider takes a part of the calls",
            Some(400.0),
            Machines,
        ),
        (
            C::Migration,
            "migration",
            "everything moves to another region or provider; the old one goes silent",
            Some(400.0),
            Machines,
        ),
        (
            C::NewComponent,
            "new-component",
            "one more program of the same service, with prompts of its own",
            Some(90.0),
            Key,
        ),
        (
            C::NewWorkload,
            "second-service",
            "a second service, or a new team, joins the key from elsewhere",
            Some(365.0),
            Key,
        ),
        (C::Backfill, "backfill", "5 to 30 times the usual calls for some hours", Some(40.0), Key),
        (
            C::RetryStorm,
            "retry-storm",
            "the provider fails for some minutes and everything is tried again",
            Some(20.0),
            Key,
        ),
        (
            C::Travel,
            "travel",
            "a colleague works from another country for some days; the usual places are silent",
            Some(40.0),
            Person,
        ),
        (C::Cafe, "cafe", "a colleague works from another network for some hours", Some(10.0), Person),
        (C::VpnExit, "vpn-exit", "a colleague calls through a VPN for some days", Some(30.0), Person),
        (C::NewTeammate, "new-teammate", "a new colleague with a laptop of their own", Some(60.0), Team),
        (C::StaffOnVpn, "staff-on-vpn", "all colleagues call through the company's VPN", None, Team),
        (C::OfficeToHome, "office-to-home", "nobody works in the office any more", None, Team),
        (
            C::ServerlessPool,
            "serverless-pool",
            "calls come from functions whose addresses rotate inside one cloud",
            None,
            Machines,
        ),
        (
            C::MobileCarrier,
            "mobile-carrier",
            "people call through the address translation of a mobile carrier",
            None,
            Mobile,
        ),
        (C::ModelMigration, "model-migration", "all calls of the main model go to a new one", None, Key),
        (C::PromptDeployment, "prompt-deployment", "all prompts get a new version at once", None, Key),
        (C::BatchJob, "batch-job", "ten times the usual calls for four hours", None, Key),
        (C::Growth, "growth", "traffic grows by 5 % a day", None, Key),
        (
            C::Failover,
            "failover",
            "a second region takes half of twice the calls for some hours",
            None,
            Machines,
        ),
        (C::Holiday, "holiday", "silence for three to five days, then as before", None, Key),
        (C::KeyRotation, "key-rotation", "the same callers go on with a new key", None, Key),
        (
            C::LoadTest,
            "load-test",
            "20 to 60 times the usual calls for half an hour, the same prompt again and again",
            None,
            Key,
        ),
        (C::DaylightSaving, "daylight-saving", "everything happens an hour earlier", None, Key),
    ]
};

impl Change {
    /// Every change.
    pub const ALL: [Self; FACTS.len()] = {
        let mut all = [Self::SdkUpgrade; FACTS.len()];
        let mut index = 0;
        while index < FACTS.len() {
            all[index] = FACTS[index].0;
            index += 1;
        }
        all
    };

    /// The changes that are injected to try detectors with: those that a published list names as what must not page.
    pub const HARD: [Self; 17] = [
        Self::NewRegion,
        Self::SdkUpgrade,
        Self::StaffOnVpn,
        Self::OfficeToHome,
        Self::ServerlessPool,
        Self::MobileCarrier,
        Self::ModelMigration,
        Self::PromptDeployment,
        Self::BatchJob,
        Self::Growth,
        Self::Failover,
        Self::Holiday,
        Self::KeyRotation,
        Self::NewWorkload,
        Self::LoadTest,
        Self::RetryStorm,
        Self::DaylightSaving,
    ];

    const fn facts(self) -> &'static Facts {
        // The table is in the order of the variants; a test holds it to that.
        &FACTS[self as usize]
    }

    /// The word used on command lines and in reports.
    pub const fn name(self) -> &'static str {
        self.facts().1
    }

    /// What happens, in one line.
    pub const fn description(self) -> &'static str {
        self.facts().2
    }

    /// The inverse of [`Change::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.name() == name)
    }

    /// Days from one to the next on a key, for [`Change::is_personal`] ones on each colleague; `None` for changes that
    /// happen on demand only. All are assumptions.
    pub const fn every_days(self) -> Option<f64> {
        self.facts().3
    }

    /// Whether each colleague does it for themselves.
    pub const fn is_personal(self) -> bool {
        matches!(self.facts().4, Who::Person)
    }

    /// Whether it can happen to a key of this workload.
    pub const fn fits(self, workload: Workload) -> bool {
        let team = matches!(workload, Workload::Team);
        let people = team || matches!(workload, Workload::PublicApp);
        match self.facts().4 {
            Who::Key => true,
            Who::Machines => !people,
            Who::Person | Who::Team => team,
            Who::Mobile => people,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A change that happens at a time (Unix milliseconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happening {
    /// When it begins.
    pub at_ms: u64,
    /// What happens.
    pub change: Change,
    /// Draws the rest: which region, which colleague, how long.
    pub seed: u64,
}

/// What happens to a key by itself during the trace, in time order. `heads` is how many colleagues it has; `pace`
/// multiplies the rate of each change. The same `rng` gives the same times whatever else happens.
pub(crate) fn timeline(
    workload: Workload,
    heads: u64,
    pace: impl Fn(Change) -> f64,
    start_ms: u64,
    rng: &Rng,
) -> Vec<Happening> {
    let mut happenings = Vec::new();
    for change in Change::ALL {
        let Some(every) = change.every_days().filter(|_| change.fits(workload)) else { continue };
        let mut rng = rng.fork(change.name());
        let heads = if change.is_personal() { heads } else { 1 };
        let rate = (pace(change) * heads as f64 / every).max(1e-9);
        let mut day = rng.exponential(1.0) / rate;
        while day < DAYS as f64 {
            let at_ms = start_ms + working_time(day, &mut rng);
            happenings.push(Happening { at_ms, change, seed: rng.next_u64() });
            day += rng.exponential(1.0) / rate;
        }
    }
    happenings.sort_by_key(|happening| (happening.at_ms, happening.change));
    happenings
}

/// Changes are made in working hours, mostly.
fn working_time(day: f64, rng: &mut Rng) -> u64 {
    let at_ms = (day * DAY_MS as f64) as u64;
    if rng.chance(0.2) {
        return at_ms;
    }
    at_ms - at_ms % DAY_MS + rng.range(8 * DAY_MS / 24, 18 * DAY_MS / 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        for (change, facts) in Change::ALL.into_iter().zip(&FACTS) {
            assert_eq!((change, change.facts()), (facts.0, facts));
            assert_eq!(Change::from_name(change.name()), Some(change));
        }
        assert!(Change::HARD.iter().all(|change| Change::ALL.contains(change)));
    }

    #[test]
    fn changes_come_at_their_rates() {
        let mut counts = [0_u32; FACTS.len()];
        for key in 0..2_000_u64 {
            let happenings = timeline(Workload::Team, 7, |_| 2.0, 0, &Rng::new(key));
            assert!(happenings.is_sorted_by_key(|happening| happening.at_ms));
            happenings.iter().for_each(|happening| counts[happening.change as usize] += 1);
        }
        for change in Change::ALL {
            let heads = if change.is_personal() { 7.0 } else { 1.0 };
            let rate =
                change.every_days().filter(|_| change.fits(Workload::Team)).map_or(0.0, |days| heads / days);
            let expected = 2.0 * rate * 2_000.0 * DAYS as f64;
            let got = f64::from(counts[change as usize]);
            assert!((got - expected).abs() <= 5.0 * expected.sqrt(), "{change}: {got}, not {expected}");
        }
    }
}
