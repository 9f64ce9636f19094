//! Finds the one credential of a request. Two credentials, or one in two places, are refused: a proxy and
//! its upstream could disagree about which counts.

use std::sync::LazyLock;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, Uri};
use memchr::memmem::Finder;
use tokenwatch_model::outcome::Refusal;

/// Header fields that carry a credential besides `Authorization`.
static KEY_FIELDS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// The bytes of the one credential presented.
pub(crate) fn find<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Result<&'a [u8], Refusal> {
    let mut found: Option<&[u8]> = None;
    let mut take = |credential: &'a [u8]| match found {
        Some(_) => Err(Refusal::AmbiguousCredential),
        None => {
            found = Some(credential);
            Ok(())
        }
    };
    for value in headers.get_all(AUTHORIZATION) {
        // An SDK without a key sends the scheme alone; the space after it is lost on the way.
        let (scheme, token) = value.as_bytes().split_at(value.len().min(7));
        if !scheme.trim_ascii_end().eq_ignore_ascii_case(b"bearer") {
            return Err(Refusal::MalformedCredential);
        }
        take(token.trim_ascii())?;
    }
    for name in &KEY_FIELDS {
        for value in headers.get_all(name) {
            take(value.as_bytes().trim_ascii())?;
        }
    }
    if let Some(query) = uri.query() {
        for pair in query.split('&') {
            let name = pair.split('=').next().unwrap_or_default();
            if is_key_parameter(name) {
                take(pair.get(name.len() + 1..).unwrap_or_default().as_bytes())?;
            }
        }
    }
    match found {
        Some([]) | None => Err(Refusal::MissingCredential),
        Some(credential) => Ok(credential),
    }
}

/// Whether a query parameter's name is `key`, also when parts of it are percent-encoded.
pub(crate) fn is_key_parameter(name: &str) -> bool {
    decode_percent(name).eq_ignore_ascii_case(b"key")
}

/// A part of a query with its escapes read; what is no hexadecimal digit counts as zero.
pub(crate) fn decode_percent(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).unwrap_or(0);
            let (high, low) = (hex(bytes.next()), hex(bytes.next()));
            decoded.push((high * 16 + low) as u8);
        } else {
            decoded.push(byte);
        }
    }
    decoded
}

/// Whether something that looks like a key of ours stands in it: such a thing never travels to a provider,
/// wherever a client put it.
pub(crate) fn mentions_key(bytes: &[u8]) -> bool {
    // Prepared, because every header field of every request is searched.
    static PREFIX: LazyLock<Finder<'static>> =
        LazyLock::new(|| Finder::new(tokenwatch_model::credential::PREFIX));
    PREFIX.find(bytes).is_some()
}

/// The query without credential parameters; `None` when nothing is left.
pub(crate) fn clean_query(query: &str) -> Option<String> {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !is_key_parameter(pair.split('=').next().unwrap_or_default()))
        .filter(|pair| !mentions_key(&decode_percent(pair)))
        .collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

/// Whether a header field carries credentials of ours and must not travel on.
pub(crate) fn is_credential_field(name: &str) -> bool {
    name == "authorization"
        || name == "cookie"
        || name == "referer"
        || KEY_FIELDS.iter().any(|field| field == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, fields: &[(&str, &str)], want: Result<&str, Refusal>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let uri = uri.parse().unwrap();
        let got = find(&headers, &uri).map(|bytes| std::str::from_utf8(bytes).unwrap());
        assert_eq!(got, want, "{uri} {fields:?}");
    }

    #[test]
    fn exactly_one_credential_in_one_place() {
        check("/v1", &[("authorization", "Bearer a")], Ok("a"));
        check("/v1", &[("authorization", "bearer  a ")], Ok("a"));
        check("/v1", &[("x-api-key", "a")], Ok("a"));
        check("/v1?key=a", &[], Ok("a"));
        check("/v1?k%65y=a", &[], Ok("a"));
        check("/v1", &[], Err(Refusal::MissingCredential));
        check("/v1", &[("x-api-key", "")], Err(Refusal::MissingCredential));
        check("/v1", &[("authorization", "Bearer ")], Err(Refusal::MissingCredential));
        check("/v1", &[("authorization", "Bearer")], Err(Refusal::MissingCredential));
        check("/v1", &[("authorization", "bearer-a")], Err(Refusal::MalformedCredential));
        check("/v1", &[("authorization", "Basic abc")], Err(Refusal::MalformedCredential));
        let two = Err(Refusal::AmbiguousCredential);
        check("/v1", &[("authorization", "Bearer a"), ("authorization", "Bearer a")], two);
        check("/v1", &[("authorization", "Bearer a"), ("x-api-key", "a")], two);
        check("/v1?key=a", &[("api-key", "a")], two);
        check("/v1?key=a&KEY=b", &[], two);
    }

    #[test]
    fn the_query_loses_only_the_credential() {
        assert_eq!(clean_query("a=1&key=x&b=2&%6bey=y"), Some("a=1&b=2".to_owned()));
        assert_eq!(clean_query("key=x"), None);
        assert_eq!(clean_query("a=sk-tw-1&b=sk%2Dtw-1&c=sk-1"), Some("c=sk-1".to_owned()));
    }
}
