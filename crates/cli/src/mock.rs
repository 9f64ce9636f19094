//! The mock provider that answers drills inside a server: on a thread of its own, started when it is first needed.

use std::net::SocketAddr;

use parking_lot::Mutex;
use tokenwatch_gateway::settings::Origin;
use tokenwatch_testkit::provider::{MockConfig, MockProvider};
use tokio::sync::oneshot;

/// A mock that may not run yet. It ends with this.
#[derive(Default)]
pub(crate) struct Mock(Mutex<Option<Running>>);

struct Running {
    address: SocketAddr,
    /// The thread waits for the end of this.
    _stop: oneshot::Sender<()>,
}

impl Mock {
    /// Where it is; starts it if it does not run.
    pub(crate) fn origin(&self) -> Result<Origin, String> {
        let mut running = self.0.lock();
        let address = match running.as_ref() {
            Some(running) => running.address,
            None => {
                let started = start().map_err(|error| format!("the mock provider can not start: {error}"))?;
                running.insert(started).address
            }
        };
        Ok(Origin {
            tls: false,
            host: address.ip().to_string().into(),
            port: address.port(),
            path: Default::default(),
        })
    }
}

fn start() -> std::io::Result<Running> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (address, provider) = MockProvider::spawn(runtime.handle(), MockConfig::default())?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = move || {
        // An error means that nobody needs it any more.
        let _ = runtime.block_on(stopped);
        drop(provider);
    };
    std::thread::Builder::new().name("mock-provider".to_owned()).spawn(serve)?;
    Ok(Running { address, _stop: stop })
}
