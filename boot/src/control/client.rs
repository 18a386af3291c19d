//! The other end of the control socket: whoever talks to a running machine.

use std::io;

use persist::folder::Folder;
use seed::PortId;
use thiserror::Error;
use tokio::net::UnixStream;
use vm::step_loop::AskerNews;

use super::wish::{encode_query, encode_send};
use super::{
    FRAME_BYTES_MAX, FRAME_OVERHEAD, Heard, Phase, Refused, Scrubbing, decode_news, greet, read_frame, regrant,
    socket_path, write_frame,
};
use crate::driver::{Change, Regranted};

/// A client of a running machine.
pub struct Client {
    stream: UnixStream,
    next: u64,
    tracker: (String, String),
    scrub: Scrubbing,
}

/// There is no line to a running machine.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nobody listens, or the line broke.
    #[error("connecting to the process that runs the machine failed")]
    Line(#[from] io::Error),
    /// The process that has the machine could not start it.
    #[error("the machine could not be started")]
    NotStarted(#[from] Said),
}

/// Why a process could not do something, in its own words.
#[derive(Debug, Error)]
#[error("{text}")]
pub struct Said {
    /// The exit code for it.
    pub exit: u8,
    text: String,
    source: Option<Box<Said>>,
}

impl Said {
    pub(super) fn of(exit: u8, causes: Vec<String>) -> Self {
        let link = |source, text| Some(Box::new(Self { exit, text, source }));
        let chain = causes.into_iter().rev().fold(None, link);
        chain.map_or_else(|| Self { exit, text: "it did not say why".to_owned(), source: None }, |first| *first)
    }
}

impl Client {
    /// Connects to the process that runs a machine, and waits until the machine is up. `starting` is called if that takes a while.
    ///
    /// # Errors
    /// If nobody listens, or the machine could not be started.
    pub async fn connect(folder: &Folder, starting: &mut (dyn FnMut() + Send)) -> Result<Self, ConnectError> {
        let path = socket_path(folder)?;
        let mut stream = UnixStream::connect(&path).await?;
        if stream.peer_cred()?.uid() != rustix::process::getuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the socket is another user's").into());
        }
        let (mut reader, mut writer) = stream.split();
        greet(&mut reader, &mut writer).await?;
        loop {
            let frame = read_frame(&mut stream, FRAME_OVERHEAD).await?;
            let frame = frame.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            match Phase::decode(&frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Phase::Starting => starting(),
                Phase::Up { tracker, why, scrub } => {
                    return Ok(Self { stream, next: 1, tracker: (tracker, why), scrub });
                }
                Phase::Failed { exit, causes } => return Err(Said::of(exit, causes).into()),
                Phase::Ended => return Err(not_taken("the machine is being stopped").into()),
            }
        }
    }

    /// How the machine's written pages are found, and why so.
    #[must_use]
    pub fn tracker(&self) -> (&str, &str) {
        (&self.tracker.0, &self.tracker.1)
    }

    /// How the machine's background check stood when the line was made.
    #[must_use]
    pub fn scrub(&self) -> &Scrubbing {
        &self.scrub
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
        let frame = encode_send(self.next, key, payload);
        self.say(&frame, take).await
    }

    /// Asks something by a port, which changes nothing.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn query(&mut self, port: PortId, payload: &[u8]) -> io::Result<AskerNews> {
        let frame = encode_query(self.next, port, payload);
        let mut heard = None;
        self.say(&frame, &mut |news| heard = Some(news)).await?;
        heard.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Sends the frame with the next id, and hears what comes back for it.
    async fn say(&mut self, frame: &[u8], take: &mut (dyn FnMut(AskerNews) + Send)) -> io::Result<()> {
        let id = self.next;
        self.next += 1;
        // A frame that could not be written whole cannot have been read.
        write_frame(&mut self.stream, frame).await.map_err(not_taken)?;
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

impl Client {
    /// Changes the machine's grants. The inner error is that of the machine; nothing has changed then.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn regrant(&mut self, change: &Change) -> io::Result<Result<Regranted, Refused>> {
        let id = self.next;
        self.next += 1;
        write_frame(&mut self.stream, &regrant::encode_change(id, change)).await.map_err(not_taken)?;
        loop {
            let frame = read_frame(&mut self.stream, FRAME_BYTES_MAX).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            if let Some(outcome) = regrant::decode_outcome(&frame, id).map_err(malformed)? {
                return Ok(outcome);
            }
            if let Heard::End = decode_news(&frame).map_err(malformed)? {
                return Err(not_taken("the machine was stopped before it took the change"));
            }
        }
    }
}

fn not_taken(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}
