//! Which ask an answer is for.

use std::collections::{HashMap, VecDeque};

use persist::planted::{Bug, is_planted};
use seed::{PortId, RequestId};

use crate::ledger::Release;

/// One ask of this run. Request numbers are the machine's and used again; an answer on its way belongs to the ask that the port saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AskId(u64);

/// Which ask each request number stands for.
#[derive(Default)]
pub(super) struct Asks {
    next: u64,
    /// For the machine, as of the last step.
    pub(super) open: HashMap<RequestId, (AskId, PortId)>,
    /// For the port, as of what was released.
    released: HashMap<RequestId, AskId>,
    /// Between the two, in order.
    unreleased: VecDeque<AskId>,
}

impl Asks {
    pub(super) fn ask(&mut self, request: RequestId, port: PortId) {
        self.next += 1;
        self.open.insert(request, (AskId(self.next), port));
        self.unreleased.push_back(AskId(self.next));
    }

    pub(super) fn close(&mut self, request: RequestId) {
        self.open.remove(&request);
    }

    pub(super) fn release(&mut self, release: &Release) {
        match release {
            Release::Ask { request, .. } => {
                if let Some(ask) = self.unreleased.pop_front() {
                    self.released.insert(*request, ask);
                }
            }
            Release::Cancel { request, .. } => drop(self.released.remove(request)),
            _ => {}
        }
    }

    /// Whom this very ask went to, if it is still open.
    pub(super) fn port(&self, request: RequestId, ask: AskId) -> Option<PortId> {
        self.open
            .get(&request)
            .filter(|(open, _)| *open == ask || is_planted(Bug::LateAnswerTaken))
            .map(|(_, port)| *port)
    }

    /// The ask that a port means.
    pub(super) fn meant(&mut self, request: RequestId, is_last: bool) -> Option<AskId> {
        if is_last { self.released.remove(&request) } else { self.released.get(&request).copied() }
    }
}
