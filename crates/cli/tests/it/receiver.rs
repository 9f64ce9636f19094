//! A receiver of alerts: an HTTP server of a few lines that keeps what it takes and answers as it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// What it was answered with.
    pub(crate) status: u16,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value)
    }
}

/// What to answer: the rest of a head after `HTTP/1.1 `, such as `429 Busy\r\nretry-after: 1`.
type Answer = Box<dyn FnMut(&Got) -> String + Send>;

/// A running receiver.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    pub(crate) fn start(answer: impl FnMut(&Got) -> String + Send + 'static) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// One that takes everything.
    pub(crate) fn willing() -> Self {
        Self::start(|_| "202 Accepted".to_owned())
    }

    pub(crate) fn at(listener: TcpListener, answer: impl FnMut(&Got) -> String + Send + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (got.clone(), Arc::new(Mutex::new(Box::new(answer) as Answer)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, answer) = (kept.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &kept, &answer));
            }
        });
        Self { address, got }
    }

    /// Everything that came, in its order.
    pub(crate) fn all(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// What it took.
    pub(crate) fn taken(&self) -> Vec<Got> {
        self.all().into_iter().filter(|got| got.status < 300).collect()
    }
}

/// Reads one request and answers it. A sender that dies in between leaves nothing behind.
fn serve(stream: TcpStream, kept: &Mutex<Vec<Got>>, answer: &Mutex<Answer>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(Some(0), |(_, length)| length.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut got = Got { path, headers, body: String::from_utf8(body).ok()?, status: 0 };
    // One at a time, so that what is kept has the order of the answers.
    let mut answer = answer.lock().unwrap();
    let head = answer(&got);
    got.status = head.get(..3)?.parse().ok()?;
    kept.lock().unwrap().push(got);
    let text = format!("HTTP/1.1 {head}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    reader.into_inner().write_all(text.as_bytes()).ok()
}
