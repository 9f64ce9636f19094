//! Where callers are: fixed addresses, instances that come and go, end users.
//!
//! An address is a function of the site, the time and a draw, so any part of a key's life can be made without the parts
//! before it. It always lies in its network, whose facts go with it.

use std::net::IpAddr;

use tokenwatch_model::context::Source;

use crate::place::Network;
use crate::place::table::{ACCESS_WIDE, CLOUD_WIDE};
use crate::rng::{self, Rng};
use crate::traffic::DAY_MS;

const HOUR_MS: u64 = 3_600_000;

/// One site.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Site {
    /// Addresses that stay: a server, a gateway, an office.
    Fixed { network: &'static Network, hosts: Vec<IpAddr> },
    /// `slots` callers at a time; each moves to another block after `hold_ms`, and within it every `host_ms`.
    Rotating { network: &'static Network, seed: u64, slots: u64, hold_ms: u64, host_ms: u64 },
    /// End users at home: `per_day` new ones a day, `at_once` in use.
    Users { seed: u64, country: &'static str, per_day: f64, at_once: u64 },
}

impl Site {
    /// A few fixed addresses in one or two blocks.
    pub(crate) fn server(network: &'static Network, rng: &mut Rng) -> Self {
        let blocks = [network.block(rng), network.block(rng)];
        let hosts = (0..rng.range(1, 3) as usize).map(|host| blocks[host / 2].host(rng)).collect();
        Self::Fixed { network, hosts }
    }

    /// One address that stays.
    pub(crate) fn single(network: &'static Network, rng: &mut Rng) -> Self {
        Self::Fixed { network, hosts: vec![network.host(rng)] }
    }

    /// A pool whose instances meet about `per_day` new blocks a day.
    pub(crate) fn pool(network: &'static Network, slots: u64, per_day: f64, rng: &mut Rng) -> Self {
        let hold_ms = (slots as f64 / per_day.max(0.01) * DAY_MS as f64) as u64;
        let host_ms = rng.range(HOUR_MS / 4, 6 * HOUR_MS);
        Self::Rotating { network, seed: rng.next_u64(), slots, hold_ms: hold_ms.max(HOUR_MS), host_ms }
    }

    /// A home connection whose address changes every few days, or a phone that changes it every few hours.
    pub(crate) fn line(network: &'static Network, days: f64, rng: &mut Rng) -> Self {
        let hold_ms = (days * DAY_MS as f64) as u64;
        Self::Rotating {
            network,
            seed: rng.next_u64(),
            slots: 1,
            hold_ms: hold_ms.max(1),
            host_ms: hold_ms.max(1),
        }
    }

    /// An address in use at a time. The second value is the caller's number, for sites whose callers differ.
    pub(crate) fn source(&self, at_ms: u64, rng: &mut Rng) -> (Source, u64) {
        match self {
            Self::Fixed { network, hosts } => {
                let slot = rng.below(hosts.len() as u64);
                let address = hosts.get(slot as usize).copied().unwrap_or_else(|| network.host(rng));
                (network.source(address), slot)
            }
            Self::Rotating { network, seed, slots, hold_ms, host_ms } => {
                let slot = rng.below(*slots);
                let phase = rng::mix(seed ^ slot);
                let turn = (at_ms + phase % hold_ms) / hold_ms;
                let block = network.numbered_block(rng::mix(phase ^ turn));
                let host = rng::mix(phase ^ turn ^ ((at_ms + phase % host_ms) / host_ms).rotate_left(32));
                (network.source(block.fixed(1 + (host % 254) as u8)), slot)
            }
            Self::Users { seed, country, per_day, at_once } => {
                let first = (at_ms as f64 / DAY_MS as f64 * per_day) as u64;
                // Some use it much, most a little.
                let u = rng.unit();
                let user = first + (u * u * *at_once as f64) as u64;
                let of = rng::mix(seed ^ user);
                let network = users_network(country, of);
                let block = network.numbered_block(rng::mix(of));
                (network.source(block.fixed(1 + (rng::mix(!of) % 254) as u8)), user)
            }
        }
    }

    /// The network of most of its addresses.
    pub(crate) fn network(&self) -> &'static Network {
        match self {
            Self::Fixed { network, .. } | Self::Rotating { network, .. } => network,
            Self::Users { seed, country, .. } => users_network(country, rng::mix(*seed) | 3),
        }
    }
}

/// Seven of eight users are at home in the country, the others anywhere.
fn users_network(country: &str, of: u64) -> &'static Network {
    let abroad = of.is_multiple_of(8);
    let number = (of >> 8) as usize;
    let homes = homes(country);
    match homes.get(number % homes.len().max(1)) {
        Some(home) if !abroad => home,
        _ => &ACCESS_WIDE[number % ACCESS_WIDE.len()],
    }
}

/// Access networks of a country; the table is sorted by country.
pub(crate) fn homes(country: &str) -> &'static [Network] {
    in_country(&ACCESS_WIDE, country)
}

/// Cloud regions of a country; the table is sorted by country.
pub(crate) fn clouds(country: &str) -> &'static [Network] {
    in_country(&CLOUD_WIDE, country)
}

fn in_country(table: &'static [Network], country: &str) -> &'static [Network] {
    let from = table.partition_point(|network| network.country < country);
    let until = table.partition_point(|network| network.country <= country);
    table.get(from..until).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokenwatch_model::network::Prefix;

    use super::*;

    /// New blocks a day after the first, over ten days of a call every five minutes.
    fn new_blocks(site: &Site) -> f64 {
        let mut rng = Rng::new(1);
        let mut seen = BTreeSet::new();
        let mut first = 0;
        for call in 0..11 * 288_u64 {
            let (source, _) = site.source(1_767_571_200_000 + call * 300_000, &mut rng);
            seen.insert(Prefix::of(source.address));
            if call == 288 {
                first = seen.len();
            }
        }
        (seen.len() - first) as f64 / 10.0
    }

    #[test]
    fn blocks_come_at_the_stated_rates() {
        let mut rng = Rng::new(4);
        let network = &clouds("DE")[0];
        assert_eq!(new_blocks(&Site::server(network, &mut rng)), 0.0);
        let pool = new_blocks(&Site::pool(network, 6, 5.0, &mut rng));
        assert!((4.0..6.0).contains(&pool), "{pool}");
        let users = Site::Users { seed: 3, country: "US", per_day: 50.0, at_once: 120 };
        let users = new_blocks(&users);
        assert!((40.0..55.0).contains(&users), "{users}");
    }

    #[test]
    fn countries_are_found() {
        for table in [&ACCESS_WIDE[..], &CLOUD_WIDE] {
            assert!(table.is_sorted_by_key(|network| network.country));
        }
        assert!(homes("US").len() > 8 && homes("US").iter().all(|network| network.country == "US"));
        assert!(homes("ZZ").is_empty() && clouds("AU").len() > 1);
    }
}
