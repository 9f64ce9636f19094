//! `/healthz` (the process runs) and `/readyz` (it can serve) on the gateway's own port, for load balancers.

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::answer::AnswerBody;
use crate::gateway::Gateway;

/// Answers a health check; `None` for anything else.
pub(crate) fn answer(gateway: &Gateway, request: &Request<Incoming>) -> Option<Response<AnswerBody>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return None;
    }
    let (status, body) = match request.uri().path() {
        "/healthz" => (StatusCode::OK, "ok\n"),
        "/readyz" => match unready(gateway) {
            None => (StatusCode::OK, "ready\n"),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
        },
        _ => return None,
    };
    let mut response = Response::new(AnswerBody::whole(body.as_bytes()));
    *response.status_mut() = status;
    Some(response)
}

/// Why the gateway can not serve, if it can not.
fn unready(gateway: &Gateway) -> Option<&'static str> {
    if gateway.is_draining() {
        return Some("draining\n");
    }
    let settings = gateway.settings();
    let usable =
        settings.providers.iter().any(|p| p.credentials.iter().any(|credential| credential.is_set()));
    (!usable).then_some("no provider credential can be read\n")
}
