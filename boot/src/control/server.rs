//! The machine's end of the control socket.
//!
//! It listens from before the machine is up, so that whoever comes early waits and is told why. Messages of a client enter the machine in the order
//! in which it sent them. At the end nothing more is read, what was read is answered, and each client is told that this was all:
//! whatever else it has sent never reached the machine.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use persist::folder::Folder;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::debug;
use vm::step_loop::AskerNews;

use super::wish::{Wish, decode};
use super::{
    CLIENTS_MAX, FRAME_BYTES_MAX, Phase, Scrubbing, UNDER_WAY_KIB_MAX, UNDER_WAY_MAX, WISH_BOUNDS, encode_end,
    encode_news, greet, read_frame, regrant, socket_path, write_frame,
};
use crate::driver::{Asking, Change, Handle, RegrantError, Regranted};
use crate::report::{Failure, causes};

/// How long clients may wait for their answers after a machine was told to stop.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// The service of a running machine to its clients. Dropped, it ends without a word to them.
pub struct Service {
    phase: Arc<watch::Sender<Phase>>,
    task: JoinHandle<()>,
}

impl Service {
    /// Serves a machine that this process has locked and is starting. Must be called within a runtime.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn begin(folder: &Folder, handle: Handle) -> io::Result<Self> {
        let listener = Listener::bind(socket_path(folder)?)?;
        let (phase, told) = watch::channel(Phase::Starting);
        Ok(Self { phase: Arc::new(phase), task: tokio::spawn(serve(listener, handle, told)) })
    }

    /// The machine is up: messages are taken from here on, and what is stored is checked at this pace.
    pub fn up(&self, tracker: String, why: String, mib_per_s: u64) {
        self.phase.send_replace(Phase::Up { tracker, why, scrub: Scrubbing { mib_per_s, ..Scrubbing::default() } });
    }

    /// What tells clients that come later how the machine's background check stands.
    #[must_use]
    pub fn scrub_teller(&self) -> Box<dyn Fn(Scrubbing) + Send + Sync> {
        // It does not keep the service alive.
        let phase = Arc::downgrade(&self.phase);
        Box::new(move |now| {
            if let Some(phase) = phase.upgrade() {
                phase.send_if_modified(|phase| match phase {
                    Phase::Up { scrub, .. } => {
                        *scrub = now;
                        true
                    }
                    _ => false,
                });
            }
        })
    }

    /// The machine could not be started: whoever waits is told why.
    pub async fn fail(self, exit: u8, causes: Vec<String>) {
        self.finish(Phase::Failed { exit, causes }).await.end().await;
    }

    /// Takes in nothing more and waits, but not for ever, until what was taken in is answered. Nobody finds this process from then on.
    pub async fn end(self) -> Ending {
        self.finish(Phase::Ended).await
    }

    async fn finish(mut self, last: Phase) -> Ending {
        self.phase.send_replace(last);
        let is_over = tokio::time::timeout(END_PATIENCE, &mut self.task).await.is_ok();
        Ending((!is_over).then_some(self.task))
    }
}

/// Those who have not had their answers when nothing more was taken in.
pub struct Ending(Option<JoinHandle<()>>);

impl Ending {
    /// Waits, but not for ever, until they have heard what there is to hear. Once the machine has stopped that is everything, and takes no time: what
    /// it made durable at its end has been let out.
    pub async fn end(self) {
        let Some(task) = self.0 else { return };
        let abort = task.abort_handle();
        if tokio::time::timeout(END_PATIENCE, task).await.is_err() {
            abort.abort();
        }
    }
}

/// The listening socket, removed from the file system when it is dropped.
struct Listener {
    listener: UnixListener,
    path: PathBuf,
    inode: Option<u64>,
}

impl Listener {
    fn bind(path: PathBuf) -> io::Result<Self> {
        // Left over from a holder that was killed: the lock says that nobody else listens.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let inode = inode(&path);
        Ok(Self { listener, path, inode })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // After a machine has halted its lock is free before this is dropped: the next holder's socket may be there by now.
        if inode(&self.path) == self.inode {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

/// Accepts clients until the end.
async fn serve(listener: Listener, handle: Handle, mut phase: watch::Receiver<Phase>) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    let room = Arc::new(Semaphore::new(UNDER_WAY_KIB_MAX as usize));
    let mut clients = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = phase.wait_for(is_last) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (handle, room, phase) = (handle.clone(), Arc::clone(&room), phase.clone());
                clients.spawn(async move {
                    let _place = place;
                    if let Err(error) = serve_client(stream, handle, room, phase).await {
                        debug!(%error, "a control client has gone");
                    }
                });
            }
            Err(error) => {
                debug!(%error, "accepting a control client failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
    drop(listener);
    while clients.join_next().await.is_some() {}
}

async fn accept(listener: &Listener, places: &Arc<Semaphore>) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.listener.accept().await?;
    Ok((stream, place))
}

async fn serve_client(
    stream: UnixStream,
    handle: Handle,
    room: Arc<Semaphore>,
    mut phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    if stream.peer_cred()?.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user's client"));
    }
    let (mut reader, mut writer) = stream.into_split();
    greet(&mut reader, &mut writer).await?;
    if !introduce(&mut writer, &mut phase).await? {
        return Ok(());
    }
    let (frames, outgoing) = mpsc::channel::<Vec<u8>>(16);
    let mut write = tokio::spawn(write_all(writer, outgoing));
    let mut under_way = UnderWay::default();
    let taking = take_messages(&mut reader, &handle, &room, &frames, &mut under_way);
    let taken = tokio::select! {
        biased;
        _ = phase.wait_for(is_last) => None,
        taken = taking => Some(taken),
    };
    if let Some(taken) = taken {
        // A client that has gone wants nothing any more.
        under_way.tasks.shutdown().await;
        write.abort();
        return taken;
    }
    if under_way.finish().await {
        let _ = frames.send(encode_end()).await;
    }
    drop(frames);
    let _ = (&mut write).await;
    Ok(())
}

fn is_last(phase: &Phase) -> bool {
    matches!(phase, Phase::Failed { .. } | Phase::Ended)
}

/// Tells a client how far the machine is, until it is up. Whether it is.
async fn introduce(writer: &mut OwnedWriteHalf, phase: &mut watch::Receiver<Phase>) -> io::Result<bool> {
    loop {
        let now = phase.borrow_and_update().clone();
        write_frame(writer, &now.encode()).await?;
        match now {
            Phase::Starting => phase.changed().await.map_err(io::Error::other)?,
            Phase::Up { .. } => return Ok(true),
            Phase::Failed { .. } | Phase::Ended => return Ok(false),
        }
    }
}

async fn write_all(mut writer: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = outgoing.recv().await {
        if write_frame(&mut writer, &frame).await.is_err() {
            return;
        }
    }
}

/// Reads messages and sends them into the machine, in their order, until the client goes.
async fn take_messages(
    reader: &mut OwnedReadHalf,
    handle: &Handle,
    room: &Arc<Semaphore>,
    frames: &mpsc::Sender<Vec<u8>>,
    under_way: &mut UnderWay,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    while let Some(frame) = read_frame(reader, FRAME_BYTES_MAX).await? {
        let decoded = decode(&frame, WISH_BOUNDS).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        let (id, wish) = decoded?;
        let kib = u32::try_from(frame.len() / 1024 + 1).unwrap_or(u32::MAX).min(UNDER_WAY_KIB_MAX);
        let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
        let taken = Arc::clone(room).acquire_many_owned(kib).await.map_err(io::Error::other)?;
        let (held, frames) = ((slot, taken), frames.clone());
        match wish {
            Wish::Send { key, payload } => {
                let (sender, news) = unbounded_channel();
                let asking = handle.send(payload, key, sender);
                under_way.tasks.spawn(async move {
                    let _held = held;
                    pass_on(id, asking, news, &frames).await
                });
            }
            Wish::Query { port, payload } => {
                let told = handle.query(port, payload);
                under_way.tasks.spawn(async move {
                    let _held = held;
                    let Ok(answer) = told.await else { return false };
                    let (frame, _) = encode_news(id, &AskerNews::from(answer));
                    frames.send(frame).await.is_ok()
                });
            }
            Wish::Regrant { revokes, names } => {
                let change = if revokes { Change::Revoke(names) } else { Change::Grant(names) };
                let told = handle.regrant(change);
                under_way.tasks.spawn(async move {
                    let _held = held;
                    let Ok(outcome) = told.await else { return false };
                    frames.send(encode_outcome(id, outcome)).await.is_ok()
                });
            }
        }
        while let Some(done) = under_way.tasks.try_join_next() {
            under_way.lost |= !done.unwrap_or(false);
        }
    }
    Ok(())
}

fn encode_outcome(id: u64, outcome: Result<Regranted, RegrantError>) -> Vec<u8> {
    match outcome {
        Ok(regranted) => regrant::encode_done(id, &regranted),
        Err(error) => {
            let failure = Failure::from(error);
            let hint = failure.hint(None);
            regrant::encode_refused(id, failure.exit_code(), &causes(&failure), hint.as_deref())
        }
    }
}

/// A client's messages that the machine has and has not answered.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<bool>,
    /// Whether the machine has ended without answering one.
    lost: bool,
}

impl UnderWay {
    /// Waits for all of them. Whether all were answered.
    async fn finish(&mut self) -> bool {
        while let Some(done) = self.tasks.join_next().await {
            self.lost |= !done.unwrap_or(false);
        }
        !self.lost
    }
}

/// Passes on to a client what comes back for one of its messages. Whether that was all that can come.
async fn pass_on(
    id: u64,
    mut asking: Asking,
    mut news: UnboundedReceiver<AskerNews>,
    frames: &mpsc::Sender<Vec<u8>>,
) -> bool {
    while let Some(one) = news.recv().await {
        let (frame, is_last) = encode_news(id, &one);
        if is_last {
            asking.is_settled();
        }
        if frames.send(frame).await.is_err() || is_last {
            return is_last;
        }
    }
    false
}
