//! Syslog: RFC 5424 over UDP (RFC 5426), TCP with octet counting (RFC 6587), TLS (RFC 5425) or a Unix socket.
//!
//! Syslog has no acknowledgement. Over TCP and TLS a message counts as taken when the receiver, having been told that
//! nothing more comes, ends the connection, or keeps it without a reset for a moment.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokenwatch_model::alert::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};
use tokio_rustls::TlsConnector;

use crate::{SendError, Trust};

/// How long a receiver gets to end the connection, or to reset it.
const END_WITHIN: Duration = Duration::from_millis(500);
/// Most bytes of one datagram.
const DATAGRAM_BYTES_MAX: usize = 60_000;

/// Where a syslog receiver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogPlace {
    /// `udp://host:port`.
    Udp(String, u16),
    /// `tcp://host:port`.
    Tcp(String, u16),
    /// `tls://host:port`.
    Tls(String, u16),
    /// `unix:///path`.
    Unix(String),
}

/// Why a text is no place of a syslog receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected udp://host:514, tcp://host:601, tls://host:6514 or unix:///dev/log")]
pub struct ParseSyslogError;

impl FromStr for SyslogPlace {
    type Err = ParseSyslogError;

    fn from_str(text: &str) -> Result<Self, ParseSyslogError> {
        let (scheme, rest) = text.split_once("://").ok_or(ParseSyslogError)?;
        if scheme == "unix" {
            return if rest.starts_with('/') {
                Ok(Self::Unix(rest.to_owned()))
            } else {
                Err(ParseSyslogError)
            };
        }
        let (host, port) = rest.rsplit_once(':').ok_or(ParseSyslogError)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port: u16 = port.parse().map_err(|_| ParseSyslogError)?;
        if host.is_empty() || host.contains(['/', '@']) || port == 0 {
            return Err(ParseSyslogError);
        }
        match scheme {
            "udp" => Ok(Self::Udp(host.to_owned(), port)),
            "tcp" => Ok(Self::Tcp(host.to_owned(), port)),
            "tls" => Ok(Self::Tls(host.to_owned(), port)),
            _ => Err(ParseSyslogError),
        }
    }
}

impl fmt::Display for SyslogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host, port) => write!(f, "udp://{host}:{port}"),
            Self::Tcp(host, port) => write!(f, "tcp://{host}:{port}"),
            Self::Tls(host, port) => write!(f, "tls://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

/// One message as RFC 5424 writes it.
fn frame(host: &str, message: &Message) -> Result<String, SendError> {
    let Message::Syslog { priority, time, kind, text } = message else {
        return Err(SendError::rejected("the message is none for syslog"));
    };
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    Ok(format!("<{priority}>1 {time} {host} tokenwatch {} {kind} - {text}", std::process::id()))
}

pub(crate) async fn send(
    place: &SyslogPlace,
    host: &str,
    message: &Message,
    trust: &Trust,
) -> Result<(), SendError> {
    let text = frame(host, message)?;
    let failed = |error: std::io::Error| SendError::away(format_args!("{place}: {error}"));
    match place {
        SyslogPlace::Udp(to, port) => {
            let found = tokio::net::lookup_host((to.as_str(), *port)).await.map_err(failed)?.next();
            let address = found.ok_or_else(|| SendError::away(format_args!("{place}: no such host")))?;
            let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(local).await.map_err(failed)?;
            socket.connect(address).await.map_err(failed)?;
            socket.send(datagram(&text)).await.map(drop).map_err(failed)
        }
        SyslogPlace::Unix(path) => {
            let socket = UnixDatagram::unbound().map_err(failed)?;
            socket.send_to(datagram(&text), path).await.map(drop).map_err(failed)
        }
        SyslogPlace::Tcp(to, port) => {
            let stream = TcpStream::connect((to.as_str(), *port)).await.map_err(failed)?;
            write(stream, &text).await.map_err(failed)
        }
        SyslogPlace::Tls(to, port) => {
            let stream = TcpStream::connect((to.as_str(), *port)).await.map_err(failed)?;
            let name = ServerName::try_from(to.clone())
                .map_err(|_| SendError::away(format_args!("{place}: no usable host name")))?;
            let connector = TlsConnector::from(trust.tls.clone());
            let stream = connector.connect(name, stream).await.map_err(failed)?;
            write(stream, &text).await.map_err(failed)
        }
    }
}

fn datagram(text: &str) -> &[u8] {
    let bytes = text.as_bytes();
    bytes.get(..DATAGRAM_BYTES_MAX).unwrap_or(bytes)
}

async fn write(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> std::io::Result<()> {
    let counted = format!("{} {text}", text.len());
    stream.write_all(counted.as_bytes()).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    let mut rest = [0; 64];
    match tokio::time::timeout(END_WITHIN, stream.read(&mut rest)).await {
        // A peer that ends TLS without saying so has ended all the same.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_they_are_read() {
        for place in
            ["udp://127.0.0.1:514", "tcp://siem.example:601", "tls://siem.example:6514", "unix:///dev/log"]
        {
            assert_eq!(place.parse::<SyslogPlace>().unwrap().to_string(), place);
        }
        for wrong in
            ["siem:514", "http://siem:514", "udp://siem", "udp://:514", "udp://user@siem:514", "unix://log"]
        {
            assert_eq!(wrong.parse::<SyslogPlace>(), Err(ParseSyslogError), "{wrong}");
        }
    }
}
