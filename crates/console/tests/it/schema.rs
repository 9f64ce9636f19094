//! Holds answers to `docs/openapi.json`: the part of JSON Schema that the document uses, and an error for the rest.

use std::sync::LazyLock;

use http::Method;
use serde_json::Value;
use tokenwatch_console::api::routes;

pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
});

/// The operation of a request, when the document has its path and method.
pub(crate) fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let route = routes().iter().find(|route| {
        let (want, have): (Vec<&str>, Vec<&str>) =
            (route.path.split('/').collect(), path.split('/').collect());
        let same = |(w, h): (&&str, &&str)| w == h || w.starts_with('{');
        route.method == *method && want.len() == have.len() && want.iter().zip(&have).all(same)
    })?;
    DOCUMENT["paths"][route.path].get(method.as_str().to_ascii_lowercase())
}

/// Checks an answer against its operation: the status is announced, the body fits.
#[track_caller]
pub(crate) fn check_answer(method: &Method, path: &str, status: u16, body: &[u8]) {
    let Some(operation) = operation(method, path) else { return };
    let response = &operation["responses"][status.to_string()];
    assert!(response.is_object(), "{method} {path}: the document does not announce {status}");
    let Some(schema) = response["content"].get("application/json").map(|content| &content["schema"]) else {
        return;
    };
    let body: Value = serde_json::from_slice(body).unwrap();
    let result = validate(schema, &body);
    assert_eq!(result, Ok(()), "{method} {path} {status}: {body:#}");
}

/// Checks a body that is sent: what the document allows is what the API must take.
pub(crate) fn validate(schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = DOCUMENT.pointer(&reference[1..]).ok_or_else(|| format!("{reference} leads nowhere"))?;
        return validate(target, value);
    }
    for (word, exactly_one) in [("anyOf", false), ("oneOf", true)] {
        if let Some(choices) = schema.get(word).and_then(Value::as_array) {
            let fits = choices.iter().filter(|choice| validate(choice, value).is_ok()).count();
            let is_fine = if exactly_one { fits == 1 } else { fits > 0 };
            return if is_fine { Ok(()) } else { Err(format!("{value} fits {fits} choices of {schema}")) };
        }
    }
    check_type(schema, value)?;
    if let Some(words) = schema.get("enum").and_then(Value::as_array)
        && !words.contains(value)
    {
        return Err(format!("{value} is none of {words:?}"));
    }
    if value.as_i64().is_some_and(|number| number < schema["minimum"].as_i64().unwrap_or(i64::MIN)) {
        return Err(format!("{value} is too small"));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        check_id(pattern, value)?;
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        values.iter().try_for_each(|value| validate(items, value))?;
    }
    check_properties(schema, value)
}

fn check_type(schema: &Value, value: &Value) -> Result<(), String> {
    let is_a = |name: &Value| match name.as_str() {
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("null") => value.is_null(),
        _ => false,
    };
    let fits = match &schema["type"] {
        Value::Array(names) => names.iter().any(is_a),
        name => is_a(name),
    };
    if fits { Ok(()) } else { Err(format!("{value} is not {}", schema["type"])) }
}

/// The only patterns are those of ids: a prefix and twelve digits.
fn check_id(pattern: &str, value: &Value) -> Result<(), String> {
    let prefix = pattern.trim_start_matches('^').split('[').next().unwrap_or_default();
    let digits = value.as_str().and_then(|text| text.strip_prefix(prefix));
    match digits {
        Some(digits) if digits.len() == 12 && digits.chars().all(|c| c.is_ascii_alphanumeric()) => Ok(()),
        _ => Err(format!("{value} does not fit {pattern}")),
    }
}

fn check_properties(schema: &Value, value: &Value) -> Result<(), String> {
    let Some(fields) = value.as_object() else { return Ok(()) };
    for required in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(required.as_str().unwrap_or_default()) {
            return Err(format!("{required} is missing"));
        }
    }
    for (name, value) in fields {
        match schema["properties"].get(name) {
            Some(property) => validate(property, value).map_err(|error| format!("{name}: {error}"))?,
            None if schema["additionalProperties"] == false => {
                return Err(format!("{name} is not in the document"));
            }
            None => {}
        }
    }
    Ok(())
}
