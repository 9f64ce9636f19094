//! How lines look, and what they must not hold.

use std::io;
use std::sync::Mutex;

use super::*;

/// Collects what is logged.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Vec<u8>>>);

impl io::Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Collector {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What `act` logs in this format.
pub(crate) fn logged(format: Format, filter: &str, act: impl FnOnce()) -> String {
    let collector = Collector::default();
    let subscriber = build(format, filter, false, collector.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, act);
    let bytes = collector.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn filters_decide_by_level_and_module() {
    let act = || {
        tracing::debug!("quiet");
        tracing::info!(target: "tokenwatch_gateway", "heard");
    };
    let text = logged(Format::Text, "info", act);
    assert!(text.contains("heard") && !text.contains("quiet"), "{text}");
    assert_eq!(logged(Format::Text, "info,tokenwatch_gateway=error", act), "");
}

#[test]
fn json_is_one_object_per_line() {
    let text = logged(Format::Json, "info", || tracing::warn!(request.id = 7, "two\nlines"));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with('{') && text.contains(r#""request.id":7"#), "{text}");
    assert!(text.contains(r#""message":"two\nlines""#) && text.contains(r#""level":"WARN""#), "{text}");
}

#[test]
fn quoted_text_can_not_forge_a_line() {
    let hostile = "gpt-4o\n2026-03-01T12:00:00Z ERROR all is lost \u{1b}[2J";
    let text = logged(Format::Text, "info", || tracing::info!(model = ?hostile, "asked"));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn wrong_filters_are_named() {
    let error = build(Format::Text, "gateway=loud", false, Collector::default()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "log filter \"gateway=loud\" can not be read; write a level such as info, or info,tokenwatch_gateway=debug"
    );
}

#[test]
fn formats_have_names() {
    assert_eq!(
        ["text", "json", "xml"].map(Format::from_name),
        [Some(Format::Text), Some(Format::Json), None]
    );
}
