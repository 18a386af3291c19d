//! How slow a client may be: one that has to send or to read and moves less than [`WINDOW_BYTES`] in a window of time takes a place that others could have.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use rustix::net::{RecvFlags, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// Of time.
pub(crate) const WINDOW: Duration = Duration::from_secs(30);
/// That are to be moved in it: at most what a body has that needs no room of others.
pub(super) const WINDOW_BYTES: usize = 64 << 10;

/// A watch over one direction.
pub(super) struct Pace {
    window: Duration,
    /// The end of the window, while there is one.
    end: Option<Pin<Box<Sleep>>>,
    moved: usize,
}

impl Pace {
    pub(super) fn of(window: Duration) -> Self {
        Self { window, end: None, moved: 0 }
    }

    fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
    }

    /// Nothing is left to be moved: whoever waits now does not wait for the client.
    fn rest(&mut self) {
        self.end = None;
    }

    /// Nothing can be moved now. Ready once that has gone on for too long.
    fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let moved = &mut self.moved;
            let end = self.end.get_or_insert_with(|| {
                *moved = 0;
                Box::pin(tokio::time::sleep(self.window))
            });
            ready!(end.as_mut().poll(context));
            if std::mem::take(moved) < WINDOW_BYTES {
                return Poll::Ready(());
            }
            end.as_mut().reset(Instant::now() + self.window);
        }
    }
}

/// A request's body that its client sends too slowly.
#[derive(Debug, thiserror::Error)]
#[error("too little of it came")]
pub(super) struct TooSlow;

/// A body that ends with [`TooSlow`] if it does not come.
pub(super) struct PacedBody<B> {
    body: B,
    pace: Pace,
}

impl<B> PacedBody<B> {
    pub(super) fn of(body: B, window: Duration) -> Self {
        Self { body, pace: Pace::of(window) }
    }
}

impl<B: Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin> Body
    for PacedBody<B>
{
    type Data = bytes::Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                if let Some(Ok(frame)) = &frame {
                    self.pace.moved(frame.data_ref().map_or(0, bytes::Bytes::len));
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => self.pace.poll_too_slow(context).map(|()| Some(Err(TooSlow.into()))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose client has to read what is written.
pub(crate) struct PacedStream {
    tcp: Arc<TcpStream>,
    pace: Pace,
    /// Whether its end now would be taken for the end of what is being sent over it.
    is_cut: Arc<AtomicBool>,
}

impl PacedStream {
    pub(crate) fn of(tcp: Arc<TcpStream>, is_cut: Arc<AtomicBool>) -> Self {
        Self { tcp, pace: Pace::of(WINDOW), is_cut }
    }

    fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        bytes: usize,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        while self.tcp.poll_write_ready(context)?.is_ready() {
            match write(&self.tcp) {
                Ok(written) => {
                    self.pace.moved(written);
                    if written == bytes {
                        self.pace.rest();
                    }
                    return Poll::Ready(Ok(written));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let too_slow = || Err(io::Error::new(io::ErrorKind::TimedOut, "its client reads too slowly"));
        self.pace.poll_too_slow(context).map(|()| too_slow())
    }
}

impl Drop for PacedStream {
    fn drop(&mut self) {
        if self.is_cut.load(Ordering::Relaxed) {
            // With nothing that says how long it is, an end in order is the end of the body. A reset is none.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for PacedStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.tcp.poll_read_ready(context))?;
            let (unfilled, mut read) = (buffer.initialize_unfilled(), 0);
            let tried = self.tcp.try_io(Interest::READABLE, || {
                (read, _) = rustix::net::recv(&*self.tcp, &mut *unfilled, RecvFlags::empty())?;
                // There is no more just now, and the system will say when there is: it need not be asked.
                if (1..unfilled.len()).contains(&read) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match tried {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                Err(_) if read == 0 => {}
                _ => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for PacedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, bytes.len(), |tcp| tcp.try_write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        self.poll_write_with(context, bytes, |tcp| tcp.try_write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&*self.tcp, Shutdown::Write).map_err(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper::body::Bytes;

    use super::*;

    /// A body of one piece, after which nothing comes.
    struct Stuck(Option<Bytes>);

    impl Body for Stuck {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0.take().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
        }
    }

    #[test]
    fn a_body_that_does_not_come_is_not_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for first in [None, Some(Bytes::from(vec![0; 2 * WINDOW_BYTES]))] {
            let mut body = PacedBody::of(Stuck(first.clone()), Duration::from_millis(20));
            runtime.block_on(async {
                if let Some(first) = first {
                    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), first);
                }
                assert!(body.frame().await.unwrap().unwrap_err().is::<TooSlow>());
            });
        }
    }
}
