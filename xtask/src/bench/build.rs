//! Builds what is measured, and this task itself, with optimisation.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

/// Builds the product as it is shipped, and returns the path of the binary.
///
/// # Errors
/// When it does not build.
pub(super) fn build_product(with_symbols: bool) -> anyhow::Result<PathBuf> {
    let mut command = cargo_build(&["--profile", "dist", "--package", "tokenwatch-cli"])?;
    if with_symbols {
        command.env("CARGO_PROFILE_DIST_STRIP", "none").env("CARGO_PROFILE_DIST_DEBUG", "line-tables-only");
    }
    build(command, "tokenwatch")
}

/// Builds this task with the profile `release` and becomes it: a load generator without optimisation would
/// measure itself.
///
/// # Errors
/// When it does not build or start; there is no return otherwise.
pub(super) fn run_optimised(arguments: &[String]) -> anyhow::Result<()> {
    let binary = build(cargo_build(&["--release", "--package", "xtask"])?, "xtask")?;
    Err(Command::new(&binary).arg("bench").args(arguments).exec())
        .with_context(|| format!("can not run {}", binary.display()))
}

fn cargo_build(arguments: &[&str]) -> anyhow::Result<Command> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.arg("build").args(arguments).arg("--message-format=json-render-diagnostics");
    command.current_dir(crate::repository()?).stdin(Stdio::null()).stderr(Stdio::inherit());
    Ok(command)
}

/// Runs a build and returns the path of the program `name`.
fn build(mut command: Command, name: &str) -> anyhow::Result<PathBuf> {
    let output = command.output().context("can not run cargo")?;
    if !output.status.success() {
        bail!("building {name} failed");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    find_executable(&messages, name).with_context(|| format!("cargo built no program {name}"))
}

/// The executable among cargo's messages, one JSON object a line.
fn find_executable(messages: &str, name: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        target: Option<Target>,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.as_ref().is_some_and(|target| target.name == name))
        .find_map(|message| message.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_libraries_and_noise() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"xtask"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
{"reason":"compiler-artifact","target":{"name":"xtask"},"executable":"/t/release/xtask"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(find_executable(messages, "xtask"), Some("/t/release/xtask".into()));
        assert_eq!(find_executable(messages, "missing"), None);
    }
}
