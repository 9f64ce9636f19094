//! From a validated configuration to the values the crates take: the one step that reads files and environment.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokenwatch_gateway::settings::{Credential, HttpLimits, Origin, Provider, Settings};
use tokenwatch_model::money::PicoUsdPerToken;
use tokenwatch_model::provider::{Dialect, SecretRef};
use tokenwatch_model::secret::Secret;
use tokenwatch_network::{Bundled, Tables, UserFiles, UserTables};
use tokenwatch_wire::price::{Price, PriceTable};
use tokenwatch_wire::request::ShapeKey;

use crate::config::{self, Config};

/// Settings of the data plane. Credentials that are the same as in `kept` keep their circuit breakers.
pub(crate) fn settings(
    config: &Config,
    shape_key: [u8; 16],
    kept: &[Arc<Provider>],
) -> anyhow::Result<Settings> {
    let server = &config.server;
    let mut providers = Vec::new();
    for provider in &config.providers {
        providers.push(Arc::new(build_provider(provider, kept)?));
    }
    Ok(Settings {
        http: http_limits(server),
        trusted_proxies: server.trusted_proxies.clone(),
        proxy_protocol: server.proxy_protocol,
        providers,
        prices: Arc::new(prices(config)),
        shape_key: ShapeKey::new(shape_key).with_content(config.detection.content_signals),
        reserve_output_tokens: server.reserve_output_tokens,
        budget_is_402: server.budget_is_402,
    })
}

fn http_limits(server: &config::Server) -> HttpLimits {
    let s = std::time::Duration::from_secs;
    HttpLimits {
        connections_max: server.connections_max,
        head_bytes_max: server.head_bytes_max,
        head_timeout: s(server.head_timeout_s),
        body_bytes_max: server.body_bytes_max,
        upload_bytes_max: server.upload_bytes_max,
        body_stall_timeout: s(server.body_stall_timeout_s),
        body_timeout: s(server.body_timeout_s),
        connect_timeout: s(server.connect_timeout_s),
        answer_timeout: s(server.answer_timeout_s),
        answer_stall_timeout: s(server.answer_stall_timeout_s),
        write_stall_timeout: s(server.write_stall_timeout_s),
        drain_timeout: s(server.drain_timeout_s),
    }
}

fn build_provider(provider: &config::Provider, kept: &[Arc<Provider>]) -> anyhow::Result<Provider> {
    let name = &provider.name;
    let dialect =
        Dialect::from_name(&provider.dialect).with_context(|| format!("provider {name}: dialect"))?;
    let origin: Origin = provider.base_url.parse().with_context(|| format!("provider {name}: base_url"))?;
    let old = kept.iter().find(|old| old.name == *name);
    let mut credentials = Vec::new();
    for reference in &provider.credentials {
        let source = reference.to_string();
        let credential = old
            .and_then(|old| old.credentials.iter().find(|credential| credential.source == source))
            .cloned()
            .unwrap_or_else(|| Arc::new(Credential::new(source.clone().into())));
        match read_secret(reference) {
            Ok(secret) if credential.set(dialect, Some(&secret)) => {}
            Ok(_) => {
                tracing::error!(provider.name = %name, %source, "the credential holds characters that a header can not")
            }
            // A credential that was read before stays in use: the last good value from memory.
            Err(error) => {
                tracing::error!(provider.name = %name, %source, error = format!("{error:#}"), "a provider credential can not be read");
            }
        }
        credentials.push(credential);
    }
    let prices_as = provider.prices_as.clone().unwrap_or_else(|| dialect.name().into());
    Ok(Provider { name: name.clone(), dialect, origin, prices_as, credentials })
}

/// Reads a secret from where its reference points.
pub(crate) fn read_secret(reference: &SecretRef) -> anyhow::Result<Secret> {
    let text = match reference {
        SecretRef::Env(name) => std::env::var(name.as_str())
            .map_err(|_| anyhow::anyhow!("the environment variable {name} is not set"))?,
        SecretRef::File(path) => std::fs::read_to_string(path.as_str())
            .with_context(|| format!("the file {path} can not be read"))?,
    };
    let secret = Secret::new(text.trim());
    anyhow::ensure!(!secret.expose().is_empty(), "{reference} is empty");
    Ok(secret)
}

pub(crate) fn prices(config: &Config) -> PriceTable {
    let mut table = PriceTable::bundled().clone();
    for price in &config.prices {
        let mut own = Price::new(per_token(price.input), per_token(price.output));
        own.cache_read = price.cache_read.map_or(own.cache_read, per_token);
        own.cache_write = price.cache_write.map_or(own.cache_write, per_token);
        table = table.with_override(&price.provider, &price.model, own);
    }
    table
}

fn per_token(usd_per_mtok: f64) -> PicoUsdPerToken {
    PicoUsdPerToken::from_usd_per_mtok(usd_per_mtok)
}

/// Address tables: the user's own databases in front of the bundled one.
pub(crate) fn address_tables(config: &Config) -> anyhow::Result<Tables> {
    let read = |path: &Option<std::path::PathBuf>, field: &str| {
        path.as_deref()
            .map(|path| {
                std::fs::read(path)
                    .with_context(|| format!("[network] {field}: {} can not be read", path.display()))
            })
            .transpose()
    };
    let files = UserFiles {
        country: read(&config.network.country_database, "country_database")?,
        asn: read(&config.network.asn_database, "asn_database")?,
        anonymity: read(&config.network.anonymity_database, "anonymity_database")?,
    };
    let user = UserTables::from_bytes(files).context("[network]")?;
    Ok(Tables::new((!user.is_empty()).then_some(user), Some(Bundled::new())))
}

/// How the engine is set up.
pub(crate) fn engine_config(config: &Config) -> tokenwatch_detect::Config {
    let mut engine = tokenwatch_detect::Config::default();
    for rule in &config.detection.rules_off {
        // The names were checked with the configuration.
        engine.rules = engine.rules.switch(rule, false).unwrap_or(engine.rules);
    }
    engine
}

/// Worker threads.
pub(crate) fn worker_count(config: &Config) -> usize {
    match config.server.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => workers,
    }
}

/// TLS towards clients, when it is configured.
pub(crate) fn server_tls(config: &Config) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
    let (Some(certificate), Some(key)) = (&config.server.tls_certificate, &config.server.tls_key) else {
        return Ok(None);
    };
    let chain = read_certificates(certificate).context("[server] tls_certificate")?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("[server] tls_key: {} holds no usable private key", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("[server] tls_certificate and tls_key do not fit together")?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(Arc::new(tls)))
}

fn read_certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .with_context(|| format!("{} can not be read", path.display()))?
        .collect();
    let certificates = certificates.with_context(|| format!("{} is not PEM", path.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{} holds no certificate", path.display());
    Ok(certificates)
}

/// TLS towards providers: the system's roots, or Mozilla's where the system has none (a bare container).
pub(crate) fn client_tls() -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        tracing::info!("no system certificates: the bundled Mozilla roots are used");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}
