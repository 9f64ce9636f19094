//! The page stands on its own, is well formed, and holds what the report holds.

use super::*;
use crate::report::tests::evaluate_with_traces;

/// Checks that every element that is opened is closed, in order.
#[track_caller]
fn check_nesting(html: &str) {
    let void = ["meta", "path", "rect"];
    let mut open: Vec<&str> = Vec::new();
    for tag in html.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        if tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        let name = tag.split_whitespace().next().unwrap();
        if !void.contains(&name) && !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn the_page_is_well_formed_and_loads_nothing() {
    let page = page(&evaluate_with_traces(1));
    check_nesting(&page);
    for outside in ["<script", "<link", "src=", "@import", "url(", "http:", "https:"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for what in ["NaN", "inf\"", "{", "layered", "stranger", "class=\"shade\""] {
        // Braces belong to the style only.
        let body = page.split("</style>").nth(1).unwrap();
        assert_eq!(body.contains(what), !["NaN", "inf\"", "{"].contains(&what), "{what}");
    }
}

#[test]
fn axes_have_ticks_that_say_what_they_are() {
    let labels = |axis: Axis, values: &[f64]| {
        let (_, _, ticks) = axis.layout(values.iter().copied());
        ticks.into_iter().map(|(_, label)| label).collect::<Vec<_>>()
    };
    assert_eq!(labels(Axis::log("", true), &[0.002, 0.3]), ["0.1 %", "1 %", "10 %", "100 %"]);
    assert_eq!(labels(Axis::log("", false), &[1.0, 900.0]), ["1", "10", "100", "1000"]);
    assert_eq!(labels(Axis::plain(""), &[0.0, 3.5]), ["0", "1", "2", "3", "4"]);
    assert_eq!(labels(Axis::log("", false), &[]), ["1", "10"]);
}

#[test]
fn texts_can_not_become_elements() {
    assert_eq!(escape("<b a=\"x\">&"), "&lt;b a=&quot;x&quot;&gt;&amp;");
}
