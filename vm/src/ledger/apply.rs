//! A step or an abort carried out: what changes in the tables, and what leaves the machine for it.

use std::collections::BTreeSet;

use persist::planted::{Bug, is_planted};
use seed::cbor::Writer;
use seed::image::Limits;
use seed::message::{Code, Input, Output};
use seed::object::Objects;
use seed::trie::Entry;
use seed::{CallId, EffectId, LoadError, PortId, ReplyId, RequestId};

use super::check::Terms;
use super::entries::{decode, key, read_reply, read_request};
use super::{Ledger, Outcome, Reply, Request};

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
        /// Its number, if it is a call.
        call: Option<CallId>,
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

/// What went with grants that are no longer there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    /// The ports.
    pub ports: BTreeSet<PortId>,
    /// Requests that are due to be broken now, and whom they asked.
    pub requests: Vec<(RequestId, PortId)>,
    /// Effects that were not delivered yet, and are no longer to be.
    pub effects: Vec<EffectId>,
}

impl Ledger {
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
                self.remove_request(*request, objects)?;
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
                    if let Some(entry) = self.remove_request(request, objects)? {
                        let Request { port, broken, .. } = decode(&self.blobs, objects, entry, read_request)?;
                        // No port has one in hand that is due to be broken.
                        if broken.is_none() {
                            releases.push(Release::Cancel { request, port });
                        }
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

    /// Carries out that ports are no longer granted: what is asked of them is due to be broken, what they are to be told is dropped.
    ///
    /// # Errors
    /// If the store fails or is damaged; the ledger must then no longer be used.
    pub fn revoke(&mut self, ports: BTreeSet<PortId>, objects: &dyn Objects) -> Result<Revoked, LoadError> {
        if ports.is_empty() {
            return Ok(Revoked::default());
        }
        let mut requests = Vec::new();
        for (request, asked) in self.requests(objects)? {
            // One that is due to be broken already is broken for the reason that came first.
            let is_open = asked.broken.is_none() && ports.contains(&asked.port);
            if is_open && !is_planted(Bug::OutlivesGrant) {
                self.break_request(request, Code::NOT_GRANTED, &not_granted(asked.port), objects)?;
                requests.push((request, asked.port));
            }
        }
        let told = self.effects(objects)?.into_iter().filter(|(_, effect)| ports.contains(&effect.port));
        let effects: Vec<EffectId> = told.map(|(effect, _)| effect).collect();
        self.settle(&effects, objects)?;
        Ok(Revoked { ports, requests, effects })
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
        self.insert_request(
            request,
            &Request { port, payload, call: None, broken: Some((code, text.to_owned())) },
            objects,
        )?;
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
        let broken = (!granted).then(|| (Code::NOT_GRANTED, not_granted(port)));
        if broken.is_some() {
            self.due.push(request);
        }
        let call = image.numbers_calls(port).then(|| {
            self.last_call = self.last_call.next();
            self.last_call
        });
        let asked = Request { port, payload, call, broken };
        self.insert_request(request, &asked, objects)?;
        let Request { payload, .. } = asked;
        Ok(granted.then_some(Release::Ask { request, port, payload, call }))
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
}

/// Why a request to a port is broken that the machine may not use.
fn not_granted(port: PortId) -> String {
    format!("port {port} is not granted")
}
