//! The shape of source files: a header that says what the module is, a length one can read, no `mod.rs`.

use super::Problem;

/// Lines of a file, unless its header says why more.
const LINES_MAX: usize = 500;
/// The header line that excuses a longer file.
const EXCUSE: &str = "//! Longer than 500 lines because ";

/// Checks a Rust file; other files have no shape.
pub(super) fn check(path: &str, text: &str) -> Vec<Problem> {
    let ours = path.starts_with("crates/") || path.starts_with("xtask/");
    if !(ours && path.ends_with(".rs")) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    if path.ends_with("/mod.rs") {
        let folder = path.trim_end_matches("/mod.rs");
        problems.push(Problem::new(
            path,
            1,
            "a module file named mod.rs",
            format!("rename it to {folder}.rs"),
        ));
    }
    let header = header_line(text);
    if !text.lines().nth(header - 1).is_some_and(|line| line.starts_with("//!")) {
        let fix = "begin with `//!`: what the module is, and its invariants";
        problems.push(Problem::new(path, header, "no module header", fix));
    }
    let lines = text.lines().count();
    let excused = text
        .lines()
        .skip(header - 1)
        .take_while(|line| line.starts_with("//!"))
        .any(|line| line.strip_prefix(EXCUSE).is_some_and(|reason| !reason.trim().is_empty()));
    if lines > LINES_MAX && !excused {
        let fix = format!("split it, or say why in the header: `{EXCUSE}…`");
        problems.push(Problem::new(path, LINES_MAX + 1, format!("{lines} lines"), fix));
    }
    problems
}

/// The line, from 1, where the header has to begin: after a shebang, inner attributes and blank lines.
fn header_line(text: &str) -> usize {
    let mut depth = 0i32;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        let shebang = index == 0 && trimmed.starts_with("#!") && !trimmed.starts_with("#![");
        if depth > 0 || trimmed.starts_with("#![") {
            let brackets = |bracket| trimmed.matches(bracket).count() as i32;
            depth += brackets('[') - brackets(']');
        } else if !(shebang || trimmed.is_empty()) {
            return index + 1;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_file(path: &str, text: &str, want: &[(usize, &str)]) {
        let problems = check(path, text);
        let found: Vec<(usize, &str)> = problems.iter().map(|p| (p.line, p.what.as_str())).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn every_module_says_what_it_is() {
        let path = "crates/a/src/lib.rs";
        check_file(path, "//! A.\n", &[]);
        check_file(path, "\n#![expect(\n    dead_code,\n    reason = \"[\u{5d}\"\n)]\n\n//! A.\n", &[]);
        check_file(path, "#!/usr/bin/env run\n//! A.\n", &[]);
        check_file(path, "use std::fmt;\n//! A.\n", &[(1, "no module header")]);
        check_file(path, "#![no_std]\n// A.\n", &[(2, "no module header")]);
        check_file(path, "", &[(1, "no module header")]);
        check_file("docs/example.rs", "fn main() {}\n", &[]);
        check_file("crates/a/notes.txt", "notes\n", &[]);
    }

    #[test]
    fn long_files_say_why() {
        let body = "x\n".repeat(500);
        let path = "crates/a/tests/it/main.rs";
        check_file(path, &format!("//! A.\n{}", "x\n".repeat(499)), &[]);
        check_file(path, &format!("//! A.\n{body}"), &[(501, "501 lines")]);
        check_file(path, &format!("//! A.\n//! Longer than 500 lines because it is a table.\n{body}"), &[]);
        check_file(
            path,
            &format!("//! A.\n//! Longer than 500 lines because  \n{body}"),
            &[(501, "502 lines")],
        );
        check_file(
            path,
            &format!("//! A.\nx\n//! Longer than 500 lines because no.\n{body}"),
            &[(501, "503 lines")],
        );
    }

    #[test]
    fn modules_are_not_named_mod() {
        check_file("crates/a/src/b/mod.rs", "//! B.\n", &[(1, "a module file named mod.rs")]);
    }
}
