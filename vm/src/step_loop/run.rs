//! One input run: logged as a step or as an abort.

use persist::planted::{Bug, is_planted};
use seed::message::{Code, Input};
use seed::record::Record;
use seed::{Nanos, ReplyId, Seq};
use thiserror::Error;

use super::admit::{Admitted, Entry, truncate};
use super::news::{AskerNews, Outgoing, ToPort};
use super::{Fatal, Halt, StepLoop};
use crate::body::{BodyError, Difference, Divergence};
use crate::engine::Mode;
use crate::guest::{Abort, Fault};
use crate::ledger::{Release, Violation};

impl StepLoop {
    pub(super) fn run(&mut self, entry: Entry) -> Result<(), Fatal> {
        let Some(admitted) = self.admit(entry)? else { return Ok(()) };
        let encoding = admitted.input.encode();
        let limit = self.body.image().limits.input_bytes;
        if encoding.len() as u64 > limit {
            let text = format!("the input has {} bytes, more than the machine's limit of {limit}", encoding.len());
            match admitted.input {
                Input::Message { .. } => {
                    self.refuse(admitted.asker, Code::LIMIT, text);
                    return Ok(());
                }
                Input::Answer { request, .. } => {
                    if let Some(request) = self.asks.ticket(request) {
                        self.inbox.push_front(Entry::TooLong(request, text));
                    }
                    return Ok(());
                }
                // What the host says itself is short enough, but for the genesis data, which is of the machine's own choice.
                _ => {}
            }
        }
        let before = (self.body.engine().meter)();
        let executed = self.body.execute(&encoding, Mode::Live);
        let cost = Nanos((self.body.engine().meter)().0.saturating_sub(before.0));
        let reason = match executed {
            Ok(output) => match self.body.accept(&admitted.input, &admitted.key, &output)? {
                Ok(releases) => {
                    if self.body.is_unborn() {
                        // The machine has become another program: a boundary is made here, durable with the program itself.
                        self.forming.is_final = true;
                        self.forming.must_checkpoint = true;
                        self.inbox.push_front(Entry::Boot);
                    }
                    self.forming.bytes += (encoding.len() + output.len()) as u64;
                    self.forming.outputs.push(output);
                    let record = Record::Step { input: encoding, cost, key: admitted.key.clone() };
                    self.log(admitted, record, cost, releases);
                    return Ok(());
                }
                Err(violation) => AbortReason::Violation(violation),
            },
            Err(Fault::Abort(abort)) => AbortReason::Abort(abort),
            Err(Fault::Host(fault)) => return Err(fault.into()),
        };
        // With names from the program in it, it can be of any length.
        let mut reason = reason.to_string();
        truncate(&mut reason);
        self.abort(admitted, encoding, cost, &reason)
    }

    /// Takes the guest back to where it was before the step, and logs or halts.
    fn abort(&mut self, admitted: Admitted, encoding: Vec<u8>, cost: Nanos, reason: &str) -> Result<(), Fatal> {
        if !is_planted(Bug::NotRewound) {
            self.body.rewind()?;
        }
        if !is_planted(Bug::EarlierStepsLost) {
            self.execute_forming_again()?;
        }
        self.forming.is_final = true;
        let what = match &admitted.input {
            Input::Boot { .. } => Some("its boot"),
            Input::Broken { .. } => Some("the news of a broken request"),
            Input::Again { .. } => Some("the computation it had put off"),
            _ if self.policy.halt_on_abort => Some("an input"),
            _ => None,
        };
        if let Some(what) = what {
            self.halt = Some(Halt { what, reason: reason.to_owned() });
            let is_logged =
                matches!(admitted.input, Input::Message { .. } | Input::Answer { .. } | Input::Grants { .. });
            if !self.policy.halt_on_abort || !is_logged {
                return Ok(());
            }
        }
        let releases = self.body.abort(&admitted.input, &admitted.key, reason)?;
        if is_planted(Bug::LostAbort) {
            return Ok(());
        }
        let record = Record::Abort { input: encoding, cost, key: admitted.key.clone(), reason: reason.to_owned() };
        self.log(admitted, record, cost, releases);
        Ok(())
    }

    /// Steps of the forming batch that were lost with the guest's state are executed again; limits are off, since they were kept.
    fn execute_forming_again(&mut self) -> Result<(), Fatal> {
        let mut expected = self.forming.outputs.iter();
        for (position, record) in self.forming.records.iter().enumerate() {
            let Record::Step { input, .. } = record else { continue };
            let diverged = |reason: String| {
                let seq = Seq(self.position.end.0 + position as u64);
                BodyError::from(Divergence { seq, what: Difference::Fault { reason } })
            };
            match self.body.execute(input, Mode::Replay) {
                Ok(output) if Some(&output) == expected.next() => {}
                Ok(_) => return Err(diverged("another output than the first time".to_owned()).into()),
                Err(Fault::Host(fault)) => return Err(fault.into()),
                Err(Fault::Abort(abort)) => return Err(diverged(abort.to_string()).into()),
            }
        }
        Ok(())
    }

    /// Adds a record to the forming batch, with what it releases and what follows from it.
    fn log(&mut self, admitted: Admitted, record: Record, cost: Nanos, releases: Vec<Release>) {
        let is_abort = matches!(record, Record::Abort { .. });
        self.forming.records.push(record);
        self.forming.cost = self.forming.cost.plus(cost);
        let Admitted { input, asker, cancels, .. } = admitted;
        if let Some(asker) = asker {
            match &input {
                Input::Message { reply, .. } if *reply != ReplyId::NONE => {
                    self.askers.wait(asker, *reply);
                }
                _ => self.forming.releases.push(Outgoing::Asker(asker, AskerNews::Accepted)),
            }
        }
        // The answer of an abort goes with the cancellation that follows from it.
        if let Input::Answer { request, more: false, .. } | Input::Broken { request, .. } = &input
            && !is_abort
        {
            self.asks.close(*request);
        }
        if let Some((request, port)) = cancels {
            self.forming.releases.push(Outgoing::Port(port, ToPort::Cancel { request }));
        }
        for release in releases {
            self.address(release);
        }
        let (ledger, _) = self.body.ledger();
        let due = ledger.take_due();
        let wants_again = ledger.wants_again();
        for request in due {
            // The break of an aborted answer comes next; other breaks take their turn.
            if is_abort {
                self.inbox.push_front(Entry::Due(request))
            } else {
                self.inbox.push_back(Entry::Due(request))
            }
        }
        if wants_again {
            self.queue_again();
        }
    }

    pub(super) fn queue_again(&mut self) {
        if !std::mem::replace(&mut self.again_queued, true) {
            self.inbox.push_back(Entry::Again);
        }
    }

    /// Finds out who a release is for, and for a port which ask it is about.
    pub(super) fn address(&mut self, release: Release) {
        let releases = &mut self.forming.releases;
        match release {
            Release::Effect { effect, port, payload } => {
                self.undelivered.add(effect, &payload);
                releases.push(Outgoing::Port(port, ToPort::Effect { effect, payload }));
            }
            Release::Ask { request, port, payload, call } => {
                let request = self.asks.ask(request, port);
                releases.push(Outgoing::Port(port, ToPort::Ask { request, payload, call, resumed: false }));
            }
            Release::Cancel { request, port } => {
                let closed = self.asks.close(request);
                releases.extend(closed.map(|request| Outgoing::Port(port, ToPort::Cancel { request })));
            }
            Release::Answer { reply, more, payload } => {
                let askers = self.askers.hear(reply, more);
                let news = AskerNews::Answer { reply, more, payload };
                releases.extend(askers.into_iter().map(|asker| Outgoing::Asker(asker, news.clone())));
            }
            Release::Refuse { reply, code, text } => {
                let askers = self.askers.hear(reply, false);
                let news = AskerNews::Refused { code, text };
                releases.extend(askers.into_iter().map(|asker| Outgoing::Asker(asker, news.clone())));
            }
            Release::Trace { text } => releases.push(Outgoing::Trace(text)),
        }
    }
}

#[derive(Debug, Error)]
enum AbortReason {
    #[error(transparent)]
    Abort(Abort),
    #[error(transparent)]
    Violation(Violation),
}
