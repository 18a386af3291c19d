//! A machine: a heap, a stack, and what is being done.
//!
//! Invariant: the state between two calls is in these fields and nowhere else.

mod apply;
mod frames;
mod interpret;
mod jet;
mod normal;
mod pause;

use std::collections::BTreeMap;

use super::compile;
use super::heap::Heap;
use super::word::{Kind, ZERO, at, extra, is_lazy};
use super::{Crash, CrashValue, Crashed, Depth, JetTable, Limit, Limits, Progress, ReadError};
use crate::hash::{PinHash, TooLarge};
use crate::nat::Nat;
use crate::value::Value;
use frames::Frame;

/// How deep what a crash says is looked into.
const CRASH_DEPTH: usize = 12;

/// A value that a machine keeps for its caller, until it is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root(pub(super) usize);

/// What a machine has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Steps since the machine was made.
    pub steps: u64,
    /// Words of old objects, dead ones among them.
    pub heap_words: usize,
    /// Words of old objects that were alive when all were last looked at.
    pub alive_words: usize,
    /// The most words of stack.
    pub stack_words: usize,
    /// Minor collections, and whole cycles.
    pub collections: (u64, u64),
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// Run instructions from here.
    Code(usize),
    /// Evaluate `value` in the frame at `fp`, which is empty.
    Eval,
    /// Give `value`, which is evaluated, to whatever waits below `fp`.
    Return,
    /// Apply what is at `fp` to so many arguments after it.
    Apply(usize),
    /// Go on with the normalising below `fp`.
    Normal,
    /// Go on with the jet below `fp`.
    Jet,
}

/// Why running stops before its end.
enum Stop {
    Steps,
    Crash(Crash),
    Limit(Limit),
}

impl From<Crash> for Stop {
    fn from(crash: Crash) -> Self {
        Self::Crash(crash)
    }
}

impl From<Limit> for Stop {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}

/// An evaluator at work.
pub struct Machine {
    pub(super) heap: Heap,
    stack: Vec<u64>,
    /// Below here no word refers to the nursery.
    water: usize,
    fp: usize,
    value: u64,
    state: State,
    /// Steps left of this call, and done in earlier ones.
    steps: i64,
    done: u64,
    jets: JetTable,
    pub(super) limits: Limits,
    pub(super) roots: Vec<u64>,
    free_roots: Vec<usize>,
    shown: Vec<Root>,
    /// Pinned laws that were taken in, by their hashes.
    pub(super) known: BTreeMap<PinHash, Root>,
}

impl Machine {
    /// A machine with nothing in it.
    pub fn new(limits: Limits, jets: JetTable) -> Result<Self, Limit> {
        let heap = Heap::new(limits.heap_words, limits.nursery_words, limits.stress)?;
        let mut stack: Vec<u64> = Vec::new();
        stack.try_reserve_exact(limits.stack_words + frames::MARGIN).map_err(|_| Limit::Host)?;
        stack.resize(frames::MARGIN, ZERO);
        stack[0] = Frame::STOP;
        Ok(Self {
            heap,
            stack,
            water: 1,
            fp: 1,
            value: ZERO,
            state: State::Idle,
            steps: 0,
            done: 0,
            jets,
            limits,
            roots: Vec::new(),
            free_roots: Vec::new(),
            shown: Vec::new(),
            known: BTreeMap::new(),
        })
    }

    /// The jets, to bind more of them. Pins that are there already stay as they are.
    pub fn jets_mut(&mut self) -> &mut JetTable {
        self.forget_pins();
        &mut self.jets
    }

    /// Takes a value in.
    pub fn load(&mut self, value: &Value) -> Root {
        let word = self.load_word(value);
        self.hold(word)
    }

    /// Gives a value out. It must be normal: what was evaluated to [`Depth::Normal`] or loaded is.
    pub fn read(&self, root: Root) -> Result<Value, ReadError> {
        self.read_word(self.roots[root.0])
    }

    /// Gives a value out if it has no more than so many parts.
    pub fn read_within(&self, root: Root, parts_max: usize) -> Result<Value, ReadError> {
        self.read_up_to(self.roots[root.0], parts_max)
    }

    /// Something to be evaluated: a function applied to arguments.
    pub fn apply(&mut self, function: Root, args: &[Root]) -> Root {
        let words: Vec<u64> = std::iter::once(&function).chain(args).map(|root| self.roots[root.0]).collect();
        let index = self.heap.make(super::word::header(Kind::APTHUNK, 0, words.len()), &words);
        self.hold(super::word::lazy(index))
    }

    /// Lets go of a value.
    pub fn release(&mut self, root: Root) {
        self.roots[root.0] = ZERO;
        self.free_roots.push(root.0);
    }

    /// The same value, to be released by itself.
    pub fn share(&mut self, root: Root) -> Root {
        self.hold(self.roots[root.0])
    }

    pub(super) fn hold(&mut self, word: u64) -> Root {
        match self.free_roots.pop() {
            Some(index) => {
                self.roots[index] = word;
                Root(index)
            }
            None => {
                self.roots.push(word);
                Root(self.roots.len() - 1)
            }
        }
    }

    /// Begins to evaluate. What was under way is paused, and given back.
    pub fn start(&mut self, root: Root, depth: Depth) -> Option<Root> {
        let paused = self.pause();
        self.value = self.roots[root.0];
        if depth == Depth::Normal {
            self.push_normal();
        }
        self.state = State::Eval;
        paused
    }

    /// Whether something is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.state != State::Idle
    }

    /// Goes on for so many steps: laws entered, and jets.
    pub fn run(&mut self, steps: u64) -> Progress {
        let given = i64::try_from(steps).unwrap_or(i64::MAX);
        self.steps = given;
        let end = self.go();
        // A jet may have cost more than was left.
        self.done += given.wrapping_sub(self.steps).cast_unsigned();
        match end {
            Ok(()) => {
                let value = self.value;
                self.reset();
                Progress::Done(self.hold(value))
            }
            Err(Stop::Steps) => Progress::OutOfSteps,
            Err(Stop::Crash(crash)) => {
                let trace = self.unwind(crash);
                Progress::Crashed(Box::new(Crashed { crash: self.describe(crash), trace }))
            }
            Err(Stop::Limit(limit)) => {
                let root = self.pause().expect("it was under way");
                Progress::Stopped(limit, root)
            }
        }
    }

    fn go(&mut self) -> Result<(), Stop> {
        loop {
            match self.state {
                State::Code(pc) => self.interpret(pc)?,
                State::Eval => self.eval()?,
                State::Return => {
                    if self.give()? {
                        return Ok(());
                    }
                }
                State::Apply(count) => self.apply_frame(count)?,
                State::Normal => self.normalise()?,
                State::Jet => self.jet()?,
                State::Idle => return Ok(()),
            }
        }
    }

    fn reset(&mut self) {
        self.state = State::Idle;
        self.fp = 1;
        self.water = 1;
        self.value = ZERO;
    }

    /// Values shown by the running program since the last call, in order.
    pub fn shown(&mut self) -> Vec<Root> {
        std::mem::take(&mut self.shown)
    }

    #[cfg(test)]
    pub(super) fn stack(&self) -> &[u64] {
        &self.stack
    }

    /// What has been used.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            steps: self.done,
            heap_words: self.heap.old_words(),
            alive_words: self.heap.alive_words(),
            stack_words: self.stack.len(),
            collections: (self.heap.minors, self.heap.cycles),
        }
    }

    /// Collects the nursery; all of the heap, if asked. Between calls only.
    pub fn collect(&mut self, whole: bool) {
        let fp = self.fp;
        self.collect_at(fp, 0, None, whole);
    }

    fn describe(&mut self, crash: Crash) -> CrashValue {
        match crash {
            Crash::NEEDS_ITSELF => CrashValue::NeedsItself,
            Crash::CONTAINS_ITSELF => CrashValue::ContainsItself,
            Crash::NUMBER => CrashValue::NumberTooLarge,
            Crash::HASH => CrashValue::HashTooLarge,
            Crash { opcode, argument } => {
                let opcode = match self.read_word(opcode) {
                    Ok(Value::Nat(opcode)) => opcode,
                    _ => Nat::ZERO,
                };
                match self.sample_word(argument, CRASH_DEPTH) {
                    Ok(argument) => CrashValue::Operation(opcode, argument),
                    // It was evaluated to be the argument of a crash.
                    Err(_) => CrashValue::Operation(opcode, Value::bar("… what is not evaluated".as_bytes())),
                }
            }
        }
    }

    /// Begins to evaluate `value` in the empty frame at `fp`.
    fn eval(&mut self) -> Result<(), Stop> {
        let value = self.heap.resolve(self.value);
        self.value = value;
        if !is_lazy(value) {
            self.state = State::Return;
            return Ok(());
        }
        let thunk = at(value);
        let head = self.heap.mem[thunk];
        match super::word::kind(head) {
            Kind::THUNK => {
                let count = super::word::len(head) - 1;
                self.ensure(self.fp + count + 3)?;
                let pc = self.heap.entry(thunk);
                self.push_update(value);
                let fp = self.fp;
                self.stack[fp..=fp + count].copy_from_slice(&self.heap.mem[thunk + 1..=thunk + 1 + count]);
                self.heap.enter(thunk);
                self.state = State::Code(pc);
            }
            Kind::APTHUNK => {
                let count = super::word::len(head);
                self.ensure(self.fp + count + 3)?;
                self.push_update(value);
                let fp = self.fp;
                self.stack[fp..fp + count].copy_from_slice(&self.heap.mem[thunk + 1..=thunk + count]);
                self.heap.enter(thunk);
                self.state = State::Apply(count - 1);
            }
            Kind::HOLE => return Err(Crash::NEEDS_ITSELF.into()),
            Kind::CRASH => {
                return Err(Crash { opcode: self.heap.mem[thunk + 1], argument: self.heap.mem[thunk + 2] }.into());
            }
            Kind::PAUSED => {
                let words = super::word::len(head) - 1;
                self.ensure(self.fp + words + 3)?;
                self.push_update(value);
                let fp = self.fp;
                self.stack[fp..fp + words].copy_from_slice(&self.heap.mem[thunk + 2..=thunk + 1 + words]);
                self.value = self.heap.mem[thunk + 1];
                self.fp = fp + words;
                self.heap.enter(thunk);
            }
            other => unreachable!("nothing to evaluate: {other}"),
        }
        Ok(())
    }

    /// Gives `value` to what waits for it. Returns whether that is the caller.
    fn give(&mut self) -> Result<bool, Stop> {
        let word = self.stack[self.fp - 1];
        match Frame::of(word) {
            Frame::Stop => return Ok(true),
            Frame::Code { pc, size } => {
                let fp = self.fp - size;
                let first = self.heap.mem[pc];
                // Before the value is given, so that all stays as it is if there is no room.
                if !self.heap.has_room(super::code::b(first)) {
                    self.make_room(self.fp, 0, None)?;
                }
                self.water = self.water.min(fp);
                self.fp = fp;
                self.stack[fp + super::code::a(first)] = self.value;
                self.state = State::Code(pc + super::code::POINT);
            }
            Frame::Update => {
                let thunk = self.stack[self.fp - 2];
                self.heap.update(at(thunk), self.value);
                self.fp -= 2;
            }
            Frame::Apply(count) => {
                self.fp -= count + 2;
                self.water = self.water.min(self.fp);
                self.stack[self.fp] = self.value;
                self.state = State::Apply(count);
            }
            Frame::Normal => self.state = State::Normal,
            Frame::Jet { .. } => {
                self.jet_given();
                self.state = State::Jet;
            }
        }
        Ok(false)
    }

    /// When there is no room in the nursery: collects, or does a slice of what is to be done in old space, if it is only time for that. What is in use is said as
    /// for [`Self::collect_at`].
    #[cold]
    fn make_room(&mut self, fp: usize, words: usize, dead: Option<u64>) -> Result<(), Stop> {
        if !self.heap.slice_alone() {
            self.collect_at(fp, words, dead, false);
        } else if self.is_checked() {
            self.forget_unused(fp, words, dead);
            self.check(fp + words);
        }
        if self.heap.is_over() {
            self.collect_at(self.fp, self.frame_words(), None, true);
            // Nearly all of it in use would mean to collect again at once, and again.
            if !self.heap.could_hold(self.limits.heap_words / 16) {
                return Err(Limit::Heap.into());
            }
        }
        Ok(())
    }

    /// Numbers are made between the places where what is dead can be collected. So many of them are too much at once.
    fn within(&self) -> Result<(), Stop> {
        if self.heap.is_far_over() { Err(Limit::Heap.into()) } else { Ok(()) }
    }

    /// How many words of the frame at `fp` are in use, in the state there is.
    fn frame_words(&self) -> usize {
        match self.state {
            State::Code(pc) => super::code::c(self.heap.mem[pc]) + 1,
            State::Apply(count) => count + 1,
            _ => 0,
        }
    }

    /// Compiles a law if it was not. Returns where its code starts.
    fn entry(&mut self, law: u64) -> Result<usize, Limit> {
        let entry = self.heap.field(law, 4);
        if entry != ZERO { Ok((entry >> 1) as usize) } else { compile::compile(&mut self.heap, &self.jets, law) }
    }

    /// The jet of a pin, by number; none is zero.
    #[inline]
    fn jet_of(&self, pin: u64) -> usize {
        (self.heap.field(pin, 2) >> 1) as usize
    }

    /// The jet of a pin with a hash.
    pub(super) fn jet_number(&self, hash: &crate::PinHash, pin: u64) -> Option<usize> {
        let number = self.jets.number(hash)?;
        (self.jets.jet(number).needs.len() == extra(self.heap.head(pin))).then_some(number)
    }

    /// Makes a pin known for the jet it has.
    pub(super) fn attach_jet(&mut self, pin: u64) -> Result<(), TooLarge> {
        let content = self.heap.field(pin, 0);
        if self.heap.kind_of(content) == Some(Kind::LAW) {
            let (name, arity) = (self.heap.limbs(self.heap.field(content, 0)), extra(self.heap.head(content)));
            let bytes: Vec<u8> = name.iter().flat_map(|limb| limb.to_le_bytes()).collect();
            if self.jets.may_be(&Nat::from_bytes_le(&bytes), arity) {
                let hash = self.heap.pin_hash(pin)?;
                if let Some(number) = self.jets.number(&hash) {
                    self.heap.mem[at(pin) + 3] = super::word::imm(number as u64);
                }
            }
        }
        Ok(())
    }
}
