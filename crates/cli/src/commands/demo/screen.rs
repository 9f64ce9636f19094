//! What the demo shows: a live panel on a terminal, plain lines elsewhere, nothing with `--json`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::{Duration, Instant};

use tokenwatch_model::finding::Finding;
use tokenwatch_model::id::{ActorId, IncidentId};
use tokenwatch_model::time::{Timestamp, human_span};
use tokenwatch_testkit::sim::SimRequest;
use tokenwatch_testkit::traffic::Sample;

use super::score::Score;
use super::world::Plan;
use crate::output;

const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Minutes in one column of a plot.
const COLUMN_MS: u64 = 10 * 60_000;
const COLUMNS: usize = 60;
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// Requests over time.
#[derive(Default)]
struct Plot {
    served: Vec<u32>,
    refused: Vec<u32>,
}

impl Plot {
    fn count(&mut self, column: usize, is_refused: bool) {
        let counts = if is_refused { &mut self.refused } else { &mut self.served };
        if counts.len() <= column {
            counts.resize(column + 1, 0);
        }
        if let Some(count) = counts.get_mut(column) {
            *count += 1;
        }
    }

    fn draw(counts: &[u32], upto: usize, most: u32) -> String {
        let from = (upto + 1).saturating_sub(COLUMNS);
        (from..=upto)
            .map(|column| {
                let count = counts.get(column).copied().unwrap_or(0);
                let height = (u64::from(count) * 8).div_ceil(u64::from(most.max(1))).min(8);
                BARS.get(height as usize).copied().unwrap_or('█')
            })
            .collect()
    }
}

/// The demo's output.
pub(super) struct Screen {
    is_silent: bool,
    is_live: bool,
    from_ms: Option<u64>,
    owner: Plot,
    thief: Plot,
    drawn: usize,
    redrawn: Option<Instant>,
    said_history: bool,
    /// Actors told of before: a later alert on them only says that they are surer.
    actors: BTreeSet<ActorId>,
}

impl Screen {
    pub(super) fn new(is_silent: bool, is_live: bool) -> Self {
        Self {
            is_silent,
            is_live,
            from_ms: None,
            owner: Plot::default(),
            thief: Plot::default(),
            drawn: 0,
            redrawn: None,
            said_history: false,
            actors: BTreeSet::new(),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.is_live && std::env::var_os("NO_COLOR").is_none() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A lasting line, above the panel.
    fn tell(&mut self, text: &str) {
        if self.is_silent {
            return;
        }
        self.wipe();
        output::line(text);
    }

    fn tell_at(&mut self, at_ms: u64, code: &str, what: &str, text: &str) {
        let what = self.paint(code, what);
        let mut lines = wrap(text, self.width().saturating_sub(INDENT)).into_iter();
        self.tell(&format!("{}  {what} {}", clock(at_ms), lines.next().unwrap_or_default()));
        for line in lines {
            self.tell(&format!("{:INDENT$}{line}", ""));
        }
    }

    fn width(&self) -> usize {
        if !self.is_live {
            return usize::MAX;
        }
        crossterm::terminal::size().map_or(100, |(columns, _)| usize::from(columns).max(60))
    }

    /// Takes the panel away.
    fn wipe(&mut self) {
        if self.drawn > 0 {
            // Up, and clear to the end of the screen.
            output::raw(&format!("\x1b[{}A\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }

    fn draw(&mut self, lines: &[String]) {
        self.wipe();
        for line in lines {
            output::line(line);
        }
        self.drawn = lines.len();
        // A panel that is not flushed is only late.
        let _ = std::io::stdout().flush();
    }

    fn is_due(&mut self) -> bool {
        let due = self.is_live && self.redrawn.is_none_or(|at| at.elapsed() >= REDRAW_EVERY);
        if due {
            self.redrawn = Some(Instant::now());
        }
        due
    }

    pub(super) fn start(&mut self, plan: &Plan, sample: &Sample, history: usize) {
        let theft = plan.theft.map_or_else(
            || "none: this run must stay quiet".to_owned(),
            |theft| format!("{}: {}", theft.name(), theft.description()),
        );
        self.tell(&format!(
            "{} customers, {history} requests of history, then {} hours live; seed {}",
            sample.customers().len(),
            plan.live_hours,
            plan.seed
        ));
        self.tell("Times and token counts are real (ServeGen, Alibaba Cloud); networks, clients and prompts are simulated.");
        self.tell(&format!("victim: {}   theft: {theft}\n", plan.victim));
    }

    pub(super) fn history(&mut self, done: usize, total: usize, elapsed: Duration) {
        if self.is_silent {
            return;
        }
        if done >= total {
            if !self.said_history {
                self.said_history = true;
                let rate = total as f64 / elapsed.as_secs_f64().max(0.001);
                self.tell(&format!("history: {total} requests through the gateway in {:.1} s ({rate:.0} a second); now live\n", elapsed.as_secs_f64()));
            }
        } else if self.is_due() {
            let width = 40;
            let filled = done * width / total.max(1);
            let bar: String = (0..width).map(|i| if i < filled { '█' } else { '░' }).collect();
            self.draw(&[format!("history {bar} {done}/{total}")]);
        }
    }

    pub(super) fn tick(&mut self, at_ms: u64, is_thief: bool, is_victim: bool, is_refused: bool) {
        let from = *self.from_ms.get_or_insert(at_ms);
        let column = (at_ms.saturating_sub(from) / COLUMN_MS) as usize;
        if is_thief {
            self.thief.count(column, is_refused);
        } else if is_victim {
            self.owner.count(column, is_refused);
        }
    }

    pub(super) fn live(&mut self, score: &Score, now_ms: u64, plan: &Plan) {
        if !self.is_due() {
            return;
        }
        let from = self.from_ms.unwrap_or(now_ms);
        let column = (now_ms.saturating_sub(from) / COLUMN_MS) as usize;
        let most = |plot: &Plot| plot.served.iter().chain(&plot.refused).copied().max().unwrap_or(1);
        let most = most(&self.owner).max(most(&self.thief));
        let mut lines = vec![
            self.paint("1", &format!("{}   live, one column is 10 minutes", clock(now_ms))),
            format!(
                "owner  served  {} {}",
                Plot::draw(&self.owner.served, column, most),
                score.owner_live - score.owner_refused
            ),
            format!(
                "owner  refused {} {}",
                Plot::draw(&self.owner.refused, column, most),
                score.owner_refused
            ),
        ];
        if plan.theft.is_some() {
            let served = Plot::draw(&self.thief.served, column, most);
            let refused = Plot::draw(&self.thief.refused, column, most);
            lines.push(format!(
                "thief  served  {} {}   {}",
                self.paint("31", &served),
                score.thief_served,
                score.thief_cost
            ));
            lines.push(format!(
                "thief  refused {} {}",
                self.paint("32", &refused),
                score.thief_total - score.thief_served
            ));
        }
        self.draw(&lines);
    }

    pub(super) fn first_theft(&mut self, request: &SimRequest) {
        let client = if request.client.family.is_empty() {
            "no user agent".to_owned()
        } else {
            format!("{} {}", request.client.family, request.client.version)
        };
        let model =
            if request.model.is_empty() { String::new() } else { format!(", model {}", request.model) };
        self.tell_at(
            request.at_ms,
            "31;1",
            "STOLEN   ",
            &format!("the thief's first request: {} from {}, {client}{model}", request.path, request.source),
        );
    }

    pub(super) fn alert(
        &mut self,
        at_ms: u64,
        key: &str,
        finding: &Finding,
        incident: Option<IncidentId>,
        contained: &[String],
        is_true: bool,
    ) {
        let is_known = finding.actor.as_ref().is_some_and(|actor| !self.actors.insert(actor.id));
        let (code, what) = match (is_true, is_known) {
            (true, false) => ("33;1", "DETECTED "),
            (true, true) => ("33", "SURER    "),
            (false, _) => ("35;1", "FALSE    "),
        };
        let incident = incident.map(|id| format!(" ({id})")).unwrap_or_default();
        let text = match &finding.actor {
            Some(actor) if is_known => format!(
                "key {key}: the same caller after {} requests, {} forwarded; an honest key shows this once in {:.0} days",
                actor.requests, actor.requests_forwarded, finding.once_in_days
            ),
            _ => format!("key {key}{incident}: {}", finding.summary),
        };
        self.tell_at(at_ms, code, what, &text);
        let reasons = if is_known { 0 } else { 4 };
        for reason in finding.reasons.iter().take(reasons) {
            let nats = format!("{:INDENT$}{:>5.1} nats  ", "", reason.nats);
            let indent = nats.chars().count();
            for (i, line) in wrap(&reason.what, self.width().saturating_sub(indent)).iter().enumerate() {
                let head = if i == 0 { nats.clone() } else { " ".repeat(indent) };
                self.tell(&format!("{head}{line}"));
            }
        }
        for action in contained {
            self.tell_at(at_ms, "32;1", "CONTAINED", action);
        }
    }

    pub(super) fn first_refusal(&mut self, request: &SimRequest, score: &Score) {
        let after = score.since_theft(Some(request.at_ms)).unwrap_or(0.0);
        self.tell_at(
            request.at_ms,
            "32;1",
            "REFUSED  ",
            &format!(
                "the thief's request number {}, {} after the first",
                score.thief_total,
                human_span((after * 1e6) as u64)
            ),
        );
    }

    pub(super) fn finish(&mut self, score: &Score) {
        self.tell("");
        let span = |at: Option<u64>| {
            score.since_theft(at).map_or_else(|| "never".to_owned(), |s| human_span((s * 1e6) as u64))
        };
        if score.theft.is_some() {
            self.tell(&format!(
                "thief    {} requests, {} served, {} refused; it got {}",
                score.thief_total,
                score.thief_served,
                score.thief_total - score.thief_served,
                score.thief_cost
            ));
            self.tell(&format!(
                "         first request to detection: {}, to refusal: {}",
                span(score.detected_ms),
                span(score.contained_ms)
            ));
        }
        let share = |part: u64, whole: u64| {
            if whole == 0 { 100.0 } else { 100.0 * (whole - part) as f64 / whole as f64 }
        };
        self.tell(&format!(
            "owner    {} requests live, {:.2} % served; after containment {} of {} served",
            score.owner_live,
            share(score.owner_refused, score.owner_live),
            score.owner_after - score.owner_refused_after,
            score.owner_after
        ));
        self.tell(&format!("alerts   {}, of which false: {}", score.alerts.len(), score.false_alerts()));
        for alert in score.alerts.iter().filter(|alert| !alert.is_true) {
            let text = format!("         {} on {}: {}", clock(alert.at_ms), alert.key, alert.summary);
            self.tell(&text);
        }
        let (code, verdict) = match (score.theft.is_some(), score.is_good()) {
            (true, true) => ("32;1", "The theft was contained, and the owner's application kept running."),
            (true, false) => ("31;1", "The theft was NOT contained."),
            (false, true) => ("32;1", "Nothing was stolen, and nobody was alarmed."),
            (false, false) => ("31;1", "Nothing was stolen, but somebody was alarmed."),
        };
        let verdict = self.paint(code, verdict);
        self.tell(&format!("\n{verdict}"));
    }
}

/// Columns in front of what happened: `day 9 14:20:05  DETECTED `.
const INDENT: usize = 26;

/// Breaks a text into lines between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// `day 9 14:20:05`, counted from the first day of the trace.
fn clock(at_ms: u64) -> String {
    let day = at_ms.saturating_sub(super::world::START_MS) / 86_400_000;
    let text = Timestamp::from_ms(at_ms).to_string();
    format!("day {day} {}", text.get(11..19).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("a-long-word b", 5), ["a-long-word", "b"]);
        assert_eq!(wrap("", 5), [""]);
    }
}
