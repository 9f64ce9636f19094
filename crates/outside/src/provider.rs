//! A provider's own API, asked as its administrator: one question, one answer, a connection for each.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tokenwatch_model::artifact::{Answer, Question};
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::secret::Secret;

use crate::Trust;
use crate::http::{Place, connect};

/// Most bytes of an answer: a page of a hundred entries is some tens of kilobytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A provider as one of its credentials sees it.
#[derive(Clone)]
pub struct ProviderPlace {
    /// `http://` or `https://`, without the `/v1` part.
    pub base_url: String,
    /// How the credential is presented.
    pub dialect: Dialect,
    /// The credential.
    pub credential: Secret,
    /// Whom to trust.
    pub trust: Trust,
    /// How long one answer may take.
    pub timeout: Duration,
}

/// Why a provider gave no answer: in words, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(String);

/// Asks a question. An answer of any status is one; redirects are not followed, they would carry the credential elsewhere.
///
/// # Errors
///
/// When there is no whole answer in time, or it is too long.
pub async fn ask(place: &ProviderPlace, question: &Question) -> Result<Answer, NoAnswer> {
    match tokio::time::timeout(place.timeout, exchange(place, question)).await {
        Ok(answer) => answer,
        Err(_) => Err(NoAnswer(format!("no answer within {} s", place.timeout.as_secs_f64()))),
    }
}

async fn exchange(place: &ProviderPlace, question: &Question) -> Result<Answer, NoAnswer> {
    let address = Place::of(&Secret::new(place.base_url.as_str())).map_err(|error| NoAnswer(error.what))?;
    let request = build(place, &address, question)?;
    let answer = connect(&address, &place.trust, request).await.map_err(|error| NoAnswer(error.what))?;
    let status = answer.status();
    let body = match Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(NoAnswer(format!("its answer is longer than {} MiB", ANSWER_BYTES_MAX >> 20)));
        }
        // What an error says beyond its status is not worth another error.
        Err(_) if status != StatusCode::OK => Bytes::new(),
        Err(_) => return Err(NoAnswer("its answer broke off".to_owned())),
    };
    Ok(Answer { status: status.as_u16(), body: without(&body, &place.credential) })
}

fn build(
    place: &ProviderPlace,
    address: &Place,
    question: &Question,
) -> Result<Request<Full<Bytes>>, NoAnswer> {
    let wrong = || NoAnswer("the credential holds characters that a header can not".to_owned());
    let (name, text) = match place.dialect {
        Dialect::OpenAi => (AUTHORIZATION, format!("Bearer {}", place.credential.expose())),
        Dialect::Anthropic => (HeaderName::from_static("x-api-key"), place.credential.expose().to_owned()),
    };
    let mut credential = HeaderValue::from_str(&text).map_err(|_| wrong())?;
    credential.set_sensitive(true);
    let mut request = Request::builder()
        .method(question.method)
        .uri(format!("{}{}", address.base(), question.target))
        .header(HOST, &address.authority)
        .header(USER_AGENT, concat!("tokenwatch/", env!("CARGO_PKG_VERSION")))
        // Nothing here decompresses.
        .header(ACCEPT_ENCODING, "identity")
        .header(name, credential);
    for (name, value) in question.headers {
        request = request.header(*name, *value);
    }
    request
        .body(Full::default())
        .map_err(|_| NoAnswer("the question can not be written as an HTTP request".to_owned()))
}

/// The body without the credential, should the provider repeat it. What is not UTF-8 is no JSON either, so nothing is lost.
fn without(body: &[u8], credential: &Secret) -> Vec<u8> {
    match credential.expose() {
        "" => body.to_vec(),
        secret => String::from_utf8_lossy(body).replace(secret, "****").into_bytes(),
    }
}
