//! A running admin API, and a client that can send anything.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Method;
use serde_json::Value;
use tokenwatch_console::admins::{self, AdminSpec};
use tokenwatch_console::api::{self, Access, Api, ApiLimits, Condition, DrillHost};
use tokenwatch_console::follow::Follower;
use tokenwatch_console::links::Issuer;
use tokenwatch_console::manage::Manager;
use tokenwatch_console::records::Role;
use tokenwatch_gateway::Gateway;
use tokenwatch_model::key::Policy;
use tokenwatch_model::ports::{Clock, Random};
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::ResponsePolicy;
use tokio::sync::watch;

use crate::alerts::TestHost;
use crate::persistence::TestProviders;
use crate::records::MemoryRecords;
use crate::schema::check_answer;
use crate::world;

/// What the clock says at first.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_772_366_400);

/// A clock that stands until it is moved.
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn move_on(&self, micros: u64) {
        self.0.fetch_add(micros, Ordering::AcqRel);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Acquire))
    }
}

/// The same bytes in every run.
pub(crate) struct TestRandom(AtomicU64);

impl TestRandom {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Random for TestRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut x = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::AcqRel);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let word = (x ^ (x >> 31)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// What a test chooses.
#[derive(Default)]
pub(crate) struct Choices {
    pub(crate) limits: ApiLimits,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) hosts: Vec<&'static str>,
    pub(crate) origins: Vec<&'static str>,
    pub(crate) links: Option<Issuer>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) records: Arc<MemoryRecords>,
    pub(crate) manager: Manager,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) clock: Arc<TestClock>,
    /// What renders and sends alerts.
    pub(crate) alerts: Arc<TestHost>,
    /// What asks providers.
    pub(crate) providers: Arc<TestProviders>,
    /// How often the server was told that something changed.
    pub(crate) changes: Arc<AtomicUsize>,
    tokens: Vec<(Role, String)>,
    pub(crate) local: String,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(Choices::default())
    }

    pub(crate) fn with(choices: Choices) -> Self {
        let clock = Arc::new(TestClock(AtomicU64::new(START.0)));
        let random: Arc<dyn Random> = Arc::new(TestRandom::seeded(1));
        let records = Arc::new(MemoryRecords::default());
        let manager = Manager { records: records.clone(), clock: clock.clone(), random: random.clone() };
        let tokens = Role::ALL.map(|role| {
            let spec = AdminSpec { name: role.name().into(), role, expires: None };
            (role, manager.issue_admin(spec, "test").unwrap().secret.expose().to_owned())
        });
        let (local, hash) = admins::mint(random.as_ref());
        let gateway = world::gateway(clock.clone(), random);
        let alerts = Arc::new(TestHost::default());
        let providers = Arc::new(TestProviders::default());
        let changes = Arc::new(AtomicUsize::new(0));
        let (count, conditions, links) = (changes.clone(), choices.conditions, choices.links);
        let policy = ResponsePolicy::default();
        let follower = Follower::load(records.clone(), gateway.clone(), Policy::default(), policy).unwrap();
        let follower = Mutex::new(follower);
        let api = Api {
            manager: manager.clone(),
            gateway: gateway.clone(),
            policy: Arc::new(ArcSwap::default()),
            defaults: Arc::new(ArcSwap::default()),
            // What the keeper of a server does, without its thread.
            changed: Arc::new(move || {
                count.fetch_add(1, Ordering::AcqRel);
                follower.lock().unwrap().refresh().unwrap();
            }),
            conditions: Arc::new(move || conditions.clone()),
            before_scrape: Arc::new(|| ()),
            alerts: alerts.clone(),
            providers: providers.clone(),
            drills: DrillHost {
                // Nobody calls it.
                mock: Arc::new(|| Ok("http://127.0.0.1:1".parse().unwrap())),
                acted: Arc::new(|| ()),
            },
            links: Arc::new(move || links.clone()),
            access: Access {
                hosts: choices.hosts.into_iter().map(Into::into).collect(),
                origins: choices.origins.into_iter().map(Into::into).collect(),
                local: Some(hash),
            },
            limits: choices.limits,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let thread = Some(api::start(listener, api, stopped).unwrap());
        let local = local.expose().to_owned();
        Self {
            address,
            records,
            manager,
            gateway,
            clock,
            alerts,
            providers,
            changes,
            tokens: tokens.into(),
            local,
            stop,
            thread,
        }
    }

    /// The token with exactly this role.
    pub(crate) fn token(&self, role: Role) -> &str {
        &self.tokens.iter().find(|(of, _)| *of == role).unwrap().1
    }

    /// A request as well-behaved tools send it; the answer is held to the document.
    #[track_caller]
    pub(crate) fn ask(&self, role: Role, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(Some(self.token(role)), method, path, body, &[])
    }

    #[track_caller]
    pub(crate) fn ask_with(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: Option<Value>,
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        if let Some(token) = token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        if !body.is_empty() {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        let answer = self.send(format!("{head}\r\n{body}").as_bytes());
        let method: Method = method.parse().unwrap();
        check_answer(&method, path, answer.status, &answer.body);
        answer
    }

    /// Sends bytes as they are and reads until the server closes.
    #[track_caller]
    pub(crate) fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // A server that has seen enough may close while bytes are still being sent; what it said counts.
        let _ = stream.write_all(bytes);
        Answer::read(&mut stream).unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Stops the server; fails when it does not stop in its own time.
    pub(crate) fn stop(mut self) {
        self.stop.send_replace(true);
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads one answer of a connection that the server closes after it; `None` when it says nothing.
    pub(crate) fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 8192];
        // A reset after the answer does not take back what was read.
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
        }
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let fields = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some(Self { status, fields, body: bytes[end + 4..].to_vec() })
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status, code and field of an error.
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, String, Option<String>) {
        let body = self.json();
        let text = |name: &str| body["error"][name].as_str().map(str::to_owned);
        (self.status, text("code").unwrap_or_default(), text("field"))
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    #[track_caller]
    pub(crate) fn expect_error(&self, status: u16, code: &str, field: Option<&str>) {
        assert_eq!(self.error(), (status, code.to_owned(), field.map(str::to_owned)), "{:#}", self.json());
    }
}
