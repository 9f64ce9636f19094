//! The address table: name, country, autonomous system and range, checked against public routing data of June 2026.

use std::net::Ipv4Addr;

use tokenwatch_model::network::NetworkKind;

use super::Network;
pub use super::access::ACCESS_WIDE;
pub use super::hosting::{CLOUD_WIDE, EXIT_WIDE, HOSTING_WIDE};

const fn network(
    name: &'static str,
    kind: NetworkKind,
    country: &'static str,
    asn: u32,
    base: [u8; 4],
    bits: u8,
) -> Network {
    let [a, b, c, d] = base;
    Network { name, kind, country, asn, base: Ipv4Addr::new(a, b, c, d), bits }
}

pub(super) const fn access(
    name: &'static str,
    country: &'static str,
    asn: u32,
    base: [u8; 4],
    bits: u8,
) -> Network {
    network(name, NetworkKind::Access, country, asn, base, bits)
}

pub(super) const fn hosting(
    name: &'static str,
    country: &'static str,
    asn: u32,
    base: [u8; 4],
    bits: u8,
) -> Network {
    network(name, NetworkKind::Hosting, country, asn, base, bits)
}

pub(super) const fn vpn(
    name: &'static str,
    country: &'static str,
    asn: u32,
    base: [u8; 4],
    bits: u8,
) -> Network {
    network(name, NetworkKind::Vpn, country, asn, base, bits)
}

/// Cloud regions that services and pipelines run in.
pub const CLOUD: [Network; 10] = [
    network("aws-us-east-1", NetworkKind::Hosting, "US", 14618, [34, 228, 0, 0], 16),
    network("aws-us-east-1b", NetworkKind::Hosting, "US", 14618, [44, 200, 0, 0], 16),
    network("aws-eu-central-1", NetworkKind::Hosting, "DE", 16509, [3, 120, 0, 0], 16),
    network("aws-eu-west-2", NetworkKind::Hosting, "GB", 16509, [18, 130, 0, 0], 16),
    network("gcp-us-central1", NetworkKind::Hosting, "US", 396982, [34, 122, 0, 0], 16),
    network("gcp-europe-west4", NetworkKind::Hosting, "NL", 396982, [34, 141, 0, 0], 16),
    network("gcp-asia-southeast1", NetworkKind::Hosting, "SG", 396982, [35, 240, 0, 0], 16),
    network("azure-east-us", NetworkKind::Hosting, "US", 8075, [52, 168, 0, 0], 16),
    network("azure-west-us", NetworkKind::Hosting, "US", 8075, [20, 230, 0, 0], 16),
    network("hetzner-falkenstein", NetworkKind::Hosting, "DE", 24940, [116, 202, 0, 0], 16),
];

/// Access networks where people work and live.
pub const ACCESS: [Network; 8] = [
    network("comcast", NetworkKind::Access, "US", 7922, [73, 162, 0, 0], 16),
    network("comcast-business", NetworkKind::Access, "US", 7922, [96, 86, 0, 0], 16),
    network("att", NetworkKind::Access, "US", 7018, [107, 204, 0, 0], 16),
    network("telekom-de", NetworkKind::Access, "DE", 3320, [91, 20, 0, 0], 16),
    network("orange-fr", NetworkKind::Access, "FR", 3215, [86, 200, 0, 0], 16),
    network("bt", NetworkKind::Access, "GB", 2856, [86, 140, 0, 0], 16),
    network("virgin-media", NetworkKind::Access, "GB", 5089, [82, 10, 0, 0], 16),
    network("kddi", NetworkKind::Access, "JP", 2516, [106, 150, 0, 0], 16),
];

/// Hosting companies named in published thefts, and the usual cheap ones.
pub const HOSTING_ABUSED: [Network; 9] = [
    network("alexhost", NetworkKind::Hosting, "MD", 200019, [176, 123, 0, 0], 21),
    network("m247", NetworkKind::Hosting, "RO", 9009, [146, 70, 32, 0], 19),
    network("host-universal", NetworkKind::Hosting, "AU", 136557, [45, 248, 76, 0], 22),
    network("tzulo", NetworkKind::Hosting, "US", 11878, [173, 253, 0, 0], 17),
    network("hetzner-helsinki", NetworkKind::Hosting, "FI", 24940, [65, 108, 0, 0], 16),
    network("digitalocean", NetworkKind::Hosting, "US", 14061, [178, 128, 0, 0], 16),
    network("linode", NetworkKind::Hosting, "US", 63949, [139, 162, 0, 0], 16),
    network("vultr", NetworkKind::Hosting, "US", 20473, [45, 76, 0, 0], 16),
    network("ovh", NetworkKind::Hosting, "FR", 16276, [51, 254, 0, 0], 16),
];

/// VPN exits and relays.
pub const EXIT: [Network; 4] = [
    network("datacamp", NetworkKind::Vpn, "GB", 60068, [89, 187, 160, 0], 19),
    network("packethub", NetworkKind::Vpn, "PA", 136787, [89, 18, 192, 0], 19),
    network("datacamp-cdn77", NetworkKind::Vpn, "DE", 212238, [149, 102, 224, 0], 19),
    network("cloudflare-egress", NetworkKind::Vpn, "US", 13335, [104, 28, 0, 0], 16),
];

/// Tor exits.
pub const TOR: [Network; 1] = [network("tor-exits", NetworkKind::Tor, "DE", 60729, [185, 220, 101, 0], 24)];

/// Access networks far from the customers; Philippine ranges made 20 of 53 addresses in one published case.
pub const ACCESS_ABUSED: [Network; 10] = [
    network("pldt", NetworkKind::Access, "PH", 9299, [112, 204, 0, 0], 16),
    network("globe", NetworkKind::Access, "PH", 4775, [112, 198, 32, 0], 19),
    network("converge", NetworkKind::Access, "PH", 17639, [136, 158, 0, 0], 17),
    network("vivo", NetworkKind::Access, "BR", 26599, [177, 170, 0, 0], 16),
    network("vnpt", NetworkKind::Access, "VN", 45899, [113, 170, 0, 0], 16),
    network("viettel", NetworkKind::Access, "VN", 7552, [171, 230, 0, 0], 16),
    network("jio", NetworkKind::Access, "IN", 55836, [49, 36, 0, 0], 16),
    network("telkom-id", NetworkKind::Access, "ID", 7713, [36, 80, 0, 0], 16),
    network("te-data", NetworkKind::Access, "EG", 8452, [41, 40, 0, 0], 16),
    network("rostelecom", NetworkKind::Access, "RU", 12389, [95, 53, 0, 0], 16),
];

/// Every network of this table and of the wide ones.
pub fn all() -> impl Iterator<Item = &'static Network> {
    CLOUD
        .iter()
        .chain(&ACCESS)
        .chain(&HOSTING_ABUSED)
        .chain(&EXIT)
        .chain(&TOR)
        .chain(&ACCESS_ABUSED)
        .chain(&ACCESS_WIDE)
        .chain(&CLOUD_WIDE)
        .chain(&HOSTING_WIDE)
        .chain(&EXIT_WIDE)
}
