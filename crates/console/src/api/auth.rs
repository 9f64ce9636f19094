//! Who asks: bearer tokens, and what wrong ones lead to.
//!
//! A token is looked up by its SHA-256, so no comparison takes time that depends on a secret. Tokens hold 256
//! random bits, so guessing is hopeless at any rate; wrong ones are slowed down and written to the audit log
//! because somebody should know. A right token is never refused for the wrong ones of its neighbours: a broken
//! script must not lock the person out who comes to look at it.

use std::collections::HashMap;
use std::net::IpAddr;

use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap};
use serde_json::json;
use tokenwatch_model::SmolStr;
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::network::canonical;
use tokenwatch_model::time::{MINUTE, SECOND, Timestamp};
use tokenwatch_respond::Effects;

use super::problem::Problem;
use super::server::Shared;
use crate::admins;
use crate::records::{RecordsError, Role};

/// Wrong tokens in a minute from one source before it is told to wait.
const FAILURES_PER_MINUTE: u32 = 10;
/// Sources followed at the same time; past it, further ones share one count.
const SOURCES_MAX: usize = 1_024;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The token's name.
    pub(crate) name: SmolStr,
    /// What it may do.
    pub(crate) role: Role,
}

impl Caller {
    /// As the audit log names it.
    pub(crate) fn actor(&self) -> String {
        format!("admin:{}", self.name)
    }
}

/// Finds out who asks. May block.
pub(crate) fn identify(shared: &Shared, source: IpAddr, presented: Option<&str>) -> Result<Caller, Problem> {
    let Some(text) = presented else {
        let message =
            "an admin token is needed: `Authorization: Bearer twa_…`; `tokenwatch admin issue` makes one";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "missing_token", message));
    };
    match look_up(shared, text)? {
        Some(caller) => Ok(caller),
        None => Err(refuse(shared, source)),
    }
}

/// The token of the `Authorization` field.
pub(crate) fn presented(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (fields.next(), fields.next());
    let Some(field) = first else { return Ok(None) };
    let wrong = || Problem::invalid("authorization", "expected once, as `Bearer twa_…`");
    let text = field.to_str().map_err(|_| wrong())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(wrong)?;
    if second.is_some() || !scheme.eq_ignore_ascii_case("bearer") {
        return Err(wrong());
    }
    Ok(Some(token.trim().to_owned()))
}

fn look_up(shared: &Shared, text: &str) -> Result<Option<Caller>, RecordsError> {
    // What has the wrong form or checksum is no token at all: no look-up.
    let Some(hash) = admins::parse(text.as_bytes()) else { return Ok(None) };
    if shared.api.access.local.is_some_and(|local| local.matches(&hash)) {
        return Ok(Some(Caller { name: SmolStr::new_static(admins::LOCAL), role: Role::Responder }));
    }
    let now = shared.api.manager.clock.now();
    let found: Option<(SmolStr, Role)> = shared.api.manager.records.admin(&hash, now)?;
    Ok(found.map(|(name, role)| Caller { name, role }))
}

fn refuse(shared: &Shared, source: IpAddr) -> Problem {
    let now = shared.api.manager.clock.now();
    let outcome = shared.failures.lock().count(source, now);
    if let Some(attempts) = outcome.to_audit {
        write_audit(shared, source, attempts, now);
    }
    match outcome.wait_us {
        None => Problem::new(
            StatusCode::UNAUTHORIZED,
            "unknown_token",
            "no such admin token, or it was revoked or has expired; `tokenwatch admin list` shows all",
        ),
        Some(wait) => Problem {
            retry_after_s: Some(wait.div_ceil(SECOND)),
            ..Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_failures",
                "too many wrong admin tokens from this address",
            )
        },
    }
}

fn write_audit(shared: &Shared, source: IpAddr, attempts: u32, now: Timestamp) {
    tracing::warn!(client.address = %source, attempts, "wrong admin tokens were presented");
    let entry = AuditEntry {
        time: now,
        actor: SmolStr::new_static("unknown"),
        action: SmolStr::new_static("admin.refused"),
        subject: source.to_string().into(),
        detail: json!({ "attempts": attempts }).to_string(),
    };
    let effects = Effects { audit: vec![entry], ..Effects::default() };
    if let Err(error) = shared.api.manager.records.apply(&effects) {
        tracing::error!(%error, "wrong admin tokens could not be written to the audit log");
    }
}

/// Counts wrong tokens by source.
#[derive(Default)]
pub(crate) struct Failures {
    sources: HashMap<Source, Tally>,
}

/// An IPv4 address, or the /64 of an IPv6 address, which one machine can have whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Address(IpAddr),
    /// All that came when the table was full.
    Others,
}

impl Source {
    fn of(address: IpAddr) -> Self {
        Self::Address(match canonical(address) {
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

#[derive(Clone, Copy)]
struct Tally {
    /// Start of the minute that is counted.
    since: Timestamp,
    failures: u32,
    /// When the audit log was last told, and what came after.
    audited: Option<Timestamp>,
    unaudited: u32,
}

/// What a wrong token leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Microseconds the source should wait; `None` while it is below the limit.
    pub(crate) wait_us: Option<u64>,
    /// Attempts to write to the audit log now.
    pub(crate) to_audit: Option<u32>,
}

impl Failures {
    /// Counts a wrong token.
    pub(crate) fn count(&mut self, address: IpAddr, now: Timestamp) -> Outcome {
        let source = self.place(Source::of(address), now);
        let tally = self.sources.entry(source).or_insert(Tally {
            since: now,
            failures: 0,
            audited: None,
            unaudited: 0,
        });
        if now.since(tally.since) >= MINUTE {
            (tally.since, tally.failures) = (now, 0);
        }
        tally.failures = tally.failures.saturating_add(1);
        tally.unaudited = tally.unaudited.saturating_add(1);
        let is_due = tally.audited.is_none_or(|audited| now.since(audited) >= MINUTE);
        let to_audit = is_due.then(|| {
            tally.audited = Some(now);
            std::mem::take(&mut tally.unaudited)
        });
        let is_over = tally.failures > FAILURES_PER_MINUTE;
        let wait_us = is_over.then(|| MINUTE.saturating_sub(now.since(tally.since)).max(1));
        Outcome { wait_us, to_audit }
    }

    fn place(&mut self, source: Source, now: Timestamp) -> Source {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.sources.retain(|_, tally| now.since(tally.since) < MINUTE);
            if self.sources.len() >= SOURCES_MAX {
                return Source::Others;
            }
        }
        source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000 + seconds)
    }

    #[test]
    fn past_the_limit_a_source_waits_out_its_minute() {
        let mut failures = Failures::default();
        let source: IpAddr = [192, 0, 2, 1].into();
        for _ in 0..FAILURES_PER_MINUTE {
            assert_eq!(failures.count(source, at(0)).wait_us, None);
        }
        assert_eq!(failures.count(source, at(20)).wait_us, Some(40 * SECOND));
        assert_eq!(failures.count([192, 0, 2, 2].into(), at(20)).wait_us, None);
        assert_eq!(failures.count(source, at(60)).wait_us, None);
    }

    #[test]
    fn the_audit_log_hears_of_a_source_once_a_minute_and_of_all_attempts() {
        let mut failures = Failures::default();
        let source: IpAddr = [192, 0, 2, 1].into();
        let told: Vec<Option<u32>> = [0, 1, 59, 60, 61]
            .into_iter()
            .map(|second| failures.count(source, at(second)).to_audit)
            .collect();
        assert_eq!(told, [Some(1), None, None, Some(3), None]);
    }

    #[test]
    fn one_machine_with_many_v6_addresses_is_one_source_and_the_table_is_bounded() {
        let mut failures = Failures::default();
        for i in 0..=FAILURES_PER_MINUTE {
            let address: IpAddr = format!("2001:db8::{i:x}").parse().unwrap();
            assert_eq!(failures.count(address, at(0)).wait_us.is_some(), i == FAILURES_PER_MINUTE);
        }
        for i in 0..3_000u32 {
            failures.count(IpAddr::V4((0x0a00_0000 + i).into()), at(1));
        }
        assert!(failures.sources.len() <= SOURCES_MAX + 1);
    }
}
