//! The load: closed loop, open loop, paced streams, held streams. Each is bounded in count and time, and one
//! failed exchange fails the measure: a figure with refusals in it says nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::client::{Client, Held, Target};
use super::histogram::Histogram;
use super::process::Process;
use super::traffic::Kind;

/// What was seen between the start and the end of measuring.
pub(super) struct Window {
    /// Exchanges that ended.
    pub(super) count: u64,
    /// How long it lasted.
    pub(super) elapsed: Duration,
    /// CPU time that the proxy's process took, where there is a proxy.
    pub(super) cpu: Option<Duration>,
    /// Latencies: of whole answers, for streams of their first bytes.
    pub(super) latency: Histogram,
}

impl Window {
    /// CPU microseconds for one exchange.
    pub(super) fn cpu_us_each(&self) -> Option<f64> {
        self.cpu.filter(|_| self.count > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / self.count as f64)
    }

    /// Exchanges in a second.
    pub(super) fn rate(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }
}

/// Times of a measure.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// Load before measuring starts.
    pub(super) warm: Duration,
    /// How long is measured.
    pub(super) measured: Duration,
}

const WARM: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

#[derive(Default)]
struct Shared {
    phase: AtomicU8,
    done: AtomicU64,
}

/// Each of `connections` sends its next request when the last one is answered.
///
/// # Errors
/// When one exchange fails.
pub(super) async fn run_closed(
    target: &Target,
    process: Option<&Process>,
    kind: Kind,
    connections: usize,
    times: Times,
) -> anyhow::Result<Window> {
    let shared = Arc::new(Shared::default());
    let mut tasks = JoinSet::new();
    for index in 0..connections {
        let client = Client::connect(target, index).await?;
        tasks.spawn(repeat(client, kind, shared.clone()));
    }
    tokio::time::sleep(times.warm).await;
    let before = Snapshot::take(process, &shared)?;
    shared.phase.store(MEASURE, Ordering::Relaxed);
    tokio::time::sleep(times.measured).await;
    let after = Snapshot::take(process, &shared)?;
    shared.phase.store(STOP, Ordering::Relaxed);
    let mut latency = Histogram::default();
    while let Some(joined) = tasks.join_next().await {
        latency.merge(&joined??);
    }
    after.since(&before, latency)
}

async fn repeat(mut client: Client, kind: Kind, shared: Arc<Shared>) -> anyhow::Result<Histogram> {
    let request = kind.request();
    let mut latency = Histogram::default();
    loop {
        let exchange = client.exchange(kind, &request).await?;
        shared.done.fetch_add(1, Ordering::Relaxed);
        match shared.phase.load(Ordering::Relaxed) {
            WARM => {}
            MEASURE if kind == Kind::Chat => latency.record(exchange.whole),
            MEASURE => latency.record(exchange.first),
            _ => return Ok(latency),
        }
    }
}

/// Counts and CPU time at one moment.
struct Snapshot {
    at: Instant,
    done: u64,
    cpu: Option<super::process::CpuTimes>,
}

impl Snapshot {
    fn take(process: Option<&Process>, shared: &Shared) -> anyhow::Result<Self> {
        let cpu = process.map(Process::cpu_times).transpose()?;
        Ok(Self { at: Instant::now(), done: shared.done.load(Ordering::Relaxed), cpu })
    }

    fn since(self, before: &Self, latency: Histogram) -> anyhow::Result<Window> {
        let count = self.done.saturating_sub(before.done);
        if count == 0 {
            bail!("no exchange ended while measuring");
        }
        let cpu = self.cpu.zip(before.cpu.as_ref()).map(|(after, before)| after.since(before));
        Ok(Window { count, elapsed: self.at.duration_since(before.at), cpu, latency })
    }
}

/// Connections of the open loop: at most this many requests run at once.
const OPEN_CONNECTIONS: usize = 64;

/// Sends `per_second` requests by schedule, whether or not earlier ones were answered. A latency starts when
/// its request is due and the generator is awake; nothing waits for a free connection.
///
/// # Errors
/// When one exchange fails, or all connections are busy: the target does not keep up.
pub(super) async fn run_open(target: &Target, per_second: u32, times: Times) -> anyhow::Result<Histogram> {
    let request = Kind::Chat.request();
    let mut idle = VecDeque::new();
    for index in 0..OPEN_CONNECTIONS {
        let mut client = Client::connect(target, index).await?;
        client.exchange(Kind::Chat, &request).await?;
        idle.push_back(client);
    }
    let mut latency = Histogram::default();
    let mut running: JoinSet<anyhow::Result<(Client, Duration)>> = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let started = Instant::now();
    let measure_from = started + times.warm;
    let end = measure_from + times.measured;
    loop {
        tokio::select! {
            biased;
            Some(joined) = running.join_next() => {
                let (client, took) = joined??;
                // The pause between requests is far longer than an exchange, so ends and starts do not mix.
                if Instant::now() >= measure_from {
                    latency.record(took);
                }
                idle.push_back(client);
            }
            _ = ticks.tick() => {
                if Instant::now() >= end {
                    break;
                }
                let Some(mut client) = idle.pop_front() else {
                    bail!("does not keep up with {per_second} requests/s: {OPEN_CONNECTIONS} are waiting");
                };
                let request = request.clone();
                running.spawn(async move {
                    let took = client.exchange(Kind::Chat, &request).await?.whole;
                    Ok((client, took))
                });
            }
        }
    }
    Ok(latency)
}

/// Time over which paced streams start, so that their frames do not come in step.
const STAGGER: Duration = Duration::from_secs(1);

/// Runs `each` paced streams, one after the other, on each of `connections`.
///
/// # Errors
/// When one stream fails.
pub(super) async fn run_paced(
    target: &Target,
    process: Option<&Process>,
    connections: usize,
    each: usize,
) -> anyhow::Result<Window> {
    let mut clients = Vec::new();
    for index in 0..connections {
        let mut client = Client::connect(target, index).await?;
        client.exchange(Kind::Chat, &Kind::Chat.request()).await?;
        clients.push(client);
    }
    let shared = Arc::new(Shared::default());
    let before = Snapshot::take(process, &shared)?;
    let mut tasks = JoinSet::new();
    for (index, mut client) in clients.into_iter().enumerate() {
        let shared = shared.clone();
        let delay = STAGGER.mul_f64(index as f64 / connections as f64);
        tasks.spawn(async move {
            tokio::time::sleep(delay).await;
            let request = Kind::Paced.request();
            let mut first = Histogram::default();
            for _ in 0..each {
                first.record(client.exchange(Kind::Paced, &request).await?.first);
                shared.done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(first)
        });
    }
    let mut first = Histogram::default();
    while let Some(joined) = tasks.join_next().await {
        first.merge(&joined??);
    }
    Snapshot::take(process, &shared)?.since(&before, first)
}

/// Streams that are opened at the same time; the rest waits its turn.
const OPENING: usize = 64;

/// Opens `count` streams that stay open.
///
/// # Errors
/// When one does not start.
pub(super) async fn hold_streams(target: &Target, count: usize) -> anyhow::Result<Vec<Held>> {
    let mut held = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    let mut index = 0;
    while held.len() < count {
        while index < count && opening.len() < OPENING {
            let (target, i) = (target.clone(), index);
            opening.spawn(async move { Client::connect(&target, i).await?.hold().await });
            index += 1;
        }
        let joined = opening.join_next().await.context("streams went missing")?;
        held.push(joined?.with_context(|| format!("after {} open streams", held.len()))?);
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::mock;
    use super::*;

    const TIMES: Times = Times { warm: Duration::ZERO, measured: Duration::from_millis(100) };

    /// Runs a test against a mock of its own.
    fn check(test: impl AsyncFnOnce(Target)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = mock::listen(0).unwrap();
            let target = Target::open(listener.local_addr().unwrap().port());
            tokio::spawn(mock::serve_on(listener));
            test(target).await;
        });
    }

    /// Runs a test against a server that answers every connection's first request with `answer`.
    fn check_against(answer: &'static str, test: impl AsyncFnOnce(Target)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let target = Target::open(listener.local_addr().unwrap().port());
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let read = stream.read(&mut [0; 4_096]).await.unwrap();
                    assert!(read > 0, "a client came and said nothing");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
            test(target).await;
        });
    }

    #[test]
    fn the_closed_loop_counts_what_ended_while_measuring() {
        check(async |target| {
            for kind in [Kind::Chat, Kind::Burst, Kind::Brief] {
                let window = run_closed(&target, None, kind, 3, TIMES).await.unwrap();
                assert!(window.count > 3 && window.rate() > 0.0, "{kind:?}: {}", window.count);
                assert!(window.cpu_us_each().is_none(), "there is no proxy");
                let quantile = |share| window.latency.quantile_us(share).unwrap();
                assert!(quantile(0.5) <= quantile(0.99));
            }
        });
    }

    #[test]
    fn the_open_loop_sends_by_schedule() {
        check(async |target| {
            let latency = run_open(&target, 100, TIMES).await.unwrap();
            assert!(latency.quantile_us(0.5).is_some());
        });
    }

    #[test]
    fn paced_streams_are_read_to_their_end() {
        check(async |target| {
            let window = run_paced(&target, None, 2, 1).await.unwrap();
            assert_eq!(window.count, 2);
            // Fifty frames with twenty milliseconds between them can not come sooner.
            assert!(window.elapsed >= Duration::from_millis(980), "{:?}", window.elapsed);
        });
    }

    #[test]
    fn held_streams_stay_open_until_dropped() {
        check(async |target| {
            let mut held = hold_streams(&target, 100).await.unwrap();
            assert!(held.iter_mut().all(Held::is_open));
        });
    }

    #[test]
    fn a_refusal_fails_the_measure_and_is_quoted() {
        let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\ncontained";
        check_against(answer, async |target| {
            let error = run_closed(&target, None, Kind::Chat, 2, TIMES).await.err().unwrap();
            let error = format!("{error:#}");
            assert!(error.contains("403") && error.contains("contained"), "{error}");
        });
    }

    #[test]
    fn an_answer_that_is_not_whole_fails_the_measure() {
        let short = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        check_against(short, async |target| {
            let error = run_closed(&target, None, Kind::Chat, 1, TIMES).await.err().unwrap();
            assert!(format!("{error:#}").contains("2 bytes instead of"), "{error:#}");
        });
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\ndata: {}\n\n";
        check_against(cut, async |target| {
            let error = run_closed(&target, None, Kind::Burst, 1, TIMES).await.err().unwrap();
            assert!(format!("{error:#}").contains("without its end mark"), "{error:#}");
        });
    }
}
