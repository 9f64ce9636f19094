//! The last look at a text before it leaves for people: nothing that looks like a credential passes.
//!
//! Findings hold names that callers chose (models, clients), and a caller may put anything there. A name that is
//! masked by mistake costs a look into the incident; a credential in a chat room costs more.

use crate::words::clean;

/// What credentials begin with: of this product, of providers, of the receivers of alerts, of clouds and forges.
const PREFIXES: &[&str] = &[
    "sk-",
    "sk_",
    "pk-",
    "rk_",
    "twa_",
    "whsec_",
    "xox",
    "AIza",
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "hf_",
    "gsk_",
    "pplx-",
    "r8_",
    "eyJ",
    "ya29.",
    "xai-",
    "AQ.",
    "SG.",
    "dop_v1_",
];
/// A credential has at least so many characters.
const CREDENTIAL_CHARS_MIN: usize = 16;
/// A run of letters of both cases and digits that is this long is none of ours: our ids have no capitals.
const RANDOM_CHARS_MIN: usize = 28;

/// The text on one line, short, and without credentials.
pub fn safe(text: &str) -> String {
    mask(&clean(text))
}

/// The text with every run that looks like a credential replaced.
fn mask(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=' | '~');
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
        let (run, after) = from.split_at(end);
        masked.push_str(before);
        masked.push_str(if is_credential(run) { "[credential removed]" } else { run });
        rest = after;
    }
    masked.push_str(rest);
    masked
}

fn is_credential(run: &str) -> bool {
    // A run may be a path or an assignment: each part of it is looked at.
    run.split(['/', '=']).any(|part| {
        let begins = PREFIXES.iter().any(|prefix| part.starts_with(prefix));
        (begins && part.len() >= CREDENTIAL_CHARS_MIN) || part.split(['-', '.', '+', '~']).any(is_random)
    })
}

/// Whether it mixes capitals, small letters and digits over a length that no name has.
fn is_random(part: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| part.bytes().any(|b| kind(&b));
    part.len() >= RANDOM_CHARS_MIN
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(safe(text), want);
    }

    #[test]
    fn credentials_do_not_pass() {
        for credential in [
            "sk-tw-0000000000w1-9f8e7d6c5b4a39281706f5e4d3c2b1a0",
            "sk-proj-abcdefghijklmnop0123",
            "sk-ant-api03-AAAAAAAAAAAAAAAAAAAA",
            "AIzaSyA-0123456789abcdefghijklmnopqrstu",
            "AKIAIOSFODNN7EXAMPLE",
            "xoxb-123456789012-abcdefghijkl",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
            "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OUFCQ0RFRg==",
        ] {
            check(credential, "[credential removed]");
            check(&format!("model \"{credential}\", cut"), "model \"[credential removed]\", cut");
            check(&format!("https://x.example/{credential}"), "https:[credential removed]");
        }
    }

    #[test]
    fn names_pass() {
        for name in [
            "claude-3-5-sonnet-20241022 on search-prod (key_000000000001)",
            "tokenwatch incident show inc_000000000w01",
            "network AS64501 NL hosting, client OpenAI/Python 1.40.0, 203.0.113.0/24",
            "prompt template 00ff00ff00ff00ff, meta-llama/Llama-3.3-70B-Instruct-Turbo",
        ] {
            check(name, name);
        }
        check("two\nlines", "two?lines");
    }
}
