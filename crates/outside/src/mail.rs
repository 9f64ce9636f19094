//! E-mail through a server (SMTP, RFC 5321), by the library lettre.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use tokenwatch_model::alert::Message;
use tokenwatch_model::secret::Secret;

use crate::{SendError, Trust};

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// From its start, usually on port 465.
    Implicit,
    /// After `STARTTLS`, usually on port 587; a server that does not offer it gets nothing.
    StartTls,
    /// Not at all: for a server on the same machine.
    Off,
}

/// A mail server, and who writes to whom.
#[derive(Clone)]
pub struct MailServer {
    /// Host name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// User and password, if the server wants them.
    pub login: Option<(String, Secret)>,
    /// Sender, such as `TokenWatch <tokenwatch@example.com>`.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
}

impl MailServer {
    /// Whether sender and recipients are addresses; the first that is none.
    pub fn wrong_address(&self) -> Option<&str> {
        let all = std::iter::once(&self.from).chain(&self.to);
        all.map(String::as_str).find(|address| address.parse::<Mailbox>().is_err())
    }
}

pub(crate) async fn send(
    server: &MailServer,
    message: &Message,
    trust: &Trust,
    timeout: Duration,
) -> Result<(), SendError> {
    let mail = build(server, message)?;
    let transport = connect(server, trust, timeout)?;
    match transport.send(mail).await {
        Ok(_) => Ok(()),
        Err(error) => Err(judge(&error, server)),
    }
}

fn build(server: &MailServer, message: &Message) -> Result<lettre::Message, SendError> {
    let Message::Mail { subject, text, id, thread } = message else {
        return Err(SendError::rejected("the message is no e-mail"));
    };
    let mailbox = |address: &str| {
        address
            .parse::<Mailbox>()
            .map_err(|error| SendError::rejected(format_args!("{address:?} is no address: {error}")))
    };
    let from = mailbox(&server.from)?;
    let domain = from.email.domain().to_owned();
    let mut builder = lettre::Message::builder()
        .from(from)
        .subject(subject)
        .message_id(Some(format!("<{id}@{domain}>")))
        .in_reply_to(format!("<{thread}@{domain}>"))
        .references(format!("<{thread}@{domain}>"));
    for address in &server.to {
        builder = builder.to(mailbox(address)?);
    }
    builder
        .header(ContentType::TEXT_PLAIN)
        .body(text.clone())
        .map_err(|error| SendError::rejected(format_args!("the e-mail can not be written: {error}")))
}

fn connect(
    server: &MailServer,
    trust: &Trust,
    timeout: Duration,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, SendError> {
    let tls = || -> Result<TlsParameters, SendError> {
        let wrong = |error: lettre::transport::smtp::Error| SendError::away(format_args!("no TLS: {error}"));
        let store = if trust.mozilla { CertificateStore::WebpkiRoots } else { CertificateStore::None };
        let mut builder = TlsParameters::builder(server.host.clone()).certificate_store(store);
        for root in trust.roots.iter() {
            builder = builder.add_root_certificate(Certificate::from_der(root.to_vec()).map_err(wrong)?);
        }
        builder.build_rustls().map_err(wrong)
    };
    let tls = match server.tls {
        MailTls::Implicit => Tls::Wrapper(tls()?),
        MailTls::StartTls => Tls::Required(tls()?),
        MailTls::Off => Tls::None,
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
        .port(server.port)
        .tls(tls)
        .timeout(Some(timeout))
        .hello_name(ClientId::Domain("tokenwatch".to_owned()));
    if let Some((user, password)) = &server.login {
        builder = builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
    }
    Ok(builder.build())
}

/// A server that says 5xx to a message will say so again; all else may pass.
fn judge(error: &lettre::transport::smtp::Error, server: &MailServer) -> SendError {
    let mut what = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        what.push_str(": ");
        what.push_str(&cause.to_string());
        source = cause.source();
    }
    if let Some((_, password)) = &server.login {
        what = what.replace(password.expose(), "****");
    }
    let what: String = what.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    // 535 and its like are about the login, which is wrong for every message.
    let is_login =
        error.status().is_some_and(|code| matches!(code.to_string().as_str(), "530" | "534" | "535"));
    if error.is_permanent() && !is_login { SendError::rejected(what) } else { SendError::away(what) }
}
