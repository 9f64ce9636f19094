//! Asks the admin API: one connection for each look, so that a server that comes back is found by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokenwatch_console::api::shapes::Live;
use tokio::net::TcpStream;

/// Time for one look.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// Longest answer: a thousand keys are some megabytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error("no server answers at {address} ({detail}): is `tokenwatch serve` running?")]
    Away { address: String, detail: String },
    #[error(
        "the token file {path} can not be read ({detail}): is `tokenwatch serve` running on this state directory? \
         --state-dir names another, --token-file another token"
    )]
    NoToken { path: String, detail: std::io::Error },
    #[error("the server refuses: {0}")]
    Refused(String),
    #[error("what answers at {address} is not the admin API of this version: {detail}")]
    Foreign { address: String, detail: String },
}

/// The admin API's address as a command on the same machine reaches it.
pub(super) fn url_of(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

/// The server that is asked.
pub(super) struct Server {
    /// Host and port.
    address: String,
    token_file: PathBuf,
}

impl Server {
    /// The server at `url`. Its own token is for this machine only, so it is never sent to another.
    pub(super) fn new(url: &str, token_file: PathBuf, is_local_token: bool) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().map_err(|_| anyhow::anyhow!("--url: {url:?} is no address"))?;
        anyhow::ensure!(
            uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none(),
            "--url: expected an address such as http://127.0.0.1:8081; for another machine, forward its port: \
             `ssh -L 8081:127.0.0.1:8081 HOST`"
        );
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_matches(['[', ']']);
        let is_here = host == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        anyhow::ensure!(
            is_here || !is_local_token,
            "--url: {host} is another machine, which does not know the token of this one: name a file with an admin \
             token by --token-file"
        );
        Ok(Self { address: format!("{host}:{}", uri.port_u16().unwrap_or(80)), token_file })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// One look. The token is read each time: a server that was restarted has another.
    pub(super) async fn look(&self) -> Result<Live, LookError> {
        let text = std::fs::read_to_string(&self.token_file);
        let token = text
            .map_err(|detail| LookError::NoToken { path: self.token_file.display().to_string(), detail })?;
        match tokio::time::timeout(LOOK_MAX, self.ask(token.trim())).await {
            Ok(looked) => looked,
            Err(_) => Err(self.away("no answer in time")),
        }
    }

    fn away(&self, detail: impl ToString) -> LookError {
        LookError::Away { address: self.address.clone(), detail: detail.to_string() }
    }

    fn foreign(&self, detail: impl ToString) -> LookError {
        LookError::Foreign { address: self.address.clone(), detail: detail.to_string() }
    }

    async fn ask(&self, token: &str) -> Result<Live, LookError> {
        let stream = TcpStream::connect(&self.address).await.map_err(|error| self.away(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.away(error))?;
        // Ends with the sender; what goes wrong with it the request says, too.
        let driver = tokio::spawn(connection);
        let request = Request::get("/api/v1/live?limit=1000")
            .header("host", &self.address)
            .header("authorization", format!("Bearer {token}"))
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.foreign(error))?;
        let response = sender.send_request(request).await.map_err(|error| self.away(error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.away(error))?.to_bytes();
        driver.abort();
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| self.foreign(error));
        }
        let error = serde_json::from_slice::<serde_json::Value>(&body).ok();
        let message = error.as_ref().and_then(|error| error["error"]["message"].as_str());
        Err(message.map_or_else(|| self.foreign(status), |message| LookError::Refused(message.to_owned())))
    }
}
