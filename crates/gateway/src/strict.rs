//! Strict HTTP: what the server library accepts and two parsers could read in two ways is refused here.
//!
//! Facts from RFC 9110 and 9112; every check names the field so that the answer can say what to mend.

use http::Uri;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, Method, Request, Version};

/// Why a head is refused, as a sentence for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadHead(pub(crate) &'static str);

/// Most header fields in one request.
const FIELDS_MAX: usize = 128;

/// Checks the head of a request.
pub(crate) fn check<B>(request: &Request<B>) -> Result<(), BadHead> {
    check_target(request.method(), request.uri())?;
    check_host(request)?;
    check_framing(request.headers())?;
    if request.headers().len() > FIELDS_MAX {
        return Err(BadHead("too many header fields"));
    }
    // An underscore reads as a dash to some servers, and could carry a second credential or length past us.
    if request.headers().keys().any(|name| name.as_str().contains('_')) {
        return Err(BadHead("a header field name contains an underscore"));
    }
    Ok(())
}

fn check_target(method: &Method, uri: &Uri) -> Result<(), BadHead> {
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(BadHead("this method is not served"));
    }
    if uri.path().is_empty() || !uri.path().starts_with('/') {
        return Err(BadHead("the request target must start with a slash"));
    }
    if let Some(scheme) = uri.scheme() {
        let known = *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
        if !known || uri.authority().is_none_or(|authority| !is_plain_authority(authority.as_str())) {
            return Err(BadHead("the request target is not an http address"));
        }
    }
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if !target.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\') {
        return Err(BadHead("the request target contains a character that must be percent-encoded"));
    }
    Ok(())
}

fn check_host<B>(request: &Request<B>) -> Result<(), BadHead> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(BadHead("more than one Host field"));
    }
    match host.map(|host| host.to_str()) {
        Some(Ok(text)) if is_plain_authority(text) => {
            // HTTP/2 carries the authority in the target; when both are there they must agree.
            let same = request.uri().authority().is_none_or(|a| a.as_str().eq_ignore_ascii_case(text));
            if same { Ok(()) } else { Err(BadHead("Host and the request target disagree")) }
        }
        Some(_) => Err(BadHead("the Host field is not a host name with an optional port")),
        None if request.version() == Version::HTTP_2 && request.uri().authority().is_some() => Ok(()),
        None => Err(BadHead("the Host field is missing")),
    }
}

/// A host name or address with an optional port and nothing else.
fn is_plain_authority(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if text.is_empty() || !text.bytes().all(plain) {
        return false;
    }
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let after_host = text.strip_prefix(authority.host()).unwrap_or("");
    match after_host.strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port != 0),
        None => after_host.is_empty() && !authority.host().is_empty(),
    }
}

fn check_framing(headers: &HeaderMap) -> Result<(), BadHead> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(BadHead("Transfer-Encoding must be exactly chunked"));
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(BadHead("both Transfer-Encoding and Content-Length"));
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        if lengths.next().is_some() || !digits {
            return Err(BadHead("Content-Length must be one number"));
        }
    }
    Ok(())
}

/// Header fields that never travel on: hop by hop (RFC 9110 §7.6.1), proxy credentials, and overrides that
/// could make an upstream route or authenticate differently from what was admitted.
pub(crate) fn is_hop_or_override(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "connection"
            | "keep-alive"
            // Old gateways turn it into a variable that chooses a proxy for what runs behind them.
            | "proxy"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "expect"
            | "x-original-url"
            | "x-rewrite-url"
            | "x-http-method-override"
            | "x-http-method"
            | "x-method-override"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-proto"
            | "x-real-ip"
            | "forwarded"
            // They choose an organisation or workspace for the credential, which is ours.
            | "openai-organization"
            | "openai-project"
            | "anthropic-workspace-id"
    ) || name.starts_with("proxy-")
}

/// Names listed in `Connection`: hop by hop too, except fields that frame or authenticate the message.
pub(crate) fn named_in_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    const KEPT: [&str; 6] =
        ["host", "content-length", "content-type", "content-encoding", "authorization", "x-api-key"];
    headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| !KEPT.contains(&name.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[track_caller]
    fn check_head(uri: &str, headers: &[(&str, &str)], want: Result<(), &'static str>) {
        let mut builder = Request::builder().uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let request = builder.body(()).unwrap();
        assert_eq!(check(&request), want.map_err(BadHead), "{uri} {headers:?}");
    }

    #[test]
    fn hosts_are_names_with_a_port() {
        for good in ["example.com", "example.com:8080", "127.0.0.1", "[::1]:8080", "a_b"] {
            check_head("/v1/models", &[("host", good)], Ok(()));
        }
        let wrong = Err("the Host field is not a host name with an optional port");
        for bad in
            ["", "a b", "user@host", "host/path", "a,b", "h:99999", "h:", "h:0", "[::1", "h?x", "h#x", "h\\x"]
        {
            check_head("/v1/models", &[("host", bad)], wrong);
        }
        check_head("/v1/models", &[], Err("the Host field is missing"));
        check_head("/v1/models", &[("host", "a"), ("host", "a")], Err("more than one Host field"));
        check_head("http://a/v1", &[("host", "b")], Err("Host and the request target disagree"));
    }

    #[test]
    fn framing_is_unambiguous() {
        let host = ("host", "a");
        check_head("/", &[host, ("transfer-encoding", "chunked")], Ok(()));
        for bad in ["gzip, chunked", "identity", ", chunked", "chunked, chunked", "xchunked"] {
            check_head(
                "/",
                &[host, ("transfer-encoding", bad)],
                Err("Transfer-Encoding must be exactly chunked"),
            );
        }
        check_head("/", &[host, ("content-length", "5")], Ok(()));
        for bad in ["+5", "5, 5", "-1", "0x5", ""] {
            check_head("/", &[host, ("content-length", bad)], Err("Content-Length must be one number"));
        }
        let both = [host, ("content-length", "5"), ("transfer-encoding", "chunked")];
        check_head("/", &both, Err("both Transfer-Encoding and Content-Length"));
        check_head("/", &[host, ("content_length", "5")], Err("a header field name contains an underscore"));
    }

    #[test]
    fn connection_can_not_remove_framing_or_credentials() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", "close, X-Secret, Authorization, content-length".parse().unwrap());
        let names: Vec<_> = named_in_connection(&headers).iter().map(|n| n.as_str().to_owned()).collect();
        assert_eq!(names, ["close", "x-secret"]);
    }
}
