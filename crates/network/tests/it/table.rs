//! Any table against a list read from front to back; damaged tables against nothing but "no panic".

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use tokenwatch_model::network::{AddressFacts, Country, NetworkFacts, NetworkKind, canonical, is_private};
use tokenwatch_network::{EncodeTableError, ParseTableError, System, Table, TableSource, encode};

use crate::facts;

/// Facts that repeat often enough for references and records, and rarely enough for packed ones.
fn any_facts() -> impl Strategy<Value = NetworkFacts> {
    let kind = prop_oneof![
        Just(NetworkKind::Unknown),
        Just(NetworkKind::Access),
        Just(NetworkKind::Hosting),
        Just(NetworkKind::Vpn),
        Just(NetworkKind::Tor),
    ];
    let asn = prop_oneof![0u32..4, 0u32..2000, any::<u32>()];
    (asn, prop_oneof![Just("??"), Just("NL"), Just("AA"), Just("ZZ")], kind)
        .prop_map(|(asn, country, kind)| facts(asn, country, kind))
}

fn any_source() -> impl Strategy<Value = TableSource> {
    // Far starts of every size, and close ones, so that steps of every length occur.
    let v4 = prop_oneof![any::<u32>(), (any::<u32>(), 0u32..32).prop_map(|(a, s)| a >> s << s), 0u32..500];
    let v6 = prop_oneof![
        any::<u128>(),
        (any::<u128>(), 0u32..128).prop_map(|(a, s)| a >> s << s),
        (0u128..500).prop_map(|a| 0x2001_0db8 << 96 | a),
    ];
    let names = btree_map(any::<u32>(), ("[a-c]{0,3}", Just(NetworkKind::Hosting)), 0..20);
    (any::<u16>(), btree_map(v4, any_facts(), 0..300), btree_map(v6, any_facts(), 0..300), names).prop_map(
        |(date, v4, v6, names)| TableSource {
            date_days: date.into(),
            v4: v4.into_iter().collect(),
            v6: v6.into_iter().collect(),
            systems: names.into_iter().map(|(asn, (name, kind))| (asn, System { name, kind })).collect(),
        },
    )
}

/// What a lookup must say, by reading the whole list.
fn naive(source: &TableSource, address: IpAddr) -> NetworkFacts {
    let address = canonical(address);
    if is_private(address) {
        return facts(0, "", NetworkKind::Private);
    }
    let mut found = NetworkFacts::default();
    match address {
        IpAddr::V4(v4) => {
            source.v4.iter().filter(|(start, _)| *start <= u32::from(v4)).for_each(|r| found = r.1)
        }
        IpAddr::V6(v6) => {
            source.v6.iter().filter(|(start, _)| *start <= u128::from(v6)).for_each(|r| found = r.1)
        }
    }
    found
}

/// Every start, its neighbours and some addresses between.
fn addresses(source: &TableSource, more: &[u128]) -> Vec<IpAddr> {
    let v4 =
        source.v4.iter().flat_map(|(start, _)| [start.saturating_sub(1), *start, start.saturating_add(1)]);
    let v6 =
        source.v6.iter().flat_map(|(start, _)| [start.saturating_sub(1), *start, start.saturating_add(1)]);
    v4.chain(more.iter().map(|n| *n as u32))
        .map(|n| Ipv4Addr::from(n).into())
        .chain(v6.chain(more.iter().copied()).map(|n| Ipv6Addr::from(n).into()))
        .collect()
}

fn use_everything(bytes: &[u8], addresses: &[IpAddr]) {
    let Ok(table) = Table::parse(bytes) else { return };
    for address in addresses {
        let found = table.facts(*address);
        let _ = (table.organisation(found.asn), table.kind_of(found.asn));
    }
    let _ = (table.verify(), table.v4_ranges().count(), table.v6_ranges().count(), table.systems().count());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_lookup_agrees_with_the_list(source in any_source(), more in vec(any::<u128>(), 50)) {
        let bytes = encode(&source).unwrap();
        prop_assert_eq!(&bytes, &encode(&source).unwrap(), "not deterministic");
        let table = Table::parse(&bytes).unwrap();
        table.verify().unwrap();
        for address in addresses(&source, &more) {
            prop_assert_eq!(table.facts(address), naive(&source, address), "{}", address);
        }
        for (asn, system) in source.systems.iter().filter(|(asn, _)| **asn != 0) {
            prop_assert_eq!(table.organisation(*asn).unwrap_or_default(), &system.name);
            prop_assert_eq!(table.kind_of(*asn), system.kind);
        }
    }

    #[test]
    fn ranges_are_what_lookups_say(source in any_source()) {
        let bytes = encode(&source).unwrap();
        let table = Table::parse(&bytes).unwrap();
        let mut covered = 0u64;
        let mut before = None;
        for (first, last, facts) in table.v4_ranges() {
            prop_assert!(first <= last && before.is_none_or(|before| before < first));
            prop_assert!(facts != NetworkFacts::default());
            for address in [first, last].map(IpAddr::V4).into_iter().filter(|a| !is_private(*a)) {
                prop_assert_eq!(table.facts(address), facts);
            }
            covered += u64::from(u32::from(last) - u32::from(first)) + 1;
            before = Some(last);
        }
        let ends = source.v4.iter().skip(1).map(|(start, _)| u64::from(*start)).chain([1 << 32]);
        let known = |range: &&(u32, NetworkFacts)| range.1 != NetworkFacts::default();
        let wanted: u64 = source.v4.iter().zip(ends).filter(|(r, _)| known(r)).map(|(r, end)| end - u64::from(r.0)).sum();
        prop_assert_eq!(covered, wanted);
        for (first, last, facts) in table.v6_ranges() {
            prop_assert!(first <= last);
            for address in [first, last].map(IpAddr::V6) {
                if canonical(address) == address && !is_private(address) {
                    prop_assert_eq!(table.facts(address), facts);
                }
            }
        }
    }

    #[test]
    fn damage_is_found_and_never_panics(
        source in any_source(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        more in vec(any::<u128>(), 20),
    ) {
        let sound = encode(&source).unwrap();
        let mut bytes = sound.clone();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = Table::parse(&bytes).and_then(|table| table.verify());
        prop_assert_eq!(whole.is_ok(), bytes == sound);
        use_everything(&bytes, &addresses(&source, &more));
    }

    /// Damage behind valid checksums: sections that end elsewhere, overlap or are cut inside records' meaning.
    #[test]
    fn nonsense_behind_a_valid_header_never_panics(
        source in any_source(),
        section in 0usize..9,
        offset in any::<prop::sample::Index>(),
        records in 0u32..40,
        more in vec(any::<u128>(), 20),
    ) {
        let mut bytes = encode(&source).unwrap();
        let record_len = [4, 8, 1, 4, 20, 1, 4, 8, 1][section];
        let at = 20 + section * 12;
        let place = offset.index(bytes.len()) as u32;
        bytes[at..at + 4].copy_from_slice(&place.to_le_bytes());
        bytes[at + 4..at + 8].copy_from_slice(&(records * record_len).to_le_bytes());
        let body = 20 + 9 * 12;
        let checksum = crc32fast::hash(&bytes[..body]);
        bytes[body..body + 4].copy_from_slice(&checksum.to_le_bytes());
        use_everything(&bytes, &addresses(&source, &more));
    }

    #[test]
    fn garbage_is_refused(bytes in vec(any::<u8>(), 0..400)) {
        prop_assert!(Table::parse(&bytes).is_err());
    }

    #[test]
    fn a_cut_table_is_refused(source in any_source(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&source).unwrap();
        let error = Table::parse(&bytes[..cut.index(bytes.len())]).unwrap_err();
        prop_assert_eq!(error, ParseTableError::Truncated);
    }
}

#[test]
fn another_version_or_another_file_is_named() {
    let mut bytes = encode(&TableSource::default()).unwrap();
    assert_eq!(
        Table::parse(
            b"not a table, only a text that is long enough to hold a header, or so one may hope; and \
        then some more, because headers are longer than one thinks"
        )
        .unwrap_err(),
        ParseTableError::NotATable
    );
    bytes[8] = 9;
    assert_eq!(Table::parse(&bytes).unwrap_err(), ParseTableError::Version { found: 9, known: 1 });
    bytes[8] = 1;
    bytes[12] = 1;
    assert_eq!(Table::parse(&bytes).unwrap_err(), ParseTableError::Checksum { section: "header" });
}

#[test]
fn what_the_format_can_not_hold_is_refused() {
    let source = |v4: &[(u32, NetworkFacts)]| TableSource { v4: v4.to_vec(), ..TableSource::default() };
    let access = facts(1, "NL", NetworkKind::Access);
    assert_eq!(encode(&source(&[(5, access), (5, access)])), Err(EncodeTableError::Order { index: 1 }));
    let private = facts(1, "NL", NetworkKind::Private);
    assert_eq!(encode(&source(&[(5, private)])), Err(EncodeTableError::Kind { kind: NetworkKind::Private }));
    let many: BTreeMap<u32, System> = (1..600_000).map(|asn| (asn, System::default())).collect();
    let source = TableSource { systems: many, ..TableSource::default() };
    assert_eq!(encode(&source), Err(EncodeTableError::TooMany { what: "autonomous systems" }));
}

#[test]
fn long_names_are_cut_at_a_character() {
    let name = "é".repeat(100);
    let systems = BTreeMap::from([(7, System { name, kind: NetworkKind::Access })]);
    let bytes = encode(&TableSource { systems, ..TableSource::default() }).unwrap();
    let table = Table::parse(&bytes).unwrap();
    assert_eq!(table.organisation(7), Some("é".repeat(63).as_str()));
    assert_eq!(table.organisation(8), None);
}

#[test]
fn the_empty_table_knows_private_addresses_only() {
    let table = Table::EMPTY;
    assert_eq!(table.facts("10.1.2.3".parse().unwrap()), facts(0, "", NetworkKind::Private));
    assert_eq!(table.facts("8.8.8.8".parse().unwrap()), NetworkFacts::default());
    assert_eq!(table.facts("2001:db8::1".parse().unwrap()), NetworkFacts::default());
    assert_eq!(table.facts("8.8.8.8".parse().unwrap()).country, Country::UNKNOWN);
}
