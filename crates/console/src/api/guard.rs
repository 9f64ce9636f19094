//! What browsers must not do: web pages of others can reach a loopback port, so whatever such a page could have
//! sent is refused before its token is looked at.
//!
//! Three ways in, three checks: a page that names this server by a host name of its own (DNS rebinding) shows
//! that name in `Host`; a page that calls across origins shows its own in `Origin`; what an `img` or a form
//! sends shows `Sec-Fetch-Site`. There are no CORS header fields, so no page of others can read an answer.

use std::net::IpAddr;

use http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use http::uri::Authority;

use super::Access;
use super::problem::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a web page of others may have sent.
pub(crate) fn check(access: &Access, headers: &HeaderMap) -> Result<(), Problem> {
    let host = check_host(access, headers)?;
    match one(headers, &ORIGIN)? {
        None => {}
        Some(origin) if is_allowed(access, &host, origin) => return Ok(()),
        Some(_) => {
            let message =
                "web pages of other origins may not call this server; [admin] origins lists those that may";
            return Err(Problem::forbidden("origin_not_allowed", message));
        }
    }
    match one(headers, &SEC_FETCH_SITE)? {
        Some("cross-site" | "same-site") => {
            Err(Problem::forbidden("origin_not_allowed", "web pages of others may not call this server"))
        }
        _ => Ok(()),
    }
}

/// Refuses a host name that a web page of others may have given this server. For what people come to by a link from
/// elsewhere, and what changes nothing.
pub(crate) fn check_host(access: &Access, headers: &HeaderMap) -> Result<Authority, Problem> {
    let host =
        one(headers, &HOST)?.ok_or_else(|| Problem::invalid("host", "a Host header field is needed"))?;
    let host: Authority = host.parse().map_err(|_| Problem::invalid("host", "not a host name"))?;
    if !is_known(access, host.host()) {
        let message = format!(
            "the host name {:?} is not known here: use an address or localhost, or add it to [admin] hosts",
            host.host()
        );
        return Err(Problem::forbidden("host_not_allowed", message));
    }
    Ok(host)
}

/// The value of a field that may stand once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    let text = first.map(|value| value.to_str()).transpose();
    match (text, values.next()) {
        (Ok(text), None) => Ok(text),
        _ => Err(Problem::invalid(name.as_str(), "it must stand once, in plain characters")),
    }
}

fn is_known(access: &Access, host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || access.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
}

/// The server's own origin (its host is known by now), or a configured one.
fn is_allowed(access: &Access, host: &Authority, origin: &str) -> bool {
    let own = ["http://", "https://"].into_iter().filter_map(|scheme| origin.strip_prefix(scheme));
    own.into_iter().any(|rest| rest.eq_ignore_ascii_case(host.as_str()))
        || access.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check_fields(fields: &[(&'static str, &'static str)], want: Result<(), &'static str>) {
        let access = Access {
            hosts: vec!["tokenwatch.example.com".into()],
            origins: vec!["https://console.example.com".into()],
            local: None,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert_eq!(check(&access, &headers).map_err(|problem| problem.code), want, "{fields:?}");
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_hosts() {
        for host in [
            "127.0.0.1:8081",
            "[::1]:8081",
            "[::1]",
            "10.1.2.3",
            "LOCALHOST:1",
            "TokenWatch.example.com:8081",
        ] {
            check_fields(&[("host", host)], Ok(()));
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8081", "0x7f000001"] {
            check_fields(&[("host", host)], Err("host_not_allowed"));
        }
        check_fields(&[], Err("invalid"));
        check_fields(&[("host", "")], Err("invalid"));
        check_fields(&[("host", "127.0.0.1"), ("host", "127.0.0.1")], Err("invalid"));
    }

    #[test]
    fn only_the_own_and_configured_origins_may_call() {
        let host = ("host", "127.0.0.1:8081");
        check_fields(&[host, ("origin", "http://127.0.0.1:8081")], Ok(()));
        check_fields(&[host, ("origin", "https://console.example.com")], Ok(()));
        for origin in
            ["null", "http://127.0.0.1:8080", "http://localhost:8081", "https://evil.example", "file://", ""]
        {
            check_fields(&[host, ("origin", origin)], Err("origin_not_allowed"));
        }
        check_fields(&[host, ("sec-fetch-site", "cross-site")], Err("origin_not_allowed"));
        check_fields(&[host, ("sec-fetch-site", "same-origin")], Ok(()));
        check_fields(&[host, ("sec-fetch-site", "none")], Ok(()));
    }
}
