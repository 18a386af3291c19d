//! What marking has still to look at, by where in old space it lies.
//!
//! What is alive lies anywhere, and so do its marks: looked at in the order in which it is found, a few thousand objects have theirs in every page of the
//! table of marks, and a machine saves each page that is written. So one region is dealt with before the next, as far as it goes.

/// Blocks of a region: their marks take 16 pages.
const REGION: usize = 1024;
/// Entries of a piece of a stack, which takes a page. Stacks do not grow by being copied, for the same reason.
const PIECE: usize = 510;

/// Stacks of entries, one for each region.
#[derive(Default)]
pub(super) struct Todo {
    regions: Vec<Stack>,
    /// The region that is being dealt with.
    current: usize,
    len: usize,
}

#[derive(Default)]
struct Stack {
    pieces: Vec<Vec<u64>>,
    len: usize,
}

impl Todo {
    /// Whether a block is of the region that is being dealt with.
    pub(super) fn is_here(&self, block: usize) -> bool {
        block / REGION == self.current
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry about an object in a block.
    pub(super) fn push(&mut self, block: usize, entry: u64) {
        let region = block / REGION;
        if self.regions.len() <= region {
            self.regions.resize_with(region + 1, Stack::default);
        }
        let stack = &mut self.regions[region];
        match stack.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(entry),
            _ => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(entry);
                stack.pieces.push(piece);
            }
        }
        stack.len += 1;
        self.len += 1;
    }

    /// Takes the last entry of the region at hand. If that has none, the one with the most of them is next.
    pub(super) fn pop(&mut self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        if self.regions.get(self.current).is_none_or(|stack| stack.len == 0) {
            let most = (0..self.regions.len()).max_by_key(|region| self.regions[*region].len);
            self.current = most.unwrap_or(0);
        }
        let stack = &mut self.regions[self.current];
        let entry = stack.pieces.last_mut()?.pop();
        if stack.pieces.last().is_some_and(Vec::is_empty) {
            stack.pieces.pop();
        }
        stack.len -= 1;
        self.len -= 1;
        entry
    }
}
