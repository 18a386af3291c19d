//! The stack: frames of code, and between them what is to be done with a value.
//!
//! ```text
//!   … │ self, args, lets… │ CODE │ thunk │ UPDATE │ code, captured… │ CODE │ f, args… │ APPLY │ …
//!                          ^ the last word of a frame says what it waits for; fp is after it
//! ```
//!
//! Every word is a value: what is none, is a number to whoever looks. So the stack is looked at word by word, and a piece of it can
//! be kept in the heap ([`super::pause`]): frames are found by their sizes, not by where they are.

use super::{Machine, Stop};
use crate::eval::Limit;
use crate::eval::word::{ZERO, is_imm};

/// What waits for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// The caller of the machine.
    Stop,
    /// Code, at a point, in a frame that starts `size` words before.
    Code { pc: usize, size: usize },
    /// Something lazy, in the word before.
    Update,
    /// So many arguments in the words before; before these, a word to spare.
    Apply(usize),
    /// A walk over a value: see [`super::normal`].
    Normal,
    /// A jet, its function and arguments in the words before.
    Jet { jet: usize, count: usize, arg: usize, element: usize },
}

const STOP: u64 = 0;
const CODE: u64 = 1;
const UPDATE: u64 = 2;
const APPLY: u64 = 3;
const NORMAL: u64 = 4;
const JET: u64 = 5;

const PC_BITS: u32 = 34;
const PC_MAX: u64 = (1 << PC_BITS) - 1;

/// Words that are there beyond any frame, so that a few can be pushed unasked.
pub(super) const MARGIN: usize = 1 << 10;

impl Frame {
    pub(super) const STOP: u64 = STOP << 1 | 1;
    pub(super) const UPDATE: u64 = UPDATE << 1 | 1;
    pub(super) const NORMAL: u64 = NORMAL << 1 | 1;

    #[inline(always)]
    pub(super) const fn code(pc: usize, size: usize) -> u64 {
        1 | CODE << 1 | (pc as u64) << 4 | (size as u64) << (4 + PC_BITS)
    }

    pub(super) const fn apply(count: usize) -> u64 {
        1 | APPLY << 1 | (count as u64) << 4
    }

    pub(super) const fn jet(jet: usize, count: usize, arg: usize, element: usize) -> u64 {
        1 | JET << 1 | (jet as u64) << 4 | (count as u64) << 14 | (arg as u64) << 20 | (element as u64) << 26
    }

    #[inline(always)]
    pub(super) const fn is_code(word: u64) -> bool {
        word & 0xf == CODE << 1 | 1
    }

    #[inline(always)]
    pub(super) const fn code_pc(word: u64) -> usize {
        (word >> 4 & PC_MAX) as usize
    }

    #[inline(always)]
    pub(super) const fn code_size(word: u64) -> usize {
        (word >> (4 + PC_BITS)) as usize
    }

    pub(super) fn of(word: u64) -> Self {
        let data = word >> 4;
        match word >> 1 & 7 {
            CODE => Self::Code { pc: Self::code_pc(word), size: Self::code_size(word) },
            UPDATE => Self::Update,
            APPLY => Self::Apply(data as usize),
            NORMAL => Self::Normal,
            JET => Self::Jet {
                jet: (data & 0x3ff) as usize,
                count: (data >> 10 & 0x3f) as usize,
                arg: (data >> 16 & 0x3f) as usize,
                element: (data >> 22) as usize,
            },
            _ => Self::Stop,
        }
    }
}

impl Machine {
    /// Has the stack reach so far.
    #[inline(always)]
    pub(super) fn ensure(&mut self, to: usize) -> Result<(), Stop> {
        if to + MARGIN / 2 <= self.stack.len() { Ok(()) } else { self.deepen(to) }
    }

    #[cold]
    fn deepen(&mut self, to: usize) -> Result<(), Stop> {
        if to > self.limits.stack_words {
            return Err(Limit::Stack.into());
        }
        let len = (to + MARGIN).next_multiple_of(MARGIN).max(self.stack.len() + self.stack.len() / 8);
        self.stack.resize(len.min(self.limits.stack_words + MARGIN), ZERO);
        Ok(())
    }

    /// Notes that something lazy is to get the value. If something else is to get it already, that is made to refer to it.
    #[inline(always)]
    pub(super) fn push_update(&mut self, thunk: u64) {
        let fp = self.fp;
        if self.stack[fp - 1] == Frame::UPDATE {
            let waiting = self.stack[fp - 2];
            self.heap.update(crate::eval::word::at(waiting), thunk);
            self.stack[fp - 2] = thunk;
            self.water = self.water.min(fp - 2);
        } else {
            self.stack[fp] = thunk;
            self.stack[fp + 1] = Frame::UPDATE;
            self.fp = fp + 2;
        }
    }

    /// How many words a frame takes that ends before `end`.
    pub(super) fn size_of(&self, end: usize) -> usize {
        match Frame::of(self.stack[end - 1]) {
            Frame::Stop => 1,
            Frame::Code { size, .. } => size,
            Frame::Update => 2,
            Frame::Apply(count) | Frame::Jet { count, .. } => count + 2,
            Frame::Normal => (self.stack[end - 2] >> 1) as usize * 2 + 3,
        }
    }

    /// Forgets what frames between two places will not ask for again.
    pub(super) fn forget_dead(&mut self, from: usize, to: usize) {
        let mut end = to;
        while end > 1 {
            let start = end - self.size_of(end);
            let word = self.stack[end - 1];
            if start < from {
                return;
            }
            if Frame::is_code(word) {
                let dead = self.heap.mem[Frame::code_pc(word) + 1];
                self.forget(start, end - 1, dead);
            }
            end = start;
        }
    }

    /// Forgets the dead slots of a frame.
    pub(super) fn forget(&mut self, start: usize, end: usize, mut dead: u64) {
        let count = (end - start).min(64);
        if count < 64 {
            dead &= (1 << count) - 1;
        }
        while dead != 0 {
            self.stack[start + dead.trailing_zeros() as usize] = ZERO;
            dead &= dead - 1;
        }
    }

    /// Collects, with `words` words of the frame at `fp` in use, some of them dead.
    #[cold]
    pub(super) fn collect_at(&mut self, fp: usize, words: usize, dead: Option<u64>, whole: bool) {
        self.forget_unused(fp, words, dead);
        let top = fp + words;
        let mut minor = self.heap.minor();
        for index in self.water.min(top)..top {
            let value = self.stack[index];
            if !is_imm(value) {
                self.stack[index] = self.heap.keep(&mut minor, value);
            }
        }
        for index in 0..self.roots.len() {
            self.roots[index] = self.heap.keep(&mut minor, self.roots[index]);
        }
        self.value = self.heap.keep(&mut minor, self.value);
        let value = [self.value];
        self.heap.drain(&mut minor);
        let roots: [&[u64]; 3] = [&self.stack[..top], &self.roots, &value];
        self.heap.finish(minor, self.limits.nursery_words, &roots, whole);
        if self.is_checked() {
            self.check(top);
        }
        self.water = fp;
    }

    /// Forgets what the frame at `fp` and those below will not ask for again, down to where that has been done.
    pub(super) fn forget_unused(&mut self, fp: usize, words: usize, dead: Option<u64>) {
        if let Some(dead) = dead {
            self.forget(fp, fp + words, dead);
        }
        self.forget_dead(self.water, fp);
    }

    /// Whether the heap is checked whenever something in it was moved or given back: for tests.
    pub(super) fn is_checked(&self) -> bool {
        self.limits.stress && cfg!(debug_assertions)
    }

    /// Checks that all is there that is referred to, from so much of the stack, too.
    pub(super) fn check(&self, top: usize) {
        self.heap.check(&[&self.stack[..top], &self.roots, &[self.value]]);
    }
}
