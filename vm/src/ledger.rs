//! What a process has asked and owes: open requests, owed replies, undelivered effects, remembered outcomes.
//!
//! All of it is part of the image and changes only by records, so that replaying the log leads to the same tables. Every entry
//! lives in a trie of its own kind ([`seed::trie`]); a number's key is its 8 bytes, big-endian. Payloads of more than 512 bytes are kept
//! as blobs, so that a change of a neighbour does not rewrite them.
//!
//! | trie | key | data |
//! |---|---|---|
//! | requests | request | `[port, payload]`, or `[port, payload, call]` of a port whose asks are calls, or `[port, payload, code, text]` once it is due to be broken |
//! | replies | reply | `[port, from, key]` |
//! | effects | effect | `[port, payload]` |
//! | outcomes | 0, sender key | `[number, reply, 0, payload]`; 0 pending, 1 answered, or `[number, reply, 2, payload, code, text]` refused |
//! | outcomes | 1, number | sender key |

mod apply;
mod check;
mod entries;

use std::collections::{BTreeMap, HashSet};

use seed::image::Ledger as Roots;
use seed::message::Code;
use seed::object::{Link, Objects, links};
use seed::trie::Trie;
use seed::{CallId, Domain, EffectId, LoadError, PortId, ReplyId, RequestId};

use crate::step_loop::{Asked, Open};
pub use apply::{Release, Revoked};
pub use check::{Terms, Violation};
use entries::{all, decode, key, outcome_key, payload, read_outcome, read_reply, read_request};

/// The tables, in memory as far as needed.
#[derive(Debug)]
pub struct Ledger {
    requests: Trie,
    replies: Trie,
    effects: Trie,
    outcomes: Trie,
    next_reply: ReplyId,
    next_effect: EffectId,
    first_outcome: u64,
    next_outcome: u64,
    again: bool,
    last_call: CallId,
    /// Payload blobs that no checkpoint holds, and those of a checkpoint that may not be durable yet.
    blobs: Vec<(Link, Vec<u8>)>,
    in_flight: usize,
    /// Requests that are due to be broken and were not before.
    due: Vec<RequestId>,
    /// Requests that were opened or closed, where somebody watches.
    turned: Option<Vec<(RequestId, Option<Asked>)>>,
}

/// An open request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whom it asks.
    pub port: PortId,
    /// What.
    pub payload: Vec<u8>,
    /// Its number, if it is a call.
    pub call: Option<CallId>,
    /// Why it is about to be broken, if it is.
    pub broken: Option<(Code, String)>,
}

/// An answer owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Where the message came in.
    pub port: PortId,
    /// Who sent it.
    pub from: Vec<u8>,
    /// The sender's key, or empty.
    pub key: Vec<u8>,
}

/// An effect whose delivery is not logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Where it goes.
    pub port: PortId,
    /// What.
    pub payload: Vec<u8>,
}

/// What became of a message that came with a sender's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Not answered yet; the answer will go to this reply.
    Pending(ReplyId),
    /// Answered.
    Answered(Vec<u8>),
    /// Refused.
    Refused(Code, String),
}

impl Ledger {
    /// The ledger with these roots.
    #[must_use]
    pub fn stored(roots: &Roots) -> Self {
        Self {
            requests: Trie::stored(roots.requests),
            replies: Trie::stored(roots.replies),
            effects: Trie::stored(roots.effects),
            outcomes: Trie::stored(roots.outcomes),
            next_reply: roots.next_reply,
            next_effect: roots.next_effect,
            first_outcome: roots.first_outcome,
            next_outcome: roots.next_outcome,
            again: roots.again,
            last_call: roots.last_call,
            blobs: Vec::new(),
            in_flight: 0,
            due: Vec::new(),
            turned: None,
        }
    }

    /// Its roots, for the image.
    #[must_use]
    pub fn roots(&mut self) -> Roots {
        Roots {
            requests: self.requests.root(),
            replies: self.replies.root(),
            effects: self.effects.root(),
            outcomes: self.outcomes.root(),
            next_reply: self.next_reply,
            next_effect: self.next_effect,
            first_outcome: self.first_outcome,
            next_outcome: self.next_outcome,
            again: self.again,
            last_call: self.last_call,
        }
    }

    /// Every object of it that no checkpoint holds; from now on they count as held.
    #[must_use]
    pub fn take_unsaved(&mut self) -> Vec<(Link, Vec<u8>)> {
        let tries = [&mut self.requests, &mut self.replies, &mut self.effects, &mut self.outcomes];
        let nodes: Vec<_> = tries.into_iter().flat_map(Trie::take_unsaved).collect();
        // Most payloads are gone again by the time of a checkpoint; only those that entries still lead to are kept.
        let needed: HashSet<Link> =
            nodes.iter().filter_map(|(_, bytes)| links(Domain::Node, bytes).ok()).flatten().collect();
        self.blobs.retain(|(link, _)| needed.contains(link));
        self.in_flight = self.blobs.len();
        let mut taken = self.blobs.clone();
        taken.extend(nodes.into_iter().map(|(id, bytes)| ((Domain::Node, id), bytes)));
        taken
    }

    /// The last checkpoint is durable: its blobs can be had from the store.
    pub fn checkpointed(&mut self) {
        self.blobs.drain(..std::mem::take(&mut self.in_flight));
    }

    /// The requests that have become due to be broken since this was last asked.
    #[must_use]
    pub fn take_due(&mut self) -> Vec<RequestId> {
        std::mem::take(&mut self.due)
    }

    /// Begins to gather which requests are opened and closed.
    pub(crate) fn watch(&mut self) {
        self.turned = Some(Vec::new());
    }

    /// Which were since this was last asked, in order.
    pub(crate) fn take_turned(&mut self) -> Vec<(RequestId, Option<Asked>)> {
        self.turned.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// How much is open.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub(crate) fn open(&mut self, objects: &dyn Objects) -> Result<Open, LoadError> {
        Ok(Open {
            requests: self.requests.len(objects)?,
            replies: self.replies.len(objects)?,
            effects: self.effects.len(objects)?,
        })
    }

    /// The number of the reply that will be owed next.
    #[must_use]
    pub fn next_reply(&self) -> ReplyId {
        self.next_reply
    }

    /// Whether the machine wants to be called again.
    #[must_use]
    pub fn wants_again(&self) -> bool {
        self.again
    }

    /// An open request.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn request(&mut self, request: RequestId, objects: &dyn Objects) -> Result<Option<Request>, LoadError> {
        match self.requests.get(&key(request.0), objects)? {
            Some(entry) => decode(&self.blobs, objects, entry, read_request).map(Some),
            None => Ok(None),
        }
    }

    /// Whether a reply is owed, and what for.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn reply(&mut self, reply: ReplyId, objects: &dyn Objects) -> Result<Option<Reply>, LoadError> {
        match self.replies.get(&key(reply.0), objects)? {
            Some(entry) => decode(&self.blobs, objects, entry, |reader, _| read_reply(reader)).map(Some),
            None => Ok(None),
        }
    }

    /// All open requests, by number.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn requests(&self, objects: &dyn Objects) -> Result<BTreeMap<RequestId, Request>, LoadError> {
        let numbered = all(&self.requests, &self.blobs, objects, read_request)?;
        Ok(numbered.into_iter().map(|(number, request)| (RequestId(number), request)).collect())
    }

    /// All owed replies, by number.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn replies(&self, objects: &dyn Objects) -> Result<BTreeMap<ReplyId, Reply>, LoadError> {
        let numbered = all(&self.replies, &self.blobs, objects, |reader, _| read_reply(reader))?;
        Ok(numbered.into_iter().map(|(number, reply)| (ReplyId(number), reply)).collect())
    }

    /// All undelivered effects, by number: the order in which they were asked for.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn effects(&self, objects: &dyn Objects) -> Result<BTreeMap<EffectId, Effect>, LoadError> {
        let numbered = all(&self.effects, &self.blobs, objects, |reader, blob| {
            reader.array_of(2)?;
            Ok(Effect { port: PortId(reader.uint()?), payload: payload(reader, blob)? })
        })?;
        Ok(numbered.into_iter().map(|(number, effect)| (EffectId(number), effect)).collect())
    }

    /// What is remembered of a message with this sender key.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn outcome(&mut self, sender_key: &[u8], objects: &dyn Objects) -> Result<Option<Outcome>, LoadError> {
        match self.outcomes.get(&outcome_key(sender_key), objects)? {
            Some(entry) => decode(&self.blobs, objects, entry, read_outcome).map(|(_, outcome)| Some(outcome)),
            None => Ok(None),
        }
    }
}
