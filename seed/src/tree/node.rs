//! A page tree node as it is stored: `[0, level, bitmap, id...]`.

use super::{FANOUT, FANOUT_BITS, LEVEL_MAX};
use crate::cbor::{CborError, Fault, Reader, Writer};
use crate::object::{KIND_TREE_NODE, Link, expect_kind};
use crate::page::PAGE_COUNT_MAX;
use crate::{Domain, Id};

/// A stored node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeNode {
    /// 0 if its children are pages, one more than theirs otherwise.
    pub level: u32,
    /// Positions below [`FANOUT`] and ids of its children, ascending; at least one.
    pub kids: Vec<(usize, Id)>,
}

impl TreeNode {
    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self.level, self.kids.iter().map(|(position, id)| (*position, id)))
    }

    /// Reads an encoding.
    ///
    /// # Errors
    /// If it is not canonical or not a page tree node.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(bytes);
        let count = reader.array()?;
        expect_kind(&mut reader, KIND_TREE_NODE)?;
        let level = reader.uint_max(u64::from(LEVEL_MAX), "a tree node's level")?;
        let level = u32::try_from(level).map_err(|_| reader.fault(Fault::Range { what: "a tree node's level" }))?;
        let bitmap = reader.uint()?;
        if bitmap == 0 || count != 3 + bitmap.count_ones() as usize {
            return Err(reader.fault(Fault::Rule("a tree node's bitmap and children disagree")));
        }
        let mut kids = Vec::with_capacity(bitmap.count_ones() as usize);
        for position in (0..FANOUT).filter(|position| bitmap >> position & 1 == 1) {
            kids.push((position, Id::read(&mut reader)?));
        }
        let node = Self { level, kids };
        if !node.fits(0, PAGE_COUNT_MAX) {
            return Err(reader.fault(Fault::Rule("a tree node has pages that no memory has")));
        }
        reader.end()?;
        Ok(node)
    }

    /// Whether every child lies within a memory of `pages` pages, if this node's first page is `first`.
    pub(super) fn fits(&self, first: u64, pages: u64) -> bool {
        self.kids.last().is_none_or(|(position, _)| first_page(first, *position, self.level) < pages)
    }

    pub(crate) fn links(&self) -> Vec<Link> {
        let domain = if self.level == 0 { Domain::Page } else { Domain::Node };
        self.kids.iter().map(|(_, id)| (domain, *id)).collect()
    }
}

/// The first page below the child at `position` of a node at `level` whose own first page is `first`.
pub(super) fn first_page(first: u64, position: usize, level: u32) -> u64 {
    first + ((position as u64) << (FANOUT_BITS * level))
}

/// The encoding of a node with these children, by ascending position.
pub(super) fn encode<'a>(level: u32, kids: impl Iterator<Item = (usize, &'a Id)> + Clone) -> Vec<u8> {
    let (count, bitmap) = kids.clone().fold((0, 0_u64), |(n, bitmap), (position, _)| (n + 1, bitmap | 1 << position));
    let mut writer = Writer::with_capacity(16 + count * 36);
    writer.array(3 + count).uint(KIND_TREE_NODE).uint(u64::from(level)).uint(bitmap);
    kids.for_each(|(_, id)| id.write(&mut writer));
    writer.finish()
}
