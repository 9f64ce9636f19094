//! `cargo xtask dist`: builds the binary that is shipped, guided by a profile of the demo.
//!
//! A build that counts runs the demo: real traffic through the real gateway, all of it on the loopback address. The
//! counts guide the build that is shipped. Everything is kept in `pgo` in the target folder, because cargo does not
//! notice when what is in a profile changes, and building anew takes minutes: a profile is named after the build
//! that it was made by, and is made once.

mod profdata;
mod training;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use crate::cargo;
use profdata::{Profdata, Rustc};

const USAGE: &str = "\
Builds tokenwatch as it is shipped: with the profile `dist`, guided by a profile of `tokenwatch demo`.

Usage: cargo xtask dist [--plain] [--out FILE]

  --plain      build without a profile of the demo
  --out FILE   copy the binary to FILE

Needs an llvm-profdata that reads what rustc writes: `rustup component add llvm-tools`, or Debian's package
`llvm-19`. The variable LLVM_PROFDATA names one that is elsewhere. RUSTFLAGS are kept; those of cargo's
configuration files are not. The product is built twice, which takes twice as long; what has not changed since
the last time is not built again.";

/// The product's package.
const PACKAGE: &str = "tokenwatch-cli";
/// The program in it.
const PROGRAM: &str = "tokenwatch";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Request {
    Help,
    Build { plain: bool, out: Option<PathBuf> },
}

fn parse(arguments: &[String]) -> anyhow::Result<Request> {
    let (mut is_plain, mut file) = (false, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--plain" => is_plain = true,
            "--out" => file = Some(arguments.next().context("--out needs a file")?.into()),
            "--help" | "-h" => return Ok(Request::Help),
            other => bail!("there is no option `{other}`\n\n{USAGE}"),
        }
    }
    Ok(Request::Build { plain: is_plain, out: file })
}

/// Runs the task.
///
/// # Errors
/// When an argument is wrong, no tool for profiles is found, or a step fails.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    let Request::Build { plain, out } = parse(arguments)? else { return Ok(writeln!(stdout, "{USAGE}")?) };
    let built = if plain {
        say("building without a profile");
        build_plain()?
    } else {
        let toolchain = Toolchain::find()
            .map_err(|error| anyhow!("{error:#}; `cargo xtask dist --plain` builds without a profile"))?;
        toolchain.build_guided(say)?
    };
    let binary = match out {
        Some(file) => {
            copy_program(&built, &file).with_context(|| format!("can not write {}", file.display()))?;
            file
        }
        None => built,
    };
    let bytes = fs::metadata(&binary)?.len();
    Ok(writeln!(stdout, "{}: {bytes} bytes", binary.display())?)
}

/// Builds the product with the profile `dist` alone, and returns the path of the binary.
///
/// # Errors
/// When it does not build.
pub(crate) fn build_plain() -> anyhow::Result<PathBuf> {
    cargo::build(cargo::prepare_build(&["--locked", "--profile", "dist", "--package", PACKAGE])?, PROGRAM)
}

/// What a guided build needs besides cargo.
pub(crate) struct Toolchain {
    rustc: Rustc,
    profdata: Profdata,
    /// Where everything is kept.
    folder: PathBuf,
}

impl Toolchain {
    /// Finds the compiler and a tool that merges its profiles.
    ///
    /// # Errors
    /// When there is none; the message says what to install.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let folder = cargo::fetch_target_folder()?.join("pgo");
        fs::create_dir_all(&folder).with_context(|| format!("can not make {}", folder.display()))?;
        let rustc = Rustc::find()?;
        let profdata = Profdata::find(&rustc, &folder)?;
        Ok(Self { rustc, profdata, folder })
    }

    /// Builds the product guided by a profile of the demo, and returns the path of the binary.
    ///
    /// # Errors
    /// When a step fails.
    pub(crate) fn build_guided(&self, say: fn(&str)) -> anyhow::Result<PathBuf> {
        say(&format!("profiles are merged by {}", self.profdata.path().display()));
        say("step 1 of 4: a build that counts, in minutes");
        let counting = self.build("counting", "-Cprofile-generate", &self.folder.join("unused"))?;
        let bytes = fs::read(&counting).with_context(|| format!("can not read {}", counting.display()))?;
        let name = training::name_profile(&bytes);
        drop(bytes);
        let profile = self.folder.join(&name);
        if profile.exists() {
            say(&format!("steps 2 and 3 of 4: this build was trained before, its profile is {name}"));
        } else {
            self.make_profile(&counting, &profile, say)?;
        }
        remove_others(&self.folder, &name)?;
        say("step 4 of 4: the build that is guided, in minutes");
        self.build("guided", "-Cprofile-use", &profile)
    }

    fn make_profile(&self, counting: &Path, profile: &Path, say: fn(&str)) -> anyhow::Result<()> {
        let raw = tempfile::Builder::new().prefix("raw-").tempdir_in(&self.folder)?;
        for (index, arguments) in training::RUNS.iter().enumerate() {
            let number = index + 1;
            let count = training::RUNS.len();
            say(&format!("step 2 of 4: training {number} of {count}: {PROGRAM} {}", arguments.join(" ")));
            training::train(counting, arguments, raw.path())?;
        }
        say("step 3 of 4: merging what was counted");
        // A profile that has its name is whole.
        let merged = raw.path().join("merged.profdata");
        self.profdata.merge(&training::list_raw(raw.path())?, &merged)?;
        // What other profiles guided is of no use any more, and would stay there for ever.
        remove_folder(&self.folder.join("guided").join(&self.rustc.host))?;
        fs::rename(&merged, profile).with_context(|| format!("can not write {}", profile.display()))
    }

    /// With a target, `flag` is for the product alone: build scripts and macros are the host's and do without.
    fn build(&self, name: &str, flag: &str, path: &Path) -> anyhow::Result<PathBuf> {
        let mut command = cargo::prepare_build(&["--locked", "--profile", "dist", "--package", PACKAGE])?;
        command.args(["--target", &self.rustc.host]).arg("--target-dir").arg(self.folder.join(name));
        let path = path.to_str().context("the path of the target folder is no UTF-8")?;
        let variable = |name| std::env::var(name).ok();
        let (encoded, flags) = (variable("CARGO_ENCODED_RUSTFLAGS"), variable("RUSTFLAGS"));
        let flags = add_flag(encoded.as_deref(), flags.as_deref(), &format!("{flag}={path}"));
        command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags);
        cargo::build(command, PROGRAM)
    }
}

/// The user's flags for rustc as cargo reads them, `CARGO_ENCODED_RUSTFLAGS` before `RUSTFLAGS`, and `own` after
/// them. In the encoded form, because a path may have spaces.
fn add_flag(encoded: Option<&str>, flags: Option<&str>, own: &str) -> String {
    let theirs: Vec<&str> = match encoded {
        Some(encoded) => encoded.split('\x1f').collect(),
        None => flags.unwrap_or_default().split(' ').map(str::trim).collect(),
    };
    let theirs = theirs.into_iter().filter(|flag| !flag.is_empty());
    theirs.chain([own]).collect::<Vec<_>>().join("\x1f")
}

/// Removes profiles that no build needs any more.
fn remove_others(folder: &Path, kept: &str) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_other_profile(&entry.file_name().to_string_lossy(), kept) {
            fs::remove_file(entry.path())
                .with_context(|| format!("can not remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn is_other_profile(name: &str, kept: &str) -> bool {
    name.ends_with(".profdata") && name != kept
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can not remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Copies a program and makes its folder; one of that name that runs is replaced, not written to.
fn copy_program(from: &Path, to: &Path) -> anyhow::Result<()> {
    let folder = match to.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::copy(&mut fs::File::open(from)?, &mut file)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
    file.persist(to)?;
    Ok(())
}

/// Tells the person at the terminal what is going on.
fn say(text: &str) {
    // Nobody listening is no reason to stop.
    let _ = writeln!(std::io::stderr(), "dist: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_what_is_wrong_is_named() {
        let check = |line: &str| parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(check("").unwrap(), Request::Build { plain: false, out: None });
        let want = Request::Build { plain: true, out: Some("a/b".into()) };
        assert_eq!(check("--out a/b --plain").unwrap(), want);
        assert_eq!(check("--plain --help").unwrap(), Request::Help);
        assert!(check("--fast").unwrap_err().to_string().contains("`--fast`"));
        assert!(check("--out").unwrap_err().to_string().contains("--out needs a file"));
    }

    #[track_caller]
    fn check_flags(encoded: Option<&str>, flags: Option<&str>, want: &[&str]) {
        let all = add_flag(encoded, flags, "-Cx=/a b");
        assert_eq!(all.split('\x1f').collect::<Vec<_>>(), want);
    }

    #[test]
    fn flags_of_the_user_are_kept_and_paths_may_have_spaces() {
        check_flags(None, None, &["-Cx=/a b"]);
        check_flags(None, Some(" -g  -Copt-level=2 "), &["-g", "-Copt-level=2", "-Cx=/a b"]);
        check_flags(Some("-Cy=c d\x1f-g"), Some("-v"), &["-Cy=c d", "-g", "-Cx=/a b"]);
        // Cargo lets an empty one hide the other.
        check_flags(Some(""), Some("-v"), &["-Cx=/a b"]);
    }

    #[test]
    fn profiles_of_other_builds_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.profdata", "b.profdata", "note"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        remove_others(folder.path(), "b.profdata").unwrap();
        let exists = |name| folder.path().join(name).exists();
        assert_eq!(["a.profdata", "b.profdata", "note"].map(exists), [false, true, true]);
        remove_folder(&folder.path().join("missing")).unwrap();
    }

    #[test]
    fn a_copy_can_be_run_and_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("deep/er/to"));
        for text in ["one", "two"] {
            fs::write(&from, text).unwrap();
            copy_program(&from, &to).unwrap();
            assert_eq!(fs::read_to_string(&to).unwrap(), text);
        }
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o755);
    }
}
