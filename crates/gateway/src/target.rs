//! Which provider and endpoint a request is for.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Uri};
use smol_str::SmolStr;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_wire::route::{self, BodyKind};

use crate::credential::{clean_query, mentions_key};
use crate::refuse::Stop;
use crate::settings::{Provider, Settings};

static ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// Where a request goes.
pub(crate) struct Target {
    pub(crate) provider: Arc<Provider>,
    pub(crate) endpoint: Endpoint,
    pub(crate) body: BodyKind,
    /// Model in the path, such as `GET /v1/models/gpt-4o`.
    pub(crate) model: Option<SmolStr>,
    /// The path segment that selected the provider, with its slash; empty when none did.
    pub(crate) prefix: String,
    /// Path and query as sent to the provider.
    pub(crate) path_and_query: String,
}

impl Target {
    /// A first path segment that names a provider selects it and is cut off; otherwise the first provider
    /// whose dialect knows the path.
    pub(crate) fn find(
        settings: &Settings,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Self, Stop> {
        let path = uri.path();
        route::normalize(path).map_err(|error| Stop::because(Refusal::BadHttp, error.to_string()))?;
        if mentions_key(path.as_bytes()) {
            return Err(Stop::because(Refusal::BadHttp, "A key must not stand in the path."));
        }
        let (provider, path) = choose(settings, headers, path).ok_or_else(|| {
            Stop::because(Refusal::UnknownRoute, format!("No provider is configured for {path}."))
        })?;
        let route = route::route(provider.dialect, method.as_str(), path);
        let mut path_and_query = format!("{}{path}", provider.origin.path);
        if let Some(query) = uri.query().and_then(clean_query) {
            path_and_query.push('?');
            path_and_query.push_str(&query);
        }
        Ok(Self {
            endpoint: route.endpoint,
            body: route.body,
            model: route.model_in_path.map(SmolStr::new),
            prefix: uri.path().strip_suffix(path).unwrap_or_default().to_owned(),
            provider,
            path_and_query,
        })
    }
}

fn choose<'a>(settings: &Settings, headers: &HeaderMap, path: &'a str) -> Option<(Arc<Provider>, &'a str)> {
    let first = path.get(1..)?.split('/').next().unwrap_or_default();
    if let Some(provider) = settings.providers.iter().find(|provider| provider.name == first) {
        let rest = path.get(1 + first.len()..).filter(|rest| !rest.is_empty()).unwrap_or("/");
        return Some((provider.clone(), rest));
    }
    let dialect = guess_dialect(headers, path);
    let mut providers = settings.providers.iter();
    providers.find(|provider| provider.dialect == dialect).map(|provider| (provider.clone(), path))
}

/// The dialect a caller speaks, from its path and headers; also decides the form of error bodies.
pub(crate) fn guess_dialect(headers: &HeaderMap, path: &str) -> Dialect {
    route::choose_dialect(path, headers.contains_key(&ANTHROPIC_VERSION)).unwrap_or(Dialect::OpenAi)
}
