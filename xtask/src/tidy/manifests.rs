//! Manifests of members: every dependency takes its version from the workspace, so that there is one of each.

use super::Problem;

/// Checks a member's `Cargo.toml`.
pub(super) fn check(path: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut section = Section::Other;
    // Open brackets of a value that goes on over lines.
    let mut depth = 0i32;
    for (index, line) in text.lines().enumerate() {
        let content = strip_comment(line).trim();
        if depth == 0 {
            if let Some(header) = content.strip_prefix('[') {
                section.finish(path, &mut problems);
                section = Section::of(header.trim_end_matches(']'), index + 1);
                continue;
            }
            match &mut section {
                Section::Other => {}
                Section::Table { inherits, .. } => *inherits |= is_inherited(content),
                Section::List => {
                    if !content.is_empty() && !is_inherited(content) {
                        let name = content.split(['.', '=', ' ']).next().unwrap_or_default();
                        problems.push(problem(path, index + 1, name));
                    }
                }
            }
        }
        let count = |brackets: [char; 2]| content.matches(brackets).count() as i32;
        depth += count(['[', '{']) - count([']', '}']);
    }
    section.finish(path, &mut problems);
    problems
}

/// What part of a manifest a line is in.
enum Section {
    Other,
    /// `[dependencies]`: a dependency a line.
    List,
    /// `[dependencies.name]`: one dependency.
    Table {
        name: String,
        line: usize,
        inherits: bool,
    },
}

impl Section {
    fn of(header: &str, line: usize) -> Self {
        let mut parts = header.rsplit('.');
        let is_list = |part: Option<&str>| {
            part.is_some_and(|part| {
                matches!(part, "dependencies" | "dev-dependencies" | "build-dependencies")
            })
        };
        let last = parts.next();
        if is_list(last) {
            Self::List
        } else if is_list(parts.next()) {
            Self::Table { name: last.unwrap_or_default().to_owned(), line, inherits: false }
        } else {
            Self::Other
        }
    }

    fn finish(&self, path: &str, problems: &mut Vec<Problem>) {
        if let Self::Table { name, line, inherits: false } = self {
            problems.push(problem(path, *line, name));
        }
    }
}

fn problem(path: &str, line: usize, name: &str) -> Problem {
    let fix = format!("put it in [workspace.dependencies] and write `{name}.workspace = true`");
    Problem::new(path, line, format!("`{name}` has a version or path of its own"), fix)
}

fn is_inherited(content: &str) -> bool {
    let dense: String = content.chars().filter(|c| !c.is_whitespace()).collect();
    dense.contains("workspace=true")
}

/// A line without its comment; a `#` in a quoted text stays.
fn strip_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return line.get(..at).unwrap_or(line),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_manifest(text: &str, want: &[usize]) {
        let lines: Vec<usize> =
            check("crates/a/Cargo.toml", text).iter().map(|problem| problem.line).collect();
        assert_eq!(lines, want);
    }

    #[test]
    fn inherited_dependencies_pass_in_every_form() {
        check_manifest(
            "[package]\nversion = \"1\"\n[dependencies]\na.workspace = true\nb = { workspace = true, features = [\n  \
             \"x\",\n] }\n# c = \"1\"\n[dev-dependencies.d]\nfeatures = [\"y\"]\nworkspace = true # yes\n\
             [target.'cfg(unix)'.dependencies]\ne = { workspace=true }\n[features]\nf = []\n",
            &[],
        );
    }

    #[test]
    fn own_versions_and_paths_are_found() {
        check_manifest("[dependencies]\na = \"1\"\nb = { path = \"../b\" } # workspace = true\n", &[2, 3]);
        check_manifest("[dependencies.a]\nversion = \"1\"\n[dev-dependencies]\nb = \"2\"\n", &[1, 4]);
        check_manifest("[target.'cfg(unix)'.build-dependencies]\na = \"1\"\n", &[2]);
    }
}
