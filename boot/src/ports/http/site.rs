//! One request of a client, from its first byte to the last of its response.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::HOST;
use hyper::http::request;
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Version};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use seed::{PortId, ReplyId};
use tokio::net::TcpStream;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::warn;
use vm::step_loop::{AskerNews, Room};

use super::answer::{Answer, pass_on};
use super::apology::Apology;
use super::exchange::{decode_response, encode_request};
use super::pace::{PacedBody, TooSlow, WINDOW, WINDOW_BYTES};
use super::pure::Routes;
use super::websocket::{Handshake, MESSAGE_BYTES_MAX, Session};
use super::{HEAD_BYTES_MAX, kib};
use crate::driver::{Handle, Message};

/// A request's body, unless the machine takes less.
const BODY_BYTES_MAX: usize = 8 << 20;
/// What a body may have that asks for no room but its connection's own: other clients' bodies, however many and slow, do not keep it out.
pub(super) const OWN_BYTES: usize = 4 << 10;
/// Room for all other bodies that the machine has not been given yet.
const TAKEN_KIB_MAX: usize = 64 << 10;
/// What the machine has answered and clients have not read yet, of all of them.
const UNREAD_KIB_MAX: usize = 256 << 10;
/// What the machine's tables hold of a key is its hash; this is only so that nobody sends novels.
const KEY_BYTES_MAX: usize = 255;
/// How often it is asked whether a client that waits is still there. Most that go are noticed at once; this is for those that have sent more than
/// they have been answered.
const LOOK: Duration = Duration::from_secs(5);

/// What all of a server's connections share.
pub(super) struct Site {
    pub(super) handle: Handle,
    pub(super) port: PortId,
    routes: Arc<Routes>,
    body_bytes_max: usize,
    pub(super) message_bytes_max: usize,
    pub(super) taken: Arc<Semaphore>,
    pub(super) unread: Arc<Semaphore>,
}

/// What all of a connection's requests share.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) from: SocketAddr,
    pub(super) tcp: Weak<TcpStream>,
    pub(super) place: Arc<OwnedSemaphorePermit>,
    /// Whether its end now would be taken for the end of what is being sent over it.
    pub(super) is_cut: Arc<AtomicBool>,
    /// What goes on after a response that upgrades it.
    pub(super) upgraded: Arc<Mutex<Option<Session>>>,
}

impl Connection {
    /// Waits until its client has gone.
    pub(super) async fn has_gone(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(tcp) = self.tcp.upgrade() else { return };
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let mut asked = [PollFd::from_borrowed_fd(tcp.as_fd(), PollFlags::RDHUP)];
            if poll(&mut asked, Some(&now)).is_ok_and(|ready| ready > 0) {
                return;
            }
        }
    }
}

impl Site {
    pub(super) fn of(handle: Handle, port: PortId, input_bytes_max: u64, routes: Arc<Routes>) -> Self {
        let input_bytes_max = usize::try_from(input_bytes_max).unwrap_or(usize::MAX);
        Self {
            handle,
            port,
            routes,
            // With room for the head's encoding.
            body_bytes_max: BODY_BYTES_MAX.min(input_bytes_max.saturating_sub(2 * HEAD_BYTES_MAX)),
            message_bytes_max: MESSAGE_BYTES_MAX.min(input_bytes_max.saturating_sub(HEAD_BYTES_MAX)),
            taken: Arc::new(Semaphore::new(TAKEN_KIB_MAX)),
            unread: Arc::new(Semaphore::new(UNREAD_KIB_MAX)),
        }
    }

    /// Brings a request to the machine, and its answer back.
    pub(super) async fn respond(
        &self,
        connection: &Connection,
        mut request: Request<Incoming>,
    ) -> Result<Response<Answer>, Apology> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, body) = request.into_parts();
        check_target(&head)?;
        let handshake = Handshake::of(&head)?;
        if handshake.is_none() && is_read(&head) && self.routes.has(head.uri.path()) {
            return self.query(&head, body).await;
        }
        let key = self.key(&head)?;
        let has_key = !key.is_empty();
        let (body, mut taken) = self.read(body).await?;
        let payload = encode_request(&head, &body, handshake.is_some());
        drop(body);
        if let Some(taken) = &mut taken {
            drop(taken.split(taken.num_permits().saturating_sub(kib(payload.len()) as usize)));
        }
        let (sender, mut news) = unbounded_channel();
        let from = connection.from.to_string().into_bytes();
        let room = Room::of((taken, Arc::clone(&connection.place)));
        let mut asking = self.handle.bring(self.port, Message { from, payload, key, room }, sender);
        let first = tokio::select! {
            biased;
            first = news.recv() => first,
            // Nobody will read this.
            () = connection.has_gone() => return Err(Apology::unanswered("its client has gone", has_key)),
        };
        let (reply, more, payload) = match first {
            Some(AskerNews::Answer { reply, more, payload }) => (reply, more, payload),
            Some(AskerNews::Refused { code, text }) => {
                asking.is_settled();
                return Err(Apology::refused(code, &text));
            }
            Some(AskerNews::Accepted) | None => {
                return Err(Apology::unanswered("the machine stopped before it answered", has_key));
            }
        };
        if !more {
            asking.is_settled();
        }
        let may_upgrade = handshake.is_some() && more && reply != ReplyId::NONE;
        let mut response = decode_response(&payload, may_upgrade).map_err(|why| no_response(&head, &why))?;
        if let (Some(handshake), StatusCode::SWITCHING_PROTOCOLS) = (handshake, response.status()) {
            handshake.complete(response.headers_mut());
            let session = Session { upgrade, reply, asking, news };
            *connection.upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
            return Ok(response.map(|body| Answer::whole(body, None)));
        }
        let unread = Arc::clone(&self.unread).try_acquire_many_owned(kib(payload.len()));
        let unread = unread.map_err(|_| {
            Apology::unanswered("other clients have too much to read, and the answer was dropped", has_key)
        })?;
        let response = response.map(|body| Answer::whole(body, Some(unread)));
        if !more {
            return Ok(response);
        }
        let (pieces, coming) = unbounded_channel();
        let unread = Arc::clone(&self.unread);
        let waiting = connection.clone();
        tokio::spawn(async move { pass_on(asking, news, pieces, unread, waiting.has_gone()).await });
        let is_cut = (head.version < Version::HTTP_11).then(|| Arc::clone(&connection.is_cut));
        Ok(response.map(|answer| answer.begun(coming, is_cut)))
    }

    /// Asks the machine a request as a query, beside whatever it does.
    async fn query(&self, head: &request::Parts, body: Incoming) -> Result<Response<Answer>, Apology> {
        let (body, _taken) = self.read(body).await?;
        let payload = encode_request(head, &body, false);
        let answer = match self.handle.query_at_once(self.port, &payload) {
            Some(answer) => answer,
            None => {
                let stopped = |_| Apology::unheard("the machine stopped before it answered");
                self.handle.query(self.port, payload).await.map_err(stopped)?
            }
        };
        let payload = answer.map_err(|(code, text)| Apology::refused(code, &text))?;
        let response = decode_response(&payload, false).map_err(|why| no_response(head, &why))?;
        let unread = Arc::clone(&self.unread).try_acquire_many_owned(kib(payload.len()));
        let unread = unread.map_err(|_| Apology::unheard("other clients have too much to read"))?;
        Ok(response.map(|body| Answer::whole(body, Some(unread))))
    }

    /// Reads a body into room that it takes as it comes. While it is put together with its head it takes twice as much.
    async fn read(&self, body: Incoming) -> Result<(Vec<Bytes>, Option<OwnedSemaphorePermit>), Apology> {
        let most = self.body_bytes_max;
        let too_large = || Apology::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have {most} bytes"));
        if body.size_hint().lower() > most as u64 {
            return Err(too_large());
        }
        let mut body = PacedBody::of(body, WINDOW);
        let (mut read, mut bytes) = (Vec::new(), 0);
        let mut taken: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                if error.is::<TooSlow>() {
                    let least = format!("a body has to come at {WINDOW_BYTES} bytes in {} s", WINDOW.as_secs());
                    return Apology::new(StatusCode::REQUEST_TIMEOUT, least);
                }
                Apology::new(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}"))
            })?;
            // Trailers are no part of what a machine is told.
            let Ok(piece) = frame.into_data() else { continue };
            bytes += piece.len();
            if bytes > most {
                return Err(too_large());
            }
            read.push(piece);
            let wanted = if bytes > OWN_BYTES { kib(2 * bytes) as usize } else { 0 };
            let missing = wanted.saturating_sub(taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
            if missing > 0 {
                let room = Arc::clone(&self.taken).acquire_many_owned(u32::try_from(missing).unwrap_or(u32::MAX));
                let full = || Apology::unheard("too much is being sent by others");
                let room = timeout(WINDOW, room).await.ok().and_then(Result::ok).ok_or_else(full)?;
                match &mut taken {
                    Some(taken) => taken.merge(room),
                    None => taken = Some(room),
                }
            }
        }
        Ok((read, taken))
    }

    /// Under which key the machine remembers the request, if its client wants that: the key is one of this resource.
    fn key(&self, head: &request::Parts) -> Result<Vec<u8>, Apology> {
        let Some(key) = head.headers.get("idempotency-key") else { return Ok(Vec::new()) };
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            let text = format!("an Idempotency-Key has 1 to {KEY_BYTES_MAX} bytes");
            return Err(Apology::new(StatusCode::BAD_REQUEST, text));
        }
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        let mut hash = blake3::Hasher::new_derive_key("abide http idempotency key 1");
        let method = head.method.as_str();
        for part in [&self.port.0.to_be_bytes()[..], method.as_bytes(), target.as_bytes(), key.as_bytes()] {
            hash.update(&(part.len() as u64).to_be_bytes()).update(part);
        }
        Ok(hash.finalize().as_bytes().to_vec())
    }
}

/// Whether it asks for nothing to be done.
fn is_read(head: &request::Parts) -> bool {
    head.method == Method::GET || head.method == Method::HEAD
}

fn no_response(head: &request::Parts, why: &str) -> Apology {
    warn!("the machine's answer to {} {} is no response: {why}", head.method, head.uri.path());
    Apology::new(StatusCode::BAD_GATEWAY, format!("the machine's answer is no response: {why}"))
}

/// Whether it is clear which resource of whom is meant: what a machine judges by must not be what a proxy before it has judged otherwise (RFC 9112, 3.2).
fn check_target(head: &request::Parts) -> Result<(), Apology> {
    let bad = |text: &str| Err(Apology::new(StatusCode::BAD_REQUEST, text));
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return bad("it has more than one Host"),
        (None, None) if head.version >= Version::HTTP_11 => return bad("it has no Host"),
        (host, None) => host,
    };
    let host = host.map(|host| host.as_bytes());
    if host.is_some_and(|host| !host.is_empty() && Authority::try_from(host).is_err()) {
        return bad("its Host is none");
    }
    if head.method == Method::CONNECT {
        return Err(Apology::new(StatusCode::NOT_IMPLEMENTED, "this server is no proxy"));
    }
    if head.uri.authority().is_some_and(|target| host != Some(target.as_str().as_bytes())) {
        return bad("its Host is another than its target's");
    }
    if head.uri.path() == "*" && head.method != Method::OPTIONS {
        return bad("only OPTIONS has the target *");
    }
    Ok(())
}
