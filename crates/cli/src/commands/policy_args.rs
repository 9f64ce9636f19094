//! Options that set rules: the same for keys and for owners' defaults.

use tokenwatch_model::SmolStr;
use tokenwatch_model::key::{FALSE_ALARMS_BOUNDS, Mode, Policy, is_false_alarm_budget};
use tokenwatch_model::limit::Limits;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::Cidr;
use tokenwatch_model::provider::{ENDPOINTS, Endpoint};

/// Rules of use. What is not given is inherited: a key from its owner, an owner from the configuration.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct PolicyArgs {
    /// Provider that may be used; repeat for more
    #[arg(long, value_name = "NAME")]
    provider: Vec<SmolStr>,
    /// Model that may be used, with * for any run of characters; repeat for more
    #[arg(long, value_name = "GLOB")]
    model: Vec<SmolStr>,
    /// Endpoint that may be called, such as chat_completions; repeat for more
    #[arg(long, value_name = "NAME", value_parser = parse_endpoint)]
    endpoint: Vec<Endpoint>,
    /// Address range that may call, such as 203.0.113.0/24; repeat for more
    #[arg(long, value_name = "CIDR")]
    network: Vec<Cidr>,
    /// Hours of the UTC day, such as 8-18 or 6,7,22-23
    #[arg(long, value_name = "HOURS", value_parser = parse_hours)]
    hours: Option<Hours>,
    /// Largest request body in bytes
    #[arg(long, value_name = "BYTES")]
    payload_max: Option<u64>,
    /// Requests a minute; "unlimited" lifts an inherited limit
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    rpm: Option<u64>,
    /// Requests an hour
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    rph: Option<u64>,
    /// Requests a day
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    rpd: Option<u64>,
    /// Tokens a minute
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    tpm: Option<u64>,
    /// Tokens an hour
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    tph: Option<u64>,
    /// Tokens a day
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    tpd: Option<u64>,
    /// Requests at the same time
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    concurrency: Option<u64>,
    /// Budget for a UTC day in dollars; "unlimited" lifts an inherited budget
    #[arg(long, value_name = "USD", value_parser = parse_budget)]
    budget_day: Option<NanoUsd>,
    /// Budget for a UTC month in dollars
    #[arg(long, value_name = "USD", value_parser = parse_budget)]
    budget_month: Option<NanoUsd>,
    /// Budget for the key's whole life in dollars
    #[arg(long, value_name = "USD", value_parser = parse_budget)]
    budget_total: Option<NanoUsd>,
    /// What automatic containment may do: observe, contain or full
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    mode: Option<Mode>,
    /// False alarms a year that are accepted on a key, 0.01 to 365: fewer is quieter and finds less
    #[arg(long, value_name = "N", alias = "false-alarms-per-year", value_parser = parse_false_alarms)]
    false_alarms_per_key_year: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Hours(Vec<u8>);

impl PolicyArgs {
    /// Sets what was given, leaves the rest.
    pub(crate) fn apply(self, policy: &mut Policy) {
        fn set<T>(field: &mut Option<T>, given: Option<T>) {
            if given.is_some() {
                *field = given;
            }
        }
        fn list<T>(items: Vec<T>) -> Option<Vec<T>> {
            (!items.is_empty()).then_some(items)
        }
        let (scope, limits, budgets) = (&mut policy.scope, &mut policy.limits, &mut policy.budgets);
        set(&mut scope.providers, list(self.provider));
        set(&mut scope.models, list(self.model));
        set(&mut scope.endpoints, list(self.endpoint));
        set(&mut scope.networks, list(self.network));
        set(&mut scope.hours, self.hours.map(|hours| hours.0));
        set(&mut scope.payload_bytes_max, self.payload_max);
        set(&mut limits.requests_per_minute, self.rpm);
        set(&mut limits.requests_per_hour, self.rph);
        set(&mut limits.requests_per_day, self.rpd);
        set(&mut limits.tokens_per_minute, self.tpm);
        set(&mut limits.tokens_per_hour, self.tph);
        set(&mut limits.tokens_per_day, self.tpd);
        set(&mut limits.concurrency, self.concurrency);
        set(&mut budgets.day, self.budget_day);
        set(&mut budgets.month, self.budget_month);
        set(&mut budgets.total, self.budget_total);
        set(&mut policy.mode, self.mode);
        set(&mut policy.false_alarms_per_year, self.false_alarms_per_key_year);
    }
}

/// A false-alarm budget as an argument.
pub(super) fn parse_false_alarms(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|&rate| is_false_alarm_budget(rate))
        .ok_or_else(|| FALSE_ALARMS_BOUNDS.to_owned())
}

fn parse_endpoint(text: &str) -> Result<Endpoint, String> {
    Endpoint::from_name(text).ok_or_else(|| {
        let names: Vec<_> = ENDPOINTS.iter().map(|endpoint| endpoint.name()).collect();
        format!("there are {}", names.join(", "))
    })
}

fn parse_limit(text: &str) -> Result<u64, String> {
    if text == "unlimited" {
        return Ok(Limits::UNLIMITED);
    }
    text.replace('_', "").parse().map_err(|_| "expected a whole number or \"unlimited\"".to_owned())
}

fn parse_budget(text: &str) -> Result<NanoUsd, String> {
    if text == "unlimited" {
        return Ok(NanoUsd::MAX);
    }
    text.parse().map_err(|error: tokenwatch_model::money::ParseMoneyError| error.to_string())
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    Mode::from_name(text).ok_or_else(|| "there are observe, contain and full".to_owned())
}

fn parse_hours(text: &str) -> Result<Hours, String> {
    let wrong = || format!("expected hours 0 to 23 such as 8-18 or 6,7,22-23, not {text:?}");
    let mut hours = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let from: u8 = from.trim().parse().map_err(|_| wrong())?;
        let to: u8 = to.trim().parse().map_err(|_| wrong())?;
        if from > 23 || to > 23 {
            return Err(wrong());
        }
        // A range may cross midnight: 22-2.
        let mut hour = from;
        loop {
            hours.push(hour);
            if hour == to {
                break;
            }
            hour = (hour + 1) % 24;
        }
    }
    hours.sort_unstable();
    hours.dedup();
    Ok(Hours(hours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<&[u8]>) {
        assert_eq!(parse_hours(text).ok().map(|hours| hours.0), want.map(<[u8]>::to_vec), "{text}");
    }

    #[test]
    fn hours_are_lists_and_ranges() {
        check("8-10", Some(&[8, 9, 10]));
        check("6, 22-1", Some(&[0, 1, 6, 22, 23]));
        check("24", None);
        check("", None);
        check("8-", None);
    }
}
