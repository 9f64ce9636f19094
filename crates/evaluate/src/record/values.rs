//! Values in the forms that others write them in. What could mean two things is not read.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_wire::route;

use super::Cell;

/// Times before 1980 and after 2200 are in another unit than they should be. A number lies between them in one unit at
/// most, because the later is only 23 times the earlier.
const TIME_MIN: u64 = 3_652 * DAY;
const TIME_MAX: u64 = 84_006 * DAY;
/// Length of a date and a time of day to the second.
const SECOND_LEN: usize = 19;
/// Longest text that is looked at as a time.
const TIME_LEN_MAX: usize = 48;

/// What to write for a time.
pub const TIME: &str =
    "a time such as \"2026-03-01T12:00:00.250Z\", or seconds, milliseconds or microseconds since 1970";
/// What to write for the kind of a network; [`NETWORKS`] in words.
pub(super) const NETWORK: &str = "unknown, private (reserved, bogon, internal), access (residential, consumer, isp, \
    broadband, dsl, cable, fiber, mobile, cellular, wireless, satellite, business, corporate, enterprise, commercial, \
    office, education, university, college, school, library, government, military), hosting (host, datacenter, \
    data_center, dc, cloud, server, cdn, content_delivery_network, hosting_provider, cloud_provider), vpn (proxy, \
    public_proxy, web_proxy, residential_proxy, relay, anonymizer, anonymous, consumer_privacy_network) or tor \
    (tor_exit, tor_exit_node)";

/// What others call kinds of networks: word lists of vendors of such data, and what people write.
pub(super) const NETWORKS: [(NetworkKind, &[&str]); 6] = [
    (NetworkKind::Unknown, &[]),
    (NetworkKind::Private, &["reserved", "bogon", "internal"]),
    (
        NetworkKind::Access,
        &[
            "residential",
            "consumer",
            "isp",
            "broadband",
            "dsl",
            "cable",
            "fiber",
            "mobile",
            "cellular",
            "wireless",
            "satellite",
            "business",
            "corporate",
            "enterprise",
            "commercial",
            "office",
            "education",
            "university",
            "college",
            "school",
            "library",
            "government",
            "military",
        ],
    ),
    (
        NetworkKind::Hosting,
        &[
            "host",
            "datacenter",
            "data_center",
            "dc",
            "cloud",
            "server",
            "cdn",
            "content_delivery_network",
            "hosting_provider",
            "cloud_provider",
        ],
    ),
    (
        NetworkKind::Vpn,
        &[
            "proxy",
            "public_proxy",
            "web_proxy",
            "residential_proxy",
            "relay",
            "anonymizer",
            "anonymous",
            "consumer_privacy_network",
        ],
    ),
    (NetworkKind::Tor, &["tor_exit", "tor_exit_node"]),
];

/// A time: a text, or a number in the unit in which it lies between 1980 and 2200.
pub(super) fn time(cell: &Cell<'_>) -> Option<Timestamp> {
    match cell {
        Cell::Time(micros) => plausible(*micros),
        Cell::Number(number) => number_time(*number),
        Cell::Real(real) => real_time(*real),
        Cell::Text(text) => text_time(text),
        _ => None,
    }
}

/// A time from a text: as RFC 3339, the same without a zone, which is UTC, or a number.
pub fn text_time(text: &str) -> Option<Timestamp> {
    let parse = |text: &str| text.parse::<Timestamp>().ok();
    parse(text)
        .or_else(|| parse(&rfc3339(text.trim())?))
        .map(|time| time.0)
        .and_then(plausible)
        .or_else(|| number_time(text.trim().parse().ok()?))
        .or_else(|| real_time(text.trim().parse().ok()?))
}

fn plausible(micros: u64) -> Option<Timestamp> {
    (TIME_MIN..TIME_MAX).contains(&micros).then_some(Timestamp(micros))
}

fn number_time(number: u64) -> Option<Timestamp> {
    let in_unit = |micros: u64| number.checked_mul(micros).and_then(plausible);
    in_unit(1).or_else(|| in_unit(1_000)).or_else(|| in_unit(1_000_000)).or_else(|| plausible(number / 1_000))
}

fn real_time(real: f64) -> Option<Timestamp> {
    // What is below zero or no number becomes 0, which is not plausible.
    [1.0, 1e3, 1e6, 1e-3].into_iter().find_map(|unit| plausible((real * unit).round() as u64))
}

/// A text as RFC 3339 that has a space between date and time, a comma before the fraction, or a zone in another form.
fn rfc3339(text: &str) -> Option<String> {
    if !text.is_ascii() || text.len() > TIME_LEN_MAX {
        return None;
    }
    let (second, rest) = text.split_at_checked(SECOND_LEN)?;
    let digits = rest.strip_prefix(['.', ',']).unwrap_or_default();
    let digits = digits.get(..digits.bytes().take_while(u8::is_ascii_digit).count())?;
    let fraction = if digits.is_empty() { String::new() } else { format!(".{digits}") };
    let zone = rest.get(fraction.len()..)?.trim_start();
    let zone = match zone.as_bytes() {
        [] | b"Z" | b"z" | b"UTC" | b"GMT" => "Z".to_owned(),
        [b'+' | b'-', _, _] => format!("{zone}:00"),
        [b'+' | b'-', _, _, _, _] => format!("{}:{}", zone.get(..3)?, zone.get(3..)?),
        _ => zone.to_owned(),
    };
    Some(format!("{second}{fraction}{zone}"))
}

/// A whole number from a text. Some tools write every number with a fraction.
pub(super) fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse().ok().and_then(whole))
}

/// A number that is whole but for how it is written.
pub(super) fn whole(real: f64) -> Option<u64> {
    ((0.0..9e15).contains(&real) && real.fract() == 0.0).then_some(real as u64)
}

/// The number of an autonomous system: `AS64500`, also with the name behind it, or the number alone.
pub(super) fn asn(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.get(..2) {
        Some(start) if start.eq_ignore_ascii_case("as") => {
            text.get(2..)?.split_ascii_whitespace().next()?.parse().ok()
        }
        _ => number(text),
    }
}

/// An address, with a port or in brackets or without.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let address = text.parse::<IpAddr>().ok();
    address
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(bare)
        // Servers that listen on both write IPv4 as a part of IPv6.
        .map(|address| address.to_canonical())
}

/// The kind of a network, by our word or another for it.
pub(super) fn network(text: &str) -> Option<NetworkKind> {
    let word = text.trim().to_ascii_lowercase().replace(['-', ' ', '/'], "_");
    let is_meant =
        |(kind, words): &(NetworkKind, &[&str])| kind.name() == word || words.contains(&word.as_str());
    NETWORKS.into_iter().find(is_meant).map(|(kind, _)| kind)
}

/// An endpoint by its name, its path or a URL. A path that is not known is another endpoint, not an error.
pub(super) fn endpoint(text: &str, provider: &str) -> Option<Endpoint> {
    if let Some(endpoint) = Endpoint::from_name(text) {
        return Some(endpoint);
    }
    let Some(path) = path_of(text) else {
        return Endpoint::from_name(&text.to_ascii_lowercase().replace(['-', '.', ' '], "_"));
    };
    let path = path.as_ref();
    let known = |path: &str| Some(called(path, provider)).filter(|endpoint| *endpoint != Endpoint::Other);
    // What a gateway puts before the path of the provider; a deployment of Azure; a base URL that has the version.
    let behind_prefix = || known(path.get(path.find("/v1/")?..)?);
    let deployment = || path.split_once("/deployments/")?.1.split_once('/');
    let in_deployment = || known(&format!("/v1/{}", deployment()?.1));
    // Administration stands under words that other services have too.
    let unversioned =
        || known(&format!("/v1{path}")).filter(|endpoint| *endpoint != Endpoint::Administration);
    let found = known(path).or_else(behind_prefix).or_else(in_deployment).or_else(unversioned);
    Some(found.unwrap_or(Endpoint::Other))
}

/// The path in a path with or without a slash before it, or in a URL; nothing when it is neither.
fn path_of(text: &str) -> Option<Cow<'_, str>> {
    let path = match text.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| rest.get(at..).unwrap_or_default()),
        None => text,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let with_slash = || if path.starts_with('/') { path.into() } else { format!("/{path}").into() };
    path.contains('/').then(with_slash)
}

/// What a path calls. A record does not say the method; what nobody posts to is read.
fn called(path: &str, provider: &str) -> Endpoint {
    let dialect = Dialect::from_name(provider)
        .or_else(|| route::choose_dialect(path, false))
        .unwrap_or(Dialect::OpenAi);
    let by = |method| route::route(dialect, method, path).endpoint;
    Some(by("POST")).filter(|endpoint| *endpoint != Endpoint::Other).unwrap_or_else(|| by("GET"))
}
