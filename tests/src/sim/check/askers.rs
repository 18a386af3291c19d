//! Who waits for answers, and what each of them may and must hear.

use std::collections::VecDeque;

use seed::message::Code;
use seed::{PortId, ReplyId};
use vm::step_loop::{Asker, AskerNews};

use super::Checker;
use crate::sim::{Failure, ensure};

/// A message that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Where it comes in.
    pub port: PortId,
    /// The sender's key, or empty.
    pub key: Vec<u8>,
    /// Who waits.
    pub asker: Option<Asker>,
    /// Whether it, or its key, is over the limit.
    pub is_refused: bool,
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) run: u32,
    pub(super) tag: u64,
    /// The reply that the message was given, once it is durable.
    pub(super) reply: Option<ReplyId>,
    pub(super) gone: bool,
    expected: VecDeque<AskerNews>,
    is_done: bool,
}

/// A message that was logged.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) key: Vec<u8>,
    reply: ReplyId,
    run: u32,
    news: Vec<(u32, AskerNews)>,
}

/// What whoever repeats the message hears once this has been said.
fn recorded(news: &AskerNews) -> AskerNews {
    match news.clone() {
        AskerNews::Answer { more, payload, .. } => AskerNews::Answer { reply: ReplyId::NONE, more, payload },
        news => news,
    }
}

fn is_last(news: &AskerNews) -> bool {
    !matches!(news, AskerNews::Answer { more: true, .. })
}

impl Checker {
    /// A message is sent.
    pub fn send(&mut self, tag: u64, sent: Sent) {
        if let Some(asker) = sent.asker {
            let run = self.run;
            let waiting = Waiting { run, tag, reply: None, gone: false, expected: VecDeque::new(), is_done: false };
            self.waiting.insert(asker.0, waiting);
        } else if sent.is_refused {
            self.refusal_traces += 1;
        }
        self.coverage.hit_if(sent.is_refused, "input over limit");
        self.sent.insert(tag, sent);
    }

    /// Askers of this run that still wait.
    #[must_use]
    pub fn still_waiting(&self) -> Vec<Asker> {
        let waits = |waiting: &Waiting| waiting.run == self.run && !waiting.gone && !waiting.is_done;
        self.waiting.iter().filter(|(_, waiting)| waits(waiting)).map(|(asker, _)| Asker(*asker)).collect()
    }

    /// An asker stops waiting.
    pub fn leave(&mut self, asker: Asker) {
        if let Some(waiting) = self.waiting.get_mut(&asker.0) {
            waiting.gone = true;
            self.coverage.hit("asker gone");
        }
    }

    pub(super) fn execute(&mut self, tag: u64, reply: ReplyId, sent: &Sent) {
        self.executed.insert(tag, reply);
        self.executions.push(Execution { key: sent.key.clone(), reply, run: self.run, news: Vec::new() });
        if let Some(waiting) = sent.asker.and_then(|asker| self.waiting.get_mut(&asker.0)) {
            waiting.reply = Some(reply);
        }
    }

    pub(super) fn expect_news(&mut self, reply: ReplyId, news: AskerNews) {
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.reply == Some(reply)) {
            waiting.expected.push_back(news.clone());
        }
        if let Some(execution) = self.executions.iter_mut().find(|execution| execution.reply == reply) {
            execution.news.push((self.run, news));
        }
    }

    /// The message just logged was aborted, and wanted no answer. Its key remembers.
    pub(super) fn nobody_told(&mut self, reason: &str) {
        let news = AskerNews::Refused { code: Code::ABORTED, text: reason.to_owned() };
        if let Some(execution) = self.executions.last_mut() {
            execution.news.push((self.run, news));
        }
    }

    /// An asker has been told something.
    pub(super) fn told(&mut self, asker: Asker, news: &AskerNews) -> Result<(), Failure> {
        let run = self.run;
        let fail = |promise, detail: &str| Err(Failure::new(promise, format!("asker {}: {news:?}: {detail}", asker.0)));
        let Some(waiting) = self.waiting.get_mut(&asker.0).filter(|waiting| waiting.run == run) else {
            return fail("only who waits is told", "nobody");
        };
        if waiting.is_done {
            return fail("an asker is told the end once", "again");
        }
        waiting.is_done = is_last(news);
        let sent = &self.sent[&waiting.tag];
        if sent.is_refused && matches!(news, AskerNews::Refused { code: Code::LIMIT, .. }) {
            return Ok(());
        }
        let is_turned_away = waiting.reply.is_none() && !self.books.is_granted(sent.port);
        if is_turned_away && matches!(news, AskerNews::Refused { code: Code::NOT_GRANTED, .. }) {
            self.coverage.hit("message on a revoked port");
            return Ok(());
        }
        if waiting.reply.is_some() {
            return match waiting.expected.pop_front() {
                Some(expected) if expected == *news => Ok(()),
                Some(expected) => fail("what leaves is what follows", &format!("instead of {expected:?}")),
                None => fail("durable before visible", "does not follow from the log"),
            };
        }
        let mut same_key = self.executions.iter().filter(|execution| !sent.key.is_empty() && execution.key == sent.key);
        let found = same_key.find_map(|execution| match news {
            AskerNews::Accepted if execution.reply == ReplyId::NONE => Some((execution.run, execution.run)),
            _ => execution
                .news
                .iter()
                .find(|(_, known)| known == news || recorded(known) == *news)
                .map(|(answered, _)| (execution.run, *answered)),
        });
        let Some((executed, answered)) = found else {
            return fail("durable before visible", "does not follow from the log");
        };
        self.coverage.hit_if(answered < run, "key repeated after a crash, answered");
        self.coverage.hit_if(executed < run && answered == run, "key repeated after a crash, pending");
        self.coverage.hit_if(executed == run, "key repeated before the answer");
        Ok(())
    }

    /// Nobody waits for something that is there.
    pub(super) fn all_told(&self) -> Result<(), Failure> {
        for asker in self.still_waiting() {
            let waiting = &self.waiting[&asker.0];
            let detail = || format!("asker {} of message {} of run {}", asker.0, waiting.tag, waiting.run);
            ensure(waiting.expected.is_empty(), "who waits is told", detail)?;
            let sent = &self.sent[&waiting.tag];
            let owed = match waiting.reply {
                Some(reply) => self.books.replies.contains_key(&reply),
                // A repeated key waits with the first; with the key forgotten, for whichever reply came with it.
                None => self.books.replies.values().any(|key| !key.is_empty() && *key == sent.key),
            };
            ensure(owed, "who waits is told", detail)?;
        }
        Ok(())
    }

    /// No answer is owed to somebody who has gone and cannot come back for it.
    pub(super) fn all_gone_told(&self) -> Result<(), Failure> {
        let waits = |reply: &ReplyId| {
            self.waiting
                .values()
                .any(|waiting| waiting.reply == Some(*reply) && waiting.run == self.run && !waiting.gone)
        };
        let mut unkeyed = self.books.replies.iter().filter(|(_, key)| key.is_empty());
        let forgotten = unkeyed.find(|(reply, _)| !waits(reply));
        ensure(forgotten.is_none(), "a machine is told of askers that have gone", || format!("{forgotten:?}"))
    }
}
