//! Plots as SVG: lines over axes, and bars with intervals. Colours come from the page's style, so that they suit light and
//! dark grounds; lines also differ by dashes, for those who do not see the colours.

use std::fmt::Write as _;

use super::escape;
use crate::stats::Estimate;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;
/// Height of a line of a legend or a bar.
const ROW: f64 = 18.0;
/// Width of the names beside bars.
const NAMES: f64 = 190.0;
const COLOURS: usize = 10;
const DASHES: [&str; 5] = ["", "7 3", "2 3", "9 3 2 3", "4 4"];

/// How values lie on an axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Axis {
    name: String,
    is_log: bool,
    is_share: bool,
}

impl Axis {
    pub(super) fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), is_log: false, is_share: false }
    }

    /// From 0 to 1, in per cent.
    pub(super) fn share(name: &str) -> Self {
        Self { name: name.to_owned(), is_log: false, is_share: true }
    }

    /// By powers of ten; values of 0 and below are not drawn.
    pub(super) fn log(name: &str, is_share: bool) -> Self {
        Self { name: name.to_owned(), is_log: true, is_share }
    }

    fn scale(&self, value: f64) -> Option<f64> {
        let scaled = if self.is_log { libm::log10(value) } else { value };
        scaled.is_finite().then_some(scaled)
    }

    /// The ends of the axis, scaled, and where ticks stand with what is written there.
    pub(super) fn layout(&self, values: impl Iterator<Item = f64>) -> (f64, f64, Vec<(f64, String)>) {
        if self.is_share && !self.is_log {
            let ticks = (0..=5).map(|fifth| (f64::from(fifth) / 5.0, format!("{} %", fifth * 20)));
            return (0.0, 1.0, ticks.collect());
        }
        let (low, high) = values
            .filter_map(|value| self.scale(value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) =
            if low > high { (0.0, 1.0) } else { (low.floor(), high.ceil().max(low.floor() + 1.0)) };
        let step = ((high - low) / 8.0).ceil().max(1.0);
        let count = ((high - low) / step) as u32;
        let ticks = (0..=count).map(|tick| low + f64::from(tick) * step);
        (low, high, ticks.map(|tick| (tick, self.label(tick))).collect())
    }

    fn label(&self, tick: f64) -> String {
        if !self.is_log {
            return format!("{tick:.0}");
        }
        let value = libm::pow(10.0, tick);
        match (self.is_share, tick) {
            (true, t) if t >= -2.0 => format!("{:.0} %", value * 100.0),
            (true, t) => format!("{:.digits$} %", value * 100.0, digits = (-t - 2.0) as usize),
            (false, t) if (0.0..4.0).contains(&t) => format!("{value:.0}"),
            (false, t) => format!("1e{t:.0}"),
        }
    }
}

/// Points joined by a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Line {
    /// Empty when no legend is wanted.
    pub(super) name: String,
    pub(super) colour: usize,
    /// By rising x.
    pub(super) points: Vec<(f64, f64)>,
    /// Whether the line stays level between points.
    pub(super) is_step: bool,
}

/// Lines over two axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// A stretch of x to be shaded.
    pub(super) shaded: Option<(f64, f64)>,
    /// A level of y to be marked.
    pub(super) level: Option<f64>,
    /// Whether points are drawn as dots, without lines.
    pub(super) are_dots: bool,
}

/// Where scaled values lie on the drawing.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn x(&self, scaled: f64) -> f64 {
        LEFT + (scaled - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, scaled: f64) -> f64 {
        HEIGHT - BOTTOM - (scaled - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }
}

impl Plot {
    /// The drawing.
    pub(super) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let (x_low, x_high, x_ticks) = self.x.layout(points().map(|point| point.0));
        let (y_low, y_high, y_ticks) = self.y.layout(points().map(|point| point.1).chain(self.level));
        let frame = Frame { x: (x_low, x_high), y: (y_low, y_high) };
        let legend = self.lines.iter().filter(|line| !line.name.is_empty()).count().div_ceil(2) as f64 * ROW;
        let height = HEIGHT + legend;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
             aria-label=\"{title}\"><title>{title}</title><text x=\"{LEFT}\" y=\"16\">{title}</text>",
            title = escape(&self.title)
        );
        self.draw_axes(&mut svg, &frame, &x_ticks, &y_ticks);
        if let Some((from, to)) = self.shaded.map(|(from, to)| (frame.x(from), frame.x(to))) {
            let (width, tall) = ((to - from).max(2.0), HEIGHT - TOP - BOTTOM);
            let _ = write!(
                svg,
                "<rect class=\"shade\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{tall}\"/>"
            );
        }
        if let Some(y) = self.level.and_then(|level| self.y.scale(level)).map(|level| frame.y(level)) {
            let end = WIDTH - RIGHT;
            let _ = write!(svg, "<path class=\"level\" d=\"M{LEFT} {y:.1}H{end}\"/>");
        }
        self.lines.iter().for_each(|line| self.draw_line(&mut svg, &frame, line));
        self.draw_legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_axes(
        &self,
        svg: &mut String,
        frame: &Frame,
        x_ticks: &[(f64, String)],
        y_ticks: &[(f64, String)],
    ) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (at, label) in y_ticks {
            let y = frame.y(*at);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{label}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        for (at, label) in x_ticks {
            let x = frame.x(*at);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/><text class=\"faint\" x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{label}</text>",
                bottom + 16.0
            );
        }
        let _ = write!(
            svg,
            "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/><text x=\"{right}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text><text x=\"4\" y=\"16\">{}</text>",
            bottom + 32.0,
            escape(&self.x.name),
            escape(&self.y.name)
        );
    }

    fn draw_line(&self, svg: &mut String, frame: &Frame, line: &Line) {
        let place = |&(x, y): &(f64, f64)| Some((frame.x(self.x.scale(x)?), frame.y(self.y.scale(y)?)));
        let colour = line.colour % COLOURS;
        let mut path = String::new();
        let mut last = None;
        for (x, y) in line.points.iter().filter_map(place) {
            let _ = match last {
                _ if self.are_dots => write!(path, "M{x:.1} {y:.1}h.01"),
                None => write!(path, "M{x:.1} {y:.1}"),
                Some(_) if line.is_step => write!(path, "H{x:.1}V{y:.1}"),
                Some(_) => write!(path, "L{x:.1} {y:.1}"),
            };
            last = Some(x);
        }
        let caps = if self.are_dots { " stroke-linecap=\"round\"" } else { "" };
        let _ = write!(
            svg,
            "<path class=\"line\" style=\"stroke:var(--c{colour})\" stroke-dasharray=\"{}\"{caps} d=\"{path}\"/>",
            dashes(line.colour)
        );
    }

    fn draw_legend(&self, svg: &mut String) {
        for (place, line) in self.lines.iter().filter(|line| !line.name.is_empty()).enumerate() {
            let x = LEFT + (place % 2) as f64 * (WIDTH - LEFT) / 2.0;
            let y = HEIGHT + (place / 2) as f64 * ROW + 6.0;
            let _ = write!(
                svg,
                "<path class=\"line\" style=\"stroke:var(--c{})\" stroke-dasharray=\"{}\" d=\"M{x} {y:.1}h28\"/>\
                 <text x=\"{}\" y=\"{:.1}\">{}</text>",
                line.colour % COLOURS,
                dashes(line.colour),
                x + 34.0,
                y + 4.0,
                escape(&line.name)
            );
        }
    }
}

fn dashes(colour: usize) -> &'static str {
    DASHES.get(colour % DASHES.len()).copied().unwrap_or("")
}

/// Shares as bars with their intervals.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bars {
    pub(super) title: String,
    pub(super) colour: usize,
    pub(super) bars: Vec<(String, Estimate)>,
}

impl Bars {
    /// The drawing.
    pub(super) fn svg(&self) -> String {
        let height = TOP + self.bars.len() as f64 * ROW + 8.0;
        let wide = WIDTH - NAMES - 70.0;
        let colour = self.colour % COLOURS;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
             aria-label=\"{title}\"><title>{title}</title><text x=\"0\" y=\"16\">{title}</text>",
            title = escape(&self.title)
        );
        for (place, (name, estimate)) in self.bars.iter().enumerate() {
            let y = TOP + place as f64 * ROW;
            let (middle, at) = (y + ROW / 2.0, |share: f64| NAMES + share * wide);
            let _ = write!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{NAMES}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" style=\"fill:var(--c{colour})\" \
                 opacity=\"0.55\"/><path class=\"axis\" d=\"M{:.1} {middle:.1}H{:.1}\"/>\
                 <text x=\"{WIDTH}\" y=\"{:.1}\" text-anchor=\"end\">{:.1} %</text>",
                NAMES - 8.0,
                middle + 4.0,
                escape(name),
                y + 3.0,
                (estimate.value * wide).max(1.0),
                ROW - 6.0,
                at(estimate.low),
                at(estimate.high),
                middle + 4.0,
                estimate.value * 100.0
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}
