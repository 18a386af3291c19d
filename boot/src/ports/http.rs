//! **http**: a server of HTTP/1.1 and of websockets. A request comes to the machine as a message, and what it answers is the response.
//!
//! An answer in parts is streamed. A client that goes, or reads too slowly, has gone for the machine, too. Not resumed: connections die with the host. A request with
//! an `Idempotency-Key` may be made again; the machine sees it once, and the answer is the same. Reading a path that the machine has marked as pure is a
//! query. The marks are resumed.
//!
//! Invariant: what clients can make the host keep is bounded, and none of it can be kept by sending or reading nothing.

mod answer;
mod apology;
mod exchange;
pub(crate) mod pace;
mod pure;
mod site;
mod spoken;
mod websocket;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use seed::{EffectId, PortId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::debug;
use vm::port::{Line, Port, Ticket};

use self::apology::Apology;
use self::pace::{PacedStream, WINDOW};
use self::pure::Routes;
use self::site::{Connection, Site};
use super::sockets::{end, listen, listening_address};
use super::{Host, Known, headers};
use crate::terminal::say;

/// A request's line and headers.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 100;
/// How long clients may take to read what a machine has answered before it stopped.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// Where the server of a grant listens: `http:8080` is on this host alone, `http:0.0.0.0:8080` open to all.
#[must_use]
pub fn address(grant: &str) -> Option<SocketAddr> {
    listening_address(grant.strip_prefix("http:")?)
}

/// Understands the name of a grant.
pub fn parse(name: &str, _folder: &Path) -> Option<Known> {
    let address = address(name)?;
    Some(Known::new(name, move |port, host| {
        if !host.listens {
            return Ok(Some(Box::new(Http::deaf(host))));
        }
        let (server, address) = Http::listen(address, port, host)?;
        say(&format!("listening on http://{address}"));
        Ok(Some(Box::new(server)))
    }))
}

/// An HTTP server as a port. Dropped, it stops listening and closes its connections.
pub struct Http {
    line: Line,
    routes: Arc<Routes>,
    runtime: tokio::runtime::Handle,
    serving: Option<Serving>,
}

struct Serving {
    closing: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Http {
    /// One that nobody can reach.
    #[must_use]
    pub fn deaf(host: &Host) -> Self {
        Self { line: host.line.clone(), routes: Arc::default(), runtime: host.runtime.clone(), serving: None }
    }

    /// Listens, as the port of this number. Also where.
    ///
    /// # Errors
    /// If nothing can listen there.
    pub fn listen(address: SocketAddr, port: PortId, host: &Host) -> io::Result<(Self, SocketAddr)> {
        let _entered = host.runtime.enter();
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let mut server = Self::deaf(host);
        let routes = Arc::clone(&server.routes);
        let site = Arc::new(Site::of(host.handle.clone(), port, host.limits.input_bytes, routes));
        let (closing, told) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, site, host.sockets.places(), told));
        server.serving = Some(Serving { closing, accepting });
        Ok((server, address))
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        if let Some(serving) = &mut self.serving {
            // The connections are tasks of that task.
            end(&self.runtime, &mut serving.accepting);
        }
    }
}

impl Port for Http {
    fn ask(&mut self, request: Ticket, payload: Vec<u8>, _resumed: bool) {
        if let Err((code, text)) = self.routes.mark(request.number(), &payload) {
            self.line.broken(request, code, text);
        }
    }

    fn effect(&mut self, effect: EffectId, _payload: Vec<u8>) {
        self.line.delivered(effect);
    }

    fn cancel(&mut self, request: Ticket) {
        self.routes.unmark(request.number());
    }

    fn close(&mut self) {
        if let Some(Serving { closing, accepting }) = &mut self.serving {
            closing.send_replace(true);
            // Those that still read after that are cut.
            let _ = self.runtime.block_on(async { timeout(END_PATIENCE, accepting).await });
        }
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX)
}

/// Waits until the port closes.
async fn closes(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Accepts connections until the port closes, and waits for the last of them.
async fn accept(listener: TcpListener, site: Arc<Site>, places: Arc<Semaphore>, mut closing: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = closes(&mut closing) => break,
            accepted = accept_one(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, from, place)) => {
                let (site, closing) = (Arc::clone(&site), closing.clone());
                connections.spawn(async move {
                    if let Err(error) = serve(stream, from, place, site, closing).await {
                        debug!(%from, %error, "an HTTP connection has ended");
                    }
                });
            }
            Err(error) => {
                debug!(%error, "accepting an HTTP connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept_one(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, from) = listener.accept().await?;
    Ok((stream, from, place))
}

async fn serve(
    stream: TcpStream,
    from: SocketAddr,
    place: OwnedSemaphorePermit,
    site: Arc<Site>,
    mut closing: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let _ = stream.set_nodelay(true);
    let (tcp, is_cut) = (Arc::new(stream), Arc::new(AtomicBool::new(false)));
    let connection = Connection {
        from,
        tcp: Arc::downgrade(&tcp),
        place: Arc::new(place),
        is_cut: Arc::clone(&is_cut),
        upgraded: Arc::new(Mutex::new(None)),
    };
    let service = service_fn(|request| {
        let (site, connection) = (Arc::clone(&site), connection.clone());
        async move {
            let response = site.respond(&connection, request).await;
            Ok::<_, Infallible>(response.unwrap_or_else(Apology::response))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(WINDOW)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(PacedStream::of(tcp, is_cut)), service)
        .with_upgrades();
    {
        let mut serving = std::pin::pin!(serving);
        let served = tokio::select! {
            biased;
            () = closes(&mut closing) => None,
            served = serving.as_mut() => Some(served),
        };
        match served {
            Some(served) => served?,
            None => {
                serving.as_mut().graceful_shutdown();
                serving.await?;
            }
        }
    }
    let session = connection.upgraded.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(session) = session {
        session.run(&site, &connection, closing).await;
    }
    Ok(())
}

#[cfg(test)]
#[path = "../../../fuzz/http_bodies.rs"]
#[allow(unreachable_pub, reason = "the fuzzer's target includes it, too")]
mod bodies;

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn where_a_grant_listens() {
        let listens = |grant| address(grant).map(|address| address.to_string());
        assert_eq!(listens("http:8080").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(listens("http:0.0.0.0:80").as_deref(), Some("0.0.0.0:80"));
        assert_eq!(listens("http:[::1]:8080").as_deref(), Some("[::1]:8080"));
        for none in ["http", "http:", "http:x", "http:65536", "http:localhost:1", "https:1", "http:1:", "http:+80"] {
            assert_eq!(listens(none), None, "{none}");
        }
    }

    #[test]
    fn payloads_near_the_starting_points_of_the_fuzzer_are_what_they_may_be() {
        crate::ports::golden::fuzz_near("http_answer", super::bodies::http_answer);
    }
}
