//! Checks of `data.mdb` made with ordinary reads, before LMDB maps it.
//!
//! LMDB trusts its file: a short one kills the process by signal, a flipped meta page may silently open an older state. So the
//! two meta pages are read and judged here first. This module only reads; it never follows a page number outside the file.
//!
//! LMDB data format 1 on a 64-bit host (native byte order), as far as it matters here. Each of pages 0 and 1:
//!
//! ```text
//!   0  u64  page number, 0 or 1           88  the tree of tables, as at 40:
//!   8  u16  zero                              u32 pad, u16 flags, u16 depth, u64 branch, leaf and
//!  10  u16  page flags, 0x08 = meta           overflow pages, u64 entries, u64 root page
//!  16  u32  magic 0xBEEFC0DE             136  u64  last page that is in use
//!  20  u32  format version, 1            144  u64  transaction that wrote this page
//!  24  u64  fixed address, 0
//!  32  u64  map size
//!  40  the tree of free pages: u32 page size, u16 flags, u16 depth, 3 u64 page counts, u64 entries, u64 root page
//! ```
//!
//! A commit writes the meta page of its transaction number's parity, so the two numbers always differ by one (or are both 0 in a
//! new file). Only the newer page is ever used. When LMDB cannot write a meta page it puts back the old transaction number and last
//! page and leaves the trees of the commit that failed: of the older page nothing else is judged, or one failed write would make a
//! sound machine unusable. A file may be longer than its last page (an unfinished transaction) and, rarely, shorter: pages that a transaction
//! took from the end and freed again are never written. They are then in the free list, which is read to tell this from truncation.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::pages::{DEPTH_MAX, FLAG_RUN, HEAD_BYTES, KIND_BRANCH, KIND_LEAF, KIND_META, KIND_RUN, META_BYTES, NO_PAGE};
use crate::store::{Cause, Flaw};

/// What the newest meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) page_bytes: u64,
    pub(super) last_page: u64,
    pub(super) transaction: u64,
    free_root: u64,
    free_depth: u16,
}

/// What a meta page says.
#[derive(Clone, Copy)]
struct Meta {
    header: Header,
    /// What is impossible about its trees; that matters only if they are used.
    flaw: Option<&'static str>,
}

/// Judges `data.mdb` and returns what its newest meta page says.
pub(super) fn check(file: &File) -> Result<Header, Cause> {
    let metadata = file.metadata().map_err(Cause::Io)?;
    if !metadata.is_file() {
        return Err(Cause::Damage(Flaw::NotAFile));
    }
    let header = read_stable(file)?;
    // The length is read after the meta pages: a running writer extends the file first.
    let bytes = file.metadata().map_err(Cause::Io)?.len();
    let needed = (header.last_page + 1) * header.page_bytes;
    if bytes < needed && !tail_is_free(file, &header, bytes)? {
        return Err(Cause::Damage(Flaw::Short { bytes, needed }));
    }
    Ok(header)
}

/// Reads until two readings agree, so that a writer in another process cannot be mistaken for damage.
fn read_stable(file: &File) -> Result<Header, Cause> {
    let mut last = read_header(file);
    for _ in 0..100 {
        let next = read_header(file);
        match (&last, &next) {
            (Ok(a), Ok(b)) if a == b => return next,
            (Err(Cause::Damage(a)), Err(Cause::Damage(b))) if a == b => return next,
            (_, Err(Cause::Io(_))) => return next,
            _ => last = next,
        }
    }
    last
}

fn read_header(file: &File) -> Result<Header, Cause> {
    let first = read_meta(file, 0, 0)?;
    let second = read_meta(file, 1, first.header.page_bytes)?;
    if first.header.page_bytes != second.header.page_bytes {
        return Err(Cause::Damage(Flaw::Metas { field: "page size" }));
    }
    let is_second = first.header.transaction < second.header.transaction;
    let (older, page, Meta { header: newer, flaw }) =
        if is_second { (first.header, 1, second) } else { (second.header, 0, first) };
    if let Some(field) = flaw {
        return Err(Cause::Damage(Flaw::Meta { page, field }));
    }
    let new_file = newer.transaction == 0;
    if !new_file && newer.transaction - older.transaction != 1 {
        return Err(Cause::Damage(Flaw::Metas { field: "transaction number" }));
    }
    if older.last_page > newer.last_page {
        return Err(Cause::Damage(Flaw::Metas { field: "last page" }));
    }
    Ok(newer)
}

fn read_meta(file: &File, page: u8, offset: u64) -> Result<Meta, Cause> {
    let mut bytes = [0; META_BYTES];
    read_at(file, &mut bytes, offset)?;
    let bad = |field| Cause::Damage(Flaw::Meta { page, field });
    let expect = |ok: bool, field| if ok { Ok(()) } else { Err(bad(field)) };
    expect(u64_at(&bytes, 0) == u64::from(page), "page number")?;
    expect(u16_at(&bytes, 10) == KIND_META, "page type")?;
    expect(u32_at(&bytes, 16) == 0xBEEF_C0DE, "magic")?;
    expect(u32_at(&bytes, 20) == 1, "format version")?;
    expect(u64_at(&bytes, 24) == 0, "address")?;
    let page_bytes = u32_at(&bytes, 40);
    expect(page_bytes.is_power_of_two() && (512..=65536).contains(&page_bytes), "page size")?;
    let last_page = u64_at(&bytes, 136);
    // 2^48 pages of 64 KiB is the limit of a 64-bit offset.
    expect((1..1 << 47).contains(&last_page), "last page")?;
    let trees = [(40, "tree of free pages"), (88, "tree of tables")];
    let flaw =
        trees.into_iter().find(|(tree, _)| !is_possible_tree(&bytes[*tree..], last_page)).map(|(_, field)| field);
    let transaction = u64_at(&bytes, 144);
    expect(transaction == 0 || transaction % 2 == u64::from(page), "transaction number")?;
    let header = Header {
        page_bytes: u64::from(page_bytes),
        last_page,
        transaction,
        free_root: u64_at(&bytes, 80),
        free_depth: u16_at(&bytes, 46),
    };
    Ok(Meta { header, flaw })
}

fn is_possible_tree(record: &[u8], last_page: u64) -> bool {
    let (depth, root) = (u16_at(record, 6), u64_at(record, 40));
    let pages = [8, 16, 24].iter().try_fold(0u64, |sum, at| sum.checked_add(u64_at(record, *at)));
    let has_root = if depth == 0 { root == NO_PAGE } else { (2..=last_page).contains(&root) };
    depth <= DEPTH_MAX && has_root && pages.is_some_and(|pages| pages < last_page)
}

/// Whether every page from the end of the file to the last page is in the free list.
fn tail_is_free(file: &File, header: &Header, bytes: u64) -> Result<bool, Cause> {
    let held = bytes / header.page_bytes;
    if header.free_depth == 0 {
        return Ok(false);
    }
    let mut walk = FreeWalk { file, page_bytes: header.page_bytes, held, missing_free: Vec::new(), pages_read: 0 };
    match walk.page(header.free_root, header.free_depth) {
        Ok(()) => {}
        // Part of the free list itself is cut off, or it is nonsense: the file is short, whatever else it is.
        Err(Cause::Damage(_)) => return Ok(false),
        Err(other) => return Err(other),
    }
    walk.missing_free.sort_unstable();
    walk.missing_free.dedup();
    Ok(walk.missing_free.iter().copied().eq(held..=header.last_page))
}

struct FreeWalk<'f> {
    file: &'f File,
    page_bytes: u64,
    held: u64,
    missing_free: Vec<u64>,
    pages_read: u64,
}

impl FreeWalk<'_> {
    fn page(&mut self, number: u64, depth: u16) -> Result<(), Cause> {
        let bad = || Cause::Damage(Flaw::FreeList { page: number });
        let page = self.read(number, self.page_bytes)?;
        let kind = if depth > 1 { KIND_BRANCH } else { KIND_LEAF };
        let lower = usize::from(u16_at(&page, 12));
        if u16_at(&page, 10) != kind || lower < HEAD_BYTES || lower > page.len() {
            return Err(bad());
        }
        for slot in (HEAD_BYTES..lower - 1).step_by(2) {
            let node = page.get(usize::from(u16_at(&page, slot))..).filter(|node| node.len() >= 8).ok_or_else(bad)?;
            let low = u64::from(u16_at(node, 0)) | u64::from(u16_at(node, 2)) << 16;
            let flags = u16_at(node, 4);
            if depth > 1 {
                self.page(low | u64::from(flags) << 32, depth - 1)?;
                continue;
            }
            let data = node.get(8 + usize::from(u16_at(node, 6))..).ok_or_else(bad)?;
            let bytes = usize::try_from(low).map_err(|_| bad())?;
            if flags & FLAG_RUN == 0 {
                self.list(data.get(..bytes).ok_or_else(bad)?).ok_or_else(bad)?;
                continue;
            }
            let at = u64_at(data.get(..8).ok_or_else(bad)?, 0);
            let page = self.read(at, low + HEAD_BYTES as u64)?;
            if u16_at(&page, 10) != KIND_RUN {
                return Err(bad());
            }
            self.list(&page[HEAD_BYTES..]).ok_or_else(bad)?;
        }
        Ok(())
    }

    /// One value of the free list: a count and as many page numbers.
    fn list(&mut self, value: &[u8]) -> Option<()> {
        let count = usize::try_from(u64_at(value.get(..8)?, 0)).ok()?;
        let numbers = value.get(8..count.checked_mul(8)?.checked_add(8)?)?;
        let held = self.held;
        self.missing_free.extend(numbers.chunks_exact(8).map(|n| u64_at(n, 0)).filter(|page| *page >= held));
        Some(())
    }

    fn read(&mut self, number: u64, bytes: u64) -> Result<Vec<u8>, Cause> {
        let bad = || Cause::Damage(Flaw::FreeList { page: number });
        let end = number.checked_mul(self.page_bytes).and_then(|start| start.checked_add(bytes)).ok_or_else(bad)?;
        self.pages_read += bytes.div_ceil(self.page_bytes);
        // A list that reads more than the file holds goes round in circles.
        if end > self.held * self.page_bytes || self.pages_read > self.held {
            return Err(bad());
        }
        let mut page = vec![0; usize::try_from(bytes).map_err(|_| bad())?];
        read_at(self.file, &mut page, number * self.page_bytes)?;
        if u64_at(&page, 0) != number {
            return Err(bad());
        }
        Ok(page)
    }
}

fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> Result<(), Cause> {
    file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            Cause::Damage(Flaw::Short { bytes: length, needed: offset + bytes.len() as u64 })
        }
        _ => Cause::Io(error),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(eight)
}
