//! The other end of the control socket: whoever talks to a running machine.

use std::io;

use persist::folder::Folder;
use seed::cbor::Writer;
use tokio::net::UnixStream;
use vm::step_loop::AskerNews;

use super::{FRAME_BYTES_MAX, Heard, decode_news, greet, read_frame, socket_path, write_frame};

/// A client of a running machine.
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
    /// [`io::ErrorKind::ConnectionAborted`] if the line ended and the message surely never reached the machine; anything else if the line
    /// broke, and nobody can tell.
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
        // A frame that could not be written whole cannot have been read.
        write_frame(&mut self.stream, &frame.finish()).await.map_err(not_taken)?;
        loop {
            let frame = read_frame(&mut self.stream, FRAME_BYTES_MAX).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match decode_news(&frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Heard::End => return Err(not_taken("the machine was stopped before it took the message")),
                Heard::News { id: of, news, is_last } if of == id => {
                    take(news);
                    if is_last {
                        return Ok(());
                    }
                }
                Heard::News { .. } => {}
            }
        }
    }
}

fn not_taken(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}
