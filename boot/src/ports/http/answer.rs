//! What is on its way to a client: bytes that wait to be read, each with the room that they take.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vm::step_loop::AskerNews;

use super::kib;
use crate::driver::Asking;

/// What one client has not read yet, at most.
const UNREAD_KIB_MAX: u32 = 4 << 10;

/// Bytes that give their room back when the last of them has been handed to the system.
pub(super) struct Piece {
    bytes: Bytes,
    _unread: [Option<OwnedSemaphorePermit>; 2],
}

impl Piece {
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// A further piece, or the end; aborted where the machine has stopped. A sender that goes without one has not said that this was all.
pub(super) type Further = io::Result<Option<Piece>>;

/// The body of a response.
pub(super) struct Answer {
    first: Option<Piece>,
    coming: Option<UnboundedReceiver<Further>>,
    /// Whether the connection must not end in order before this has ended.
    is_cut: Option<Arc<AtomicBool>>,
}

impl Answer {
    /// All of it.
    pub(super) fn whole(body: Bytes, unread: Option<OwnedSemaphorePermit>) -> Self {
        let first = (!body.is_empty()).then_some(Piece { bytes: body, _unread: [unread, None] });
        Self { first, coming: None, is_cut: None }
    }

    /// Its first part. Where its end is that of the connection, `is_cut` says until then that it has not come.
    pub(super) fn begun(self, coming: UnboundedReceiver<Further>, is_cut: Option<Arc<AtomicBool>>) -> Self {
        if let Some(is_cut) = &is_cut {
            is_cut.store(true, Ordering::Relaxed);
        }
        Self { coming: Some(coming), is_cut, ..self }
    }
}

impl Body for Answer {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Piece>>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(coming) = &mut self.coming else { return Poll::Ready(None) };
        let further = ready!(coming.poll_recv(context)).unwrap_or_else(|| Err(io::Error::other("its end never came")));
        if let (Ok(None), Some(is_cut)) = (&further, &self.is_cut) {
            is_cut.store(false, Ordering::Relaxed);
        }
        Poll::Ready(further.map(|piece| piece.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.coming.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.first, &self.coming) {
            (_, Some(_)) => SizeHint::default(),
            (first, None) => SizeHint::with_exact(first.as_ref().map_or(0, |first| first.remaining() as u64)),
        }
    }
}

/// Passes on the further parts of an answer, until it ends or its client has gone: which it has, too, where too much is unread.
pub(super) async fn pass_on(
    mut asking: Asking,
    mut news: UnboundedReceiver<AskerNews>,
    pieces: UnboundedSender<Further>,
    unread_of_all: Arc<Semaphore>,
    has_gone: impl Future<Output = ()>,
) {
    let unread = Arc::new(Semaphore::new(UNREAD_KIB_MAX as usize));
    let mut has_gone = std::pin::pin!(has_gone);
    loop {
        let one = tokio::select! {
            biased;
            () = pieces.closed() => return,
            () = &mut has_gone => return,
            one = news.recv() => one,
        };
        let cut = |why: String| drop(pieces.send(Err(io::Error::other(why))));
        let stopped = || drop(pieces.send(Err(io::ErrorKind::ConnectionAborted.into())));
        let (more, payload) = match one {
            Some(AskerNews::Answer { more, payload, .. }) => (more, payload),
            Some(AskerNews::Refused { code, text }) => {
                asking.is_settled();
                return cut(format!("{}: {text}", code.word()));
            }
            Some(AskerNews::Accepted) | None => return stopped(),
        };
        if !more {
            asking.is_settled();
        }
        if !payload.is_empty() {
            let room =
                |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_many_owned(kib(payload.len()).min(UNREAD_KIB_MAX));
            let (Ok(own), Ok(all)) = (room(&unread), room(&unread_of_all)) else {
                return cut("it was read too slowly".to_owned());
            };
            if pieces.send(Ok(Some(Piece { bytes: payload.into(), _unread: [Some(own), Some(all)] }))).is_err() {
                return;
            }
        }
        if !more {
            let _ = pieces.send(Ok(None));
            return;
        }
    }
}
