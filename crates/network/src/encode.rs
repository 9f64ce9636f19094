//! Writes a [`Table`](crate::Table)'s bytes. Deterministic: the same source gives the same bytes.
//!
//! Used by the maintainers' task that makes the bundled table, and by tests.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokenwatch_model::network::{NetworkFacts, NetworkKind};

use crate::table::codec::{BLOCK, Family, Masks, RECORD_COUNT, Value, write_step, write_value};
use crate::table::layout::{
    INDEX_BITS, INDEX_LEN, NAME_BYTES, NAME_LEN, SYSTEM_COUNT, Section, SystemRecord, pack_facts,
    pack_system, write_table,
};

/// What is known about an autonomous system itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// The organisation's name; cut to 127 bytes.
    pub name: String,
    /// The kind of its addresses where nothing more exact is known.
    pub kind: NetworkKind,
}

/// What a table is made from.
#[derive(Clone, Debug, Default)]
pub struct TableSource {
    /// The day of the data, in days since 1970-01-01.
    pub date_days: u32,
    /// Where IPv4 ranges begin, strictly rising; each ends where the next begins, and default facts mean a gap.
    pub v4: Vec<(u32, NetworkFacts)>,
    /// The same for IPv6.
    pub v6: Vec<(u128, NetworkFacts)>,
    /// Autonomous systems; those that only ranges mention are added without a name.
    pub systems: BTreeMap<u32, System>,
}

/// Why a table can not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeTableError {
    /// Ranges do not rise.
    #[error("range {index} does not begin after the one before it")]
    Order {
        /// The position in its list.
        index: usize,
    },
    /// A range is private: that is no fact of ranges.
    #[error("ranges can not be of the kind {kind}")]
    Kind {
        /// The kind.
        kind: NetworkKind,
    },
    /// A limit of the format is passed.
    #[error("too many {what} for the table format")]
    TooMany {
        /// Of what.
        what: &'static str,
    },
}

/// Writes a table; neighbouring ranges with the same facts become one.
///
/// # Errors
/// When ranges do not rise, have a kind that ranges can not have, or pass a limit of the format.
pub fn encode(source: &TableSource) -> Result<Vec<u8>, EncodeTableError> {
    let v4 = merge(&source.v4)?;
    let v6 = merge(&source.v6)?;
    let systems = collect_systems(source, &v4, &v6)?;
    // No system has the number 0.
    let pack = |facts: &NetworkFacts| {
        let system = systems.binary_search_by_key(&facts.asn, |(asn, _)| *asn).ok();
        pack_facts(system.map(|index| index as u32), facts.country, facts.kind)
    };
    let records = rank_facts(&v4, &v6);
    let facts = records.iter().flat_map(|facts| pack(facts).to_le_bytes()).collect();
    let numbers: HashMap<NetworkFacts, u16> = records.into_iter().zip(0..=u16::MAX).collect();
    let value = |facts: &NetworkFacts| match numbers.get(facts) {
        Some(number) => Value::Record(*number),
        None => Value::Packed(pack(facts)),
    };
    let [v4_index, v4_heads, v4_stream] = write_stream(&v4, value)?;
    let [v6_index, v6_heads, v6_stream] = write_stream(&v6, value)?;
    let (system_records, names) = write_systems(&systems)?;
    let sections: [Vec<u8>; Section::COUNT] =
        [v4_index, v4_heads, v4_stream, v6_index, v6_heads, v6_stream, facts, system_records, names];
    write_table(source.date_days, &sections).ok_or(EncodeTableError::TooMany { what: "bytes" })
}

/// Checks order and kinds, and joins neighbours with the same facts; a gap before the first range is dropped.
fn merge<F: Family>(ranges: &[(F, NetworkFacts)]) -> Result<Vec<(F, NetworkFacts)>, EncodeTableError> {
    let mut merged: Vec<(F, NetworkFacts)> = Vec::with_capacity(ranges.len());
    let mut before: Option<F> = None;
    for (index, (start, facts)) in ranges.iter().enumerate() {
        if before.is_some_and(|before| before >= *start) {
            return Err(EncodeTableError::Order { index });
        }
        if facts.kind == NetworkKind::Private {
            return Err(EncodeTableError::Kind { kind: facts.kind });
        }
        before = Some(*start);
        if merged.last().map_or(NetworkFacts::default(), |(_, facts)| *facts) != *facts {
            merged.push((*start, *facts));
        }
    }
    Ok(merged)
}

type Systems = Vec<(u32, System)>;

fn collect_systems(
    source: &TableSource,
    v4: &[(u32, NetworkFacts)],
    v6: &[(u128, NetworkFacts)],
) -> Result<Systems, EncodeTableError> {
    let mut systems = source.systems.clone();
    systems.remove(&0);
    let mentioned = v4.iter().map(|(_, facts)| facts.asn).chain(v6.iter().map(|(_, facts)| facts.asn));
    for asn in mentioned.filter(|asn| *asn != 0) {
        systems.entry(asn).or_default();
    }
    if systems.len() > SYSTEM_COUNT {
        return Err(EncodeTableError::TooMany { what: "autonomous systems" });
    }
    Ok(systems.into_iter().collect())
}

/// Facts that are frequent enough for a record to take less room than writing them out each time; most frequent
/// first, equally frequent ones in a fixed order.
fn rank_facts(v4: &[(u32, NetworkFacts)], v6: &[(u128, NetworkFacts)]) -> Vec<NetworkFacts> {
    let mut counts: HashMap<NetworkFacts, u32> = HashMap::new();
    for facts in v4.iter().map(|(_, facts)| facts).chain(v6.iter().map(|(_, facts)| facts)) {
        *counts.entry(*facts).or_default() += 1;
    }
    let mut ranked: Vec<(NetworkFacts, u32)> = counts.into_iter().filter(|(_, count)| *count > 2).collect();
    ranked.sort_unstable_by_key(|(facts, count)| (Reverse(*count), facts.asn, facts.country, facts.kind));
    ranked.into_iter().map(|(facts, _)| facts).take(RECORD_COUNT).collect()
}

/// Index, heads and stream of one family.
fn write_stream<F: Family>(
    ranges: &[(F, NetworkFacts)],
    value: impl Fn(&NetworkFacts) -> Value,
) -> Result<[Vec<u8>; 3], EncodeTableError> {
    let (mut heads, mut stream) = (Vec::new(), Vec::new());
    for block in ranges.chunks(BLOCK) {
        let Some((first, _)) = block.first() else { continue };
        let offset = u32::try_from(stream.len()).map_err(|_| EncodeTableError::TooMany { what: "ranges" })?;
        heads.extend(first.wide().to_le_bytes().into_iter().take(F::WIDTH));
        heads.extend_from_slice(&offset.to_le_bytes());
        write_block(&mut stream, block, &value);
    }
    let mut index = Vec::new();
    for top in 0..INDEX_LEN {
        let below = |(first, _): &(F, NetworkFacts)| first.top_bits(INDEX_BITS) < top;
        let blocks = ranges.partition_point(below).div_ceil(BLOCK) as u32;
        index.extend_from_slice(&blocks.to_le_bytes());
    }
    Ok([index, heads, stream])
}

fn write_block<F: Family>(
    stream: &mut Vec<u8>,
    block: &[(F, NetworkFacts)],
    value: impl Fn(&NetworkFacts) -> Value,
) {
    let mut seen: HashMap<NetworkFacts, u8> = HashMap::with_capacity(BLOCK);
    let mut values: Vec<Value> = Vec::with_capacity(BLOCK);
    for ((_, facts), range) in block.iter().zip(0u8..) {
        // Always the first range with these facts, so that references never chain.
        let known = seen.get(facts).copied();
        values.push(known.map_or_else(|| value(facts), Value::Same));
        seen.entry(*facts).or_insert(range);
    }
    values.resize(BLOCK, Value::Same(0));
    stream.extend(Masks::of(&values).bytes());
    for value in values {
        write_value(stream, value);
    }
    for pair in block.windows(2) {
        if let [(from, _), (to, _)] = pair {
            write_step::<F>(stream, to.wide() - from.wide());
        }
    }
}

/// System records and names; systems of the same name share it, and so do names that begin a longer one.
fn write_systems(systems: &Systems) -> Result<(Vec<u8>, Vec<u8>), EncodeTableError> {
    let cut = |system: &'_ System| system.name.floor_char_boundary(usize::from(NAME_LEN));
    let distinct: BTreeSet<&str> =
        systems.iter().filter_map(|(_, system)| system.name.get(..cut(system))).collect();
    let mut names: Vec<u8> = Vec::new();
    let mut offsets: HashMap<&str, u32> = HashMap::new();
    let mut longer = ("", 0);
    // Falling order: right before a name comes what it may begin.
    for name in distinct.into_iter().rev() {
        if !longer.0.starts_with(name) {
            longer = (name, names.len() as u32);
            names.extend_from_slice(name.as_bytes());
        }
        offsets.insert(name, longer.1);
    }
    if names.len() > NAME_BYTES {
        return Err(EncodeTableError::TooMany { what: "bytes of names" });
    }
    let mut records = Vec::with_capacity(systems.len() * 8);
    for (asn, system) in systems {
        let name = system.name.get(..cut(system)).unwrap_or_default();
        let name_at = offsets.get(name).copied().unwrap_or_default();
        let record = SystemRecord { name_at, name_len: name.len() as u8, kind: system.kind };
        records.extend_from_slice(&asn.to_le_bytes());
        records.extend_from_slice(&pack_system(record).to_le_bytes());
    }
    Ok((records, names))
}
