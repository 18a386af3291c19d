//! Ports: the host-side endpoints that answer a machine's requests and deliver its effects.
//!
//! A port is called by the step loop's driver and must not block. It reports through a [`Line`] whenever it likes, from any thread. What
//! it is told is durable already; what it tells takes effect once it is logged. After a restart a port is told of every open request
//! again, with `resumed` set, and of every effect whose delivery was not logged.
//!
//! A request is known to its port by a [`Ticket`]. What a port says of one that is no longer open goes nowhere, however late, also where the machine has
//! asked something else under the same number.

use std::sync::Arc;

use seed::message::Code;
use seed::{CallId, EffectId};

use crate::step_loop::Room;
pub use crate::step_loop::Ticket;

/// One port of the host, for one machine.
pub trait Port: Send {
    /// An ask. To be answered or broken once, unless it is cancelled first.
    fn ask(&mut self, request: Ticket, payload: Vec<u8>, resumed: bool);

    /// An ask under a number that no other has in the machine's life: of ports whose asks are calls ([`seed::image::Grant::numbers_calls`]).
    fn call(&mut self, _call: CallId, request: Ticket, payload: Vec<u8>, resumed: bool) {
        self.ask(request, payload, resumed);
    }

    /// An ask without an answer. Its delivery is to be reported.
    fn effect(&mut self, effect: EffectId, payload: Vec<u8>);

    /// The machine no longer wants an answer. One that is under way is dropped by the step loop.
    fn cancel(&mut self, request: Ticket);

    /// The machine is about to give its folder back, and another process may run it next: what the port writes by itself must be over when this returns,
    /// and no more may begin.
    fn halt(&mut self) {}

    /// The machine has stopped: nothing more is asked, and nothing that comes is heard. What it has let out may still be on its way, for which a port
    /// may wait here, but not for long.
    fn close(&mut self) {}
}

/// What a port reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// An answer or a part of one.
    Answer {
        /// To which request.
        request: Ticket,
        /// Whether further parts follow.
        more: bool,
        /// What.
        payload: Vec<u8>,
        /// What it takes of its port's room until it is run.
        room: Room,
    },
    /// No answer, or no further part, will come.
    Broken {
        /// Which request.
        request: Ticket,
        /// Why.
        code: Code,
        /// Why, in words.
        text: String,
    },
    /// An effect has been delivered.
    Delivered(EffectId),
}

/// The line from a port to the step loop.
#[derive(Clone)]
pub struct Line(Arc<dyn Fn(News) + Send + Sync>);

impl Line {
    /// A line that ends in `take`.
    pub fn new(take: impl Fn(News) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Answers a request for good.
    pub fn answer(&self, request: Ticket, payload: Vec<u8>) {
        self.answer_from(request, payload, Room::default());
    }

    /// Answers a request for good, with something that takes room until it is run.
    pub fn answer_from(&self, request: Ticket, payload: Vec<u8>, room: Room) {
        (self.0)(News::Answer { request, more: false, payload, room });
    }

    /// A part of an answer; others follow. `room` is dropped when it is run, which is when the next one may be sent.
    pub fn part(&self, request: Ticket, payload: Vec<u8>, room: Room) {
        (self.0)(News::Answer { request, more: true, payload, room });
    }

    /// Breaks a request.
    pub fn broken(&self, request: Ticket, code: Code, text: impl Into<String>) {
        (self.0)(News::Broken { request, code, text: text.into() });
    }

    /// Reports an effect as delivered.
    pub fn delivered(&self, effect: EffectId) {
        (self.0)(News::Delivered(effect));
    }
}
