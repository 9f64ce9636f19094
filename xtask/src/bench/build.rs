//! Builds what is measured, and this task itself, with optimisation.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::options::Options;
use crate::{cargo, dist};

/// What is measured.
pub(super) struct Built {
    pub(super) binary: PathBuf,
    /// How it was built, for the head of the report.
    pub(super) how: &'static str,
    /// What a reader has to know about it.
    pub(super) note: Option<String>,
}

/// The binary that is given, or else the product as it is shipped.
///
/// # Errors
/// When it is not there, or does not build.
pub(super) fn build_product(options: &Options, say: fn(&str)) -> anyhow::Result<Built> {
    let built = |binary, how| Ok(Built { binary, how, note: None });
    if let Some(binary) = &options.binary {
        return built(find_given(binary)?, "the binary given");
    }
    if options.keep_running.is_some() {
        return built(build_with_symbols()?, "dist with symbols");
    }
    if options.plain {
        say("building without a profile of the demo");
        return built(dist::build_plain()?, "dist");
    }
    match dist::Toolchain::find() {
        Ok(toolchain) => built(toolchain.build_guided(say)?, "dist, guided by a profile of the demo"),
        Err(error) => {
            let note = format!("built without a profile, unlike what is shipped: {error:#}");
            say(&note);
            Ok(Built { binary: dist::build_plain()?, how: "dist", note: Some(note) })
        }
    }
}

fn find_given(binary: &Path) -> anyhow::Result<PathBuf> {
    binary.canonicalize().with_context(|| format!("no binary at {}", binary.display()))
}

/// For a profiler, which names functions. Without a profile of the demo: that would take two builds more.
fn build_with_symbols() -> anyhow::Result<PathBuf> {
    let mut command = cargo::prepare_build(&["--profile", "dist", "--package", "tokenwatch-cli"])?;
    command.env("CARGO_PROFILE_DIST_STRIP", "none").env("CARGO_PROFILE_DIST_DEBUG", "line-tables-only");
    cargo::build(command, "tokenwatch")
}

/// Builds this task with the profile `release` and becomes it: a load generator without optimisation would
/// measure itself.
///
/// # Errors
/// When it does not build or start; there is no return otherwise.
pub(super) fn run_optimised(arguments: &[String]) -> anyhow::Result<()> {
    let binary = cargo::build(cargo::prepare_build(&["--release", "--package", "xtask"])?, "xtask")?;
    Err(Command::new(&binary).arg("bench").args(arguments).exec())
        .with_context(|| format!("can not run {}", binary.display()))
}
