//! The evaluator: lazy, call by need, with a heap and a stack of its own. One for all homes: on a host, and within a machine.
//!
//! ```text
//!   Value ──load──► heap ──start──► run(steps) ⟲ ──► Done │ OutOfSteps │ Crashed │ Stopped
//!                    ▲                 │
//!                    │                 └─ half done: all of it is in the machine's memory, and pause makes a value of it
//!                    └──read── Value
//! ```
//!
//! * `word`, `heap`: values are words; objects live in one space, young ones at its start. Collected in slices.
//! * `object`, `tree`, `number`, `order`, `hash`: the forms that values have there, indistinguishable from outside.
//! * `code`, `compile`: laws as instructions.
//! * `machine`: the stack, running, applying, normalising; crashes and pauses.
//! * `jets`: what is done by the machine in place of a law. `transfer`: values in and out; `look`: values looked at where they are.
//! * `task`: what one of several does on a machine.
//!
//! Invariant: nothing recurses on the depth of a value or a computation. What is under way is on the stack, which has a limit.
//! Invariant: between two calls of [`Machine::run`] all there is of a computation is in the machine's own vectors.
//! Invariant: a limit, a crash or a pause leaves every value as it was, or further evaluated, or known to crash.

#![allow(
    clippy::cast_possible_truncation,
    reason = "indexes of words are below 2^34 in a heap that fits in memory, and within a word by construction"
)]

mod code;
mod compile;
mod hash;
mod heap;
mod jets;
mod look;
mod machine;
mod number;
mod object;
mod order;
#[cfg(test)]
mod pages;
mod sample;
mod task;
mod transfer;
mod tree;
mod word;

use thiserror::Error;

use crate::nat::Nat;
use crate::value::Value;

pub use jets::JetTable;
pub use machine::{Machine, Root, Usage};
pub use task::Task;
pub use transfer::ReadError;

/// How far something is to be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Until it is known what it is: to weak head normal form.
    Head,
    /// Until nothing in it is left to evaluate.
    Normal,
}

/// What a machine may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Words of old objects. What is dead and has not been found counts.
    pub heap_words: usize,
    /// Words of the stack: a call takes some ten.
    pub stack_words: usize,
    /// Words of the nursery.
    pub nursery_words: usize,
    /// Collect whenever that is possible. For tests.
    pub stress: bool,
}

impl Default for Limits {
    /// A gibibyte of objects, half of one of stack, a nursery of 256 KiB.
    fn default() -> Self {
        Self { heap_words: 128 << 20, stack_words: 64 << 20, nursery_words: 32 << 10, stress: false }
    }
}

/// What came of running for a while.
#[derive(Debug)]
pub enum Progress {
    /// It is done: this is the value.
    Done(Root),
    /// The steps are used up; it can go on.
    OutOfSteps,
    /// It crashed.
    Crashed(Box<Crashed>),
    /// It needs more than it may use. It was paused: with more, it could go on from there.
    Stopped(Limit, Root),
}

/// A crash, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crashed {
    /// What happened.
    pub crash: CrashValue,
    /// Names of the laws that were being run, the innermost first, as many as are kept.
    pub trace: Vec<Nat>,
}

/// What a crash says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrashValue {
    /// A number that is no operation was applied to this.
    Operation(Nat, Value),
    /// A value needs itself before it can be.
    NeedsItself,
    /// A value contains itself, and all of it was asked for.
    ContainsItself,
    /// A number would be too large, or take too long to compute.
    NumberTooLarge,
    /// What is to be pinned is too large, written out, to be hashed.
    HashTooLarge,
}

/// A crash as it is held in a heap: an opcode that no crash has stands for those that are not by opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Crash {
    opcode: u64,
    argument: u64,
}

impl Crash {
    const NEEDS_ITSELF: Self = Self::of(1);
    const CONTAINS_ITSELF: Self = Self::of(2);
    const NUMBER: Self = Self::of(3);
    const HASH: Self = Self::of(4);

    const fn of(opcode: u64) -> Self {
        Self { opcode: word::imm(opcode), argument: word::ZERO }
    }
}

/// What there was not enough of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Limit {
    /// Memory for values.
    #[error("the values take more memory than they may: evaluate less at once, or allow more")]
    Heap,
    /// Depth.
    #[error("the evaluation is deeper than it may be: make it less deep, or allow more")]
    Stack,
    /// A law that cannot be compiled.
    #[error("a law is too large to be compiled: make it of smaller ones")]
    Law,
    /// The host.
    #[error("the host has not the memory that a machine of this size may come to need: allow less")]
    Host,
}
