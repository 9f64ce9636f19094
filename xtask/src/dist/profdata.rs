//! Finds an `llvm-profdata` that reads what rustc writes and writes what rustc reads.
//!
//! Profiles have versions, and every LLVM knows some. What rustc can not read it only warns of, and builds without.
//! So a tool is tried on a program of one line before minutes are spent.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, bail, ensure};

use super::training::list_raw;

/// The oldest LLVM that reads the profiles of the Rust we build with.
const OLDEST: u32 = 19;
/// Newer than any LLVM there is.
const NEWEST: u32 = 40;

const INSTALL: &str = "install one with `rustup component add llvm-tools`, or Debian's package `llvm-19`, or name one \
                       in the variable LLVM_PROFDATA";

/// The compiler that cargo uses.
pub(super) struct Rustc {
    program: OsString,
    /// The triple it runs on.
    pub(super) host: String,
    sysroot: PathBuf,
}

impl Rustc {
    /// Asks the compiler.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find() -> anyhow::Result<Self> {
        let program = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let version = run(Command::new(&program).arg("-vV")).context("rustc")?;
        let version = String::from_utf8_lossy(&version.stdout);
        let host = parse_host(&version).context("`rustc -vV` names no host")?.to_owned();
        let sysroot = run(Command::new(&program).args(["--print", "sysroot"])).context("rustc")?;
        let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
        Ok(Self { program, host, sysroot })
    }

    fn command(&self) -> Command {
        Command::new(&self.program)
    }
}

fn parse_host(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("host:")).map(str::trim)
}

/// A tool that works.
pub(super) struct Profdata(PathBuf);

impl Profdata {
    /// The first of the candidates that works; it is tried in a folder of its own within `folder`.
    ///
    /// # Errors
    /// When none works, or rustc makes no profiles; the message says what to do.
    pub(super) fn find(rustc: &Rustc, folder: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("trial-").tempdir_in(folder)?;
        let trial = Trial::prepare(rustc, folder.path()).context("this rustc makes no profiles")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let named = std::env::var_os("LLVM_PROFDATA").filter(|name| !name.is_empty());
        let mut refused = Vec::new();
        for candidate in list_candidates(named.as_deref(), rustc, &path, Path::is_file) {
            match trial.check(&candidate) {
                Ok(()) => return Ok(Self(candidate)),
                Err(error) => refused.push(format!("{}: {error:#}", candidate.display())),
            }
        }
        bail!("{}", explain(&refused))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Merges files of counts into a profile.
    ///
    /// # Errors
    /// When it can not read one.
    pub(super) fn merge(&self, raw: &[PathBuf], profile: &Path) -> anyhow::Result<()> {
        merge(&self.0, raw, profile)
    }
}

/// Where the tool may be, the likeliest first: what the user names, the toolchain's own, then the newest.
fn list_candidates(
    named: Option<&OsStr>,
    rustc: &Rustc,
    path: &[PathBuf],
    exists: impl Fn(&Path) -> bool,
) -> Vec<PathBuf> {
    let own = rustc.sysroot.join("lib/rustlib").join(&rustc.host).join("bin/llvm-profdata");
    let mut others = vec![own];
    others.extend(path.iter().map(|folder| folder.join("llvm-profdata")));
    for version in (OLDEST..=NEWEST).rev() {
        others.extend(path.iter().map(|folder| folder.join(format!("llvm-profdata-{version}"))));
        others.push(format!("/usr/lib/llvm-{version}/bin/llvm-profdata").into());
    }
    let others = others.into_iter().filter(|candidate| exists(candidate));
    let mut seen = BTreeSet::new();
    // The named one need not exist: that it does not is worth saying.
    named.map(PathBuf::from).into_iter().chain(others).filter(|it| seen.insert(it.clone())).collect()
}

fn explain(refused: &[String]) -> String {
    if refused.is_empty() {
        return format!("llvm-profdata was not found; {INSTALL}");
    }
    format!("no llvm-profdata works with this rustc; {INSTALL} (tried {})", refused.join("; "))
}

/// A program of one line that has run and counted.
struct Trial<'a> {
    rustc: &'a Rustc,
    source: PathBuf,
    raw: Vec<PathBuf>,
    profile: PathBuf,
}

impl<'a> Trial<'a> {
    fn prepare(rustc: &'a Rustc, folder: &Path) -> anyhow::Result<Self> {
        let (source, program) = (folder.join("trial.rs"), folder.join("trial"));
        fs::write(&source, "fn main() {}\n")?;
        let mut generate = OsString::from("-Cprofile-generate=");
        generate.push(folder);
        run(rustc.command().arg(generate).arg("-o").arg(&program).arg(&source))?;
        run(Command::new(&program).env("LLVM_PROFILE_FILE", folder.join("%m_%p.profraw")))?;
        let raw = list_raw(folder)?;
        ensure!(!raw.is_empty(), "a program that should count left no counts");
        Ok(Self { rustc, source, raw, profile: folder.join("trial.profdata") })
    }

    /// Whether a tool works: merges, and compiles with what it merged.
    fn check(&self, tool: &Path) -> anyhow::Result<()> {
        merge(tool, &self.raw, &self.profile)?;
        let mut guide = OsString::from("-Cprofile-use=");
        guide.push(&self.profile);
        let object = self.profile.with_extension("o");
        let output =
            run(self.rustc.command().args(["--emit", "obj", "-o"]).arg(object).arg(guide).arg(&self.source))?;
        let warnings = String::from_utf8_lossy(&output.stderr);
        ensure!(!warnings.contains("profdata"), "rustc can not read its profile: {}", in_a_line(&warnings));
        Ok(())
    }
}

fn merge(tool: &Path, raw: &[PathBuf], profile: &Path) -> anyhow::Result<()> {
    run(Command::new(tool).arg("merge").arg("-o").arg(profile).args(raw))?;
    Ok(())
}

/// Runs a program to its end, silently.
fn run(command: &mut Command) -> anyhow::Result<Output> {
    let output = command.output().context("can not be run")?;
    ensure!(output.status.success(), "{}", in_a_line(&String::from_utf8_lossy(&output.stderr)));
    Ok(output)
}

fn in_a_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(named: Option<&str>, existing: &[&str], want: &[&str]) {
        let rustc = Rustc { program: "rustc".into(), host: "x86_64-linux".into(), sysroot: "/rust".into() };
        let exists = |path: &Path| existing.iter().any(|there| path == Path::new(there));
        let path = ["/usr/bin".into(), "/opt/bin".into(), "/usr/bin".into()];
        let candidates = list_candidates(named.map(OsStr::new), &rustc, &path, exists);
        assert_eq!(candidates, want.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn the_named_tool_comes_first_then_the_toolchains_then_the_newest() {
        let own = "/rust/lib/rustlib/x86_64-linux/bin/llvm-profdata";
        let debian =
            ["/usr/bin/llvm-profdata-19", "/usr/lib/llvm-22/bin/llvm-profdata", "/usr/bin/llvm-profdata-14"];
        check(None, &[], &[]);
        check(None, &debian, &["/usr/lib/llvm-22/bin/llvm-profdata", "/usr/bin/llvm-profdata-19"]);
        check(Some("/mine"), &["/opt/bin/llvm-profdata", own], &["/mine", own, "/opt/bin/llvm-profdata"]);
        check(Some(own), &[own], &[own]);
    }

    #[test]
    fn the_host_is_read() {
        assert_eq!(parse_host("rustc 1.95.0\nbinary: rustc\nhost: x86_64-linux\n"), Some("x86_64-linux"));
        assert_eq!(parse_host("rustc 1.95.0\n"), None);
    }

    #[test]
    fn what_to_install_is_said_and_what_was_tried() {
        assert!(explain(&[]).starts_with("llvm-profdata was not found; install"));
        let tried = explain(&["/usr/bin/llvm-profdata: too old".to_owned()]);
        assert!(tried.contains("rustup component add llvm-tools") && tried.contains("too old"), "{tried}");
    }
}
