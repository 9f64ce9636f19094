//! Health, metrics, live view, providers, prices, audit log.

use http::StatusCode;
use tokenwatch_gateway::settings::{Credential, Provider};
use tokenwatch_model::SmolStr;
use tokenwatch_model::money::PicoUsdPerToken;
use tokenwatch_telemetry::metrics::{CONTENT_TYPE, CircuitState};

use super::Condition;
use super::input::Call;
use super::problem::Problem;
use super::reply::Reply;
use super::shapes::{
    AuditList, Live, PriceOut, ProviderCredential, ProviderList, ProviderOut, Ready, Whoami,
};

/// The API's own description.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");
const AUDIT_DEFAULT: u32 = 50;
const AUDIT_MAX: u32 = 1_000;
const LIVE_DEFAULT: u32 = 100;
const LIVE_MAX: u32 = 1_000;

pub(crate) fn healthz(_call: &Call) -> Result<Reply, Problem> {
    Ok(Reply::of("text/plain; charset=utf-8", "ok\n"))
}

pub(crate) fn readyz(call: &Call) -> Result<Reply, Problem> {
    let api = &call.shared.api;
    let mut reasons = Vec::new();
    let fatal = |code: &'static str, message: String| Condition {
        code: SmolStr::new_static(code),
        message,
        is_fatal: true,
    };
    if api.gateway.is_draining() {
        reasons.push(fatal("draining", "the server is shutting down".to_owned()));
    }
    let settings = api.gateway.settings();
    if !settings.providers.iter().any(|provider| provider.circuit().is_some()) {
        reasons.push(fatal("no_provider_credential", "no provider credential can be read".to_owned()));
    }
    if let Err(error) = api.manager.records.data_version() {
        tracing::warn!(%error, "the state database can not be read");
        // Requests of keys in memory are served on: other servers would read the same database.
        let message = "the state database can not be read; the log says why".to_owned();
        reasons.push(Condition { is_fatal: false, ..fatal("store_unavailable", message) });
    }
    reasons.extend((api.conditions)());
    reasons.sort_by_key(|reason| !reason.is_fatal);
    let ready = !reasons.iter().any(|reason| reason.is_fatal);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(Reply::json(&Ready { ready, reasons })?.with_status(status))
}

pub(crate) fn metrics(call: &Call) -> Result<Reply, Problem> {
    call.shared.gauges.refresh(&call.shared);
    (call.shared.api.before_scrape)();
    Ok(Reply::of(CONTENT_TYPE, call.shared.api.gateway.metrics.encode()))
}

pub(crate) fn openapi(_call: &Call) -> Result<Reply, Problem> {
    Ok(Reply::of("application/json", OPENAPI))
}

pub(crate) fn whoami(call: &Call) -> Result<Reply, Problem> {
    Reply::json(&Whoami { name: call.caller.name.clone(), role: call.caller.role })
}

pub(crate) fn live(call: &Call) -> Result<Reply, Problem> {
    let limit = call.limit(LIVE_DEFAULT, LIVE_MAX)? as usize;
    let gateway = &call.shared.api.gateway;
    call.shared.gauges.refresh(&call.shared);
    let now = gateway.now();
    let census = gateway.live.census(now);
    Reply::json(&Live {
        time: now,
        draining: gateway.is_draining(),
        connections: gateway.connections() as u64,
        incidents_open: call.shared.gauges.open_incidents(),
        keys_known: census.active + census.expired + census.disabled + census.revoked,
        in_flight: census.activity.in_flight,
        requests_by_second: census.activity.requests_by_second,
        spent_day: census.activity.spent_day,
        spent_month: census.activity.spent_month,
        keys: gateway.live.view(now, limit).into_iter().map(Into::into).collect(),
    })
}

pub(crate) fn providers(call: &Call) -> Result<Reply, Problem> {
    let settings = call.shared.api.gateway.settings();
    let providers = settings.providers.iter().map(|provider| describe_provider(provider)).collect();
    Reply::json(&ProviderList { providers })
}

fn describe_provider(provider: &Provider) -> ProviderOut {
    let scheme = if provider.origin.tls { "https" } else { "http" };
    ProviderOut {
        name: provider.name.clone(),
        dialect: SmolStr::new_static(provider.dialect.name()),
        base_url: format!("{scheme}://{}{}", provider.origin.authority(), provider.origin.path),
        prices_as: provider.prices_as.clone(),
        circuit: SmolStr::new_static(provider.circuit().map_or("unusable", circuit_name)),
        credentials: provider.credentials.iter().map(|credential| describe_credential(credential)).collect(),
    }
}

fn describe_credential(credential: &Credential) -> ProviderCredential {
    let state = match (credential.is_set(), credential.is_refused()) {
        (false, _) => "unreadable",
        (true, true) => "refused",
        (true, false) => "ok",
    };
    ProviderCredential {
        source: credential.source.clone(),
        state: SmolStr::new_static(state),
        circuit: SmolStr::new_static(circuit_name(credential.circuit())),
    }
}

const fn circuit_name(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::Trying => "trying",
        CircuitState::Open => "open",
    }
}

pub(crate) fn prices(call: &Call) -> Result<Reply, Problem> {
    let needed = |name: &'static str| {
        let value = call.parameter(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| Problem::invalid(name, "this query parameter is needed"))
    };
    let (provider, model) = (needed("provider")?, needed("model")?);
    let settings = call.shared.api.gateway.settings();
    let (price, source) = settings.prices.find(provider, model);
    let per_mtok = |price: PicoUsdPerToken| price.0 as f64 / 1e6;
    Reply::json(&PriceOut {
        provider: provider.to_owned(),
        model: model.to_owned(),
        source,
        table_date: settings.prices.date().to_owned(),
        input_usd_per_mtok: per_mtok(price.input),
        output_usd_per_mtok: per_mtok(price.output),
        cache_read_usd_per_mtok: per_mtok(price.cache_read),
        cache_write_usd_per_mtok: per_mtok(price.cache_write),
    })
}

pub(crate) fn audit(call: &Call) -> Result<Reply, Problem> {
    let limit = call.limit(AUDIT_DEFAULT, AUDIT_MAX)?;
    Reply::json(&AuditList { rows: call.shared.api.manager.records.audit_latest(limit)? })
}
