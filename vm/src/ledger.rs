//! What a process has asked and owes: open requests, owed replies, undelivered effects, remembered outcomes.
//!
//! All of it is part of the image and changes only by records, so that replaying the log leads to the same tables. Every entry
//! lives in a trie of its own kind ([`seed::trie`]); a number's key is its 8 bytes, big-endian. Payloads of more than 512 bytes are kept
//! as blobs, so that a change of a neighbour does not rewrite them.
//!
//! | trie | key | data |
//! |---|---|---|
//! | requests | request | `[port, payload]`, or `[port, payload, code, text]` once it is due to be broken |
//! | replies | reply | `[port, from, key]` |
//! | effects | effect | `[port, payload]` |
//! | outcomes | 0, sender key | `[number, reply, 0, payload]`; 0 pending, 1 answered, or `[number, reply, 2, payload, code, text]` refused |
//! | outcomes | 1, number | sender key |

use std::collections::{BTreeMap, HashSet};

use seed::cbor::{CborError, Fault, Reader, Writer};
use seed::image::{Grant, Ledger as Roots, Limits};
use seed::message::{Code, Input, Output};
use seed::object::{Link, Objects, decode_blob, encode_blob, links};
use seed::trie::{Entry, Trie};
use seed::{Domain, EffectId, Id, LoadError, PortId, ReplyId, RequestId};
use thiserror::Error;

const INLINE_BYTES_MAX: usize = 512;

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
    /// Payload blobs that no checkpoint holds, and those of a checkpoint that may not be durable yet.
    blobs: Vec<(Link, Vec<u8>)>,
    in_flight: usize,
    /// Requests that are due to be broken and were not before.
    due: Vec<RequestId>,
}

/// An open request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whom it asks.
    pub port: PortId,
    /// What.
    pub payload: Vec<u8>,
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

/// What leaves the machine once the step that caused it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// An ask without an answer.
    Effect {
        /// Its number, to be settled.
        effect: EffectId,
        /// Whom.
        port: PortId,
        /// What.
        payload: Vec<u8>,
    },
    /// An ask.
    Ask {
        /// Its number.
        request: RequestId,
        /// Whom.
        port: PortId,
        /// What.
        payload: Vec<u8>,
        /// Whether it was asked before, by a host that has stopped since.
        resumed: bool,
    },
    /// A request that is no longer wanted.
    Cancel {
        /// Its number.
        request: RequestId,
        /// Whom it asked.
        port: PortId,
    },
    /// An answer, or a part of one.
    Answer {
        /// For which reply.
        reply: ReplyId,
        /// Whether further parts follow.
        more: bool,
        /// What.
        payload: Vec<u8>,
    },
    /// No answer.
    Refuse {
        /// For which reply.
        reply: ReplyId,
        /// Why.
        code: Code,
        /// Why, in words.
        text: String,
    },
    /// For the owner's eyes.
    Trace {
        /// What.
        text: String,
    },
}

/// An output breaks a rule of docs/abi.md.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Violation {
    /// It is not the encoding of a list of outputs.
    #[error("malformed output: {0}")]
    Encoding(#[from] CborError),
    /// It asks under a number that is open.
    #[error("malformed output: request {0} is open already")]
    RequestOpen(RequestId),
    /// It names a request that is not open.
    #[error("malformed output: request {0} is not open")]
    RequestNotOpen(RequestId),
    /// It answers what is not owed.
    #[error("malformed output: reply {0} is not owed")]
    ReplyNotOwed(ReplyId),
    /// It becomes another program and does more after that.
    #[error("malformed output: something follows a become")]
    AfterBecome,
    /// It wants to become something that cannot be booted.
    #[error("cannot become: {0}")]
    Become(String),
    /// It goes over a limit of open requests, owed replies or undelivered effects.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The declared limit.
        limit: u64,
    },
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
            blobs: Vec::new(),
            in_flight: 0,
            due: Vec::new(),
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

    /// Checks everything about an output that could make it malformed, before any of it is carried out.
    ///
    /// # Errors
    /// The inner error is the rule that it breaks; the outer one that the store fails or is damaged.
    pub fn check(
        &mut self,
        input: &Input,
        outputs: &[Output],
        image: Terms<'_>,
        objects: &dyn Objects,
    ) -> Result<Result<(), Violation>, LoadError> {
        let mut requests: BTreeMap<RequestId, bool> = BTreeMap::new();
        let mut replies: BTreeMap<ReplyId, bool> = BTreeMap::new();
        let mut effects = 0_u64;
        match input {
            Input::Message { reply, .. } if *reply != ReplyId::NONE => drop(replies.insert(*reply, true)),
            Input::Answer { request, more: false, .. } | Input::Broken { request, .. } => {
                requests.insert(*request, false);
            }
            Input::Gone { reply } => drop(replies.insert(*reply, false)),
            _ => {}
        }
        for (position, output) in outputs.iter().enumerate() {
            match output {
                Output::Ask { request: RequestId::NONE, port, .. } => effects += u64::from(image.grants(*port)),
                Output::Ask { request, .. } => {
                    if self.is_open(*request, &requests, objects)? {
                        return Ok(Err(Violation::RequestOpen(*request)));
                    }
                    requests.insert(*request, true);
                }
                Output::Cancel { request } => {
                    if !self.is_open(*request, &requests, objects)? {
                        return Ok(Err(Violation::RequestNotOpen(*request)));
                    }
                    requests.insert(*request, false);
                }
                Output::Answer { reply, .. } | Output::Refuse { reply, .. } => {
                    let owed = match replies.get(reply) {
                        Some(owed) => *owed,
                        None => self.replies.get(&key(reply.0), objects)?.is_some(),
                    };
                    if !owed {
                        return Ok(Err(Violation::ReplyNotOwed(*reply)));
                    }
                    replies.insert(*reply, matches!(output, Output::Answer { more: true, .. }));
                }
                Output::Become { .. } if position + 1 != outputs.len() => return Ok(Err(Violation::AfterBecome)),
                Output::Become { .. } | Output::Again | Output::Trace { .. } => {}
            }
        }
        let limit = image.limits.requests;
        let requests = requests.iter().map(|(request, open)| (request.0, *open));
        let replies = replies.iter().map(|(reply, owed)| (reply.0, *owed));
        let too_many = |what| Ok(Err(Violation::TooMany { what, limit }));
        if grows_beyond(&mut self.requests, requests, limit, objects)? {
            return too_many("open requests");
        }
        if effects > 0 && self.effects.len(objects)?.saturating_add(effects) > limit {
            return too_many("undelivered effects");
        }
        if grows_beyond(&mut self.replies, replies, limit, objects)? {
            return too_many("owed replies");
        }
        Ok(Ok(()))
    }

    fn is_open(
        &mut self,
        request: RequestId,
        changed: &BTreeMap<RequestId, bool>,
        objects: &dyn Objects,
    ) -> Result<bool, LoadError> {
        match changed.get(&request) {
            Some(open) => Ok(*open),
            None => Ok(self.requests.get(&key(request.0), objects)?.is_some()),
        }
    }

    /// Carries out a step: its input and its output, which [`Self::check`] has passed.
    ///
    /// # Errors
    /// If the store fails or is damaged; the ledger must then no longer be used.
    pub fn apply(
        &mut self,
        input: &Input,
        sender_key: &[u8],
        outputs: Vec<Output>,
        image: Terms<'_>,
        objects: &dyn Objects,
    ) -> Result<Vec<Release>, LoadError> {
        let mut fresh = None;
        match input {
            Input::Message { port, from, reply, .. } => {
                if *reply != ReplyId::NONE {
                    self.next_reply = reply.next();
                    fresh = Some((*reply, Reply { port: *port, from: from.clone(), key: sender_key.to_vec() }));
                }
                if !sender_key.is_empty() {
                    self.remember(sender_key, *reply, Outcome::Pending(*reply), image.limits, objects)?;
                }
            }
            Input::Answer { request, more: false, .. } | Input::Broken { request, .. } => {
                self.requests.remove(&key(request.0), objects)?;
            }
            Input::Again { .. } => self.again = false,
            Input::Gone { reply } => drop(self.replies.remove(&key(reply.0), objects)?),
            _ => {}
        }
        let mut releases = Vec::with_capacity(outputs.len());
        for output in outputs {
            match output {
                Output::Ask { request, port, payload } => {
                    releases.extend(self.ask(request, port, payload, image, objects)?);
                }
                Output::Answer { reply, more, payload } => {
                    if !more {
                        self.settle_reply(reply, &mut fresh, Outcome::Answered(payload.clone()), objects)?;
                    }
                    releases.push(Release::Answer { reply, more, payload });
                }
                Output::Refuse { reply, code, text } => {
                    self.settle_reply(reply, &mut fresh, Outcome::Refused(code, text.clone()), objects)?;
                    releases.push(Release::Refuse { reply, code, text });
                }
                Output::Cancel { request } => {
                    if let Some(entry) = self.requests.remove(&key(request.0), objects)? {
                        let Request { port, .. } = decode(&self.blobs, objects, entry, read_request)?;
                        releases.push(Release::Cancel { request, port });
                    }
                }
                Output::Again => self.again = true,
                Output::Become { .. } => {}
                Output::Trace { text } => releases.push(Release::Trace { text }),
            }
        }
        if let Some((reply, owed)) = fresh {
            let mut data = Writer::new();
            data.array(3).uint(owed.port.0).bytes(&owed.from).bytes(&owed.key);
            self.replies.insert(&key(reply.0), Entry { data: data.finish(), link: None }, objects)?;
        }
        Ok(releases)
    }

    /// Carries out an abort: the input is used up, its asker refused, a request's answer turned into a break that is due.
    ///
    /// # Errors
    /// If the store fails or is damaged; the ledger must then no longer be used.
    pub fn abort(
        &mut self,
        input: &Input,
        sender_key: &[u8],
        reason: &str,
        limits: &Limits,
        objects: &dyn Objects,
    ) -> Result<Vec<Release>, LoadError> {
        match input {
            Input::Message { reply, .. } => {
                let refused = Outcome::Refused(Code::ABORTED, reason.to_owned());
                if !sender_key.is_empty() {
                    self.remember(sender_key, *reply, refused, limits, objects)?;
                }
                if *reply == ReplyId::NONE {
                    return Ok(Vec::new());
                }
                self.next_reply = reply.next();
                Ok(vec![Release::Refuse { reply: *reply, code: Code::ABORTED, text: reason.to_owned() }])
            }
            Input::Answer { request, .. } => {
                let port = self.break_request(*request, Code::ABORTED, reason, objects)?;
                // The port may have further parts in hand.
                Ok(port.map(|port| Release::Cancel { request: *request, port }).into_iter().collect())
            }
            Input::Gone { reply } => {
                self.replies.remove(&key(reply.0), objects)?;
                Ok(Vec::new())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Logs effects as delivered.
    ///
    /// # Errors
    /// If the store fails or is damaged; the ledger must then no longer be used.
    pub fn settle(&mut self, effects: &[EffectId], objects: &dyn Objects) -> Result<(), LoadError> {
        effects.iter().try_for_each(|effect| self.effects.remove(&key(effect.0), objects).map(drop))
    }

    /// Makes an open request due to be broken; the port it asked.
    fn break_request(
        &mut self,
        request: RequestId,
        code: Code,
        text: &str,
        objects: &dyn Objects,
    ) -> Result<Option<PortId>, LoadError> {
        let Some(Request { port, payload, .. }) = self.request(request, objects)? else { return Ok(None) };
        self.insert_request(request, &Request { port, payload, broken: Some((code, text.to_owned())) }, objects)?;
        self.due.push(request);
        Ok(Some(port))
    }

    fn ask(
        &mut self,
        request: RequestId,
        port: PortId,
        payload: Vec<u8>,
        image: Terms<'_>,
        objects: &dyn Objects,
    ) -> Result<Option<Release>, LoadError> {
        let granted = image.grants(port);
        if request == RequestId::NONE {
            if !granted {
                return Ok(Some(Release::Trace {
                    text: format!("an effect for port {port} was dropped: not granted"),
                }));
            }
            let effect = self.next_effect;
            self.next_effect = effect.next();
            let mut data = Writer::new();
            data.array(2).uint(port.0);
            let link = self.write_payload(&payload, &mut data);
            self.effects.insert(&key(effect.0), Entry { data: data.finish(), link }, objects)?;
            return Ok(Some(Release::Effect { effect, port, payload }));
        }
        let broken = (!granted).then(|| (Code::NOT_GRANTED, format!("port {port} is not granted")));
        if broken.is_some() {
            self.due.push(request);
        }
        let asked = Request { port, payload, broken };
        self.insert_request(request, &asked, objects)?;
        let Request { payload, .. } = asked;
        Ok(granted.then_some(Release::Ask { request, port, payload, resumed: false }))
    }

    fn insert_request(&mut self, number: RequestId, request: &Request, objects: &dyn Objects) -> Result<(), LoadError> {
        let mut data = Writer::new();
        data.array(if request.broken.is_some() { 4 } else { 2 }).uint(request.port.0);
        let link = self.write_payload(&request.payload, &mut data);
        if let Some((code, text)) = &request.broken {
            data.uint(code.0).text(text);
        }
        self.requests.insert(&key(number.0), Entry { data: data.finish(), link }, objects).map(drop)
    }

    fn settle_reply(
        &mut self,
        reply: ReplyId,
        fresh: &mut Option<(ReplyId, Reply)>,
        outcome: Outcome,
        objects: &dyn Objects,
    ) -> Result<(), LoadError> {
        let owed = match fresh.take_if(|(number, _)| *number == reply) {
            Some((_, owed)) => Some(owed),
            None => match self.replies.remove(&key(reply.0), objects)? {
                Some(entry) => Some(decode(&self.blobs, objects, entry, |reader, _| read_reply(reader))?),
                None => None,
            },
        };
        match owed {
            Some(owed) if !owed.key.is_empty() => self.settle_outcome(&owed.key, reply, &outcome, objects),
            _ => Ok(()),
        }
    }

    /// Remembers how a keyed message was answered, if the key still stands for it: the window may have passed, and the key may have come
    /// again with a message of its own.
    fn settle_outcome(
        &mut self,
        sender_key: &[u8],
        reply: ReplyId,
        outcome: &Outcome,
        objects: &dyn Objects,
    ) -> Result<(), LoadError> {
        let Some(entry) = self.outcomes.get(&outcome_key(sender_key), objects)? else { return Ok(()) };
        match decode(&self.blobs, objects, entry, read_outcome)? {
            (number, Outcome::Pending(pending)) if pending == reply => {
                self.write_outcome(sender_key, number, reply, outcome, objects)
            }
            _ => Ok(()),
        }
    }

    /// Remembers a keyed message, and forgets the oldest ones over the limit.
    fn remember(
        &mut self,
        sender_key: &[u8],
        reply: ReplyId,
        outcome: Outcome,
        limits: &Limits,
        objects: &dyn Objects,
    ) -> Result<(), LoadError> {
        let number = self.next_outcome;
        self.next_outcome += 1;
        let entry = Entry { data: sender_key.to_vec(), link: None };
        self.outcomes.insert(&outcome_order_key(number), entry, objects)?;
        self.write_outcome(sender_key, number, reply, &outcome, objects)?;
        while self.next_outcome - self.first_outcome > limits.outcomes {
            let order = outcome_order_key(self.first_outcome);
            if let Some(oldest) = self.outcomes.remove(&order, objects)? {
                self.outcomes.remove(&outcome_key(&oldest.data), objects)?;
            }
            self.first_outcome += 1;
        }
        Ok(())
    }

    fn write_outcome(
        &mut self,
        sender_key: &[u8],
        number: u64,
        reply: ReplyId,
        outcome: &Outcome,
        objects: &dyn Objects,
    ) -> Result<(), LoadError> {
        let mut data = Writer::new();
        let link = match outcome {
            Outcome::Pending(_) => {
                data.array(4).uint(number).uint(reply.0).uint(0).bytes(&[]);
                None
            }
            Outcome::Answered(payload) => {
                data.array(4).uint(number).uint(reply.0).uint(1);
                self.write_payload(payload, &mut data)
            }
            Outcome::Refused(code, text) => {
                data.array(6).uint(number).uint(reply.0).uint(2).bytes(&[]).uint(code.0).text(text);
                None
            }
        };
        self.outcomes.insert(&outcome_key(sender_key), Entry { data: data.finish(), link }, objects)?;
        Ok(())
    }

    fn write_payload(&mut self, payload: &[u8], data: &mut Writer) -> Option<Id> {
        if payload.len() <= INLINE_BYTES_MAX {
            data.bytes(payload);
            return None;
        }
        data.bytes(&[]);
        let blob = encode_blob(payload);
        let id = Id::of(Domain::Object, &blob);
        self.blobs.push(((Domain::Object, id), blob));
        Some(id)
    }
}

/// What of the image a step is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The ports it may use.
    pub grants: &'a [Grant],
    /// What it may use.
    pub limits: &'a Limits,
}

impl Terms<'_> {
    /// Whether a port may be used. The owner's is for those who ask the machine.
    fn grants(&self, port: PortId) -> bool {
        port != PortId::OWNER && self.grants.iter().any(|grant| grant.port == port)
    }
}

/// Whether a trie, once it has or lacks these numbers, has more entries than before and than its limit. What closes makes room for what
/// opens in the same step.
fn grows_beyond(
    trie: &mut Trie,
    changed: impl Iterator<Item = (u64, bool)>,
    limit: u64,
    objects: &dyn Objects,
) -> Result<bool, LoadError> {
    let (mut opened, mut closed) = (0_u64, 0_u64);
    for (number, is_there) in changed {
        let was_there = trie.get(&key(number), objects)?.is_some();
        opened += u64::from(is_there && !was_there);
        closed += u64::from(was_there && !is_there);
    }
    Ok(opened > closed && trie.len(objects)?.saturating_add(opened - closed) > limit)
}

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

fn outcome_key(sender_key: &[u8]) -> Vec<u8> {
    [&[0], sender_key].concat()
}

fn outcome_order_key(number: u64) -> Vec<u8> {
    [&[1][..], &number.to_be_bytes()].concat()
}

type ReadWith<T> = fn(&mut Reader<'_>, Option<&[u8]>) -> Result<T, CborError>;

/// Decodes an entry and the blob that may belong to it.
fn decode<T>(
    fresh: &[(Link, Vec<u8>)],
    objects: &dyn Objects,
    entry: Entry,
    read: ReadWith<T>,
) -> Result<T, LoadError> {
    let id = entry.link.unwrap_or_else(|| Id::of(Domain::Node, &entry.data));
    let malformed = |source| LoadError::Malformed { id, source };
    let blob = match entry.link {
        None => None,
        Some(link) => Some(match fresh.iter().rev().find(|((_, id), _)| *id == link) {
            Some((_, encoding)) => encoding.clone(),
            None => objects.load(Domain::Object, &link)?,
        }),
    };
    let payload = blob.as_deref().map(decode_blob).transpose().map_err(malformed)?;
    let mut reader = Reader::new(&entry.data);
    let value = read(&mut reader, payload).map_err(malformed)?;
    reader.end().map_err(malformed)?;
    Ok(value)
}

fn all<T>(
    trie: &Trie,
    fresh: &[(Link, Vec<u8>)],
    objects: &dyn Objects,
    read: ReadWith<T>,
) -> Result<BTreeMap<u64, T>, LoadError> {
    let mut numbered = BTreeMap::new();
    for (key, entry) in trie.entries(objects)? {
        let misnamed = || {
            let fault = Fault::Rule("a ledger's key is not a number");
            LoadError::Malformed { id: Id::of(Domain::Node, &key), source: CborError { at: 0, fault } }
        };
        let number = key.as_slice().try_into().map(u64::from_be_bytes).map_err(|_| misnamed())?;
        numbered.insert(number, decode(fresh, objects, entry, read)?);
    }
    Ok(numbered)
}

fn payload(reader: &mut Reader<'_>, blob: Option<&[u8]>) -> Result<Vec<u8>, CborError> {
    let at = reader.position();
    match (reader.bytes()?, blob) {
        (inline, None) => Ok(inline.to_vec()),
        ([], Some(blob)) => Ok(blob.to_vec()),
        (_, Some(_)) => Err(CborError { at, fault: Fault::Rule("a payload is kept twice") }),
    }
}

fn read_request(reader: &mut Reader<'_>, blob: Option<&[u8]>) -> Result<Request, CborError> {
    let items = reader.array()?;
    let (port, payload) = (PortId(reader.uint()?), payload(reader, blob)?);
    let broken = match items {
        2 => None,
        4 => Some((Code(reader.uint()?), reader.text()?.to_owned())),
        _ => return Err(reader.fault(Fault::Rule("a request has two or four items"))),
    };
    Ok(Request { port, payload, broken })
}

fn read_reply(reader: &mut Reader<'_>) -> Result<Reply, CborError> {
    reader.array_of(3)?;
    Ok(Reply { port: PortId(reader.uint()?), from: reader.bytes()?.to_vec(), key: reader.bytes()?.to_vec() })
}

fn read_outcome(reader: &mut Reader<'_>, blob: Option<&[u8]>) -> Result<(u64, Outcome), CborError> {
    let items = reader.array()?;
    let number = reader.uint()?;
    let reply = ReplyId(reader.uint()?);
    let status = reader.uint_max(2, "an outcome's status")?;
    if items != if status == 2 { 6 } else { 4 } {
        return Err(reader.fault(Fault::Rule("an outcome has another number of items")));
    }
    let payload = payload(reader, blob)?;
    Ok((
        number,
        match status {
            0 => Outcome::Pending(reply),
            1 => Outcome::Answered(payload),
            _ => Outcome::Refused(Code(reader.uint()?), reader.text()?.to_owned()),
        },
    ))
}
