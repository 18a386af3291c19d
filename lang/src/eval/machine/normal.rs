//! Normalising: a walk over a value that has evaluated whatever in it is not.
//!
//! On the stack: the value, pairs of an object and how many of its parts are done, how many pairs, and what says that it is this.
//! An object all of whose parts are normal is marked as such and never walked over again; one that is met within itself is a value
//! without end.

use super::{Machine, State, Stop};
use crate::eval::Crash;
use crate::eval::machine::frames::Frame;
use crate::eval::word::{BUSY, NORMAL, ZERO, at, imm, is_imm, is_lazy, len};

/// How many parts count as one step.
const PARTS_PER_STEP: usize = 8;

impl Machine {
    /// Has `value`, once it is evaluated, normalised before it is given to whatever waits for it.
    pub(super) fn push_normal(&mut self) {
        let fp = self.fp;
        self.stack[fp] = ZERO;
        self.stack[fp + 1] = imm(0);
        self.stack[fp + 2] = Frame::NORMAL;
        self.fp = fp + 3;
    }

    /// Goes on with the walk below `fp`. When it has just begun, `value` is where.
    pub(super) fn normalise(&mut self) -> Result<(), Stop> {
        let end = self.fp;
        let pairs = (self.stack[end - 2] >> 1) as usize;
        let start = end - 3 - pairs * 2;
        self.water = self.water.min(start);
        if pairs == 0 && self.stack[start] == ZERO {
            let value = self.value;
            if is_imm(value) || self.heap.head(value) & NORMAL != 0 {
                self.fp = start;
                self.state = State::Return;
                return Ok(());
            }
            self.stack[start] = value;
            self.walk_into(start + 1, value);
            return self.walk(start, start + 3);
        }
        self.walk(start, end - 2)
    }

    fn walk_into(&mut self, to: usize, value: u64) {
        self.heap.mem[at(value)] |= BUSY;
        self.stack[to] = value;
        self.stack[to + 1] = imm(0);
    }

    /// Walks on: pairs are from after `start` up to `top`.
    fn walk(&mut self, start: usize, mut top: usize) -> Result<(), Stop> {
        let mut parts = 0;
        while top > start + 1 {
            let object = self.stack[top - 2];
            let index = at(object);
            let mut next = (self.stack[top - 1] >> 1) as usize;
            let count = len(self.heap.mem[index]);
            let mut deeper = None;
            while next < count {
                parts += 1;
                let part = self.heap.resolve(self.heap.mem[index + 1 + next]);
                if !is_imm(part) {
                    if is_lazy(part) {
                        self.stack[top - 1] = imm(next as u64);
                        self.rest(start, top);
                        self.charge((parts / PARTS_PER_STEP) as u64);
                        self.ensure(self.fp + 8)?;
                        self.value = part;
                        self.state = State::Eval;
                        return Ok(());
                    }
                    let head = self.heap.head(part);
                    if head & NORMAL == 0 {
                        if head & BUSY != 0 {
                            self.rest(start, top);
                            return Err(Crash::CONTAINS_ITSELF.into());
                        }
                        deeper = Some(part);
                        break;
                    }
                }
                next += 1;
            }
            self.stack[top - 1] = imm(next as u64);
            match deeper {
                Some(part) => {
                    self.rest(start, top);
                    // Only here is there anything to persist in between.
                    self.steps -= i64::from(parts >= PARTS_PER_STEP);
                    parts %= PARTS_PER_STEP;
                    if self.steps <= 0 {
                        return Err(Stop::Steps);
                    }
                    self.ensure(top + 8)?;
                    self.walk_into(top, part);
                    top += 2;
                }
                None => {
                    self.heap.become_normal(object);
                    top -= 2;
                }
            }
        }
        let value = self.stack[start];
        self.charge((parts / PARTS_PER_STEP) as u64);
        self.fp = start;
        self.value = value;
        self.state = State::Return;
        Ok(())
    }

    /// Leaves the walk as it is, to be gone on with.
    fn rest(&mut self, start: usize, top: usize) {
        self.stack[top] = imm(((top - start - 1) / 2) as u64);
        self.stack[top + 1] = Frame::NORMAL;
        self.fp = top + 2;
        self.state = State::Normal;
    }
}
