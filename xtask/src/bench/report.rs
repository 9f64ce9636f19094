//! The table, the JSON file and the verdict. Pure.

use serde_json::{Value, json};

use super::goals::{Figure, Mark, Rule};
use super::machine::Machine;
use super::options::Options;
use super::peers::Peer;
use super::results::{Results, Site};

/// Everything a report is made of.
pub(super) struct Report<'a> {
    pub(super) machine: &'a Machine,
    /// How the gateway was built.
    pub(super) how_built: &'a str,
    pub(super) results: &'a Results,
    pub(super) options: &'a Options,
    /// Streams that were held open for the memory figure.
    pub(super) streams: usize,
}

/// One line of the table before it is laid out.
struct Line {
    figure: Figure,
    rule: Rule,
    values: [Option<f64>; 3],
    /// Of the quietest rounds: held against goal and floor.
    compared: Option<f64>,
    /// The median of the rounds, each compared within itself.
    in_the_middle: Option<f64>,
    mark: Mark,
}

/// How another gateway compares.
struct PeerLine {
    peer: Peer,
    its: f64,
    own: f64,
    times: f64,
    mark: Mark,
    text: String,
}

impl Report<'_> {
    fn label(&self, figure: Figure) -> String {
        let count = match figure {
            Figure::GrownMb => self.options.requests() as f64,
            _ => self.streams as f64,
        };
        figure.label().replace("{}", &number(count))
    }

    /// The lines of what was measured; of what was not wanted there are none.
    fn lines(&self) -> Vec<Line> {
        let is_wanted = |line: &Line| self.options.only.is_empty() || line.values.iter().any(Option::is_some);
        Figure::ALL.into_iter().map(|figure| self.line(figure)).filter(is_wanted).collect()
    }

    fn line(&self, figure: Figure) -> Line {
        let quietest = |site| self.results.quietest(site, figure);
        let values = Site::COMPARED.map(quietest);
        let rule = figure.rule(self.streams);
        let sites = [Site::Tokenwatch, Site::Nginx];
        let compared = rule.compared(quietest(Site::Tokenwatch), quietest(Site::Nginx));
        let in_the_middle =
            self.results.median_of_pairs(sites, figure, |own, nginx| rule.compared(own, nginx));
        Line { figure, rule, values, compared, in_the_middle, mark: rule.judge(compared) }
    }

    /// The floors that were missed, by the names of their lines.
    pub(super) fn floors_missed(&self) -> Vec<String> {
        let missed = |line: &Line| line.mark == Mark::BelowFloor;
        let lines = self.lines();
        let own = lines.iter().filter(|line| missed(line)).map(|line| self.label(line.figure));
        let peers = Peer::ALL.into_iter().filter_map(|peer| self.peer_line(peer));
        let peers = peers.filter(|line| line.mark == Mark::BelowFloor);
        own.chain(peers.map(|line| line.peer.label().to_owned())).collect()
    }

    /// The table, with the machine above it and notes below.
    pub(super) fn render(&self) -> String {
        let machine = self.machine;
        let mut text = format!(
            "Gateway bench: {} cores of {}, Linux {}, {}, {}; load before {:.1}\n\
             Gateway built: {}; {} of {} {}; (+) is over direct\n\n",
            machine.cores,
            machine.model,
            machine.kernel,
            machine.rustc,
            if machine.nginx.is_empty() { "no nginx" } else { &machine.nginx },
            machine.load,
            self.how_built,
            if self.options.quick { "quick, the quietest" } else { "the quietest" },
            self.options.rounds,
            if self.options.rounds == 1 { "round" } else { "rounds" },
        );
        let head = ["", "direct", "nginx", "tokenwatch", "to nginx", "goal", "floor", ""];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.lines().iter().map(|line| self.row(line)));
        text.push_str(&layout(&rows));
        text.push_str(&self.verdict());
        for peer in Peer::ALL {
            text.push_str(&self.peer_line(peer).map(|line| line.text + "\n").unwrap_or_default());
        }
        for note in &self.results.notes {
            text.push_str(&format!("\nnote: {note}"));
        }
        for failure in &self.results.failures {
            text.push_str(&format!(
                "\nfailed: {}, {}: {}",
                failure.site.name(),
                failure.measure,
                failure.reason
            ));
        }
        if !self.results.notes.is_empty() || !self.results.failures.is_empty() {
            text.push('\n');
        }
        text
    }

    /// How many times the CPU time of one of our requests a peer's takes; `None` when it was not measured.
    fn peer_line(&self, peer: Peer) -> Option<PeerLine> {
        let figure = Figure::PeersCpuUs;
        let (own, its) =
            (self.results.quietest(Site::Tokenwatch, figure)?, self.results.quietest(peer.site(), figure)?);
        let times = its / own;
        let (goal, floor) = peer.bounds();
        let mark = match times {
            times if times >= goal => Mark::GoalMet,
            times if times >= floor => Mark::FloorMet,
            _ => Mark::BelowFloor,
        };
        let text = format!(
            "{}: {} CPU µs/request, {}× tokenwatch's {} (goal ≥ {goal}×, floor ≥ {floor}×): {}",
            peer.label(),
            number(its),
            number(times),
            number(own),
            mark.words(),
        );
        Some(PeerLine { peer, its, own, times, mark, text })
    }

    /// How many goals and floors are met, in a sentence.
    fn verdict(&self) -> String {
        let lines = self.lines();
        let count = |mark| lines.iter().filter(|line| line.mark == mark).count();
        let (goals, floors, below) = (count(Mark::GoalMet), count(Mark::FloorMet), count(Mark::BelowFloor));
        format!("\n{goals} goals met, {floors} floors met without the goal, {below} floors missed\n")
    }

    fn row(&self, line: &Line) -> [String; 8] {
        let [direct, nginx, own] = line.values;
        let over = if line.figure.is_latency() { direct } else { None };
        let (compared, goal, floor) = match line.rule {
            Rule::TimesNginx { goal, floor } => (
                line.compared.map(|times| format!("{times:.2}×")),
                format!("≤ {goal}×"),
                format!("≤ {floor}×"),
            ),
            Rule::OverNginx { goal, floor } => {
                (line.compared.map(|over| format!("{over:+.1}")), format!("≤ +{goal}"), format!("≤ +{floor}"))
            }
            Rule::AtMost { goal, floor } => {
                (None, format!("≤ {}", short(goal)), format!("≤ {}", short(floor)))
            }
            Rule::Shown => (line.compared.map(|times| format!("{times:.2}×")), String::new(), String::new()),
        };
        let mark = line.mark.words().to_owned();
        let label = self.label(line.figure);
        let cells = [cell(direct, None), cell(nginx, over), cell(own, over)];
        let [direct, nginx, own] = cells;
        [label, direct, nginx, own, compared.unwrap_or_else(|| "–".to_owned()), goal, floor, mark]
    }

    /// Everything as JSON: the machine, each round's samples, and the table's lines.
    pub(super) fn to_json(&self) -> Value {
        let lines: Vec<Value> = self
            .lines()
            .iter()
            .map(|line| {
                let [direct, nginx, own] = line.values;
                let (goal, floor) = line.rule.bounds().unzip();
                let against = match line.rule {
                    Rule::TimesNginx { .. } | Rule::Shown => "times_nginx",
                    Rule::OverNginx { .. } => "over_nginx",
                    Rule::AtMost { .. } => "itself",
                };
                json!({
                    "figure": line.figure, "label": self.label(line.figure),
                    "direct": direct, "nginx": nginx, "tokenwatch": own,
                    "against": against, "compared": line.compared, "in_the_middle": line.in_the_middle, "goal": goal, "floor": floor,
                    "mark": line.mark,
                })
            })
            .collect();
        let peers: Vec<Value> = Peer::ALL
            .into_iter()
            .filter_map(|peer| self.peer_line(peer))
            .map(|line| {
                json!({
                    "peer": line.peer.label(), "cpu_us": line.its, "tokenwatch_cpu_us": line.own,
                    "times": line.times, "mark": line.mark,
                })
            })
            .collect();
        json!({
            "peers": peers,
            "machine": self.machine, "built": self.how_built, "quick": self.options.quick, "rounds": self.options.rounds, "streams": self.streams,
            "lines": lines, "results": self.results,
        })
    }
}

fn cell(value: Option<f64>, over: Option<f64>) -> String {
    match (value, over) {
        (None, _) => "–".to_owned(),
        (Some(value), None) => number(value),
        (Some(value), Some(over)) => format!("{} ({:+.0})", number(value), value - over),
    }
}

/// A bound of a size, without decimals that say nothing.
fn short(value: f64) -> String {
    if value.fract() == 0.0 && value < 1_000.0 { value.to_string() } else { number(value) }
}

/// Three significant digits or the whole number, with thousands set apart.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size < 1.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    if decimals > 0 {
        return text;
    }
    let mut set_apart = String::new();
    for (i, digit) in text.chars().enumerate() {
        if i > 0 && (text.len() - i).is_multiple_of(3) && digit.is_ascii_digit() && !set_apart.ends_with('-')
        {
            set_apart.push(',');
        }
        set_apart.push(digit);
    }
    set_apart
}

/// Columns as wide as their widest cell: the first and the last to the left, the others to the right.
fn layout(rows: &[[String; 8]]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            if column > 0 {
                line.push_str("  ");
            }
            let pad = " ".repeat(width - cell.chars().count());
            let is_left = column == 0 || column + 1 == row.len();
            line.push_str(&if is_left { format!("{cell}{pad}") } else { format!("{pad}{cell}") });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::options::{Command, parse};
    use super::*;

    fn machine() -> Machine {
        Machine {
            cores: 2,
            model: "AMD EPYC".into(),
            kernel: "6.1".into(),
            rustc: "rustc 1.95.0".into(),
            nginx: "nginx/1.22.1".into(),
            load: 0.1,
        }
    }

    fn results() -> Results {
        let mut results = Results::default();
        for (site, cpu, p50) in [
            (Site::Direct, None, 40.0),
            (Site::Nginx, Some(13.0), 80.0),
            (Site::Tokenwatch, Some(26.0), 90.0),
        ] {
            let mut figures = vec![(Figure::OneP50Us, p50)];
            figures.extend(cpu.map(|cpu| (Figure::ChatCpuUs, cpu)));
            results.add(1, site, "chat", Ok(figures));
        }
        results.add(1, Site::Tokenwatch, "memory", Ok(vec![(Figure::IdleMb, 41.0)]));
        results.add(1, Site::Tokenwatch, "burst", Err(anyhow::anyhow!("answered 403")));
        results
    }

    fn check(test: impl FnOnce(&Report<'_>)) {
        let (machine, results) = (machine(), results());
        let Command::Gateway(options) = parse(&["gateway".into(), "--quick".into()]).unwrap() else {
            panic!("not the bench");
        };
        let how_built = "dist, guided";
        test(&Report { machine: &machine, how_built, results: &results, options: &options, streams: 1_000 });
    }

    #[track_caller]
    fn row<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
        let line = text.lines().find_map(|line| line.strip_prefix(label)).unwrap();
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    }

    #[test]
    fn a_line_has_figures_comparison_goal_floor_and_mark() {
        check(|report| {
            let text = report.render();
            let cpu = row(&text, "CPU µs/request, 32 connections");
            assert_eq!(cpu, ["–", "13.0", "26.0", "2.00×", "≤ 1.6×", "≤ 2.2×", "floor met, goal missed"]);
            let p50 = row(&text, "p50 µs, 1 connection");
            assert_eq!(p50, ["40.0", "80.0 (+40)", "90.0 (+50)", "+10.0", "≤ +15", "≤ +30", "goal met"]);
            assert!(text.contains("failed: tokenwatch, burst: answered 403"), "{text}");
            assert!(text.contains("1 goals met, 1 floors met without the goal, 1 floors missed"), "{text}");
            assert!(text.contains("Gateway built: dist, guided; quick"), "{text}");
            assert!(text.contains("MB grown in 100,000 requests"), "{text}");
        });
    }

    #[test]
    fn missed_floors_are_named() {
        check(|report| assert_eq!(report.floors_missed(), ["MB idle, 100 keys"]));
    }

    #[test]
    fn json_has_every_line_and_every_sample() {
        check(|report| {
            let json = report.to_json();
            assert_eq!(json["lines"].as_array().unwrap().len(), Figure::ALL.len());
            assert_eq!(json["lines"][0]["compared"], 2.0);
            assert_eq!(json["lines"][0]["mark"], "floor_met");
            assert_eq!(json["results"]["samples"].as_array().unwrap().len(), 6);
            assert_eq!(json["built"], "dist, guided");
            assert_eq!(json["results"]["failures"][0]["site"], "tokenwatch");
        });
    }

    #[test]
    fn numbers_are_short_and_readable() {
        let texts = [0.123, 12.96, 99.99, 123.4, 999.6, 89_700.0, 1_234_567.0, -1_500.0].map(number);
        assert_eq!(texts, ["0.12", "13.0", "100.0", "123", "1,000", "89,700", "1,234,567", "-1,500"]);
    }
}
