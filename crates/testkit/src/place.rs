//! Where simulated requests come from: real public address ranges of well-known networks.
//!
//! The table is in [`table`]; nobody's real address is meant. Hosts are drawn from whole ranges, so an address is
//! some address of that network, as an address table will resolve it.

use std::net::{IpAddr, Ipv4Addr};

use tokenwatch_model::context::Source;
use tokenwatch_model::network::{Country, NetworkFacts, NetworkKind};

use crate::rng::Rng;

mod access;
mod hosting;
pub mod table;

/// One range of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Short name, such as `aws-us-east-1`.
    pub name: &'static str,
    /// What it is used for.
    pub kind: NetworkKind,
    /// ISO 3166 code of the country it mostly serves.
    pub country: &'static str,
    /// Autonomous system that announces it.
    pub asn: u32,
    /// First address; its host bits are zero.
    pub base: Ipv4Addr,
    /// Prefix length, at most 24.
    pub bits: u8,
}

impl Network {
    /// A /24 of the range.
    pub fn block(&self, rng: &mut Rng) -> Block {
        let blocks = 1_u64 << 24_u8.saturating_sub(self.bits).min(24);
        Block(u32::from(self.base) | ((rng.below(blocks) as u32) << 8))
    }

    /// Any host of the range.
    pub fn host(&self, rng: &mut Rng) -> IpAddr {
        let block = self.block(rng);
        block.host(rng)
    }

    /// The block with a number that is folded into the range.
    pub(crate) fn numbered_block(&self, number: u64) -> Block {
        let blocks = 1_u64 << 24_u8.saturating_sub(self.bits).min(24);
        Block(u32::from(self.base) | (((number % blocks) as u32) << 8))
    }

    /// What an address table knows of its addresses.
    pub fn facts(&self) -> NetworkFacts {
        NetworkFacts { asn: self.asn, country: Country::from_code(self.country), kind: self.kind }
    }

    /// An address of the range with its facts.
    pub(crate) fn source(&self, address: IpAddr) -> Source {
        Source { address, facts: self.facts() }
    }

    /// Whether an address lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let IpAddr::V4(v4) = address else { return false };
        let shift = 32 - u32::from(self.bits);
        u32::from(v4).checked_shr(shift) == u32::from(self.base).checked_shr(shift)
    }
}

/// A /24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block(u32);

impl Block {
    /// A host of the block, never its first or last address.
    pub fn host(self, rng: &mut Rng) -> IpAddr {
        self.fixed(rng.range(1, 254) as u8)
    }

    /// The host with this last octet.
    pub fn fixed(self, last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self.0 | u32::from(last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lie_in_their_network() {
        let mut rng = Rng::new(3);
        for network in table::all() {
            assert!(
                network.bits <= 24
                    && u32::from(network.base).trailing_zeros() >= 32 - u32::from(network.bits)
            );
            for _ in 0..20 {
                let host = network.host(&mut rng);
                assert!(network.contains(host), "{host} is not in {}", network.name);
            }
        }
    }

    #[test]
    fn wide_networks_resolve_to_their_facts() {
        use tokenwatch_model::network::AddressFacts as _;
        let bundled = tokenwatch_network::Bundled::new();
        let mut rng = Rng::new(9);
        let wide = table::ACCESS_WIDE
            .iter()
            .chain(&table::CLOUD_WIDE)
            .chain(&table::HOSTING_WIDE)
            .chain(&table::EXIT_WIDE);
        for network in wide {
            for _ in 0..20 {
                let host = network.host(&mut rng);
                assert_eq!(bundled.facts(host), network.facts(), "{host} of {}", network.name);
            }
        }
    }

    #[test]
    fn an_address_is_of_one_network_or_of_two_alike() {
        let all: Vec<&Network> = table::all().collect();
        for one in &all {
            let alike =
                |other: &&&Network| !other.contains(IpAddr::V4(one.base)) || other.facts() == one.facts();
            assert!(all.iter().all(|other| alike(&other)), "{}", one.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = table::all().map(|network| network.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
