//! Servers that do as little as can be done: hyper as it comes, and a commit of LMDB for all that wait.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use persist::store::lmdb::{LmdbStore, Options};
use persist::store::{Store, Table, Writes};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// Of what is written for each note besides it: what a machine's record has, too.
const RECORD_BYTES: usize = 64;

/// A server of this process. It ends when it is dropped.
pub(super) struct Peer {
    address: SocketAddr,
    _runtime: Runtime,
}

/// A note to be kept, and whom to tell its number.
type Given = (Bytes, oneshot::Sender<u64>);

impl Peer {
    /// Keeps what it is sent in a store, all that has come meanwhile in one commit.
    pub(super) fn durable(folder: &Path) -> Self {
        let place = folder.join("bare-web");
        std::fs::create_dir(&place).expect("a folder can be made");
        let store = LmdbStore::create(&place, &Options::default()).expect("a store can be made");
        let (sender, notes) = channel::<Given>();
        std::thread::spawn(move || {
            // As a machine's commits are: with busy cores it waits ten times as long without.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), -10);
            let mut next = 0_u64;
            while let Ok(first) = notes.recv() {
                let group: Vec<Given> = std::iter::once(first).chain(notes.try_iter()).collect();
                let mut writes = Writes::new();
                for (note, _) in &group {
                    let mut value = vec![0; RECORD_BYTES];
                    value.extend_from_slice(note);
                    writes.put(Table::Log, [&[0; 4], &next.to_be_bytes()[..]].concat(), value);
                    next += 1;
                }
                store.commit(&writes).expect("a commit succeeds");
                let first = next - group.len() as u64;
                for (number, (_, told)) in (first..).zip(group) {
                    let _ = told.send(number);
                }
            }
        });
        let sender = Arc::new(sender);
        Self::serve(move |request| post(request, Arc::clone(&sender)))
    }

    /// Answers whatever it is asked with the same text.
    pub(super) fn bare(text: &'static str) -> Self {
        Self::serve(move |_| async move { Response::new(Full::new(Bytes::from_static(text.as_bytes()))) })
    }

    fn serve<R>(respond: impl Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static) -> Self
    where
        R: Future<Output = Response<Full<Bytes>>> + Send,
    {
        let runtime =
            Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be made");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("an address is free");
        let address = listener.local_addr().expect("it has an address");
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let respond = respond.clone();
                let service = service_fn(move |request| {
                    let response = respond(request);
                    async move { Ok::<_, Infallible>(response.await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, _runtime: runtime }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn post(request: Request<Incoming>, notes: Arc<Sender<Given>>) -> Response<Full<Bytes>> {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (told, kept) = oneshot::channel();
    let _ = notes.send((body, told));
    let number = kept.await.expect("every note is kept");
    let mut response = Response::new(Full::new(Bytes::from(number.to_string())));
    *response.status_mut() = StatusCode::CREATED;
    response
}
