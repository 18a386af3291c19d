//! The nodes of a `data.mdb`, whatever has become of it: found by their look, without LMDB and without following anything.
//!
//! Every even offset of every block is looked at as the head of a node (see `pages`) whose key is one of ours: an id, a place in the log,
//! the tip's, in a store of format 1 the name of the branch. No page head, pointer or tree has to be sound for a node to be found, and what is
//! left of earlier commits is found with what is live. So *nothing here is proven*: a node may be stale, half overwritten, or bytes that a machine's memory holds.
//! Who takes a value shows it to a proof of its own.
//!
//! What cannot be read at all (a bad sector) is passed over and counted.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::pages::{FLAG_RUN, HEAD_BYTES, KIND_LEAF, KIND_RUN, NODE_BYTES, TIP_KEY, u16_at, u32_at, u64_at};
use crate::branch::MAIN;

/// Bytes read at a time: a multiple of the largest page, which no node crosses.
const CHUNK_BYTES: usize = 1 << 20;
/// What is read at a time where a chunk cannot be read.
const BLOCK_BYTES: usize = 4096;
/// The largest value in a leaf: half of LMDB's largest page.
const INLINE_BYTES_MAX: usize = 1 << 15;
/// The largest value that is looked at: the longest object or batch, and its frame.
const VALUE_BYTES_MAX: u64 = (1 << 30) + (1 << 17);
/// An id of the one hash there is: its code, its length, its digest.
const ID_BYTES: usize = 34;
const ID_START: [u8; 2] = [seed::id::BLAKE3, 32];
/// A place in the log of branch 0, the only one that this version writes.
const LOG_KEY_BYTES: usize = 12;
/// The keys that the record of the branch may have: since format 2, and before. A store that was once of format 1 may have remains of both.
const BRANCH_KEYS: [&[u8]; 2] = [TIP_KEY, MAIN.as_bytes()];

/// What a node seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// An object; the key is its id.
    Object,
    /// A batch; the key is its place in the log.
    Batch,
    /// The record of the branch, in a page that looks like one of LMDB's leaves.
    Branch,
    /// The value of a run, whose page looks like one of LMDB's; there is no key.
    Run,
}

/// A file that may be a store.
#[derive(Debug)]
pub(crate) struct Nodes {
    file: File,
    bytes: u64,
    page_sizes: Vec<u64>,
}

impl Nodes {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> io::Result<Nodes> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut nodes = Nodes { file, bytes, page_sizes: Vec::new() };
        let mut head = [0; 4096 + 44];
        let said = |head: &[u8]| u64::from(u32_at(head, 40));
        if nodes.file.read_exact_at(&mut head[..44], 0).is_ok() {
            nodes.page_sizes.push(said(&head));
        }
        let here = rustix::param::page_size() as u64;
        for size in [here, 4096] {
            if nodes.file.read_exact_at(&mut head[..44], size).is_ok() {
                nodes.page_sizes.push(said(&head));
            }
            nodes.page_sizes.push(size);
        }
        nodes.page_sizes.retain(|size| size.is_power_of_two() && (512..=65536).contains(size));
        let mut seen = Vec::new();
        nodes.page_sizes.retain(|size| {
            !seen.contains(size) && {
                seen.push(*size);
                true
            }
        });
        Ok(nodes)
    }

    /// How long the file is.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Shows everything that looks like a node of ours, with where it is and its key. Returns how many bytes could not be read.
    pub(crate) fn scan(&self, progress: &mut dyn FnMut(u64), found: &mut dyn FnMut(Look, u64, &[u8])) -> u64 {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut unreadable = 0;
        let mut at = 0;
        while at < self.bytes {
            let length = usize::try_from(self.bytes - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            unreadable += self.read_what_can_be(&mut chunk[..length], at);
            self.scan_chunk(&chunk[..length], at, found);
            at += length as u64;
            progress(at);
        }
        unreadable
    }

    fn read_what_can_be(&self, chunk: &mut [u8], at: u64) -> u64 {
        if self.file.read_exact_at(chunk, at).is_ok() {
            return 0;
        }
        let mut unreadable = 0;
        for (block, offset) in chunk.chunks_mut(BLOCK_BYTES).zip((at..).step_by(BLOCK_BYTES)) {
            if self.file.read_exact_at(block, offset).is_err() {
                block.fill(0);
                unreadable += block.len() as u64;
            }
        }
        unreadable
    }

    fn scan_chunk(&self, chunk: &[u8], start: u64, found: &mut dyn FnMut(Look, u64, &[u8])) {
        let page_bytes =
            self.page_sizes.first().map_or(BLOCK_BYTES, |size| usize::try_from(*size).unwrap_or(BLOCK_BYTES));
        for (page, head) in chunk.chunks_exact(page_bytes).enumerate() {
            let at = start + (page * page_bytes) as u64;
            if u16_at(head, 10) == KIND_RUN && u64_at(head, 0).checked_mul(page_bytes as u64) == Some(at) {
                found(Look::Run, at + HEAD_BYTES as u64, &[]);
            }
        }
        for (number, node) in chunk.windows(NODE_BYTES + LOG_KEY_BYTES).step_by(2).enumerate() {
            let at = 2 * number;
            let key = |bytes: usize| chunk.get(at + NODE_BYTES..at + NODE_BYTES + bytes);
            match usize::from(u16_at(node, 6)) {
                ID_BYTES if node[NODE_BYTES..].starts_with(&ID_START) => {
                    if let Some(key) = key(ID_BYTES) {
                        found(Look::Object, start + at as u64, key);
                    }
                }
                LOG_KEY_BYTES if node[NODE_BYTES..].starts_with(&[0; 4]) => {
                    if let Some(key) = key(LOG_KEY_BYTES) {
                        found(Look::Batch, start + at as u64, key);
                    }
                }
                bytes => {
                    let is_key = |key: &&[u8]| key.len() == bytes && node[NODE_BYTES..].starts_with(key);
                    let Some(key) = BRANCH_KEYS.into_iter().find(is_key) else { continue };
                    let page = at - at % page_bytes;
                    let is_leaf = chunk.get(page..page + HEAD_BYTES).is_some_and(|head| {
                        u16_at(head, 10) == KIND_LEAF
                            && u64_at(head, 0).checked_mul(page_bytes as u64) == Some(start + page as u64)
                    });
                    if is_leaf {
                        found(Look::Branch, start + at as u64, key);
                    }
                }
            }
        }
    }

    /// Shows the value of the node at a place to `prove`, in every form that it may have, until one is right. Whether one was.
    pub(crate) fn value(&self, at: u64, key_bytes: usize, prove: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> bool {
        let mut node = vec![0; NODE_BYTES + key_bytes];
        if self.file.read_exact_at(&mut node, at).is_err() {
            return false;
        }
        let (length, value, key) = (u32_at(&node, 0), at + node.len() as u64, &node[NODE_BYTES..]);
        // The flag may be what is damaged: the proof tells.
        let mut forms = [true, false];
        if u16_at(&node, 4) & FLAG_RUN == 0 {
            forms.reverse();
        }
        let prove = &mut |value: &[u8]| prove(key, value);
        forms.into_iter().any(|in_run| match in_run {
            true => self.runs(value).into_iter().any(|run| self.show(run, length, u64::MAX, prove)),
            false => self.show(value, length, INLINE_BYTES_MAX as u64, prove),
        })
    }

    /// Where the run may begin whose number is at a place.
    fn runs(&self, at: u64) -> Vec<u64> {
        let mut number = [0; 8];
        if self.file.read_exact_at(&mut number, at).is_err() {
            return Vec::new();
        }
        let begin = |size: &u64| u64_at(&number, 0).checked_mul(*size)?.checked_add(HEAD_BYTES as u64);
        self.page_sizes.iter().filter_map(begin).collect()
    }

    /// The value of the run at a place, and what lies between it and the end of the run's last page.
    pub(crate) fn run(&self, at: u64) -> Option<Vec<u8>> {
        let page_bytes = *self.page_sizes.first()?;
        let mut pages = [0; 4];
        self.file.read_exact_at(&mut pages, at - 4).ok()?;
        let end = (at - HEAD_BYTES as u64).checked_add(page_bytes.checked_mul(u64::from(u32_at(&pages, 0)))?)?;
        let length = end.min(self.bytes).checked_sub(at).filter(|length| *length <= VALUE_BYTES_MAX)?;
        let mut run = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut run, at).ok()?;
        Some(run)
    }

    fn show(&self, at: u64, length: u32, most: u64, prove: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let length = u64::from(length);
        // A length is believed only as far as the file has room for it.
        if length > most.min(VALUE_BYTES_MAX) || at.checked_add(length).is_none_or(|end| end > self.bytes) {
            return false;
        }
        let mut value = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut value, at).is_ok() && prove(&value)
    }
}
