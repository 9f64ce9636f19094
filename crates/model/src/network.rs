//! What is known about a source address: prefix, autonomous system, country, kind of network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What kind of network an address belongs to. New kinds are appended: the order is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkKind {
    /// No table knows it.
    #[default]
    Unknown,
    /// Private, loopback or link-local: inside somebody's own network.
    Private,
    /// An access network: homes, offices, carriers, universities.
    Access,
    /// A data centre, cloud or hosting company.
    Hosting,
    /// A VPN or proxy exit.
    Vpn,
    /// A Tor exit.
    Tor,
}

impl NetworkKind {
    /// The word used in output and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Private => "private",
            Self::Access => "access",
            Self::Hosting => "hosting",
            Self::Vpn => "vpn",
            Self::Tor => "tor",
        }
    }
}

impl fmt::Display for NetworkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// ISO 3166-1 alpha-2 country code; two zero bytes mean unknown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Country([u8; 2]);

impl Country {
    /// No table knows the country.
    pub const UNKNOWN: Self = Self([0; 2]);

    /// Reads two letters in either case; anything else is unknown.
    pub fn from_code(code: &str) -> Self {
        match *code.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()])
            }
            _ => Self::UNKNOWN,
        }
    }

    /// Whether the country is known.
    pub fn is_known(self) -> bool {
        self != Self::UNKNOWN
    }

    /// The code packed into 16 bits; 0 is unknown.
    pub const fn packed(self) -> u16 {
        u16::from_be_bytes(self.0)
    }

    /// The inverse of [`Country::packed`].
    pub const fn from_packed(packed: u16) -> Self {
        Self(packed.to_be_bytes())
    }

    /// The two letters, or `??`.
    pub fn code(&self) -> &str {
        if self.is_known() { std::str::from_utf8(&self.0).unwrap_or("??") } else { "??" }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Country {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Country {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|code| Self::from_code(&code))
    }
}

/// The facts of an address, looked up once per connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct NetworkFacts {
    /// Autonomous system number; 0 is unknown.
    pub asn: u32,
    /// Country of registration.
    pub country: Country,
    /// Kind of network.
    pub kind: NetworkKind,
}

/// Maps an address to its facts; implemented over a bundled table or the user's own database.
pub trait AddressFacts: Send + Sync {
    /// Facts of `address`; all unknown when no table covers it.
    fn facts(&self, address: IpAddr) -> NetworkFacts;

    /// The name of an autonomous system, for people.
    fn organisation(&self, asn: u32) -> Option<&str>;
}

/// Strips transition encodings: IPv4-mapped (`::ffff:a.b.c.d`), NAT64 (`64:ff9b::/96`) and 6to4
/// (`2002::/16`) become the IPv4 address they stand for, so that they can not pose as new networks.
pub fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let s = v6.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

/// Whether an address is inside somebody's own network: such sources are never "new networks".
pub fn is_private(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                // Shared address space of carrier-grade NAT, RFC 6598.
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            v6.is_loopback() || v6.is_unspecified() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80
        }
    }
}

/// A block of addresses: the /24 of an IPv4 address, the /48 of an IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Prefix(u64);

impl Prefix {
    /// The block that holds `address`.
    pub fn of(address: IpAddr) -> Self {
        match canonical(address) {
            // Bit 63 tells the families apart.
            IpAddr::V4(v4) => Self(u64::from(u32::from(v4) >> 8)),
            IpAddr::V6(v6) => Self((1 << 63) | (u128::from(v6) >> 80) as u64),
        }
    }

    /// The block as a number, for fingerprints.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >> 63 == 0 {
            write!(f, "{}/24", Ipv4Addr::from((self.0 as u32) << 8))
        } else {
            write!(f, "{}/48", Ipv6Addr::from(u128::from(self.0 & !(1 << 63)) << 80))
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a block such as 203.0.113.0/24, or 2001:db8:7::/48 of IPv6: those are told apart")]
pub struct ParsePrefixError;

impl FromStr for Prefix {
    type Err = ParsePrefixError;

    fn from_str(text: &str) -> Result<Self, ParsePrefixError> {
        let Cidr { address, bits } = text.parse().map_err(|_| ParsePrefixError)?;
        if bits == if address.is_ipv4() { 24 } else { 48 } {
            Ok(Self::of(address))
        } else {
            Err(ParsePrefixError)
        }
    }
}

/// A range of addresses in CIDR form, for allow-lists and trusted proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

/// Why a text is not a CIDR range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address range such as 203.0.113.0/24 or 2001:db8::/32, with host bits zero")]
pub struct ParseCidrError;

impl Cidr {
    /// Whether `address` lies in the range; transition encodings are stripped first.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, canonical(address)) {
            (IpAddr::V4(net), IpAddr::V4(host)) => {
                same_bits(u32::from(net).into(), u32::from(host).into(), 32, self.bits)
            }
            (IpAddr::V6(net), IpAddr::V6(host)) => same_bits(net.into(), host.into(), 128, self.bits),
            _ => false,
        }
    }
}

fn same_bits(a: u128, b: u128, width: u32, bits: u8) -> bool {
    let shift = width - u32::from(bits);
    a.checked_shr(shift) == b.checked_shr(shift)
}

impl FromStr for Cidr {
    type Err = ParseCidrError;

    fn from_str(text: &str) -> Result<Self, ParseCidrError> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| ParseCidrError)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), str::parse).map_err(|_| ParseCidrError)?;
        let number = match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        let host_bits = u32::from(width).checked_sub(u32::from(bits)).ok_or(ParseCidrError)?;
        // A range whose host part is not zero is usually a typing error that would match too much.
        if number.trailing_zeros() < host_bits {
            return Err(ParseCidrError);
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

impl TryFrom<String> for Cidr {
    type Error = ParseCidrError;

    fn try_from(text: String) -> Result<Self, ParseCidrError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: &str, address: &str, want: bool) {
        assert_eq!(range.parse::<Cidr>().unwrap().contains(address.parse().unwrap()), want);
    }

    #[test]
    fn ranges_hold_their_addresses() {
        check("203.0.113.0/24", "203.0.113.255", true);
        check("203.0.113.0/24", "203.0.114.0", false);
        check("203.0.113.0/24", "::ffff:203.0.113.9", true);
        check("0.0.0.0/0", "8.8.8.8", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/32", "2001:db8:5::1", true);
        check("::/0", "2001:db8::1", true);
        check("192.0.2.1", "192.0.2.1", true);
        for wrong in ["203.0.113.1/24", "203.0.113.0/33", "x/8", "", "203.0.113.0/-1"] {
            assert_eq!(wrong.parse::<Cidr>(), Err(ParseCidrError), "{wrong}");
        }
    }

    #[test]
    fn transition_addresses_are_not_new_networks() {
        for text in ["::ffff:192.0.2.7", "64:ff9b::192.0.2.7", "2002:c000:207::1"] {
            assert_eq!(Prefix::of(text.parse().unwrap()).to_string(), "192.0.2.0/24", "{text}");
        }
        for text in ["192.0.2.0/24", "2001:db8:7::/48"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        for text in ["192.0.2.0", "192.0.2.1/24", "192.0.0.0/16", "2001:db8::/32", "NL"] {
            assert_eq!(text.parse::<Prefix>(), Err(ParsePrefixError), "{text}");
        }
        assert_eq!(Prefix::of("2001:db8:7:8::1".parse().unwrap()).to_string(), "2001:db8:7::/48");
        assert!(is_private("100.64.0.1".parse().unwrap()));
        assert!(is_private("fd00::1".parse().unwrap()));
        assert!(!is_private("8.8.8.8".parse().unwrap()));
    }
}
