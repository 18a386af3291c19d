//! A client of a running machine, on its control socket.

use std::io;
use std::path::Path;

use boot::control::Client;
use persist::folder::Folder;
use seed::PortId;
use tokio::runtime::{Builder, Runtime};
use vm::step_loop::AskerNews;

use super::PATIENCE;

/// A line to a running machine.
pub struct Talk {
    runtime: Runtime,
    client: Client,
}

/// What came back for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An answer: its last or only part.
    Said(String),
    /// A refusal: code and text.
    Refused(u64, String),
    /// Durable, and no answer wanted.
    Accepted,
}

impl Answer {
    fn of(news: AskerNews) -> Self {
        match news {
            AskerNews::Answer { payload, .. } => Self::Said(String::from_utf8_lossy(&payload).into_owned()),
            AskerNews::Refused { code, text } => Self::Refused(code.0, text),
            AskerNews::Accepted => Self::Accepted,
        }
    }
}

impl Talk {
    /// Connects to the process that runs a machine.
    ///
    /// # Errors
    /// If nobody listens.
    ///
    /// # Panics
    /// If the system has no means for a runtime.
    pub fn with(machine: &Path) -> io::Result<Self> {
        let folder = Folder::open(machine).map_err(io::Error::other)?;
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let connect = async { Client::connect(&folder, &mut || {}).await.map_err(io::Error::other) };
        let client = runtime.block_on(within(connect))?;
        Ok(Self { runtime, client })
    }

    /// Sends a message and waits for the answer. An empty key is none.
    ///
    /// # Errors
    /// If the line breaks before it comes.
    pub fn say(&mut self, key: &str, payload: &str) -> io::Result<Answer> {
        let mut last = None;
        let mut take = |news| last = Some(news);
        self.runtime.block_on(within(self.client.send(key.as_bytes(), payload.as_bytes(), &mut take)))?;
        last.map(Answer::of).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Asks something that changes nothing.
    ///
    /// # Errors
    /// If the line breaks before it is answered.
    pub fn peek(&mut self, payload: &str) -> io::Result<Answer> {
        let news = self.runtime.block_on(within(self.client.query(PortId::OWNER, payload.as_bytes())))?;
        Ok(Answer::of(news))
    }

    /// Sends a message that must be answered.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn ask(&mut self, payload: &str) -> String {
        match self.say("", payload) {
            Ok(Answer::Said(text)) => text,
            other => panic!("{payload:?} was not answered: {other:?}"),
        }
    }
}

/// Fails, and so ends the test, if it takes too long.
async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("a running machine has not answered for {PATIENCE:?}"),
    }
}
