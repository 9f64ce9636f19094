//! Reads a configuration section by section, so that one wrong section does not hide the others' errors.

use std::fmt;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Config, validate};

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigErrors(pub(crate) Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in the configuration:", if self.0.len() == 1 { "an error" } else { "errors" })?;
        for error in &self.0 {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

const SECTIONS: [&str; 10] = [
    "server",
    "admin",
    "provider",
    "defaults",
    "detection",
    "containment",
    "network",
    "storage",
    "price",
    "log",
];

/// Reads and validates a configuration. No file, network or environment is touched.
///
/// # Errors
///
/// All errors at once, each naming the field and the fix.
pub(crate) fn parse(text: &str) -> Result<Config, ConfigErrors> {
    let mut errors = Vec::new();
    let mut table = match text.parse::<Table>() {
        Ok(table) => table,
        Err(error) => return Err(ConfigErrors(vec![error.to_string().trim().to_owned()])),
    };
    for name in table.keys().filter(|name| !SECTIONS.contains(&name.as_str())) {
        errors.push(format!("[{name}]: no such section; there are {}", SECTIONS.join(", ")));
    }
    let mut config = Config {
        server: section(&mut table, "server", &mut errors),
        admin: section(&mut table, "admin", &mut errors),
        defaults: section(&mut table, "defaults", &mut errors),
        detection: section(&mut table, "detection", &mut errors),
        containment: section(&mut table, "containment", &mut errors),
        network: section(&mut table, "network", &mut errors),
        storage: section(&mut table, "storage", &mut errors),
        log: section(&mut table, "log", &mut errors),
        ..Config::default()
    };
    config.providers = list(&mut table, "provider", &mut errors);
    config.prices = list(&mut table, "price", &mut errors);
    errors.extend(validate::validate(&config));
    let rate = config.detection.false_alarms_per_key_year;
    config.defaults.false_alarms_per_year.get_or_insert(rate);
    if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
}

fn section<T: DeserializeOwned + Default>(table: &mut Table, name: &str, errors: &mut Vec<String>) -> T {
    let Some(value) = table.remove(name) else { return T::default() };
    read(value, &format!("[{name}]"), errors).unwrap_or_default()
}

fn list<T: DeserializeOwned>(table: &mut Table, name: &str, errors: &mut Vec<String>) -> Vec<T> {
    match table.remove(name) {
        None => Vec::new(),
        Some(Value::Array(items)) => items
            .into_iter()
            .enumerate()
            .filter_map(|(i, item)| read(item, &format!("[[{name}]] number {}", i + 1), errors))
            .collect(),
        Some(_) => {
            errors.push(format!("[{name}]: must be written [[{name}]], once for each"));
            Vec::new()
        }
    }
}

fn read<T: DeserializeOwned>(value: Value, place: &str, errors: &mut Vec<String>) -> Option<T> {
    match value.try_into() {
        Ok(value) => Some(value),
        Err(error) => {
            let text = error.to_string();
            let text: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            errors.push(format!("{place}: {}", text.join("; ")));
            None
        }
    }
}
