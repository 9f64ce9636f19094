//! The user's databases over the bundled table.

use tokenwatch_model::network::{AddressFacts, NetworkFacts, NetworkKind};
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_network::{Bundled, Tables, UserFiles, UserTables, Wanted};

use crate::mmdb::{self, Value, map, text};
use crate::{facts, ip};

const BUILT: u32 = 1_800_000_000;

fn user(files: UserFiles) -> Tables {
    Tables::new(Some(UserTables::from_bytes(files).unwrap()), Some(Bundled::new()))
}

/// The facts of 8.8.8.8, bundled as AS15169, US, hosting, when the user's system database has this number.
#[track_caller]
fn check_system(asn: u32, want: NetworkKind) {
    let record = map([("autonomous_system_number", Value::Number(asn))]);
    let tables = user(UserFiles {
        asn: Some(mmdb::write("T", BUILT, &[("8.8.8.0/24", record)])),
        ..UserFiles::default()
    });
    let found = tables.facts(ip("8.8.8.8"));
    assert_eq!(found, facts(asn, "US", want));
}

#[test]
fn without_the_users_databases_the_bundled_table_answers() {
    let tables = Tables::new(None, Some(Bundled::new()));
    assert_eq!(tables.facts(ip("8.8.8.8")), facts(15169, "US", NetworkKind::Hosting));
    assert_eq!(tables.organisation(15169), Some("Google LLC"));
}

#[test]
fn without_any_table_only_private_addresses_are_known() {
    let tables = Tables::default();
    assert_eq!(tables.facts(ip("8.8.8.8")), NetworkFacts::default());
    assert_eq!(tables.facts(ip("192.168.0.1")).kind, NetworkKind::Private);
    assert_eq!(tables.organisation(15169), None);
    assert_eq!(tables.date(), None);
    assert!(!tables.is_stale(Timestamp(u64::MAX)));
}

#[test]
fn each_fact_comes_from_the_user_where_the_user_has_it() {
    let record = map([("country", map([("iso_code", text("CH"))]))]);
    let bytes = mmdb::write("T", BUILT, &[("8.8.8.0/24", record)]);
    let tables = user(UserFiles { country: Some(bytes), ..UserFiles::default() });
    assert_eq!(tables.facts(ip("8.8.8.8")), facts(15169, "CH", NetworkKind::Hosting));
    assert_eq!(tables.facts(ip("8.8.4.4")), facts(15169, "US", NetworkKind::Hosting));
}

#[test]
fn a_system_of_the_users_has_the_kind_that_the_lists_give_it() {
    check_system(15169, NetworkKind::Hosting);
    check_system(3320, NetworkKind::Access);
    check_system(9009, NetworkKind::Vpn);
    // Newer than the bundled table.
    check_system(4_199_999_999, NetworkKind::Access);
}

#[test]
fn bundled_exits_count_unless_the_user_has_a_database_of_anonymity() {
    let tor = Wanted { kind: Some(NetworkKind::Tor), ..Wanted::default() };
    let exit = Bundled::new().example_addresses(tor).next().unwrap();
    let network = format!("{exit}/32");
    let with = |role: fn(Vec<u8>) -> UserFiles, record: Value| {
        user(role(mmdb::write(
            "T",
            BUILT,
            &[(&network, record), ("2001:db8::/32", map([("vpn", text("true"))]))],
        )))
        .facts(exit.into())
        .kind
    };
    let asn: fn(Vec<u8>) -> UserFiles = |bytes| UserFiles { asn: Some(bytes), ..UserFiles::default() };
    let anonymity: fn(Vec<u8>) -> UserFiles =
        |bytes| UserFiles { anonymity: Some(bytes), ..UserFiles::default() };
    assert_eq!(with(asn, map([("asn", text("AS3320"))])), NetworkKind::Tor);
    assert_eq!(with(anonymity, map([("hosting", text("true"))])), NetworkKind::Hosting);
    assert_eq!(with(anonymity, map([("tor", text("true"))])), NetworkKind::Tor);
    let cleared = with(anonymity, map([("tor", text("")), ("vpn", text(""))]));
    assert!(matches!(cleared, NetworkKind::Access | NetworkKind::Hosting), "{cleared}");
}

#[test]
fn names_come_from_the_user_first() {
    let record = map([("asn", text("AS15169")), ("name", text("Renamed"))]);
    let bytes = mmdb::write("T", BUILT, &[("8.8.8.0/24", record)]);
    let tables = user(UserFiles { asn: Some(bytes), ..UserFiles::default() });
    assert_eq!(tables.organisation(15169), Some("Renamed"));
    assert_eq!(tables.organisation(13335), Some("Cloudflare, Inc."));
}

#[test]
fn the_age_is_that_of_the_oldest_of_the_users_databases() {
    let country = mmdb::write("T", BUILT, &[("8.8.8.0/24", map([("country_code", text("US"))]))]);
    let asn = mmdb::write("T", BUILT - 86_400, &[("8.8.8.0/24", map([("asn", text("AS9"))]))]);
    let tables = user(UserFiles { country: Some(country), asn: Some(asn), anonymity: None });
    let built = Timestamp::from_seconds(u64::from(BUILT) - 86_400);
    assert_eq!(tables.date(), Some(built));
    assert!(!tables.is_stale(built.plus(90 * DAY)));
    assert!(tables.is_stale(built.plus(91 * DAY)));
}
