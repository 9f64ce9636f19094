//! Tests of the public API.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod bundled;
mod layered;
mod mmdb;
mod table;
mod user;

use std::net::IpAddr;

use tokenwatch_model::network::{Country, NetworkFacts, NetworkKind};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn facts(asn: u32, country: &str, kind: NetworkKind) -> NetworkFacts {
    NetworkFacts { asn, country: Country::from_code(country), kind }
}
