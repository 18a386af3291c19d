//! What is to leave a machine, as the log says: without tickets, which are the host's.

use seed::{CallId, EffectId, PortId, RequestId};
use vm::step_loop::{Outgoing, ToPort};

/// Something that leaves.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    Effect { effect: EffectId, port: PortId, payload: Vec<u8> },
    Ask { request: RequestId, port: PortId, payload: Vec<u8>, call: Option<CallId>, resumed: bool },
    Cancel { request: RequestId, port: PortId },
    Other(Outgoing),
}

impl Leaving {
    pub(super) fn of(outgoing: Outgoing) -> Self {
        match outgoing {
            Outgoing::Port(port, ToPort::Effect { effect, payload }) => Self::Effect { effect, port, payload },
            Outgoing::Port(port, ToPort::Ask { request, payload, call, resumed }) => {
                Self::Ask { request: request.number(), port, payload, call, resumed }
            }
            Outgoing::Port(port, ToPort::Cancel { request }) => Self::Cancel { request: request.number(), port },
            other => Self::Other(other),
        }
    }
}
