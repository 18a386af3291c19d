//! One space of words with everything in it: a nursery at its start, then blocks of objects that do not move.
//!
//! Objects are made in the nursery, by moving a mark. When it is full, a minor collection copies what is alive into holes of the
//! old blocks and starts again at the first word, so that small work writes the same few pages again and again. Old objects stay
//! where they are and are written only when a thunk gets its value, and marked in a table beside, in slices. A block is swept when
//! room is needed: nothing is written to find out what is dead.
//!
//! Invariant: nothing moves or is given back but in a minor collection and in what [`Heap::slice_alone`] does. Between those calls indexes stay valid.
//! Invariant: an old object that refers to one in the nursery is in `remembered`.

mod check;
mod mark;
mod minor;
mod old;
mod todo;

use super::Limit;
use super::word::{Kind, at, extra, header, is_imm, is_lazy, kind, len};
use mark::Marking;
use old::Blocks;

pub(super) use old::{BLOCK, LARGE};

/// Words of a page of 4 KiB.
const PAGE: usize = 512;
/// How much more than the limit there is room for: such a part of it.
const OVER_PARTS: usize = 8;
/// When so many words were made outside of the nursery, it is time to collect as if it were full.
const LARGE_MOST: usize = 256 << 10;
/// Of the nursery, what is kept for numbers and jets that cannot tell in advance how much they need.
const SLACK_PARTS: usize = 8;

pub(super) struct Heap {
    pub(super) mem: Vec<u64>,
    /// The nursery: where the next object will be, where to stop for that or for a slice, where to collect, where it ends.
    top: usize,
    soft: usize,
    full: usize,
    pub(super) end: usize,
    start: usize,
    /// A slice of what is to be done in old space waits for the nursery to be half full.
    slice_waits: bool,
    remembered: Vec<u64>,
    blocks: Blocks,
    marking: Marking,
    /// Words of what was made outside of the nursery since it was last empty.
    large: usize,
    /// Work that comparing was, and that nobody has counted as steps yet: parts, and eights of words.
    pub(super) compared: u64,
    /// How many words old blocks may take.
    limit: usize,
    /// Collect as often as possible: for tests.
    stress: bool,
    /// For measurements: minor collections, whole ones.
    pub(super) minors: u64,
    pub(super) cycles: u64,
}

impl Heap {
    /// A heap of so many words, a nursery of so many among them. Room is taken as it is used.
    pub(super) fn new(limit: usize, nursery: usize, stress: bool) -> Result<Self, Limit> {
        let mut mem: Vec<u64> = Vec::new();
        // Reserved at once, so that nothing is ever copied to grow. What is not used is not touched. What is taken in between two
        // evaluations may go over the limit: the next one finds that out.
        let most = limit.saturating_add(limit / OVER_PARTS);
        mem.try_reserve_exact(most.saturating_add(nursery).saturating_add(2 * PAGE)).map_err(|_| Limit::Host)?;
        // Where a page of the host starts, so that a block is one page.
        let lead = mem.as_ptr().addr().wrapping_neg() % (PAGE * 8) / 8;
        let start = if lead == 0 { PAGE } else { lead };
        let end = start + nursery.next_multiple_of(BLOCK);
        mem.resize(end, 0);
        let mut heap = Self {
            mem,
            top: start,
            soft: 0,
            full: 0,
            end,
            start,
            slice_waits: false,
            remembered: Vec::new(),
            blocks: Blocks::new(end, most / BLOCK)?,
            marking: Marking::default(),
            large: 0,
            compared: 0,
            limit,
            stress,
            minors: 0,
            cycles: 0,
        };
        heap.reopen(nursery);
        Ok(heap)
    }

    fn reopen(&mut self, nursery: usize) {
        self.top = self.start;
        self.large = 0;
        // Less than the region where it is meant to be smaller than a block: for tests.
        let end = (self.start + nursery).min(self.end);
        self.full = end - (end - self.start) / SLACK_PARTS;
        self.soft = self.full;
    }

    /// Has a slice done in the middle between two minor collections, so that no event writes the pages of both.
    fn put_off_slice(&mut self) {
        self.slice_waits = true;
        self.soft = self.start + (self.full - self.start) / 2;
    }

    /// Does the slice that was put off, if it is time for that and not yet for a collection. Returns whether it was.
    pub(super) fn slice_alone(&mut self) -> bool {
        let is_nearly_full = self.top > self.full - (self.full - self.start) / 4;
        if !self.slice_waits || self.soft == 0 || is_nearly_full {
            return false;
        }
        self.slice_waits = false;
        self.soft = self.full;
        self.slice();
        true
    }

    /// Whether so much can be made before it is time to collect.
    #[inline(always)]
    pub(super) fn has_room(&self, words: usize) -> bool {
        self.top + words <= self.soft && !self.stress
    }

    /// An object's place. Its words hold anything until they are set.
    #[inline(always)]
    pub(super) fn alloc(&mut self, head: u64) -> usize {
        let words = len(head) + 1;
        let index = self.top;
        if index + words <= self.end {
            self.top = index + words;
            self.mem[index] = head;
            index
        } else {
            self.alloc_old(head)
        }
    }

    #[cold]
    fn alloc_old(&mut self, head: u64) -> usize {
        let index = self.place(len(head) + 1);
        // The nursery might not be full for long while much larger things are made, and each of them would write new pages.
        self.large += len(head) + 1;
        if self.large > LARGE_MOST || self.is_over() {
            self.soft = 0;
        }
        self.mem[index] = head;
        // It may come to refer to the nursery. Until all its words are set, they must be values.
        self.mem[index + 1..=index + len(head)].fill(super::word::ZERO);
        self.remembered.push(index as u64);
        index
    }

    /// An object that never moves, of these words.
    pub(super) fn alloc_fixed(&mut self, head: u64, words: &[u64]) -> usize {
        let index = self.alloc_old(head);
        self.mem[index + 1..=index + words.len()].copy_from_slice(words);
        index
    }

    /// An object of these words.
    #[inline(always)]
    pub(super) fn make(&mut self, head: u64, words: &[u64]) -> usize {
        let index = self.alloc(head);
        self.mem[index + 1..=index + words.len()].copy_from_slice(words);
        index
    }

    #[inline(always)]
    pub(super) fn is_old(&self, index: usize) -> bool {
        index >= self.end
    }

    /// Gives something that was being evaluated its value, or another thing to be evaluated instead.
    #[inline(always)]
    pub(super) fn update(&mut self, thunk: usize, value: u64) {
        let head = self.mem[thunk];
        self.mem[thunk] = header(Kind::IND, 0, len(head));
        self.mem[thunk + 1] = value;
        if self.is_old(thunk) && !is_imm(value) && !self.is_old(at(value)) {
            self.remembered.push(thunk as u64);
        }
    }

    /// Notes that an old object may have come to refer to the nursery.
    pub(super) fn remember(&mut self, index: usize) {
        if self.is_old(index) {
            self.remembered.push(index as u64);
        }
    }

    /// Notes that an object's values will be overwritten.
    pub(super) fn will_overwrite(&mut self, index: usize) {
        if self.marking.on && self.is_old(index) {
            self.shade_parts(index);
        }
    }

    /// Says that something is being evaluated: what it needs for that is on the stack.
    #[inline(always)]
    pub(super) fn enter(&mut self, thunk: usize) {
        if self.marking.on && self.is_old(thunk) {
            self.shade_parts(thunk);
        }
        let head = self.mem[thunk];
        self.mem[thunk] = header(Kind::HOLE, 0, len(head));
    }

    /// What a value is once evaluated, as far as that has happened.
    #[inline(always)]
    pub(super) fn resolve(&self, mut value: u64) -> u64 {
        while is_lazy(value) {
            let index = at(value);
            if kind(self.mem[index]) != Kind::IND {
                break;
            }
            value = self.mem[index + 1];
        }
        value
    }

    #[inline(always)]
    pub(super) fn head(&self, value: u64) -> u64 {
        self.mem[at(value)]
    }

    /// The kind of an object; of a number, none.
    #[inline(always)]
    pub(super) fn kind_of(&self, value: u64) -> Option<u8> {
        (!is_imm(value)).then(|| kind(self.mem[at(value)]))
    }

    /// A word after an object's header.
    #[inline(always)]
    pub(super) fn field(&self, value: u64, index: usize) -> u64 {
        self.mem[at(value) + 1 + index]
    }

    /// All words after an object's header.
    #[inline(always)]
    pub(super) fn fields(&self, value: u64) -> &[u64] {
        let index = at(value);
        &self.mem[index + 1..=index + len(self.mem[index])]
    }

    /// Which words after the header of an object are values.
    #[inline(always)]
    fn values(&self, index: usize) -> std::ops::Range<usize> {
        let head = self.mem[index];
        let first = index + 1;
        let count = match kind(head) {
            Kind::BIG | Kind::BAR | Kind::FREE | Kind::HOLE | Kind::MOVED => 0,
            Kind::IND | Kind::PIN => 1,
            Kind::CODE => 2 + (self.mem[first + 1] >> 1) as usize,
            _ => len(head),
        };
        first..first + count
    }

    /// How many words old objects take, dead ones that have not been found among them.
    pub(super) fn old_words(&self) -> usize {
        self.blocks.taken * BLOCK
    }

    /// Whether old objects take more than they may.
    #[inline(always)]
    pub(super) fn is_over(&self) -> bool {
        self.blocks.taken * BLOCK > self.limit
    }

    /// Whether they take so much more that there might be no room for another number.
    pub(super) fn is_far_over(&self) -> bool {
        self.blocks.taken * BLOCK > self.limit.saturating_add(self.limit / (2 * OVER_PARTS))
    }

    /// Whether so many words more could be had, were everything else dead weight gone.
    pub(super) fn could_hold(&self, words: usize) -> bool {
        (self.blocks.taken * BLOCK).saturating_add(words) <= self.limit
    }

    /// Where the entry of a thunk's code is.
    #[inline(always)]
    pub(super) fn entry(&self, thunk: usize) -> usize {
        at(self.mem[thunk + 1]) + extra(self.mem[thunk])
    }

    /// All its memory, to be compared with what it is later.
    #[cfg(test)]
    pub(super) fn pieces(&self) -> Vec<(&'static str, Vec<u8>)> {
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        vec![("words", words(&self.mem)), ("remembered", words(&self.remembered)), ("marks", words(&self.blocks.marks))]
    }
}
