//! What comes to a machine from its ports and askers, and what goes to them.

use seed::message::Code;
use seed::{PortId, RequestId};

use crate::ledger::Release;

/// Who waits for an answer, as the driver numbers them. Not part of the machine: askers are gone when the host stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asker(pub u64);

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
    },
    /// A port answers.
    Answer {
        /// Which request.
        request: RequestId,
        /// Whether further parts follow.
        more: bool,
        /// What.
        payload: Vec<u8>,
    },
    /// A port gives up.
    Broken {
        /// Which request.
        request: RequestId,
        /// Why.
        code: Code,
        /// Why, in words.
        text: String,
    },
}

/// What leaves the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// To a port: an effect, an ask or a cancellation.
    Port(PortId, Release),
    /// To somebody who waits.
    Asker(Asker, AskerNews),
    /// For the owner's eyes.
    Trace(String),
}

/// What an asker hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskerNews {
    /// An answer, or a part of one.
    Answer {
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
    /// A message that wanted no answer is durable.
    Accepted,
}
