//! Jets: functions of the base library that are done by the machine.
//!
//! A jet stands in for a pinned law with a certain hash, and gives what that law would. It says how far each argument has to be
//! evaluated, which is no further than the law does, and in which order, which is the law's: whether a program crashes or never
//! ends must not depend on it. And it may decline, whereupon the law itself is run. Which hash is whose is told by whoever loads
//! the library: [`JetTable::bind`]. A pin whose law has no jet's name is not hashed for this.
//!
//! Invariant: a jet evaluates nothing, and calls nothing: it has arguments evaluated before, or gives back something to evaluate.

mod bytes;
mod control;
mod hashes;
mod numbers;
mod rows;
mod sets;
mod tabs;

use std::collections::HashMap;

use super::Crash;
use super::heap::Heap;
use super::word::{ONE, ZERO};
use crate::PinHash;
use crate::nat::Nat;

/// How far an argument is evaluated before. First all heads, in order, then the rest, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Need {
    Nothing,
    /// To weak head normal form.
    Head,
    /// So, if another argument (which it says) is a number other than zero.
    Unless0(usize),
    /// So, if another argument is a row that is not empty.
    IfRow(usize),
    /// To weak head normal form, and if it is a row, its elements, too.
    Elements,
    /// To normal form.
    Deep,
}

/// Which instructions do it where it is called with just its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Inline {
    No,
    Op(u8),
    /// One whose second argument is evaluated first.
    Back(u8),
    /// One that needs an argument only if another one, which it says, is not zero.
    Guard(u8, usize),
    If,
    Ifz,
    And,
    Or,
    Seq,
    Switch,
    /// The primitive operation 2.
    Case,
    Idx,
    Get,
}

impl Inline {
    pub(super) fn branches(self) -> bool {
        matches!(self, Self::If | Self::Ifz | Self::And | Self::Or | Self::Switch | Self::Case)
    }

    /// The instruction, if it is one.
    pub(super) fn op(self) -> Option<u8> {
        match self {
            Self::Op(op) | Self::Back(op) | Self::Guard(op, _) => Some(op),
            _ => None,
        }
    }
}

/// What comes of a jet.
pub(super) enum Outcome {
    /// An evaluated value, and how many steps it counts for beyond one.
    Value(u64, u64),
    /// Something to evaluate in its stead.
    Eval(u64),
    /// Something to show, and something to evaluate.
    Show(u64, u64),
    /// Not for these arguments: the law is to be run.
    Decline,
    /// There have to be so many words to be had first.
    Room(usize),
    Crash(Crash),
}

pub(super) struct Jet {
    pub(super) name: &'static str,
    pub(super) needs: &'static [Need],
    pub(super) inline: Inline,
    /// Whether heads are evaluated from the last argument to the first.
    pub(super) backwards: bool,
    pub(super) run: fn(&mut Heap, &[u64]) -> Outcome,
}

impl Jet {
    const fn new(name: &'static str, needs: &'static [Need], run: fn(&mut Heap, &[u64]) -> Outcome) -> Self {
        Self { name, needs, inline: Inline::No, backwards: false, run }
    }

    const fn inline(self, inline: Inline) -> Self {
        Self { inline, ..self }
    }

    const fn backwards(self) -> Self {
        Self { backwards: true, ..self }
    }
}

/// Which jet stands in for which hash.
#[derive(Clone)]
pub struct JetTable {
    jets: Vec<&'static Jet>,
    by_name: HashMap<&'static str, usize>,
    /// Names as laws have them.
    names: HashMap<Nat, usize>,
    by_hash: HashMap<PinHash, usize>,
}

impl Default for JetTable {
    /// All jets, and no hashes.
    fn default() -> Self {
        let groups = [control::JETS, numbers::JETS, rows::JETS, bytes::JETS, sets::JETS, tabs::JETS, hashes::JETS];
        let jets: Vec<&'static Jet> = groups.into_iter().flatten().collect();
        let by_name = jets.iter().enumerate().map(|(index, jet)| (jet.name, index)).collect();
        let names = jets.iter().enumerate().map(|(index, jet)| (Nat::symbol(jet.name), index)).collect();
        Self { jets, by_name, names, by_hash: HashMap::new() }
    }
}

impl JetTable {
    /// The names of all jets, and how many arguments each takes.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, usize)> + '_ {
        self.jets.iter().map(|jet| (jet.name, jet.needs.len()))
    }

    /// Says which pin a jet stands in for. Returns whether there is such a jet.
    pub fn bind(&mut self, name: &str, hash: PinHash) -> bool {
        let Some(index) = self.by_name.get(name) else { return false };
        self.by_hash.insert(hash, *index);
        true
    }

    /// A jet, by its number, from 1.
    pub(super) fn jet(&self, number: usize) -> &'static Jet {
        self.jets[number - 1]
    }

    /// Whether a law of this name may have a jet.
    pub(super) fn may_be(&self, name: &Nat, arity: usize) -> bool {
        !self.by_hash.is_empty() && self.names.get(name).is_some_and(|index| self.jets[*index].needs.len() == arity)
    }

    /// The number of the jet for a hash.
    pub(super) fn number(&self, hash: &PinHash) -> Option<usize> {
        self.by_hash.get(hash).map(|index| index + 1)
    }
}

/// A value that is there at no cost.
fn value(value: u64) -> Outcome {
    Outcome::Value(value, 0)
}

/// Yes or no, as a number.
fn truth(yes: bool) -> u64 {
    if yes { ONE } else { ZERO }
}

/// Whether a value counts as yes.
pub(super) fn is_true(heap: &Heap, value: u64) -> bool {
    value != ZERO && heap.is_nat(value)
}
