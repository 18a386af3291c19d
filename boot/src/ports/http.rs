//! **http**: a server of HTTP/1.1. A request comes to the machine as a message, and what it answers is the response.
//!
//! An answer in parts is streamed. A client that goes, or reads too slowly, has gone for the machine, too. Not resumed: connections die with the host. A request with
//! an `Idempotency-Key` may be made again; the machine sees it once, and the answer is the same.

mod exchange;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seed::message::Code;
use seed::{EffectId, PortId, RequestId};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, warn};
use vm::port::{Line, Port};
use vm::step_loop::AskerNews;

use self::exchange::{decode_response, encode_request};
use crate::driver::{Asking, Handle};

/// Connections at once, of a server. More wait to be accepted.
const CONNECTIONS_MAX: usize = 16_384;
/// Connections that wait to be accepted; the system may keep fewer.
const BACKLOG: u32 = 1024;
/// Open files that are not for connections: a machine that could open no more would stop.
const OTHER_FILES: usize = 256;
/// A request's line and headers.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// A request's body, unless the machine takes less.
const BODY_BYTES_MAX: usize = 8 << 20;
/// Bodies of requests that the machine has not answered yet. More are not read.
const TAKEN_KIB_MAX: usize = 64 << 10;
/// What the machine has answered and clients have not read yet: of one, and of all.
const UNREAD_KIB_MAX: u32 = 4 << 10;
const UNREAD_KIB_OF_ALL_MAX: u32 = 256 << 10;
/// What the machine's tables hold of a key is its hash; this is only so that nobody sends novels.
const KEY_BYTES_MAX: usize = 255;
/// For a request's head to come, and between parts of its body.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the server of a grant listens: `http:8080` is on this host alone, `http:0.0.0.0:8080` open to all.
#[must_use]
pub fn address(grant: &str) -> Option<SocketAddr> {
    let at = grant.strip_prefix("http:")?;
    if at.bytes().all(|byte| byte.is_ascii_digit()) {
        return at.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    at.parse().ok()
}

/// An HTTP server as a port. Dropped, it stops listening and closes its connections.
pub struct Http {
    line: Line,
    accepting: AbortHandle,
    address: SocketAddr,
}

/// What all of a server's connections share.
struct Site {
    handle: Handle,
    port: PortId,
    body_bytes_max: usize,
    taken: Arc<Semaphore>,
    unread: Arc<Semaphore>,
}

impl Http {
    /// Listens, for a machine that takes inputs of so many bytes.
    ///
    /// # Errors
    /// If nothing can listen there.
    pub fn listen(
        address: SocketAddr,
        line: Line,
        (handle, port): (Handle, PortId),
        input_bytes_max: u64,
        runtime: &tokio::runtime::Handle,
    ) -> io::Result<Self> {
        let _entered = runtime.enter();
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // What is left of connections of the run before is no reason to wait.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let input_bytes_max = usize::try_from(input_bytes_max).unwrap_or(usize::MAX);
        let site = Site {
            handle,
            port,
            // With room for the head's encoding.
            body_bytes_max: BODY_BYTES_MAX.min(input_bytes_max.saturating_sub(2 * HEAD_BYTES_MAX)),
            taken: Arc::new(Semaphore::new(TAKEN_KIB_MAX)),
            unread: Arc::new(Semaphore::new(UNREAD_KIB_OF_ALL_MAX as usize)),
        };
        let accepting = tokio::spawn(accept(listener, Arc::new(site))).abort_handle();
        Ok(Self { line, accepting, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        // The connections are tasks of that task.
        self.accepting.abort();
    }
}

impl Port for Http {
    fn ask(&mut self, request: RequestId, _payload: Vec<u8>, _resumed: bool) {
        self.line.broken(request, Code::REFUSED, "an HTTP server is not asked anything: it brings messages");
    }

    fn effect(&mut self, effect: EffectId, _payload: Vec<u8>) {
        self.line.delivered(effect);
    }

    fn cancel(&mut self, _request: RequestId) {}
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

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let places = Arc::new(Semaphore::new(connections_max()));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let site = Arc::clone(&site);
                connections.spawn(async move {
                    let _place = place;
                    if let Err(error) = serve(stream, from, site).await {
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
}

async fn serve(stream: TcpStream, from: SocketAddr, site: Arc<Site>) -> hyper::Result<()> {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.respond(from, request).await.unwrap_or_else(Apology::response)) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// What a client is told where the machine has not answered it.
struct Apology {
    status: StatusCode,
    text: String,
    /// Whether the same request may be answered if it is made again.
    is_passing: bool,
}

impl Apology {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), is_passing: false }
    }

    fn passing(text: &str) -> Self {
        Self { is_passing: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text) }
    }

    fn of(code: Code, text: &str) -> Self {
        let status = match code {
            Code::MALFORMED => StatusCode::BAD_REQUEST,
            Code::REFUSED => StatusCode::NOT_IMPLEMENTED,
            Code::LIMIT => return Self::passing(text),
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, format!("{}: {text}", code.word()))
    }

    fn response(self) -> Response<Answer> {
        let mut response = Response::new(Answer::whole((self.text + "\n").into(), None));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.is_passing {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl Site {
    async fn respond(&self, from: SocketAddr, request: Request<Incoming>) -> Result<Response<Answer>, Apology> {
        let (head, body) = request.into_parts();
        let key = self.key(&head)?;
        let too_large = || {
            let most = self.body_bytes_max;
            Apology::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have {most} bytes"))
        };
        let most = body.size_hint().upper().map_or(Ok(self.body_bytes_max), usize::try_from).unwrap_or(usize::MAX);
        if most > self.body_bytes_max {
            return Err(too_large());
        }
        let taken = Arc::clone(&self.taken).acquire_many_owned(kib(most)).await;
        let mut taken = taken.map_err(|_| Apology::passing("the machine stops"))?;
        let body = Limited::new(Patient { body, timer: Box::pin(tokio::time::sleep(PATIENCE)) }, self.body_bytes_max);
        let body = body.collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                return too_large();
            }
            Apology::new(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}"))
        })?;
        let payload = encode_request(&head, &body.to_bytes());
        // A request may wait for long, and less may have come than could have.
        drop(taken.split(taken.num_permits().saturating_sub(kib(payload.len()) as usize)));
        let (sender, mut news) = unbounded_channel();
        let from = from.to_string().into_bytes();
        let mut asking = self.handle.send_to(self.port, from, payload, key, sender);
        let first = news.recv().await;
        drop(taken);
        let (more, payload) = match first {
            Some(AskerNews::Answer { more, payload }) => (more, payload),
            Some(AskerNews::Refused { code, text }) => {
                asking.is_settled();
                return Err(Apology::of(code, &text));
            }
            Some(AskerNews::Accepted) | None => return Err(Apology::passing("the machine has stopped")),
        };
        if !more {
            asking.is_settled();
        }
        let response = decode_response(&payload).map_err(|why| {
            warn!("the machine's answer to {} {} is no response: {why}", head.method, head.uri.path());
            Apology::new(StatusCode::BAD_GATEWAY, format!("the machine's answer is no response: {why}"))
        })?;
        let unread = Arc::clone(&self.unread).try_acquire_many_owned(kib(payload.len()));
        let unread = unread.map_err(|_| Apology::passing("too much is being sent to others"))?;
        Ok(response.map(|body| {
            if more {
                let (parts, coming) = unbounded_channel();
                tokio::spawn(pass_on(asking, news, parts, Arc::clone(&self.unread)));
                Answer { first: Some((body, Some(unread))), coming: Some(coming) }
            } else {
                Answer::whole(body, Some(unread))
            }
        }))
    }

    /// Under which key the machine remembers the request, if its client wants that: the key is one of this resource.
    fn key(&self, head: &hyper::http::request::Parts) -> Result<Vec<u8>, Apology> {
        let Some(key) = head.headers.get("idempotency-key") else { return Ok(Vec::new()) };
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            let text = format!("an Idempotency-Key has 1 to {KEY_BYTES_MAX} bytes");
            return Err(Apology::new(StatusCode::BAD_REQUEST, text));
        }
        let mut hash = blake3::Hasher::new_derive_key("abide http idempotency key 1");
        let method = head.method.as_str();
        for part in [&self.port.0.to_be_bytes()[..], method.as_bytes(), head.uri.path().as_bytes(), key.as_bytes()] {
            hash.update(&(part.len() as u64).to_be_bytes()).update(part);
        }
        Ok(hash.finalize().as_bytes().to_vec())
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX)
}

/// Passes on the further parts of an answer, until it ends or its client has gone: which it has, too, where too much is unread.
async fn pass_on(
    mut asking: Asking,
    mut news: UnboundedReceiver<AskerNews>,
    parts: UnboundedSender<io::Result<Part>>,
    unread_of_all: Arc<Semaphore>,
) {
    let unread = Arc::new(Semaphore::new(UNREAD_KIB_MAX as usize));
    loop {
        let one = tokio::select! {
            () = parts.closed() => return,
            one = news.recv() => one,
        };
        let (more, payload) = match one {
            Some(AskerNews::Answer { more, payload }) => (more, payload),
            Some(AskerNews::Refused { code, text }) => {
                asking.is_settled();
                let _ = parts.send(Err(io::Error::other(format!("{}: {text}", code.word()))));
                return;
            }
            Some(AskerNews::Accepted) | None => {
                let _ = parts.send(Err(io::Error::other("the machine has stopped")));
                return;
            }
        };
        if !more {
            asking.is_settled();
        }
        let room = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_many_owned(kib(payload.len()).min(UNREAD_KIB_MAX));
        let (Ok(own), Ok(all)) = (room(&unread), room(&unread_of_all)) else {
            let _ = parts.send(Err(io::Error::other("it was read too slowly")));
            return;
        };
        if parts.send(Ok(Part { bytes: payload.into(), _unread: (own, all) })).is_err() || !more {
            return;
        }
    }
}

/// A part of an answer that waits to be read.
struct Part {
    bytes: Bytes,
    _unread: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// The body of a response.
struct Answer {
    first: Option<(Bytes, Option<OwnedSemaphorePermit>)>,
    coming: Option<UnboundedReceiver<io::Result<Part>>>,
}

impl Answer {
    fn whole(body: Bytes, unread: Option<OwnedSemaphorePermit>) -> Self {
        Self { first: Some((body, unread)), coming: None }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some((bytes, _)) = self.first.take()
            && !bytes.is_empty()
        {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(coming) = &mut self.coming else { return Poll::Ready(None) };
        let part = ready!(coming.poll_recv(context));
        Poll::Ready(part.map(|part| part.map(|part| Frame::data(part.bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.coming.is_none() && self.first.as_ref().is_none_or(|(bytes, _)| bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, |(bytes, _)| bytes.len() as u64);
        if self.coming.is_none() { SizeHint::with_exact(first) } else { SizeHint::default() }
    }
}

/// A request's body, of which something has to come every now and then.
struct Patient {
    body: Incoming,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Body for Patient {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.timer.as_mut().reset(tokio::time::Instant::now() + PATIENCE);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.timer.as_mut().poll(context));
        Poll::Ready(Some(Err(format!("nothing of it came for {} s", PATIENCE.as_secs()).into())))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

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
}
