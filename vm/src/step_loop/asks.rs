//! Which ask an answer is for.

use std::collections::HashMap;

use persist::planted::{Bug, is_planted};
use seed::{PortId, RequestId};

/// A request, as the port has it that is asked. Its number is the machine's and may be used again; no two tickets of a run are equal, so that an answer on
/// its way is for the ask that the port saw, or for none. Not part of the machine: in another run of the host it has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    number: RequestId,
    ask: u64,
}

impl Ticket {
    /// The machine's number for the request.
    #[must_use]
    pub fn number(self) -> RequestId {
        self.number
    }
}

/// Which ask each request number stands for, as of the last step.
#[derive(Default)]
pub(super) struct Asks {
    asked: u64,
    open: HashMap<RequestId, (Ticket, PortId)>,
}

impl Asks {
    pub(super) fn ask(&mut self, number: RequestId, port: PortId) -> Ticket {
        self.asked += 1;
        let ticket = Ticket { number, ask: self.asked };
        self.open.insert(number, (ticket, port));
        ticket
    }

    /// The ask that is open under a number.
    pub(super) fn ticket(&self, number: RequestId) -> Option<Ticket> {
        self.open.get(&number).map(|(ticket, _)| *ticket)
    }

    /// The ask that is open no longer.
    pub(super) fn close(&mut self, number: RequestId) -> Option<Ticket> {
        self.open.remove(&number).map(|(ticket, _)| ticket)
    }

    /// Whom this very ask went to, if it is still open.
    pub(super) fn port(&self, ticket: Ticket) -> Option<PortId> {
        self.open
            .get(&ticket.number)
            .filter(|(open, _)| *open == ticket || is_planted(Bug::LateAnswerTaken))
            .map(|(_, port)| *port)
    }
}
