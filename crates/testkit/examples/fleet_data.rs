//! Makes `data/servegen_counts.csv.gz` and `data/servegen_tokens.csv.gz` from tables of ServeGen.
//!
//! `cargo run -p tokenwatch-testkit --example fleet_data -- <counts_10min.csv.gz> <tokens_6h.csv.gz> <out folder>`
//!
//! Input: gzip of lines with a header. Counts: `client,t,requests,cv,…`, `t` the start of a window of ten minutes in
//! seconds; windows that are absent had fewer than ten requests. Tokens: `client,t,field,n,mean,q00,…`, `t` the start of
//! six hours, `field` `in` or `out`, quantiles in columns named by their per cent. Deterministic: the same input gives
//! the same bytes.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};

/// The quantiles that are kept, as the input names them.
const QUANTILES: [&str; 25] = [
    "q00", "q01", "q02", "q05", "q10", "q15", "q20", "q25", "q30", "q35", "q40", "q45", "q50", "q55", "q60",
    "q65", "q70", "q75", "q80", "q85", "q90", "q95", "q99", "q99_9", "q100",
];

type Failure = Box<dyn Error>;

fn open(path: &str) -> Result<impl BufRead, Failure> {
    Ok(BufReader::new(GzDecoder::new(File::open(path)?).take(1 << 30)))
}

fn create(folder: &str, name: &str) -> Result<impl FnMut(&str) -> std::io::Result<()>, Failure> {
    let file = File::create(Path::new(folder).join(name))?;
    let mut out = GzBuilder::new().mtime(0).write(file, Compression::best());
    // An empty text ends the file.
    Ok(move |text: &str| {
        if text.is_empty() {
            return out.try_finish();
        }
        out.write_all(text.as_bytes())
    })
}

/// With two significant digits: more than a measured spread is worth.
fn short(value: f64) -> String {
    if value <= 0.0 {
        return "0".to_owned();
    }
    let unit = 10_f64.powf(value.log10().floor() - 1.0);
    let digits = (-unit.log10()).round().max(0.0) as usize;
    format!("{:.digits$}", (value / unit).round() * unit)
}

fn counts(input: &str, folder: &str) -> Result<(), Failure> {
    let mut clients: BTreeMap<String, BTreeMap<usize, (String, String)>> = BTreeMap::new();
    for line in open(input)?.lines().skip(1) {
        let line = line?;
        let cells: Vec<&str> = line.split(',').collect();
        let [client, t, requests, cv, ..] = cells[..] else { return Err(line.into()) };
        let window = t.parse::<usize>()? / 600;
        let row = (requests.to_owned(), short(cv.parse()?));
        clients.entry(client.to_owned()).or_default().insert(window, row);
    }
    let mut put = create(folder, "servegen_counts.csv.gz")?;
    put("client,field,one cell for each ten minutes\n")?;
    for (client, windows) in &clients {
        let last = windows.keys().last().copied().unwrap_or(0);
        for (field, pick) in [("requests", 0), ("cv", 1)] {
            let cells: Vec<&str> = (0..=last)
                .map(|window| windows.get(&window).map_or("", |row| if pick == 0 { &row.0 } else { &row.1 }))
                .collect();
            put(&format!("{client},{field},{}\n", cells.join(",")))?;
        }
    }
    put("")?;
    Ok(())
}

fn tokens(input: &str, folder: &str) -> Result<(), Failure> {
    let mut lines = open(input)?.lines();
    let header = lines.next().ok_or("no header")??;
    let names: Vec<&str> = header.split(',').collect();
    let places: Vec<usize> =
        QUANTILES.iter().filter_map(|wanted| names.iter().position(|name| name == wanted)).collect();
    if places.len() != QUANTILES.len() {
        return Err("a quantile is missing".into());
    }
    let mut put = create(folder, "servegen_tokens.csv.gz")?;
    put(&format!("client,window,field,n,{}\n", QUANTILES.join(",")))?;
    for line in lines {
        let line = line?;
        let cells: Vec<&str> = line.split(',').collect();
        let [client, t, field, n, ..] = cells[..] else { return Err(line.into()) };
        let window = t.parse::<u64>()? / 21_600;
        let kept: Vec<&str> = places.iter().filter_map(|&place| cells.get(place).copied()).collect();
        put(&format!("{client},{window},{field},{n},{}\n", kept.join(",")))?;
    }
    put("")?;
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [counts_in, tokens_in, folder] = &arguments[..] else {
        return Err("usage: fleet_data <counts_10min.csv.gz> <tokens_6h.csv.gz> <out folder>".into());
    };
    counts(counts_in, folder)?;
    tokens(tokens_in, folder)
}
