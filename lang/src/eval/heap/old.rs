//! Old space: blocks of one page, each with objects one after another and holes between them, and runs of blocks for larger ones.
//!
//! Invariant: a block that has objects can be walked from its first word, header by header, unless it is the open one.
//! Invariant: while marking, only holes of the open block and blocks that were free are filled, and what is put there is marked.

use super::{Heap, Limit};
use crate::eval::word::{Kind, header, kind, len};

/// Words of a block.
pub(in crate::eval) const BLOCK: usize = 512;
/// Objects of more words than this have blocks of their own.
pub(in crate::eval) const LARGE: usize = 256;
/// Words of marks a block has.
pub(super) const MARKS: usize = BLOCK / 64;
/// A block with fewer marked words than this is worth filling up.
const SPARSE: u16 = (BLOCK * 3 / 4) as u16;
/// The least hole that is used.
const HOLE: usize = 4;
/// How many blocks the heap grows by.
const GROWTH: usize = 16;
/// Blocks that are looked at for dead ones in one go: what is known of them is in some fifteen pages.
const RELEASE: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Small,
    /// The first block of a large object, and the number of blocks.
    Large(u32),
    Rest,
}

/// What is known of each block, beside the blocks.
pub(super) struct Blocks {
    pub(super) first: usize,
    pub(super) state: Vec<State>,
    /// In which cycle its marks were made, how many words are marked, and the marks, a bit a word.
    pub(super) cycle: Vec<u32>,
    pub(super) live: Vec<u16>,
    pub(super) marks: Vec<u64>,
    /// In which cycle it was last swept or opened.
    pub(super) swept: Vec<u32>,
    /// Some that are free, and some that no longer are.
    free: Vec<u32>,
    /// How many are not.
    pub(super) taken: usize,
    /// Where to look for one to sweep, for dead ones to give back, and for room for a large object.
    pub(super) cursor: usize,
    release_cursor: usize,
    large_cursor: usize,
    /// The open hole, and those that come after it in the same block, the last one first.
    hole: (usize, usize),
    holes: Vec<(usize, usize)>,
}

impl Blocks {
    /// Of none so far, with room for so many: what grows by being copied writes all of it anew.
    pub(super) fn new(first: usize, most: usize) -> Result<Self, Limit> {
        Ok(Self {
            first,
            state: room(most)?,
            cycle: room(most)?,
            live: room(most)?,
            marks: room(most.saturating_mul(MARKS))?,
            swept: room(most)?,
            free: room(most)?,
            taken: 0,
            cursor: usize::MAX,
            release_cursor: usize::MAX,
            large_cursor: 0,
            hole: (0, 0),
            holes: Vec::new(),
        })
    }

    pub(super) fn of(&self, index: usize) -> usize {
        (index - self.first) / BLOCK
    }

    pub(super) fn start(&self, block: usize) -> usize {
        self.first + block * BLOCK
    }

    pub(super) fn release(&mut self, block: usize) {
        self.state[block] = State::Free;
        self.taken -= 1;
        self.free.push(block as u32);
    }

    fn take(&mut self, block: usize, state: State, cycle: u32) {
        self.state[block] = state;
        self.swept[block] = cycle;
        self.taken += 1;
    }
}

fn room<T>(count: usize) -> Result<Vec<T>, Limit> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).map_err(|_| Limit::Host)?;
    Ok(list)
}

impl Heap {
    /// Room for an old object of so many words, its header included.
    #[inline]
    pub(super) fn place(&mut self, words: usize) -> usize {
        self.marking.owed += words;
        let index = if words > LARGE {
            self.place_large(words)
        } else {
            loop {
                let (from, to) = self.blocks.hole;
                if from + words <= to {
                    self.blocks.hole.0 = from + words;
                    break from;
                }
                self.next_hole();
            }
        };
        if self.marking.on {
            self.mark_new(index, words);
        }
        index
    }

    /// Makes what is left of the open hole something that can be walked over.
    pub(super) fn close_hole(&mut self) {
        let (from, to) = std::mem::take(&mut self.blocks.hole);
        if from < to {
            self.mem[from] = header(Kind::FREE, 0, to - from - 1);
        }
    }

    fn next_hole(&mut self) {
        self.close_hole();
        if let Some(hole) = self.blocks.holes.pop() {
            self.blocks.hole = hole;
            return;
        }
        while !self.marking.on && self.blocks.cursor < self.blocks.state.len() {
            let block = self.blocks.cursor;
            self.blocks.cursor += 1;
            let due = self.blocks.state[block] == State::Small && self.blocks.swept[block] != self.marking.cycle;
            if due && self.blocks.live[block] <= SPARSE {
                self.sweep(block);
                if let Some(hole) = self.blocks.holes.pop() {
                    self.blocks.hole = hole;
                    return;
                }
            }
        }
        let block = self.free_block();
        self.blocks.take(block, State::Small, self.marking.cycle);
        let start = self.blocks.start(block);
        self.blocks.hole = (start, start + BLOCK);
    }

    fn free_block(&mut self) -> usize {
        loop {
            if let Some(block) = self.blocks.free.pop() {
                // A large object may have taken it since.
                if self.blocks.state[block as usize] == State::Free {
                    return block as usize;
                }
            } else {
                self.grow(GROWTH);
            }
        }
    }

    fn grow(&mut self, count: usize) {
        let old = self.blocks.state.len();
        let new = old + count;
        self.mem.resize(self.blocks.start(new), 0);
        self.blocks.state.resize(new, State::Free);
        self.blocks.cycle.resize(new, 0);
        self.blocks.live.resize(new, 0);
        self.blocks.swept.resize(new, 0);
        self.blocks.marks.resize(new * MARKS, 0);
        // The first one is taken first.
        self.blocks.free.extend((old..new).rev().map(|block| block as u32));
    }

    /// Blocks in a row that are free: the next ones from where some were last found, else the first ones, else new ones.
    fn place_large(&mut self, words: usize) -> usize {
        let count = words.div_ceil(BLOCK);
        let total = self.blocks.state.len();
        let found = if self.blocks.taken + count <= total {
            let from = self.blocks.large_cursor.min(total);
            self.free_run(from, total, count).or_else(|| self.free_run(0, total.min(from + count), count))
        } else {
            None
        };
        let block = found.unwrap_or_else(|| {
            let tail = self.blocks.state.iter().rev().take_while(|state| **state == State::Free).count().min(count);
            self.grow((count - tail).max(GROWTH));
            total - tail
        });
        self.blocks.large_cursor = block + count;
        self.blocks.take(block, State::Large(count as u32), self.marking.cycle);
        for rest in block + 1..block + count {
            self.blocks.take(rest, State::Rest, self.marking.cycle);
        }
        self.blocks.start(block)
    }

    fn free_run(&self, from: usize, to: usize, count: usize) -> Option<usize> {
        let mut run = 0;
        for block in from..to {
            run = if self.blocks.state[block] == State::Free { run + 1 } else { 0 };
            if run == count {
                return Some(block + 1 - count);
            }
        }
        None
    }

    /// Finds a block's holes: words that belong to no marked object.
    fn sweep(&mut self, block: usize) {
        self.blocks.swept[block] = self.marking.cycle;
        let start = self.blocks.start(block);
        let mut from = start;
        let mut index = start;
        let mut found = Vec::new();
        while index < start + BLOCK {
            let words = len(self.mem[index]) + 1;
            if self.is_marked(index) {
                if index - from >= HOLE {
                    found.push((from, index));
                } else if from < index {
                    self.mem[from] = header(Kind::FREE, 0, index - from - 1);
                }
                from = index + words;
            }
            index += words;
        }
        debug_assert_eq!(index, start + BLOCK, "a block that cannot be walked: {}", kind(self.mem[start]));
        if start + BLOCK > from {
            found.push((from, start + BLOCK));
        }
        // Until they are filled, each is one free object.
        for (from, to) in &found {
            self.mem[*from] = header(Kind::FREE, 0, to - from - 1);
        }
        found.reverse();
        self.blocks.holes = found;
    }

    /// After marking: starts to sweep and to give back from the first block.
    pub(super) fn look_for_dead(&mut self) {
        // The open block may turn out to be free.
        self.close_hole();
        self.blocks.holes.clear();
        self.blocks.cursor = 0;
        self.blocks.release_cursor = 0;
    }

    /// Whether blocks that nothing is alive in may still be there to be given back. Sweeping may come to them first: then they are used.
    pub(super) fn is_releasing(&self) -> bool {
        self.blocks.release_cursor < self.blocks.state.len()
    }

    /// Gives back blocks that nothing is alive in, of the next few thousand.
    pub(super) fn release_some(&mut self) {
        let cycle = self.marking.cycle;
        let from = self.blocks.release_cursor;
        let to = self.blocks.state.len().min(from + RELEASE);
        for block in from..to {
            if self.blocks.cycle[block] != cycle {
                self.blocks.live[block] = 0;
            }
            if self.blocks.live[block] > 0 || self.blocks.swept[block] == cycle {
                continue;
            }
            match self.blocks.state[block] {
                State::Small => self.blocks.release(block),
                State::Large(count) => (block..block + count as usize).for_each(|block| self.blocks.release(block)),
                State::Free | State::Rest => {}
            }
        }
        self.blocks.release_cursor = to;
    }

    /// Gives back all of them.
    pub(super) fn release_all(&mut self) {
        while self.is_releasing() {
            self.release_some();
        }
    }
}
