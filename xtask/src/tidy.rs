//! `cargo xtask tidy`: the rules of the repository that neither the compiler nor clippy checks.
//!
//! `.ci/run` runs it, and so does `cargo test`, through this crate's integration test. To change a rule, change the
//! list at the head of its module.

mod arrows;
mod manifests;
mod sources;
mod words;

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Relative to the repository.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl Problem {
    fn new(path: &str, line: usize, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into(), fix: fix.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.what, self.fix)
    }
}

/// A text file of the repository.
struct File {
    /// Relative, with `/` on every system.
    path: String,
    text: String,
}

/// Checks everything; the problems are in order of their places.
///
/// # Errors
/// When the repository can not be read or `cargo metadata` fails.
pub fn check(repository: &Path) -> anyhow::Result<Vec<Problem>> {
    let files = read_files(repository)?;
    let workspace = arrows::read_workspace(repository)?;
    let mut problems = arrows::check(&workspace, &files);
    for file in &files {
        problems.extend(sources::check(&file.path, &file.text));
        problems.extend(words::check(&file.path, &file.text));
    }
    for member in &workspace {
        if let Some(file) = files.iter().find(|file| file.path == member.manifest) {
            problems.extend(manifests::check(&file.path, &file.text));
        }
    }
    problems.sort();
    Ok(problems)
}

/// Runs the task: a line per problem.
///
/// # Errors
/// When there is any problem.
pub fn run(repository: &Path) -> anyhow::Result<()> {
    let problems = check(repository)?;
    let mut stdout = std::io::stdout().lock();
    for problem in &problems {
        writeln!(stdout, "{problem}")?;
    }
    ensure!(problems.is_empty(), "places to tidy: {}", problems.len());
    Ok(())
}

/// All text files that are, or are about to be, in version control; all but hidden ones and build output where there
/// is no git, as in an unpacked archive.
fn read_files(repository: &Path) -> anyhow::Result<Vec<File>> {
    let mut paths = list_by_git(repository).map_or_else(|| list_by_walk(repository), Ok)?;
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        // Deleted and not yet committed, a link to a folder, or a submodule.
        let Ok(bytes) = std::fs::read(repository.join(&path)) else { continue };
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if !text.contains('\0') {
            files.push(File { path, text });
        }
    }
    Ok(files)
}

fn list_by_git(repository: &Path) -> Option<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(repository).output().ok()?;
    let list = String::from_utf8(output.stdout).ok()?;
    let paths: Vec<String> = list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    (output.status.success() && !paths.is_empty()).then_some(paths)
}

fn list_by_walk(repository: &Path) -> anyhow::Result<Vec<String>> {
    let mut folders: Vec<PathBuf> = vec![repository.to_owned()];
    let mut paths = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') || name == "target" || name == "node_modules" {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                paths.push(relative(repository, &entry.path()));
            }
        }
    }
    Ok(paths)
}

/// A path inside the repository, with `/` on every system.
fn relative(repository: &Path, path: &Path) -> String {
    path.strip_prefix(repository).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_can_be_clicked() {
        let problem = Problem::new("crates/a/src/lib.rs", 3, "no header", "say what it is");
        assert_eq!(problem.to_string(), "crates/a/src/lib.rs:3: no header: say what it is");
    }

    #[test]
    fn an_archive_without_git_is_read_too() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        write("crates/a/src/lib.rs", b"//! A.");
        write("crates/a/data.bin", b"\0\x01");
        write("target/debug/x.rs", b"x");
        write(".git/config", b"x");
        let paths = list_by_walk(folder.path()).unwrap();
        assert_eq!(paths.len(), 2, "{paths:?}");
        // Outside any checkout, git lists nothing and the walk takes over.
        let files = read_files(folder.path()).unwrap();
        assert_eq!(files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["crates/a/src/lib.rs"]);
    }
}
