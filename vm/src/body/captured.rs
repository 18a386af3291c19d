//! Pages captured since the last durable checkpoint, those that became zero among them: what a rewind and the next checkpoint need, and no store has.
//!
//! In the order of the memories, as a commit enters a few pages and a checkpoint takes those of one memory: a map by hash took longer for a page than
//! hashing its contents.

use std::collections::BTreeMap;
use std::sync::Arc;

use seed::PageIndex;
use seed::page::{self, PAGE_BYTES, Page, PageBytes};

/// By memory and index.
type Pages = BTreeMap<(usize, PageIndex), Page>;

/// The pages of a body that are in no durable checkpoint.
#[derive(Default)]
pub(super) struct Captured {
    fresh: Pages,
    /// Part of a checkpoint that may not be durable yet.
    in_flight: Pages,
}

impl Captured {
    /// Takes a page in. The place of an older capture of it is used again if nobody else has it.
    pub(super) fn take(&mut self, memory: usize, index: PageIndex, bytes: &PageBytes) -> &Page {
        let page = self.fresh.entry((memory, index)).or_insert_with(|| Arc::new(page::ZERO));
        match Arc::get_mut(page) {
            Some(place) => place.copy_from_slice(bytes),
            None => *page = Arc::new(*bytes),
        }
        page
    }

    /// Bytes that the next checkpoint will hold.
    pub(super) fn fresh_bytes(&self) -> u64 {
        (self.fresh.len() * PAGE_BYTES) as u64
    }

    /// What the next checkpoint will hold of a memory.
    pub(super) fn fresh_of(&self, memory: usize) -> impl Iterator<Item = (PageIndex, &Page)> {
        of(&self.fresh, memory)
    }

    /// All there is of a memory. Of two captures of one page the later one comes last.
    pub(super) fn all_of(&self, memory: usize) -> impl Iterator<Item = (PageIndex, &Page)> {
        of(&self.in_flight, memory).chain(of(&self.fresh, memory))
    }

    pub(super) fn get(&self, memory: usize, index: PageIndex) -> Option<&Page> {
        self.fresh.get(&(memory, index)).or_else(|| self.in_flight.get(&(memory, index)))
    }

    /// What is fresh is in a checkpoint now.
    pub(super) fn checkpoint(&mut self) {
        self.in_flight.append(&mut self.fresh);
    }

    /// The last checkpoint is durable.
    pub(super) fn checkpointed(&mut self) {
        self.in_flight.clear();
    }

    /// The memories of the next boundary are others.
    pub(super) fn forget_fresh(&mut self) {
        self.fresh.clear();
    }
}

fn of(pages: &Pages, memory: usize) -> impl Iterator<Item = (PageIndex, &Page)> {
    pages.range((memory, PageIndex(0))..=(memory, PageIndex(u32::MAX))).map(|((_, index), page)| (*index, page))
}
