//! A server in the test's own process, with ports that the test holds.

use std::time::Instant;

use tokenwatch_console::manage::{KeySpec, Lifecycle, Manager};
use tokenwatch_model::key::KeyState;
use tokenwatch_store::{Checkpoint, JournalPositions};

use super::*;
use crate::adapters::{SystemClock, SystemRandom};
use crate::state::open_store;

/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
workers = 1
[admin]
listen = "127.0.0.1:0"
[storage]
checkpoint_every_s = 1
[[provider]]
name = "openai"
dialect = "openai"
base_url = "http://127.0.0.1:9"
credentials = ["env:TOKENWATCH_TEST_NO_SUCH_VARIABLE"]
"#;

#[track_caller]
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A disk that does not answer: each save tells that it began and waits until it is let go.
struct Held {
    began: Sender<()>,
    go: Receiver<()>,
}

impl CheckpointWriter for Held {
    fn save(&mut self, _: &[&Checkpoint], _: &JournalPositions) -> anyhow::Result<()> {
        let _ = self.began.send(());
        let _ = self.go.recv();
        Ok(())
    }
}

#[test]
fn a_disk_that_holds_up_checkpoints_holds_up_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom::open().unwrap());
    // What a command is: another connection to the same store.
    let records = Arc::new(StoreRecords(open_store(dir.path()).unwrap()));
    let manager = Manager { records, clock: clock.clone(), random: random.clone() };
    let (began, begins) = channel();
    let (go, gone) = channel();
    let parts = AppParts {
        config: config::parse(CONFIG).unwrap(),
        clock,
        random,
        watcher: Box::new(|_: &_, _: &_| {}),
        listeners: Vec::new(),
        has_admin: false,
        checkpoints: Some(Box::new(Held { began, go: gone })),
    };
    let app = App::start(dir.path(), parts).unwrap();
    begins.recv_timeout(PATIENCE).unwrap();
    // The save is under way from here on. Everything that commands do takes force all the same.
    let spec = KeySpec { name: "k".into(), ..KeySpec::default() };
    let key = manager.issue(vec![spec], "test").unwrap().remove(0).key.id;
    let state = || app.gateway.live.entry(key).map(|entry| entry.state);
    eventually("the key is known", || state() == Some(KeyState::Active));
    manager.change_life("k", Lifecycle::Disable, "test", "test").unwrap();
    eventually("the key is refused", || state() == Some(KeyState::Disabled));
    assert!(begins.try_recv().is_err(), "one save at a time");
    // Once the disk answers again, saving goes on.
    go.send(()).unwrap();
    begins.recv_timeout(PATIENCE).unwrap();
    drop(go);
    app.stop().unwrap();
}
