//! Listening sockets: from a service manager, from the server before, or newly made.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context as _;

use crate::build;
use crate::config::Config;
use crate::handover;

/// What a server listens with.
pub(crate) struct Sockets {
    /// One for each worker.
    pub(crate) gateway: Vec<TcpListener>,
    pub(crate) admin: Option<TcpListener>,
}

impl Sockets {
    /// Copies for a later server.
    pub(crate) fn copy(&self) -> std::io::Result<Vec<TcpListener>> {
        self.gateway.iter().chain(&self.admin).map(TcpListener::try_clone).collect()
    }
}

/// Opens what the configuration asks for. `given` are a service manager's; `before` is the name of the server
/// that runs on the same state directory.
pub(crate) fn open(
    dir: &Path,
    config: &Config,
    given: Vec<TcpListener>,
    before: Option<&str>,
    has_admin: bool,
) -> anyhow::Result<Sockets> {
    let workers = build::worker_count(config);
    let gateway = if given.is_empty() {
        match take(dir, before, config.server.listen) {
            taken if taken.is_empty() => make(config.server.listen, workers, "server")?,
            taken => share(taken, workers)?,
        }
    } else {
        given
    };
    let admin = if has_admin {
        let mut taken = take(dir, before, config.admin.listen);
        if taken.is_empty() {
            taken = make(config.admin.listen, 1, "admin")?;
        }
        taken.pop()
    } else {
        None
    };
    Ok(Sockets { gateway, admin })
}

fn take(dir: &Path, before: Option<&str>, address: SocketAddr) -> Vec<TcpListener> {
    let Some(name) = before else { return Vec::new() };
    match handover::take(dir, name, address) {
        Ok(taken) => {
            if !taken.is_empty() {
                tracing::info!(%address, sockets = taken.len(), "taken over from the server that runs");
            }
            taken
        }
        Err(error) => {
            tracing::warn!(%address, %error, "the server that runs hands over no sockets");
            Vec::new()
        }
    }
}

/// Makes as many sockets as there are workers; more than that stay, because connections may wait on them.
fn share(mut taken: Vec<TcpListener>, workers: usize) -> anyhow::Result<Vec<TcpListener>> {
    for i in 0..workers.saturating_sub(taken.len()) {
        // The list grows behind the index, so there always is one once there is a first.
        let copy = taken.get(i).context("no socket was taken over")?.try_clone()?;
        taken.push(copy);
    }
    Ok(taken)
}

/// Binds an address once for each worker.
fn make(address: SocketAddr, count: usize, section: &str) -> anyhow::Result<Vec<TcpListener>> {
    let told = || {
        format!("{address} can not be listened on: is another program using the port? ([{section}] listen)")
    };
    if address.port() != 0 {
        // The port is shared among workers, and so could be with a stranger, another TokenWatch for one: then
        // each would get some of the connections. This fails when anybody is there.
        TcpListener::bind(address).with_context(told)?;
    }
    let first = tokenwatch_gateway::listen::bind(address).with_context(told)?;
    // With port 0 the system chooses one, which the other workers share.
    let bound = first.local_addr()?;
    let mut made = vec![first];
    for _ in 1..count {
        made.push(tokenwatch_gateway::listen::bind(bound).with_context(told)?);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_not_shared_with_strangers() {
        let sockets = make("127.0.0.1:0".parse().unwrap(), 2, "server").unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert_eq!(sockets[1].local_addr().unwrap(), address);
        let told = make(address, 1, "server").unwrap_err().to_string();
        assert!(told.contains("is another program using the port? ([server] listen)"), "{told}");
        drop(sockets);
        make(address, 1, "server").unwrap();
    }

    #[test]
    fn every_worker_has_a_socket_and_no_socket_is_closed() {
        let sockets = make("127.0.0.1:0".parse().unwrap(), 2, "server").unwrap();
        assert_eq!(share(sockets, 5).unwrap().len(), 5);
        let sockets = make("127.0.0.1:0".parse().unwrap(), 2, "server").unwrap();
        assert_eq!(share(sockets, 1).unwrap().len(), 2);
    }
}
