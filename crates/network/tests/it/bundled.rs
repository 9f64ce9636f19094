//! The table inside the program.

use tokenwatch_model::network::{AddressFacts, Country, NetworkFacts, NetworkKind};
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_network::{Bundled, Wanted};

use crate::{facts, ip};

#[track_caller]
fn check(address: &str, want: NetworkFacts) {
    assert_eq!(Bundled::new().facts(ip(address)), want, "{address}");
}

#[test]
fn the_committed_bytes_are_sound() {
    let bundled = Bundled::new();
    bundled.table().verify().unwrap();
    assert_eq!(bundled.date().to_string(), "2026-06-17T00:00:00.000Z");
    assert!(bundled.table().systems().count() > 90_000);
    assert!(bundled.table().v4_ranges().count() > 500_000);
    assert!(bundled.table().v6_ranges().count() > 200_000);
}

#[test]
fn well_known_addresses() {
    check("8.8.8.8", facts(15169, "US", NetworkKind::Hosting));
    check("2001:4860:4860::8888", facts(15169, "US", NetworkKind::Hosting));
    assert_eq!(Bundled::new().facts(ip("1.1.1.1")).asn, 13335);
    assert_eq!(Bundled::new().facts(ip("1.1.1.1")).kind, NetworkKind::Hosting);
    assert_eq!(Bundled::new().organisation(15169), Some("Google LLC"));
    assert_eq!(Bundled::new().organisation(0), None);
    assert_eq!(Bundled::new().organisation(u32::MAX), None);
}

#[test]
fn transition_encodings_have_the_facts_of_their_address() {
    let google = facts(15169, "US", NetworkKind::Hosting);
    for address in ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"] {
        check(address, google);
    }
}

#[test]
fn private_addresses_are_private_before_any_table() {
    let addresses =
        ["10.0.0.1", "192.168.1.1", "172.16.0.9", "127.0.0.1", "169.254.1.1", "100.64.0.1", "::1"];
    for address in addresses.into_iter().chain(["fd00::1", "fe80::1", "::ffff:10.0.0.1", "2002:a00:1::1"]) {
        check(address, facts(0, "", NetworkKind::Private));
    }
}

#[test]
fn countries_differ_inside_one_system() {
    let countries: std::collections::BTreeSet<Country> =
        Bundled::new().ranges_of(16509).map(|(_, _, facts)| facts.country).collect();
    assert!(countries.len() > 5, "{countries:?}");
}

#[test]
fn clouds_are_hosting_in_both_families_and_carriers_are_not() {
    let bundled = Bundled::new();
    for asn in [16509, 14618, 15169, 396_982, 8075, 31898, 14061, 24940, 16276, 63949, 20473, 13335, 45102] {
        assert_eq!(bundled.table().kind_of(asn), NetworkKind::Hosting, "AS{asn}");
    }
    // Comcast, Deutsche Telekom, MTN Nigeria (which one of the lists calls bad).
    for asn in [7922, 3320, 29465] {
        assert_eq!(bundled.table().kind_of(asn), NetworkKind::Access, "AS{asn}");
    }
    assert_eq!(bundled.table().kind_of(9009), NetworkKind::Vpn);
}

#[test]
fn example_addresses_have_the_facts_that_were_asked_for() {
    let bundled = Bundled::new();
    let nl = Country::from_code("NL");
    for kind in [NetworkKind::Access, NetworkKind::Hosting, NetworkKind::Vpn, NetworkKind::Tor] {
        let wanted = Wanted { country: Some(nl), kind: Some(kind), asn: None };
        let addresses: Vec<_> = bundled.example_addresses(wanted).take(50).collect();
        assert!(!addresses.is_empty(), "{kind}");
        for address in addresses {
            let found = bundled.facts(address.into());
            assert_eq!((found.country, found.kind), (nl, kind), "{address}");
        }
    }
    for asn in [16509, 3320, 14061] {
        let address = bundled.first_address_of(asn).unwrap();
        assert_eq!(bundled.facts(address.into()).asn, asn);
    }
    assert_eq!(bundled.first_address_of(4_199_999_999), None);
}

#[test]
fn the_data_is_stale_after_90_days() {
    let bundled = Bundled::new();
    let at = |days: u64| bundled.date().plus(days * DAY);
    assert!(!bundled.is_stale(at(90)));
    assert!(bundled.is_stale(at(91)));
    assert!(!bundled.is_stale(Timestamp(0)), "a clock that is behind is no reason to warn");
}
