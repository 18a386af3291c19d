//! **tcp-listen**, **tcp-connect**: connections, taken and made. `[0]` answers with one, `[1, connection, most]` reads, `[2, connection, bytes]` writes, `[3, connection]` closes.
//!
//! A connection is the host's: it ends with the host's run, and everything that is asked of it later is broken with `lost`. Resumed is what asks for a
//! connection. Nothing is read that was not asked for, and nobody is let in before that.

pub mod payload;
mod table;
mod talk;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seed::EffectId;
use seed::message::Code;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle as Runtime;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};
use tracing::debug;
use vm::port::{Line, Port, Ticket};

use self::table::{Connections, Numbers};
use super::Known;
use super::sockets::{end, listen, listening_address};
use crate::clocks::MachineClock;
use crate::terminal::say;

/// For a name to be looked up, and somebody to be there.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before another try to let somebody in.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the port of a grant listens: `tcp-listen:7000` is on this host alone, `tcp-listen:0.0.0.0:7000` open to all.
#[must_use]
pub fn listener_address(grant: &str) -> Option<SocketAddr> {
    listening_address(grant.strip_prefix("tcp-listen:")?)
}

/// Where the port of a grant connects to: `HOST:PORT`, an address or a name that is looked up each time.
#[must_use]
pub fn peer_address(grant: &str) -> Option<&str> {
    let peer = grant.strip_prefix("tcp-connect:")?;
    let is_address = || peer.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0);
    let is_name = || {
        let (name, port) = peer.rsplit_once(':')?;
        let is_label = |label: &str| {
            let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            (1..=63).contains(&label.len()) && label.bytes().all(is_inside)
        };
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
        (name.len() <= 253 && name.split('.').all(is_label) && is_port).then_some(())
    };
    (is_address() || is_name().is_some()).then_some(peer)
}

/// Understands the name of a grant.
pub fn parse(name: &str, _folder: &Path) -> Option<Known> {
    if let Some(address) = listener_address(name) {
        return Some(Known::new(name, move |_, host| {
            let (shared, line) = (&host.sockets.tcp, host.line.clone());
            if !host.listens {
                return Ok(Some(Box::new(TcpListen::deaf(shared, line))));
            }
            let (port, address) = TcpListen::listen(address, shared, line, &host.runtime)?;
            say(&format!("listening on {address}"));
            Ok(Some(Box::new(port)))
        }));
    }
    let peer = peer_address(name)?.to_owned();
    Some(Known::new(name, move |_, host| {
        Ok(Some(Box::new(TcpConnect::new(&peer, &host.sockets.tcp, host.line.clone(), &host.runtime))))
    }))
}

/// What all TCP ports of a machine share.
pub struct Shared {
    numbers: Arc<Numbers>,
    places: Arc<Semaphore>,
    unwritten: Arc<AtomicUsize>,
}

impl Shared {
    /// For a run that begins. Each connection takes one of these places.
    #[must_use]
    pub fn new(clock: &Arc<MachineClock>, places: &Arc<Semaphore>) -> Self {
        Self {
            numbers: Arc::new(Numbers::new(Arc::clone(clock))),
            places: Arc::clone(places),
            unwritten: Arc::default(),
        }
    }

    fn connections(&self, line: &Line) -> Arc<Connections> {
        Connections::new(line.clone(), Arc::clone(&self.numbers), Arc::clone(&self.unwritten))
    }
}

/// A listener as a port. Dropped, it stops listening and closes its connections.
pub struct TcpListen {
    line: Line,
    connections: Arc<Connections>,
    wanted: Arc<Wanted>,
    accepting: Option<(Runtime, JoinHandle<()>)>,
}

/// The requests for a connection that nobody has come for yet.
#[derive(Default)]
struct Wanted {
    requests: Mutex<VecDeque<Ticket>>,
    more: Notify,
}

impl TcpListen {
    /// One that lets nobody in: whoever asks for a connection waits.
    #[must_use]
    pub fn deaf(shared: &Shared, line: Line) -> Self {
        Self { connections: shared.connections(&line), line, wanted: Arc::default(), accepting: None }
    }

    /// Listens. Also where.
    ///
    /// # Errors
    /// If nothing can listen there.
    pub fn listen(
        address: SocketAddr,
        shared: &Shared,
        line: Line,
        runtime: &Runtime,
    ) -> io::Result<(Self, SocketAddr)> {
        let _entered = runtime.enter();
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let mut port = Self::deaf(shared, line);
        let (wanted, connections) = (Arc::clone(&port.wanted), Arc::clone(&port.connections));
        let task = accept(listener, wanted, connections, Arc::clone(&shared.places));
        port.accepting = Some((runtime.clone(), tokio::spawn(task)));
        Ok((port, address))
    }
}

impl Drop for TcpListen {
    fn drop(&mut self) {
        if let Some((runtime, accepting)) = &mut self.accepting {
            end(runtime, accepting);
        }
    }
}

impl Port for TcpListen {
    fn ask(&mut self, request: Ticket, payload: Vec<u8>, _resumed: bool) {
        if self.connections.ask(request, &payload) {
            self.wanted.requests().push_back(request);
            self.wanted.more.notify_one();
        }
    }

    fn effect(&mut self, effect: EffectId, payload: Vec<u8>) {
        self.connections.effect(&payload);
        // Also what is still to be written: it could not be delivered again.
        self.line.delivered(effect);
    }

    fn cancel(&mut self, request: Ticket) {
        let mut requests = self.wanted.requests();
        match requests.iter().position(|wanted| *wanted == request) {
            Some(place) => drop(requests.remove(place)),
            None => self.connections.cancel(request),
        }
    }
}

impl Wanted {
    fn requests(&self) -> MutexGuard<'_, VecDeque<Ticket>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self) {
        while self.requests().is_empty() {
            self.more.notified().await;
        }
    }
}

async fn accept(listener: TcpListener, wanted: Arc<Wanted>, connections: Arc<Connections>, places: Arc<Semaphore>) {
    loop {
        wanted.wait().await;
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "accepting a TCP connection failed");
                sleep(PAUSE).await;
                continue;
            }
        };
        loop {
            // Whoever wanted it may have cancelled that meanwhile; then it is for the next.
            wanted.wait().await;
            let mut requests = wanted.requests();
            if let Some(request) = requests.pop_front() {
                connections.begin(request, stream, from, place);
                break;
            }
        }
    }
}

/// Connections to one address as a port. Dropped, it closes them.
pub struct TcpConnect {
    line: Line,
    peer: Arc<str>,
    connections: Arc<Connections>,
    places: Arc<Semaphore>,
    runtime: Runtime,
    tries: Tries,
}

/// What is being connected, and by whom it was asked for.
type Tries = Arc<Mutex<HashMap<Ticket, AbortHandle>>>;

impl TcpConnect {
    /// A port that connects to `HOST:PORT`.
    #[must_use]
    pub fn new(peer: &str, shared: &Shared, line: Line, runtime: &Runtime) -> Self {
        Self {
            peer: peer.into(),
            connections: shared.connections(&line),
            line,
            places: Arc::clone(&shared.places),
            runtime: runtime.clone(),
            tries: Tries::default(),
        }
    }

    fn connect(&self, request: Ticket) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return self.line.broken(request, Code::LIMIT, "this machine has as many connections as it may");
        };
        let (peer, line, tries) = (Arc::clone(&self.peer), self.line.clone(), Arc::clone(&self.tries));
        let connections = Arc::clone(&self.connections);
        // A try that is over at once waits until it is known.
        let mut known = lock(&self.tries);
        let task = self.runtime.spawn(async move {
            let made = timeout(PATIENCE, TcpStream::connect(&*peer)).await;
            let made = made.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "nobody answered in time")));
            let made = made.and_then(|stream| stream.peer_addr().map(|other| (stream, other)));
            let mut tries = lock(&tries);
            if tries.remove(&request).is_none() {
                return;
            }
            match made {
                Ok((stream, other)) => connections.begin(request, stream, other, place),
                Err(error) => line.broken(request, Code::FAILED, format!("connecting to {peer} failed: {error}")),
            }
        });
        known.insert(request, task.abort_handle());
    }
}

fn lock(tries: &Tries) -> MutexGuard<'_, HashMap<Ticket, AbortHandle>> {
    tries.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for TcpConnect {
    fn drop(&mut self) {
        lock(&self.tries).drain().for_each(|(_, task)| task.abort());
    }
}

impl Port for TcpConnect {
    fn ask(&mut self, request: Ticket, payload: Vec<u8>, _resumed: bool) {
        if self.connections.ask(request, &payload) {
            self.connect(request);
        }
    }

    fn effect(&mut self, effect: EffectId, payload: Vec<u8>) {
        self.connections.effect(&payload);
        self.line.delivered(effect);
    }

    fn cancel(&mut self, request: Ticket) {
        match lock(&self.tries).remove(&request) {
            Some(task) => task.abort(),
            None => self.connections.cancel(request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{listener_address, peer_address};

    #[test]
    fn what_grants_name() {
        assert_eq!(listener_address("tcp-listen:7000").map(|at| at.to_string()).as_deref(), Some("127.0.0.1:7000"));
        assert_eq!(listener_address("tcp-listen"), None);
        assert_eq!(listener_address("tcp-connect:7000"), None);
        for some in ["127.0.0.1:5432", "[::1]:1", "localhost:65535", "a-1.b_2.example:80"] {
            assert_eq!(peer_address(&format!("tcp-connect:{some}")), Some(some));
        }
        for none in
            ["", "80", ":80", "a:", "a:0", "127.0.0.1:0", "a:65536", "a:+1", "a b:1", "a..b:1", "::1:80", "a/b:1"]
        {
            assert_eq!(peer_address(&format!("tcp-connect:{none}")), None, "{none}");
        }
        assert_eq!(peer_address("tcp-listen:a:1"), None);
    }
}
