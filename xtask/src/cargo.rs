//! Runs cargo, and finds what it built.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// A build with `arguments`, ready for [`build`].
///
/// # Errors
/// Never in a checkout.
pub(crate) fn prepare_build(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = cargo()?;
    command.arg("build").args(arguments).arg("--message-format=json-render-diagnostics");
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    Ok(command)
}

/// Runs a build and returns the path of the program `name`.
///
/// # Errors
/// When it does not build.
pub(crate) fn build(mut command: Command, name: &str) -> anyhow::Result<PathBuf> {
    let output = command.output().context("can not run cargo")?;
    if !output.status.success() {
        bail!("building {name} failed");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    find_executable(&messages, name).with_context(|| format!("cargo built no program {name}"))
}

/// The folder that builds go to, wherever the environment or a configuration file puts it.
///
/// # Errors
/// When cargo can not read the workspace.
pub(crate) fn fetch_target_folder() -> anyhow::Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let output = cargo()?
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .context("can not run cargo")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    Ok(metadata.target_directory)
}

fn cargo() -> anyhow::Result<Command> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(crate::repository()?);
    Ok(command)
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
