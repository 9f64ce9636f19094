//! Reads a configuration section by section, so that one wrong section does not hide the others' errors.

use std::fmt;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Config, alerts, validate};

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

const SECTIONS: [&str; 11] = [
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
    "alerts",
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
    config.providers = list(&mut table, "provider", "provider", &mut errors);
    config.prices = list(&mut table, "price", "price", &mut errors);
    config.alerts = alerts::parse(&mut table, &mut errors);
    errors.extend(validate::validate(&config));
    let rate = config.detection.false_alarms_per_key_year;
    config.defaults.false_alarms_per_year.get_or_insert(rate);
    if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
}

pub(super) fn section<T: DeserializeOwned + Default>(
    table: &mut Table,
    name: &str,
    errors: &mut Vec<String>,
) -> T {
    table.remove(name).map_or_else(T::default, |value| fields(value, &format!("[{name}]"), errors))
}

/// Reads a section's fields.
pub(super) fn fields<T: DeserializeOwned + Default>(
    value: Value,
    place: &str,
    errors: &mut Vec<String>,
) -> T {
    let Value::Table(fields) = value else {
        errors.push(format!("{place}: must be a section with fields"));
        return T::default();
    };
    let good = keep_good::<T>(fields, &|fields| fields, place, errors);
    read(Value::Table(good), place, errors).unwrap_or_default()
}

/// Tries each field by itself, so that every wrong one is told; `within` puts fields where they belong in the
/// section. What is right stays.
fn keep_good<T: DeserializeOwned>(
    fields: Table,
    within: &dyn Fn(Table) -> Table,
    place: &str,
    errors: &mut Vec<String>,
) -> Table {
    let mut good = Table::new();
    for (name, value) in fields {
        let alone = |value: Value| Table::from_iter([(name.clone(), value)]);
        match value {
            Value::Table(fields) => {
                let deeper = |fields| within(alone(Value::Table(fields)));
                let fields = keep_good::<T>(fields, &deeper, place, errors);
                good.insert(name, Value::Table(fields));
            }
            value => {
                if read::<T>(Value::Table(within(alone(value.clone()))), place, errors).is_some() {
                    good.insert(name, value);
                }
            }
        }
    }
    good
}

/// Reads a list of sections: what stands under `name` in the table and is written `[[title]]`.
pub(super) fn list<T: DeserializeOwned>(
    table: &mut Table,
    name: &str,
    title: &str,
    errors: &mut Vec<String>,
) -> Vec<T> {
    match table.remove(name) {
        None => Vec::new(),
        Some(Value::Array(items)) => items
            .into_iter()
            .enumerate()
            .filter_map(|(i, item)| read(item, &format!("[[{title}]] number {}", i + 1), errors))
            .collect(),
        Some(_) => {
            errors.push(format!("[{title}]: must be written [[{title}]], once for each"));
            Vec::new()
        }
    }
}

fn read<T: DeserializeOwned>(value: Value, place: &str, errors: &mut Vec<String>) -> Option<T> {
    match value.try_into() {
        Ok(value) => Some(value),
        Err(error) => {
            let error = tell(place, &error.to_string());
            if !errors.contains(&error) {
                errors.push(error);
            }
            None
        }
    }
}

/// The library's error on one line, with the field in front.
fn tell(place: &str, text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let path = lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    let said: Vec<&str> = lines().filter(|line| !line.starts_with("in `")).collect();
    let said = said.join("; ");
    match path {
        Some(path) => format!("{place} {path}: {said}"),
        None => format!("{place}: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, told: &[&str]) {
        let errors = parse(text).err().map(|errors| errors.0).unwrap_or_default();
        assert_eq!(errors.len(), told.len(), "{errors:#?}");
        for (error, told) in errors.iter().zip(told) {
            assert!(error.starts_with(told), "{error}");
        }
    }

    #[test]
    fn every_wrong_field_is_told() {
        check(
            "[server]\nlisten = \"here\"\nworkers = \"many\"\nspeed = 9\nbody_bytes_max = 0\n",
            &[
                "[server] listen: invalid socket address",
                "[server]: unknown field `speed`",
                "[server] workers: invalid type",
                "[server] body_bytes_max: must be",
            ],
        );
        check(
            "[defaults]\nmode = 3\n[defaults.limits]\nrequests_per_minute = -1\nrequests_per_day = 5\n\
             [defaults.limts]\nrequests_per_minute = 1\nrequests_per_hour = 2\n",
            &[
                "[defaults] limits.requests_per_minute: ",
                "[defaults]: unknown field `limts`",
                "[defaults] mode: ",
            ],
        );
        check("server = 1\nprovider = 2\n", &["[server]: must be a section", "[provider]: must be written"]);
    }

    #[test]
    fn right_fields_beside_wrong_ones_are_read() {
        check("[log]\nformat = \"json\"\nlevel = \"debug\"\n", &[]);
        check("[containment]\nmode = \"full\"\n[containment.environments]\nstaging = \"observe\"\n", &[]);
        check(
            "[containment.environments.production]\nmode = \"full\"\nclamp_hours = 12\n\
             [containment.environments.production.blast]\nkeys_per_hour = 5\n\
             [[containment.runbook]]\nid = \"rotate\"\ndue_minutes = 30\n",
            &[],
        );
    }

    #[test]
    fn what_is_wrong_in_an_environment_or_a_step_is_told_with_its_place() {
        check(
            "[containment.environments]\na = \"maximum\"\nb = 3\n\
             [containment.environments.c]\nclamp_days = 1\nclamp_hours = 0\n\
             [[containment.runbook]]\nid = \"legal\"\n",
            &[
                "[containment] environments.a: unknown variant `maximum`",
                "[containment] environments.b: invalid type: integer `3`, expected a mode",
                "[containment] environments.c: unknown field `clamp_days`",
                "[containment] runbook number 1 title: a new step needs one",
                "[containment] runbook number 1 due_minutes: ",
                "[containment] environments.c: clamp_hours is 0",
            ],
        );
    }
}
