//! Which crate may depend on which: arrows point down only, and the pure layers have no effects.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::{File, Problem, relative};

/// Every package name of ours begins so, but for xtask.
const PREFIX: &str = "tokenwatch-";
/// Layer 0.
const NOUNS: &str = "model";
/// Layer 1: pure functions over layer 0.
const PURE: &[&str] = &["network", "wire", "detect", "respond", "investigate", "leaks"];
/// Layer 2: adapters, each of them replaceable.
const ADAPTERS: &[&str] = &["store", "cluster", "outside", "telemetry"];
/// For tests, benches and the demo: anyone's dev-dependency.
const TESTKIT: &str = "testkit";
/// The judge of detection: pure, but above the detectors it compares and the traffic it compares them on.
const JUDGE: &str = "evaluate";
/// What the judge sees.
const JUDGED: &[&str] = &["detect", "network", "wire", TESTKIT];
/// What assembles everything.
const ASSEMBLIES: &[&str] = &["cli", "xtask"];

/// Crates that bring a runtime, network, files, clock, randomness, logging or metrics; not for layers 0 and 1.
const EFFECTS: &[&str] = &[
    "async-std",
    "chrono",
    "crossterm",
    "getrandom",
    "hyper",
    "hyper-util",
    "indicatif",
    "lettre",
    "libc",
    "log",
    "mio",
    "nix",
    "notify",
    "parquet",
    "prometheus-client",
    "rand",
    "rand_core",
    "ratatui",
    "reqwest",
    "ring",
    "rusqlite",
    "rustix",
    "rustls",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "tokio-rustls",
    "tokio-util",
    "tracing",
    "tracing-subscriber",
    "ureq",
    "uuid",
    "walkdir",
];

/// A crate of the workspace.
pub(super) struct Member {
    /// Without the prefix.
    name: String,
    /// Relative path of its `Cargo.toml`.
    pub(super) manifest: String,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Debug, Deserialize)]
struct Dependency {
    name: String,
    /// Nothing, `dev` or `build`.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

/// Asks cargo for the workspace; it reads manifests only, so it needs no network.
pub(super) fn read_workspace(repository: &Path) -> anyhow::Result<Vec<Member>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(repository)
        .output()
        .context("running cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let member = |package: Package| Member {
        manifest: relative(repository, Path::new(&package.manifest_path)),
        name: short(&package.name).to_owned(),
        dependencies: package.dependencies,
    };
    Ok(metadata.packages.into_iter().map(member).collect())
}

fn short(package: &str) -> &str {
    package.strip_prefix(PREFIX).unwrap_or(package)
}

/// Whether the layers let `from` depend on `to`; nothing when `from` is in no layer.
fn may_depend(from: &str, to: &str) -> Option<bool> {
    let down = to == NOUNS || PURE.contains(&to);
    Some(match from {
        NOUNS => false,
        TESTKIT => to == NOUNS || to == "network",
        JUDGE => to == NOUNS || JUDGED.contains(&to),
        "gateway" => down || to == "telemetry",
        "console" => down || to == "telemetry" || to == "gateway",
        _ if ASSEMBLIES.contains(&from) => true,
        _ if PURE.contains(&from) || ADAPTERS.contains(&from) => to == NOUNS,
        _ => return None,
    })
}

/// Every arrow of every crate.
pub(super) fn check(workspace: &[Member], files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for member in workspace {
        let text =
            files.iter().find(|file| file.path == member.manifest).map_or("", |file| file.text.as_str());
        if may_depend(&member.name, NOUNS).is_none() {
            let fix = "decide its layer and add it to the lists in xtask/src/tidy/arrows.rs";
            problems.push(Problem::new(
                &member.manifest,
                1,
                format!("`{}` is in no layer", member.name),
                fix,
            ));
            continue;
        }
        for dependency in &member.dependencies {
            if let Some((what, fix)) = judge(member, dependency, workspace) {
                problems.push(Problem::new(&member.manifest, line_of(text, dependency), what, fix));
            }
        }
    }
    problems
}

/// What is wrong with an arrow, and what to do.
fn judge(member: &Member, dependency: &Dependency, workspace: &[Member]) -> Option<(String, String)> {
    let (from, to) = (member.name.as_str(), short(&dependency.name));
    let dev = dependency.kind.as_deref() == Some("dev");
    let ours =
        dependency.name.starts_with(PREFIX) || workspace.iter().any(|member| member.name == dependency.name);
    if ours {
        let allowed = may_depend(from, to) == Some(true) || (dev && to == TESTKIT);
        let fix = "arrows point down only: move the code down, or pass a value or a port in from above";
        return (!allowed).then(|| (format!("`{from}` must not depend on `{to}`"), fix.to_owned()));
    }
    let pure = from == NOUNS || from == JUDGE || PURE.contains(&from);
    (pure && !dev && EFFECTS.contains(&to)).then(|| {
        let what = format!("`{from}` is pure and must not depend on `{to}`");
        (what, "return a value that says what to do and carry it out in an adapter or application".to_owned())
    })
}

/// Where a manifest names a dependency, in the section of its kind; line 1 if nowhere.
fn line_of(manifest: &str, dependency: &Dependency) -> usize {
    let section = match dependency.kind.as_deref() {
        Some("dev") => "dev-dependencies",
        Some("build") => "build-dependencies",
        _ => "dependencies",
    };
    let mut here = false;
    for (index, line) in manifest.lines().enumerate() {
        if let Some(header) = line.trim().strip_prefix('[') {
            let header = header.trim_end_matches(']');
            if header
                .strip_suffix(&dependency.name)
                .is_some_and(|before| before.ends_with(&format!("{section}.")))
            {
                return index + 1;
            }
            here = header == section || header.ends_with(&format!(".{section}"));
        }
        let key = line.split(['.', '=', ' ']).next().unwrap_or_default().trim_matches('"');
        if here && key == dependency.name {
            return index + 1;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_arrow(from: &str, to: &str, kind: Option<&str>, want: bool) {
        let dependency = Dependency { name: to.to_owned(), kind: kind.map(str::to_owned) };
        let member = Member {
            name: from.to_owned(),
            manifest: format!("crates/{from}/Cargo.toml"),
            dependencies: vec![dependency.clone()],
        };
        assert_eq!(judge(&member, &dependency, &[]).is_none(), want, "{from} -> {to} ({kind:?})");
    }

    #[test]
    fn arrows_point_down() {
        for (from, to) in [
            ("wire", "model"),
            ("store", "model"),
            ("gateway", "detect"),
            ("gateway", "telemetry"),
            ("console", "gateway"),
            ("cli", "store"),
            ("cli", "testkit"),
            ("xtask", "testkit"),
            ("testkit", "network"),
            ("evaluate", "detect"),
            ("evaluate", "testkit"),
        ] {
            check_arrow(from, &format!("tokenwatch-{to}"), None, true);
        }
        for (from, to) in [
            ("model", "wire"),
            ("wire", "detect"),
            ("detect", "network"),
            ("store", "wire"),
            ("store", "telemetry"),
            ("telemetry", "store"),
            ("gateway", "store"),
            ("gateway", "console"),
            ("console", "cluster"),
            ("testkit", "gateway"),
            ("wire", "testkit"),
            ("detect", "evaluate"),
            ("evaluate", "store"),
        ] {
            check_arrow(from, &format!("tokenwatch-{to}"), None, false);
            check_arrow(from, &format!("tokenwatch-{to}"), Some("build"), false);
        }
    }

    #[test]
    fn tests_of_any_crate_may_use_the_testkit_only() {
        check_arrow("wire", "tokenwatch-testkit", Some("dev"), true);
        check_arrow("wire", "tokenwatch-store", Some("dev"), false);
        check_arrow("gateway", "tokenwatch-network", Some("dev"), true);
    }

    #[test]
    fn pure_layers_have_no_effects_outside_tests() {
        check_arrow("detect", "tokio", None, false);
        check_arrow("model", "getrandom", Some("build"), false);
        check_arrow("detect", "tokio", Some("dev"), true);
        check_arrow("evaluate", "parquet", None, false);
        check_arrow("detect", "serde", None, true);
        check_arrow("gateway", "tokio", None, true);
    }

    #[test]
    fn a_crate_in_no_layer_is_a_problem() {
        let member = Member {
            name: "new".to_owned(),
            manifest: "crates/new/Cargo.toml".to_owned(),
            dependencies: Vec::new(),
        };
        let problems = check(&[member], &[]);
        assert_eq!(
            problems.iter().map(|problem| problem.what.as_str()).collect::<Vec<_>>(),
            ["`new` is in no layer"]
        );
    }

    #[test]
    fn the_line_of_a_dependency_is_found() {
        let manifest = "[package]\nname = \"tokio\"\n[dependencies]\nserde.workspace = true\ntokio = { workspace = true }\n\
                        [dev-dependencies]\nserde.workspace = true\n[build-dependencies.cc]\nworkspace = true\n";
        let line = |name: &str, kind: Option<&str>| {
            line_of(manifest, &Dependency { name: name.to_owned(), kind: kind.map(str::to_owned) })
        };
        assert_eq!(line("tokio", None), 5);
        assert_eq!(line("serde", None), 4);
        assert_eq!(line("serde", Some("dev")), 7);
        assert_eq!(line("cc", Some("build")), 8);
        assert_eq!(line("absent", None), 1);
    }
}
