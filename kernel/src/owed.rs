//! What the program has asked for and what it owes, as the program knows it.
//!
//! The host is ahead of the program: an answer may have come, or an asker gone, that the program has not been told of yet. So what
//! it does is judged by what it could know, and what has become pointless is left out of the output.

use seed::message::{Code, Output};
use seed::{ReplyId, RequestId};

use crate::numbers::Numbers;
use crate::pace;

/// Requests and replies.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// Those open, and whether the host has settled them.
    requests: Numbers,
    /// Those owed, and whether the asker has gone.
    replies: Numbers,
}

/// What undoes a change.
enum Undo {
    Request(RequestId, Option<bool>),
    Reply(ReplyId, Option<bool>),
}

impl Owed {
    /// Of a machine that was another program before: what that one had asked for and owed is open still, whatever it is.
    pub(crate) fn inherited() -> Self {
        Self { requests: Numbers::inherited(), replies: Numbers::inherited() }
    }

    /// A message has come that wants an answer, which is not the program's to give.
    pub(crate) fn not_owed(&mut self, reply: ReplyId) {
        self.replies.see(reply.0);
        self.replies.keep(true);
    }

    /// A message has come that wants an answer.
    pub(crate) fn owe(&mut self, reply: ReplyId) {
        if reply != ReplyId::NONE {
            self.replies.insert(reply.0, false);
            self.replies.keep(true);
        }
    }

    /// The last answer has come, or none will. False if the program has cancelled the request.
    pub(crate) fn settle(&mut self, request: RequestId) -> bool {
        let is_open = self.requests.get(request.0).is_some();
        if is_open {
            self.reopen(request);
        }
        is_open
    }

    /// Whether the program waits for it.
    pub(crate) fn waits(&self, request: RequestId) -> bool {
        self.requests.get(request.0).is_some()
    }

    /// The program is told that a request is over.
    pub(crate) fn close(&mut self, request: RequestId) {
        self.requests.remove(request.0);
        self.requests.keep(true);
    }

    /// Whether the host has settled it, or does not know it.
    pub(crate) fn is_settled(&self, request: RequestId) -> bool {
        self.requests.get(request.0).unwrap_or(true)
    }

    /// The program is to be told that a request is over, which the host knows already.
    pub(crate) fn reopen(&mut self, request: RequestId) {
        self.requests.insert(request.0, true);
        self.requests.keep(true);
    }

    /// The asker has gone. Whether anything was owed.
    pub(crate) fn gone(&mut self, reply: ReplyId) -> bool {
        let is_owed = self.replies.get(reply.0).is_some();
        if is_owed {
            self.replies.insert(reply.0, true);
            self.replies.keep(true);
        }
        is_owed
    }

    /// The program has been told that the asker has gone.
    pub(crate) fn forget(&mut self, reply: ReplyId) {
        self.replies.remove(reply.0);
        self.replies.keep(true);
    }

    /// Something is refused in the program's stead, if it is owed and somebody is there.
    pub(crate) fn refuse(&mut self, reply: ReplyId, code: Code, text: String) -> Option<Output> {
        // Its going is told to the program, which must not find it unknown.
        let is_gone = self.replies.get(reply.0)?;
        if !is_gone {
            self.forget(reply);
        }
        (!is_gone).then_some(Output::Refuse { reply, code, text })
    }

    /// Takes in what the program wants to do: either all of it or, with the reason, nothing.
    pub(crate) fn carry_out(&mut self, wanted: Vec<Output>) -> Result<Vec<Output>, String> {
        let mut undo = Vec::new();
        let mut done = Vec::with_capacity(wanted.len());
        let mut failed = None;
        for output in wanted {
            match self.one(&output, &mut undo) {
                Ok(true) => done.push(output),
                Ok(false) => {}
                Err(why) => {
                    failed = Some(why);
                    break;
                }
            }
        }
        if failed.is_some() {
            for undo in undo.into_iter().rev() {
                match undo {
                    Undo::Request(request, before) => self.requests.put_back(request.0, before),
                    Undo::Reply(reply, before) => self.replies.put_back(reply.0, before),
                }
            }
        }
        self.requests.keep(failed.is_none());
        self.replies.keep(failed.is_none());
        failed.map_or(Ok(done), Err)
    }

    /// Whether it is for the host.
    fn one(&mut self, output: &Output, undo: &mut Vec<Undo>) -> Result<bool, String> {
        match output {
            Output::Ask { request, .. } if *request != RequestId::NONE => {
                if self.requests.is_known(request.0) {
                    return Err(format!("it asks under the number {request}, which is that of an open request"));
                }
                if self.requests.len() >= pace::REQUESTS_MAX {
                    return Err(format!("it has {} requests open, which is as many as it may", self.requests.len()));
                }
                undo.push(Undo::Request(*request, self.requests.insert(request.0, false)));
                Ok(true)
            }
            Output::Cancel { request } => match self.requests.get(request.0) {
                None => Err(format!("it cancels the request {request}, which is not open")),
                Some(settled) => {
                    undo.push(Undo::Request(*request, self.requests.remove(request.0)));
                    Ok(!settled)
                }
            },
            Output::Answer { reply, .. } | Output::Refuse { reply, .. } => match self.replies.get(reply.0) {
                None => Err(format!("it answers the reply {reply}, which is not owed")),
                Some(gone) => {
                    if !gone && !matches!(output, Output::Answer { more: true, .. }) {
                        undo.push(Undo::Reply(*reply, self.replies.remove(reply.0)));
                    }
                    Ok(!gone)
                }
            },
            _ => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use seed::PortId;

    use super::*;

    fn ask(request: u64) -> Output {
        Output::Ask { request: RequestId(request), port: PortId(2), payload: Vec::new() }
    }

    fn answer(reply: u64) -> Output {
        Output::Answer { reply: ReplyId(reply), more: false, payload: Vec::new() }
    }

    #[test]
    fn all_of_it_or_nothing() {
        let mut owed = Owed::default();
        owed.owe(ReplyId(1));
        assert!(owed.carry_out(vec![ask(1), answer(1), answer(1)]).is_err());
        // Nothing of that has happened.
        assert_eq!(owed.carry_out(vec![ask(1), answer(1)]).unwrap().len(), 2);
        assert!(owed.carry_out(vec![answer(1)]).is_err());
        assert!(owed.carry_out(vec![ask(1)]).is_err());
        let cancel = Output::Cancel { request: RequestId(1) };
        assert_eq!(owed.carry_out(vec![cancel.clone(), ask(1)]).unwrap().len(), 2);
        assert!(owed.carry_out(vec![cancel.clone(), cancel]).is_err());
        assert!(owed.waits(RequestId(1)));
    }

    #[test]
    fn what_is_pointless_is_left_out() {
        let mut owed = Owed::default();
        owed.owe(ReplyId(1));
        assert!(owed.gone(ReplyId(1)));
        assert!(!owed.gone(ReplyId(2)));
        assert_eq!(owed.carry_out(vec![answer(1)]).unwrap(), []);
        assert_eq!(owed.refuse(ReplyId(1), Code(64), String::new()), None);
        owed.forget(ReplyId(1));
        assert!(owed.carry_out(vec![answer(1)]).is_err());

        owed.carry_out(vec![ask(5)]).unwrap();
        assert!(owed.settle(RequestId(5)));
        // The host has forgotten it.
        assert_eq!(owed.carry_out(vec![Output::Cancel { request: RequestId(5) }]).unwrap(), []);
        assert!(!owed.waits(RequestId(5)) && !owed.settle(RequestId(5)));
    }
}
