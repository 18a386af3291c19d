//! What enters a machine: whether an input in the log is one that had a reason to be there.

use seed::message::{Code, Input};
use seed::{ReplyId, RequestId};

use super::Checker;
use crate::sim::ports::nonce;
use crate::sim::{Failure, ensure};

impl Checker {
    /// An input was logged, as a step or an abort.
    pub(super) fn enter(&mut self, encoding: &[u8], key: &[u8]) -> Result<Input, Failure> {
        let input =
            Input::decode(encoding).map_err(|error| Failure::new("inputs are well-formed", error.to_string()))?;
        match &input {
            Input::Boot { .. } => {
                let again = std::mem::replace(&mut self.is_booted, true);
                ensure(!again && self.executed.is_empty(), "a machine is booted once", String::new)?;
            }
            Input::Message { port, reply, payload, .. } => {
                ensure(self.books.is_granted(*port), "nothing comes in but from granted ports", || port.to_string())?;
                self.message(*reply, payload, key)?;
            }
            Input::Answer { request, payload, .. } => self.answer(*request, payload)?,
            Input::Broken { request, code, text } => self.broken(*request, *code, text)?,
            Input::Again { .. } => ensure(self.books.again, "a machine is called again when it wants", String::new)?,
            Input::Gone { reply } => self.gone(*reply)?,
            Input::Grants { grants } => self.hear_of_grants(grants)?,
            Input::Query { .. } => {
                return Err(Failure::new("only what entered is logged", format!("{input:?}")));
            }
        }
        Ok(input)
    }

    fn message(&mut self, reply: ReplyId, payload: &[u8], key: &[u8]) -> Result<(), Failure> {
        let tag = nonce(payload);
        let sent = self
            .sent
            .get(&tag)
            .ok_or_else(|| Failure::new("only what was sent is logged", format!("message {tag}")))?;
        ensure(sent.key == key, "a key is logged with its message", || format!("message {tag}"))?;
        let wanted = if sent.asker.is_some() { self.books.next_reply } else { ReplyId::NONE };
        ensure(reply == wanted, "replies are numbered without gaps", || format!("message {tag} has reply {reply}"))?;
        ensure(!self.executed.contains_key(&tag), "a message is logged once", || format!("message {tag}"))?;
        if !key.is_empty() {
            let known = self.books.outcomes.contains_key(key);
            ensure(!known, "a key is executed once in its window", || format!("message {tag}, key {key:?}"))?;
            let again = self.executions.iter().any(|execution| execution.key == key);
            self.coverage.hit_if(again, "key repeated after it was forgotten");
        }
        let sent = sent.clone();
        self.execute(tag, reply, &sent);
        Ok(())
    }

    fn answer(&mut self, request: RequestId, payload: &[u8]) -> Result<(), Failure> {
        const PROMISE: &str = "a request is settled once, by who was asked";
        let asked = self.books.requests.get(&request).filter(|asked| asked.broken.is_none());
        let asked = asked.ok_or_else(|| Failure::new(PROMISE, format!("request {request} is not open")))?;
        let (ask, here) = (nonce(&asked.payload), nonce(payload));
        ensure(ask == here, PROMISE, || format!("request {request} is ask {ask} and gets the answer to {here}"))?;
        let (run, part) = (payload[8], payload[9]);
        let follows = match self.progress.get(&ask) {
            Some((last_run, last)) if *last_run == run => part == last + 1,
            Some((last_run, _)) => *last_run < run && part == 0,
            None => part == 0,
        };
        ensure(follows, "parts come in order", || {
            format!("ask {ask}: part {part} of run {run} after {:?}", self.progress.get(&ask))
        })?;
        self.coverage.hit_if(part > 0, "several parts of an answer");
        self.progress.insert(ask, (run, part));
        Ok(())
    }

    fn broken(&mut self, request: RequestId, code: Code, text: &str) -> Result<(), Failure> {
        const PROMISE: &str = "a request is broken once, for a reason";
        let asked = self.books.requests.get(&request);
        let asked = asked.ok_or_else(|| Failure::new(PROMISE, format!("request {request} is not open")))?;
        let ask = nonce(&asked.payload);
        let holds = match &asked.broken {
            Some(broken) => *broken == (code, text.to_owned()),
            None if code == Code::LIMIT => self.oversize_answers.contains(&ask),
            None => code == Code::FAILED && text.starts_with(&format!("{ask:016x}")),
        };
        self.coverage.hit_if(code == Code::NOT_GRANTED, "request not granted");
        self.coverage.hit_if(code == Code::FAILED, "request broken by its port");
        self.coverage.hit_if(code == Code::LIMIT, "oversize answer");
        ensure(holds, PROMISE, || format!("request {request}, ask {ask}: {code:?} {text} against {:?}", asked.broken))
    }

    fn gone(&mut self, reply: ReplyId) -> Result<(), Failure> {
        const PROMISE: &str = "only askers that have gone are told of";
        let key = self
            .books
            .replies
            .get(&reply)
            .ok_or_else(|| Failure::new(PROMISE, format!("reply {reply} is not owed")))?;
        ensure(key.is_empty(), PROMISE, || format!("reply {reply} has a key"))?;
        let stays = self
            .waiting
            .values()
            .any(|waiting| waiting.reply == Some(reply) && !waiting.gone && waiting.run == self.run);
        ensure(!stays, PROMISE, || format!("the asker of reply {reply} waits"))
    }

    /// A port answers with more than the machine takes in.
    pub fn oversize_answer(&mut self, payload: &[u8]) {
        self.oversize_answers.insert(nonce(payload));
    }
}
