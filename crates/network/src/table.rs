//! A compact table from address ranges to facts, searched where it lies.
//!
//! Nothing is unpacked: a lookup touches a few cache lines of the block heads, one block of some 200 bytes, a facts
//! record and a system record. On embedded bytes that means no start-up cost and no heap, and only the pages that
//! lookups touch become resident.
//!
//! Invariant: [`Table::parse`] checks the header; everything behind it is read with checked access, so that damaged
//! bytes give wrong or no facts, never a panic. [`Table::verify`] finds the damage.

pub(crate) mod codec;
pub(crate) mod layout;
mod stream;

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokenwatch_model::network::{AddressFacts, NetworkFacts, NetworkKind, canonical, is_private};
use tokenwatch_model::time::{DAY, Timestamp};

use codec::Value;
use layout::{Section, SystemRecord, read_header, u32_at, unpack_facts, unpack_system};
use stream::Stream;

/// Why bytes are not a usable table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTableError {
    /// The magic or the block size is another.
    #[error("not a network table")]
    NotATable,
    /// Written by another version of the format.
    #[error("network table of format version {found}; this program reads version {known}")]
    Version {
        /// The version in the header.
        found: u16,
        /// The version this code reads.
        known: u16,
    },
    /// The bytes end too early, or go on after the end.
    #[error("network table of the wrong length; it was not copied completely")]
    Truncated,
    /// A section is not a whole number of records.
    #[error("network table with a broken section: {section}")]
    Shape {
        /// Which section.
        section: &'static str,
    },
    /// A checksum does not match.
    #[error("network table with damaged bytes: {section}")]
    Checksum {
        /// Which section, or the header.
        section: &'static str,
    },
}

/// A range of addresses with the same facts: first address, last address, facts.
pub type V4Range = (Ipv4Addr, Ipv4Addr, NetworkFacts);
/// The same for IPv6.
pub type V6Range = (Ipv6Addr, Ipv6Addr, NetworkFacts);

/// A table over borrowed bytes. Copying it copies slices, not data.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    v4: Stream<'a, u32>,
    v6: Stream<'a, u128>,
    facts: &'a [u8],
    systems: &'a [u8],
    names: &'a [u8],
    sections: [&'a [u8]; Section::COUNT],
    checksums: [u32; Section::COUNT],
    date_days: u32,
}

impl<'a> Table<'a> {
    /// A table without ranges: knows private addresses and nothing else.
    pub const EMPTY: Self = Self::from_sections([&[]; Section::COUNT], [0; Section::COUNT], 0);

    /// Checks the header of `bytes`; takes well under a microsecond and reads only the header.
    ///
    /// # Errors
    /// When the bytes are something else, another version, of the wrong length or with a damaged header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseTableError> {
        let header = read_header(bytes)?;
        Ok(Self::from_sections(header.sections, header.checksums, header.date_days))
    }

    const fn from_sections(
        sections: [&'a [u8]; Section::COUNT],
        checksums: [u32; Section::COUNT],
        date_days: u32,
    ) -> Self {
        let [v4_index, v4_heads, v4_stream, v6_index, v6_heads, v6_stream, facts, systems, names] = sections;
        let v4 = Stream::new(v4_index, v4_heads, v4_stream);
        let v6 = Stream::new(v6_index, v6_heads, v6_stream);
        Self { v4, v6, facts, systems, names, sections, checksums, date_days }
    }

    /// Reads every byte and compares checksums: some milliseconds for the bundled table.
    ///
    /// # Errors
    /// Names the first damaged section.
    pub fn verify(&self) -> Result<(), ParseTableError> {
        for ((section, bytes), checksum) in Section::ALL.into_iter().zip(self.sections).zip(self.checksums) {
            if crc32fast::hash(bytes) != checksum {
                return Err(ParseTableError::Checksum { section: section.name() });
            }
        }
        Ok(())
    }

    /// Midnight UTC of the day the data was made.
    pub const fn date(&self) -> Timestamp {
        Timestamp(self.date_days as u64 * DAY)
    }

    /// The facts that a value of the streams stands for.
    #[inline]
    fn facts_of(&self, value: Value) -> Option<NetworkFacts> {
        let packed = match value {
            Value::Packed(packed) => packed,
            Value::Record(number) => u32_at(self.facts, usize::from(number) * 4)?,
            Value::Same(_) => return None,
        };
        let (system, country, kind) = unpack_facts(packed);
        let asn = match system {
            Some(index) => u32_at(self.systems, (index as usize).checked_mul(8)?)?,
            None => 0,
        };
        Some(NetworkFacts { asn, country, kind })
    }

    /// The kind an autonomous system has unless a range says otherwise; unknown when the table has no such system.
    pub fn kind_of(&self, asn: u32) -> NetworkKind {
        self.system(asn).map_or(NetworkKind::Unknown, |system| system.kind)
    }

    fn system(&self, asn: u32) -> Option<SystemRecord> {
        let (mut low, mut high) = (0, self.systems.len() / 8);
        while low < high {
            let middle = low + (high - low) / 2;
            match u32_at(self.systems, middle * 8)?.cmp(&asn) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return u32_at(self.systems, middle * 8 + 4).map(unpack_system),
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The name of an autonomous system, borrowed from the table's bytes.
    pub fn organisation_name(&self, asn: u32) -> Option<&'a str> {
        let system = self.system(asn)?;
        let name = self.names.get(system.name_at as usize..)?.get(..usize::from(system.name_len))?;
        std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
    }

    /// All IPv4 ranges that have facts, rising.
    pub fn v4_ranges(&self) -> impl Iterator<Item = V4Range> + use<'a> {
        let table = *self;
        with_last(self.v4.entries(), u32::MAX).filter_map(move |(first, last, value)| {
            let facts = table.facts_of(value).filter(|facts| *facts != NetworkFacts::default())?;
            Some((Ipv4Addr::from(first), Ipv4Addr::from(last), facts))
        })
    }

    /// All IPv6 ranges that have facts, rising.
    pub fn v6_ranges(&self) -> impl Iterator<Item = V6Range> + use<'a> {
        let table = *self;
        with_last(self.v6.entries(), u128::MAX).filter_map(move |(first, last, value)| {
            let facts = table.facts_of(value).filter(|facts| *facts != NetworkFacts::default())?;
            Some((Ipv6Addr::from(first), Ipv6Addr::from(last), facts))
        })
    }

    /// All autonomous systems, rising.
    pub fn systems(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.systems.chunks_exact(8).filter_map(|record| u32_at(record, 0))
    }
}

impl AddressFacts for Table<'_> {
    fn facts(&self, address: IpAddr) -> NetworkFacts {
        let address = canonical(address);
        if is_private(address) {
            return NetworkFacts { kind: NetworkKind::Private, ..NetworkFacts::default() };
        }
        let value = match address {
            IpAddr::V4(v4) => self.v4.value_at(u32::from(v4)),
            IpAddr::V6(v6) => self.v6.value_at(u128::from(v6)),
        };
        value.and_then(|value| self.facts_of(value)).unwrap_or_default()
    }

    fn organisation(&self, asn: u32) -> Option<&str> {
        self.organisation_name(asn)
    }
}

impl Default for Table<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Debug for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("date", &self.date())
            .field("systems", &(self.systems.len() / 8))
            .finish_non_exhaustive()
    }
}

/// Adds the last address to ranges that are given by their first: one before the next range, or the family's last.
fn with_last<F>(
    entries: impl Iterator<Item = (F, Value)>,
    family_last: F,
) -> impl Iterator<Item = (F, F, Value)>
where
    F: Copy + Ord + From<u8> + std::ops::Sub<Output = F>,
{
    let mut entries = entries.peekable();
    std::iter::from_fn(move || {
        let (first, value) = entries.next()?;
        let last = match entries.peek() {
            // Blocks of a damaged table can go back; then the range is one address.
            Some((next, _)) if *next > first => *next - F::from(1),
            Some(_) => first,
            None => family_last,
        };
        Some((first, last, value))
    })
}
