//! Numbers and foreign text as people read them: counts, odds, rarities, times, cleaned names.
//!
//! Invariant: nothing that a caller of the gateway chose (model names, user agents) reaches a terminal
//! with control or direction-changing characters in it; see [`clean`].

use tokenwatch_model::key::Key;
use tokenwatch_model::time::{Timestamp, human_span};

/// Longest foreign text shown, in characters.
const SHOWN_CHARS_MAX: usize = 300;

/// Makes text that others chose safe to show on one line: control characters, line separators and
/// characters that change direction or have no width become `?`, and long text is cut with `…`.
pub fn clean(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARS_MAX)
        .map(|c| if c.is_control() || is_invisible(c) { '?' } else { c })
        .collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The key's name, or its id where it has none.
pub fn key_name(key: &Key) -> String {
    if key.name.is_empty() { key.id.to_string() } else { clean(&key.name) }
}

/// `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 request`, `12,345 requests`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// A span in its largest unit alone, for "so long ago": `39 min`, `4 d`.
pub fn age(micros: u64) -> String {
    human_span(micros).split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// `2026-03-01 12:00:00 UTC`.
pub fn clock(time: Timestamp) -> String {
    let text = time.to_string();
    // A time beyond the calendar is written as microseconds, without a `T`.
    match text.split_once('T') {
        Some((date, clock)) => format!("{date} {} UTC", clock.get(..8).unwrap_or(clock)),
        None => text,
    }
}

/// How rare a finding is on an honest key: `once in 33 years`; `None` for rules without a rate.
pub fn rarity(once_in_days: f64) -> Option<String> {
    /// Mean length of a Gregorian year.
    const YEAR_DAYS: f64 = 365.2425;
    if once_in_days.is_nan() || once_in_days <= 0.0 {
        return None;
    }
    Some(match once_in_days {
        d if d < 0.75 => format!("{} times a day", grouped((1.0 / d).round() as u64)),
        d if d < 1.5 => "once a day".to_owned(),
        d if d < 60.0 => format!("once in {} days", d.round()),
        d if d < 2.0 * YEAR_DAYS => format!("once in {} months", (d / YEAR_DAYS * 12.0).round()),
        d if d < 1e6 * YEAR_DAYS => format!("once in {} years", grouped((d / YEAR_DAYS).round() as u64)),
        _ => "less than once in a million years".to_owned(),
    })
}

/// Evidence in nats as odds and a word: `×1,100 for a stranger (very strong)`, `×7 for the owner (fair)`.
///
/// The words follow the usual reading of Bayes factors: up to ×3 barely worth a mention, ×10 weak,
/// ×30 fair, ×100 strong, above very strong.
pub fn odds(nats: f64) -> String {
    if nats.is_nan() {
        return "of unknown weight".to_owned();
    }
    let factor = nats.abs().exp();
    let whom = if nats < 0.0 { "the owner" } else { "a stranger" };
    let word = match factor {
        f if f < 1.05 => return "speaks for nobody".to_owned(),
        f if f < 3.0 => "barely",
        f if f < 10.0 => "weak",
        f if f < 30.0 => "fair",
        f if f < 100.0 => "strong",
        _ => "very strong",
    };
    let factor = match factor {
        f if f < 10.0 => format!("×{f:.1}"),
        f if f < 1e6 => format!("×{}", grouped(two_digits(f))),
        _ => "over ×1,000,000".to_owned(),
    };
    format!("{factor} for {whom} ({word})")
}

/// Rounds to two significant digits: more would claim a precision that evidence does not have.
fn two_digits(number: f64) -> u64 {
    let scale = 10f64.powi((number.log10().floor() as i32 - 1).max(0));
    ((number / scale).round() * scale) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_can_not_move_the_cursor() {
        assert_eq!(clean("axios\u{1b}[2J\n1.7"), "axios?[2J?1.7");
        assert_eq!(clean("gpt\u{202e}4o\u{200b}"), "gpt?4o?");
        assert_eq!(clean(&"x".repeat(400)), format!("{}…", "x".repeat(300)));
        assert_eq!(clean(&"x".repeat(300)), "x".repeat(300));
    }

    #[test]
    fn counts_have_separators() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"].map(str::to_owned)
        );
        assert_eq!((count(1, "request"), count(2, "request")), ("1 request".into(), "2 requests".into()));
    }

    #[track_caller]
    fn check_rarity(days: f64, want: Option<&str>) {
        assert_eq!(rarity(days).as_deref(), want, "{days}");
    }

    #[test]
    fn rarities_are_said_in_the_unit_that_fits() {
        check_rarity(0.0, None);
        check_rarity(f64::NAN, None);
        check_rarity(-3.0, None);
        check_rarity(0.1, Some("10 times a day"));
        check_rarity(1.0, Some("once a day"));
        check_rarity(45.2, Some("once in 45 days"));
        check_rarity(365.0, Some("once in 12 months"));
        check_rarity(12_000.0, Some("once in 33 years"));
        check_rarity(f64::INFINITY, Some("less than once in a million years"));
    }

    #[track_caller]
    fn check_odds(nats: f64, want: &str) {
        assert_eq!(odds(nats), want, "{nats}");
    }

    #[test]
    fn evidence_is_said_as_odds() {
        check_odds(0.0, "speaks for nobody");
        check_odds(0.7, "×2.0 for a stranger (barely)");
        check_odds(-2.0, "×7.4 for the owner (weak)");
        check_odds(3.0, "×20 for a stranger (fair)");
        check_odds(4.0, "×55 for a stranger (strong)");
        check_odds(7.0, "×1,100 for a stranger (very strong)");
        check_odds(40.0, "over ×1,000,000 for a stranger (very strong)");
        check_odds(f64::NAN, "of unknown weight");
        check_odds(f64::NEG_INFINITY, "over ×1,000,000 for the owner (very strong)");
    }

    #[test]
    fn clocks_are_short() {
        assert_eq!((age(2_399_000_000), age(12_500_000)), ("39 min".into(), "12.5 s".into()));
        assert_eq!(clock("2026-03-01T12:00:00.250Z".parse().unwrap()), "2026-03-01 12:00:00 UTC");
        assert_eq!(clock(Timestamp(u64::MAX)), Timestamp(u64::MAX).to_string());
    }
}
