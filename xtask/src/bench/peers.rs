//! Other gateways, for `--peers`: installed once into the user's cache folder, outside the clone, and run against
//! the same mock. Only proxying and a key check are asked of them, not what TokenWatch does beside it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::client::{CREDENTIAL, Target};
use super::process::{Process, Start};
use super::results::Site;
use super::traffic::MODEL;

/// A gateway that is compared by its CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// LiteLLM's proxy, in Python, with one worker.
    Litellm,
    /// Portkey's gateway, on Node.
    Portkey,
}

impl Peer {
    /// Every peer, in the order of the report.
    pub(super) const ALL: [Self; 2] = [Self::Litellm, Self::Portkey];

    /// Where its figures are kept.
    pub(super) const fn site(self) -> Site {
        match self {
            Self::Litellm => Site::Litellm,
            Self::Portkey => Site::Portkey,
        }
    }

    /// Name and version, as in the report.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Litellm => "LiteLLM 1.108.7",
            Self::Portkey => "Portkey 1.15.2",
        }
    }

    /// How many times its CPU time a request TokenWatch's has to be less: goal and floor.
    pub(super) const fn bounds(self) -> (f64, f64) {
        match self {
            Self::Litellm => (250.0, 150.0),
            Self::Portkey => (28.0, 20.0),
        }
    }

    /// Installs it unless it is there; returns its folder.
    ///
    /// # Errors
    /// When a tool is missing or its registry can not be reached.
    pub(super) fn install(self) -> anyhow::Result<PathBuf> {
        let folder = cache_folder()?.join(match self {
            Self::Litellm => "litellm-1.108.7",
            Self::Portkey => "portkey-1.15.2",
        });
        let done = folder.join("installed");
        if done.exists() {
            return Ok(folder);
        }
        fs::create_dir_all(&folder)?;
        let at = |name: &str| folder.join(name).into_os_string();
        match self {
            Self::Litellm => {
                run("python3".into(), &["-m".into(), "venv".into(), at("venv")])?;
                let what = ["install", "--quiet", "litellm[proxy]==1.108.7"].map(OsString::from);
                run(at("venv/bin/pip"), &what)?;
            }
            Self::Portkey => {
                let what = "@portkey-ai/gateway@1.15.2".into();
                run("npm".into(), &["install".into(), "--silent".into(), "--prefix".into(), at(""), what])?;
            }
        }
        fs::write(done, "")?;
        Ok(folder)
    }

    /// Starts it from where it was installed.
    ///
    /// # Errors
    /// When its files can not be written or it can not be started.
    pub(super) fn start(self, installed: &Path, place: &PeerPlace<'_>) -> anyhow::Result<Process> {
        let port = place.port.to_string();
        let command: Vec<OsString> = match self {
            Self::Litellm => {
                let config = place.folder.join("litellm.yaml");
                fs::write(&config, litellm_config(place.mock_port))?;
                let program = installed.join("venv/bin/litellm").into_os_string();
                let mut command = vec![program, "--config".into(), config.into_os_string()];
                let rest = ["--host", "127.0.0.1", "--num_workers", "1", "--port", &port];
                command.extend(rest.map(OsString::from));
                command
            }
            Self::Portkey => {
                let program =
                    installed.join("node_modules/@portkey-ai/gateway/build/start-server.js").into_os_string();
                vec!["node".into(), program, format!("--port={port}").into(), "--headless".into()]
            }
        };
        Process::start(Start {
            core: place.core,
            command,
            // Prices come from the package, not from the network.
            environment: &[("LITELLM_LOCAL_MODEL_COST_MAP", "True"), ("NODE_ENV", "production")],
            log: place.folder.join(match self {
                Self::Litellm => "litellm.log",
                Self::Portkey => "portkey.log",
            }),
        })
    }

    /// How requests reach it.
    pub(super) fn target(self, port: u16, mock_port: u16) -> anyhow::Result<Target> {
        let mut headers = HeaderMap::new();
        if self == Self::Portkey {
            let name = HeaderName::from_static("x-portkey-provider");
            headers.insert(name, HeaderValue::from_static("openai"));
            let host = format!("http://127.0.0.1:{mock_port}/v1");
            headers.insert(HeaderName::from_static("x-portkey-custom-host"), host.try_into()?);
        }
        Ok(Target { headers, is_verbatim: false, ..Target::open(port) })
    }
}

/// Where a peer runs.
pub(super) struct PeerPlace<'a> {
    pub(super) folder: &'a Path,
    pub(super) core: usize,
    pub(super) port: u16,
    pub(super) mock_port: u16,
}

/// Without a database: it checks one key, and keeps no account and no log of requests.
fn litellm_config(mock_port: u16) -> String {
    format!(
        r#"model_list:
  - model_name: {MODEL}
    litellm_params:
      model: openai/{MODEL}
      api_base: http://127.0.0.1:{mock_port}/v1
      api_key: sk-bench-provider
litellm_settings:
  telemetry: false
general_settings:
  master_key: {CREDENTIAL}
"#
    )
}

fn cache_folder() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("tokenwatch-bench"))
}

fn run(program: OsString, arguments: &[OsString]) -> anyhow::Result<()> {
    let output = Command::new(&program)
        .args(arguments)
        .output()
        .with_context(|| format!("can not run {}", program.display()))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        let end = error.lines().rev().take(5).collect::<Vec<_>>().join("; ");
        bail!("{} failed ({}): {end}", program.display(), output.status);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_sent_where_to_forward_and_may_write_the_answer_anew() {
        let target = Peer::Portkey.target(1, 2).unwrap();
        assert_eq!(target.headers["x-portkey-custom-host"], "http://127.0.0.1:2/v1");
        assert!(!target.is_verbatim && Target::open(1).is_verbatim);
        assert!(Peer::Litellm.target(1, 2).unwrap().headers.is_empty());
        assert!(litellm_config(2).contains("http://127.0.0.1:2/v1"));
    }

    #[test]
    fn a_tool_that_fails_is_quoted() {
        let error = run("sh".into(), &["-c".into(), "echo no network >&2; exit 3".into()]).unwrap_err();
        assert!(error.to_string().contains("no network"), "{error}");
    }
}
