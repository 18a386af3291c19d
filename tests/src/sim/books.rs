//! What a machine has asked and owes, as docs/abi.md says, kept in plain maps: the model that ledgers are compared with.

use std::collections::{BTreeMap, BTreeSet};

use seed::image::{Grant, Limits};
use seed::message::{Code, Input, Output};
use seed::{CallId, EffectId, PortId, ReplyId, RequestId};
use vm::ledger::{Outcome, Release};

/// The tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Books {
    /// Open requests.
    pub requests: BTreeMap<RequestId, Request>,
    /// Owed replies, with the key that the message came with.
    pub replies: BTreeMap<ReplyId, Vec<u8>>,
    /// Undelivered effects.
    pub effects: BTreeMap<EffectId, (PortId, Vec<u8>)>,
    /// What became of messages with keys.
    pub outcomes: BTreeMap<Vec<u8>, Remembered>,
    /// The next reply to be owed.
    pub next_reply: ReplyId,
    /// The next effect.
    pub next_effect: EffectId,
    /// Whether the machine wants to be called again.
    pub again: bool,
    /// The ports that it may use.
    pub grants: Vec<Grant>,
    /// The number of the next port.
    pub next_port: PortId,
    /// The number of the last call.
    pub last_call: CallId,
    next_outcome: u64,
    limits: Limits,
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

/// The memory of a message with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    order: u64,
    /// The reply that the message was given.
    pub reply: ReplyId,
    /// What became of it.
    pub outcome: Outcome,
}

/// The output breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaks(pub &'static str);

impl Books {
    /// Of a machine that was never booted.
    #[must_use]
    pub fn new(limits: Limits, grants: Vec<Grant>) -> Self {
        Self {
            requests: BTreeMap::new(),
            replies: BTreeMap::new(),
            effects: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            next_reply: ReplyId(1),
            next_effect: EffectId(1),
            again: false,
            next_port: PortId(grants.len() as u64),
            grants,
            last_call: CallId(0),
            next_outcome: 0,
            limits,
        }
    }

    /// Carries out a step; nothing has changed if its output breaks a rule.
    ///
    /// # Errors
    /// The rule.
    pub fn step(&mut self, input: &Input, key: &[u8], outputs: &[Output]) -> Result<Vec<Release>, Breaks> {
        let mut next = self.clone();
        let releases = next.try_step(input, key, outputs)?;
        let over = |count: usize, before: usize| count as u64 > self.limits.requests && count > before;
        if over(next.requests.len(), self.requests.len()) {
            return Err(Breaks("open requests"));
        }
        if over(next.replies.len(), self.replies.len()) {
            return Err(Breaks("owed replies"));
        }
        if over(next.effects.len(), self.effects.len()) {
            return Err(Breaks("undelivered effects"));
        }
        *self = next;
        Ok(releases)
    }

    fn try_step(&mut self, input: &Input, key: &[u8], outputs: &[Output]) -> Result<Vec<Release>, Breaks> {
        match input {
            Input::Message { reply, .. } => {
                if *reply != ReplyId::NONE {
                    self.next_reply = reply.next();
                    self.replies.insert(*reply, key.to_vec());
                }
                self.remember(key, *reply, Outcome::Pending(*reply));
            }
            Input::Answer { request, more: false, .. } | Input::Broken { request, .. } => {
                self.requests.remove(request);
            }
            Input::Again { .. } => self.again = false,
            Input::Gone { reply } => drop(self.replies.remove(reply)),
            _ => {}
        }
        outputs.iter().map(|output| self.output(output)).filter_map(Result::transpose).collect()
    }

    fn output(&mut self, output: &Output) -> Result<Option<Release>, Breaks> {
        Ok(Some(match output.clone() {
            Output::Ask { request: RequestId::NONE, port, payload } => {
                if !self.is_granted(port) {
                    return Ok(Some(Release::Trace {
                        text: format!("an effect for port {port} was dropped: not granted"),
                    }));
                }
                let effect = self.next_effect;
                self.next_effect = effect.next();
                self.effects.insert(effect, (port, payload.clone()));
                Release::Effect { effect, port, payload }
            }
            Output::Ask { request, port, payload } => {
                let broken =
                    (!self.is_granted(port)).then(|| (Code::NOT_GRANTED, format!("port {port} is not granted")));
                let is_broken = broken.is_some();
                let call = self.is_called(port).then(|| {
                    self.last_call = self.last_call.next();
                    self.last_call
                });
                if self.requests.insert(request, Request { port, payload: payload.clone(), call, broken }).is_some() {
                    return Err(Breaks("asks under an open number"));
                }
                if is_broken {
                    return Ok(None);
                }
                Release::Ask { request, port, payload, call }
            }
            Output::Cancel { request } => {
                let known = self.requests.remove(&request).ok_or(Breaks("cancels what is not open"))?;
                if known.broken.is_some() {
                    return Ok(None);
                }
                Release::Cancel { request, port: known.port }
            }
            Output::Answer { reply, more, payload } => {
                if !more {
                    self.settle_reply(reply, Outcome::Answered(payload.clone()))?;
                } else if !self.replies.contains_key(&reply) {
                    return Err(Breaks("answers what is not owed"));
                }
                Release::Answer { reply, more, payload }
            }
            Output::Refuse { reply, code, text } => {
                self.settle_reply(reply, Outcome::Refused(code, text.clone()))?;
                Release::Refuse { reply, code, text }
            }
            Output::Again => {
                self.again = true;
                return Ok(None);
            }
            Output::Become { .. } => return Err(Breaks("becomes")),
            Output::Trace { text } => Release::Trace { text },
        }))
    }

    /// Carries out an abort.
    pub fn abort(&mut self, input: &Input, key: &[u8], reason: &str) -> Vec<Release> {
        match input {
            Input::Message { reply, .. } => {
                self.remember(key, *reply, Outcome::Refused(Code::ABORTED, reason.to_owned()));
                if *reply == ReplyId::NONE {
                    return Vec::new();
                }
                self.next_reply = reply.next();
                vec![Release::Refuse { reply: *reply, code: Code::ABORTED, text: reason.to_owned() }]
            }
            Input::Answer { request, .. } => match self.requests.get_mut(request) {
                Some(asked) => {
                    asked.call = None;
                    asked.broken = Some((Code::ABORTED, reason.to_owned()));
                    vec![Release::Cancel { request: *request, port: asked.port }]
                }
                None => Vec::new(),
            },
            Input::Gone { reply } => {
                self.replies.remove(reply);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// An effect is delivered; false if it was before.
    pub fn settle(&mut self, effect: EffectId) -> bool {
        self.effects.remove(&effect).is_some()
    }

    /// The grants change: what is open with a port that goes is about to be broken, what it has not delivered is gone. The requests, whom they
    /// asked, and how many effects.
    pub fn regrant(&mut self, grants: &[Grant], next_port: PortId) -> (Vec<(RequestId, PortId)>, usize) {
        self.grants = grants.to_vec();
        self.next_port = next_port;
        let here: BTreeSet<PortId> = grants.iter().map(|grant| grant.port).collect();
        let mut broken = Vec::new();
        for (request, asked) in &mut self.requests {
            if asked.broken.is_none() && !here.contains(&asked.port) {
                asked.call = None;
                asked.broken = Some((Code::NOT_GRANTED, format!("port {} is not granted", asked.port)));
                broken.push((*request, asked.port));
            }
        }
        let before = self.effects.len();
        self.effects.retain(|_, (port, _)| here.contains(port));
        (broken, before - self.effects.len())
    }

    /// Whether something may come in at a port, or go out.
    #[must_use]
    pub fn is_granted(&self, port: PortId) -> bool {
        self.grants.iter().any(|grant| grant.port == port)
    }

    /// Whether asks of a port are calls, which the name of its grant says.
    fn is_called(&self, port: PortId) -> bool {
        self.grants.iter().any(|grant| grant.port == port && grant.name.starts_with("http-client:"))
    }

    fn settle_reply(&mut self, reply: ReplyId, outcome: Outcome) -> Result<(), Breaks> {
        let key = self.replies.remove(&reply).ok_or(Breaks("answers what is not owed"))?;
        // Only where the key still stands for this very message.
        if let Some(remembered) = self.outcomes.get_mut(&key).filter(|remembered| remembered.reply == reply) {
            remembered.outcome = outcome;
        }
        Ok(())
    }

    fn remember(&mut self, key: &[u8], reply: ReplyId, outcome: Outcome) {
        if key.is_empty() {
            return;
        }
        let order = self.next_outcome;
        self.next_outcome += 1;
        self.outcomes.insert(key.to_vec(), Remembered { order, reply, outcome });
        let limits = &self.limits;
        let first = self.next_outcome.saturating_sub(limits.outcomes);
        self.outcomes.retain(|_, remembered| remembered.order >= first);
    }
}
