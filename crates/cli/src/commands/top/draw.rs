//! The picture: a state becomes a frame, and nothing else happens.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph, Row, Table, Wrap};
use tokenwatch_console::api::shapes::LiveKey;
use tokenwatch_respond::words::count;

use super::plain::{HEADINGS, SPARK, cells, head, per_second, suspect};
use super::state::{Top, rate};

/// Rows of the details, where the window has room for them.
const DETAILS: u16 = 12;
/// From this height on there are details.
const TALL: u16 = 24;

/// Draws the whole screen. The state is changed only by what scrolls.
pub(super) fn draw(frame: &mut Frame<'_>, top: &mut Top) {
    let details = if frame.area().height >= TALL { DETAILS } else { 0 };
    let [title, notice, table, below, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(2),
        Constraint::Length(details),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(title_line(top), title);
    frame.render_widget(notice_line(top), notice);
    top.scroll(usize::from(table.height.saturating_sub(1)));
    draw_table(frame, top, table);
    if details > 0
        && let Some(key) = top.selected()
    {
        draw_details(frame, key, below);
    }
    frame.render_widget(keys_line(top), keys);
}

fn title_line(top: &Top) -> Line<'static> {
    let mut spans = vec![Span::from("tokenwatch top").bold()];
    for (figure, of) in top.live.iter().flat_map(head) {
        let is_bad = of.contains("incident") && figure != "0";
        let figure = Span::from(format!("  {figure}"));
        spans.push(if is_bad { figure.red().bold() } else { figure.bold() });
        spans.push(Span::from(format!(" {of}")));
    }
    Line::from(spans)
}

/// What is wrong, if anything is.
fn notice_line(top: &Top) -> Line<'static> {
    match (&top.problem, &top.live) {
        (Some(problem), None) => Line::from(problem.clone()).red(),
        (Some(problem), Some(_)) => {
            Line::from(format!("no answer since {} s, trying again: {problem}", top.silent_s)).red()
        }
        (None, None) => Line::from(format!("asking {} …", top.address)).dim(),
        (None, Some(_)) if top.is_silent() => {
            Line::from(format!("no answer since {} s", top.silent_s)).yellow()
        }
        (None, Some(live)) if live.draining => Line::from("the server is shutting down").yellow(),
        (None, Some(_)) if top.is_paused => Line::from("paused").yellow(),
        (None, Some(live)) if live.keys.is_empty() => {
            Line::from("no key was used since the server started").dim()
        }
        (None, Some(_)) => Line::default(),
    }
}

/// What of the table a window has room for.
struct Columns {
    is_narrow: bool,
    spark: usize,
    name_max: usize,
}

impl Columns {
    /// From this width on there is room for everything.
    const WIDE: u16 = 112;

    const fn of(width: u16) -> Self {
        if width < Self::WIDE {
            Self { is_narrow: true, spark: 9, name_max: 14 }
        } else {
            Self { is_narrow: false, spark: SPARK, name_max: 28 }
        }
    }

    /// Those of a row's cells that there is room for: without mode, month and networks where it is narrow.
    fn choose<T>(&self, cells: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        let is_narrow = self.is_narrow;
        cells
            .into_iter()
            .enumerate()
            .filter(move |(i, _)| !(is_narrow && matches!(i, 2 | 7 | 9)))
            .map(|(_, cell)| cell)
    }
}

fn draw_table(frame: &mut Frame<'_>, top: &Top, area: Rect) {
    let columns = Columns::of(area.width);
    let name = top.keys().iter().map(|key| key.name.chars().count()).max().unwrap_or(0);
    let widths = [
        Constraint::Length(name.clamp(12, columns.name_max) as u16),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(columns.spark as u16),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(4),
        Constraint::Length(3),
        Constraint::Min(9),
    ];
    let shown =
        top.keys().iter().enumerate().skip(top.offset).take(usize::from(area.height.saturating_sub(1)));
    let rows = shown.map(|(row, key)| row_of(key, row == top.row(), &columns));
    let header = Row::new(columns.choose(HEADINGS)).bold();
    let table = Table::new(rows, columns.choose(widths)).header(header).column_spacing(1);
    frame.render_widget(table, area);
}

fn row_of(key: &LiveKey, is_selected: bool, columns: &Columns) -> Row<'static> {
    let [name, state, mode, spark, rate, refused, day, month, score, nets, new, contained] =
        cells(key, columns.spark);
    let alerted = key.suspects.iter().any(|suspect| suspect.alerted);
    let newcomers = match (key.suspects.is_empty(), alerted) {
        (true, _) => Style::new(),
        (false, false) => Style::new().fg(Color::Yellow),
        (false, true) => Style::new().fg(Color::Red),
    };
    let cells = [
        Span::from(name).bold(),
        Span::styled(state, if key.state == "active" { Style::new() } else { Style::new().fg(Color::Red) }),
        Span::from(mode),
        Span::from(spark).cyan(),
        Span::from(rate),
        Span::styled(refused, if key.refused > 0 { Style::new().fg(Color::Yellow) } else { Style::new() }),
        Span::from(day),
        Span::from(month),
        Span::styled(score, newcomers),
        Span::from(nets),
        Span::styled(new, newcomers),
        Span::from(contained).red().bold(),
    ];
    let row = Row::new(columns.choose(cells));
    if is_selected { row.style(Style::new().add_modifier(Modifier::REVERSED)) } else { row }
}

fn draw_details(frame: &mut Frame<'_>, key: &LiveKey, area: Rect) {
    let [left, right] = Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(area);
    let block = Block::bordered().title(format!(" {} ({}) ", key.name, key.id));
    frame.render_widget(Paragraph::new(detail_lines(key)).wrap(Wrap { trim: true }).block(block), left);
    draw_plot(frame, key, right);
}

fn detail_lines(key: &LiveKey) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for containment in &key.containments {
        lines.push(Line::from(format!("in force: {containment}")).red());
    }
    for newcomer in &key.suspects {
        let line = Line::from(format!("new: {}", suspect(newcomer)));
        lines.push(if newcomer.alerted { line.red() } else { line.yellow() });
    }
    if lines.is_empty() {
        lines.push(Line::from("nothing in force, no newcomer").dim());
    }
    let known = key.known;
    let countries =
        if known.countries == 1 { "1 country".to_owned() } else { format!("{} countries", known.countries) };
    lines.push(Line::from(format!(
        "known: {} in {countries}, {}, {}, {}, {}",
        count(known.networks, "network"),
        count(known.prefixes, "address block"),
        count(known.clients, "client"),
        count(known.models, "model"),
        count(known.templates, "prompt template")
    )));
    let used = key.last_used.map_or_else(|| "never".to_owned(), |at| at.to_string());
    lines.push(Line::from(format!(
        "{} served and {} refused since the server started, {} in flight, last used {used}",
        key.forwarded, key.refused, key.in_flight
    )));
    lines
}

fn draw_plot(frame: &mut Frame<'_>, key: &LiveKey, area: Rect) {
    let seconds = key.requests_by_second.len() as f64;
    let points: Vec<(f64, f64)> = key
        .requests_by_second
        .iter()
        .enumerate()
        .map(|(i, &count)| (i as f64 - seconds + 1.0, count as f64))
        .collect();
    let most = key.requests_by_second.iter().copied().max().unwrap_or(0).max(1);
    let line = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(Style::new().fg(Color::Cyan))
        .data(&points);
    let title = format!(" requests/s, now {} ", per_second(rate(&key.requests_by_second)));
    let chart = Chart::new(vec![line])
        .block(Block::bordered().title(title))
        .x_axis(Axis::default().bounds([1.0 - seconds, 0.0]).labels(["-60 s", "now"]))
        .y_axis(Axis::default().bounds([0.0, most as f64]).labels(["0".to_owned(), most.to_string()]));
    frame.render_widget(chart, area);
}

fn keys_line(top: &Top) -> Line<'static> {
    let pause = if top.is_paused { "go on" } else { "pause" };
    let count = top.keys().len();
    let row = if count == 0 { 0 } else { top.row() + 1 };
    Line::from(format!(
        "↑↓ select  s sort ({})  p {pause}  q quit   {row}/{count}   {}",
        top.sort.name(),
        top.address
    ))
    .dim()
}
