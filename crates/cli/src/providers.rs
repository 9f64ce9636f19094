//! Providers as their administrators ask them: as configured, with their credentials read anew for every question.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokenwatch_console::persistence::{ProviderHost, ProviderPlace};
use tokenwatch_model::artifact::{Answer, Question};
use tokenwatch_model::provider::{Dialect, SecretRef};
use tokenwatch_outside::Trust;

use crate::build::read_secret;
use crate::config::{Config, Provider};

/// How long one answer may take: a list of a hundred entries is quick.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The providers of a configuration.
pub(crate) fn places(config: &Config) -> Vec<ProviderPlace> {
    let place = |provider: &Provider| {
        Some(ProviderPlace {
            name: provider.name.clone(),
            dialect: Dialect::from_name(&provider.dialect)?,
            base_url: provider.base_url.clone(),
            credentials: provider.credentials.clone(),
        })
    };
    config.providers.iter().filter_map(place).collect()
}

/// The providers as in force, and the way to them.
pub(crate) struct Host {
    pub(crate) places: Arc<ArcSwap<Vec<ProviderPlace>>>,
}

impl Host {
    fn answer(place: &ProviderPlace, credential: &SecretRef, question: &Question) -> anyhow::Result<Answer> {
        let place = tokenwatch_outside::ProviderPlace {
            base_url: place.base_url.clone(),
            dialect: place.dialect,
            credential: read_secret(credential)?,
            trust: Trust::new(None).context("the system's certificates")?,
            timeout: TIMEOUT,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(tokenwatch_outside::ask(&place, question))?)
    }
}

impl ProviderHost for Host {
    fn places(&self) -> Vec<ProviderPlace> {
        self.places.load().to_vec()
    }

    fn ask(
        &self,
        place: &ProviderPlace,
        credential: &SecretRef,
        question: &Question,
    ) -> Result<Answer, String> {
        Self::answer(place, credential, question).map_err(|error| format!("{error:#}"))
    }
}
