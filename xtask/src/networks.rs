//! `cargo xtask networks`: makes the bundled network table and checks every boundary of it against its sources.
//!
//! Inputs, all by path so that nothing is fetched here: in `--geo` the ranges to autonomous systems and the country
//! database; in `--lists` the lists of hosting, VPN and Tor; in `--out` the hand-kept `kinds.csv`. The output is
//! `networks.bin` in `--out`. The same inputs give the same bytes.

mod sources;
mod verify;

use std::fmt::Debug;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use tokenwatch_model::network::{Country, NetworkFacts, NetworkKind};
use tokenwatch_network::{System, Table, TableSource, encode};

use sources::{Segment, Sources, SystemRange, find};

/// Where inputs are and output goes.
struct Options {
    geo: PathBuf,
    lists: PathBuf,
    out: PathBuf,
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let value = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name);
            at.and_then(|at| arguments.get(at + 1))
                .map(PathBuf::from)
                .with_context(|| format!("give {name} DIR"))
        };
        ensure!(arguments.len() == 6, "expected --geo DIR --lists DIR --out DIR and nothing else");
        Ok(Self { geo: value("--geo")?, lists: value("--lists")?, out: value("--out")? })
    }
}

/// Runs the task.
///
/// # Errors
/// When an input is missing or malformed, or when the written table disagrees with its sources anywhere.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let options = Options::parse(arguments)?;
    let sources = Sources::read(&options.geo, &options.lists, &options.out.join("kinds.csv"))?;
    let source = build(&sources);
    let bytes = encode(&source)?;
    let target = options.out.join("networks.bin");
    std::fs::write(&target, &bytes).with_context(|| format!("writing {}", target.display()))?;
    report(&options.out, &source, &sources, &bytes)
}

fn report(out: &Path, source: &TableSource, sources: &Sources, bytes: &[u8]) -> anyhow::Result<()> {
    let table = Table::parse(bytes)?;
    table.verify()?;
    let counts = verify::verify(&table, sources)?;
    let mut stdout = std::io::stdout().lock();
    writeln!(
        stdout,
        "{}: {} bytes, data of {}",
        out.join("networks.bin").display(),
        bytes.len(),
        table.date()
    )?;
    writeln!(
        stdout,
        "{} IPv4 ranges, {} IPv6 ranges, {} systems",
        source.v4.len(),
        source.v6.len(),
        source.systems.len()
    )?;
    for (kind, addresses) in &counts.v4_addresses {
        writeln!(stdout, "IPv4 {kind:<8} {addresses:>11} addresses")?;
    }
    writeln!(
        stdout,
        "checked against the sources: {} IPv4 and {} IPv6 boundary addresses, {} names; all agree",
        counts.v4_checked, counts.v6_checked, counts.names_checked
    )?;
    Ok(())
}

/// Intersects the sources into ranges of equal facts.
fn build(sources: &Sources) -> TableSource {
    let v4 = sweep(
        &sources.v4,
        &sources.v4_countries,
        &[&sources.vpn, &sources.datacenter, &sources.v4_tor],
        |address, asn| sources.kind_of(Ipv4Addr::from(address as u32).into(), asn),
    );
    let v6 = sweep(&sources.v6, &sources.v6_countries, &[&sources.v6_tor], |address, asn| {
        sources.kind_of(Ipv6Addr::from(address).into(), asn)
    });
    let systems = sources
        .names
        .iter()
        .map(|(asn, name)| (*asn, System { name: name.clone(), kind: sources.kind_of_system(*asn) }))
        .collect();
    TableSource {
        date_days: sources.date_days,
        // What begins behind the last address is not there.
        v4: v4.into_iter().filter_map(|(start, facts)| Some((u32::try_from(start).ok()?, facts))).collect(),
        v6,
        systems,
    }
}

/// Facts from every address at which any of the sorted, disjoint lists begins or ends.
fn sweep(
    systems: &[SystemRange],
    countries: &[Segment<Country>],
    others: &[&[Segment<()>]],
    kind: impl Fn(u128, u32) -> NetworkKind,
) -> Vec<(u128, NetworkFacts)> {
    let mut starts = Vec::new();
    push_edges(&mut starts, systems);
    push_edges(&mut starts, countries);
    for list in others {
        push_edges(&mut starts, list);
    }
    starts.sort_unstable();
    starts.dedup();
    let mut facts: Vec<(u128, NetworkFacts)> = Vec::with_capacity(starts.len());
    for start in starts {
        let asn = find(systems, start).copied().unwrap_or_default();
        let country = find(countries, start).copied().unwrap_or_default();
        let here = NetworkFacts { asn, country, kind: kind(start, asn) };
        if facts.last().is_none_or(|(_, before)| *before != here) {
            facts.push((start, here));
        }
    }
    facts
}

/// The first address of each segment and the first after it.
fn push_edges<T: Debug>(starts: &mut Vec<u128>, segments: &[Segment<T>]) {
    for segment in segments {
        starts.push(segment.first);
        starts.extend(segment.last.checked_add(1));
    }
}
