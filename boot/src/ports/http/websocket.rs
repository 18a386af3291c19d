//! A connection that was upgraded (RFC 6455): messages both ways, each in its order.
//!
//! What a client sends is a message to the machine, `[reply, kind, data]`: `reply` is what the machine owes the connection, since it let it be
//! upgraded by the first part of that answer. Each further part is a message to the client, `[kind, data]`, or `[8, code, reason]`, which closes the
//! connection, as the end of the answer does. When the connection ends otherwise, its client has gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use hyper::http::request;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, StatusCode, Version};
use hyper_util::rt::TokioIo;
use seed::ReplyId;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message as Frame, Utf8Bytes};
use tracing::warn;
use vm::step_loop::{AskerNews, Room};

use super::answer::{Further, pass_on};
use super::apology::Apology;
use super::site::{Connection, OWN_BYTES, Site};
use super::spoken::{BINARY, REASON_BYTES_MAX, Said, TEXT, decode, encode};
use super::{END_PATIENCE, closes, kib};
use crate::driver::{Asking, Message};

/// A client's message, unless the machine takes less.
pub(super) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Messages of one client that the machine has not run yet; more are not read.
const WAITING_MAX: usize = 4;
/// How often a client is asked whether it is there, and how long it may say nothing.
const PING: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(75);
/// What there is to keep of what was read and not yet understood, to begin with.
const BUFFER_BYTES: usize = 4 << 10;

/// What a request for an upgrade is answered with, if the machine agrees.
pub(super) struct Handshake {
    accept: String,
}

impl Handshake {
    /// What a request asks for, if that is an upgrade to this protocol.
    pub(super) fn of(head: &request::Parts) -> Result<Option<Self>, Apology> {
        let names = |name: HeaderName, word: &str| {
            let values = head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
        };
        if !names(UPGRADE, "websocket") {
            return Ok(None);
        }
        let value = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        if value("sec-websocket-version") != "13" {
            let text = "this server has version 13 of websockets";
            return Err(Apology::new(StatusCode::UPGRADE_REQUIRED, text).with("sec-websocket-version", "13"));
        }
        let key = value("sec-websocket-key");
        let is_asked = head.method == Method::GET && head.version == Version::HTTP_11 && names(CONNECTION, "upgrade");
        if !is_asked || key.len() != 24 {
            return Err(Apology::new(StatusCode::BAD_REQUEST, "this is no request for a websocket"));
        }
        Ok(Some(Self { accept: derive_accept_key(key.as_bytes()) }))
    }

    /// The headers with which the machine's agreement is told.
    pub(super) fn complete(self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
    }
}

/// What goes on over a connection once it is upgraded.
pub(super) struct Session {
    pub(super) upgrade: OnUpgrade,
    pub(super) reply: ReplyId,
    pub(super) asking: Asking,
    pub(super) news: UnboundedReceiver<AskerNews>,
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

impl Session {
    /// Passes on messages until one side has enough, or the port closes.
    pub(super) async fn run(self, site: &Arc<Site>, connection: &Connection, mut closing: watch::Receiver<bool>) {
        let Self { upgrade, reply, asking, news } = self;
        let Ok(upgraded) = upgrade.await else { return };
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(site.message_bytes_max))
            .max_frame_size(Some(site.message_bytes_max));
        let io = TokioIo::new(upgraded);
        let (mut writer, mut reader) = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await.split();
        let (pieces, coming) = unbounded_channel();
        let (unread, waiting) = (Arc::clone(&site.unread), connection.clone());
        tokio::spawn(async move { pass_on(asking, news, pieces, unread, waiting.has_gone()).await });
        let last = {
            let mut writing = std::pin::pin!(write_all(&mut writer, coming));
            tokio::select! {
                biased;
                last = &mut writing => last,
                last = read_all(&mut reader, reply, site, connection) => last,
                // What the machine has said before it stopped is on its way.
                () = closes(&mut closing) => timeout(END_PATIENCE / 2, writing).await.unwrap_or(away()),
            }
        };
        if let Some(last) = last {
            let farewell = async {
                let _ = writer.send(Frame::Close(Some(last))).await;
                while let Some(Ok(_)) = reader.next().await {}
            };
            let _ = timeout(END_PATIENCE / 4, farewell).await;
        }
    }
}

fn away() -> Option<CloseFrame> {
    close(CloseCode::Away, "the machine has stopped")
}

#[expect(clippy::unnecessary_wraps, reason = "where there is nobody to be told, there is none")]
fn close(code: CloseCode, reason: &str) -> Option<CloseFrame> {
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    Some(CloseFrame { code, reason: Utf8Bytes::from(&reason[..end]) })
}

/// Brings the client's messages to the machine. Returns what it is to be told at the end, if it is there.
async fn read_all(
    reader: &mut SplitStream<Socket>,
    reply: ReplyId,
    site: &Site,
    connection: &Connection,
) -> Option<CloseFrame> {
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    while let Ok(Some(frame)) = timeout(SILENCE, reader.next()).await {
        let (kind, data) = match frame {
            Ok(Frame::Text(text)) => (TEXT, Bytes::from(text)),
            Ok(Frame::Binary(data)) => (BINARY, data),
            Ok(Frame::Close(_)) => return None,
            Ok(_) => continue,
            Err(Error::Capacity(why)) => return close(CloseCode::Size, &why.to_string()),
            Err(Error::Utf8(why)) => return close(CloseCode::Invalid, &why),
            Err(Error::Protocol(why)) => return close(CloseCode::Protocol, &why.to_string()),
            Err(_) => return None,
        };
        let Ok(slot) = Arc::clone(&waiting).acquire_owned().await else { return None };
        let taken = match data.len() {
            0..=OWN_BYTES => None,
            len => Arc::clone(&site.taken).acquire_many_owned(kib(2 * len)).await.ok(),
        };
        let payload = encode(reply, kind, &data);
        let from = connection.from.to_string().into_bytes();
        let room = Room::of((slot, taken, Arc::clone(&connection.place)));
        site.handle.tell(site.port, Message { from, payload, key: Vec::new(), room });
    }
    None
}

/// Writes what the machine says, until it has said all. Returns what the client is to be told at the end, if it is there.
async fn write_all(
    writer: &mut SplitSink<Socket, Frame>,
    mut coming: UnboundedReceiver<Further>,
) -> Option<CloseFrame> {
    let mut ping = interval_at(Instant::now() + PING, PING);
    loop {
        let further = tokio::select! {
            biased;
            further = coming.recv() => further?,
            _ = ping.tick() => {
                writer.send(Frame::Ping(Bytes::new())).await.ok()?;
                continue;
            }
        };
        let piece = match further {
            Ok(Some(piece)) => piece,
            Ok(None) => return close(CloseCode::Normal, ""),
            Err(why) if why.kind() == std::io::ErrorKind::ConnectionAborted => return away(),
            Err(why) => return close(CloseCode::Error, &why.to_string()),
        };
        match decode(piece.bytes()) {
            // The piece's room is given back when it is written.
            Ok(Said::Message(frame)) => writer.send(frame).await.ok()?,
            Ok(Said::Close(last)) => return Some(last),
            Err(why) => {
                warn!("what the machine says over a websocket is no message: {why}");
                return close(CloseCode::Error, &format!("what the machine said is no message: {why}"));
            }
        }
    }
}
