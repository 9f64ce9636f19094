//! Nanoseconds per lookup in the bundled table. Run with `cargo bench -p tokenwatch-network`.

use std::hint::black_box;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use tokenwatch_model::network::AddressFacts;
use tokenwatch_network::{Bundled, Table};

/// Addresses of one run; more than the caches of the ranges' heads.
const ADDRESSES: usize = 200_000;
const RUNS: usize = 7;

/// A fixed sequence, so that runs are comparable.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

fn pick<T: Copy>(from: &[T], sequence: &mut Sequence) -> Option<T> {
    from.get((sequence.next() % from.len().max(1) as u64) as usize).copied()
}

/// The median over runs, in nanoseconds per call.
fn measure<T>(inputs: &[T], mut call: impl FnMut(&T)) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            for input in inputs {
                call(input);
            }
            start.elapsed().as_nanos() as f64 / inputs.len().max(1) as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times.get(RUNS / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> std::io::Result<()> {
    let mut sequence = Sequence(1);
    let bundled = Bundled::new();
    let table: Table<'_> = bundled.table();
    let v4_ranges: Vec<Ipv4Addr> = table.v4_ranges().map(|(_, last, _)| last).collect();
    let v6_ranges: Vec<Ipv6Addr> = table.v6_ranges().map(|(_, last, _)| last).collect();
    let any: Vec<IpAddr> = (0..ADDRESSES).map(|_| Ipv4Addr::from(sequence.next() as u32).into()).collect();
    let v4: Vec<IpAddr> =
        (0..ADDRESSES).filter_map(|_| pick(&v4_ranges, &mut sequence)).map(IpAddr::from).collect();
    let v6: Vec<IpAddr> =
        (0..ADDRESSES).filter_map(|_| pick(&v6_ranges, &mut sequence)).map(IpAddr::from).collect();
    let few: Vec<IpAddr> = v4.iter().take(64).cycle().take(ADDRESSES).copied().collect();
    let few_v6: Vec<IpAddr> = v6.iter().take(64).cycle().take(ADDRESSES).copied().collect();
    let systems: Vec<u32> = table.systems().collect();

    let mut out = std::io::stdout().lock();
    let mut say = |what: &str, ns: f64| writeln!(out, "{what:<44} {ns:8.1} ns");
    say(
        "make the table",
        measure(&[(); 10_000], |()| {
            black_box(Bundled::new());
        }),
    )?;
    for (what, inputs) in [
        ("facts, IPv4, 64 addresses again and again", &few),
        ("facts, IPv4, addresses at random", &any),
        ("facts, IPv4, ranges at random", &v4),
        ("facts, IPv6, 64 addresses again and again", &few_v6),
        ("facts, IPv6, ranges at random", &v6),
    ] {
        say(
            what,
            measure(inputs, |address| {
                black_box(bundled.facts(black_box(*address)));
            }),
        )?;
    }
    say(
        "organisation",
        measure(&systems, |asn| {
            black_box(bundled.organisation(black_box(*asn)));
        }),
    )
}
