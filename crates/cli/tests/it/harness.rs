//! Real processes: a mock provider, servers, commands; in a folder of their own, gone when dropped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokenwatch_model::secret::Secret;
use tokenwatch_testkit::client::{Answer, LoadClient};
use tokenwatch_testkit::sim::SimRequest;

/// How long anything may take before a test gives up: far more than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(10);
/// The credential of the mock provider.
pub(crate) const PROVIDER_KEY: &str = "sk-upstream-4fd1c0ffee5ca1ab1e";

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ask() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(STEP);
    }
}

/// A running process, killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        wait_for("the end of a process", || self.0.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A mock provider of its own process.
pub(crate) struct Mock {
    _process: Process,
    pub(crate) address: SocketAddr,
}

impl Mock {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenwatch"));
        command.args(["mock-provider", "--openai-key", PROVIDER_KEY]);
        let mut process = Process(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Self { _process: process, address: said["listen"].as_str().unwrap().parse().unwrap() }
    }
}

/// A folder with configuration, state and logs.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    logs: std::cell::Cell<u32>,
}

/// What a server is started with besides its configuration file.
#[derive(Default)]
pub(crate) struct Start {
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<&'static str, String>,
    pub(crate) without_config: bool,
    /// Run by this program, which gets the server's command line.
    pub(crate) by: Option<Vec<String>>,
    /// What standard input is.
    pub(crate) stdin: Option<std::os::fd::OwnedFd>,
}

impl Place {
    /// A folder without anything.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), logs: 0.into() }
    }

    /// A folder with a configuration that leads to a mock provider.
    pub(crate) fn with_config(mock: &Mock, more: &str) -> Self {
        let place = Self::new();
        std::fs::write(place.path("provider.key"), PROVIDER_KEY).unwrap();
        place.configure(&place.config(mock, more));
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// A configuration with the mock as both providers; `more` is put at its end.
    pub(crate) fn config(&self, mock: &Mock, more: &str) -> String {
        let mut text = String::from(
            "[server]\nlisten = \"127.0.0.1:0\"\nworkers = 2\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
             drain_timeout_s = 20\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        );
        for name in ["openai", "anthropic"] {
            text.push_str(&self.provider(mock, name, name));
        }
        text + more
    }

    /// A section with the mock as a provider.
    pub(crate) fn provider(&self, mock: &Mock, name: &str, dialect: &str) -> String {
        format!(
            "[[provider]]\nname = \"{name}\"\ndialect = \"{dialect}\"\nbase_url = \"http://{}\"\n\
             credentials = [\"file:{}\"]\n",
            mock.address,
            self.path("provider.key").display()
        )
    }

    /// Writes the configuration file, whole or not at all.
    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.path("new.toml"), text).unwrap();
        std::fs::rename(self.path("new.toml"), self.path("tokenwatch.toml")).unwrap();
    }

    /// A command line with this folder's state and nothing of the environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenwatch"));
        self.dress(&mut command);
        command
    }

    fn dress(&self, command: &mut Command) {
        command.env_clear().env("USER", "tester").env("COLUMNS", "100");
        command.env("TOKENWATCH_STATE_DIR", self.state()).current_dir(self.dir.path());
        if self.path("tokenwatch.toml").exists() {
            command.env("TOKENWATCH_CONFIG", self.path("tokenwatch.toml"));
        }
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        done(self.command().args(args))
    }

    /// Runs a command that has to succeed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Done {
        let done = self.run(args);
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        done
    }

    /// Issues a key.
    #[track_caller]
    pub(crate) fn issue(&self, name: &str, more: &[&str]) -> Secret {
        let done = self.ok(&[&["key", "issue", "--name", name], more].concat());
        Secret::new(done.stdout.trim())
    }

    #[track_caller]
    pub(crate) fn serve(&self) -> Server {
        self.serve_with(Start::default())
    }

    /// Starts a server and waits until it serves.
    #[track_caller]
    pub(crate) fn serve_with(&self, start: Start) -> Server {
        let mut server = self.spawn(start);
        server.wait_until_ready();
        server
    }

    /// Starts a server.
    pub(crate) fn spawn(&self, start: Start) -> Server {
        let number = self.logs.get() + 1;
        self.logs.set(number);
        let file = |name: &str| self.path(&format!("{name}.{number}"));
        let (ready, out, log) = (file("ready"), file("stdout"), file("log"));
        let mut command = match &start.by {
            None => Command::new(env!("CARGO_BIN_EXE_tokenwatch")),
            Some(by) => {
                let mut command = Command::new(&by[0]);
                command.args(&by[1..]).arg(env!("CARGO_BIN_EXE_tokenwatch"));
                command
            }
        };
        self.dress(&mut command);
        if start.without_config {
            command.env_remove("TOKENWATCH_CONFIG");
        }
        command.arg("serve").arg("--ready-file").arg(&ready).args(&start.args).envs(&start.env);
        command.stdin(start.stdin.map_or_else(Stdio::null, Stdio::from));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&log).unwrap());
        let process = Process(command.spawn().unwrap());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        Server { process, ready, out, log, state: self.state(), gateway: nowhere, admin: nowhere }
    }

    /// Everything that was written here by anybody, file by file.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    walk(&entry.path(), files);
                } else if kind.is_file() {
                    files.push(entry.path());
                }
            }
        }
        let mut files = Vec::new();
        walk(self.dir.path(), &mut files);
        files
    }
}

/// Runs a command to its end.
pub(crate) fn done(command: &mut Command) -> Done {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) process: Process,
    ready: PathBuf,
    out: PathBuf,
    log: PathBuf,
    state: PathBuf,
    pub(crate) gateway: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Server {
    #[track_caller]
    pub(crate) fn wait_until_ready(&mut self) {
        let text = wait_for("a server that serves", || {
            if let Some(status) = self.process.0.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            std::fs::read_to_string(&self.ready).ok()
        });
        let ready: Value = serde_json::from_str(&text).unwrap();
        self.gateway = ready["gateway"].as_str().unwrap().parse().unwrap();
        self.admin = ready["admin"].as_str().unwrap().parse().unwrap();
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// What it printed so far.
    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    /// Kills it at once and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.process.signal(Signal::KILL);
        assert_eq!(self.process.ended().signal(), Some(9));
    }

    /// Asks it to stop and waits; it has to end well.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.ended();
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    /// A client of the gateway.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.gateway)
    }

    /// Reads from the admin API as a program on this machine.
    pub(crate) fn admin(&self, path: &str) -> Value {
        serde_json::from_str(&self.admin_text(path)).unwrap()
    }

    /// As [`Server::admin`], for what is not JSON.
    pub(crate) fn admin_text(&self, path: &str) -> String {
        let token = std::fs::read_to_string(self.state.join("local.token")).unwrap();
        let client = Client::new(self.admin);
        let request =
            Request::builder().uri(path).header("authorization", format!("Bearer {}", token.trim()));
        let answer = client.send(request.body(Full::default()).unwrap()).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    /// Has the admin API do something, as a program on this machine.
    pub(crate) fn admin_post(&self, path: &str, body: &'static str) -> Value {
        let token = std::fs::read_to_string(self.state.join("local.token")).unwrap();
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", token.trim()))
            .body(Full::new(Bytes::from_static(body.as_bytes())));
        let answer = Client::new(self.admin).send(request.unwrap()).unwrap();
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The value of a metric, by its name and labels as exposed; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.admin_text("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// Sends requests and waits for the answers.
pub(crate) struct Client {
    runtime: tokio::runtime::Runtime,
    client: LoadClient,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, client: LoadClient::new(address, PATIENCE) }
    }

    pub(crate) fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        self.runtime.block_on(self.client.send_http(request)).map_err(|error| describe(&error))
    }

    /// The status of a plain chat request.
    pub(crate) fn status(&self, key: &Secret) -> u16 {
        self.chat(key, &[]).status.as_u16()
    }

    /// A plain chat request.
    #[track_caller]
    pub(crate) fn chat(&self, key: &Secret, headers: &[(&str, &str)]) -> Answer {
        self.send(chat(key, false, headers)).unwrap()
    }

    /// A simulated request, from where its sender is.
    #[track_caller]
    pub(crate) fn send_sim(&self, request: &SimRequest, key: &Secret) -> Answer {
        self.runtime.block_on(self.client.send(request, key)).unwrap()
    }

    /// An answer as far as it came, and why it came no further.
    pub(crate) fn lossy(&self, request: Request<Full<Bytes>>) -> (Answer, Option<String>) {
        let (answer, error) = self.runtime.block_on(self.client.send_lossy(request)).unwrap();
        (answer, error.map(|error| describe(&error)))
    }
}

/// An error with its causes.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A chat request in OpenAI's dialect.
pub(crate) fn chat(key: &Secret, stream: bool, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let body = json!({
        "model": "gpt-4o-mini",
        "stream": stream,
        "max_tokens": 100,
        "messages": [{ "role": "user", "content": "How long is a piece of string?" }],
    });
    chat_with(key, &body, headers)
}

/// A chat request with a body of one's own.
pub(crate) fn chat_with(key: &Secret, body: &Value, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", key.expose()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::from(body.to_string())).unwrap()
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
