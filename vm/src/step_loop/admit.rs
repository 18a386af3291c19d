//! What waits is made an input, or turned away.

use persist::planted::{Bug, is_planted};
use seed::message::{Code, Input};
use seed::record::SENDER_KEY_BYTES_MAX;
use seed::{PortId, ReplyId, RequestId};

use super::asks::Ticket;
use super::news::{Arrival, Asker, AskerNews, Outgoing};
use super::{Fatal, StepLoop};
use crate::ledger::Outcome;

/// The words of a break and the reason of an abort, at most. The least limit of input is larger.
const BREAK_TEXT_BYTES_MAX: usize = 512;

/// What waits to be run.
#[derive(Debug)]
pub(super) enum Entry {
    Arrival(Arrival),
    Boot,
    Again,
    Due(RequestId),
    Gone(ReplyId),
    /// An answer was over the limit: its request is broken instead.
    TooLong(Ticket, String),
}

/// An input that is about to be run.
pub(super) struct Admitted {
    pub(super) input: Input,
    pub(super) key: Vec<u8>,
    pub(super) asker: Option<Asker>,
    /// A request that its port has to forget.
    pub(super) cancels: Option<(Ticket, PortId)>,
}

impl StepLoop {
    /// Turns what waits into an input, or finds that it is no longer one.
    pub(super) fn admit(&mut self, entry: Entry) -> Result<Option<Admitted>, Fatal> {
        let admitted = |input| Ok(Some(Admitted { input, key: Vec::new(), asker: None, cancels: None }));
        if matches!(entry, Entry::Boot) {
            let input = self.body.boot_input()?;
            return admitted(input);
        }
        let entry = match entry {
            Entry::Arrival(Arrival::Grants { grants, next_port, asker }) => {
                return self.regrant(grants, next_port, asker);
            }
            // It came in before the grant went.
            Entry::Arrival(Arrival::Message { port, asker, .. }) if !self.is_granted(port) => {
                // Whoever has gone hears nothing.
                if self.askers.admit(asker) {
                    let text = format!("a message on port {port} was dropped: not granted");
                    self.refuse(asker, Code::NOT_GRANTED, text);
                }
                return Ok(None);
            }
            entry => entry,
        };
        let alone = self.inbox.is_empty();
        let (ledger, objects) = self.body.ledger();
        let asks = &self.asks;
        match entry {
            Entry::Boot | Entry::Arrival(Arrival::Grants { .. }) => Ok(None),
            Entry::Again => {
                self.again_queued = false;
                if !ledger.wants_again() {
                    return Ok(None);
                }
                let budget = if alone { self.policy.again_budget_alone } else { self.policy.again_budget_busy };
                admitted(Input::Again { budget })
            }
            Entry::Due(request) => match ledger.request(request, objects)?.and_then(|asked| asked.broken) {
                Some((code, text)) => admitted(Input::Broken { request, code, text }),
                None => Ok(None),
            },
            Entry::Gone(reply) => match ledger.reply(reply, objects)? {
                Some(_) if !self.askers.has(reply) => admitted(Input::Gone { reply }),
                _ => Ok(None),
            },
            Entry::Arrival(Arrival::Answer { request, more, payload, room: _ }) => {
                if asks.port(request).is_some() {
                    admitted(Input::Answer { request: request.number(), more, payload })
                } else {
                    Ok(None)
                }
            }
            Entry::Arrival(Arrival::Broken { request, code, mut text }) => {
                if asks.port(request).is_some() {
                    truncate(&mut text);
                    admitted(Input::Broken { request: request.number(), code, text })
                } else {
                    Ok(None)
                }
            }
            Entry::TooLong(request, text) => Ok(asks.port(request).map(|port| {
                let input = Input::Broken { request: request.number(), code: Code::LIMIT, text };
                // The port may have further parts in hand.
                Admitted { input, key: Vec::new(), asker: None, cancels: Some((request, port)) }
            })),
            Entry::Arrival(Arrival::Message { port, from, payload, asker, key, room: _ }) => {
                if !self.askers.admit(asker) && key.is_empty() {
                    return Ok(None);
                }
                if key.len() > SENDER_KEY_BYTES_MAX {
                    let text = format!("the key has {} bytes, more than {SENDER_KEY_BYTES_MAX}", key.len());
                    self.refuse(asker, Code::LIMIT, text);
                    return Ok(None);
                }
                if !key.is_empty()
                    && !is_planted(Bug::KeyForgotten)
                    && let Some(outcome) = ledger.outcome(&key, objects)?
                {
                    self.repeat(asker, outcome);
                    return Ok(None);
                }
                let reply = if asker.is_some() { ledger.next_reply() } else { ReplyId::NONE };
                let input = Input::Message { port, from, reply, payload };
                Ok(Some(Admitted { input, key, asker, cancels: None }))
            }
        }
    }

    /// A message that came before gets the outcome that it had, once that is durable.
    fn repeat(&mut self, asker: Option<Asker>, outcome: Outcome) {
        let Some(asker) = asker else { return };
        let news = match outcome {
            Outcome::Pending(ReplyId::NONE) => AskerNews::Accepted,
            Outcome::Pending(reply) => return self.askers.wait(asker, reply),
            Outcome::Answered(payload) => AskerNews::Answer { reply: ReplyId::NONE, more: false, payload },
            Outcome::Refused(code, text) => AskerNews::Refused { code, text },
        };
        self.release_behind_what_is_pending(Outgoing::Asker(asker, news));
    }

    /// A message is not taken in.
    pub(super) fn refuse(&mut self, asker: Option<Asker>, code: Code, text: String) {
        self.release_behind_what_is_pending(match asker {
            Some(asker) => Outgoing::Asker(asker, AskerNews::Refused { code, text }),
            None => Outgoing::Trace(text),
        });
    }

    /// Releases something with the newest batch that is not durable yet, or at once if there is none.
    fn release_behind_what_is_pending(&mut self, outgoing: Outgoing) {
        if !self.forming.records.is_empty() {
            self.forming.releases.push(outgoing);
        } else if let Some(in_flight) = &mut self.in_flight {
            in_flight.releases.push(outgoing);
        } else {
            self.released.push(outgoing);
        }
    }
}

/// Words are kept short enough for any machine's limit of input.
pub(super) fn truncate(text: &mut String) {
    text.truncate(text.floor_char_boundary(BREAK_TEXT_BYTES_MAX));
}
