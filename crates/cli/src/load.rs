//! Where the configuration comes from: a file, or the environment alone.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokenwatch_model::provider::SecretRef;

use crate::Common;
use crate::config::{Config, Provider, parse};

/// A configuration and the file it came from.
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) path: Option<PathBuf>,
}

/// Reads the configuration file that is named or lies in the usual place, else makes one from the environment.
pub(crate) fn load(common: &Common) -> anyhow::Result<Loaded> {
    let path = common.config.clone().or_else(|| {
        let usual = Path::new("/etc/tokenwatch/tokenwatch.toml");
        usual.exists().then(|| usual.to_owned())
    });
    let config = match &path {
        Some(path) => read(path)?,
        None => Config { providers: providers_from_environment(), ..parse("")? },
    };
    Ok(Loaded { config, path })
}

/// Reads a configuration file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the configuration file {} can not be read", path.display()))?;
    let mut config = parse(&text).with_context(|| path.display().to_string())?;
    if config.providers.is_empty() {
        config.providers = providers_from_environment();
    }
    Ok(config)
}

/// Providers whose usual environment variable is set.
fn providers_from_environment() -> Vec<Provider> {
    [
        ("openai", "OPENAI_API_KEY", "OPENAI_UPSTREAM_URL", "https://api.openai.com"),
        ("anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_UPSTREAM_URL", "https://api.anthropic.com"),
    ]
    .into_iter()
    .filter(|(_, variable, ..)| std::env::var_os(variable).is_some_and(|value| !value.is_empty()))
    .map(|(name, variable, upstream, base_url)| Provider {
        name: name.into(),
        dialect: name.into(),
        base_url: std::env::var(upstream).unwrap_or_else(|_| base_url.to_owned()),
        credentials: vec![SecretRef::Env(variable.into())],
        prices_as: None,
    })
    .collect()
}
