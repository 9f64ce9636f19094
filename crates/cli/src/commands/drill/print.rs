//! What a drill prints: values for `--json`, a table and a checklist for people.

use serde::Serialize;
use tokenwatch_console::api::drills::{DrillList, DrillOut};
use tokenwatch_model::SmolStr;
use tokenwatch_model::drill::Drill;
use tokenwatch_model::id::{DrillId, KeyId};
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::words::{clean, clock, count};
use tokenwatch_testkit::theft::Theft;

use super::score::{Check, Counts, Mark, Verdict, must_be_found, span};
use crate::output;

/// Everything that a run of drills showed.
#[derive(Serialize)]
pub(super) struct Report {
    /// The key.
    pub(super) key: SmolStr,
    /// What automatic containment may do on it.
    pub(super) mode: &'static str,
    pub(super) seed: u64,
    /// What the owner's part was played from.
    pub(super) kept_requests: usize,
    pub(super) kept_days: f64,
    /// One line for each theft.
    pub(super) thefts: Vec<Rehearsed>,
    /// What is known of the key.
    pub(super) inventory: Vec<Check>,
    /// Mean time from a thief's first request to its discovery, over those that were found.
    pub(super) mean_seconds_to_detection: Option<f64>,
    /// The same to its first refusal.
    pub(super) mean_seconds_to_refusal: Option<f64>,
    /// What all thieves got, by list prices.
    pub(super) thief_usd: f64,
    /// Whether everything is as it must be.
    pub(super) passed: bool,
}

/// One rehearsed theft.
#[derive(Serialize)]
pub(super) struct Rehearsed {
    pub(super) drill: DrillId,
    pub(super) theft: &'static str,
    /// Whether it has to be found.
    pub(super) must_be_found: bool,
    pub(super) verdict: Verdict,
    /// Hours that the whole theft would have taken.
    pub(super) planned_hours: f64,
    /// Hours of it that were sent.
    pub(super) rehearsed_hours: f64,
    /// Whether `--requests` cut it short.
    pub(super) is_cut: bool,
    pub(super) seconds_to_detection: Option<f64>,
    pub(super) seconds_to_refusal: Option<f64>,
    pub(super) thief_usd: f64,
    pub(super) thief_refused_share: Option<f64>,
    pub(super) owner_served_share: Option<f64>,
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) checks: Vec<Check>,
}

impl Rehearsed {
    #[expect(clippy::too_many_arguments, reason = "it is put together in one place")]
    pub(super) fn new(
        theft: Theft,
        drill: DrillId,
        verdict: Verdict,
        counts: Counts,
        checks: Vec<Check>,
        planned_ms: u64,
        rehearsed_ms: u64,
        is_cut: bool,
    ) -> Self {
        const HOUR_MS: f64 = 3_600_000.0;
        Self {
            drill,
            theft: theft.name(),
            must_be_found: must_be_found(theft),
            verdict,
            planned_hours: planned_ms as f64 / HOUR_MS,
            rehearsed_hours: rehearsed_ms as f64 / HOUR_MS,
            is_cut,
            seconds_to_detection: counts.since_first(counts.detected_ms),
            seconds_to_refusal: counts.since_first(counts.refused_ms),
            thief_usd: counts.thief_cost.dollars(),
            thief_refused_share: counts.thief_refused_share(),
            owner_served_share: counts.owner_served_share(),
            counts,
            checks,
        }
    }

    /// In a sentence, for the record.
    pub(super) fn summary(&self) -> String {
        let failed: Vec<&str> = self.failed().map(|check| check.name).collect();
        match self.verdict {
            Verdict::Passed => format!(
                "passed: {} served to the thief, ${:.2}",
                count(self.counts.thief_served, "request"),
                self.thief_usd
            ),
            Verdict::Missed => "missed: a careful theft that was not found".to_owned(),
            Verdict::Failed => format!("failed: {}", failed.join(", ")),
        }
    }

    fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.mark == Mark::Failed)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl Report {
    /// Works out what is said of all thefts together.
    pub(super) fn finish(&mut self, strict: bool) {
        let thefts = &self.thefts;
        self.mean_seconds_to_detection = mean(thefts.iter().filter_map(|theft| theft.seconds_to_detection));
        self.mean_seconds_to_refusal = mean(thefts.iter().filter_map(|theft| theft.seconds_to_refusal));
        self.thief_usd = thefts.iter().map(|theft| theft.thief_usd).sum();
        self.passed = self.is_good(strict);
    }

    /// Whether everything is as it must be.
    pub(super) fn is_good(&self, strict: bool) -> bool {
        let is_good = |rehearsed: &Rehearsed| match rehearsed.verdict {
            Verdict::Passed => true,
            Verdict::Missed => !strict,
            Verdict::Failed => false,
        };
        self.thefts.iter().all(is_good)
            && (!strict || self.inventory.iter().all(|check| check.mark == Mark::Passed))
    }
}

/// The table, the checklist of what is not as it should be, and what follows.
pub(super) fn describe(report: &Report, strict: bool) -> String {
    let mut lines = vec![format!(
        "Drills on {} (mode {}), its owner played from {} of the last {:.1} days. Nothing was spent or sent to a provider.\n",
        clean(&report.key),
        report.mode,
        count(report.kept_requests as u64, "request"),
        report.kept_days
    )];
    let headings = [
        "THEFT",
        "RESULT",
        "FOUND AFTER",
        "REFUSED AFTER",
        "SERVED TO THIEF",
        "THIEF REFUSED",
        "OWNER SERVED",
        "SENT",
    ];
    let rows: Vec<Vec<String>> = report.thefts.iter().map(row).collect();
    lines.push(output::table(&headings, &rows));
    lines.push(String::new());
    if let [only] = report.thefts.as_slice() {
        lines.extend(only.checks.iter().map(check_line));
    } else {
        for rehearsed in &report.thefts {
            let failed: Vec<String> =
                rehearsed.failed().map(|check| format!("{}: {}", name(check), check.what)).collect();
            if !failed.is_empty() {
                lines.push(format!("{} {}", rehearsed.theft, failed.join("; ")));
            }
        }
        lines.extend(shared(report));
    }
    lines.extend(report.inventory.iter().filter(|check| check.mark != Mark::Passed).map(check_line));
    lines.push(String::new());
    lines.push(conclusion(report, strict));
    lines.join("\n")
}

/// What is the same in all of them, said once.
fn shared(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for wanted in ["undone", "unforgeable", "rotated", "paged"] {
        let of = |mark| {
            let all = report.thefts.iter().flat_map(|rehearsed| &rehearsed.checks);
            all.filter(|check| check.name == wanted && check.mark == mark).count()
        };
        let (passed, failed) = (of(Mark::Passed), of(Mark::Failed));
        if passed + failed > 0 {
            lines.push(format!("{wanted}: passed in {passed}, failed in {failed}"));
        }
    }
    lines
}

fn conclusion(report: &Report, strict: bool) -> String {
    let of = |verdict| report.thefts.iter().filter(|rehearsed| rehearsed.verdict == verdict).count();
    let (passed, failed, missed) = (of(Verdict::Passed), of(Verdict::Failed), of(Verdict::Missed));
    let mut parts = vec![format!("{passed} of {} passed", count(report.thefts.len() as u64, "theft"))];
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    if missed > 0 {
        let why = if strict { "" } else { ", which does not fail a drill without --strict" };
        parts.push(format!("{missed} careful ones were not found{why}"));
    }
    if let (true, Some(detect), Some(refuse)) =
        (report.thefts.len() > 1, report.mean_seconds_to_detection, report.mean_seconds_to_refusal)
    {
        parts.push(format!(
            "on average found after {} and refused after {}, where they were; ${:.2} got away in all",
            span(detect),
            span(refuse),
            report.thief_usd
        ));
    }
    format!("{}: {}.", if report.passed { "PASSED" } else { "FAILED" }, parts.join("; "))
}

fn row(rehearsed: &Rehearsed) -> Vec<String> {
    let share = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.2} %", share * 100.0));
    let time = |seconds: Option<f64>| seconds.map_or("-".to_owned(), span);
    let sent = if rehearsed.is_cut {
        format!("{:.1} of {:.1} h", rehearsed.rehearsed_hours, rehearsed.planned_hours)
    } else {
        format!("{:.1} h", rehearsed.planned_hours)
    };
    vec![
        rehearsed.theft.to_owned(),
        verdict_name(rehearsed.verdict).to_owned(),
        time(rehearsed.seconds_to_detection),
        time(rehearsed.seconds_to_refusal),
        format!(
            "{} of {}, ${:.2}",
            rehearsed.counts.thief_served, rehearsed.counts.thief_requests, rehearsed.thief_usd
        ),
        share(rehearsed.thief_refused_share),
        share(rehearsed.owner_served_share),
        sent,
    ]
}

const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "FAILED",
        Verdict::Missed => "missed",
    }
}

fn name(check: &Check) -> String {
    check.name.replace('_', " ")
}

fn check_line(check: &Check) -> String {
    let mark = match check.mark {
        Mark::Passed => "ok     ",
        Mark::Failed => "FAILED ",
        Mark::Warning => "warning",
        Mark::Skipped => "-      ",
    };
    format!("{mark} {:13} {}", name(check), check.what)
}

/// A list of drills.
pub(super) fn list(list: &DrillList, key_name: &dyn Fn(KeyId) -> Option<SmolStr>, now: Timestamp) -> String {
    if list.drills.is_empty() {
        return "No drills yet; `tokenwatch drill run KEY` rehearses a theft.".to_owned();
    }
    let rows: Vec<Vec<String>> = list
        .drills
        .iter()
        .map(|drill| {
            let key = key_name(drill.key).map_or_else(|| drill.key.to_string(), |name| clean(&name));
            vec![
                drill.id.to_string(),
                clock(drill.started),
                key,
                clean(&drill.theft),
                state(drill, now).to_owned(),
                drill.end.as_ref().map_or_else(String::new, |end| clean(&end.summary)),
            ]
        })
        .collect();
    output::table(&["DRILL", "STARTED", "KEY", "THEFT", "RESULT", "SUMMARY"], &rows)
}

fn state(drill: &Drill, now: Timestamp) -> &'static str {
    match &drill.end {
        Some(end) if end.passed => "passed",
        Some(_) => "failed",
        None if now < drill.until => "running",
        None => "broken off",
    }
}

/// One drill.
pub(super) fn show(out: &DrillOut) -> String {
    let DrillOut { drill, stand_in, incidents } = out;
    let mut lines = vec![
        format!("{}  {} on {}, by {}", drill.id, clean(&drill.theft), drill.key, clean(&drill.who)),
        format!("started {}; its stand-in is {stand_in}", clock(drill.started)),
    ];
    match &drill.end {
        Some(end) => lines.push(format!("ended {}: {}", clock(end.time), clean(&end.summary))),
        None => lines.push(format!("runs until {} at the latest", clock(drill.until))),
    }
    if incidents.is_empty() {
        lines.push("It led to no incident.".to_owned());
    }
    for incident in incidents {
        lines.push(format!("{} {}: {}", incident.id, incident.state.name(), clean(&incident.title)));
    }
    lines.join("\n")
}
