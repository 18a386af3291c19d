//! What others have of a machine in motion: they say something, ask something or stop it, from any thread, and do not wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use seed::PortId;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use vm::query::Answer;
use vm::step_loop::{Arrival, Asker, AskerNews, Room};

use super::queries::Queries;
use super::{Change, Event, RegrantError, Regranted};

/// A way to talk to a machine in motion, from any thread.
#[derive(Clone)]
pub struct Handle {
    pub(super) events: Sender<Event>,
    askers: Arc<AtomicU64>,
    pub(super) queries: Queries,
}

impl Handle {
    /// To the guest thread that hears these events.
    pub(super) fn new(events: Sender<Event>, queries: Queries) -> Self {
        Self { events, askers: Arc::default(), queries }
    }

    /// Sends a message to the owner's port; news of it come through `news`. Nothing is sent if `key` was sent before: then the
    /// recorded outcome comes.
    pub fn send(&self, payload: Vec<u8>, key: Vec<u8>, news: UnboundedSender<AskerNews>) -> Asking {
        self.bring(PortId::OWNER, Message { payload, key, ..Message::default() }, news)
    }

    /// Brings a message to one of the machine's ports.
    pub fn bring(&self, port: PortId, message: Message, news: UnboundedSender<AskerNews>) -> Asking {
        let asker = Asker(self.askers.fetch_add(1, Ordering::Relaxed));
        let Message { from, payload, key, room } = message;
        let message = Arrival::Message { port, from, payload, asker: Some(asker), key, room };
        // A machine that has ended drops the sender of the news, which tells the asker.
        let _ = self.events.send(Event::Ask(asker, message, news));
        Asking { handle: self.clone(), asker: Some(asker) }
    }

    /// Brings a message that wants no answer to one of the machine's ports.
    pub fn tell(&self, port: PortId, message: Message) {
        let Message { from, payload, key, room } = message;
        let _ = self.events.send(Event::Tell(Arrival::Message { port, from, payload, asker: None, key, room }));
    }

    /// Asks the machine something by one of its ports, without changing it: what is answered is as of all that was let out before. Nothing comes back if the
    /// machine ends before.
    pub fn query(&self, port: PortId, payload: Vec<u8>) -> oneshot::Receiver<Answer> {
        self.queries.ask(port, payload)
    }

    /// The same on this thread, if it takes but a moment; if nothing comes of it, nothing has happened.
    pub fn query_at_once(&self, port: PortId, payload: &[u8]) -> Option<Answer> {
        self.queries.ask_at_once(port, payload)
    }

    /// Changes the machine's grants. What comes back is durable; nothing does if the machine ends before.
    pub fn regrant(&self, change: Change) -> oneshot::Receiver<Result<Regranted, RegrantError>> {
        let asker = Asker(self.askers.fetch_add(1, Ordering::Relaxed));
        let (tell, told) = oneshot::channel();
        let _ = self.events.send(Event::Regrant(asker, change, tell));
        told
    }

    /// Stops the machine cleanly.
    pub fn stop(&self) {
        let _ = self.events.send(Event::Stop);
    }
}

/// A message as it comes to a port.
#[derive(Default)]
pub struct Message {
    /// Who it is from; empty for the owner.
    pub from: Vec<u8>,
    /// What it says.
    pub payload: Vec<u8>,
    /// Its sender's key for it, or empty: the same key again gets the recorded outcome.
    pub key: Vec<u8>,
    /// What it takes of its sender's room until it is run.
    pub room: Room,
}

/// Somebody who waits for news of a message. Dropped before the last of them, the machine is told that they have gone.
#[must_use = "dropped, the machine is told that nobody waits"]
pub struct Asking {
    handle: Handle,
    asker: Option<Asker>,
}

impl Asking {
    /// The last news have come.
    pub fn is_settled(&mut self) {
        self.asker = None;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(asker) = self.asker {
            let _ = self.handle.events.send(Event::AskerGone(asker));
        }
    }
}
