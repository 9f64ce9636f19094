//! The user's own databases: publishers' field names, wrong files, damaged files.

use proptest::collection::vec;
use proptest::prelude::*;
use tokenwatch_model::network::{AddressFacts, NetworkFacts, NetworkKind};
use tokenwatch_network::{OpenTableError, TableRole, Tables, UserFiles, UserTables};

use crate::mmdb::{self, Value, map, text};
use crate::{facts, ip};

const BUILT: u32 = 1_800_000_000;
const NETWORK: &str = "203.0.113.0/24";
const NETWORK_V6: &str = "2001:db8:7::/48";

fn database(record: Value) -> Vec<u8> {
    mmdb::write("Test", BUILT, &[(NETWORK, record.clone()), (NETWORK_V6, record)])
}

/// Facts of an address in the only network, by the user's databases alone.
#[track_caller]
fn check(files: UserFiles, want: NetworkFacts) {
    let tables = Tables::new(Some(UserTables::from_bytes(files).unwrap()), None);
    assert_eq!(tables.facts(ip("203.0.113.9")), want);
    assert_eq!(tables.facts(ip("2001:db8:7::9")), want);
    assert_eq!(tables.facts(ip("::ffff:203.0.113.9")), want);
    assert_eq!(tables.facts(ip("203.0.112.9")), NetworkFacts::default());
    assert_eq!(tables.facts(ip("10.0.0.1")), facts(0, "", NetworkKind::Private));
}

fn country(record: Value) -> UserFiles {
    UserFiles { country: Some(database(record)), ..UserFiles::default() }
}

fn asn(record: Value) -> UserFiles {
    UserFiles { asn: Some(database(record)), ..UserFiles::default() }
}

fn anonymity(record: Value) -> UserFiles {
    UserFiles { anonymity: Some(database(record)), ..UserFiles::default() }
}

#[test]
fn countries_of_every_publisher_are_read() {
    let wanted = facts(0, "NL", NetworkKind::Unknown);
    let nl = || map([("geoname_id", Value::Number(2_750_405)), ("iso_code", text("NL"))]);
    let de = || map([("iso_code", text("DE"))]);
    // GeoLite2 and DB-IP; country and city.
    check(country(map([("country", nl()), ("registered_country", de())])), wanted);
    // Anycast has only the country of registration.
    check(country(map([("registered_country", nl())])), wanted);
    // ip-location-db; IPinfo Lite, whose `country` is a name; IPinfo's older form.
    check(country(map([("country_code", text("NL"))])), wanted);
    check(country(map([("country", text("Netherlands")), ("country_code", text("NL"))])), wanted);
    check(country(map([("country", text("NL"))])), wanted);
}

#[test]
fn systems_of_every_publisher_are_read() {
    let wanted = facts(64_500, "", NetworkKind::Unknown);
    let number = || Value::Number(64_500);
    let name = || text("Example Net");
    let forms = [
        map([("autonomous_system_number", number()), ("autonomous_system_organization", name())]),
        map([("asn", text("AS64500")), ("as_name", name()), ("as_domain", text("example.net"))]),
        map([("asn", text("AS64500")), ("name", name())]),
        map([("asn", map([("asn", text("AS64500")), ("name", name())]))]),
        map([(
            "traits",
            map([("autonomous_system_number", number()), ("autonomous_system_organization", name())]),
        )]),
    ];
    for form in forms {
        let tables = UserTables::from_bytes(asn(form.clone())).unwrap();
        assert_eq!(tables.organisation_name(64_500), Some("Example Net"), "{form:?}");
        assert_eq!(tables.organisation_name(64_501), None);
        check(asn(form), wanted);
    }
}

#[test]
fn names_of_many_systems_are_kept_apart() {
    let record = |number: u32| {
        let name = "n".repeat(number as usize);
        map([
            ("autonomous_system_number", Value::Number(number)),
            ("autonomous_system_organization", text(&name)),
        ])
    };
    let networks: Vec<(String, Value)> =
        (1..=200).map(|number| (format!("198.51.100.{number}/32"), record(number))).collect();
    let networks: Vec<(&str, Value)> =
        networks.iter().map(|(net, value)| (net.as_str(), value.clone())).collect();
    let files = UserFiles { asn: Some(mmdb::write("Test", BUILT, &networks)), ..UserFiles::default() };
    let tables = UserTables::from_bytes(files).unwrap();
    for number in 1..=200usize {
        // Cut to the limit of a name.
        let name = tables.organisation_name(number as u32).unwrap();
        assert_eq!(name.len(), number.min(128));
    }
}

#[test]
fn kinds_come_from_flags_and_words() {
    let flags = |flag: &str, up: Value| anonymity(map([("is_anonymous", Value::Flag(true)), (flag, up)]));
    let kind = |kind| facts(0, "", kind);
    let up = || Value::Flag(true);
    check(flags("is_anonymous_vpn", up()), kind(NetworkKind::Vpn));
    check(flags("is_public_proxy", up()), kind(NetworkKind::Vpn));
    check(flags("is_tor_exit_node", up()), kind(NetworkKind::Tor));
    check(flags("is_hosting_provider", up()), kind(NetworkKind::Hosting));
    // IPinfo writes flags as texts, down ones as empty texts.
    check(flags("tor", text("true")), kind(NetworkKind::Tor));
    check(anonymity(map([("vpn", text("true")), ("hosting", text("true"))])), kind(NetworkKind::Vpn));
    check(anonymity(map([("vpn", text("")), ("hosting", text(""))])), kind(NetworkKind::Unknown));
    check(asn(map([("asn", text("AS9")), ("type", text("hosting"))])), facts(9, "", NetworkKind::Hosting));
    check(asn(map([("asn", text("AS9")), ("type", text("isp"))])), facts(9, "", NetworkKind::Access));
}

#[test]
fn a_database_of_the_wrong_sort_is_named() {
    let only_country = || database(map([("country", map([("iso_code", text("NL"))]))]));
    for role in [TableRole::Asn, TableRole::Anonymity] {
        let files = match role {
            TableRole::Asn => UserFiles { asn: Some(only_country()), ..UserFiles::default() },
            _ => UserFiles { anonymity: Some(only_country()), ..UserFiles::default() },
        };
        let error = UserTables::from_bytes(files).unwrap_err();
        assert!(matches!(&error, OpenTableError::NoField { role: wrong, .. } if *wrong == role), "{error}");
        assert!(
            error.to_string().starts_with(&format!("the {role} database (type `Test`) has no ")),
            "{error}"
        );
    }
    let error = UserTables::from_bytes(country(map([("asn", text("AS9"))]))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the country database (type `Test`) has no country.iso_code, country_code or registered_country.iso_code; \
         give a database that has"
    );
}

#[test]
fn bytes_of_something_else_are_named() {
    for bytes in [&b""[..], b"<html>please sign in</html>", b"\xab\xcd\xefMaxMind.com"] {
        let files = UserFiles { country: Some(bytes.to_vec()), ..UserFiles::default() };
        let error = UserTables::from_bytes(files).unwrap_err();
        assert!(matches!(error, OpenTableError::NotMaxMind { role: TableRole::Country, .. }), "{error}");
    }
}

#[test]
fn no_database_at_all_is_fine() {
    let tables = UserTables::from_bytes(UserFiles::default()).unwrap();
    assert!(tables.is_empty());
    assert_eq!(tables.built(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_database_never_panics(
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let record = map([
            ("country", map([("iso_code", text("NL"))])),
            ("autonomous_system_number", Value::Number(9)),
            ("autonomous_system_organization", text("Nine")),
            ("is_anonymous_vpn", Value::Flag(true)),
        ]);
        let mut bytes = database(record);
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        for role in 0..3 {
            let take = |wanted: usize| (role == wanted).then(|| bytes.clone());
            let files = UserFiles { country: take(0), asn: take(1), anonymity: take(2) };
            if let Ok(user) = UserTables::from_bytes(files) {
                let _ = (user.organisation_name(9), user.built());
                let tables = Tables::new(Some(user), None);
                for address in ["203.0.113.9", "2001:db8:7::9", "255.255.255.255", "::2", "2001:db8:7:ffff::"] {
                    let _ = tables.facts(ip(address));
                }
            }
        }
    }
}
