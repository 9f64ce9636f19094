//! What a well-formed configuration can still have wrong. Pure: collects every error.

use std::collections::HashSet;

use tokenwatch_gateway::settings::Origin;
use tokenwatch_model::key::{FALSE_ALARMS_BOUNDS, is_false_alarm_budget};
use tokenwatch_model::provider::Dialect;

use super::{Admin, Config, Provider};

pub(super) fn validate(config: &Config) -> Vec<String> {
    let mut errors = Vec::new();
    check_server(config, &mut errors);
    check_admin(&config.admin, &mut errors);
    check_links(config, &mut errors);
    check_caps(config, &mut errors);
    let mut names = HashSet::new();
    for provider in &config.providers {
        check_provider(provider, &mut names, &mut errors);
    }
    let rate = config.detection.false_alarms_per_key_year;
    if !is_false_alarm_budget(rate) {
        errors.push(format!("[detection] false_alarms_per_key_year: {FALSE_ALARMS_BOUNDS}"));
    }
    if config.defaults.false_alarms_per_year.is_some_and(|rate| !is_false_alarm_budget(rate)) {
        errors.push(format!("[defaults] false_alarms_per_year: {FALSE_ALARMS_BOUNDS}"));
    }
    for rule in &config.detection.rules_off {
        let known: Vec<&str> = tokenwatch_detect::catalogue().into_iter().map(|about| about.id).collect();
        if !known.contains(&rule.as_str()) {
            errors.push(format!("[detection] rules_off: no rule {rule}; there are {}", known.join(", ")));
        }
    }
    for price in &config.prices {
        let all = [Some(price.input), Some(price.output), price.cache_read, price.cache_write];
        if all.into_iter().flatten().any(|p| !(p.is_finite() && (0.0..=1e6).contains(&p))) {
            let (provider, model) = (&price.provider, &price.model);
            errors.push(format!(
                "[[price]] {provider} {model}: prices are dollars per million tokens, 0 to 1000000"
            ));
        }
    }
    if !["text", "json"].contains(&config.log.format.as_str()) {
        errors.push(format!("[log] format: {:?} is neither text nor json", config.log.format));
    }
    if config.storage.retention_days == 0 {
        errors.push("[storage] retention_days: must be at least 1".to_owned());
    }
    if !(1..=3_600).contains(&config.storage.checkpoint_every_s) {
        errors.push("[storage] checkpoint_every_s: must be 1 to 3600".to_owned());
    }
    if let Err(wrong) = config.containment.validate() {
        errors.extend(
            wrong
                .into_iter()
                .map(|error| format!("[containment] {}", error.to_string().replace("respond.", ""))),
        );
    }
    if config.defaults.mode.is_some() {
        errors.push(
            "[defaults] mode: write it as [containment] mode, where environments can differ".to_owned(),
        );
    }
    if config.defaults.scope.hours.iter().flatten().any(|&hour| hour > 23) {
        errors.push("[defaults.scope] hours: hours are 0 to 23".to_owned());
    }
    errors
}

fn check_server(config: &Config, errors: &mut Vec<String>) {
    let server = &config.server;
    if server.tls_certificate.is_some() != server.tls_key.is_some() {
        errors.push("[server] tls_certificate and tls_key: set both or neither".to_owned());
    }
    if server.proxy_protocol && server.trusted_proxies.is_empty() {
        errors.push("[server] proxy_protocol: set trusted_proxies too, or nobody could connect".to_owned());
    }
    if server.listen == config.admin.listen && server.listen.port() != 0 {
        errors.push("[admin] listen: must differ from [server] listen".to_owned());
    }
    for (name, value) in [
        ("head_timeout_s", server.head_timeout_s),
        ("body_stall_timeout_s", server.body_stall_timeout_s),
        ("body_timeout_s", server.body_timeout_s),
        ("write_stall_timeout_s", server.write_stall_timeout_s),
        ("connect_timeout_s", server.connect_timeout_s),
        ("answer_timeout_s", server.answer_timeout_s),
        ("answer_stall_timeout_s", server.answer_stall_timeout_s),
        ("connections_max", server.connections_max as u64),
        ("body_bytes_max", server.body_bytes_max),
        ("upload_bytes_max", server.upload_bytes_max),
    ] {
        if value == 0 {
            errors.push(format!("[server] {name}: must be at least 1"));
        }
    }
    if !(8 * 1024..=1 << 20).contains(&server.head_bytes_max) {
        errors.push("[server] head_bytes_max: must be 8192 to 1048576".to_owned());
    }
    if server.workers > 256 {
        errors.push("[server] workers: at most 256; 0 is one for each core".to_owned());
    }
}

fn check_admin(admin: &Admin, errors: &mut Vec<String>) {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    for host in admin.hosts.iter().filter(|host| !is_name(host)) {
        errors.push(format!("[admin] hosts: {host:?} must be a host name without scheme and port"));
    }
    for origin in &admin.origins {
        let rest = ["https://", "http://"].into_iter().find_map(|scheme| origin.strip_prefix(scheme));
        if !rest
            .is_some_and(|rest| is_name(rest.split(':').next().unwrap_or_default()) && !rest.contains('/'))
        {
            errors.push(format!(
                "[admin] origins: {origin:?} must be scheme, host and port alone, such as https://console.example.com"
            ));
        }
    }
}

/// The pages of signed links are asked for by the host of their address, so it must be one that is let in.
fn check_links(config: &Config, errors: &mut Vec<String>) {
    let Some(address) = &config.alerts.approval.address else { return };
    let rest = address.split_once("://").map_or("", |(_, rest)| rest).split('/').next().unwrap_or_default();
    let host = match rest.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => rest,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_known = bare.parse::<std::net::IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || config.admin.hosts.iter().any(|known| known.eq_ignore_ascii_case(host));
    if !is_known {
        errors
            .push(format!("[alerts.links] address: add {host:?} to [admin] hosts, or its pages are refused"));
    }
}

/// A cap of a provider that does not exist caps nothing. Without providers in the file they come from the environment.
fn check_caps(config: &Config, errors: &mut Vec<String>) {
    let is_known = |name: &str| config.providers.iter().any(|provider| provider.name == name);
    let caps = &config.alerts.billing.provider_caps;
    for name in caps.keys().filter(|name| !config.providers.is_empty() && !is_known(name)) {
        errors.push(format!("[alerts.billing] provider_caps: there is no [[provider]] named {name:?}"));
    }
}

fn check_provider<'a>(provider: &'a Provider, names: &mut HashSet<&'a str>, errors: &mut Vec<String>) {
    let name = provider.name.as_str();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.is_empty() || !name.bytes().all(plain) || name == "v1" {
        errors.push(format!(
            "[[provider]] {name:?}: a name is lower-case letters, digits, - and _, and not v1"
        ));
    }
    if !names.insert(name) {
        errors.push(format!("[[provider]] {name}: the name is used twice"));
    }
    if Dialect::from_name(&provider.dialect).is_none() {
        errors.push(format!(
            "[[provider]] {name} dialect: {:?} is neither openai nor anthropic",
            provider.dialect
        ));
    }
    if let Err(error) = provider.base_url.parse::<Origin>() {
        errors.push(format!("[[provider]] {name} base_url: {error}"));
    }
    if provider.credentials.is_empty() {
        errors
            .push(format!("[[provider]] {name} credentials: name at least one, such as env:OPENAI_API_KEY"));
    }
}
