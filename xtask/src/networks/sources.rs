//! Reads the published files into sorted, disjoint lists.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use flate2::read::MultiGzDecoder;
use maxminddb::{Reader, WithinOptions, path};
use tokenwatch_model::network::{Country, NetworkKind, canonical};

/// Addresses `first` to `last`, both included, with a value. Lists of segments are sorted and disjoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<T> {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) value: T,
}

/// A range of an autonomous system.
pub(super) type SystemRange = Segment<u32>;

/// The value of the segment that holds `address`.
pub(super) fn find<T>(segments: &[Segment<T>], address: u128) -> Option<&T> {
    let after = segments.partition_point(|segment| segment.first <= address);
    let segment = segments.get(after.checked_sub(1)?)?;
    (address <= segment.last).then_some(&segment.value)
}

/// Everything the table is made from.
pub(super) struct Sources {
    pub(super) v4: Vec<SystemRange>,
    pub(super) v6: Vec<SystemRange>,
    pub(super) names: BTreeMap<u32, String>,
    /// The database itself, for verification by another way than the lists below.
    pub(super) country_database: Reader<Vec<u8>>,
    pub(super) v4_countries: Vec<Segment<Country>>,
    pub(super) v6_countries: Vec<Segment<Country>>,
    pub(super) vpn: Vec<Segment<()>>,
    pub(super) datacenter: Vec<Segment<()>>,
    /// Exits as ranges of one address.
    pub(super) v4_tor: Vec<Segment<()>>,
    pub(super) v6_tor: Vec<Segment<()>>,
    hosting_systems: BTreeSet<u32>,
    vpn_systems: BTreeSet<u32>,
    kept: BTreeMap<u32, NetworkKind>,
    pub(super) date_days: u32,
}

impl Sources {
    pub(super) fn read(geo: &Path, lists: &Path, kinds: &Path) -> anyhow::Result<Self> {
        let mut names = BTreeMap::new();
        let v4 = read_systems(&geo.join("asn-ipv4-num.csv.gz"), &mut names)?;
        let v6 = read_systems(&geo.join("asn-ipv6-num.csv.gz"), &mut names)?;
        let country_path = geo.join("geo-whois-asn-country.mmdb");
        let bytes = std::fs::read(&country_path).with_context(|| country_path.display().to_string())?;
        let country_database = Reader::from_source(bytes)?;
        let (v4_countries, v6_countries) = read_countries(&country_database)?;
        let (hosting_systems, vpn_systems) = read_memberships(&lists.join("asn_hosting_vpn.csv"))?;
        let (v4_tor, v6_tor) = read_tor(lists)?;
        let date_days = u32::try_from(country_database.metadata().build_epoch / 86_400)?;
        Ok(Self {
            v4,
            v6,
            names,
            v4_countries,
            v6_countries,
            vpn: read_blocks(&lists.join("net_vpn_ipv4.txt.gz"))?,
            datacenter: read_blocks(&lists.join("net_datacenter_ipv4.txt.gz"))?,
            v4_tor,
            v6_tor,
            hosting_systems,
            vpn_systems,
            kept: read_kept(kinds)?,
            date_days,
            country_database,
        })
    }

    /// The kind of a system by the lists: kept by hand, VPN, hosting, else access; unknown for none.
    pub(super) fn kind_of_system(&self, asn: u32) -> NetworkKind {
        if asn == 0 {
            return NetworkKind::Unknown;
        }
        let by_list = || {
            if self.vpn_systems.contains(&asn) {
                NetworkKind::Vpn
            } else if self.hosting_systems.contains(&asn) {
                NetworkKind::Hosting
            } else {
                NetworkKind::Access
            }
        };
        let kept = self.kept.get(&asn).copied();
        // A hand-kept "hosting" adds what is missing; it does not take a VPN off its list.
        kept.filter(|kind| *kind == NetworkKind::Access)
            .unwrap_or_else(|| by_list().max(kept.unwrap_or_default()))
    }

    /// The kind of an address: the strongest of what the lists say of it and of its system.
    pub(super) fn kind_of(&self, address: IpAddr, asn: u32) -> NetworkKind {
        let (wide, blocks, exits) = match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), true, &self.v4_tor),
            IpAddr::V6(v6) => (u128::from(v6), false, &self.v6_tor),
        };
        if find(exits, wide).is_some() {
            return NetworkKind::Tor;
        }
        let listed = |list| blocks && find(list, wide).is_some();
        if listed(&self.vpn) {
            return NetworkKind::Vpn;
        }
        let hosting = if listed(&self.datacenter) { NetworkKind::Hosting } else { NetworkKind::Unknown };
        hosting.max(self.kind_of_system(asn))
    }
}

fn read_gz(path: &Path) -> anyhow::Result<String> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut text = String::new();
    MultiGzDecoder::new(file).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    Ok(text)
}

/// Lines `first,last,asn,"organisation"`.
fn read_systems(path: &Path, names: &mut BTreeMap<u32, String>) -> anyhow::Result<Vec<SystemRange>> {
    let mut ranges: Vec<SystemRange> = Vec::new();
    for (index, line) in read_gz(path)?.lines().enumerate() {
        let at = || format!("{}:{}: {line}", path.display(), index + 1);
        let [first, last, asn, name] = split_record(line).with_context(at)?;
        let range = Segment {
            first: first.parse().with_context(at)?,
            last: last.parse().with_context(at)?,
            value: asn.parse().with_context(at)?,
        };
        ensure!(range.first <= range.last, "{}: ends before it begins", at());
        if let Some(before) = ranges.last_mut().filter(|before| before.last >= range.first) {
            // The 2026-06-17 data has one such overlap: the later, smaller range is the more exact one.
            ensure!(before.first < range.first && before.last <= range.last, "{}: not sorted", at());
            before.last = range.first - 1;
        }
        if range.value != 0 {
            names.entry(range.value).or_insert_with(|| clean_name(&name));
            ranges.push(range);
        }
    }
    Ok(ranges)
}

/// Four fields of which only the last can be quoted.
fn split_record(line: &str) -> Option<[String; 4]> {
    let mut fields = line.splitn(4, ',').map(str::to_owned);
    let mut record = [(); 4].map(|()| fields.next());
    if let [.., Some(last)] = &mut record
        && let Some(quoted) = last.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
    {
        *last = quoted.replace("\"\"", "\"");
    }
    let [Some(first), Some(last), Some(asn), Some(name)] = record else { return None };
    Some([first, last, asn, name])
}

/// Most bytes of a name that the table keeps.
const NAME_LEN: usize = 127;

/// A name fit for a terminal: one line, no control characters, not too long.
fn clean_name(name: &str) -> String {
    let words: Vec<&str> = name.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let mut name = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    name.truncate(name.floor_char_boundary(NAME_LEN));
    name
}

/// Segments of IPv4 and of IPv6.
type Families<T> = (Vec<Segment<T>>, Vec<Segment<T>>);

fn read_countries(reader: &Reader<Vec<u8>>) -> anyhow::Result<Families<Country>> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for record in reader.networks(WithinOptions::default())? {
        let record = record?;
        let Some(code) = record.decode_path::<&str>(&path!["country_code"])? else { continue };
        let network = record.network()?;
        let (list, first, host_bits): (&mut Vec<_>, u128, u32) = match network.network() {
            IpAddr::V4(first) => (&mut v4, u32::from(first).into(), 32 - u32::from(network.prefix())),
            IpAddr::V6(first) => (&mut v6, first.into(), 128 - u32::from(network.prefix())),
        };
        let last = first | 1u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1);
        list.push(Segment { first, last, value: Country::from_code(code) });
    }
    for list in [&mut v4, &mut v6] {
        list.sort_unstable_by_key(|segment| segment.first);
    }
    Ok((v4, v6))
}

/// Lines `asn,x4b_datacenter,x4b_vpn,bad_asn,name`: hosting systems, VPN systems.
fn read_memberships(path: &Path) -> anyhow::Result<(BTreeSet<u32>, BTreeSet<u32>)> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (mut hosting, mut vpn) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines().skip(1) {
        let mut fields = line.splitn(5, ',');
        let [Some(asn), Some(datacenter), Some(is_vpn), Some(bad), Some(_)] = [(); 5].map(|()| fields.next())
        else {
            bail!("{}: {line}", path.display());
        };
        let asn: u32 = asn.parse().with_context(|| format!("{}: {line}", path.display()))?;
        if datacenter == "1" || bad == "1" {
            hosting.insert(asn);
        }
        if is_vpn == "1" {
            vpn.insert(asn);
        }
    }
    Ok((hosting, vpn))
}

/// Lines of IPv4 CIDR blocks under a header, joined where they overlap or touch.
fn read_blocks(path: &Path) -> anyhow::Result<Vec<Segment<()>>> {
    let mut blocks = Vec::new();
    for line in read_gz(path)?.lines().skip(1).filter(|line| !line.is_empty()) {
        let at = || format!("{}: {line}", path.display());
        let (address, bits) = line.split_once('/').unwrap_or((line, "32"));
        let address: Ipv4Addr = address.trim().parse().with_context(at)?;
        let bits: u32 = bits.trim().parse().with_context(at)?;
        ensure!(bits <= 32, "{}: more than 32 bits", at());
        let size = 1u128 << (32 - bits);
        let first = u128::from(u32::from(address)) / size * size;
        blocks.push(Segment { first, last: first + size - 1, value: () });
    }
    blocks.sort_unstable_by_key(|block| block.first);
    let mut joined: Vec<Segment<()>> = Vec::new();
    for block in blocks {
        match joined.last_mut() {
            Some(before) if block.first <= before.last + 1 => before.last = before.last.max(block.last),
            _ => joined.push(block),
        }
    }
    Ok(joined)
}

/// Every `tor_exits_*.txt.gz`: addresses under a header.
fn read_tor(lists: &Path) -> anyhow::Result<Families<()>> {
    let mut exits = BTreeSet::new();
    for entry in std::fs::read_dir(lists)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with("tor_exits_") && name.ends_with(".txt.gz")) {
            continue;
        }
        for line in read_gz(&entry.path())?.lines().skip(1).filter(|line| !line.is_empty()) {
            exits.insert(canonical(line.trim().parse().with_context(|| format!("{name}: {line}"))?));
        }
    }
    ensure!(!exits.is_empty(), "no tor_exits_*.txt.gz in {}", lists.display());
    // Sets are sorted, so the lists are.
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for exit in exits {
        let (list, number) = match exit {
            IpAddr::V4(exit) => (&mut v4, u32::from(exit).into()),
            IpAddr::V6(exit) => (&mut v6, u128::from(exit)),
        };
        list.push(Segment { first: number, last: number, value: () });
    }
    Ok((v4, v6))
}

/// Lines `asn,kind,who` under comments and a header.
fn read_kept(path: &Path) -> anyhow::Result<BTreeMap<u32, NetworkKind>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut kept = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let mut fields = line.split(',');
        let asn = fields.next().unwrap_or_default();
        let asn = asn.parse().with_context(|| format!("{}: {line}", path.display()))?;
        let kind = match fields.next() {
            Some("hosting") => NetworkKind::Hosting,
            Some("access") => NetworkKind::Access,
            _ => bail!("{}: {line}: the kind is `hosting` or `access`", path.display()),
        };
        ensure!(kept.insert(asn, kind).is_none(), "{}: {line}: twice", path.display());
    }
    Ok(kept)
}
