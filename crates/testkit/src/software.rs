//! Client software as it shows in headers: the official SDKs, and what thieves were seen to use.

use tokenwatch_model::SmolStr;
use tokenwatch_model::client::Client;
use tokenwatch_model::provider::Dialect;

use crate::rng;

/// A family of client software.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// A provider's official Python SDK.
    SdkPython,
    /// A provider's official TypeScript SDK.
    SdkTypeScript,
    /// A coding agent built on a provider's TypeScript SDK.
    CodingAgent,
    /// `aiohttp`.
    Aiohttp,
    /// `axios`.
    Axios,
    /// `urllib3` by itself.
    Urllib3,
    /// `python-requests`.
    Requests,
    /// `curl`.
    Curl,
    /// A browser's user agent, on calls that no browser makes.
    Browser,
    /// No user agent at all.
    Silent,
}

/// One installation of client software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Software {
    /// Its family.
    pub family: Family,
    /// Its version.
    pub version: &'static str,
    /// Version of the runtime; empty where the headers do not tell it.
    pub runtime: &'static str,
    /// Operating system, as the SDKs write it.
    pub os: &'static str,
    /// Processor, as the SDKs write it.
    pub arch: &'static str,
}

/// Versions of the official Python SDKs, oldest first, for either dialect.
const PYTHON_VERSIONS: [(&str, &str); 4] =
    [("1.99.9", "0.64.0"), ("1.107.2", "0.68.1"), ("1.109.1", "0.71.0"), ("2.8.1", "0.74.1")];
/// Versions of the official TypeScript SDKs, oldest first, for either dialect.
const TYPESCRIPT_VERSIONS: [(&str, &str); PYTHON_VERSIONS.len()] =
    [("5.12.2", "0.60.0"), ("5.20.3", "0.63.1"), ("5.23.2", "0.65.0"), ("6.9.1", "0.70.0")];

impl Software {
    /// An official SDK; `release` counts from 0, the oldest, and stays at the newest beyond the table.
    pub fn sdk(family: Family, dialect: Dialect, release: usize) -> Self {
        let table = match family {
            Family::SdkPython => &PYTHON_VERSIONS,
            _ => &TYPESCRIPT_VERSIONS,
        };
        let (openai, anthropic) = table[release.min(table.len() - 1)];
        let version = if dialect == Dialect::OpenAi { openai } else { anthropic };
        let runtime = if family == Family::SdkPython { "3.12.11" } else { "v22.19.0" };
        Self { family, version, runtime, os: "Linux", arch: "x64" }
    }

    /// Software without SDK headers.
    pub const fn plain(family: Family, version: &'static str) -> Self {
        Self { family, version, runtime: "", os: "", arch: "" }
    }

    /// The coding agent.
    pub const fn coding_agent(version: &'static str) -> Self {
        Self { family: Family::CodingAgent, version, runtime: "v24.3.0", os: "Linux", arch: "x64" }
    }

    /// The same, `steps` releases newer, at most the newest. Only official SDKs have releases here.
    #[must_use]
    pub fn upgraded(self, dialect: Dialect, steps: usize) -> Self {
        let releases = 0..PYTHON_VERSIONS.len();
        let mut known = releases.map(|release| Self::sdk(self.family, dialect, release));
        match known.position(|sdk| sdk.version == self.version) {
            Some(release) => {
                Self { version: Self::sdk(self.family, dialect, release + steps).version, ..self }
            }
            None => self,
        }
    }

    /// The same on another machine.
    #[must_use]
    pub const fn on(self, os: &'static str, arch: &'static str) -> Self {
        Self { os, arch, ..self }
    }

    /// Its `user-agent`.
    pub fn user_agent(&self, dialect: Dialect) -> Option<String> {
        let name = if dialect == Dialect::OpenAi { "OpenAI" } else { "Anthropic" };
        let version = self.version;
        Some(match self.family {
            Family::SdkPython => format!("{name}/Python {version}"),
            Family::SdkTypeScript => format!("{name}/JS {version}"),
            Family::CodingAgent => format!("claude-cli/{version} (external, cli)"),
            Family::Aiohttp => format!("Python/3.11 aiohttp/{version}"),
            Family::Axios => format!("axios/{version}"),
            Family::Urllib3 => format!("python-urllib3/{version}"),
            Family::Requests => format!("python-requests/{version}"),
            Family::Curl => format!("curl/{version}"),
            Family::Browser => format!(
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version} Safari/537.36"
            ),
            Family::Silent => return None,
        })
    }

    /// The headers it sends with a JSON call, names in lower case.
    pub fn headers(&self, dialect: Dialect, has_body: bool) -> Vec<(String, String)> {
        let mut headers: Vec<(String, String)> = Vec::with_capacity(16);
        let mut put = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
        let sdk = self.stainless();
        put("accept", if sdk.is_some() { "application/json" } else { "*/*" });
        if !matches!(self.family, Family::Curl | Family::Silent) {
            put("accept-encoding", "gzip, deflate");
        }
        if has_body {
            put("content-type", "application/json");
        }
        if let Some(agent) = self.user_agent(dialect) {
            put("user-agent", &agent);
        }
        if dialect == Dialect::Anthropic {
            put("anthropic-version", "2023-06-01");
        }
        if let Some((language, package, runtime)) = sdk {
            put("x-stainless-lang", language);
            put("x-stainless-package-version", package);
            put("x-stainless-os", self.os);
            put("x-stainless-arch", self.arch);
            put("x-stainless-runtime", runtime);
            put("x-stainless-runtime-version", self.runtime);
            put("x-stainless-retry-count", "0");
            if language == "python" {
                put("x-stainless-async", "false");
                put("x-stainless-read-timeout", "600");
            } else {
                put("x-stainless-timeout", "600");
                put("accept-language", "*");
                put("sec-fetch-mode", "cors");
            }
            if self.family == Family::CodingAgent {
                put("x-app", "cli");
            }
        }
        headers
    }

    /// Language, package version and runtime of the SDK it is built on.
    const fn stainless(&self) -> Option<(&'static str, &'static str, &'static str)> {
        match self.family {
            Family::SdkPython => Some(("python", self.version, "CPython")),
            Family::SdkTypeScript => Some(("js", self.version, "node")),
            Family::CodingAgent => Some(("js", "0.60.0", "node")),
            _ => None,
        }
    }

    /// What a correct reader makes of its headers; the TLS print is one number per family and runtime.
    pub fn client(&self, dialect: Dialect) -> Client {
        let name = dialect.name();
        let family: SmolStr = match self.family {
            Family::SdkPython => format!("{name}-python").into(),
            Family::SdkTypeScript => format!("{name}-typescript").into(),
            Family::CodingAgent => "claude-cli".into(),
            Family::Aiohttp => "aiohttp".into(),
            Family::Axios => "axios".into(),
            Family::Urllib3 => "python-urllib3".into(),
            Family::Requests => "python-requests".into(),
            Family::Curl => "curl".into(),
            Family::Browser => "browser".into(),
            Family::Silent => SmolStr::default(),
        };
        let short = |parts: usize| {
            let digits = self.runtime.trim_start_matches('v');
            digits.split('.').take(parts).collect::<Vec<_>>().join(".")
        };
        let runtime: SmolStr = match self.stainless() {
            Some((_, _, "CPython")) => format!("cpython {}", short(2)).into(),
            Some(_) => format!("node {}", short(1)).into(),
            None => SmolStr::default(),
        };
        let version = if self.family == Family::Silent { "" } else { self.version };
        let tls = rng::hash(format!("tls {:?} {runtime}", self.family).as_bytes());
        Client { family, version: version.into(), runtime, os: self.os.to_ascii_lowercase().into(), tls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(software: Software, dialect: Dialect, agent: Option<&str>, family: &str, stainless: bool) {
        let headers = software.headers(dialect, true);
        let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(value("user-agent"), agent);
        assert_eq!(software.client(dialect).family, family);
        let set = ["lang", "package-version", "os", "arch", "runtime", "runtime-version", "retry-count"];
        assert!(set.iter().all(|name| value(&format!("x-stainless-{name}")).is_some() == stainless));
        assert_eq!(value("anthropic-version").is_some(), dialect == Dialect::Anthropic);
    }

    #[test]
    fn software_shows_itself_as_it_does() {
        let python = Software::sdk(Family::SdkPython, Dialect::OpenAi, 0);
        check(python, Dialect::OpenAi, Some("OpenAI/Python 1.99.9"), "openai-python", true);
        assert_eq!(python.client(Dialect::OpenAi).runtime, "cpython 3.12");
        let newest = Software::sdk(Family::SdkTypeScript, Dialect::Anthropic, 99);
        check(newest, Dialect::Anthropic, Some("Anthropic/JS 0.70.0"), "anthropic-typescript", true);
        let agent = Software::coding_agent("1.0.98");
        check(agent, Dialect::Anthropic, Some("claude-cli/1.0.98 (external, cli)"), "claude-cli", true);
        let axios = Software::plain(Family::Axios, "1.7.4");
        check(axios, Dialect::OpenAi, Some("axios/1.7.4"), "axios", false);
        check(Software::plain(Family::Silent, ""), Dialect::OpenAi, None, "", false);
    }
}
