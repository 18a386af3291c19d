//! Marking what is alive in old space, a slice at a time.
//!
//! What was reachable when a cycle began, when the nursery was empty, is marked in the end: whoever drops the last way to something
//! (something begins to be evaluated, and forgets what it captured) marks that first. What is new is marked when it is promoted.
//! So a cycle ends when there is nothing left to look at, and the stack is looked at once.

use super::Heap;
use super::old::{BLOCK, MARKS};
use super::todo::Todo;
use crate::eval::word::{at, is_imm, len};

/// How many values of an object are looked at in one go.
const CHUNK: usize = 512;
const CHUNK_SHIFT: u32 = 40;
/// Of an entry about an object that is not marked yet, as its marks are not at hand.
const UNMARKED: u64 = 1 << 63;
/// With so many entries left, objects are marked as they are found: each is in the list once, then.
const TODO_MOST: usize = 1 << 20;
/// A cycle begins when as many words were promoted as half of what was alive, but at least so many.
const CYCLE_LEAST: usize = 128 << 10;
/// Words to look at for each word promoted; at least, and at most, for each minor collection. What is more than that waits. The least is what may be
/// done in an event that has little to do: what is alive lies anywhere, and its marks are in hundreds of pages then.
const RATE: usize = 5;
const SLICE_LEAST: usize = 16 << 10;
const SLICE_MOST: usize = 256 << 10;
/// A slice ends when it has written to so many pages of marks; to twice as many if an eighth of what was alive is due, and at least so many words; not before
/// its words if twice that is: what dies while a cycle goes on is kept until the next one.
const SLICE_PAGES: usize = 32;
const BEHIND_LEAST: usize = 64 << 10;
/// Blocks whose marks are in one page.
const BLOCKS_PER_PAGE: usize = 512 / MARKS;

#[derive(Default)]
pub(super) struct Marking {
    pub(super) on: bool,
    pub(super) cycle: u32,
    /// Objects whose values are to be looked at, from which chunk on.
    todo: Todo,
    /// Pages of marks that were written to in this slice, a bit each, and how many they are.
    pages: Vec<u64>,
    page_count: usize,
    /// Words promoted since the last slice, and since the last cycle's end.
    pub(super) owed: usize,
    since: usize,
    /// Words that are due to be looked at.
    due: usize,
    /// How many words were found alive: in this cycle so far, in the last one.
    found: usize,
    alive: usize,
}

impl Heap {
    pub(super) fn is_marked(&self, index: usize) -> bool {
        let block = self.blocks.of(index);
        let bit = index - self.blocks.start(block);
        self.blocks.cycle[block] == self.marking.cycle
            && self.blocks.marks[block * MARKS + bit / 64] >> (bit % 64) & 1 == 1
    }

    /// Marks an object. Returns whether it was not.
    fn mark(&mut self, index: usize) -> bool {
        let block = self.blocks.of(index);
        let bit = index - self.blocks.start(block);
        if self.blocks.cycle[block] != self.marking.cycle {
            self.blocks.cycle[block] = self.marking.cycle;
            self.blocks.live[block] = 0;
            self.blocks.marks[block * MARKS..(block + 1) * MARKS].fill(0);
        }
        let word = &mut self.blocks.marks[block * MARKS + bit / 64];
        if *word >> (bit % 64) & 1 == 1 {
            return false;
        }
        *word |= 1 << (bit % 64);
        let page = block / BLOCKS_PER_PAGE;
        if self.marking.pages.len() <= page / 64 {
            self.marking.pages.resize(page / 64 + 1, 0);
        }
        let pages = &mut self.marking.pages[page / 64];
        self.marking.page_count += usize::from(*pages >> (page % 64) & 1 == 0);
        *pages |= 1 << (page % 64);
        true
    }

    fn count(&mut self, index: usize, words: usize) {
        let block = self.blocks.of(index);
        self.blocks.live[block] = (self.blocks.live[block] as usize + words.min(BLOCK)).min(BLOCK) as u16;
        self.marking.found += words;
    }

    pub(super) fn mark_new(&mut self, index: usize, words: usize) {
        if self.mark(index) {
            self.count(index, words);
        }
    }

    /// Marks what a value refers to, if that is old, and has it looked at.
    pub(super) fn shade(&mut self, value: u64) {
        if is_imm(value) {
            return;
        }
        let index = at(value);
        if !self.is_old(index) {
            return;
        }
        let block = self.blocks.of(index);
        if !self.marking.todo.is_here(block) && self.marking.todo.len() < TODO_MOST {
            if !self.is_marked(index) {
                self.marking.todo.push(block, index as u64 | UNMARKED);
            }
        } else if self.mark(index) {
            self.count(index, len(self.mem[index]) + 1);
            self.marking.todo.push(block, index as u64);
        }
    }

    /// Marks what an object refers to.
    #[cold]
    pub(super) fn shade_parts(&mut self, index: usize) {
        for part in self.values(index) {
            self.shade(self.mem[part]);
        }
    }

    /// Begins a cycle. The nursery is empty, and nothing is left to give back: what is known of blocks is of the last cycle.
    fn begin(&mut self, roots: &[&[u64]]) {
        self.marking.on = true;
        self.marking.cycle += 1;
        self.marking.found = 0;
        self.marking.due = 0;
        for root in roots.iter().copied().flatten() {
            self.shade(*root);
        }
    }

    /// Looks at so many words, or until so many pages of marks were written to, and ends the cycle if that was all. Returns how many words it
    /// has looked at.
    fn advance(&mut self, words: usize, pages: usize) -> usize {
        self.marking.pages.fill(0);
        self.marking.page_count = 0;
        let mut done = 0;
        while let Some(entry) = self.marking.todo.pop() {
            let index = (entry & ((1 << CHUNK_SHIFT) - 1)) as usize;
            let chunk = ((entry & !UNMARKED) >> CHUNK_SHIFT) as usize;
            if entry & UNMARKED != 0 {
                if !self.mark(index) {
                    // It was found more than once.
                    done += 1;
                    if done >= words {
                        return done;
                    }
                    continue;
                }
                self.count(index, len(self.mem[index]) + 1);
            }
            let values = self.values(index);
            let from = values.start + chunk * CHUNK;
            let to = values.end.min(from + CHUNK);
            if to < values.end {
                let block = self.blocks.of(index);
                self.marking.todo.push(block, (entry & !UNMARKED) + (1 << CHUNK_SHIFT));
            }
            for part in from..to {
                self.shade(self.mem[part]);
            }
            done += 2 + to.saturating_sub(from);
            if done >= words || self.marking.page_count >= pages {
                return done;
            }
        }
        self.end_cycle();
        done
    }

    fn end_cycle(&mut self) {
        self.marking.on = false;
        self.marking.alive = self.marking.found;
        self.marking.since = 0;
        self.cycles += 1;
        self.look_for_dead();
    }

    /// After a minor collection: what was promoted is to be paid for by slices. Begins a cycle, if one is due.
    pub(super) fn account(&mut self, roots: &[&[u64]]) {
        let owed = std::mem::take(&mut self.marking.owed);
        self.marking.since += owed;
        if self.marking.on {
            self.marking.due += owed * RATE;
        } else if !self.is_releasing() && (self.marking.since > CYCLE_LEAST.max(self.marking.alive / 2) || self.stress)
        {
            self.begin(roots);
        }
    }

    /// Whether there is something to be done in slices.
    pub(super) fn has_slices(&self) -> bool {
        self.marking.on || self.is_releasing()
    }

    /// The share of a cycle that is due, or of what comes after it.
    pub(super) fn slice(&mut self) {
        if !self.marking.on {
            return self.release_some();
        }
        let words = if self.stress { 1 } else { self.marking.due.clamp(SLICE_LEAST, SLICE_MOST) };
        let pages = match self.marking.due / BEHIND_LEAST.max(self.marking.alive / 8) {
            0 => SLICE_PAGES,
            1 => 2 * SLICE_PAGES,
            _ => usize::MAX,
        };
        let looked = self.advance(words, pages);
        self.marking.due = self.marking.due.saturating_sub(looked);
    }

    /// A whole cycle, whatever it takes: when there is no room otherwise. The nursery is empty.
    pub(super) fn whole_cycle(&mut self, roots: &[&[u64]]) {
        if self.marking.on {
            self.advance(usize::MAX, usize::MAX);
        }
        self.release_all();
        self.begin(roots);
        self.advance(usize::MAX, usize::MAX);
        self.release_all();
    }

    /// Words of old objects found alive when last all were looked at.
    pub(in crate::eval) fn alive_words(&self) -> usize {
        self.marking.alive
    }
}
