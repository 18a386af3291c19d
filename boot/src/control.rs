//! The control socket: how other processes of the same user talk to a running machine.
//!
//! It lives in the user's runtime folder under a name made from the machine folder's device and inode, since a machine's path may be longer than a
//! socket's may be. Folder 0700, socket 0600, and the peer's user is checked. Both sides send frames: length (4 bytes,
//! little-endian), then CBOR:
//!
//! | frame | from | meaning |
//! |---|---|---|
//! | `[0, version]` | both, first | hello |
//! | `[1, id, key, payload]` | client | send a message to the owner's port; id is the client's own |
//! | `[2, id, more, payload]` | machine | an answer, or a part of one |
//! | `[3, id, code, text]` | machine | refused |
//! | `[4, id]` | machine | durable, and no answer will come |
//!
//! A frame is at most 1 GiB and 64 KiB. At most 64 clients are served at a time; a client has at most 256 messages under way, and all clients
//! together 256 MiB of them (or one message, if it is larger): the next is read when one is answered.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use persist::folder::Folder;
use seed::cbor::{CborError, Reader, Writer};
use seed::message::Code;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tracing::debug;
use vm::step_loop::AskerNews;

use crate::driver::Handle;

/// The version of the protocol.
pub const VERSION: u64 = 1;
const FRAME_OVERHEAD: u64 = 64 << 10;
const FRAME_BYTES_MAX: u64 = (1 << 30) + FRAME_OVERHEAD;
const UNDER_WAY_MAX: usize = 256;
const CLIENTS_MAX: usize = 64;
/// In KiB, so that it fits a semaphore.
const UNDER_WAY_KIB_MAX: u32 = 256 << 10;

/// Where the control socket of a machine is.
///
/// # Errors
/// If there is no folder for it that belongs to this user alone.
pub fn socket_path(folder: &Folder) -> io::Result<PathBuf> {
    let identity = folder.identity();
    let name = blake3::hash(&[identity.device.to_le_bytes(), identity.inode.to_le_bytes()].concat()).to_hex();
    Ok(runtime_folder()?.join(format!("{}.sock", &name[..16])))
}

fn runtime_folder() -> io::Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let path = match std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        Some(given) => PathBuf::from(given).join("abide"),
        None => std::env::temp_dir().join(format!("abide-{user}")),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(&path)?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
        let text = format!("{} is not a folder that belongs to this user alone", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(path)
}

/// The listening end, removed from the file system when it is dropped.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens for a machine that this process has locked. Must be called within a runtime.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn bind(folder: &Folder) -> io::Result<Self> {
        let path = socket_path(folder)?;
        // Left over from a holder that was killed: the lock says that nobody else listens.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Serves clients until the runtime ends.
    pub async fn serve(self, handle: Handle) {
        let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
        let room = Arc::new(Semaphore::new(UNDER_WAY_KIB_MAX as usize));
        loop {
            let Ok(place) = Arc::clone(&clients).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (handle, room) = (handle.clone(), Arc::clone(&room));
                    tokio::spawn(async move {
                        let _place = place;
                        if let Err(error) = serve_client(stream, handle, room).await {
                            debug!(%error, "a control client has gone");
                        }
                    });
                }
                Err(error) => {
                    debug!(%error, "accepting a control client failed");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve_client(stream: UnixStream, handle: Handle, room: Arc<Semaphore>) -> io::Result<()> {
    if stream.peer_cred()?.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user's client"));
    }
    let (mut reader, mut writer) = stream.into_split();
    greet(&mut reader, &mut writer).await?;
    let (frames, mut outgoing) = mpsc::channel::<Vec<u8>>(16);
    let write = tokio::spawn(async move {
        while let Some(frame) = outgoing.recv().await {
            if write_frame(&mut writer, &frame).await.is_err() {
                return;
            }
        }
    });
    let slots = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let mut under_way = tokio::task::JoinSet::new();
    let served = loop {
        let frame = match read_frame(&mut reader, FRAME_BYTES_MAX).await {
            Ok(Some(frame)) => frame,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let (id, key, payload) = match decode_send(&frame) {
            Ok(send) => send,
            Err(error) => break Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break Ok(()) };
        let kib = u32::try_from(frame.len() / 1024 + 1).unwrap_or(u32::MAX).min(UNDER_WAY_KIB_MAX);
        let Ok(taken) = Arc::clone(&room).acquire_many_owned(kib).await else { break Ok(()) };
        let (frames, handle) = (frames.clone(), handle.clone());
        under_way.spawn(async move {
            let _held = (slot, taken);
            pass_on(id, key, payload, &handle, &frames).await;
        });
        while under_way.try_join_next().is_some() {}
    };
    // A client that has gone wants nothing any more.
    under_way.shutdown().await;
    write.abort();
    served
}

/// Sends one message into the machine and its news back.
async fn pass_on(id: u64, key: Vec<u8>, payload: Vec<u8>, handle: &Handle, frames: &mpsc::Sender<Vec<u8>>) {
    let (sender, mut news) = mpsc::unbounded_channel();
    let mut asking = Asking { handle, asker: Some(handle.send(payload, key, sender)) };
    while let Some(one) = news.recv().await {
        let (frame, is_last) = encode_news(id, &one);
        if is_last {
            asking.asker = None;
        }
        if frames.send(frame).await.is_err() || is_last {
            return;
        }
    }
}

/// Tells the machine that an asker has gone before its last news, however its task ends.
struct Asking<'a> {
    handle: &'a Handle,
    asker: Option<vm::step_loop::Asker>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(asker) = self.asker {
            self.handle.forget(asker);
        }
    }
}

/// A client's end.
pub struct Client {
    stream: UnixStream,
    next: u64,
}

impl Client {
    /// Connects to the process that runs a machine.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn connect(folder: &Folder) -> io::Result<Self> {
        let path = socket_path(folder)?;
        let mut stream = UnixStream::connect(&path).await?;
        if stream.peer_cred()?.uid() != rustix::process::getuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the socket is another user's"));
        }
        let (mut reader, mut writer) = stream.split();
        greet(&mut reader, &mut writer).await?;
        Ok(Self { stream, next: 1 })
    }

    /// Sends a message; `take` gets the news until the last.
    ///
    /// # Errors
    /// If the line breaks before.
    pub async fn send(
        &mut self,
        key: &[u8],
        payload: &[u8],
        take: &mut (dyn FnMut(AskerNews) + Send),
    ) -> io::Result<()> {
        let id = self.next;
        self.next += 1;
        let mut frame = Writer::new();
        frame.array(4).uint(1).uint(id).bytes(key).bytes(payload);
        write_frame(&mut self.stream, &frame.finish()).await?;
        loop {
            let frame = read_frame(&mut self.stream, FRAME_BYTES_MAX)
                .await?
                .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            let (of, news, is_last) =
                decode_news(&frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if of == id {
                take(news);
                if is_last {
                    return Ok(());
                }
            }
        }
    }
}

async fn greet(reader: &mut (impl AsyncReadExt + Unpin), writer: &mut (impl AsyncWriteExt + Unpin)) -> io::Result<()> {
    let mut hello = Writer::new();
    hello.array(2).uint(0).uint(VERSION);
    write_frame(writer, &hello.finish()).await?;
    let frame = read_frame(reader, FRAME_OVERHEAD).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let version = decode_hello(&frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if version == VERSION {
        return Ok(());
    }
    let text = format!("the other side speaks version {version} of the control protocol, this one {VERSION}");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

async fn read_frame(reader: &mut (impl AsyncReadExt + Unpin), bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let length = u64::from(u32::from_le_bytes(length));
    if length > bytes_max {
        let text = format!("a frame of {length} bytes, more than {bytes_max}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // Grows with what really comes, not with what is claimed.
    let mut frame = Vec::new();
    reader.take(length).read_to_end(&mut frame).await?;
    if frame.len() as u64 == length { Ok(Some(frame)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

async fn write_frame(writer: &mut (impl AsyncWriteExt + Unpin), frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::Error::other("a frame over 4 GiB"))?;
    writer.write_all(&length.to_le_bytes()).await?;
    writer.write_all(frame).await?;
    writer.flush().await
}

fn decode_hello(frame: &[u8]) -> Result<u64, CborError> {
    let mut reader = Reader::new(frame);
    reader.array_of(2)?;
    reader.uint_max(0, "a hello's kind")?;
    let version = reader.uint()?;
    reader.end()?;
    Ok(version)
}

fn decode_send(frame: &[u8]) -> Result<(u64, Vec<u8>, Vec<u8>), CborError> {
    let mut reader = Reader::new(frame);
    reader.array_of(4)?;
    let at = reader.position();
    if reader.uint()? != 1 {
        return Err(CborError { at, fault: seed::cbor::Fault::Range { what: "a client frame's kind" } });
    }
    let id = reader.uint()?;
    let key = reader.bytes()?;
    if key.len() > seed::record::SENDER_KEY_BYTES_MAX {
        return Err(reader.fault(seed::cbor::Fault::Range { what: "a sender key's length" }));
    }
    let payload = reader.bytes()?.to_vec();
    let key = key.to_vec();
    reader.end()?;
    Ok((id, key, payload))
}

fn encode_news(id: u64, news: &AskerNews) -> (Vec<u8>, bool) {
    let mut frame = Writer::new();
    let is_last = match news {
        AskerNews::Answer { more, payload } => {
            frame.array(4).uint(2).uint(id).flag(*more).bytes(payload);
            !more
        }
        AskerNews::Refused { code, text } => {
            frame.array(4).uint(3).uint(id).uint(code.0).text(text);
            true
        }
        AskerNews::Accepted => {
            frame.array(2).uint(4).uint(id);
            true
        }
    };
    (frame.finish(), is_last)
}

fn decode_news(frame: &[u8]) -> Result<(u64, AskerNews, bool), CborError> {
    let mut reader = Reader::new(frame);
    let items = reader.array()?;
    let kind = reader.uint_max(4, "a frame's kind")?;
    let id = reader.uint()?;
    let news = match (kind, items) {
        (2, 4) => AskerNews::Answer { more: reader.flag()?, payload: reader.bytes()?.to_vec() },
        (3, 4) => AskerNews::Refused { code: Code(reader.uint()?), text: reader.text()?.to_owned() },
        (4, 2) => AskerNews::Accepted,
        _ => return Err(reader.fault(seed::cbor::Fault::Rule("an unknown kind of frame"))),
    };
    reader.end()?;
    let is_last = !matches!(news, AskerNews::Answer { more: true, .. });
    Ok((id, news, is_last))
}

/// Whether somebody listens for a machine.
pub fn is_listening(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path).is_ok()
}
