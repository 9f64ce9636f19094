//! What the commands print, and how they end. Ids, times and credentials are replaced by their kind.

use crate::harness::{Place, done};

/// A record of commands: what was typed, what came out, how it ended.
struct Session<'a> {
    place: &'a Place,
    text: String,
}

impl<'a> Session<'a> {
    fn new(place: &'a Place) -> Self {
        Self { place, text: String::new() }
    }

    fn run(&mut self, line: &str) -> &mut Self {
        let args = split(line);
        let done = self.place.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        self.text.push_str(&format!("$ tokenwatch {line}\n"));
        for (mark, out) in [("", &done.stdout), ("! ", &done.stderr)] {
            // How old the bundled table is depends on the day.
            let lines =
                out.trim_end().lines().filter(|line| !line.contains("the bundled address table is of"));
            for line in lines {
                let line = redact(&line.replace(&*self.place.path("").display().to_string(), "DIR/"));
                self.text.push_str(format!("{mark}{line}").trim_end());
                self.text.push('\n');
            }
        }
        if done.code != 0 {
            self.text.push_str(&format!("(exit code {})\n", done.code));
        }
        self.text.push('\n');
        self
    }
}

/// Splits a line at spaces outside of single quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (i, part) in line.split('\'').enumerate() {
        if i % 2 == 1 {
            words.last_mut().unwrap().push_str(part);
            continue;
        }
        for (j, word) in part.split(' ').enumerate() {
            if j > 0 {
                words.push(String::new());
            }
            words.last_mut().unwrap().push_str(word);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Replaces what differs from run to run, in its own length where columns depend on it.
fn redact(line: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-:.".contains(c);
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(if end == 0 { first.len_utf8() } else { end });
        out.push_str(&redact_word(word));
        rest = after;
    }
    out
}

fn redact_word(word: &str) -> String {
    let (word, colon) = word.strip_suffix(':').map_or((word, ""), |word| (word, ":"));
    if let Some(word) = word.strip_prefix(':') {
        return format!(":{}{colon}", redact_word(word));
    }
    let same_length = |kind: &str| format!("{kind:·<width$}{colon}", width = word.len());
    for prefix in ["key_", "own_", "inc_", "con_", "sup_", "act_", "req_"] {
        if word.len() > prefix.len() + 8 && word.starts_with(prefix) {
            return same_length(prefix);
        }
    }
    if word.starts_with("sk-tw-") && word.len() > 40 {
        return format!("sk-tw-SECRET{colon}");
    }
    if word.starts_with("20") && word.contains('T') && word.ends_with('Z') {
        return same_length("TIME");
    }
    if word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
        return format!("HASH{colon}");
    }
    // Microseconds since 1970.
    if word.len() == 16 && word.starts_with("17") && word.bytes().all(|b| b.is_ascii_digit()) {
        return format!("MICROSECONDS{colon}");
    }
    format!("{word}{colon}")
}

#[track_caller]
fn check(name: &str, place: &Place, lines: &[&str]) {
    let mut session = Session::new(place);
    for line in lines {
        session.run(line);
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, session.text);
    });
}

#[test]
fn help_of_every_command() {
    let place = Place::new();
    let mut text = String::new();
    let mut names: Vec<String> = vec![String::new()];
    while let Some(name) = names.pop() {
        let mut command = place.command();
        command.env_remove("TOKENWATCH_STATE_DIR").args(name.split_whitespace()).arg("--help");
        let help = done(&mut command);
        assert_eq!(help.code, 0, "{name}: {help:?}");
        text.push_str(&format!("$ tokenwatch {name} --help\n{}\n", help.stdout));
        let commands = help.stdout.split("Commands:\n").nth(1).unwrap_or_default();
        for line in commands.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().iter().rev() {
            // A command's name is indented by two; what wraps is indented further.
            let sub = line.strip_prefix("  ").filter(|line| !line.starts_with(' '));
            if let Some(sub) =
                sub.and_then(|line| line.split_whitespace().next()).filter(|sub| *sub != "help")
            {
                names.push(format!("{name} {sub}").trim().to_owned());
            }
        }
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("help", text);
    });
}

#[test]
fn keys_from_issue_to_revocation() {
    check(
        "keys",
        &Place::new(),
        &[
            "key list",
            "key list --json",
            "key issue --name plain",
            "owner add --name search --on-call rota@example.com --channel '#search' --budget-day 20",
            "key issue --name search-prod --owner search --environment production --service api --workload service \
             --model 'gpt-4o*' --network 203.0.113.0/24 --hours 8-10,22 --rpm 600 --concurrency unlimited \
             --budget-day 12.50 --mode observe --json",
            "key list",
            "key show search-prod",
            "key show search-prod --json",
            "key edit search-prod --rpm unlimited --environment staging",
            "key edit plain --owner search --json",
            "key disable plain --reason 'not needed now'",
            "key show plain",
            "key enable plain",
            "key expire plain --in never",
            "key revoke plain --reason leaked",
            "key revoke search-prod --json",
            "key list --json",
        ],
    );
}

#[test]
fn owners_providers_incidents_and_audit() {
    let place = Place::new();
    std::fs::write(place.path("provider.key"), "sk-upstream-0123456789").unwrap();
    let provider = |name: &str, from: &str| {
        format!(
            "[[provider]]\nname = \"{name}\"\ndialect = \"openai\"\nbase_url = \"https://api.openai.com\"\n\
             credentials = [\"{from}\"]\n"
        )
    };
    place.configure(
        &[
            provider("openai", "file:provider.key"),
            provider("missing", "env:NOT_SET_ANYWHERE"),
            "[[price]]\nprovider = \"openai\"\nmodel = \"my-model\"\ninput = 0.30\noutput = 1.20\n"
                .to_owned(),
        ]
        .concat(),
    );
    check(
        "others",
        &place,
        &[
            "owner list",
            "owner add --name search --on-call rota@example.com",
            "owner add --name ads --on-call ads-rota --json",
            "owner edit search --on-call other-rota --rpm 100 --model 'claude-*'",
            "owner list",
            "owner list --json",
            "owner show search",
            "owner show search --json",
            "provider list",
            "provider list --json",
            "provider price openai my-model",
            "provider price openai my-model --json",
            "incident list",
            "incident list --all",
            "incident list --all --json",
            "incident show inc_0000000000000",
            "audit show",
            "audit show --limit 1 --json",
            "audit verify",
            "audit verify --json",
        ],
    );
}

#[test]
fn tuning_from_a_budget_to_a_dry_run() {
    check(
        "tuning",
        &Place::new(),
        &[
            "suppression list",
            "suppression list --all --json",
            "suppression alerts",
            "dry-run",
            "owner add --name search --on-call rota --false-alarms-per-key-year 1",
            "key issue --name plain",
            "key issue --name search-prod --owner search",
            "key show plain",
            "key show search-prod",
            "key edit search-prod --false-alarms-per-key-year 0.1",
            "key show search-prod",
            "suppression add --key plain --rule newcomer --country NL --client k6 --for 4h --reason 'load test'",
            "suppression add --owner search --network 203.0.113.0/24 --for 7d --reason 'new office' --json",
            "suppression list --json",
            "dry-run --false-alarms-per-key-year 1 --json",
            "audit verify",
        ],
    );
}

#[test]
fn contexts_are_allowed_listed_and_ended() {
    check(
        "contexts",
        &Place::new(),
        &[
            "key issue --name batch",
            "incident times",
            "incident times --last 7d --json",
            "context list batch",
            "context allow batch --network 203.0.113.0/24 --client k6 --for 4h --reason 'load test on Friday'",
            "context allow batch --asn 64500 --for 7d --reason 'new region' --json",
            "context list batch --json",
            "context end batch --network 203.0.113.0/24 --client k6",
            "context end batch --asn 64500 --json",
            "context list batch --json",
            "context allow batch --for 4h --reason x",
            "context allow batch --for 4h --reason x --country NL",
            "context allow batch --for 4h --reason ' ' --asn 1",
            "context allow batch --for 100d --reason x --asn 1",
            "context allow nobody --for 4h --reason x --asn 1",
            "context end batch --asn 1",
            "key revoke batch",
            "context allow batch --for 4h --reason x --asn 1",
            "audit verify",
        ],
    );
}

#[test]
fn wrong_input_names_the_field_and_the_fix() {
    let place = Place::new();
    place.issue("gone", &[]);
    place.issue("taken", &[]);
    place.ok(&["key", "revoke", "gone"]);
    place.ok(&["owner", "add", "--name", "search", "--on-call", "rota"]);
    std::fs::write(place.path("bad.jsonl"), "{\"name\": \"a\"}\n{\"nam\": \"b\"}\n").unwrap();
    std::fs::write(place.path("twice.jsonl"), "{\"name\": \"a\"}\n{\"name\": \"a\"}\n").unwrap();
    check(
        "wrong_input",
        &place,
        &[
            "key show nobody",
            "key show key_0000000000000",
            "key issue --name taken",
            "key issue --name 'a\tb'",
            "key issue --name key_mine",
            "key issue --name k --owner nobody",
            "key issue --name k --expires-in soon",
            "key issue --name k --network 10.0.0.0/33",
            "key issue --name k --hours 25",
            "key issue --name k --model ''",
            "key issue --name k --model 'gpt-[4]'",
            "key issue --name k --endpoint chat",
            "key issue --name k --rpm many",
            "key issue --name k --budget-day -1",
            "key issue --name k --mode loud",
            "key issue --name k --workload robot",
            "key issue --name k --false-alarms-per-key-year 0",
            "key issue --name k --false-alarms-per-key-year 366",
            "serve --false-alarms-per-key-year never",
            "suppression add --for 4h --reason x --rule newcomer",
            "suppression add --everywhere --for 4h --reason x",
            "suppression add --everywhere --for 100d --reason x --rule newcomer",
            "suppression add --everywhere --for 4h --reason '' --rule newcomer",
            "suppression add --everywhere --for 4h --reason x --rule loud",
            "suppression add --everywhere --for 4h --reason x --rule canary_key_used",
            "suppression add --key nobody --for 4h --reason x --rule newcomer",
            "suppression add --key taken --for 4h --reason x --network 10.0.0.0/8",
            "suppression add --key taken --for 4h --reason x --country Holland",
            "suppression lift sup_nonsense",
            "suppression alerts --key nobody",
            "dry-run --days 0",
            "dry-run --key nobody",
            "dry-run --false-alarms-per-key-year 1000",
            "key expire taken --in yesterday",
            "key enable gone",
            "key revoke gone",
            "key edit gone --rpm 5",
            "key edit taken --owner nobody",
            "key import --file none.jsonl",
            "key import --file bad.jsonl",
            "key import --file twice.jsonl",
            "key list --json",
            "owner add --name search --on-call rota",
            "owner show nobody",
            "incident dismiss inc_nonsense",
            "incident lift con_nonsense",
            "incident contain taken --action suspend --reason ''",
            "incident contain taken --action explode --reason x",
            "completions tcsh",
            "frobnicate",
            "key issue",
            "demo --theft none --victim nobody",
        ],
    );
}

#[test]
fn a_good_configuration_is_ok_and_a_wrong_one_tells_every_error() {
    let place = Place::new();
    std::fs::write(place.path("provider.key"), "sk-upstream-0123456789").unwrap();
    let provider = "[[provider]]\nname = \"openai\"\ndialect = \"openai\"\nbase_url = \"https://api.openai.com\"\n\
                    credentials = [\"file:provider.key\"]\n";
    let files = [
        ("good.toml", provider.to_owned()),
        ("warned.toml", format!("[server]\nlisten = \"0.0.0.0:8080\"\n[admin]\nlisten = \"0.0.0.0:8081\"\n{provider}")),
        ("empty.toml", String::new()),
        ("broken.toml", "[server\nlisten = 3".to_owned()),
        (
            "fields.toml",
            "surprise = 1\n[server]\nlisten = \"here\"\nworkers = \"many\"\nspeed = 9\n[storage]\nretention_days = 0\n\
             checkpoint_every_s = 0\n[log]\nformat = \"loud\"\n[detection]\nfalse_alarms_per_key_year = 0\n\
             rules_off = [\"no_such_rule\"]\n[containment]\nmode = \"loud\"\n"
                .to_owned(),
        ),
        (
            "providers.toml",
            "[[provider]]\nname = \"v1\"\ndialect = \"cobol\"\nbase_url = \"ftp://x\"\ncredentials = []\n\
             [[provider]]\nname = \"x\"\ndialect = \"openai\"\nbase_url = \"https://user:secret@example.com\"\n\
             credentials = [\"sk-naked-0123456789\"]\n\
             [[provider]]\nname = \"y\"\ndialect = \"openai\"\nbase_url = \"https://example.com\"\ncredentials = [\"env:X\"]\n\
             [[provider]]\nname = \"y\"\ndialect = \"openai\"\nbase_url = \"https://example.com\"\ncredentials = [\"env:X\"]\n\
             [[price]]\nprovider = \"openai\"\nmodel = \"m\"\ninput = -1\noutput = 2\n"
                .to_owned(),
        ),
        (
            "files.toml",
            "[server]\ntls_certificate = \"none.crt\"\ntls_key = \"none.key\"\nproxy_protocol = true\n\
             [network]\ncountry_database = \"none.mmdb\"\n"
                .to_owned()
                + &provider.replace("file:provider.key", "file:none.key"),
        ),
        (
            "unreadable.toml",
            "[network]\ncountry_database = \"none.mmdb\"\n".to_owned()
                + &provider.replace("file:provider.key", "file:none.key"),
        ),
    ];
    let mut lines: Vec<String> = Vec::new();
    for (name, text) in files {
        std::fs::write(place.path(name), text).unwrap();
        lines.push(format!("check --config {name}"));
    }
    lines.extend(
        ["check --config none.toml", "check --config fields.toml --json --config-only"].map(str::to_owned),
    );
    check("check", &place, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    // Looking creates nothing.
    assert!(!place.state().exists());
}

#[test]
fn an_altered_audit_log_is_found() {
    let place = Place::new();
    place.configure("");
    place.issue("k", &[]);
    assert_eq!(place.run(&["audit", "verify"]).code, 0);
    // Bytes of a row are changed in place, as somebody with access to the disk would.
    for file in place.files().iter().filter(|file| file.to_string_lossy().contains("state.db")) {
        let bytes = std::fs::read(file).unwrap();
        let (from, to) = (b"key.issue", b"key.tssue");
        let mut altered = bytes.clone();
        let mut at = 0;
        while let Some(found) = altered[at..].windows(from.len()).position(|window| window == from) {
            altered[at + found..at + found + to.len()].copy_from_slice(to);
            at += found + to.len();
        }
        std::fs::write(file, altered).unwrap();
    }
    let verified = place.run(&["audit", "verify"]);
    assert_eq!(verified.code, 3, "{verified:?}");
    assert!(verified.stdout.contains("ALTERED"), "{verified:?}");
}

#[test]
fn completions_are_scripts() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Place::new().ok(&["completions", shell]).stdout;
        assert!(script.contains("tokenwatch") && script.lines().count() > 50, "{shell}");
    }
}
