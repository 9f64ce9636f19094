//! Words that must not be in the repository: paths of one machine, hosts of package registries, unfinished work.
//!
//! The words are put together from parts so that this file does not contain them.

use super::Problem;

/// Where a word is forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In every text file.
    Everywhere,
    /// In every text file but lock files, which tools write.
    NotInLocks,
    /// In Rust code that ships, and in xtask.
    Product,
}

/// A forbidden word.
struct Word {
    word: &'static str,
    place: Place,
    /// What it is, and what to do.
    what: &'static str,
    fix: &'static str,
}

const fn machine(word: &'static str) -> Word {
    Word {
        word,
        place: Place::Everywhere,
        what: "a path of one machine",
        fix: "use a path relative to the repository",
    }
}

const fn registry(word: &'static str) -> Word {
    let fix = "name the package, not the place; tools know their registry";
    Word { word, place: Place::NotInLocks, what: "the host of a package registry", fix }
}

const fn unfinished(word: &'static str) -> Word {
    Word {
        word,
        place: Place::Product,
        what: "unfinished work",
        fix: "finish it, or open an issue and say what holds now",
    }
}

const WORDS: &[Word] = &[
    machine(concat!("/ro", "ot/")),
    machine(concat!("/wo", "rk/")),
    registry(concat!("crates", ".io")),
    registry(concat!("npmjs", ".org")),
    registry(concat!("npmjs", ".com")),
    registry(concat!("pypi", ".org")),
    registry(concat!("pythonhosted", ".org")),
    registry(concat!("proxy.golang", ".org")),
    registry(concat!("sum.golang", ".org")),
    registry(concat!("rubygems", ".org")),
    unfinished(concat!("TO", "DO")),
    unfinished(concat!("FIX", "ME")),
    unfinished(concat!("to", "do!(")),
    unfinished(concat!("unimplem", "ented!(")),
];

/// Files that tools write and that name their registry.
const LOCKS: &[&str] =
    &["Cargo.lock", "go.sum", "package-lock.json", "pnpm-lock.yaml", "poetry.lock", "uv.lock", "yarn.lock"];

/// Checks a text file of any sort.
pub(super) fn check(path: &str, text: &str) -> Vec<Problem> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let lock = LOCKS.contains(&name);
    let product = path.ends_with(".rs")
        && (path.starts_with("xtask/src/") || (path.starts_with("crates/") && path.contains("/src/")));
    let mut problems = Vec::new();
    for word in WORDS {
        let applies = match word.place {
            Place::Everywhere => true,
            Place::NotInLocks => !lock,
            Place::Product => product,
        };
        if !applies || !text.contains(word.word) {
            continue;
        }
        for (index, line) in text.lines().enumerate().filter(|(_, line)| has_word(line, word.word)) {
            let what = format!("{} (`{}`), column {}", word.what, word.word, column(line, word.word));
            problems.push(Problem::new(path, index + 1, what, word.fix));
        }
    }
    problems
}

fn column(line: &str, word: &str) -> usize {
    line.find(word).map_or(1, |at| line.get(..at).map_or(0, |before| before.chars().count()) + 1)
}

/// Whether `word` is in `line` and not the middle of a longer word or path.
fn has_word(line: &str, word: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    let in_path = |c: char| letter(c) || matches!(c, '.' | '-' | '~' | '}' | ')' | '*');
    let bounded = |at: usize| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        let begins_inside =
            if word.starts_with('/') { before.is_some_and(in_path) } else { before.is_some_and(letter) };
        let ends_inside = word.ends_with(letter) && after.is_some_and(letter);
        !(begins_inside || ends_inside)
    };
    line.match_indices(word).any(|(at, _)| bounded(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_line(path: &str, line: &str, want: usize) {
        let problems = check(path, &format!("first\n{line}\n"));
        assert_eq!(problems.len(), want, "{problems:?}");
        assert!(problems.iter().all(|problem| problem.line == 2));
    }

    #[test]
    fn paths_of_one_machine_are_found_everywhere() {
        for path in ["README.md", "crates/a/src/lib.rs", "Cargo.lock"] {
            check_line(path, concat!("see /ro", "ot/notes"), 1);
            check_line(path, concat!("cd `/wo", "rk/x`"), 1);
        }
        check_line("README.md", concat!("target/wo", "rk/x and ../wo", "rk/x and ${HOME}/wo", "rk/x"), 0);
    }

    #[test]
    fn registries_are_found_but_in_lock_files() {
        let line = concat!("from https://crates", ".io/crates/x or registry.npmjs", ".org");
        check_line("README.md", line, 2);
        check_line("clients/Cargo.lock", line, 0);
        check_line("README.md", concat!("crates", ".iota and mycrates", ".io"), 0);
    }

    #[test]
    fn unfinished_work_is_found_in_product_code() {
        let line = concat!("// TO", "DO: this");
        check_line("crates/a/src/b.rs", line, 1);
        check_line("xtask/src/b.rs", line, 1);
        check_line("crates/a/tests/it/main.rs", line, 0);
        check_line("README.md", line, 0);
        check_line("crates/a/src/b.rs", concat!("let TO", "DOS = 1;"), 0);
        check_line("crates/a/src/b.rs", concat!("to", "do!()"), 1);
        check_line("crates/a/src/b.rs", concat!("unimplem", "ented!(\"x\")"), 1);
    }
}
