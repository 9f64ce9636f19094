//! Compares a written table with its sources at every boundary address: each first and last address of every range,
//! block and exit of any source, and the addresses next to them. Between boundaries nothing changes in the sources.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::ensure;
use maxminddb::path;
use tokenwatch_model::network::{AddressFacts, Country, NetworkFacts, NetworkKind, canonical, is_private};
use tokenwatch_network::Table;

use super::sources::{Segment, Sources, find};

/// What was compared.
pub(super) struct Counts {
    pub(super) v4_checked: usize,
    pub(super) v6_checked: usize,
    pub(super) names_checked: usize,
    /// Addresses of each kind.
    pub(super) v4_addresses: BTreeMap<NetworkKind, u64>,
}

/// Compares everything; the error names the first address that differs.
pub(super) fn verify(table: &Table<'_>, sources: &Sources) -> anyhow::Result<Counts> {
    let mut v4 = edges(&sources.v4);
    v4.extend(edges(&sources.v4_countries));
    v4.extend(edges(&sources.vpn));
    v4.extend(edges(&sources.datacenter));
    v4.extend(edges(&sources.v4_tor));
    let mut v6 = edges(&sources.v6);
    v6.extend(edges(&sources.v6_tor));
    v6.extend(edges(&sources.v6_countries));
    v4.retain(|address| *address <= u128::from(u32::MAX));
    let v4_checked = check(table, sources, v4, |address| Ipv4Addr::from(address as u32).into())?;
    let v6_checked = check(table, sources, v6, |address| Ipv6Addr::from(address).into())?;
    for (asn, name) in &sources.names {
        ensure!(
            table.organisation_name(*asn) == Some(name).filter(|name| !name.is_empty()).map(String::as_str)
        );
    }
    let mut v4_addresses = BTreeMap::new();
    for (first, last, facts) in table.v4_ranges() {
        *v4_addresses.entry(facts.kind).or_default() += u64::from(u32::from(last) - u32::from(first)) + 1;
    }
    Ok(Counts { v4_checked, v6_checked, names_checked: sources.names.len(), v4_addresses })
}

fn edges<T>(segments: &[Segment<T>]) -> Vec<u128> {
    let near = |segment: &Segment<T>| {
        [segment.first.saturating_sub(1), segment.first, segment.last, segment.last.saturating_add(1)]
    };
    segments.iter().flat_map(near).collect()
}

fn check(
    table: &Table<'_>,
    sources: &Sources,
    mut addresses: Vec<u128>,
    address_of: impl Fn(u128) -> IpAddr,
) -> anyhow::Result<usize> {
    addresses.sort_unstable();
    addresses.dedup();
    for address in &addresses {
        let address = address_of(*address);
        let (found, wanted) = (table.facts(address), expected(sources, address)?);
        ensure!(found == wanted, "{address}: the table says {found:?}, the sources say {wanted:?}");
    }
    Ok(addresses.len())
}

/// The facts of an address straight from the sources; the country by a lookup in the database, not by the list that
/// the table was made from.
fn expected(sources: &Sources, address: IpAddr) -> anyhow::Result<NetworkFacts> {
    let address = canonical(address);
    if is_private(address) {
        return Ok(NetworkFacts { kind: NetworkKind::Private, ..NetworkFacts::default() });
    }
    let record = sources.country_database.lookup(address)?;
    let code = record.decode_path::<&str>(&path!["country_code"])?;
    let country = code.map_or(Country::UNKNOWN, Country::from_code);
    let asn = match address {
        IpAddr::V4(v4) => find(&sources.v4, u32::from(v4).into()),
        IpAddr::V6(v6) => find(&sources.v6, v6.into()),
    };
    let asn = asn.copied().unwrap_or_default();
    Ok(NetworkFacts { asn, country, kind: sources.kind_of(address, asn) })
}
