//! What a key may be used for: providers, models, endpoints, networks, hours, payload size.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::network::Cidr;
use crate::outcome::Refusal;
use crate::provider::Endpoint;

/// The scope of a key or the default of an owner. `None` inherits; where nothing is set anywhere, every
/// provider, model, network and hour is allowed and the endpoints of [`Endpoint::is_default`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Names of providers.
    pub providers: Option<Vec<SmolStr>>,
    /// Model names with `*` for any run of characters, such as `gpt-4o*`.
    pub models: Option<Vec<SmolStr>>,
    /// Endpoints.
    pub endpoints: Option<Vec<Endpoint>>,
    /// Address ranges.
    pub networks: Option<Vec<Cidr>>,
    /// Hours of the UTC day, 0 to 23.
    pub hours: Option<Vec<u8>>,
    /// Largest request body in bytes.
    pub payload_bytes_max: Option<u64>,
}

/// What of a request the scope looks at.
#[derive(Clone, Copy, Debug)]
pub struct ScopeQuery<'a> {
    /// Name of the provider.
    pub provider: &'a str,
    /// Model asked for; `None` when the endpoint names none.
    pub model: Option<&'a str>,
    /// What is called.
    pub endpoint: Endpoint,
    /// Where from.
    pub address: IpAddr,
    /// Hour of the UTC day.
    pub hour: u8,
}

impl Scope {
    /// Fills what is not set from `defaults`.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        Self {
            providers: self.providers.or_else(|| defaults.providers.clone()),
            models: self.models.or_else(|| defaults.models.clone()),
            endpoints: self.endpoints.or_else(|| defaults.endpoints.clone()),
            networks: self.networks.or_else(|| defaults.networks.clone()),
            hours: self.hours.or_else(|| defaults.hours.clone()),
            payload_bytes_max: self.payload_bytes_max.or(defaults.payload_bytes_max),
        }
    }

    /// Whether the scope allows the request.
    ///
    /// # Errors
    ///
    /// The first reason it does not, in the order network, hour, provider, endpoint, model: a caller from
    /// a wrong network learns nothing about the rest of the scope.
    pub fn check(&self, query: &ScopeQuery<'_>) -> Result<(), Refusal> {
        fn deny(list: Option<&Vec<impl Sized>>, found: bool, refusal: Refusal) -> Result<(), Refusal> {
            if list.is_some() && !found { Err(refusal) } else { Ok(()) }
        }
        let networks = self.networks.as_ref();
        let in_network = networks.is_some_and(|list| list.iter().any(|range| range.contains(query.address)));
        deny(networks, in_network, Refusal::NetworkNotInScope)?;
        let hours = self.hours.as_ref();
        deny(hours, hours.is_some_and(|list| list.contains(&query.hour)), Refusal::HourNotInScope)?;
        let providers = self.providers.as_ref();
        let has_provider = providers.is_some_and(|list| list.iter().any(|name| name == query.provider));
        deny(providers, has_provider, Refusal::ProviderNotInScope)?;
        let has_endpoint = match &self.endpoints {
            Some(list) => list.contains(&query.endpoint),
            None => query.endpoint.is_default(),
        };
        if !has_endpoint {
            return Err(Refusal::EndpointNotInScope);
        }
        match query.model {
            Some(model) if !self.allows_model(model) => Err(Refusal::ModelNotInScope),
            _ => Ok(()),
        }
    }

    /// Whether the scope allows a model; also filters model lists.
    pub fn allows_model(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob_matches(glob, model)))
    }
}

/// Whether `text` matches `glob`, where `*` stands for any run of characters, also none. Linear in
/// practice and bounded by `glob.len() * text.len()`: no exponential patterns.
pub fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if glob.get(g) == Some(&b'*') {
            star = Some((g, t));
            g += 1;
        } else if glob.get(g) == text.get(t) {
            g += 1;
            t += 1;
        } else if let Some((star_g, star_t)) = star {
            // Let the last star swallow one character more.
            g = star_g + 1;
            t = star_t + 1;
            star = Some((star_g, star_t + 1));
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|&b| b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_glob(glob: &str, text: &str, want: bool) {
        assert_eq!(glob_matches(glob, text), want, "{glob} {text}");
    }

    #[test]
    fn globs() {
        check_glob("gpt-4o*", "gpt-4o", true);
        check_glob("gpt-4o*", "gpt-4o-mini", true);
        check_glob("gpt-4o", "gpt-4o-mini", false);
        check_glob("*haiku*", "claude-haiku-4-5", true);
        check_glob("*a*b*c", "xaybzc", true);
        check_glob("*a*b*c", "xaybz", false);
        check_glob("", "", true);
        check_glob("*", "", true);
        check_glob("", "a", false);
        check_glob(&"*a".repeat(50), &"a".repeat(200), true);
    }

    fn query<'a>(model: Option<&'a str>, endpoint: Endpoint, address: &str, hour: u8) -> ScopeQuery<'a> {
        ScopeQuery { provider: "openai", model, endpoint, address: address.parse().unwrap(), hour }
    }

    #[track_caller]
    fn check(scope: &Scope, query: &ScopeQuery<'_>, want: Result<(), Refusal>) {
        assert_eq!(scope.check(query), want);
    }

    #[test]
    fn nothing_set_allows_inference_only() {
        let scope = Scope::default();
        check(&scope, &query(Some("any"), Endpoint::ChatCompletions, "8.8.8.8", 3), Ok(()));
        check(&scope, &query(None, Endpoint::FineTuning, "8.8.8.8", 3), Err(Refusal::EndpointNotInScope));
        check(&scope, &query(None, Endpoint::Other, "8.8.8.8", 3), Err(Refusal::EndpointNotInScope));
    }

    #[test]
    fn network_is_checked_first() {
        let scope = Scope {
            models: Some(vec!["gpt-4o-mini".into()]),
            networks: Some(vec!["10.0.0.0/8".parse().unwrap()]),
            hours: Some(vec![9, 10]),
            ..Scope::default()
        };
        let chat = Endpoint::ChatCompletions;
        check(&scope, &query(Some("gpt-5"), chat, "8.8.8.8", 3), Err(Refusal::NetworkNotInScope));
        check(&scope, &query(Some("gpt-5"), chat, "10.1.1.1", 3), Err(Refusal::HourNotInScope));
        check(&scope, &query(Some("gpt-5"), chat, "10.1.1.1", 9), Err(Refusal::ModelNotInScope));
        check(&scope, &query(Some("gpt-4o-mini"), chat, "10.1.1.1", 9), Ok(()));
    }

    #[test]
    fn keys_override_owner_defaults_field_by_field() {
        let owner = Scope { models: Some(vec!["a".into()]), payload_bytes_max: Some(10), ..Scope::default() };
        let key = Scope { models: Some(vec!["b".into()]), ..Scope::default() };
        let merged = key.or(&owner);
        assert!(merged.allows_model("b") && !merged.allows_model("a"));
        assert_eq!(merged.payload_bytes_max, Some(10));
    }
}
