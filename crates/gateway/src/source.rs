//! Where a request came from: the peer, or what trusted proxies say of it.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use tokenwatch_model::context::Source;
use tokenwatch_model::network::{Cidr, NetworkFacts, canonical};

use crate::gateway::Gateway;
use crate::settings::Settings;

/// The other end of a connection, looked up once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    address: IpAddr,
    facts: NetworkFacts,
}

/// Entries of `X-Forwarded-For` looked at, from the right; more proxies than this are not trusted in a row.
const HOPS_MAX: usize = 16;

impl Peer {
    pub(crate) fn new(gateway: &Gateway, address: SocketAddr) -> Self {
        let address = canonical(address.ip());
        Self { address, facts: gateway.facts(address) }
    }

    /// The client's address: the peer's own unless the peer is a trusted proxy.
    pub(crate) fn source(&self, gateway: &Gateway, settings: &Settings, headers: &HeaderMap) -> Source {
        if !is_trusted(&settings.trusted_proxies, self.address) {
            return Source { address: self.address, facts: self.facts };
        }
        match forwarded_for(&settings.trusted_proxies, headers) {
            Some(address) => Source { address, facts: gateway.facts(address) },
            None => Source { address: self.address, facts: self.facts },
        }
    }
}

pub(crate) fn is_trusted(proxies: &[Cidr], address: IpAddr) -> bool {
    proxies.iter().any(|range| range.contains(address))
}

/// The right-most address that no trusted proxy wrote about itself. What stands further left was written by
/// the client and proves nothing.
fn forwarded_for(proxies: &[Cidr], headers: &HeaderMap) -> Option<IpAddr> {
    let values: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    let entries =
        values.iter().rev().filter_map(|value| value.to_str().ok()).flat_map(|value| value.rsplit(','));
    let mut found = None;
    for entry in entries.take(HOPS_MAX) {
        let Some(address) = parse_entry(entry.trim()) else { break };
        found = Some(address);
        if !is_trusted(proxies, address) {
            break;
        }
    }
    found
}

/// An address with an optional port, as proxies write it.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let address = entry
        .parse::<IpAddr>()
        .or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip()))
        .or_else(|_| entry.trim_matches(['[', ']']).parse::<IpAddr>())
        .ok()?;
    Some(canonical(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], want: Option<&str>) {
        let proxies = ["10.0.0.0/8".parse().unwrap(), "192.0.2.1".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        assert_eq!(forwarded_for(&proxies, &headers), want.map(|w| w.parse().unwrap()), "{values:?}");
    }

    #[test]
    fn only_what_a_trusted_proxy_wrote_counts() {
        check(&["203.0.113.7"], Some("203.0.113.7"));
        check(&["1.2.3.4, 203.0.113.7, 10.1.1.1"], Some("203.0.113.7"));
        check(&["1.2.3.4", "203.0.113.7", "192.0.2.1"], Some("203.0.113.7"));
        check(&["203.0.113.7:4711"], Some("203.0.113.7"));
        check(&["[2001:db8::1]:80"], Some("2001:db8::1"));
        check(&["10.2.2.2, 10.1.1.1"], Some("10.2.2.2"));
        check(&["garbage"], None);
        check(&["garbage, 10.1.1.1"], Some("10.1.1.1"));
        check(&[], None);
    }
}
