//! What the program has asked for and what it owes, as the program knows it.
//!
//! The host is ahead of the program: an answer may have come, or an asker gone, that the program has not been told of yet. So what
//! it does is judged by what it could know, and what has become pointless is left out of the output.

use std::collections::BTreeMap;

use seed::message::{Code, Output};
use seed::{ReplyId, RequestId};

use crate::pace;

/// Requests and replies.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// Whether the host has settled it.
    requests: BTreeMap<RequestId, bool>,
    /// Whether the asker has gone.
    replies: BTreeMap<ReplyId, bool>,
}

/// What undoes a change.
enum Undo {
    Request(RequestId, Option<bool>),
    Reply(ReplyId, Option<bool>),
}

impl Owed {
    /// A message has come that wants an answer.
    pub(crate) fn owe(&mut self, reply: ReplyId) {
        if reply != ReplyId::NONE {
            self.replies.insert(reply, false);
        }
    }

    /// The last answer has come, or none will. False if the program has cancelled the request.
    pub(crate) fn settle(&mut self, request: RequestId) -> bool {
        self.requests.get_mut(&request).map(|settled| *settled = true).is_some()
    }

    /// Whether the program waits for it.
    pub(crate) fn waits(&self, request: RequestId) -> bool {
        self.requests.contains_key(&request)
    }

    /// The program is told that a request is over.
    pub(crate) fn close(&mut self, request: RequestId) {
        self.requests.remove(&request);
    }

    /// Whether the host has settled it, or does not know it.
    pub(crate) fn is_settled(&self, request: RequestId) -> bool {
        self.requests.get(&request).copied().unwrap_or(true)
    }

    /// The program is to be told that a request is over, which the host knows already.
    pub(crate) fn reopen(&mut self, request: RequestId) {
        self.requests.insert(request, true);
    }

    /// The asker has gone. Whether anything was owed.
    pub(crate) fn gone(&mut self, reply: ReplyId) -> bool {
        self.replies.get_mut(&reply).map(|gone| *gone = true).is_some()
    }

    /// The program has been told that the asker has gone.
    pub(crate) fn forget(&mut self, reply: ReplyId) {
        self.replies.remove(&reply);
    }

    /// Something is refused in the program's stead, if it is owed and somebody is there.
    pub(crate) fn refuse(&mut self, reply: ReplyId, code: Code, text: String) -> Option<Output> {
        match self.replies.remove(&reply)? {
            true => {
                // Its going is told to the program, which must not find it unknown.
                self.replies.insert(reply, true);
                None
            }
            false => Some(Output::Refuse { reply, code, text }),
        }
    }

    /// Takes in what the program wants to do: either all of it or, with the reason, nothing.
    pub(crate) fn carry_out(&mut self, wanted: Vec<Output>) -> Result<Vec<Output>, String> {
        let mut undo = Vec::new();
        let mut done = Vec::with_capacity(wanted.len());
        for output in wanted {
            match self.one(&output, &mut undo) {
                Ok(true) => done.push(output),
                Ok(false) => {}
                Err(why) => {
                    for undo in undo.into_iter().rev() {
                        match undo {
                            Undo::Request(request, before) => put_back(&mut self.requests, request, before),
                            Undo::Reply(reply, before) => put_back(&mut self.replies, reply, before),
                        }
                    }
                    return Err(why);
                }
            }
        }
        Ok(done)
    }

    /// Whether it is for the host.
    fn one(&mut self, output: &Output, undo: &mut Vec<Undo>) -> Result<bool, String> {
        match output {
            Output::Ask { request, .. } if *request != RequestId::NONE => {
                if self.requests.contains_key(request) {
                    return Err(format!("it asks under the number {request}, which is that of an open request"));
                }
                if self.requests.len() >= pace::REQUESTS_MAX {
                    return Err(format!("it has {} requests open, which is as many as it may", self.requests.len()));
                }
                undo.push(Undo::Request(*request, self.requests.insert(*request, false)));
                Ok(true)
            }
            Output::Cancel { request } => match self.requests.remove(request) {
                None => Err(format!("it cancels the request {request}, which is not open")),
                Some(settled) => {
                    undo.push(Undo::Request(*request, Some(settled)));
                    Ok(!settled)
                }
            },
            Output::Answer { reply, .. } | Output::Refuse { reply, .. } => match self.replies.get(reply).copied() {
                None => Err(format!("it answers the reply {reply}, which is not owed")),
                Some(gone) => {
                    if !gone && !matches!(output, Output::Answer { more: true, .. }) {
                        undo.push(Undo::Reply(*reply, self.replies.remove(reply)));
                    }
                    Ok(!gone)
                }
            },
            _ => Ok(true),
        }
    }
}

fn put_back<K: Ord>(map: &mut BTreeMap<K, bool>, key: K, before: Option<bool>) {
    match before {
        Some(before) => drop(map.insert(key, before)),
        None => drop(map.remove(&key)),
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
