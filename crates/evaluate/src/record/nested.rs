//! Lists and objects as one number: equal ones are equal however their members are ordered.

use std::fmt::Write as _;

use serde_json::Value;
use tokenwatch_testkit::rng;

/// A hash of a list or an object; 0, which is none, for an empty one.
pub(super) fn hash(value: &Value) -> u64 {
    let is_empty = match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    };
    if is_empty { 0 } else { hash_text(&canonical(value)) }
}

/// A hash of the set of a list's tools: their order does not count, and of each only its name.
pub(super) fn hash_tools(tools: &[Value]) -> u64 {
    if tools.is_empty() {
        return 0;
    }
    let mut names: Vec<String> = tools.iter().map(tool_name).collect();
    names.sort_unstable();
    names.dedup();
    hash_text(&names.join("\n"))
}

fn hash_text(text: &str) -> u64 {
    rng::hash(text.as_bytes()).max(1)
}

/// A tool's name as the vendors write it; a tool that has none stands for itself.
fn tool_name(tool: &Value) -> String {
    let name = [tool.pointer("/function/name"), tool.get("name"), tool.get("type"), Some(tool)];
    name.into_iter().flatten().find_map(Value::as_str).map_or_else(|| canonical(tool), str::to_owned)
}

/// The value as text without spaces, members in the order of their names, whole numbers without a fraction.
fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(list) => {
            out.push('[');
            for (place, item) in list.iter().enumerate() {
                out.push_str(if place == 0 { "" } else { "," });
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            // Null is the same as left out.
            let mut members: Vec<_> = object.iter().filter(|(_, member)| !member.is_null()).collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            out.push('{');
            for (name, member) in members {
                // Writing to a text can not fail.
                let _ = write!(out, "{name:?}:");
                write(member, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Number(number) => {
            let whole = number.as_f64().filter(|real| real.fract() == 0.0 && real.abs() < 9e15);
            let _ = match whole {
                Some(real) => write!(out, "{}", real as i64),
                None => write!(out, "{number}"),
            };
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {
            let _ = write!(out, "{value}");
        }
    }
}
