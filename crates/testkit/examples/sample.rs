//! Makes `data/servegen_sample.csv.gz` from the request-level table of ServeGen.
//!
//! `cargo run -p tokenwatch-testkit --example sample -- <events.csv.gz> <out.csv.gz>`
//!
//! Input: gzip of lines `client,t_ms,input_tokens,output_tokens` with a header, each client in time order.
//! Each request of a chosen client is kept with probability target / requests, so the time shape stays.
//! Deterministic: the same input gives the same bytes.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use tokenwatch_testkit::rng::Rng;

/// Clients to keep and how many requests of each, about.
const TARGETS: [(&str, f64); 8] = [
    ("m-large/16", 3_500.0),
    ("m-large/48", 4_500.0),
    ("m-large/49", 4_500.0),
    ("m-large/56", 4_000.0),
    ("m-mid/14", 2_000.0),
    ("m-mid/22", 4_000.0),
    ("m-mid/44", 3_500.0),
    ("m-small/16", 4_000.0),
];

const SEED: u64 = 20_250_509;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: sample <events.csv.gz> <out.csv.gz>".into());
    };
    let mut clients: BTreeMap<&str, Vec<String>> =
        TARGETS.iter().map(|&(name, _)| (name, Vec::new())).collect();
    for line in BufReader::new(GzDecoder::new(File::open(input)?)).lines().skip(1) {
        let line = line?;
        let client = line.split(',').next().unwrap_or_default();
        if let Some(lines) = clients.get_mut(client) {
            lines.push(line);
        }
    }
    let file = File::create(output)?;
    let mut out = GzBuilder::new().mtime(0).write(file, Compression::best());
    out.write_all(b"customer,t_ms,input_tokens,output_tokens\n")?;
    for (name, target) in TARGETS {
        let lines = clients.get(name).map(Vec::as_slice).unwrap_or_default();
        let keep = target / lines.len().max(1) as f64;
        let mut rng = Rng::new(SEED).fork(name);
        for line in lines {
            if rng.chance(keep) {
                writeln!(out, "{line}")?;
            }
        }
    }
    out.finish()?.sync_all()?;
    Ok(())
}
