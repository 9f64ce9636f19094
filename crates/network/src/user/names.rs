//! Names of autonomous systems, collected from a database that only maps addresses.

use std::collections::{BTreeMap, HashSet};

use maxminddb::Reader;

use super::fields::{asn_of, organisation_of};

/// Most systems that are kept: the world has about 120,000.
const SYSTEMS_MAX: usize = 500_000;
/// Most bytes of a name.
const NAME_BYTES_MAX: usize = 128;

/// Names by number, in one text.
#[derive(Default)]
pub(super) struct Names {
    /// System, where its name ends in the text; by rising system. It begins where the one before ends.
    ends: Vec<(u32, u32)>,
    text: String,
}

impl Names {
    /// Walks every network, looking at each record once; a damaged record ends the walk and costs names only.
    pub(super) fn collect(reader: &Reader<Vec<u8>>) -> Self {
        let mut seen = HashSet::new();
        let mut found: BTreeMap<u32, &str> = BTreeMap::new();
        let networks = reader.networks(maxminddb::WithinOptions::default());
        for record in networks.into_iter().flatten().map_while(Result::ok) {
            if found.len() >= SYSTEMS_MAX {
                break;
            }
            if !record.offset().is_some_and(|offset| seen.insert(offset)) {
                continue;
            }
            if let (Some(asn), Some(name)) = (asn_of(&record), organisation_of(&record)) {
                found.entry(asn).or_insert(name);
            }
        }
        let mut names = Self::default();
        for (asn, name) in found {
            let name = name.get(..name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default();
            names.text.extend(name.chars().filter(|c| !c.is_control()));
            names.ends.push((asn, u32::try_from(names.text.len()).unwrap_or(u32::MAX)));
        }
        names
    }

    pub(super) fn get(&self, asn: u32) -> Option<&str> {
        let index = self.ends.binary_search_by_key(&asn, |(asn, _)| *asn).ok()?;
        let end = self.ends.get(index)?.1 as usize;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, end)| *end);
        self.text.get(start as usize..end)
    }
}
