//! `cargo xtask nab`: the univariate detector and simple thresholds on labelled series, scored by the rules of the
//! Numenta Anomaly Benchmark.
//!
//! Every detector runs once over each series with the same settings. As in the benchmark, the threshold alone is
//! chosen afterwards: one for the whole corpus, the best for each profile.

mod corpus;
mod detectors;
mod score;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};

use corpus::Labelled;
use score::{PROFILES, Points, Profile, Swept};

const USAGE: &str = "\
Usage: cargo xtask nab [--data FILE] [--series]

  --data FILE   a gzipped table series,timestamp,value,in_window,label; default: the bundled part of the benchmark
  --series      also list, series by series, what the best detector found";

/// The bundled part of the benchmark.
const BUNDLED: &str = "xtask/data/nab_dev.csv.gz";

struct Options {
    data: Option<PathBuf>,
    by_series: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self { data: None, by_series: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--data" => options.data = Some(arguments.next().context("--data needs a file")?.into()),
                "--series" => options.by_series = true,
                other => bail!("unknown argument `{other}`\n\n{USAGE}"),
            }
        }
        Ok(options)
    }
}

/// Runs the task.
///
/// # Errors
/// When the table can not be read.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    if arguments.iter().any(|argument| argument == "--help") {
        return Ok(writeln!(stdout, "{USAGE}")?);
    }
    let options = Options::parse(arguments)?;
    let file = match options.data {
        Some(file) => file,
        None => crate::repository()?.join(BUNDLED),
    };
    let corpus = corpus::read(&file).with_context(|| file.display().to_string())?;
    let values: usize = corpus.iter().map(|series| series.values.len()).sum();
    let windows: usize = corpus.iter().map(Labelled::scored_windows).sum();
    writeln!(stdout, "{} series, {values} values, {windows} windows that are scored", corpus.len())?;
    writeln!(stdout, "{:<28} {:>9} {:>9} {:>9}", "detector", "standard", "low FP", "low FN")?;
    for (name, detect) in detectors::ALL {
        let mut points = Points::new(&corpus, detect);
        let scores = PROFILES.map(|profile| points.sweep(&profile).score);
        let [standard, low_fp, low_fn] = scores;
        writeln!(stdout, "{name:<28} {standard:>9.1} {low_fp:>9.1} {low_fn:>9.1}")?;
    }
    if options.by_series {
        let [standard, ..] = PROFILES;
        list_series(&mut stdout, &corpus, &standard)?;
    }
    Ok(())
}

/// What the product's detector found in each series at the best threshold.
fn list_series(out: &mut impl Write, corpus: &[Labelled], profile: &Profile) -> anyhow::Result<()> {
    let [(name, detect), ..] = detectors::ALL;
    let Swept { threshold, .. } = Points::new(corpus, detect).sweep(profile);
    writeln!(out, "\n{name}, standard profile, threshold {threshold:.0}: windows found, false alarms")?;
    for series in corpus {
        let scores = detect(series);
        let alarms: Vec<usize> =
            (series.probation()..scores.len()).filter(|&at| scores[at] >= threshold).collect();
        let found = series.windows.iter().filter(|window| alarms.iter().any(|at| window.contains(at)));
        let outside = alarms.iter().filter(|at| !series.windows.iter().any(|window| window.contains(at)));
        writeln!(
            out,
            "{:<52} {} of {}, {}",
            series.name,
            found.count(),
            series.windows.len(),
            outside.count()
        )?;
    }
    Ok(())
}

/// The standard score of the product's detector on the bundled corpus.
///
/// # Errors
/// When the table can not be read.
pub fn standard_score() -> anyhow::Result<f64> {
    let corpus = corpus::read(&crate::repository()?.join(BUNDLED))?;
    let ([(_, detect), ..], [standard, ..]) = (detectors::ALL, PROFILES);
    Ok(Points::new(&corpus, detect).sweep(&standard).score)
}
