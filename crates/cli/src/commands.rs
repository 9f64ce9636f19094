//! The commands, one module each.

pub(crate) mod admin;
pub(crate) mod alert;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod context;
pub(crate) mod demo;
pub(crate) mod drill;
pub(crate) mod dry_run;
pub(crate) mod evaluate;
pub(crate) mod incident;
pub(crate) mod key;
pub(crate) mod mock_provider;
pub(crate) mod owner;
pub(crate) mod policy_args;
pub(crate) mod provider;
pub(crate) mod serve;
pub(crate) mod simulate;
pub(crate) mod spend;
pub(crate) mod suppression;
pub(crate) mod top;

use std::sync::Arc;

use tokenwatch_console::manage::Manager;

use crate::Common;
use crate::adapters::{StoreRecords, SystemClock, SystemRandom};
use crate::state::open_store;

/// Administration of the state directory, for commands that change it. A running server takes the change over
/// within a second.
pub(crate) fn manager(common: &Common) -> anyhow::Result<Manager> {
    let store = open_store(&common.state_dir())?;
    Ok(Manager {
        records: Arc::new(StoreRecords(store)),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom::open()?),
    })
}

/// Who acts, for the audit log: the user of this process.
pub(crate) fn who() -> String {
    let user =
        std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).or_else(|_| std::env::var("LOGNAME"));
    format!("cli:{}", user.unwrap_or_else(|_| rustix::process::getuid().as_raw().to_string()))
}
