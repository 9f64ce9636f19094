//! The tasks of `cargo xtask`, one module each. A library, so that tests enforce what the tasks check.

pub mod bench;
mod cargo;
pub mod dist;
pub mod nab;
pub mod networks;
pub mod tidy;

use std::path::Path;

use anyhow::{Context, bail};

/// What `cargo xtask` prints when asked for nothing it knows.
const USAGE: &str = "\
Tasks:
  bench gateway [--quick] [--json FILE]         measure the gateway against nginx; `bench --help` has more
  dist [--plain] [--out FILE]                  build the binary that is shipped, guided by a profile of the demo
  nab [--data FILE] [--series]                  score the univariate detector on labelled series; `nab --help`
  tidy                                          check the rules of the repository; no output is good
  networks --geo DIR --lists DIR --out DIR      make the bundled network table from its sources and verify it";

/// Runs the task that the first argument names.
///
/// # Errors
/// When there is no such task, or it fails; the message is for the person at the terminal.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let Some((task, rest)) = arguments.split_first() else { bail!("no task given\n\n{USAGE}") };
    match task.as_str() {
        "bench" => bench::run(rest),
        "dist" => dist::run(rest),
        "nab" => nab::run(rest),
        "tidy" => tidy::run(repository()?),
        "networks" => networks::run(rest),
        other => bail!("there is no task `{other}`\n\n{USAGE}"),
    }
}

/// The root of the repository: the folder above this crate.
///
/// # Errors
/// Never in a checkout.
pub fn repository() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not in a repository")
}
