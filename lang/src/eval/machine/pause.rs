//! Ending what is under way: for good, by a crash, or to go on with it later.
//!
//! What is being evaluated while the stack is given up must not look as if it were for ever. After a crash it crashes again. When
//! it is paused, each piece of the stack between two things that wait for their value is kept in the heap as what the upper one of
//! them is waiting for.

use super::{Machine, Root, State};
use crate::eval::Crash;
use crate::eval::code::{Op, op};
use crate::eval::machine::frames::Frame;
use crate::eval::word::{BUSY, Kind, ZERO, at, header, is_imm, lazy};
use crate::nat::Nat;

/// How many names a trace has.
const TRACE_MAX: usize = 32;

impl Machine {
    /// Gives up the stack: what was being evaluated has crashed. Returns the names of the laws that were being run.
    pub(super) fn unwind(&mut self, crash: Crash) -> Vec<Nat> {
        let index = self.heap.make(header(Kind::CRASH, 0, 2), &[crash.opcode, crash.argument]);
        let crashed = lazy(index);
        let mut trace = Vec::new();
        if matches!(self.state, State::Code(_) | State::Apply(_)) {
            self.trace_one(self.stack[self.fp], &mut trace);
        }
        let mut end = self.fp;
        while end > 1 {
            let start = end - self.size_of(end);
            match Frame::of(self.stack[end - 1]) {
                Frame::Update => self.heap.update(at(self.stack[start]), crashed),
                Frame::Normal => self.forget_walk(start, end),
                Frame::Code { .. } | Frame::Jet { .. } => self.trace_one(self.stack[start], &mut trace),
                Frame::Stop | Frame::Apply(_) => {}
            }
            end = start;
        }
        self.reset();
        trace
    }

    fn trace_one(&mut self, function: u64, trace: &mut Vec<Nat>) {
        if trace.len() >= TRACE_MAX || is_imm(function) {
            return;
        }
        let mut function = function;
        while self.heap.kind_of(function) == Some(Kind::PIN) {
            function = self.heap.field(function, 0);
        }
        if matches!(self.heap.kind_of(function), Some(Kind::LAW | Kind::CODE)) {
            let limbs = self.heap.limbs(self.heap.field(function, 0));
            let bytes: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
            trace.push(Nat::from_bytes_le(&bytes));
        }
    }

    fn forget_walk(&mut self, start: usize, end: usize) {
        for at_pair in (start + 1..end - 2).step_by(2) {
            let object = self.stack[at_pair];
            self.heap.mem[at(object)] &= !BUSY;
        }
    }

    /// Makes a value of what is under way: evaluating that goes on with it. Nothing is under way then.
    pub fn pause(&mut self) -> Option<Root> {
        let (mut value, mut end) = match self.state {
            State::Idle => return None,
            State::Eval | State::Return => (self.value, self.fp),
            State::Normal => (ZERO, self.fp),
            State::Jet => {
                // It begins again, with the arguments that it has.
                let start = self.fp - self.size_of(self.fp);
                let frame = self.stack[start..self.fp - 1].to_vec();
                (lazy(self.heap.make(header(Kind::APTHUNK, 0, frame.len()), &frame)), start)
            }
            State::Code(pc) if op(self.heap.mem[pc]) == Op::PIECE => {
                let frame = self.stack[self.fp..self.fp + self.frame_words()].to_vec();
                let head = header(Kind::THUNK, pc - at(frame[0]), frame.len());
                (lazy(self.heap.make(head, &frame)), self.fp)
            }
            State::Code(_) | State::Apply(_) => {
                let words = self.frame_words();
                let frame = self.stack[self.fp..self.fp + words].to_vec();
                (lazy(self.heap.make(header(Kind::APTHUNK, 0, words), &frame)), self.fp)
            }
        };
        self.forget_dead(1, end);
        loop {
            let mut start = end;
            while !matches!(Frame::of(self.stack[start - 1]), Frame::Stop | Frame::Update) {
                let from = start - self.size_of(start);
                if Frame::of(self.stack[start - 1]) == Frame::Normal {
                    self.forget_walk(from, start);
                }
                start = from;
            }
            if start < end {
                let words = end - start;
                let index = self.heap.alloc(header(Kind::PAUSED, 0, words + 1));
                self.heap.mem[index + 1] = value;
                self.heap.mem[index + 2..index + 2 + words].copy_from_slice(&self.stack[start..end]);
                value = lazy(index);
            }
            if Frame::of(self.stack[start - 1]) == Frame::Stop {
                break;
            }
            let thunk = self.stack[start - 2];
            self.heap.update(at(thunk), value);
            value = thunk;
            end = start - 2;
        }
        let root = self.hold(value);
        self.reset();
        Some(root)
    }
}
