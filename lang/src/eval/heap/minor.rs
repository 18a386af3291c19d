//! The minor collection: what is alive in the nursery moves to old space, all of it.
//!
//! The caller says what is alive: [`Heap::keep`] for each word that may refer to the nursery, then [`Heap::finish`].

use super::Heap;
use crate::eval::word::{Kind, at, header, is_imm, is_lazy, kind, lazy, len, object};

/// Objects promoted and not yet looked at.
pub(in crate::eval) struct Minor {
    todo: Vec<usize>,
}

impl Heap {
    /// Begins one.
    pub(in crate::eval) fn minor(&mut self) -> Minor {
        self.minors += 1;
        let mut minor = Minor { todo: Vec::new() };
        for index in std::mem::take(&mut self.remembered) {
            self.look_at(&mut minor, index as usize);
        }
        minor
    }

    /// What a word is afterwards. What it refers to moves, if it has not.
    #[inline]
    pub(in crate::eval) fn keep(&mut self, minor: &mut Minor, mut value: u64) -> u64 {
        loop {
            if is_imm(value) {
                return value;
            }
            let index = at(value);
            if self.is_old(index) && !is_lazy(value) {
                return value;
            }
            let head = self.mem[index];
            let kind = kind(head);
            if kind == Kind::IND {
                value = self.mem[index + 1];
                continue;
            }
            if self.is_old(index) {
                return value;
            }
            let refer = if is_lazy(value) { lazy } else { object };
            if kind == Kind::MOVED {
                return refer((head >> 8) as usize);
            }
            // Of something that is being evaluated, only a place for its value is left.
            let words = if kind == Kind::HOLE { 2 } else { len(head) + 1 };
            let new = self.place(words);
            if words < 16 {
                for offset in 0..words {
                    self.mem[new + offset] = self.mem[index + offset];
                }
            } else {
                self.mem.copy_within(index..index + words, new);
            }
            if kind == Kind::HOLE {
                self.mem[new] = header(Kind::HOLE, 0, 1);
            }
            self.mem[index] = Kind::MOVED as u64 | (new as u64) << 8;
            minor.todo.push(new);
            return refer(new);
        }
    }

    fn look_at(&mut self, minor: &mut Minor, index: usize) {
        for part in self.values(index) {
            let value = self.mem[part];
            if !is_imm(value) {
                let kept = self.keep(minor, value);
                // What is old is written only when it must be.
                if kept != value {
                    self.mem[part] = kept;
                }
            }
        }
    }

    /// Moves what the promoted objects refer to.
    pub(in crate::eval) fn drain(&mut self, minor: &mut Minor) {
        while let Some(index) = minor.todo.pop() {
            self.look_at(minor, index);
        }
    }

    /// Ends it: the nursery is empty, and old space is due its share of attention.
    pub(in crate::eval) fn finish(&mut self, mut minor: Minor, nursery: usize, roots: &[&[u64]], whole: bool) {
        self.drain(&mut minor);
        self.reopen(nursery);
        if whole {
            self.slice_waits = false;
            self.whole_cycle(roots);
            return;
        }
        // Much was made outside of the nursery, and that never was half full.
        if std::mem::take(&mut self.slice_waits) {
            self.slice();
        }
        self.account(roots);
        if self.has_slices() {
            self.put_off_slice();
        }
    }
}
