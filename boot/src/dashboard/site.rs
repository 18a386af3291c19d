//! The dashboard over HTTP: a page, what belongs to it, and events as they happen. To whom, and to whom not.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tracing::debug;

use super::peer;
use super::teller::Teller;
use super::watch::Watch;
use crate::ports::http::pace::{PacedStream, WINDOW};

/// Viewers at a time.
const VIEWERS_MAX: usize = 16;
/// Connections at a time, theirs included; more wait.
const CONNECTIONS_MAX: usize = 64;
/// A request's line and headers.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How often viewers are told what is new.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// What a page of ours may do: have its own style and script, and ask where it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
    ("/icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// The site of one machine.
pub(super) struct Site {
    address: SocketAddr,
    /// Names under which it is asked for.
    hosts: HashSet<String>,
    teller: Mutex<Teller>,
    viewers: Arc<Semaphore>,
    /// Somebody has come where nobody was.
    arrived: Notify,
}

impl Site {
    pub(super) fn of(address: SocketAddr, name: &str, watch: Arc<Watch>) -> Arc<Self> {
        let port = address.port();
        let mut hosts = HashSet::from([address.to_string(), format!("localhost:{port}")]);
        if port == 80 {
            hosts.extend([address.to_string().trim_end_matches(":80").to_owned(), "localhost".to_owned()]);
        }
        let teller = Mutex::new(Teller::of(name, watch));
        Arc::new(Self {
            address,
            hosts,
            teller,
            viewers: Arc::new(Semaphore::new(VIEWERS_MAX)),
            arrived: Notify::new(),
        })
    }

    /// Serves whoever comes, for ever.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let telling = Arc::clone(&self);
        tokio::spawn(async move {
            let mut beat = tokio::time::interval(TELL_EVERY);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                while !telling.teller().has_viewers() {
                    telling.arrived.notified().await;
                }
                beat.tick().await;
                telling.teller().tell();
            }
        });
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let site = Arc::clone(&self);
                    tokio::spawn(async move {
                        if let Err(error) = site.attend(stream, from).await {
                            debug!(%from, %error, "a connection to the dashboard has ended");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    debug!(%error, "accepting a connection to the dashboard failed");
                    tokio::time::sleep(TELL_EVERY).await;
                }
            }
        }
    }

    async fn attend(&self, stream: TcpStream, from: SocketAddr) -> hyper::Result<()> {
        let _ = stream.set_nodelay(true);
        let is_ours = peer::is_ours(from, self.address);
        let service = service_fn(|request: Request<Incoming>| {
            let reply = match &is_ours {
                Ok(true) => self.respond(&request),
                Ok(false) => refusal(StatusCode::FORBIDDEN, "this dashboard belongs to another user of this host"),
                Err(error) => {
                    let text = format!(
                        "this host does not tell which user has connected, so nobody is shown anything: {error}"
                    );
                    refusal(StatusCode::FORBIDDEN, &text)
                }
            };
            std::future::ready(Ok::<_, Infallible>(reply))
        });
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(WINDOW)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(
                TokioIo::new(PacedStream::of(Arc::new(stream), Arc::new(AtomicBool::new(false)))),
                service,
            )
            .await
    }

    fn respond(&self, request: &Request<Incoming>) -> Reply {
        if !self.is_meant(request) {
            let text = format!("this is http://{}/ and goes by no other name", self.address);
            return refusal(StatusCode::MISDIRECTED_REQUEST, &text);
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut reply = refusal(StatusCode::METHOD_NOT_ALLOWED, "a dashboard is only looked at");
            reply.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        let path = request.uri().path();
        if path == "/events" {
            return self.events(request);
        }
        match FILES.iter().find(|(name, ..)| *name == path) {
            Some((_, kind, text)) => reply(StatusCode::OK, kind, whole(text)),
            None => refusal(StatusCode::NOT_FOUND, "there is only /"),
        }
    }

    /// Whether it is asked for as what it is: a page of another site, whose name somebody has made lead here, is not shown anything.
    fn is_meant(&self, request: &Request<Incoming>) -> bool {
        let known = |host: &str| self.hosts.contains(&host.to_ascii_lowercase());
        let mut hosts = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        host.to_str().is_ok_and(known) && request.uri().authority().is_none_or(|named| known(named.as_str()))
    }

    fn events(&self, request: &Request<Incoming>) -> Reply {
        const KIND: &str = "text/event-stream";
        // They could not read it, but they could take a viewer's place.
        let is_foreign =
            |site: &hyper::header::HeaderValue| !["same-origin", "none"].map(str::as_bytes).contains(&site.as_bytes());
        if request.headers().get("sec-fetch-site").is_some_and(is_foreign) {
            return refusal(StatusCode::FORBIDDEN, "this is for the dashboard's own page");
        }
        if request.method() == Method::HEAD {
            return reply(StatusCode::OK, KIND, whole(""));
        }
        let Ok(place) = Arc::clone(&self.viewers).try_acquire_owned() else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, &format!("{VIEWERS_MAX} others are looking; close one"));
        };
        let (snapshot, changes) = self.teller().welcome();
        self.arrived.notify_one();
        let events = unfold((Some(snapshot), changes, place), |(first, mut changes, place)| async move {
            let event = match first {
                Some(snapshot) => Ok(snapshot),
                // One that is too far behind is cut, and asks again: then there is another snapshot.
                None => changes.recv().await.map_err(io::Error::other),
            };
            Some((event.map(Frame::data), (None, changes, place)))
        });
        reply(StatusCode::OK, KIND, StreamBody::new(events).boxed_unsync())
    }

    fn teller(&self) -> MutexGuard<'_, Teller> {
        self.teller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole(text: &str) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {}).boxed_unsync()
}

fn refusal(status: StatusCode, why: &str) -> Reply {
    reply(status, "text/plain; charset=utf-8", whole(&format!("{why}\n")))
}

fn reply(status: StatusCode, kind: &'static str, body: UnsyncBoxBody<Bytes, io::Error>) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = [
        (CONTENT_TYPE.as_str(), kind),
        (CONTENT_SECURITY_POLICY.as_str(), POLICY),
        (X_CONTENT_TYPE_OPTIONS.as_str(), "nosniff"),
        (REFERRER_POLICY.as_str(), "no-referrer"),
        (CACHE_CONTROL.as_str(), "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    for (name, value) in headers {
        reply.headers_mut().insert(name, hyper::header::HeaderValue::from_static(value));
    }
    reply
}
