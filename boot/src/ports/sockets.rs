//! What ports that speak over sockets share: addresses in the names of grants, listening, and how many connections there may be.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle as Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::tcp;
use crate::clocks::MachineClock;

/// Connections at once, of all ports of a machine together. More wait to be accepted, or are not made.
const CONNECTIONS_MAX: usize = 16_384;
/// Connections that wait to be accepted; the system may keep fewer.
const BACKLOG: u32 = 1024;
/// Open files that are not for connections: a machine that could open no more would stop.
const OTHER_FILES: usize = 256;

/// How long the end of a listener may take.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// What ports of one machine share, in one run.
pub struct Sockets {
    places: Arc<Semaphore>,
    pub(super) tcp: tcp::Shared,
}

impl Sockets {
    /// With as many places for connections as this process has files for.
    #[must_use]
    pub fn new(clock: &Arc<MachineClock>) -> Self {
        let places = Arc::new(Semaphore::new(connections_max()));
        Self { tcp: tcp::Shared::new(clock, &places), places }
    }

    /// Of which each connection takes one.
    pub(super) fn places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.places)
    }
}

/// Ends a task that listens. Whoever is told that its port has gone can have its address.
pub(super) fn end(runtime: &Runtime, listening: &mut JoinHandle<()>) {
    listening.abort();
    if !listening.is_finished() {
        let _ = runtime.block_on(async { timeout(END_PATIENCE, listening).await });
    }
}

/// Where a server listens: `8080` is on this host alone, `0.0.0.0:8080` open to all.
#[must_use]
pub(crate) fn listening_address(at: &str) -> Option<SocketAddr> {
    if at.bytes().all(|byte| byte.is_ascii_digit()) {
        return at.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    at.parse().ok()
}

/// Listens, on the runtime that was entered.
///
/// # Errors
/// If nothing can listen there.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // What is left of connections of the run before is no reason to wait.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How many connections this process has files for. It takes as many files as it may.
fn connections_max() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, ..limit };
    if setrlimit(Resource::Nofile, most).is_ok() {
        limit = most;
    }
    let files = limit.current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    files.saturating_sub(OTHER_FILES).clamp(1, CONNECTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::listening_address;

    #[test]
    fn where_a_grant_listens() {
        let listens = |at| listening_address(at).map(|address| address.to_string());
        assert_eq!(listens("8080").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(listens("0.0.0.0:80").as_deref(), Some("0.0.0.0:80"));
        assert_eq!(listens("[::1]:8080").as_deref(), Some("[::1]:8080"));
        for none in ["", "x", "65536", "localhost:1", "1:", "+80"] {
            assert_eq!(listens(none), None, "{none}");
        }
    }
}
