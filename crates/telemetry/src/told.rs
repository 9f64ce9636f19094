//! What is worth telling, each a struct that emits its log line and its metrics together, so that the two
//! can not disagree and a test of the one is a test of the other.

use tokenwatch_model::alarm::Alarm;
use tokenwatch_model::containment::Containment;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Finding, Tier};
use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::suppression::SuppressedAlert;
use tokenwatch_model::time::{SECOND, Timestamp};
use tokenwatch_model::usage::UsageSource;

use crate::flood::RateLimited;
use crate::labels::{AlertResult, Direction, ReloadResult, Route};
use crate::metrics::Metrics;

/// A request ended. Counts everything that its event says; the gateway adds only what the event does not
/// know: overhead, verdicts, connections, requests in flight.
#[derive(Debug)]
pub struct RequestEnded<'a> {
    /// The request as a record.
    pub event: &'a UsageEvent,
    /// The dialect of its route, if a route serves it.
    pub dialect: Option<Dialect>,
}

impl RequestEnded<'_> {
    /// Counts and logs it (level `debug`).
    pub fn emit(&self, metrics: &Metrics) {
        let event = self.event;
        let route = Route::from(self.dialect);
        metrics.requests.inc((event.outcome, route));
        metrics.endpoint_requests.inc((event.request.endpoint,));
        match event.outcome {
            Outcome::Refused(refusal) => {
                metrics.refusals.inc((refusal,));
                if is_malformed(refusal) {
                    metrics.malformed_requests.inc(());
                }
            }
            Outcome::UpstreamFailed(failure) => metrics.upstream_failures.inc((failure,)),
            Outcome::Served | Outcome::ClientLeft | Outcome::Cut(_) => {}
        }
        if event.outcome.was_forwarded() {
            metrics.request_duration.observe_us((), event.duration_us);
            if event.first_byte_us > 0 {
                metrics.first_byte.observe_us((), event.first_byte_us);
            }
        }
        if event.usage_source != UsageSource::None {
            let usage = &event.usage;
            for (direction, tokens) in [
                (Direction::Input, usage.input),
                (Direction::CacheRead, usage.cache_read),
                (Direction::CacheWrite, usage.cache_write.saturating_add(usage.cache_write_1h)),
                (Direction::Output, usage.output),
            ] {
                metrics.tokens.add((direction, route), tokens);
            }
            metrics.cost.add((), event.cost.0);
        }
        tracing::debug!(
            request.id = %event.request.id,
            request.key = %event.request.key,
            request.outcome = %event.outcome,
            request.status = event.status,
            request.duration_us = event.duration_us,
            request.tokens = event.usage.total(),
            request.cost_usd = event.cost.dollars(),
            "request ended"
        );
    }
}

/// Whether a refusal means that the request could not be read in one way only.
const fn is_malformed(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::BadHttp | Refusal::BadBody | Refusal::AmbiguousCredential)
}

/// The engine found something.
#[derive(Debug)]
pub struct FindingMade<'a>(pub &'a Finding);

impl FindingMade<'_> {
    /// Counts it, and logs notices (level `info`). What a person is told of has one line, [`AlertEnded`], once it
    /// was acted on. Words that callers chose are quoted, so that they can not forge a line.
    pub fn emit(&self, metrics: &Metrics) {
        let finding = self.0;
        metrics.findings.inc((finding.tier, finding.severity));
        if finding.tier == Tier::Notice {
            tracing::info!(
                finding.rule = ?finding.rule.as_str(),
                finding.key = %finding.key,
                finding.tier = finding.tier.name(),
                finding.severity = finding.severity.name(),
                finding.once_in_days = finding.once_in_days,
                finding.summary = ?finding.summary,
                "finding"
            );
        }
    }
}

/// The engine found something that somebody expects.
#[derive(Debug)]
pub struct FindingSuppressed<'a>(pub &'a SuppressedAlert);

impl FindingSuppressed<'_> {
    /// Counts it among the findings and among the silenced ones, and logs it (level `info`). Words that callers chose
    /// are quoted.
    pub fn emit(&self, metrics: &Metrics) {
        let SuppressedAlert { suppression, finding } = self.0;
        metrics.findings.inc((finding.tier, finding.severity));
        metrics.findings_suppressed.inc((finding.tier, finding.severity));
        tracing::info!(
            finding.rule = ?finding.rule.as_str(),
            finding.key = %finding.key,
            finding.tier = finding.tier.name(),
            finding.severity = finding.severity.name(),
            finding.once_in_days = finding.once_in_days,
            finding.summary = ?finding.summary,
            suppression.id = %suppression,
            "a finding is suppressed"
        );
    }
}

/// What became of an alert.
#[derive(Debug)]
pub struct AlertEnded<'a> {
    /// The finding.
    pub finding: &'a Finding,
    /// What was done, or why nothing could be.
    pub end: AlertEnd<'a>,
}

/// How an alert ended.
#[derive(Debug)]
pub enum AlertEnd<'a> {
    /// A plan was carried out.
    Acted {
        /// The incident it is part of now; empty when there is none.
        incident: &'a str,
        /// The plan in one line.
        plan: &'a str,
    },
    /// It could not be acted on.
    Failed {
        /// Why.
        error: &'a str,
    },
}

impl AlertEnded<'_> {
    /// Logs it, once for each alert: `warn` when it was acted on, `error` when it could not be. Notices have their
    /// line already, so of them only a failure is told. Words that callers chose are quoted.
    pub fn emit(&self) {
        let finding = self.finding;
        macro_rules! line {
            ($level:ident, $($rest:tt)*) => {
                tracing::$level!(
                    finding.rule = ?finding.rule.as_str(),
                    finding.key = %finding.key,
                    finding.tier = finding.tier.name(),
                    finding.severity = finding.severity.name(),
                    finding.once_in_days = finding.once_in_days,
                    finding.summary = ?finding.summary,
                    $($rest)*
                )
            };
        }
        match self.end {
            AlertEnd::Acted { .. } if finding.tier == Tier::Notice => {}
            AlertEnd::Acted { incident, plan } => {
                line!(warn, alert.incident = incident, alert.plan = ?plan, "alert");
            }
            AlertEnd::Failed { error } => {
                line!(error, alert.error = error, "a finding could not be acted on")
            }
        }
    }
}

/// A containment came into force, was prolonged, or was lifted. Its gauge is set from the state, not from
/// here, so that expiry counts too.
#[derive(Debug)]
pub struct ContainmentChanged<'a>(pub &'a Containment);

impl ContainmentChanged<'_> {
    /// Logs it (level `warn`).
    pub fn emit(&self) {
        let containment = self.0;
        let change = match (&containment.lifted, containment.revision) {
            (Some(_), _) => "containment lifted",
            (None, 1) => "containment in force",
            (None, _) => "containment prolonged",
        };
        tracing::warn!(
            containment.id = %containment.id,
            containment.key = %containment.key,
            containment.action = containment.action.name(),
            containment.expires = ?containment.expires,
            containment.reason = ?containment.reason,
            "{change}"
        );
    }
}

/// A receiver was offered an alert.
#[derive(Debug)]
pub struct AlertTried<'a> {
    /// The alert's id, as its receiver sees it.
    pub alert: &'a str,
    /// Name of the destination.
    pub destination: &'a str,
    /// How often it was tried, this time included.
    pub attempts: u32,
    /// Why it was not taken, without secrets; nothing when it was.
    pub error: Option<&'a str>,
}

impl AlertTried<'_> {
    /// Counts and logs it: `info` when taken; else `warn`, and `error` once it failed often.
    pub fn emit(&self, metrics: &Metrics) {
        /// About two minutes without a receiver.
        const OFTEN: u32 = 5;
        let Self { alert, destination, attempts, error } = *self;
        let Some(error) = error else {
            metrics.alerts.tries.inc((AlertResult::Sent,));
            tracing::info!(
                alert.id = alert,
                alert.destination = destination,
                alert.attempts = attempts,
                "alert sent"
            );
            return;
        };
        metrics.alerts.tries.inc((AlertResult::Failed,));
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    alert.id = alert,
                    alert.destination = destination,
                    alert.attempts = attempts,
                    alert.error = ?error,
                    "an alert was not taken: it is tried again"
                )
            };
        }
        if attempts < OFTEN { line!(warn) } else { line!(error) }
    }
}

/// No route leads an alert anywhere.
#[derive(Debug)]
pub struct AlertUnrouted<'a> {
    /// The incident or billing alarm.
    pub subject: &'a str,
    /// What happened to it.
    pub cause: &'a str,
}

impl AlertUnrouted<'_> {
    /// Counts and logs it (level `warn`).
    pub fn emit(&self, metrics: &Metrics) {
        metrics.alerts.unrouted.inc(());
        tracing::warn!(
            alert.subject = self.subject,
            alert.cause = self.cause,
            "no route fits an alert: nobody is told; add an [[alerts.route]] without conditions at the end"
        );
    }
}

/// A billing alarm was raised.
#[derive(Debug)]
pub struct AlarmRaised<'a> {
    /// The alarm.
    pub alarm: &'a Alarm,
}

impl AlarmRaised<'_> {
    /// Counts and logs it (level `warn`).
    pub fn emit(&self, metrics: &Metrics) {
        let Alarm { id, spender, name, kind, today, month, limit, .. } = self.alarm;
        metrics.alerts.billing.inc((*kind,));
        tracing::warn!(
            alarm.id = %id,
            alarm.kind = kind.name(),
            %spender,
            // A name is somebody's text: quoted, so that it forges no line.
            name = ?name,
            %today,
            %month,
            %limit,
            "billing alarm"
        );
    }
}

/// The configuration was read again.
#[derive(Debug)]
pub struct ConfigReloaded<'a> {
    /// What was wrong with it, one text each; empty when it is in force.
    pub errors: &'a [String],
}

impl ConfigReloaded<'_> {
    /// Counts and logs it: `info` when in force, `error` when rejected.
    pub fn emit(&self, metrics: &Metrics) {
        if self.errors.is_empty() {
            metrics.config_reloads.inc((ReloadResult::Ok,));
            tracing::info!("configuration reloaded");
            return;
        }
        metrics.config_reloads.inc((ReloadResult::Rejected,));
        tracing::error!(
            config.errors = ?self.errors,
            "configuration rejected, the last good one stays in force; correct the file and reload"
        );
    }
}

/// The journal had no room for records.
#[derive(Debug)]
pub struct EventsDropped {
    /// How many.
    pub count: u64,
    /// When.
    pub now: Timestamp,
}

static EVENTS_DROPPED: RateLimited = RateLimited::new(1, 10 * SECOND);

impl EventsDropped {
    /// Counts them all; logs (level `error`) at most once in ten seconds.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.events_dropped.add((), self.count);
        match EVENTS_DROPPED.pass(self.now) {
            Some(suppressed) => tracing::error!(
                journal.dropped = self.count,
                journal.dropped_total = metrics.events_dropped.get(()),
                log.suppressed = suppressed,
                "the journal had no room for records: the disk is too slow or full"
            ),
            None => metrics.logs_suppressed.inc(()),
        }
    }
}

/// A task panicked and was caught.
#[derive(Debug)]
pub struct PanicCaught<'a> {
    /// File and line, never the message: it may hold what the task worked on.
    pub place: &'a str,
}

impl PanicCaught<'_> {
    /// Counts and logs it (level `error`).
    pub fn emit(&self, metrics: &Metrics) {
        metrics.panics.inc(());
        tracing::error!(
            panic.place = self.place,
            "a task panicked; this is a defect, please report the place"
        );
    }
}

#[cfg(test)]
mod tests;
