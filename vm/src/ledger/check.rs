//! What an output may not do, found out before any of it is carried out.

use std::collections::BTreeMap;

use seed::cbor::CborError;
use seed::image::{Grant, Limits};
use seed::message::{Input, Output};
use seed::object::Objects;
use seed::trie::Trie;
use seed::{LoadError, PortId, ReplyId, RequestId};
use thiserror::Error;

use super::Ledger;
use super::entries::key;

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
    /// The machine refuses the step: it answers reply 0 with a refusal.
    #[error("the machine refused: {0}")]
    Refused(String),
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
                Output::Refuse { reply: ReplyId::NONE, text, .. } => return Ok(Err(Violation::Refused(text.clone()))),
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
    pub(super) fn grants(&self, port: PortId) -> bool {
        port != PortId::OWNER && self.grants.iter().any(|grant| grant.port == port)
    }

    /// Whether asks of a port are calls.
    pub(super) fn numbers_calls(&self, port: PortId) -> bool {
        self.grants.iter().any(|grant| grant.port == port && grant.numbers_calls())
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
