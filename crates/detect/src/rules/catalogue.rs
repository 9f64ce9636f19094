//! What every rule is: stable ids, severities, references. Ids and codes are append-only.

use tokenwatch_model::finding::Severity;

use super::Rule;
use super::{cost, places, presence, probing, sameness, usage, volume};

/// What is known of a rule besides its logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Stable id, as in findings and configuration.
    pub id: &'static str,
    /// Stable number on disk.
    pub(crate) code: u8,
    /// Levels it can rise to in a day.
    pub(crate) levels: u8,
    /// One line for people.
    pub title: &'static str,
    /// Severity unless the numbers say more.
    pub severity: Severity,
    /// MITRE ATLAS techniques.
    pub atlas: &'static [&'static str],
    /// OWASP Top 10 for LLM Applications, 2025.
    pub owasp: &'static [&'static str],
    /// NIST AI Risk Management Framework 1.0 subcategories.
    pub nist: &'static [&'static str],
}

/// MITRE ATLAS: Cost Harvesting.
const COST_HARVESTING: &str = "AML.T0034";
/// MITRE ATLAS: Valid Accounts.
const VALID_ACCOUNTS: &str = "AML.T0012";
/// MITRE ATLAS: AI Model Inference API Access.
const INFERENCE_ACCESS: &str = "AML.T0040";
/// MITRE ATLAS: Active Scanning.
const ACTIVE_SCANNING: &str = "AML.T0006";
/// MITRE ATLAS: Discover AI Model Family.
const DISCOVER_MODEL: &str = "AML.T0014";
/// MITRE ATLAS: Unsecured Credentials.
const UNSECURED_CREDENTIALS: &str = "AML.T0055";
/// OWASP: Unbounded Consumption.
const UNBOUNDED: &str = "LLM10:2025";
/// OWASP: Sensitive Information Disclosure.
const DISCLOSURE: &str = "LLM02:2025";

const MONITORED: &[&str] = &["MEASURE 2.4", "MEASURE 2.7", "MANAGE 4.1"];
const SPEND: &[&str] = &["MEASURE 2.4", "MANAGE 2.4", "MANAGE 4.1"];

const fn about(id: &'static str, code: u8, title: &'static str, severity: Severity) -> About {
    About {
        id,
        code,
        levels: 1,
        title,
        severity,
        atlas: &[VALID_ACCOUNTS, INFERENCE_ACCESS],
        owasp: &[UNBOUNDED],
        nist: MONITORED,
    }
}

pub(super) static REQUESTS_PER_MINUTE: About = About {
    atlas: &[COST_HARVESTING, INFERENCE_ACCESS],
    ..about(
        "requests_per_minute_over_5x_baseline",
        1,
        "More than five times the usual requests in a minute",
        Severity::High,
    )
};
pub(super) static NEW_COUNTRY: About =
    about("new_country_high_tokens", 2, "A new country, and many tokens within ten minutes", Severity::High);
pub(super) static MODEL_PROFILE: About = About {
    atlas: &[COST_HARVESTING, DISCOVER_MODEL],
    ..about("model_profile_deviation", 3, "Models and endpoints unlike the key's profile", Severity::High)
};
pub(super) static UNKNOWN_MODEL: About = About {
    atlas: &[COST_HARVESTING, DISCOVER_MODEL],
    ..about("unknown_model", 4, "A model the key never used", Severity::High)
};
pub(super) static UNKNOWN_SOURCE: About =
    about("unknown_source_ip", 5, "An address outside every block the key is known from", Severity::High);
pub(super) static VOLUME_SPIKE: About = About {
    levels: 2,
    atlas: &[COST_HARVESTING],
    ..about("volume_spike", 6, "Requests of a day over mean and three sigma", Severity::High)
};
pub(super) static COST_SPIKE: About = About {
    atlas: &[COST_HARVESTING],
    nist: SPEND,
    ..about("cost_spike", 7, "Cost of a day over five times the mean and $10", Severity::Critical)
};
pub(super) static OFF_HOURS: About =
    about("off_hours_usage", 8, "Much of a day's use at hours the key is never used", Severity::Medium);
pub(super) static USAGE_SPIKE: About = About {
    atlas: &[COST_HARVESTING],
    ..about(
        "usage_spike",
        9,
        "15-minute rate over three times the same hour of the past week",
        Severity::Critical,
    )
};
pub(super) static NEW_SOURCES: About = about(
    "new_source_addresses",
    10,
    "More distinct addresses than one and a half times the usual",
    Severity::Medium,
);
pub(super) static BILLING: About = About {
    levels: 3,
    atlas: &[COST_HARVESTING],
    nist: SPEND,
    ..about("billing_thresholds", 11, "Spend over 1.5, 3 or 10 times a typical day", Severity::Medium)
};
pub(super) static MONTHLY_CAP: About = About {
    atlas: &[COST_HARVESTING],
    nist: SPEND,
    ..about("monthly_cap", 12, "Spend of 30 days over the key's monthly cap", Severity::Critical)
};
pub(super) static RECON: About = About {
    atlas: &[ACTIVE_SCANNING, DISCOVER_MODEL, UNSECURED_CREDENTIALS],
    owasp: &[UNBOUNDED, DISCLOSURE],
    ..about(
        "recon",
        13,
        "Probing like a key checker: listing, billing calls, errors in bursts",
        Severity::High,
    )
};
pub(super) static MANY_CLIENTS: About = About {
    atlas: &[COST_HARVESTING, VALID_ACCOUNTS],
    ..about("many_clients", 14, "Many different clients behind one key, as in resale", Severity::High)
};
pub(super) static IMPOSSIBLE_TRAVEL: About =
    about("impossible_travel", 15, "Two countries further apart than anybody travels", Severity::High);
pub(super) static DORMANT: About = About {
    atlas: &[VALID_ACCOUNTS, UNSECURED_CREDENTIALS],
    ..about("dormant_key_revived", 16, "A key unused for a month is used again", Severity::Medium)
};
pub(super) static SAME_ANSWERS: About = About {
    atlas: &[COST_HARVESTING, INFERENCE_ACCESS],
    ..about(
        "near_identical_completions",
        20,
        "An unknown caller gets nearly the same answer again and again",
        Severity::Medium,
    )
};
/// Code of the canary fact, which is no rule: it needs no check and is certain.
pub(crate) const CANARY: u8 = 17;
static CANARY_KEY: About = About {
    atlas: &[UNSECURED_CREDENTIALS, VALID_ACCOUNTS],
    owasp: &[DISCLOSURE],
    ..about("canary_key_used", CANARY, "A planted key was used: certain", Severity::Critical)
};
static NEWCOMER: About = About {
    nist: &["MEASURE 2.7", "MANAGE 2.4", "MANAGE 4.1"],
    ..about(
        "newcomer",
        18,
        "A caller the key has never seen, rarer than its false-alarm budget",
        Severity::High,
    )
};
static NEWCOMER_CROWD: About = About {
    nist: &["MEASURE 2.7", "MANAGE 2.4", "MANAGE 4.1"],
    ..about("newcomer_crowd", 19, "Unknown callers from many networks at once", Severity::High)
};
/// Code of the surge channel, which is no rule: what it says is evidence in days.
pub(crate) const SURGE: u8 = 21;
static KEY_SURGE: About = About {
    atlas: &[COST_HARVESTING],
    nist: &["MEASURE 2.7", "MANAGE 2.4", "MANAGE 4.1"],
    ..about(
        "key_surge",
        SURGE,
        "An hour far beyond every hour before, rarer than the key's false-alarm budget",
        Severity::High,
    )
};
/// Code of what the key's own callers do that the key never did, which is evidence in days, too.
pub(crate) const INSIDE: u8 = 22;
static UNFAMILIAR_BURST: About = About {
    atlas: &[COST_HARVESTING, VALID_ACCOUNTS],
    nist: &["MEASURE 2.7", "MANAGE 2.4", "MANAGE 4.1"],
    ..about(
        "unfamiliar_burst",
        INSIDE,
        "A burst of prompts or models new to the key, from its own network and software",
        Severity::High,
    )
};
/// Code 30: those below are left for rules about one key.
static MANY_OWNERS: About = About {
    atlas: &[ACTIVE_SCANNING, VALID_ACCOUNTS, UNSECURED_CREDENTIALS],
    owasp: &[UNBOUNDED, DISCLOSURE],
    ..about("many_owners", 30, "One caller on keys of several owners, new to all of them", Severity::High)
};

/// Every rule, in the order it was added. New rules are appended.
pub(crate) static RULES: [&dyn Rule; 17] = [
    &volume::RequestsPerMinute,
    &places::NewCountry,
    &usage::ModelProfile,
    &usage::UnknownModel,
    &places::UnknownSource,
    &volume::VolumeSpike,
    &cost::CostSpike,
    &presence::OffHours,
    &volume::UsageSpike,
    &places::NewSources,
    &cost::Billing,
    &cost::MonthlyCap,
    &probing::Recon,
    &presence::ManyClients,
    &places::ImpossibleTravel,
    &presence::Dormant,
    &sameness::SameAnswers,
];

/// Everything a finding's `rule` can name.
pub fn catalogue() -> Vec<&'static About> {
    let rules = RULES.iter().map(|rule| rule.about());
    rules
        .chain([&CANARY_KEY, &NEWCOMER, &NEWCOMER_CROWD, &KEY_SURGE, &UNFAMILIAR_BURST, &MANY_OWNERS])
        .collect()
}
