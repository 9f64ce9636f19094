//! What a profile is made of: runs of the demo by a build that counts.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

/// The runs. Days of traffic of customers who differ in how they use their keys, and a theft each: requests,
/// streams, learning, findings, containment. Not the bench's own load, so that the bench measures what it did not
/// train.
pub(super) const RUNS: [&[&str]; 3] = [&demo("steady"), &demo("tides"), &demo("office")];

const fn demo(victim: &str) -> [&str; 6] {
    ["demo", "--seed", "1", "--victim", victim, "--json"]
}

/// The name of the profile of a build: another build, or another training, has another name.
pub(super) fn name_profile(counting: &[u8]) -> String {
    let mut hasher = Sha256::new();
    for argument in RUNS.concat() {
        hasher.update(argument);
        hasher.update([0]);
    }
    hasher.update(counting);
    let hex: String = hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}.profdata")
}

/// Runs the build that counts once; what it counted is a file more in `raw`.
///
/// # Errors
/// When it does not start, fails, or leaves no counts.
pub(super) fn train(counting: &Path, arguments: &[&str], raw: &Path) -> anyhow::Result<()> {
    let before = list_raw(raw)?.len();
    // Not in the target folder: the path of a socket must be short.
    let home = tempfile::Builder::new().prefix("tokenwatch-training-").tempdir()?;
    let output = prepare(counting, arguments, raw, home.path())
        .output()
        .with_context(|| format!("can not run {}", counting.display()))?;
    let (arguments, errors) = (arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "`{arguments}` ended with {}: {}", output.status, errors.trim());
    ensure!(list_raw(raw)?.len() > before, "`{arguments}` left no counts: {}", errors.trim());
    Ok(())
}

/// With nothing of the user's environment: a proxy, a state folder or a provider's key there is not for training.
fn prepare(counting: &Path, arguments: &[&str], raw: &Path, home: &Path) -> Command {
    let mut command = Command::new(counting);
    command.args(arguments).current_dir(home).stdin(Stdio::null()).env_clear();
    command.env("HOME", home).env("TMPDIR", home).env("TOKENWATCH_STATE_DIR", home.join("state"));
    command.env("LLVM_PROFILE_FILE", raw.join("%m_%p.profraw"));
    command
}

/// The files of counts in a folder, in order.
///
/// # Errors
/// When it can not be read.
pub(super) fn list_raw(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("can not read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("profraw")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_named_after_its_build() {
        let name = name_profile(b"build");
        assert_eq!(name, name_profile(b"build"));
        assert_ne!(name, name_profile(b"built"));
        assert_eq!(name.strip_suffix(".profdata").map(str::len), Some(32), "{name}");
    }

    /// Runs a script in the place of the build that counts.
    #[track_caller]
    fn check(script: &str, want: Result<usize, &str>) {
        let folder = tempfile::tempdir().unwrap();
        match (train(Path::new("/bin/sh"), &["-c", script], folder.path()), want) {
            (Ok(()), Ok(count)) => assert_eq!(list_raw(folder.path()).unwrap().len(), count),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, want) => panic!("{got:?}, not {want:?}"),
        }
    }

    #[test]
    fn training_fails_loudly_and_sees_an_empty_home() {
        let write = "echo x > \"$(dirname \"$LLVM_PROFILE_FILE\")/1.profraw\"";
        check(write, Ok(1));
        check(&format!("test -z \"$(ls \"$HOME\")\" && test -z \"$CARGO_MANIFEST_DIR\" && {write}"), Ok(1));
        check("true", Err("left no counts"));
        check("echo oh no >&2; exit 3", Err("oh no"));
    }
}
