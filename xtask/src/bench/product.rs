//! TokenWatch as it is run for real, with everything on. All that the bench knows of its commands, its
//! configuration file and its output is in here.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use http::HeaderValue;
use serde::Deserialize;

use super::process::{Process, Start};
use super::traffic::MODEL;

/// The variable the provider credential stands in.
const CREDENTIAL: (&str, &str) = ("BENCH_KEY", "sk-bench-provider-0000000000000000000000000000000000");

/// A binary with a state folder that has keys.
pub(super) struct Product {
    binary: PathBuf,
    state: PathBuf,
    /// `Authorization` values of the keys that were issued.
    pub(super) credentials: Vec<HeaderValue>,
}

impl Product {
    /// Makes a state folder with `issued` keys to send requests with and `imported` more that only exist.
    ///
    /// # Errors
    /// When the binary lacks the commands, or they fail.
    pub(super) fn prepare(
        binary: &Path,
        state: PathBuf,
        issued: usize,
        imported: usize,
    ) -> anyhow::Result<Self> {
        let mut product = Self { binary: binary.to_owned(), state, credentials: Vec::new() };
        for i in 0..issued {
            let key = product.issue(&format!("bench-{i:03}"))?;
            let mut credential = HeaderValue::try_from(format!("Bearer {key}"))?;
            credential.set_sensitive(true);
            product.credentials.push(credential);
        }
        if imported > 0 {
            product.import(imported)?;
        }
        Ok(product)
    }

    fn issue(&self, name: &str) -> anyhow::Result<String> {
        read_issued(&self.run(&["key", "issue", "--name", name, "--json"])?)
    }

    fn import(&self, count: usize) -> anyhow::Result<()> {
        for i in 0..OWNERS {
            self.run(&["owner", "add", "--name", &format!("team-{i:02}"), "--on-call", "bench"])?;
        }
        let path = self.state.with_extension("keys.jsonl");
        let mut file = BufWriter::new(File::create(&path)?);
        for i in 0..count {
            writeln!(file, r#"{{"name":"bulk-{i:06}","owner":"team-{:02}"}}"#, i % OWNERS)?;
        }
        file.flush()?;
        let path = path.to_str().context("a path that is not text")?;
        check_imported(&self.run(&["key", "import", "--file", path])?, count)
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.binary)
            .arg("--state-dir")
            .arg(&self.state)
            .args(arguments)
            .output()
            .with_context(|| format!("can not run {}", self.binary.display()))?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed ({}): {}", arguments.join(" "), output.status, error.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts the gateway.
    ///
    /// # Errors
    /// When its files can not be written or it can not be started.
    pub(super) fn start(&self, core: usize, ports: Ports) -> anyhow::Result<Process> {
        let config = self.state.with_extension("toml");
        fs::write(&config, config_text(ports))?;
        let mut command: Vec<OsString> = vec![self.binary.clone().into(), "serve".into()];
        command.extend(["--config".into(), config.into(), "--state-dir".into(), self.state.clone().into()]);
        Process::start(Start {
            core,
            command,
            environment: &[CREDENTIAL],
            log: self.state.with_extension("log"),
        })
    }
}

/// The credential in what `key issue --json` prints.
fn read_issued(printed: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Issued {
        key: String,
    }
    let issued: Issued = serde_json::from_str(printed.trim())
        .context("`key issue --json` printed no JSON with a field `key`")?;
    Ok(issued.key)
}

/// `key import` prints a line for each key it took; fewer would make the figures better than they are.
fn check_imported(printed: &str, count: usize) -> anyhow::Result<()> {
    let lines = printed.lines().filter(|line| !line.trim().is_empty()).count();
    if lines == count {
        return Ok(());
    }
    bail!("`key import` of {count} keys printed {lines} lines")
}

/// Owners that the imported keys are spread over.
const OWNERS: usize = 20;

/// Where the gateway listens and forwards to.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) gateway: u16,
    pub(super) admin: u16,
    pub(super) mock: u16,
}

/// Scope, every limit and every budget are set, and so wide that they never refuse: their cost is measured,
/// not their effect. Amounts are dollars. Findings are made but not acted on, because a key
/// that goes from nothing to ten thousand requests a second is what a theft looks like.
fn config_text(ports: Ports) -> String {
    let Ports { gateway, admin, mock } = ports;
    format!(
        r#"[server]
listen = "127.0.0.1:{gateway}"
workers = 1
connections_max = 50000

[admin]
listen = "127.0.0.1:{admin}"

[[provider]]
name = "openai"
dialect = "openai"
base_url = "http://127.0.0.1:{mock}"
credentials = ["env:{}"]

[containment]
mode = "observe"

[defaults.scope]
providers = ["openai"]
models = ["gpt-4.1*", "{MODEL}"]
networks = ["127.0.0.0/8", "10.0.0.0/8"]
payload_bytes_max = 1000000

[defaults.limits]
requests_per_minute = 1000000000
requests_per_hour = 10000000000
requests_per_day = 100000000000
tokens_per_minute = 1000000000000
tokens_per_hour = 10000000000000
tokens_per_day = 100000000000000
concurrency = 100000

[defaults.budgets]
day = 1000000000
month = 2000000000
total = 4000000000
"#,
        CREDENTIAL.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credential_is_read_from_what_the_command_prints() {
        let printed = "{\n  \"id\": \"k1\",\n  \"key\": \"sk-tw-abc\"\n}\n";
        assert_eq!(read_issued(printed).unwrap(), "sk-tw-abc");
        for printed in ["", "issued sk-tw-abc", "{\"id\":\"k1\"}"] {
            let error = read_issued(printed).unwrap_err().to_string();
            assert!(error.contains("printed no JSON"), "{printed}: {error}");
        }
    }

    #[test]
    fn an_import_counts_only_when_every_key_was_taken() {
        check_imported("{}\n{}\n", 2).unwrap();
        for printed in ["", "{}\n", "{}\n{}\n{}\n"] {
            assert!(check_imported(printed, 2).is_err(), "{printed}");
        }
    }

    #[test]
    fn a_binary_without_the_commands_is_an_error_and_not_a_figure() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        // `true` succeeds and prints nothing; `false` fails.
        assert!(Product::prepare(Path::new("true"), state.clone(), 1, 0).is_err());
        let error = Product::prepare(Path::new("false"), state, 1, 0).err().unwrap().to_string();
        assert!(error.contains("key issue --name bench-000 --json"), "{error}");
    }
}
