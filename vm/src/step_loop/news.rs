//! What comes to a machine from its ports and askers, and what goes to them.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use seed::image::Grant;
use seed::message::Code;
use seed::{CallId, EffectId, PortId, ReplyId};

use super::asks::Ticket;
use crate::query::Answer;

/// Who waits for an answer, as the driver numbers them: none twice. Not part of the machine: askers are gone when the host stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asker(pub u64);

/// What a message or an answer takes of some room of its sender's, a permit of a semaphore for instance: dropped when it is run or turned away. It
/// is no part of what is said, so all are equal.
#[derive(Clone, Default)]
pub struct Room(#[expect(dead_code, reason = "it is only to be dropped")] Option<Arc<dyn Any + Send + Sync>>);

impl Room {
    /// This is given back by being dropped.
    #[must_use]
    pub fn of(lent: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(lent)))
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Room")
    }
}

impl PartialEq for Room {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Room {}

/// Something that wants to enter the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A message.
    Message {
        /// Where it came in.
        port: PortId,
        /// Who sent it; empty for the owner.
        from: Vec<u8>,
        /// What it says.
        payload: Vec<u8>,
        /// Who waits for the answer.
        asker: Option<Asker>,
        /// The sender's key, or empty: the same key again gets the recorded outcome.
        key: Vec<u8>,
        /// What it takes of its sender's room while it waits.
        room: Room,
    },
    /// A port answers.
    Answer {
        /// Which request.
        request: Ticket,
        /// Whether further parts follow.
        more: bool,
        /// What.
        payload: Vec<u8>,
        /// What it takes of its port's room while it waits.
        room: Room,
    },
    /// A port gives up.
    Broken {
        /// Which request.
        request: Ticket,
        /// Why.
        code: Code,
        /// Why, in words.
        text: String,
    },
    /// The owner changes the grants.
    Grants {
        /// The whole new list, the owner's own port first.
        grants: Vec<Grant>,
        /// Above all numbers that were ever given.
        next_port: PortId,
        /// Who waits until it is done.
        asker: Option<Asker>,
    },
}

/// What leaves the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// To a port.
    Port(PortId, ToPort),
    /// A port is no longer granted: whatever there is of it ends, and nothing for it follows.
    Revoked(PortId),
    /// To somebody who waits.
    Asker(Asker, AskerNews),
    /// For the owner's eyes.
    Trace(String),
}

/// What a port is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToPort {
    /// An ask without an answer.
    Effect {
        /// Its number, to be reported.
        effect: EffectId,
        /// What.
        payload: Vec<u8>,
    },
    /// An ask.
    Ask {
        /// Which request.
        request: Ticket,
        /// What.
        payload: Vec<u8>,
        /// Its number, if it is a call.
        call: Option<CallId>,
        /// Whether it was asked before, by a host that has stopped since.
        resumed: bool,
    },
    /// A request that is no longer wanted.
    Cancel {
        /// Which request.
        request: Ticket,
    },
}

/// What an asker hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskerNews {
    /// An answer, or a part of one.
    Answer {
        /// To which reply of the machine it belongs; none if it had been recorded before.
        reply: ReplyId,
        /// Whether further parts follow.
        more: bool,
        /// What.
        payload: Vec<u8>,
    },
    /// No answer will come.
    Refused {
        /// Why.
        code: Code,
        /// Why, in words.
        text: String,
    },
    /// A message that wanted no answer, or a change of grants, is durable.
    Accepted,
}

impl From<Answer> for AskerNews {
    fn from(answer: Answer) -> Self {
        match answer {
            Ok(payload) => Self::Answer { reply: ReplyId::NONE, more: false, payload },
            Err((code, text)) => Self::Refused { code, text },
        }
    }
}
