//! What was acknowledged, and when by the record of the disk: what must be there after a power cut, and what cannot be.

use std::ops::Range;

/// Who sends messages to the machine. Each numbers its own.
pub(super) const WRITERS: [&str; 2] = ["anne", "bob"];

/// Something that a machine was asked for and has acknowledged, by position of the record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// A cut up to here has nothing of it.
    pub begun: usize,
    /// A cut from here on has it.
    pub acknowledged: usize,
}

impl Span {
    /// Something that has only been asked for.
    pub(super) fn begun(position: usize) -> Self {
        Self { begun: position, acknowledged: usize::MAX }
    }
}

/// How many messages of each writer a machine has: at least, and at most.
pub(super) type Counts = [(usize, usize); WRITERS.len()];

/// A machine on the disk.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// Its folder.
    pub made: Span,
    /// What it had from the beginning.
    pub had: Counts,
    /// The messages sent since, by writer, in order.
    pub sent: [Vec<Span>; WRITERS.len()],
}

impl Machine {
    fn at(&self, cut: usize) -> ExpectedMachine {
        let counts = std::array::from_fn(|writer| {
            let (least, most) = self.had[writer];
            let count = |is: fn(&Span, usize) -> bool| self.sent[writer].iter().filter(|span| is(span, cut)).count();
            let acknowledged = count(|span, cut| span.acknowledged <= cut);
            (least + acknowledged, most + count(|span, cut| span.begun < cut))
        });
        ExpectedMachine { must_be: self.made.acknowledged <= cut, counts }
    }
}

/// Everything that was acknowledged while a record was made.
#[derive(Debug, Clone)]
pub(super) struct Acknowledged {
    /// The machine.
    pub machine: Machine,
    /// Its copy.
    pub copy: Option<Machine>,
}

impl Acknowledged {
    /// The parts of the record in which a machine is made.
    pub(super) fn makings(&self) -> Vec<Range<usize>> {
        let machines = [Some(&self.machine), self.copy.as_ref()];
        machines.into_iter().flatten().map(|machine| machine.made.begun..machine.made.acknowledged).collect()
    }

    /// What must be found after a cut at this position.
    pub(super) fn at(&self, cut: usize) -> Expected {
        Expected { machine: self.machine.at(cut), copy: self.copy.as_ref().map(|copy| copy.at(cut)) }
    }
}

/// What must be found on a disk.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    /// Of the machine.
    pub machine: ExpectedMachine,
    /// Of its copy.
    pub copy: Option<ExpectedMachine>,
}

/// What must be found of a machine.
#[derive(Debug, Clone)]
pub(super) struct ExpectedMachine {
    /// Whether it must be there; if not, it is there whole or not at all.
    pub must_be: bool,
    /// The messages that it must have and may have.
    pub counts: Counts,
}
