//! One page of `data.mdb` at a time: whether LMDB can calculate with it safely.
//!
//! LMDB takes every offset, size and page number in its file on trust; a wrong one makes it read, and while writing even write,
//! outside the page. This module reads pages as plain bytes, without LMDB, and believes nothing: no bytes make it panic, and what
//! it returns has passed every check that one page allows. How pages hang together is the business of `trees`.
//!
//! LMDB 0.9 data format 1 on a 64-bit host (native byte order). Every page, but the inner ones of a run:
//!
//! ```text
//!   0  u64  its own number
//!   8  u16  may be anything
//!  10  u16  kind: 1 branch, 2 leaf, 4 first page of a run that holds one large value, 8 meta (see `header`)
//!  12  branch, leaf: u16 where the pointers end, u16 where the nodes begin       run: u32 pages in the run
//!  16  branch, leaf: u16 offsets of the nodes, in key order; the nodes fill the page's end without a gap, each at an even offset
//! ```
//!
//! A node:
//!
//! ```text
//!   0  branch: u48 page number of the child      leaf: u32 bytes of the value, u16 flags (1 = in a run, 2 = record of a tree)
//!   6  u16  bytes of the key
//!   8  the key (a branch page's first one counts as less than any other), then in a leaf the value or the u64 number of its run
//! ```
//!
//! The record of a tree, in the meta pages and as the value under a table's name, is 48 bytes:
//!
//! ```text
//!   0  u32  not for this         8  u64  branch pages      32  u64  entries
//!   4  u16  flags               16  u64  leaf pages        40  u64  root page, or all ones
//!   6  u16  depth               24  u64  pages in runs
//! ```
//!
//! LMDB's own table of tables holds one plain value among those records, under the key `.tip`: the store's tip. It is never in a run.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::store::{Cause, Flaw, KEY_BYTES_MAX, TIP_BYTES_MAX};

pub(super) const HEAD_BYTES: usize = 16;
const RECORD_BYTES: usize = 48;
pub(super) const NODE_BYTES: usize = 8;
pub(super) const META_BYTES: usize = 152;
pub(super) const NO_PAGE: u64 = u64::MAX;
pub(super) const KIND_BRANCH: u16 = 1;
pub(super) const KIND_LEAF: u16 = 2;
pub(super) const KIND_RUN: u16 = 4;
pub(super) const KIND_META: u16 = 8;
pub(super) const FLAG_RUN: u16 = 1;
const FLAG_RECORD: u16 = 2;
/// The tree of free pages has numbers as keys; all others compare bytes.
const TREE_OF_NUMBERS: u16 = 8;
/// Where the tip is among the records of the tables, whose names begin with a letter. Its length is even, as are those of all other keys: nodes begin at even
/// offsets, so that under an odd key one bit of a value's length could flip without leaving a gap or an overlap.
pub(super) const TIP_KEY: &[u8] = b".tip";
/// LMDB makes no smaller pages than these where Abide runs.
const _: () = assert!(NODE_BYTES + TIP_KEY.len() + TIP_BYTES_MAX <= inline_bytes_max(4096));
/// LMDB's cursors hold 32 levels, and a commit may add one. A page has room for seven of the longest keys, so that no file is large
/// enough for a tree this deep.
pub(super) const DEPTH_MAX: u16 = 24;
/// The largest page LMDB makes, in units of two bytes and of bits of a u64.
const STARTS: usize = 32768 / 2 / 64;

/// Where pages are read from.
pub(super) trait Source {
    fn page_bytes(&self) -> usize;

    /// The first `bytes` bytes of what begins with this page.
    fn read(&self, page: u64, bytes: usize) -> Result<Cow<'_, [u8]>, Cause>;
}

/// The file, read with ordinary reads.
pub(super) struct FileSource<'f> {
    pub(super) file: &'f File,
    pub(super) page_bytes: usize,
}

impl Source for FileSource<'_> {
    fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    fn read(&self, page: u64, bytes: usize) -> Result<Cow<'_, [u8]>, Cause> {
        let length = || self.file.metadata().map_or(0, |metadata| metadata.len());
        let range = page.checked_mul(self.page_bytes as u64).and_then(|at| Some((at, at.checked_add(bytes as u64)?)));
        let (at, end) = range.ok_or_else(|| flaw(page, "number"))?;
        // A value of gigabytes is believed only if the file has room for it.
        if bytes > self.page_bytes && end > length() {
            return Err(Cause::Damage(Flaw::Short { bytes: length(), needed: end }));
        }
        let mut buffer = vec![0; bytes];
        self.file.read_exact_at(&mut buffer, at).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Cause::Damage(Flaw::Short { bytes: length(), needed: end }),
            _ => Cause::Io(error),
        })?;
        Ok(Cow::Owned(buffer))
    }
}

/// The file as it lies in memory.
pub(super) struct MapSource<'m> {
    pub(super) map: &'m [u8],
    pub(super) page_bytes: usize,
}

impl Source for MapSource<'_> {
    fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    fn read(&self, page: u64, bytes: usize) -> Result<Cow<'_, [u8]>, Cause> {
        let start = usize::try_from(page).ok().and_then(|page| page.checked_mul(self.page_bytes));
        let bytes = start.and_then(|start| self.map.get(start..start.checked_add(bytes)?));
        bytes.map(Cow::Borrowed).ok_or_else(|| flaw(page, "number"))
    }
}

/// What the newest meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) last_page: u64,
    pub(super) transaction: u64,
    pub(super) free_pages: Tree,
    pub(super) tables: Tree,
}

impl Snapshot {
    /// Reads the meta pages, which `header` has judged when the file was opened.
    pub(super) fn read(source: &dyn Source) -> Result<Snapshot, Cause> {
        let metas = [source.read(0, META_BYTES)?, source.read(1, META_BYTES)?];
        let page = usize::from(u64_at(&metas[0], 144) < u64_at(&metas[1], 144));
        let (meta, page) = (&metas[page], page as u64);
        need(u64_at(meta, 0) == page && u16_at(meta, 10) == KIND_META, page, "head")?;
        need(u32_at(meta, 16) == 0xBEEF_C0DE && u32_at(meta, 20) == 1, page, "format")?;
        let last_page = u64_at(meta, 136);
        let tree =
            |at, flags| Tree::read(&meta[at..at + RECORD_BYTES], flags, last_page).map_err(|what| flaw(page, what));
        Ok(Snapshot {
            last_page,
            transaction: u64_at(meta, 144),
            free_pages: tree(40, TREE_OF_NUMBERS)?,
            tables: tree(88, 0)?,
        })
    }
}

/// Where a tree is and how large it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// Levels of pages; 0 when there is nothing in it.
    pub(super) depth: u16,
    pub(super) root: u64,
    pub(super) tally: Tally,
}

/// What a tree consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) branches: u64,
    pub(super) leaves: u64,
    pub(super) run_pages: u64,
    pub(super) entries: u64,
}

impl Tally {
    pub(super) fn pages(&self) -> u64 {
        self.branches + self.leaves + self.run_pages
    }
}

impl Tree {
    /// A record of a tree of tables or entries.
    pub(super) fn of_entries(record: &[u8], last_page: u64) -> Result<Tree, &'static str> {
        Tree::read(record, 0, last_page)
    }

    fn read(record: &[u8], flags: u16, last_page: u64) -> Result<Tree, &'static str> {
        let expect = |ok: bool, what| if ok { Ok(()) } else { Err(what) };
        expect(record.len() == RECORD_BYTES, "size of a tree's record")?;
        expect(u16_at(record, 4) == flags, "flags of a tree")?;
        let (depth, root) = (u16_at(record, 6), u64_at(record, 40));
        expect(depth <= DEPTH_MAX, "depth of a tree")?;
        expect(if depth == 0 { root == NO_PAGE } else { (2..=last_page).contains(&root) }, "root of a tree")?;
        let [branches, leaves, run_pages] = [8, 16, 24].map(|at| u64_at(record, at));
        let pages = branches.checked_add(leaves).and_then(|pages| pages.checked_add(run_pages));
        expect(pages.is_some_and(|pages| pages < last_page), "size of a tree")?;
        let tally = Tally { branches, leaves, run_pages, entries: u64_at(record, 32) };
        expect(depth > 0 || tally == Tally::default(), "size of a tree")?;
        Ok(Tree { depth, root, tally })
    }
}

/// What a tree holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Lists of page numbers, by the number of the transaction that had no more use for them.
    FreePages,
    /// Records of trees, by name, and the tip.
    Tables,
    /// Values, by key.
    Entries,
}

impl Content {
    pub(super) fn compare(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Content::FreePages if a.len() == 8 && b.len() == 8 => u64_at(a, 0).cmp(&u64_at(b, 0)),
            _ => a.cmp(b),
        }
    }
}

/// A branch or leaf page that has been checked.
pub(super) struct Page<'s> {
    bytes: Cow<'s, [u8]>,
    pub(super) number: u64,
    pub(super) count: usize,
    is_leaf: bool,
    content: Content,
}

/// A value, or where it is.
pub(super) enum Value<'p> {
    Here(&'p [u8]),
    /// In a run of pages.
    Run {
        first: u64,
        bytes: usize,
    },
}

impl<'s> Page<'s> {
    /// Reads a page and checks all of it.
    pub(super) fn check(
        source: &'s dyn Source,
        number: u64,
        is_leaf: bool,
        content: Content,
    ) -> Result<Page<'s>, Cause> {
        let bytes = source.read(number, source.page_bytes())?;
        need(u64_at(&bytes, 0) == number, number, "number")?;
        need(u16_at(&bytes, 10) == if is_leaf { KIND_LEAF } else { KIND_BRANCH }, number, "kind")?;
        let (lower, upper) = (usize::from(u16_at(&bytes, 12)), usize::from(u16_at(&bytes, 14)));
        need(
            lower.is_multiple_of(2) && lower >= HEAD_BYTES && lower <= upper && upper <= bytes.len(),
            number,
            "bounds",
        )?;
        let count = (lower - HEAD_BYTES) / 2;
        // A branch of one child is something LMDB leaves behind only among the free pages.
        let least = if is_leaf || content == Content::FreePages { 1 } else { 2 };
        need(count >= least, number, "number of nodes")?;
        let page = Page { bytes, number, count, is_leaf, content };
        page.check_nodes()?;
        Ok(page)
    }

    /// Every pointer leads to a node of its own, every node is one that LMDB could have made, and together they fill what is between
    /// the pointers' free space and the page's end: whatever LMDB moves within the page, it moves whole nodes. Keys ascend.
    fn check_nodes(&self) -> Result<(), Cause> {
        let need = |ok, what| need(ok, self.number, what);
        let (bytes, upper) = (&*self.bytes, usize::from(u16_at(&self.bytes, 14)));
        let mut starts = [0u64; STARTS];
        let mut last: Option<&[u8]> = None;
        for slot in 0..self.count {
            let at = self.node(slot);
            need(
                at.is_multiple_of(2) && at >= upper && at + NODE_BYTES <= bytes.len() && at / 128 < STARTS,
                "pointer to a node",
            )?;
            starts[at / 128] |= 1 << (at / 2 % 64);
            let key_end = at + NODE_BYTES + usize::from(u16_at(bytes, at + 6));
            let key = bytes.get(at + NODE_BYTES..key_end);
            let key = key.filter(|key| key.len() <= KEY_BYTES_MAX).ok_or_else(|| flaw(self.number, "key size"))?;
            if self.is_leaf {
                self.check_value(at, key)?;
            } else if slot == 0 {
                continue;
            }
            let fits = if self.content == Content::FreePages { key.len() == 8 } else { !key.is_empty() };
            need(fits, "key size")?;
            need(last.is_none_or(|last| self.content.compare(last, key).is_lt()), "order of keys")?;
            last = Some(key);
        }
        let (mut at, mut found) = (upper, 0);
        while at < bytes.len() {
            need(starts.get(at / 128).is_some_and(|word| word >> (at / 2 % 64) & 1 == 1), "layout of nodes")?;
            at += self.node_bytes(at).next_multiple_of(2);
            found += 1;
        }
        need(at == bytes.len() && found == self.count, "layout of nodes")
    }

    /// The size and flags of a value are such as LMDB would have given it.
    fn check_value(&self, at: usize, key: &[u8]) -> Result<(), Cause> {
        let bytes = u32_at(&self.bytes, at) as usize;
        let flags = u16_at(&self.bytes, at + 4);
        let fits = NODE_BYTES + key.len() + bytes <= inline_bytes_max(self.bytes.len());
        let (flags_fit, size_fits) = match self.content {
            Content::Tables if key == TIP_KEY => (flags == 0, bytes <= TIP_BYTES_MAX),
            Content::Tables => (flags == FLAG_RECORD, bytes == RECORD_BYTES),
            Content::Entries => (flags == if fits { 0 } else { FLAG_RUN }, true),
            // A list that has become shorter may stay in its run.
            Content::FreePages => (flags == FLAG_RUN || flags == 0 && fits, bytes >= 8 && bytes.is_multiple_of(8)),
        };
        need(flags_fit, self.number, "flags of a node")?;
        need(size_fits, self.number, "size of a value")
    }

    fn node_bytes(&self, at: usize) -> usize {
        let key = usize::from(u16_at(&self.bytes, at + 6));
        let value = match self.is_leaf {
            false => 0,
            true if u16_at(&self.bytes, at + 4) == FLAG_RUN => 8,
            true => u32_at(&self.bytes, at) as usize,
        };
        NODE_BYTES + key + value
    }

    /// Where a node is. Slots are below `count`.
    fn node(&self, slot: usize) -> usize {
        usize::from(u16_at(&self.bytes, HEAD_BYTES + 2 * slot))
    }

    pub(super) fn key(&self, slot: usize) -> &[u8] {
        let at = self.node(slot);
        &self.bytes[at + NODE_BYTES..at + NODE_BYTES + usize::from(u16_at(&self.bytes, at + 6))]
    }

    /// The child of a branch page's node.
    pub(super) fn child(&self, slot: usize) -> u64 {
        let at = self.node(slot);
        u64::from(u32_at(&self.bytes, at)) | u64::from(u16_at(&self.bytes, at + 4)) << 32
    }

    /// The value of a leaf's node.
    pub(super) fn value(&self, slot: usize) -> Value<'_> {
        let at = self.node(slot);
        let bytes = u32_at(&self.bytes, at) as usize;
        let value = at + NODE_BYTES + usize::from(u16_at(&self.bytes, at + 6));
        if u16_at(&self.bytes, at + 4) == FLAG_RUN {
            Value::Run { first: u64_at(&self.bytes, value), bytes }
        } else {
            Value::Here(&self.bytes[value..value + bytes])
        }
    }

    /// The slot of a branch page's child in which `key` is, or would be.
    pub(super) fn towards(&self, key: &[u8]) -> usize {
        self.first_slot(1, |slot| self.content.compare(self.key(slot), key).is_gt()) - 1
    }

    /// The slot of a leaf's node with this key.
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let slot = self.first_slot(0, |slot| self.content.compare(self.key(slot), key).is_ge());
        (slot < self.count && self.key(slot) == key).then_some(slot)
    }

    /// The first slot from `low` on that is past what is sought.
    fn first_slot(&self, mut low: usize, is_past: impl Fn(usize) -> bool) -> usize {
        let mut high = self.count;
        while low < high {
            let middle = low.midpoint(high);
            if is_past(middle) { high = middle } else { low = middle + 1 }
        }
        low
    }

    /// Whether all keys of this page that count lie from `low` on and before `high`.
    pub(super) fn check_between(&self, low: Option<&[u8]>, high: Option<&[u8]>) -> Result<(), Cause> {
        let first = usize::from(!self.is_leaf);
        if first >= self.count {
            return Ok(());
        }
        let above = low.is_none_or(|low| self.content.compare(low, self.key(first)).is_le());
        let below = high.is_none_or(|high| self.content.compare(self.key(self.count - 1), high).is_lt());
        need(above && below, self.number, "key for its place in the tree")
    }
}

/// The largest node that LMDB leaves in a leaf: two fit into every page, and a value that would make a larger one goes into a run.
const fn inline_bytes_max(page_bytes: usize) -> usize {
    (((page_bytes - HEAD_BYTES) / 2) & !1) - 2
}

/// How many pages a value takes that is not in a leaf.
pub(super) fn run_pages(bytes: usize, page_bytes: usize) -> u64 {
    (HEAD_BYTES + bytes).div_ceil(page_bytes) as u64
}

/// Checks the head of a run and returns how many pages it says it has.
pub(super) fn check_run_head(head: &[u8], first: u64) -> Result<u64, Cause> {
    need(u64_at(head, 0) == first, first, "number")?;
    need(u16_at(head, 10) == KIND_RUN, first, "kind")?;
    Ok(u64::from(u32_at(head, 12)))
}

pub(super) fn flaw(page: u64, field: &'static str) -> Cause {
    Cause::Damage(Flaw::Page { page, field })
}

pub(super) fn need(ok: bool, page: u64, field: &'static str) -> Result<(), Cause> {
    if ok { Ok(()) } else { Err(flaw(page, field)) }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(eight)
}
