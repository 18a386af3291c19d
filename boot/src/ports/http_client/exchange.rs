//! One request and its response, over a connection of their own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue};
use hyper::http::response;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use seed::message::Code;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::call::Call;
use super::url::Origin;

const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// For one of several addresses to answer.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// No answer, and why.
pub(super) struct Failed {
    pub(super) code: Code,
    pub(super) why: String,
}

/// A whole response.
pub(super) struct Received {
    pub(super) head: response::Parts,
    pub(super) body: Bytes,
}

/// Whom the host trusts to say who is who: its own store, or the file that SSL_CERT_FILE names.
#[derive(Default)]
pub(super) struct Trust(OnceCell<Arc<ClientConfig>>);

/// The exchanges of one call.
pub(super) struct Exchange<'a> {
    trust: &'a Trust,
    bytes_max: usize,
    /// Whether somebody may have got the call.
    is_sent: AtomicBool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(trust: &'a Trust, bytes_max: usize) -> Self {
        Self { trust, bytes_max, is_sent: AtomicBool::new(false) }
    }

    /// Failed; or lost, if somebody may have done what was called for.
    pub(super) fn failed(&self, why: String) -> Failed {
        let code = if self.is_sent.load(Ordering::Relaxed) { Code::LOST } else { Code::FAILED };
        Failed { code, why }
    }

    /// Sends a call and waits for all of its answer, but for the body of one of which only the head is wanted.
    pub(super) async fn with(
        &self,
        call: &Call,
        only_head: impl Fn(&response::Parts) -> bool,
    ) -> Result<Received, Failed> {
        let origin = &call.url.origin;
        let stream = self.connect(origin).await?;
        if !origin.is_secure {
            return self.talk(stream, call, only_head).await;
        }
        let failed = |error: &dyn std::fmt::Display| self.failed(format!("TLS with {} failed: {error}", origin.host()));
        let name = ServerName::try_from(origin.host().to_owned()).map_err(|error| failed(&error))?;
        let trusted = self.trust.config().await.map_err(|error| failed(&error))?;
        let stream = TlsConnector::from(trusted).connect(name, stream).await.map_err(|error| failed(&error))?;
        self.talk(stream, call, only_head).await
    }

    async fn connect(&self, origin: &Origin) -> Result<TcpStream, Failed> {
        let unknown = |error: &dyn std::fmt::Display| self.failed(format!("{} has no address: {error}", origin.host()));
        let addresses = tokio::net::lookup_host((origin.host(), origin.port)).await.map_err(|error| unknown(&error))?;
        let addresses: Vec<SocketAddr> = addresses.collect();
        let mut failed = unknown(&"none is known");
        for (left, address) in (0..addresses.len()).rev().zip(&addresses) {
            let connecting = TcpStream::connect(address);
            let connected = if left == 0 {
                connecting.await
            } else {
                tokio::time::timeout(CONNECT_PATIENCE, connecting)
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            };
            match connected {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => {
                    failed = self.failed(format!("{} cannot be reached at {address}: {error}", origin.host()))
                }
            }
        }
        Err(failed)
    }

    async fn talk<S>(
        &self,
        stream: S,
        call: &Call,
        only_head: impl Fn(&response::Parts) -> bool,
    ) -> Result<Received, Failed>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let host = call.url.origin.host();
        let lost = |error: hyper::Error| self.lost(host, &error);
        let mut builder = http1::Builder::new();
        builder.max_headers(HEADERS_MAX).max_header_size(HEAD_BYTES_MAX).max_buf_size(2 * HEAD_BYTES_MAX);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(lost)?;
        // Ends with this exchange.
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection of a call has ended");
            }
        });
        let request = request(call).map_err(|why| self.failed(why))?;
        self.is_sent.store(true, Ordering::Relaxed);
        let response = sender.send_request(request).await.map_err(lost)?;
        self.receive(host, response, only_head).await
    }

    async fn receive(
        &self,
        host: &str,
        response: Response<Incoming>,
        only_head: impl Fn(&response::Parts) -> bool,
    ) -> Result<Received, Failed> {
        let too_large = || Failed {
            code: Code::LIMIT,
            why: format!("the answer of {host} has more than {} bytes", self.bytes_max),
        };
        let (head, body) = response.into_parts();
        if !(200..600).contains(&head.status.as_u16()) {
            return Err(self.failed(format!("{host} answered with the status {}", head.status.as_u16())));
        }
        if only_head(&head) {
            return Ok(Received { head, body: Bytes::new() });
        }
        if body.size_hint().lower() > self.bytes_max as u64 {
            return Err(too_large());
        }
        match Limited::new(body, self.bytes_max).collect().await {
            Ok(body) => Ok(Received { head, body: body.to_bytes() }),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(error) => match error.downcast::<hyper::Error>() {
                Ok(error) => Err(self.lost(host, &error)),
                Err(error) => Err(self.failed(format!("the answer of {host} was not read: {error}"))),
            },
        }
    }

    fn lost(&self, host: &str, error: &hyper::Error) -> Failed {
        if error.is_parse_too_large() {
            let why =
                format!("the answer of {host} has a head of more than {HEADERS_MAX} headers or {HEAD_BYTES_MAX} bytes");
            return Failed { code: Code::LIMIT, why };
        }
        let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
        let is_cut = |error: &(dyn std::error::Error + 'static)| {
            error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
        };
        if error.is_incomplete_message() || causes.clone().any(is_cut) {
            return self.failed(format!("the answer of {host} ended too early"));
        }
        let what = if error.is_parse() {
            format!("what {host} answered is no HTTP: {error}")
        } else {
            format!("the connection to {host} broke: {error}")
        };
        let why = causes.fold(what, |why, cause| format!("{why}: {cause}"));
        self.failed(why)
    }
}

fn request(call: &Call) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() =
        call.url.target().parse().map_err(|error| format!("{} cannot be asked for: {error}", call.url))?;
    *request.headers_mut() = call.headers.clone();
    let host = HeaderValue::from_str(&call.url.origin.authority()).map_err(|error| error.to_string())?;
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    if call.body.is_empty() && [Method::POST, Method::PUT, Method::PATCH].contains(&call.method) {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(request)
}

impl Trust {
    /// Read once it is needed: a machine that only talks to its neighbours needs no roots.
    async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let read = || async { tokio::task::spawn_blocking(read_roots).await.map_err(|error| error.to_string())? };
        self.0.get_or_try_init(read).await.map(Arc::clone)
    }
}

fn read_roots() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(format!(
            "this host has no roots of trust{why}: install ca-certificates, or name a file of them in SSL_CERT_FILE"
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
