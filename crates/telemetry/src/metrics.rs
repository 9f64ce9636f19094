//! The closed set of metrics; `docs/metrics.md` lists them, and a test holds the two together.
//!
//! Made once at start and shared by reference. Everything but provider names exists from then on, so that
//! a counter that never moved is a zero, not a gap.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokenwatch_model::SmolStr;
use tokenwatch_model::alarm::AlarmKind;
use tokenwatch_model::finding::{Decision, Severity, Tier};
use tokenwatch_model::incident::IncidentState;
use tokenwatch_model::outcome::{Outcome, Refusal, UpstreamFailure};
use tokenwatch_model::provider::Endpoint;

use crate::cells::{Counters, Gauges, Histograms};
use crate::labels::{
    AlertResult, ConnectionState, Direction, DrillResult, KeyLabel, LabelSet, ReloadResult, Route, Rung,
};

/// What [`Metrics::encode`] writes; send it as the content type of `/metrics`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Microseconds: 10 µs to 100 ms, for the gateway's own work.
const OVERHEAD_BOUNDS_US: &[u64] =
    &[10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000];
/// Microseconds: 5 ms to 5 min, for answers of models.
const ANSWER_BOUNDS_US: &[u64] = &[
    5_000,
    25_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
];

/// Microseconds: 1 ms to 10 s, around the 100 ms that records may wait for the disk.
const WAIT_BOUNDS_US: &[u64] = &[
    1_000, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 150_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

const JOURNAL_WAIT: &str =
    "For each sync of the journal, the longest that any of its records waited for the disk";
const MALFORMED: &str = "Requests refused because they could not be read in one way only";
const FIRST_BYTE: &str = "Arrival to first byte of the answer, of forwarded requests";
const DRILL_LAST: &str = "When a drill last ended so, as Unix time; 0 when none did";
const DRILL_REQUESTS: &str = "Requests of drills; in no other count of requests, tokens or money";
const ALERTS_LAG: &str = "Age of the oldest alert that is due and no receiver took yet";
const STEPS_OVERDUE: &str = "Steps of incidents' runbooks that somebody has to do and whose time is over";
const JOURNAL_DURABLE: &str =
    "Records that are on disk or could not be encoded, of those that the journal took";

/// Which build is running.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    /// Version of the package.
    pub version: &'static str,
    /// Commit it was built from; `unknown` outside a checkout.
    pub commit: &'static str,
}

/// One metric of the set, for documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Name as scraped, without the suffixes of histograms.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// Keys of its labels.
    pub labels: Vec<&'static str>,
    /// Unit; empty for counts.
    pub unit: &'static str,
    /// What it means.
    pub help: &'static str,
}

/// Every metric. Fields are named as they are scraped, without prefix and unit.
#[derive(Debug)]
pub struct Metrics {
    /// Finished requests.
    pub requests: Counters<(Outcome, Route)>,
    /// Finished requests by endpoint.
    pub endpoint_requests: Counters<(Endpoint,)>,
    /// Requests not forwarded.
    pub refusals: Counters<(Refusal,)>,
    /// Requests that could not be read.
    pub malformed_requests: Counters<()>,
    /// Arrival to end of the answer.
    pub request_duration: Histograms<()>,
    /// Arrival to first byte of the answer.
    pub first_byte: Histograms<()>,
    /// Time the gateway itself took.
    pub gateway_overhead: Histograms<()>,
    /// Tokens consumed.
    pub tokens: Counters<(Direction, Route)>,
    /// Money spent, in billionths of a dollar.
    pub cost: Counters<()>,
    /// Requests being served.
    pub in_flight: Gauges<()>,
    /// Client connections.
    pub connections: Gauges<(ConnectionState,)>,
    /// Answers of the engine before forwarding.
    pub verdicts: Counters<(Decision,)>,
    /// Requests of drills, which are in no other count of requests, tokens or money.
    pub drill_requests: Counters<()>,
    /// When a drill last ended so, in microseconds since 1970; 0 when none did.
    pub drill_last: Gauges<(DrillResult,)>,
    /// Findings made.
    pub findings: Counters<(Tier, Severity)>,
    /// Of these, silenced by a suppression.
    pub findings_suppressed: Counters<(Tier, Severity)>,
    /// Incidents by state; closed ones of the last 30 days.
    pub incidents: Gauges<(IncidentState,)>,
    /// Steps of runbooks that are overdue.
    pub steps_overdue: Gauges<()>,
    /// Containments in force.
    pub containments: Gauges<(Rung,)>,
    /// Keys known.
    pub keys: Gauges<(KeyLabel,)>,
    /// Records that the journal had no room for.
    pub events_dropped: Counters<()>,
    /// Age of the oldest record not yet on disk, in microseconds.
    pub journal_lag: Gauges<()>,
    /// For each sync of the journal, the longest that any of its records waited.
    pub journal_wait: Histograms<()>,
    /// Records that the journal took since the start.
    pub journal_taken: Gauges<()>,
    /// Of those, the ones that are on disk.
    pub journal_durable: Gauges<()>,
    /// Requests that a provider failed.
    pub upstream_failures: Counters<(UpstreamFailure,)>,
    /// Alerts on their way to people.
    pub alerts: AlertMetrics,
    /// Reloads of the configuration.
    pub config_reloads: Counters<(ReloadResult,)>,
    /// Panics caught.
    pub panics: Counters<()>,
    /// Log lines that flood control held back.
    pub logs_suppressed: Counters<()>,
    /// Circuit breakers by provider.
    pub circuits: Circuits,
    described: Vec<Described>,
    registry: Registry,
}

/// Registers metrics and keeps their descriptions, so that the two can not differ.
struct Builder {
    registry: Registry,
    described: Vec<Described>,
}

const PREFIX: &str = "tokenwatch";

impl Builder {
    fn add<M>(
        &mut self,
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        labels: Vec<&'static str>,
        metric: M,
    ) -> M
    where
        M: EncodeMetric + Clone + Send + Sync + fmt::Debug + 'static,
    {
        let kind = metric.metric_type();
        let with_unit =
            if unit.is_empty() { format!("{PREFIX}_{name}") } else { format!("{PREFIX}_{name}_{unit}") };
        let (name_scraped, kind) = match kind {
            MetricType::Counter => (format!("{with_unit}_total"), "counter"),
            MetricType::Info => (format!("{with_unit}_info"), "info"),
            MetricType::Histogram => (with_unit, "histogram"),
            MetricType::Gauge => (with_unit, "gauge"),
            MetricType::Unknown => (with_unit, "unknown"),
        };
        self.described.push(Described { name: name_scraped, kind, labels, unit, help });
        match unit {
            "" => self.registry.register(name, help, metric.clone()),
            "seconds" => self.registry.register_with_unit(name, help, Unit::Seconds, metric.clone()),
            other => {
                self.registry.register_with_unit(name, help, Unit::Other(other.to_owned()), metric.clone());
            }
        }
        metric
    }

    fn counters<L: LabelSet + fmt::Debug>(&mut self, name: &'static str, help: &'static str) -> Counters<L> {
        self.add(name, "", help, L::keys(), Counters::new(1.0))
    }

    fn gauges<L: LabelSet + fmt::Debug>(&mut self, name: &'static str, help: &'static str) -> Gauges<L> {
        self.add(name, "", help, L::keys(), Gauges::new(1.0))
    }

    fn seconds<L: LabelSet + fmt::Debug>(
        &mut self,
        name: &'static str,
        bounds_us: &'static [u64],
        help: &'static str,
    ) -> Histograms<L> {
        self.add(name, "seconds", help, L::keys(), Histograms::new(bounds_us))
    }
}

/// Alerts on their way to people.
#[derive(Debug)]
pub struct AlertMetrics {
    /// Tries to send one.
    pub tries: Counters<(AlertResult,)>,
    /// Those that no route led anywhere.
    pub unrouted: Counters<()>,
    /// Those that are due and not sent.
    pub pending: Gauges<()>,
    /// Age of the oldest of them, in microseconds.
    pub lag: Gauges<()>,
    /// Billing alarms raised.
    pub billing: Counters<(AlarmKind,)>,
}

impl AlertMetrics {
    fn new(b: &mut Builder) -> Self {
        Self {
            tries: b.counters("alert_tries", "Tries to send an alert to a receiver"),
            unrouted: b.counters("alerts_unrouted", "Alerts that no route led anywhere: nobody was told"),
            pending: b.gauges("alerts_pending", "Alerts that are due and no receiver took yet"),
            billing: b.counters("billing_alarms", "Billing alarms raised, by what was crossed"),
            lag: b.add("alerts_lag", "seconds", ALERTS_LAG, Vec::new(), Gauges::new(1e6)),
        }
    }
}

impl Metrics {
    /// Makes every metric, at zero.
    pub fn new(build: &BuildInfo) -> Self {
        let mut b = Builder { registry: Registry::with_prefix(PREFIX), described: Vec::new() };
        Self {
            requests: b.counters("requests", "Finished requests, each in exactly one outcome"),
            endpoint_requests: b.counters("endpoint_requests", "Finished requests by what they called"),
            refusals: b.counters("refusals", "Requests not forwarded, by reason"),
            malformed_requests: b.counters("malformed_requests", MALFORMED),
            request_duration: b.seconds(
                "request_duration",
                ANSWER_BOUNDS_US,
                "Arrival to end of the answer, of forwarded requests",
            ),
            first_byte: b.seconds("first_byte", ANSWER_BOUNDS_US, FIRST_BYTE),
            gateway_overhead: b.seconds(
                "gateway_overhead",
                OVERHEAD_BOUNDS_US,
                "Time the gateway itself took of a request",
            ),
            tokens: b.counters("tokens", "Tokens consumed, by how they are billed"),
            cost: b.add("cost", "usd", "Money spent with providers", Vec::new(), Counters::new(1e9)),
            in_flight: b.gauges("in_flight", "Requests being served"),
            connections: b.gauges("connections", "Client connections by what they are doing"),
            verdicts: b.counters("verdicts", "Verdicts before forwarding"),
            drill_requests: b.counters("drill_requests", DRILL_REQUESTS),
            drill_last: b.add("drill_last", "seconds", DRILL_LAST, vec!["result"], Gauges::new(1e6)),
            findings: b.counters("findings", "Findings of the detection engine"),
            findings_suppressed: b.counters(
                "findings_suppressed",
                "Findings that a suppression silenced: recorded, and nobody was told",
            ),
            incidents: b.gauges("incidents", "Incidents by state, closed ones for 30 days"),
            steps_overdue: b.gauges("runbook_steps_overdue", STEPS_OVERDUE),
            containments: b.gauges("containments", "Containments in force"),
            keys: b.gauges("keys", "Keys known, by state"),
            events_dropped: b.counters(
                "events_dropped",
                "Records lost because the journal had no room; anything above zero needs a look",
            ),
            journal_lag: b.add(
                "journal_lag",
                "seconds",
                "Age of the oldest record that is not on disk yet",
                Vec::new(),
                Gauges::new(1e6),
            ),
            journal_wait: b.seconds("journal_wait", WAIT_BOUNDS_US, JOURNAL_WAIT),
            journal_taken: b.gauges("journal_records_taken", "Records that the journal took since the start"),
            journal_durable: b.gauges("journal_records_durable", JOURNAL_DURABLE),
            upstream_failures: b.counters("upstream_failures", "Forwarded requests that the provider failed"),
            alerts: AlertMetrics::new(&mut b),
            config_reloads: b.counters("config_reloads", "Reloads of the configuration"),
            panics: b.counters("panics", "Panics caught; anything above zero is a defect to report"),
            logs_suppressed: b.counters("logs_suppressed", "Log lines held back by flood control"),
            circuits: b.add(
                "circuit_state",
                "",
                "Circuit breaker of a provider: 0 closed, 1 trying again, 2 open",
                vec!["provider"],
                Circuits::default(),
            ),
            described: {
                let info =
                    Shared(Arc::new(Info::new(vec![("version", build.version), ("commit", build.commit)])));
                b.add("build", "", "Which build is running", vec!["version", "commit"], info);
                std::mem::take(&mut b.described)
            },
            registry: std::mem::take(&mut b.registry),
        }
    }

    /// Everything, in the OpenMetrics text format ([`CONTENT_TYPE`]), which Prometheus reads too.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(32 * 1024);
        // Writing to a String can not fail.
        let written = encode(&mut text, &self.registry);
        debug_assert!(written.is_ok());
        text
    }

    /// Every metric with what it means, in the order of the exposition.
    pub fn described(&self) -> &[Described] {
        &self.described
    }
}

/// Makes a metric of the library shareable with its registry.
#[derive(Debug)]
struct Shared<M>(Arc<M>);

impl<M> Clone for Shared<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: EncodeMetric> EncodeMetric for Shared<M> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

/// What a circuit breaker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CircuitState {
    /// Lets calls through.
    Closed,
    /// Lets one call through to try.
    Trying,
    /// Holds calls back.
    Open,
}

/// The circuit breakers of the configured providers. The set changes only when configuration is loaded;
/// updates go through the handle and take no lock.
#[derive(Clone, Debug, Default)]
pub struct Circuits(Arc<RwLock<Vec<Circuit>>>);

/// The circuit breaker of one provider.
#[derive(Clone, Debug)]
pub struct Circuit {
    provider: SmolStr,
    state: Arc<AtomicI64>,
}

impl Circuit {
    /// Says what it does now.
    pub fn set(&self, state: CircuitState) {
        self.state.store(state as i64, Ordering::Relaxed);
    }

    /// Name of the provider.
    pub fn provider(&self) -> &str {
        &self.provider
    }
}

impl Circuits {
    /// Replaces the set by these providers, each name once, and returns their handles in the order of
    /// `names`. Providers that stay keep their state; those that left are no longer scraped.
    pub fn configure(&self, names: &[SmolStr]) -> Vec<Circuit> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut next: Vec<Circuit> = Vec::with_capacity(names.len());
        let mut handles = Vec::with_capacity(names.len());
        for name in names {
            let have = next.iter().chain(known.iter()).find(|circuit| circuit.provider == *name).cloned();
            let circuit = have.unwrap_or_else(|| Circuit { provider: name.clone(), state: Arc::default() });
            if !next.iter().any(|other| other.provider == *name) {
                next.push(circuit.clone());
            }
            handles.push(circuit);
        }
        *known = next;
        handles
    }
}

impl EncodeMetric for Circuits {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let circuits = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        for circuit in &circuits {
            let labels = [("provider", circuit.provider.as_str())];
            encoder.encode_family(&labels)?.encode_gauge(&circuit.state.load(Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

#[cfg(test)]
mod tests;
