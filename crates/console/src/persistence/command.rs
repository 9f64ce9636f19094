//! What to type to remove an artifact: `curl` with the credential read where it is kept, so that it stands neither in the
//! output nor in the list of processes.

use tokenwatch_model::artifact::Question;
use tokenwatch_model::handling::Found;
use tokenwatch_model::provider::{Dialect, SecretRef};
use tokenwatch_wire::inventory;

use super::ProviderPlace;

/// The commands that remove an artifact, in order.
pub(super) fn removals(place: &ProviderPlace, found: &Found) -> Vec<String> {
    let Ok(credential) = found.credential.parse() else { return Vec::new() };
    let base = place.base_url.trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    let questions = inventory::removals(place.dialect, &found.artifact);
    questions.iter().map(|question| curl(place.dialect, base, &credential, question)).collect()
}

fn curl(dialect: Dialect, base: &str, credential: &SecretRef, question: &Question) -> String {
    let secret = match credential {
        SecretRef::Env(name) => format!("\"${name}\""),
        SecretRef::File(path) => format!("\"$(cat {})\"", quoted(path)),
    };
    let field = match dialect {
        Dialect::OpenAi => "Authorization: Bearer %s",
        Dialect::Anthropic => "x-api-key: %s",
    };
    let mut headers = String::new();
    for (name, value) in question.headers {
        headers.push_str(&format!(" -H '{name}: {value}'"));
    }
    let address = quoted(&format!("{base}{}", question.target));
    format!("printf '{field}' {secret} | curl -sS -X {} -H @-{headers} {address}", question.method)
}

/// A word of a shell's command line.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::artifact::{Artifact, ArtifactKind};
    use tokenwatch_model::handling::CreatingCall;
    use tokenwatch_model::time::Timestamp;

    use super::*;

    #[track_caller]
    fn check(
        base_url: &str,
        dialect: Dialect,
        credential: &str,
        kind: ArtifactKind,
        id: &str,
        want: &[&str],
    ) {
        let place = ProviderPlace {
            name: "p".into(),
            dialect,
            base_url: base_url.to_owned(),
            credentials: vec![credential.parse().unwrap()],
        };
        let artifact = Artifact {
            kind,
            id: id.into(),
            created: Timestamp(0),
            what: String::new(),
            status: "in_progress".into(),
            made: "".into(),
        };
        let found = Found {
            provider: "p".into(),
            credential: credential.into(),
            artifact,
            call: CreatingCall::Unknown,
            other_key: None,
            accounted: None,
        };
        assert_eq!(removals(&place, &found), want);
    }

    #[test]
    fn commands_read_the_credential_where_it_is_kept() {
        check(
            "https://api.openai.com/v1/",
            Dialect::OpenAi,
            "env:OPENAI_API_KEY",
            ArtifactKind::Assistant,
            "asst_1",
            &["printf 'Authorization: Bearer %s' \"$OPENAI_API_KEY\" | curl -sS -X DELETE -H @- \
               -H 'openai-beta: assistants=v2' https://api.openai.com/v1/assistants/asst_1"],
        );
        check(
            "https://api.anthropic.com",
            Dialect::Anthropic,
            "file:/run/my secrets/it's",
            ArtifactKind::Batch,
            "m_1",
            &[
                r#"printf 'x-api-key: %s' "$(cat '/run/my secrets/it'\''s')" | curl -sS -X POST -H @- -H 'anthropic-version: 2023-06-01' https://api.anthropic.com/v1/messages/batches/m_1/cancel"#,
                r#"printf 'x-api-key: %s' "$(cat '/run/my secrets/it'\''s')" | curl -sS -X DELETE -H @- -H 'anthropic-version: 2023-06-01' https://api.anthropic.com/v1/messages/batches/m_1"#,
            ],
        );
        check("http://x", Dialect::OpenAi, "env:K", ArtifactKind::File, "$(reboot)", &[]);
    }
}
