//! The runtime layout: one current-thread runtime per worker, each with its own listening socket, connections
//! to providers and timers, so that a request never changes core and no lock is contended.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::gateway::Gateway;
use crate::listen::Acceptor;
use crate::pool::Pool;

/// What workers are started with.
pub struct WorkersConfig {
    /// Listening sockets: one for each worker.
    pub listeners: Vec<StdListener>,
    /// TLS towards clients.
    pub server_tls: Option<Arc<rustls::ServerConfig>>,
    /// TLS towards providers.
    pub client_tls: Arc<rustls::ClientConfig>,
}

/// Running workers.
pub struct Workers {
    gateway: Arc<Gateway>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Workers {
    /// Starts a thread for each listening socket.
    ///
    /// # Errors
    ///
    /// When a thread or a runtime can not be made.
    pub fn start(gateway: &Arc<Gateway>, config: WorkersConfig) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut threads = Vec::new();
        for (i, listener) in config.listeners.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let acceptor = Arc::new(Acceptor {
                gateway: gateway.clone(),
                pool: Arc::new(Pool::new(config.client_tls.clone())),
                tls: config.server_tls.clone(),
                stop: stopped.clone(),
            });
            let work = move || runtime.block_on(serve_and_drain(acceptor, listener));
            threads.push(std::thread::Builder::new().name(format!("worker-{i}")).spawn(work)?);
        }
        Ok(Self { gateway: gateway.clone(), stop, threads })
    }

    /// Stops accepting, lets running requests end within the drain time, cuts the rest, and waits.
    pub fn drain(self) {
        self.gateway.start_draining();
        // Receivers live as long as the threads; a closed channel means they are gone already.
        let _ = self.stop.send(true);
        for thread in self.threads {
            if let Ok(Err(error)) = thread.join() {
                tracing::error!(%error, "a worker ended with an error");
            }
        }
    }
}

/// Time that cut streams get to say so.
const CUT_GRACE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

async fn serve_and_drain(acceptor: Arc<Acceptor>, listener: StdListener) -> io::Result<()> {
    let gateway = acceptor.gateway.clone();
    acceptor.run(listener).await?;
    let drain = gateway.settings().http.drain_timeout;
    if !wait_until_idle(&gateway, drain).await {
        tracing::warn!(connections = gateway.connections(), "drain time is over: cutting what is left");
        gateway.live.cut_all();
        gateway.drills.cut_all();
        wait_until_idle(&gateway, CUT_GRACE).await;
    }
    Ok(())
}

/// Waits until no request is in flight and every connection is closed; false when time runs out.
async fn wait_until_idle(gateway: &Gateway, within: Duration) -> bool {
    let end = tokio::time::Instant::now() + within;
    while gateway.connections() > 0 || gateway.live.totals().in_flight > 0 {
        if tokio::time::Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}
