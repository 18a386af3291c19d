//! Where in a memory to look for written pages: in the chunks that somebody has written to lately.
//!
//! | chunk | its pages | written since the last collect |
//! |---|---|---|
//! | open | writable | each may be: a tracker finds out |
//! | shut | read-only | none was |
//!
//! The first write to a shut chunk faults. The handler opens the chunk on the writing thread and the write is made again. A chunk that has had no
//! written page for some collects is shut. So a collect costs what the chunks touched lately cost, however many others there are. A memory so small
//! that looking at all of it costs less than opening a chunk stays open.
//!
//! Invariants:
//! * What is marked open can be written, but for the page that [`GuestMemory::protect_for_report`](super::GuestMemory::protect_for_report)
//!   protects. So a fault in an open chunk is none of ours.
//! * No chunk is shut before somebody handles faults, and the host opens what it writes to.
//! * Opening takes no lock and allocates nothing: it happens in a signal handler. Everything else is the host's, between calls of the guest.
//!
//! Each border between open and shut chunks costs the process a mapping, of which the kernel allows some 65,000. A memory of 4 GiB has 16,384
//! chunks and not more borders. Where the kernel has no room for one the whole memory is opened, which needs none.

use std::io;
use std::iter;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::page_index;
use crate::raw::Mapping;

/// How a memory is divided, which depends on what it costs to look at an open chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grain {
    /// Bytes of a chunk, a multiple of any host page.
    pub(super) chunk_bytes: usize,
    /// Collects without a written page after which a chunk is shut. Shutting and opening again should cost about as much as
    /// that many looks: then neither waiting nor shutting is ever much the wrong thing to do.
    pub(super) patience: u8,
    /// Up to this size a memory is looked at as a whole, and nothing in it is shut.
    pub(super) whole_bytes: usize,
}

impl Grain {
    /// The same for memories that are never looked at as a whole.
    pub(super) fn always_in_chunks(self) -> Grain {
        Grain { whole_bytes: 0, ..self }
    }
}

/// The chunks of one memory.
pub(super) struct Chunks {
    grain: Grain,
    /// A bit for each chunk, set in open ones. None is set beyond the memory's size.
    open: Box<[AtomicU64]>,
    /// Collects since an open chunk was written to; 0 for a shut one.
    quiet: Box<[AtomicU8]>,
    may_shut: AtomicBool,
}

const WORD_BITS: usize = u64::BITS as usize;

impl Chunks {
    /// Those of a memory that has no bytes yet and may get as many.
    pub(super) fn new(grain: Grain, capacity: usize) -> Chunks {
        let count = capacity.div_ceil(grain.chunk_bytes);
        Chunks {
            grain,
            open: iter::repeat_with(AtomicU64::default).take(count.div_ceil(WORD_BITS)).collect(),
            quiet: iter::repeat_with(AtomicU8::default).take(count).collect(),
            may_shut: AtomicBool::new(false),
        }
    }

    /// From here on [`Chunks::open`] is called when a write faults, so that chunks may be shut.
    pub(super) fn allow_shutting(&self) {
        self.may_shut.store(true, Ordering::Relaxed);
    }

    /// Whether the chunk of a byte is open.
    pub(super) fn is_open(&self, offset: usize) -> bool {
        let chunk = offset / self.grain.chunk_bytes;
        self.open[chunk / WORD_BITS].load(Ordering::Relaxed) & bit(chunk) != 0
    }

    /// Makes a range of the memory writable.
    pub(super) fn open(&self, mapping: &Mapping, range: Range<usize>) -> io::Result<()> {
        for chunk in self.chunks(&range).filter(|chunk| !self.is_open(chunk * self.grain.chunk_bytes)) {
            let whole = 0..mapping.byte_size();
            // The host may have no room for one more border between what can be written and what cannot.
            let opened = match mapping.allow_writes(self.bytes(chunk..chunk + 1, mapping), true) {
                Ok(()) => chunk..chunk + 1,
                Err(_) => mapping.allow_writes(whole.clone(), true).map(|()| self.chunks(&whole))?,
            };
            self.mark(opened, true);
        }
        Ok(())
    }

    /// The memory is about to grow from this size: what comes in is writable, and its first chunk may be there already.
    pub(super) fn growing(&self, mapping: &Mapping, before: usize) -> io::Result<()> {
        if before.is_multiple_of(self.grain.chunk_bytes) { Ok(()) } else { self.open(mapping, before - 1..before) }
    }

    /// The memory has another size.
    pub(super) fn resized(&self, before: usize, after: usize) {
        if before < after {
            self.mark(self.chunks(&(before..after)), true);
        } else {
            self.mark(after.div_ceil(self.grain.chunk_bytes)..self.chunks(&(0..before)).end, false);
        }
    }

    /// The bytes of open chunks, in ascending order, neighbours together.
    pub(super) fn written_ranges(&self, mapping: &Mapping) -> impl Iterator<Item = Range<usize>> {
        self.runs().map(|run| self.bytes(run, mapping))
    }

    /// Whether the memory is too small to be worth looking at in parts.
    pub(super) fn are_looked_at_as_a_whole(&self, mapping: &Mapping) -> bool {
        mapping.byte_size() <= self.grain.whole_bytes
    }

    /// A collect has found these pages written, in ascending order, and no others. Shuts the chunks that have been quiet for long.
    pub(super) fn collected(&self, mapping: &Mapping, written: &[u32]) -> io::Result<()> {
        if !self.may_shut.load(Ordering::Relaxed) || self.are_looked_at_as_a_whole(mapping) {
            return Ok(());
        }
        let mut written = written;
        let mut shutting = 0..0;
        for chunk in self.runs().flatten() {
            let end = page_index((chunk + 1) * self.grain.chunk_bytes);
            let here = written.partition_point(|page| *page < end);
            written = &written[here..];
            let quiet = if here > 0 { 0 } else { self.quiet[chunk].load(Ordering::Relaxed).saturating_add(1) };
            self.quiet[chunk].store(quiet, Ordering::Relaxed);
            if quiet < self.grain.patience {
                continue;
            }
            if shutting.end != chunk {
                self.shut(mapping, shutting)?;
                shutting = chunk..chunk;
            }
            shutting.end = chunk + 1;
        }
        self.shut(mapping, shutting)
    }

    fn shut(&self, mapping: &Mapping, chunks: Range<usize>) -> io::Result<()> {
        if chunks.is_empty() {
            return Ok(());
        }
        let bytes = self.bytes(chunks.clone(), mapping);
        if mapping.allow_writes(bytes.clone(), false).is_ok() {
            self.mark(chunks, false);
            return Ok(());
        }
        // No room for the border: to be tried again, with more neighbours. Some of it may be read-only now.
        mapping.allow_writes(bytes, true)
    }

    /// Runs of open chunks.
    fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let mut from = 0;
        iter::from_fn(move || {
            let start = self.next(from, true)?;
            from = self.next(start, false).unwrap_or(self.quiet.len());
            Some(start..from)
        })
    }

    /// The first chunk from `from` on that is open, or is not.
    fn next(&self, from: usize, open: bool) -> Option<usize> {
        let mut ignored = u64::MAX << (from % WORD_BITS);
        for (word, bits) in self.open.iter().enumerate().skip(from / WORD_BITS) {
            let bits = bits.load(Ordering::Relaxed);
            let wanted = if open { bits } else { !bits } & ignored;
            if wanted != 0 {
                return Some(word * WORD_BITS + wanted.trailing_zeros() as usize);
            }
            ignored = u64::MAX;
        }
        None
    }

    fn mark(&self, chunks: Range<usize>, open: bool) {
        for chunk in chunks {
            let word = &self.open[chunk / WORD_BITS];
            if open {
                word.fetch_or(bit(chunk), Ordering::Relaxed);
            } else {
                word.fetch_and(!bit(chunk), Ordering::Relaxed);
            }
            self.quiet[chunk].store(0, Ordering::Relaxed);
        }
    }

    /// The chunks that a range of bytes touches.
    fn chunks(&self, bytes: &Range<usize>) -> Range<usize> {
        bytes.start / self.grain.chunk_bytes..bytes.end.div_ceil(self.grain.chunk_bytes)
    }

    /// The bytes of chunks, as far as the memory has them.
    fn bytes(&self, chunks: Range<usize>, mapping: &Mapping) -> Range<usize> {
        let size = mapping.byte_size();
        (chunks.start * self.grain.chunk_bytes).min(size)..(chunks.end * self.grain.chunk_bytes).min(size)
    }
}

fn bit(chunk: usize) -> u64 {
    1 << (chunk % WORD_BITS)
}
