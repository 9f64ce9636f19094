//! Where things are in a table's bytes: the header, its sections and their fixed-size records.
//!
//! All numbers are little-endian. The header is: magic (8), format version (u16), ranges per block (u16), date of the
//! data in days since 1970-01-01 (u32), length of the whole table (u32), then offset, length and CRC-32 of each
//! section in the order of [`Section`] (3 × u32 each), then the CRC-32 of all that.

use tokenwatch_model::network::{Country, NetworkKind};

use super::ParseTableError;
use super::codec::BLOCK;

/// First bytes of a table; the line ending shows a transfer that rewrote line endings.
const MAGIC: [u8; 8] = *b"TWNETS\r\n";
/// The format this code writes and reads.
const VERSION: u16 = 1;
/// Bytes before the section records.
const FIXED: usize = 20;
/// Bytes of a section record.
const SECTION: usize = 12;
/// Bytes of the header.
pub(crate) const HEADER: usize = FIXED + Section::COUNT * SECTION + 4;

/// Leading bits of an address that an index tells apart.
pub(crate) const INDEX_BITS: u32 = 12;
/// Entries of an index.
pub(crate) const INDEX_LEN: u32 = (1 << INDEX_BITS) + 1;

/// The sections, in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// For each value of the first [`INDEX_BITS`] of an IPv4 address, and for the end, how many blocks begin
    /// below it (u32).
    V4Index,
    /// Per block of IPv4 ranges: first address (u32), offset in the stream (u32).
    V4Heads,
    /// IPv4 ranges.
    V4Stream,
    /// The same for IPv6.
    V6Index,
    /// Per block of IPv6 ranges: first address (u128), offset in the stream (u32).
    V6Heads,
    /// IPv6 ranges.
    V6Stream,
    /// Facts records, [`pack_facts`] (u32).
    Facts,
    /// Autonomous systems by rising number: number (u32), [`pack_system`] (u32).
    Systems,
    /// Names: UTF-8, cut up by the system records.
    Names,
}

impl Section {
    /// How many there are.
    pub(crate) const COUNT: usize = 9;
    /// All, in file order.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::V4Index,
        Self::V4Heads,
        Self::V4Stream,
        Self::V6Index,
        Self::V6Heads,
        Self::V6Stream,
        Self::Facts,
        Self::Systems,
        Self::Names,
    ];

    /// Bytes of one record; 1 for byte streams.
    pub(crate) const fn record_len(self) -> usize {
        match self {
            Self::V4Heads | Self::Systems => 8,
            Self::V6Heads => 20,
            Self::Facts | Self::V4Index | Self::V6Index => 4,
            Self::V4Stream | Self::V6Stream | Self::Names => 1,
        }
    }

    /// The name in error messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V4Index => "IPv4 index",
            Self::V6Index => "IPv6 index",
            Self::V4Heads => "IPv4 heads",
            Self::V4Stream => "IPv4 ranges",
            Self::V6Heads => "IPv6 heads",
            Self::V6Stream => "IPv6 ranges",
            Self::Facts => "facts",
            Self::Systems => "systems",
            Self::Names => "names",
        }
    }
}

/// Reads a little-endian u32 at `at`.
#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

/// A checked header: the sections' bytes in the order of [`Section::ALL`], their checksums, the date.
pub(crate) struct Header<'a> {
    pub(crate) sections: [&'a [u8]; Section::COUNT],
    pub(crate) checksums: [u32; Section::COUNT],
    pub(crate) date_days: u32,
}

/// Checks the header of `bytes` and cuts out the sections; reads nothing behind the header.
pub(crate) fn read_header(bytes: &[u8]) -> Result<Header<'_>, ParseTableError> {
    let short = ParseTableError::Truncated;
    let header = bytes.get(..HEADER).ok_or(short)?;
    if !header.starts_with(&MAGIC) {
        return Err(ParseTableError::NotATable);
    }
    let version = u16_at(header, 8).ok_or(short)?;
    if version != VERSION {
        return Err(ParseTableError::Version { found: version, known: VERSION });
    }
    let body = header.get(..HEADER - 4).ok_or(short)?;
    if u32_at(header, HEADER - 4) != Some(crc32fast::hash(body)) {
        return Err(ParseTableError::Checksum { section: "header" });
    }
    if u16_at(header, 10) != Some(BLOCK as u16) {
        return Err(ParseTableError::NotATable);
    }
    let length = u32_at(header, 16).ok_or(short)?;
    if usize::try_from(length) != Ok(bytes.len()) {
        return Err(short);
    }
    let mut sections = [&[] as &[u8]; Section::COUNT];
    let mut checksums = [0; Section::COUNT];
    for (index, (section, (slot, checksum))) in
        Section::ALL.into_iter().zip(sections.iter_mut().zip(&mut checksums)).enumerate()
    {
        let at = FIXED + index * SECTION;
        let offset = u32_at(header, at).ok_or(short)? as usize;
        let length = u32_at(header, at + 4).ok_or(short)? as usize;
        let end = offset.checked_add(length).ok_or(short)?;
        let content = bytes.get(offset..end).ok_or(short)?;
        if !content.len().is_multiple_of(section.record_len()) {
            return Err(ParseTableError::Shape { section: section.name() });
        }
        *slot = content;
        *checksum = u32_at(header, at + 8).ok_or(short)?;
    }
    let date_days = u32_at(header, 12).ok_or(short)?;
    Ok(Header { sections, checksums, date_days })
}

/// Puts a header before `sections`; nothing when the whole would pass 4 GiB.
pub(crate) fn write_table(date_days: u32, sections: &[Vec<u8>; Section::COUNT]) -> Option<Vec<u8>> {
    let total = HEADER + sections.iter().map(Vec::len).sum::<usize>();
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(BLOCK as u16).to_le_bytes());
    out.extend_from_slice(&date_days.to_le_bytes());
    out.extend_from_slice(&u32::try_from(total).ok()?.to_le_bytes());
    let mut offset = HEADER;
    for section in sections {
        for number in
            [u32::try_from(offset).ok()?, u32::try_from(section.len()).ok()?, crc32fast::hash(section)]
        {
            out.extend_from_slice(&number.to_le_bytes());
        }
        offset += section.len();
    }
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    for section in sections {
        out.extend_from_slice(section);
    }
    Some(out)
}

/// Bits of a facts record below the system's number.
const SYSTEM_SHIFT: u32 = 13;
/// Most systems a table can hold; the world has some 120,000.
pub(crate) const SYSTEM_COUNT: usize = (1 << (32 - SYSTEM_SHIFT)) - 1;
/// Bits of an offset in the names.
const NAME_BITS: u32 = 22;
/// Most bytes of all names.
pub(crate) const NAME_BYTES: usize = 1 << NAME_BITS;

/// A facts record: the system's number in the table plus one, or 0 for none (19 bits), country (10), kind (3).
pub(crate) fn pack_facts(system: Option<u32>, country: Country, kind: NetworkKind) -> u32 {
    let system = system.map_or(0, |index| index + 1);
    system << SYSTEM_SHIFT | u32::from(pack_country(country)) << 3 | pack_kind(kind)
}

/// The inverse of [`pack_facts`].
pub(crate) fn unpack_facts(record: u32) -> (Option<u32>, Country, NetworkKind) {
    let country = unpack_country((record >> 3) as u16 & 0x3ff);
    ((record >> SYSTEM_SHIFT).checked_sub(1), country, unpack_kind(record & 7))
}

/// Most bytes of a name.
pub(crate) const NAME_LEN: u8 = 127;

/// What a system record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SystemRecord {
    /// Where the name begins in the names.
    pub(crate) name_at: u32,
    /// Bytes of the name, at most [`NAME_LEN`].
    pub(crate) name_len: u8,
    /// The kind of the system's addresses unless a range says otherwise.
    pub(crate) kind: NetworkKind,
}

/// A system record: length of the name (7 bits), where it begins (22), kind (3).
pub(crate) fn pack_system(record: SystemRecord) -> u32 {
    u32::from(record.name_len) << (NAME_BITS + 3) | record.name_at << 3 | pack_kind(record.kind)
}

/// The inverse of [`pack_system`].
pub(crate) fn unpack_system(record: u32) -> SystemRecord {
    SystemRecord {
        name_at: (record >> 3) & (NAME_BYTES as u32 - 1),
        name_len: (record >> (NAME_BITS + 3)) as u8,
        kind: unpack_kind(record & 7),
    }
}

fn pack_country(country: Country) -> u16 {
    match country.packed().to_be_bytes() {
        [a @ b'A'..=b'Z', b @ b'A'..=b'Z'] => 1 + u16::from(a - b'A') * 26 + u16::from(b - b'A'),
        _ => 0,
    }
}

fn unpack_country(packed: u16) -> Country {
    match packed.checked_sub(1) {
        Some(number) if number < 26 * 26 => {
            let letter = |offset: u16| b'A' + offset as u8;
            Country::from_packed(u16::from_be_bytes([letter(number / 26), letter(number % 26)]))
        }
        _ => Country::UNKNOWN,
    }
}

/// Private is decided elsewhere and has no code.
fn pack_kind(kind: NetworkKind) -> u32 {
    match kind {
        NetworkKind::Unknown | NetworkKind::Private => 0,
        NetworkKind::Access => 1,
        NetworkKind::Hosting => 2,
        NetworkKind::Vpn => 3,
        NetworkKind::Tor => 4,
    }
}

fn unpack_kind(code: u32) -> NetworkKind {
    match code {
        1 => NetworkKind::Access,
        2 => NetworkKind::Hosting,
        3 => NetworkKind::Vpn,
        4 => NetworkKind::Tor,
        _ => NetworkKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_facts_record_survives() {
        use NetworkKind::{Access, Hosting, Tor, Unknown, Vpn};
        for first in b'A'..=b'Z' {
            for second in b'A'..=b'Z' {
                let country = Country::from_packed(u16::from_be_bytes([first, second]));
                assert_eq!(unpack_country(pack_country(country)), country);
            }
        }
        for kind in [Unknown, Access, Hosting, Vpn, Tor] {
            for system in [None, Some(0), Some(1), Some(SYSTEM_COUNT as u32 - 1)] {
                let facts = (system, Country::from_code("ZZ"), kind);
                let packed = pack_facts(facts.0, facts.1, facts.2);
                assert_eq!(unpack_facts(packed), facts);
            }
            let system = SystemRecord { name_at: NAME_BYTES as u32 - 1, name_len: NAME_LEN, kind };
            assert_eq!(unpack_system(pack_system(system)), system);
        }
        assert_eq!(unpack_country(0), Country::UNKNOWN);
        assert_eq!(unpack_country(1023), Country::UNKNOWN);
    }
}
