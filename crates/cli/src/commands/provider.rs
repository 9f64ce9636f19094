//! `tokenwatch provider`: what is configured upstream, and what it costs.

use std::process::ExitCode;

use serde_json::json;
use tokenwatch_wire::price::PriceTable;

use crate::load::load;
use crate::{Common, build, output};

/// `tokenwatch provider …`
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// List providers and whether their credentials can be read
    List,
    /// Show what a model costs
    Price {
        /// Provider name of the price table, such as openai
        provider: String,
        /// Model
        model: String,
    },
}

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let config = load(common)?.config;
    match args {
        Args::List => list(common, &config),
        Args::Price { provider, model } => price(common, &config, provider, model),
    }
}

fn list(common: &Common, config: &crate::config::Config) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    let mut out = Vec::new();
    for provider in &config.providers {
        for reference in &provider.credentials {
            let state = match build::read_secret(reference) {
                Ok(secret) => format!("readable ({})", secret.hint()),
                Err(error) => format!("{error:#}"),
            };
            out.push(json!({
                "name": provider.name, "dialect": provider.dialect, "base_url": provider.base_url,
                "credential": reference.to_string(), "state": state,
            }));
            rows.push(vec![
                provider.name.to_string(),
                provider.dialect.to_string(),
                provider.base_url.clone(),
                reference.to_string(),
                state,
            ]);
        }
    }
    if common.json {
        output::json(&out)?;
    } else if rows.is_empty() {
        output::say(
            "No provider is configured: set OPENAI_API_KEY or ANTHROPIC_API_KEY, or write a [[provider]] section.",
        );
    } else {
        output::line(&output::table(&["NAME", "DIALECT", "BASE URL", "CREDENTIAL", "STATE"], &rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn price(
    common: &Common,
    config: &crate::config::Config,
    provider: &str,
    model: &str,
) -> anyhow::Result<ExitCode> {
    let table = build::prices(config);
    let (price, source) = table.find(provider, model);
    let per_mtok = |price: tokenwatch_model::money::PicoUsdPerToken| price.0 as f64 / 1e6;
    if common.json {
        output::json(&json!({
            "provider": provider, "model": model, "source": source, "date": PriceTable::bundled().date(),
            "input_usd_per_mtok": per_mtok(price.input), "output_usd_per_mtok": per_mtok(price.output),
            "cache_read_usd_per_mtok": per_mtok(price.cache_read), "cache_write_usd_per_mtok": per_mtok(price.cache_write),
        }))?;
    } else {
        output::line(&format!(
            "{provider} {model}: ${} input, ${} output, ${} cache read, ${} cache write per million tokens ({source:?}, table of {})",
            per_mtok(price.input),
            per_mtok(price.output),
            per_mtok(price.cache_read),
            per_mtok(price.cache_write),
            PriceTable::bundled().date()
        ));
    }
    Ok(ExitCode::SUCCESS)
}
