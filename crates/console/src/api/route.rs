//! The table of routes. `docs/openapi.json` describes each of them, and a test holds the two together.

use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::input::Call;
use super::problem::Problem;
use super::reply::Reply;
use super::{alerts, approve, contexts, drills, incidents, keys, owners, runbook, suppressions, system};
use crate::records::Role;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Anybody, and a web page of others could: it holds no secret and changes nothing.
    Nothing,
    /// Anybody who is not a web page of others.
    KnownHost,
    /// A link that this server signed and that says what it does.
    Link,
    /// A token with this role or a higher one.
    Token(Role),
}

pub(crate) type Handler = fn(&Call) -> Result<Reply, Problem>;

/// One route.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path; placeholders stand in braces.
    pub path: &'static str,
    /// Who may use it.
    pub needs: Needs,
    /// Query parameters it knows.
    pub query: &'static [&'static str],
    /// Whether it reads a body.
    pub takes_body: bool,
    /// Whether it honours `If-Match`.
    pub takes_revision: bool,
    /// Whether its handler may block on a disk.
    pub(crate) blocks: bool,
    pub(crate) handler: Handler,
}

const fn get(path: &'static str, needs: Needs, query: &'static [&'static str], handler: Handler) -> Route {
    Route {
        method: Method::GET,
        path,
        needs,
        query,
        takes_body: false,
        takes_revision: false,
        blocks: true,
        handler,
    }
}

/// Answered on the runtime, without waiting for anything: a stuck disk does not make the process look dead.
const fn at_once(path: &'static str, handler: Handler) -> Route {
    let needs = Needs::Nothing;
    Route {
        method: Method::GET,
        path,
        needs,
        query: &[],
        takes_body: false,
        takes_revision: false,
        blocks: false,
        handler,
    }
}

const fn post(path: &'static str, role: Role, handler: Handler) -> Route {
    let needs = Needs::Token(role);
    Route {
        method: Method::POST,
        path,
        needs,
        query: &[],
        takes_body: true,
        takes_revision: false,
        blocks: true,
        handler,
    }
}

/// The button on a page of a signed link.
const fn button(path: &'static str, handler: Handler) -> Route {
    Route {
        method: Method::POST,
        path,
        needs: Needs::Link,
        query: &[],
        takes_body: true,
        takes_revision: false,
        blocks: true,
        handler,
    }
}

const fn change(method: Method, path: &'static str, handler: Handler) -> Route {
    let needs = Needs::Token(Role::Admin);
    Route { method, path, needs, query: &[], takes_body: true, takes_revision: true, blocks: true, handler }
}

const VIEWER: Needs = Needs::Token(Role::Viewer);

static ROUTES: [Route; 66] = [
    at_once("/healthz", system::healthz),
    get("/readyz", Needs::Nothing, &[], system::readyz),
    get("/metrics", Needs::KnownHost, &[], system::metrics),
    get("/api/v1/openapi.json", Needs::KnownHost, &[], system::openapi),
    get("/api/v1/whoami", VIEWER, &[], system::whoami),
    get("/api/v1/keys", VIEWER, &["after", "limit", "name", "state", "owner", "environment"], keys::list),
    post("/api/v1/keys", Role::Admin, keys::issue),
    get("/api/v1/keys/{key}", VIEWER, &[], keys::show),
    change(Method::PATCH, "/api/v1/keys/{key}", keys::edit),
    change(Method::POST, "/api/v1/keys/{key}/disable", keys::disable),
    change(Method::POST, "/api/v1/keys/{key}/enable", keys::enable),
    change(Method::POST, "/api/v1/keys/{key}/revoke", keys::revoke),
    change(Method::POST, "/api/v1/keys/{key}/expire", keys::expire),
    change(Method::POST, "/api/v1/keys/{key}/rotate", keys::rotate),
    change(Method::POST, "/api/v1/keys/{key}/retire", keys::retire),
    get("/api/v1/keys/{key}/rotation", VIEWER, &[], keys::rotation),
    get("/api/v1/keys/{key}/contexts", VIEWER, &[], contexts::list),
    post("/api/v1/keys/{key}/contexts", Role::Responder, contexts::allow),
    post("/api/v1/keys/{key}/contexts/end", Role::Responder, contexts::end),
    post("/api/v1/keys/{key}/containments", Role::Responder, incidents::contain),
    get("/api/v1/owners", VIEWER, &[], owners::list),
    post("/api/v1/owners", Role::Admin, owners::add),
    get("/api/v1/owners/{owner}", VIEWER, &[], owners::show),
    change(Method::PATCH, "/api/v1/owners/{owner}", owners::edit),
    get("/api/v1/incidents", VIEWER, &["all", "key", "limit"], incidents::list),
    get("/api/v1/incidents/{incident}", VIEWER, &[], incidents::show),
    get("/api/v1/incidents/{incident}/runbook", VIEWER, &[], runbook::show),
    post("/api/v1/incidents/{incident}/steps/{step}", Role::Responder, runbook::tick),
    post("/api/v1/incidents/{incident}/persistence", Role::Responder, runbook::check_persistence),
    post("/api/v1/incidents/{incident}/restore", Role::Responder, runbook::restore),
    get("/approve/{link}", Needs::Link, &[], approve::show),
    button("/approve/{link}", approve::act),
    get("/api/v1/incidents/{incident}/plan", VIEWER, &[], incidents::plan),
    post("/api/v1/incidents/{incident}/approve", Role::Responder, incidents::approve),
    post("/api/v1/incidents/{incident}/resolve", Role::Responder, incidents::resolve),
    post("/api/v1/incidents/{incident}/acknowledge", Role::Responder, incidents::acknowledge),
    post("/api/v1/incidents/{incident}/dismiss", Role::Responder, incidents::dismiss),
    post("/api/v1/incidents/{incident}/note", Role::Responder, incidents::note),
    post("/api/v1/incidents/{incident}/snooze", Role::Responder, alerts::snooze),
    get("/api/v1/containments", VIEWER, &["limit"], incidents::containments),
    get("/api/v1/containments/{containment}", VIEWER, &[], incidents::containment),
    post("/api/v1/containments/{containment}/lift", Role::Responder, incidents::lift),
    get("/api/v1/alerts", VIEWER, &["all", "incident", "alarm", "limit"], alerts::list),
    post("/api/v1/alerts/test", Role::Responder, alerts::test),
    post("/api/v1/alerts/retry", Role::Responder, alerts::retry_all),
    get("/api/v1/alerts/{delivery}", VIEWER, &[], alerts::show),
    post("/api/v1/alerts/{delivery}/retry", Role::Responder, alerts::retry),
    post("/api/v1/alerts/{delivery}/drop", Role::Responder, alerts::give_up),
    get("/api/v1/alarms", VIEWER, &["limit"], alerts::alarms),
    post("/api/v1/alarms/snooze", Role::Responder, alerts::snooze_spender),
    get("/api/v1/alarms/{alarm}", VIEWER, &[], alerts::alarm),
    get("/api/v1/drills", VIEWER, &["key", "limit"], drills::list),
    post("/api/v1/drills", Role::Responder, drills::start),
    get("/api/v1/drills/{drill}", VIEWER, &[], drills::show),
    post("/api/v1/drills/{drill}/settle", Role::Responder, drills::settle),
    post("/api/v1/drills/{drill}/rotate", Role::Responder, drills::rotate),
    post("/api/v1/drills/{drill}/end", Role::Responder, drills::end),
    get("/api/v1/suppressions", VIEWER, &["all", "limit"], suppressions::list),
    post("/api/v1/suppressions", Role::Responder, suppressions::add),
    get("/api/v1/suppressions/{suppression}", VIEWER, &[], suppressions::show),
    post("/api/v1/suppressions/{suppression}/lift", Role::Responder, suppressions::lift),
    get("/api/v1/suppressed-alerts", VIEWER, &["key", "limit"], suppressions::alerts),
    get("/api/v1/audit", VIEWER, &["limit"], system::audit),
    get("/api/v1/live", VIEWER, &["limit"], system::live),
    get("/api/v1/providers", VIEWER, &[], system::providers),
    get("/api/v1/prices", VIEWER, &["provider", "model"], system::prices),
];

/// Every route.
pub fn routes() -> &'static [Route] {
    &ROUTES
}

/// The route of a request, and the values of its placeholders.
pub(crate) fn find(method: &Method, path: &str) -> Result<(&'static Route, Vec<String>), Problem> {
    let mut allowed: Vec<&str> = Vec::new();
    for route in &ROUTES {
        let Some(values) = matches(route.path, path) else { continue };
        if route.method == *method {
            return Ok((route, values?));
        }
        allowed.push(route.method.as_str());
    }
    if allowed.is_empty() {
        return Err(Problem::not_found(
            "there is nothing at this path; /api/v1/openapi.json lists what there is",
        ));
    }
    let allow = allowed.join(", ");
    Err(Problem {
        allow: Some(allow.clone()),
        ..Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("this path takes {allow}"),
        )
    })
}

/// The values of the template's placeholders, when the path fits it. Segments are split before they are decoded,
/// so that a name may hold a slash.
fn matches(template: &str, path: &str) -> Option<Result<Vec<String>, Problem>> {
    let (mut want, mut have) = (template.split('/'), path.split('/'));
    let mut values = Vec::new();
    loop {
        match (want.next(), have.next()) {
            (None, None) => return Some(Ok(values)),
            (Some(name), Some(segment)) if name.starts_with('{') => {
                if segment.is_empty() {
                    return None;
                }
                match percent_decode_str(segment).decode_utf8() {
                    Ok(value) => values.push(value.into_owned()),
                    Err(_) => {
                        let field = name.trim_matches(['{', '}']);
                        return Some(Err(Problem::invalid(field, "its escapes are not UTF-8")));
                    }
                }
            }
            (Some(name), Some(segment)) if name == segment => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, want: Result<(&str, &[&str]), u16>) {
        let found = find(&method, path);
        let found =
            found.as_ref().map(|(route, values)| (route.path, values.iter().map(String::as_str).collect()));
        let found: Result<(&str, Vec<&str>), u16> = found.map_err(|problem| problem.status.as_u16());
        assert_eq!(found, want.map(|(path, values)| (path, values.to_vec())), "{method} {path}");
    }

    #[test]
    fn paths_are_found_whole() {
        check(Method::GET, "/api/v1/keys", Ok(("/api/v1/keys", &[])));
        check(Method::GET, "/api/v1/keys/a%2Fb%20c", Ok(("/api/v1/keys/{key}", &["a/b c"])));
        check(Method::POST, "/api/v1/keys/x/disable", Ok(("/api/v1/keys/{key}/disable", &["x"])));
        check(Method::GET, "/api/v1/keys/", Err(404));
        check(Method::GET, "/api/v1//keys", Err(404));
        check(Method::GET, "/api/v1/keys/x/", Err(404));
        check(Method::GET, "/api/v1/keys/%ff", Err(400));
        check(Method::GET, "/", Err(404));
        check(Method::GET, "*", Err(404));
    }

    #[test]
    fn a_wrong_method_says_which_are_right() {
        check(Method::DELETE, "/api/v1/keys/x", Err(405));
        check(Method::OPTIONS, "/api/v1/keys", Err(405));
        check(Method::HEAD, "/healthz", Err(405));
        let problem = find(&Method::PUT, "/api/v1/keys/x").map(|_| ()).unwrap_err();
        assert_eq!(problem.allow.as_deref(), Some("GET, PATCH"));
    }

    #[test]
    fn no_two_routes_are_the_same() {
        for (i, route) in ROUTES.iter().enumerate() {
            let twins =
                ROUTES.iter().skip(i + 1).filter(|o| o.path == route.path && o.method == route.method);
            assert_eq!(twins.count(), 0, "{} {}", route.method, route.path);
        }
    }
}
