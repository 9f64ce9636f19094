//! The measures, target by target, and what they are run against.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::client::{Client, Target};
use super::goals::Figure;
use super::load::{Times, hold_streams, run_closed, run_open, run_paced};
use super::nginx;
use super::options::Options;
use super::parts::Part;
use super::peers::{Peer, PeerPlace};
use super::process::{Process, Start, find_free_port};
use super::product::{Ports, Product};
use super::results::{Results, Site};
use super::traffic::Kind;

/// Connections of the closed loop.
const CONNECTIONS: usize = 32;
/// Connections that burst streams come over.
const BURST_CONNECTIONS: usize = 8;
/// Connections that paced streams come over.
const PACED_CONNECTIONS: usize = 100;
/// Requests a second by schedule.
const PER_SECOND: u32 = 500;
/// Keys of the usual set.
pub(super) const KEYS: usize = 100;
/// Keys of the large set.
const MANY_KEYS: usize = 100_000;
/// Time before memory is read, so that what start or load left over can be given back.
const SETTLE: Duration = Duration::from_secs(1);
/// Longest time until a target serves.
const START_MAX: Duration = Duration::from_secs(60);
/// Connections nginx is usually configured for.
pub(super) const NGINX_CONNECTIONS: usize = 1_024;

/// A running target.
pub(super) struct Running {
    pub(super) site: Site,
    pub(super) target: Target,
    pub(super) process: Option<Process>,
}

/// Where processes run and write.
pub(super) struct Place {
    /// Folder for configuration, state and logs.
    pub(super) folder: PathBuf,
    /// Core of the proxies.
    pub(super) core: usize,
    /// Port of the mock.
    pub(super) mock_port: u16,
}

impl Place {
    /// Starts the mock on its core and waits until it answers.
    ///
    /// # Errors
    /// When it can not be started.
    pub(super) async fn start_mock(
        folder: PathBuf,
        mock_core: usize,
        core: usize,
    ) -> anyhow::Result<(Self, Process)> {
        let mock_port = find_free_port()?;
        let command = vec![
            std::env::current_exe()?.into(),
            "bench".into(),
            "mock".into(),
            "--port".into(),
            mock_port.to_string().into(),
        ];
        let log = folder.join("mock.log");
        let mut mock = Process::start(Start { core: mock_core, command, environment: &[], log })?;
        wait_until_serving(&mut mock, &Target::open(mock_port)).await.context("the mock")?;
        Ok((Self { folder, core, mock_port }, mock))
    }

    /// The mock as a target.
    pub(super) fn direct(&self) -> Running {
        Running { site: Site::Direct, target: Target::open(self.mock_port), process: None }
    }

    /// Starts nginx and waits until it answers.
    ///
    /// # Errors
    /// When it does not start or not answer.
    pub(super) async fn start_nginx(&self, name: &str, connections: usize) -> anyhow::Result<Running> {
        let port = find_free_port()?;
        let folder = self.folder.join(name);
        let mut process = nginx::start(&folder, self.core, port, self.mock_port, connections)?;
        let target = Target::open(port);
        wait_until_serving(&mut process, &target).await.context("nginx")?;
        Ok(Running { site: Site::Nginx, target, process: Some(process) })
    }

    /// Installs and starts another gateway and waits until it answers.
    ///
    /// # Errors
    /// When it can not be installed, or does not start or not answer.
    pub(super) async fn start_peer(&self, peer: Peer) -> anyhow::Result<Running> {
        let installed = peer.install()?;
        let port = find_free_port()?;
        let place = PeerPlace { folder: &self.folder, core: self.core, port, mock_port: self.mock_port };
        let mut process = peer.start(&installed, &place)?;
        let target = peer.target(port, self.mock_port)?;
        wait_until_serving(&mut process, &target).await.context(peer.label())?;
        Ok(Running { site: peer.site(), target, process: Some(process) })
    }

    /// Starts the gateway with `product`'s keys, waits until it serves, and says how long that took.
    ///
    /// # Errors
    /// When it does not start or not serve.
    pub(super) async fn start_product(&self, product: &Product) -> anyhow::Result<(Running, Duration)> {
        let ports = Ports { gateway: find_free_port()?, admin: find_free_port()?, mock: self.mock_port };
        let target = Target { credentials: product.credentials.clone(), ..Target::open(ports.gateway) };
        let started = Instant::now();
        let mut process = product.start(self.core, ports)?;
        wait_until_serving(&mut process, &target).await.context("tokenwatch")?;
        let took = started.elapsed();
        Ok((Running { site: Site::Tokenwatch, target, process: Some(process) }, took))
    }
}

/// Tries until one request is served.
async fn wait_until_serving(process: &mut Process, target: &Target) -> anyhow::Result<()> {
    let end = Instant::now() + START_MAX;
    let request = Kind::Chat.request();
    loop {
        let attempt = async { Client::connect(target, 0).await?.exchange(Kind::Chat, &request).await };
        let Err(error) = attempt.await else { return Ok(()) };
        process.check_running()?;
        if Instant::now() >= end {
            let log = process.log_end();
            return Err(
                error.context(format!("did not serve within {} s; it printed:\n{log}", START_MAX.as_secs()))
            );
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Measures one part on one target.
async fn measure(part: Part, running: &Running, options: &Options) -> anyhow::Result<Vec<(Figure, f64)>> {
    let (target, process) = (&running.target, running.process.as_ref());
    let figures = match part {
        Part::Chat => {
            let window = run_closed(target, process, Kind::Chat, CONNECTIONS, options.closed()).await?;
            vec![(Figure::ChatCpuUs, window.cpu_us_each()), (Figure::ChatPerSecond, Some(window.rate()))]
        }
        Part::One => {
            let latency = run_closed(target, process, Kind::Chat, 1, options.latency()).await?.latency;
            let (p50, p99) = (latency.quantile_us(0.5), latency.quantile_us(0.99));
            vec![(Figure::OneP50Us, p50), (Figure::OneP99Us, p99)]
        }
        Part::Scheduled => {
            let latency = run_open(target, PER_SECOND, options.latency()).await?;
            let (p50, p99) = (latency.quantile_us(0.5), latency.quantile_us(0.99));
            vec![(Figure::ScheduledP50Us, p50), (Figure::ScheduledP99Us, p99)]
        }
        Part::Burst => {
            let window =
                run_closed(target, process, Kind::Burst, BURST_CONNECTIONS, options.closed()).await?;
            vec![(Figure::BurstCpuUs, window.cpu_us_each())]
        }
        Part::Paced => {
            let window = run_paced(target, process, PACED_CONNECTIONS, options.paced_each()).await?;
            vec![(Figure::PacedCpuUs, window.cpu_us_each())]
        }
        // Streams one after the other: among a hundred, frames of others stand in the way of first ones.
        Part::First => {
            let latency = run_closed(target, process, Kind::Brief, 1, options.latency()).await?.latency;
            vec![(Figure::FirstChunkUs, latency.quantile_us(0.5))]
        }
        Part::Idle | Part::Streams | Part::Keys | Part::Growth => Vec::new(),
    };
    Ok(figures.into_iter().filter_map(|(figure, value)| Some((figure, value?))).collect())
}

/// Runs every measure on every target, round by round; within a round targets take turns measure by measure,
/// so that what disturbs the machine disturbs them alike.
pub(super) async fn run_rounds(
    sites: &[Running],
    options: &Options,
    results: &mut Results,
    progress: &mut dyn FnMut(&str),
) {
    for round in 1..=options.rounds {
        progress(&format!("round {round} of {}", options.rounds));
        for part in Part::IN_ROUNDS.into_iter().filter(|part| options.wants(*part)) {
            for running in sites {
                let result = measure(part, running, options).await;
                results.add(round, running.site, part.name(), result);
            }
        }
    }
}

/// Rounds in which the gateway and the others take turns.
const PEER_ROUNDS: usize = 3;
/// How long each is measured in a round: the slow ones answer some hundred requests in it.
const PEER_TIMES: Times = Times { warm: Duration::from_millis(500), measured: Duration::from_secs(3) };

/// CPU time of a request, in turns with other gateways.
pub(super) async fn run_peers(sites: &[Running], results: &mut Results) {
    for round in 1..=PEER_ROUNDS {
        for running in sites {
            let result = measure_cpu(running).await;
            results.add(round, running.site, "peers", result);
        }
    }
}

async fn measure_cpu(running: &Running) -> anyhow::Result<Vec<(Figure, f64)>> {
    let (target, process) = (&running.target, running.process.as_ref());
    let window = run_closed(target, process, Kind::Chat, CONNECTIONS, PEER_TIMES).await?;
    Ok(vec![(Figure::PeersCpuUs, window.cpu_us_each().context("no CPU time")?)])
}

/// Requests before memory is read for the first time: what is bounded has reached its bound then.
const GROWTH_WARM: u64 = 200_000;
/// A stretch of load between two looks at how many requests there were.
const GROWTH_STRETCH: Times = Times { warm: Duration::ZERO, measured: Duration::from_secs(2) };

/// Memory that `count` requests add after the first ones.
///
/// # Errors
/// When an exchange fails.
pub(super) async fn measure_growth(running: &Running, count: u64) -> anyhow::Result<Vec<(Figure, f64)>> {
    let process = running.process.as_ref().context("a target without a process")?;
    load_with(running, GROWTH_WARM).await?;
    let before = process.resident_mb()?;
    load_with(running, count).await?;
    Ok(vec![(Figure::GrownMb, process.resident_mb()? - before)])
}

async fn load_with(running: &Running, count: u64) -> anyhow::Result<()> {
    let mut sent = 0;
    while sent < count {
        sent += run_closed(&running.target, None, Kind::Chat, CONNECTIONS, GROWTH_STRETCH).await?.count;
    }
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

/// Resident memory of an idle target.
///
/// # Errors
/// When its process is gone.
pub(super) async fn measure_idle(running: &Running, figure: Figure) -> anyhow::Result<Vec<(Figure, f64)>> {
    let process = running.process.as_ref().context("a target without a process")?;
    tokio::time::sleep(SETTLE).await;
    Ok(vec![(figure, process.resident_mb()?)])
}

/// Memory and start time with very many keys.
///
/// # Errors
/// When the keys can not be made or the gateway does not serve.
pub(super) async fn measure_many_keys(place: &Place, binary: &Path) -> anyhow::Result<Vec<(Figure, f64)>> {
    let product = Product::prepare(binary, place.folder.join("many-keys"), 1, MANY_KEYS - 1)?;
    let (running, took) = place.start_product(&product).await?;
    let mut figures = measure_idle(&running, Figure::ManyKeysMb).await?;
    figures.push((Figure::ManyKeysStartMs, took.as_secs_f64() * 1e3));
    Ok(figures)
}

/// Memory that open streams add.
///
/// # Errors
/// When one does not start, or ends before memory is read.
pub(super) async fn measure_streams(running: &Running, count: usize) -> anyhow::Result<Vec<(Figure, f64)>> {
    let process = running.process.as_ref().context("a target without a process")?;
    tokio::time::sleep(SETTLE).await;
    let before = process.resident_mb()?;
    let mut held = hold_streams(&running.target, count).await?;
    tokio::time::sleep(SETTLE).await;
    let after = process.resident_mb()?;
    let open = held.iter_mut().filter_map(|stream| stream.is_open().then_some(())).count();
    ensure!(open == count, "{} of {count} streams did not stay open", count - open);
    Ok(vec![(Figure::StreamsMb, after - before)])
}

/// Puts the gateway under load for a profiler and says what it took.
///
/// # Errors
/// When an exchange fails.
pub(super) async fn run_for_profiler(
    running: &Running,
    kind: Kind,
    connections: Option<usize>,
    how_long: Duration,
) -> anyhow::Result<String> {
    let usual = match kind {
        Kind::Chat => CONNECTIONS,
        Kind::Burst => BURST_CONNECTIONS,
        Kind::Paced | Kind::Brief | Kind::Held => PACED_CONNECTIONS,
    };
    let connections = connections.unwrap_or(usual);
    let times = Times { warm: Duration::ZERO, measured: how_long };
    let window = run_closed(&running.target, running.process.as_ref(), kind, connections, times).await?;
    let cpu = window.cpu_us_each().context("no CPU time")?;
    Ok(format!("{} exchanges, {:.0} a second, {cpu:.1} CPU µs each", window.count, window.rate()))
}
