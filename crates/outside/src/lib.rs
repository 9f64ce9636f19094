//! Adapters to the outside: carries rendered alerts to their receivers, and asks providers as their administrator.
//!
//! One message, one try: [`send`] says whether the receiver took it, and when not, whether the receiver is away, busy
//! or unwilling. Whether and when to try again is decided elsewhere.
//!
//! Invariants:
//! * Everything has a time limit and a size limit.
//! * No error, and nothing that is printed, holds an address, a credential or a receiver's text that repeats one.
//! * A message counts as taken only when the receiver's protocol says so. UDP and Unix datagrams say nothing: there,
//!   it is taken when the system took it.

mod file;
mod http;
mod mail;
mod provider;
mod sign;
mod syslog;
mod trust;

use std::path::PathBuf;
use std::time::Duration;

use tokenwatch_model::alert::{Failure, Message};
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::Timestamp;

pub use self::mail::{MailServer, MailTls};
pub use self::provider::{NoAnswer, ProviderPlace, ask};
pub use self::sign::signature;
pub use self::syslog::{ParseSyslogError, SyslogPlace};
pub use self::trust::{Trust, TrustError};

/// Where messages go, with everything that is needed to get there.
#[derive(Clone)]
pub struct Destination {
    /// How.
    pub carrier: Carrier,
    /// How long one try may take.
    pub timeout: Duration,
    /// Whom to trust.
    pub trust: Trust,
}

/// A way to a receiver.
#[derive(Clone)]
pub enum Carrier {
    /// A POST to an address, which may be a secret itself.
    Http {
        /// The address, `http://` or `https://`.
        url: Secret,
        /// What the message says where to put.
        secret: Option<Secret>,
    },
    /// E-mail through a server.
    Mail(Box<MailServer>),
    /// Syslog.
    Syslog {
        /// Where.
        place: SyslogPlace,
        /// This machine's name.
        host: String,
    },
    /// A file that lines are appended to.
    File(PathBuf),
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct SendError {
    /// What that means for the next try.
    pub failure: Failure,
    /// In words, without secrets.
    pub what: String,
}

impl SendError {
    fn away(what: impl ToString) -> Self {
        Self { failure: Failure::Unreachable, what: what.to_string() }
    }

    fn rejected(what: impl ToString) -> Self {
        Self { failure: Failure::Rejected, what: what.to_string() }
    }
}

/// Sends a message. `now` is what signatures are dated with.
///
/// # Errors
///
/// When the receiver did not take it in time; it may have taken it all the same, so receivers see some twice.
pub async fn send(destination: &Destination, message: &Message, now: Timestamp) -> Result<(), SendError> {
    let sent = async {
        match (&destination.carrier, message) {
            (Carrier::Http { url, secret }, Message::Http { .. }) => {
                http::post(url, secret.as_ref(), message, &destination.trust, now).await
            }
            (Carrier::Mail(server), Message::Mail { .. }) => {
                mail::send(server, message, &destination.trust, destination.timeout).await
            }
            (Carrier::Syslog { place, host }, Message::Syslog { .. }) => {
                syslog::send(place, host, message, &destination.trust).await
            }
            (Carrier::File(path), Message::Line(line)) => file::append(path, line).await,
            // Who renders and who sends read the same configuration.
            _ => Err(SendError::rejected("the message is not of the destination's kind")),
        }
    };
    match tokio::time::timeout(destination.timeout, sent).await {
        Ok(sent) => sent,
        Err(_) => {
            let waited = destination.timeout.as_secs_f64();
            Err(SendError::away(format_args!("no answer within {waited} s")))
        }
    }
}
