//! Which fields of a MaxMind-format record mean what, across the publishers whose databases people have.
//!
//! Field names as published: GeoLite2 / GeoIP2 and DB-IP (`country.iso_code`, `autonomous_system_number`, the
//! `is_…` flags of Anonymous IP, `traits.user_type` of Enterprise), IPinfo (`country_code` or a two-letter `country`,
//! `asn` as `AS15169`, `as_name`, `type`, the flags of its privacy database), ip-location-db (`country_code`).

use std::fmt;

use maxminddb::{LookupResult, PathElement};
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess};
use tokenwatch_model::network::{Country, NetworkKind};

/// A looked-up record.
pub(super) type Record<'a> = LookupResult<'a, Vec<u8>>;

/// Where a country may be, best first: where the address is, then where it is registered (all that anycast has).
const COUNTRY: &[&[&str]] =
    &[&["country", "iso_code"], &["country_code"], &["country"], &["registered_country", "iso_code"]];
const ASN: &[&[&str]] =
    &[&["autonomous_system_number"], &["asn"], &["asn", "asn"], &["traits", "autonomous_system_number"]];
const ORGANISATION: &[&[&str]] = &[
    &["autonomous_system_organization"],
    &["as_name"],
    &["asn", "name"],
    &["traits", "autonomous_system_organization"],
    &["name"],
];
/// What sort of customer or operator an address has, in words.
const USER_TYPE: &[&[&str]] = &[&["traits", "user_type"], &["type"], &["asn", "type"], &["as_type"]];
const TOR: &[&[&str]] = &[&["is_tor_exit_node"], &["tor"], &["traits", "is_tor_exit_node"]];
const VPN: &[&[&str]] = &[
    &["is_anonymous_vpn"],
    &["vpn"],
    &["is_public_proxy"],
    &["is_residential_proxy"],
    &["proxy"],
    &["relay"],
    &["traits", "is_anonymous_vpn"],
    &["traits", "is_public_proxy"],
];
const HOSTING: &[&[&str]] = &[&["is_hosting_provider"], &["hosting"], &["traits", "is_hosting_provider"]];

/// The fields by which a country database is recognised, for messages.
pub(super) const COUNTRY_FIELDS: &str = "country.iso_code, country_code or registered_country.iso_code";
/// The same for an autonomous system database.
pub(super) const ASN_FIELDS: &str = "autonomous_system_number or asn";
/// The same for an anonymity database.
pub(super) const ANONYMITY_FIELDS: &str =
    "is_anonymous_vpn, is_tor_exit_node, is_hosting_provider, vpn, tor or hosting";

pub(super) fn country_of(record: &Record<'_>) -> Option<Country> {
    find(record, COUNTRY, |value| match value {
        Scalar::Text(code) => Some(Country::from_code(code)).filter(|country| country.is_known()),
        Scalar::Number(_) | Scalar::Other => None,
    })
}

pub(super) fn asn_of(record: &Record<'_>) -> Option<u32> {
    find(record, ASN, |value| {
        let number = match value {
            Scalar::Number(number) => u32::try_from(number).ok(),
            Scalar::Text(text) => text.strip_prefix("AS").unwrap_or(text).parse().ok(),
            Scalar::Other => None,
        };
        number.filter(|asn| *asn != 0)
    })
}

pub(super) fn organisation_of<'a>(record: &Record<'a>) -> Option<&'a str> {
    find(record, ORGANISATION, |value| match value {
        Scalar::Text(name) => Some(name.trim()).filter(|name| !name.is_empty()),
        Scalar::Number(_) | Scalar::Other => None,
    })
}

/// The kind by the words of a record.
pub(super) fn user_type_of(record: &Record<'_>) -> Option<NetworkKind> {
    find(record, USER_TYPE, |value| match value {
        Scalar::Text("hosting" | "content_delivery_network") => Some(NetworkKind::Hosting),
        Scalar::Text("consumer_privacy_network") => Some(NetworkKind::Vpn),
        Scalar::Text(
            "isp" | "business" | "education" | "government" | "residential" | "cellular" | "college"
            | "school" | "library" | "cafe" | "dialup" | "military" | "router" | "traveler",
        ) => Some(NetworkKind::Access),
        _ => None,
    })
}

/// The kind by the flags of a record; nothing when no flag is up.
pub(super) fn anonymity_of(record: &Record<'_>) -> Option<NetworkKind> {
    let any = |paths: &[&[&str]]| find(record, paths, |value| value.is_up().then_some(())).is_some();
    [(TOR, NetworkKind::Tor), (VPN, NetworkKind::Vpn), (HOSTING, NetworkKind::Hosting)]
        .into_iter()
        .find_map(|(paths, kind)| any(paths).then_some(kind))
}

/// Whether a record has any flag at all, up or down.
pub(super) fn has_flags(record: &Record<'_>) -> bool {
    [TOR, VPN, HOSTING].into_iter().any(|paths| find(record, paths, |_| Some(())).is_some())
}

/// The first path whose value `read` accepts. A value of another shape is as good as none.
fn find<'a, T>(record: &Record<'a>, paths: &[&[&str]], read: impl Fn(Scalar<'a>) -> Option<T>) -> Option<T> {
    paths.iter().find_map(|path| {
        let mut elements = [PathElement::Index(0), PathElement::Index(0)];
        for (slot, key) in elements.iter_mut().zip(*path) {
            *slot = PathElement::Key(key);
        }
        let value = record.decode_path::<Scalar<'a>>(elements.get(..path.len())?);
        read(value.ok().flatten()?)
    })
}

/// A value as databases write them: numbers, texts and flags, which some write as texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scalar<'a> {
    Text(&'a str),
    /// Numbers; true is 1.
    Number(u64),
    Other,
}

impl Scalar<'_> {
    fn is_up(self) -> bool {
        match self {
            Self::Text(text) => matches!(text, "true" | "True" | "1" | "yes"),
            Self::Number(number) => number != 0,
            Self::Other => false,
        }
    }
}

impl<'de: 'a, 'a> de::Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> de::Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number or a flag")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(text))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Number(flag.into()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(number).map_or(Scalar::Other, Scalar::Number))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Self::Value, E> {
        Ok(u64::try_from(number).map_or(Scalar::Other, Scalar::Number))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_borrowed_bytes<E: de::Error>(self, _: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}
