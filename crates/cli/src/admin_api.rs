//! Asks the admin API of a running server: one connection for each question, so that a server that comes back is found by
//! itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

/// Time for one question.
const ASK_MAX: Duration = Duration::from_secs(5);
/// Longest answer: a thousand keys are some megabytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
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
pub(crate) fn url_of(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

/// The server that is asked.
pub(crate) struct Server {
    /// Host and port.
    address: String,
    token_file: PathBuf,
}

impl Server {
    /// The server at `url`. Its own token is for this machine only, so it is never sent to another.
    pub(crate) fn new(url: &str, token_file: PathBuf, is_local_token: bool) -> anyhow::Result<Self> {
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

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Asks for what is at a path.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Has something done.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, AskError> {
        let body = serde_json::to_vec(body).map_err(|error| self.foreign(error))?;
        self.ask(Method::POST, path, body.into()).await
    }

    /// The token is read each time: a server that was restarted has another.
    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, AskError> {
        let text = std::fs::read_to_string(&self.token_file);
        let token =
            text.map_err(|detail| AskError::NoToken { path: self.token_file.display().to_string(), detail })?;
        let exchange = self.exchange(method, path, body, token.trim());
        match tokio::time::timeout(ASK_MAX, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(self.away("no answer in time")),
        }
    }

    fn away(&self, detail: impl ToString) -> AskError {
        AskError::Away { address: self.address.clone(), detail: detail.to_string() }
    }

    fn foreign(&self, detail: impl ToString) -> AskError {
        AskError::Foreign { address: self.address.clone(), detail: detail.to_string() }
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        token: &str,
    ) -> Result<T, AskError> {
        let stream = TcpStream::connect(&self.address).await.map_err(|error| self.away(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.away(error))?;
        // Ends with the sender; what goes wrong with it the request says, too.
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("authorization", format!("Bearer {token}"));
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|error| self.foreign(error))?;
        let response = sender.send_request(request).await.map_err(|error| self.away(error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.away(error))?.to_bytes();
        driver.abort();
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.foreign(error));
        }
        let error = serde_json::from_slice::<serde_json::Value>(&body).ok();
        let message = error.as_ref().and_then(|error| error["error"]["message"].as_str());
        Err(message.map_or_else(|| self.foreign(status), |message| AskError::Refused(message.to_owned())))
    }
}
