//! The page tree: a Merkle tree over a memory's pages, updated in memory at the cost of what changed.
//!
//! A tree over `n` pages, `n > 0`, has the least height `h > 0` with `64^h >= n`, so its shape depends on the memory's size alone.
//! All-zero pages and subtrees are absent, and nothing is present beyond the memory's end. A node is `[0, level, bitmap, id...]`: level 0 holds page ids, higher levels hold node ids; bit
//! `i` of the bitmap says that child `i` is present, and ids follow in that order. A memory's root is the id of its top node, or
//! nothing if all its pages are zero.
//!
//! A fan-out of 64 (`cargo bench -- choices` compares it with others): wide enough that 4 GiB has four levels, narrow enough
//! that hashing the path above one page costs less than hashing the page twice.
//!
//! Nodes are loaded when first needed and stay in memory; [`PageTree::root`] hashes the changed ones, [`PageTree::take_unsaved`]
//! hands out those that no checkpoint holds yet.

mod node;

pub use node::TreeNode;

use crate::cbor::{CborError, Fault};
use crate::object::{LoadError, Objects};
use crate::page::PAGE_COUNT_MAX;
use crate::{Domain, Id, PageIndex};

/// Children of a node.
pub const FANOUT: usize = 64;
const FANOUT_BITS: u32 = 6;
/// The highest level a node may have: 64^4 pages are more than a memory can have.
const LEVEL_MAX: u32 = 3;

/// A memory's pages as ids, partly in memory.
#[derive(Debug)]
pub struct PageTree {
    pages: u64,
    root: Slot,
}

#[derive(Debug)]
enum Slot {
    Empty,
    Stored(Id),
    Node(Box<Node>),
}

#[derive(Debug)]
struct Node {
    /// Known while nothing below has changed.
    id: Option<Id>,
    /// Whether some checkpoint (or the store it was loaded from) holds this very node.
    saved: bool,
    kids: Kids,
}

#[derive(Debug)]
enum Kids {
    Pages(Box<[Option<Id>; FANOUT]>),
    Nodes(Box<[Slot; FANOUT]>),
}

impl PageTree {
    /// The tree of a memory of `pages` zero pages.
    #[must_use]
    pub fn zero(pages: u64) -> Self {
        Self::stored(pages, None)
    }

    /// The tree with a known root, to be loaded as needed. What loads is checked: a node at another level than its place asks for, or
    /// with pages beyond the memory's end, is malformed.
    #[must_use]
    pub fn stored(pages: u64, root: Option<Id>) -> Self {
        debug_assert!(pages <= PAGE_COUNT_MAX);
        debug_assert!(pages > 0 || root.is_none());
        Self { pages, root: root.map_or(Slot::Empty, Slot::Stored) }
    }

    /// How many pages the memory has.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Adds zero pages at the end. A memory never shrinks.
    pub fn grow(&mut self, pages: u64) {
        debug_assert!(self.pages <= pages && pages <= PAGE_COUNT_MAX);
        for level in height(self.pages)..height(pages) {
            self.root = match std::mem::replace(&mut self.root, Slot::Empty) {
                Slot::Empty => Slot::Empty,
                old => {
                    let mut node = Node::empty(level);
                    if let Kids::Nodes(kids) = &mut node.kids {
                        kids[0] = old;
                    }
                    Slot::Node(Box::new(node))
                }
            };
        }
        self.pages = pages;
    }

    /// The id of a page; zero pages have none.
    ///
    /// # Errors
    /// If a node on the way cannot be loaded.
    pub fn get(&mut self, index: PageIndex, objects: &dyn Objects) -> Result<Option<Id>, LoadError> {
        let mut level = height(self.pages);
        let mut slot = &mut self.root;
        loop {
            level = match level.checked_sub(1) {
                Some(level) if u64::from(index.0) < self.pages => level,
                _ => return Ok(None),
            };
            let place = Place::of(index, level, self.pages);
            let Some(node) = slot.open(place, objects)? else { return Ok(None) };
            match &mut node.kids {
                Kids::Pages(kids) => return Ok(kids[digit(index, 0)]),
                Kids::Nodes(kids) => slot = &mut kids[digit(index, level)],
            }
        }
    }

    /// Sets the id of a page within the memory; `None` for a zero page.
    ///
    /// # Errors
    /// If a node on the way cannot be loaded; the tree is then unchanged.
    pub fn set(&mut self, index: PageIndex, page: Option<Id>, objects: &dyn Objects) -> Result<(), LoadError> {
        debug_assert!(u64::from(index.0) < self.pages);
        match height(self.pages).checked_sub(1) {
            Some(level) => self.root.set(Place::of(index, level, self.pages), index, page, objects).map(|_| ()),
            None => Ok(()),
        }
    }

    /// The root's id, after hashing every changed node.
    pub fn root(&mut self) -> Option<Id> {
        self.root.id(height(self.pages).saturating_sub(1))
    }

    /// The nodes of the current root that no checkpoint holds, children first; from now on they count as held.
    pub fn take_unsaved(&mut self) -> Vec<(Id, Vec<u8>)> {
        self.root();
        let mut taken = Vec::new();
        self.root.take_unsaved(height(self.pages).saturating_sub(1), &mut taken);
        taken
    }

    /// Visits every page that is not zero, by ascending index.
    ///
    /// # Errors
    /// If a node cannot be loaded, or `visit` fails.
    pub fn for_each<E: From<LoadError>>(
        &self,
        objects: &dyn Objects,
        visit: &mut dyn FnMut(PageIndex, Id) -> Result<(), E>,
    ) -> Result<(), E> {
        match height(self.pages).checked_sub(1) {
            Some(level) => self.root.for_each(Place { level, first: 0, pages: self.pages }, objects, visit),
            None => Ok(()),
        }
    }
}

/// Where a node is: what its level must be, and which pages it may have.
#[derive(Clone, Copy)]
struct Place {
    level: u32,
    /// The first page below it.
    first: u64,
    /// How many the whole memory has.
    pages: u64,
}

impl Place {
    /// The place of the node at `level` on the way to a page.
    fn of(index: PageIndex, level: u32, pages: u64) -> Self {
        let below = FANOUT_BITS * (level + 1);
        Self { level, first: u64::from(index.0) >> below << below, pages }
    }

    /// The place of a child that is a node, too.
    fn child(self, position: usize) -> Self {
        Self { level: self.level - 1, first: node::first_page(self.first, position, self.level), ..self }
    }
}

impl Slot {
    /// The node in this slot, loaded if need be.
    fn open(&mut self, place: Place, objects: &dyn Objects) -> Result<Option<&mut Node>, LoadError> {
        if let Self::Stored(id) = *self {
            *self = Self::Node(Box::new(Node::load(place, id, objects)?));
        }
        Ok(match self {
            Self::Node(node) => Some(node),
            _ => None,
        })
    }

    /// Whether anything changed.
    fn set(
        &mut self,
        place: Place,
        index: PageIndex,
        page: Option<Id>,
        objects: &dyn Objects,
    ) -> Result<bool, LoadError> {
        let node = match self.open(place, objects)? {
            Some(node) => node,
            None if page.is_none() => return Ok(false),
            None => {
                *self = Self::Node(Box::new(Node::empty(place.level)));
                return self.set(place, index, page, objects);
            }
        };
        let changed = match &mut node.kids {
            Kids::Pages(kids) => std::mem::replace(&mut kids[digit(index, 0)], page) != page,
            Kids::Nodes(kids) => {
                let position = digit(index, place.level);
                kids[position].set(place.child(position), index, page, objects)?
            }
        };
        if changed {
            node.id = None;
            node.saved = false;
            if node.is_empty() {
                *self = Self::Empty;
            }
        }
        Ok(changed)
    }

    /// The id, if it has one and it is known.
    fn known_id(&self) -> Option<&Id> {
        match self {
            Self::Empty => None,
            Self::Stored(id) => Some(id),
            Self::Node(node) => node.id.as_ref(),
        }
    }

    fn id(&mut self, level: u32) -> Option<Id> {
        match self {
            Self::Empty => None,
            Self::Stored(id) => Some(*id),
            Self::Node(node) => Some(node.id(level)),
        }
    }

    fn take_unsaved(&mut self, level: u32, taken: &mut Vec<(Id, Vec<u8>)>) {
        let Self::Node(node) = self else { return };
        if node.saved {
            return;
        }
        if let Kids::Nodes(kids) = &mut node.kids {
            kids.iter_mut().for_each(|kid| kid.take_unsaved(level.saturating_sub(1), taken));
        }
        let id = node.id(level);
        taken.push((id, node.encode(level)));
        node.saved = true;
    }

    fn for_each<E: From<LoadError>>(
        &self,
        place: Place,
        objects: &dyn Objects,
        visit: &mut dyn FnMut(PageIndex, Id) -> Result<(), E>,
    ) -> Result<(), E> {
        let loaded;
        let node = match self {
            Self::Empty => return Ok(()),
            Self::Stored(id) => {
                loaded = Node::load(place, *id, objects)?;
                &loaded
            }
            Self::Node(node) => node,
        };
        match &node.kids {
            Kids::Pages(kids) => {
                for (index, kid) in (place.first..).zip(kids.iter()) {
                    if let (Some(id), Ok(index)) = (kid, u32::try_from(index)) {
                        visit(PageIndex(index), *id)?;
                    }
                }
            }
            Kids::Nodes(kids) => {
                for (position, kid) in kids.iter().enumerate() {
                    kid.for_each(place.child(position), objects, visit)?;
                }
            }
        }
        Ok(())
    }
}

impl Node {
    fn empty(level: u32) -> Self {
        let kids = match level {
            0 => Kids::Pages(Box::new([None; FANOUT])),
            _ => Kids::Nodes(Box::new([const { Slot::Empty }; FANOUT])),
        };
        Self { id: None, saved: false, kids }
    }

    fn load(place: Place, id: Id, objects: &dyn Objects) -> Result<Self, LoadError> {
        let bytes = objects.load(Domain::Node, &id)?;
        let broken = |rule| LoadError::Malformed { id, source: CborError { at: 0, fault: Fault::Rule(rule) } };
        let stored = TreeNode::decode(&bytes).map_err(|source| LoadError::Malformed { id, source })?;
        if stored.level != place.level {
            return Err(broken("a tree node is at the wrong level"));
        }
        if !stored.fits(place.first, place.pages) {
            return Err(broken("a tree node has pages beyond the end of the memory"));
        }
        let mut node = Self { id: Some(id), saved: true, ..Self::empty(place.level) };
        for (position, kid) in stored.kids {
            match &mut node.kids {
                Kids::Pages(kids) => kids[position] = Some(kid),
                Kids::Nodes(kids) => kids[position] = Slot::Stored(kid),
            }
        }
        Ok(node)
    }

    fn is_empty(&self) -> bool {
        match &self.kids {
            Kids::Pages(kids) => kids.iter().all(Option::is_none),
            Kids::Nodes(kids) => kids.iter().all(|kid| matches!(kid, Slot::Empty)),
        }
    }

    fn id(&mut self, level: u32) -> Id {
        if let Some(id) = self.id {
            return id;
        }
        if let Kids::Nodes(kids) = &mut self.kids {
            for kid in kids.iter_mut() {
                kid.id(level.saturating_sub(1));
            }
        }
        let id = Id::of(Domain::Node, &self.encode(level));
        self.id = Some(id);
        id
    }

    /// Only once every child's id is known.
    fn encode(&self, level: u32) -> Vec<u8> {
        match &self.kids {
            Kids::Pages(kids) => node::encode(
                level,
                kids.iter().enumerate().filter_map(|(position, kid)| Some((position, kid.as_ref()?))),
            ),
            Kids::Nodes(kids) => node::encode(
                level,
                kids.iter().enumerate().filter_map(|(position, kid)| Some((position, kid.known_id()?))),
            ),
        }
    }
}

/// Which child leads to the page from a node at `level`.
fn digit(index: PageIndex, level: u32) -> usize {
    (index.0 >> (FANOUT_BITS * level)) as usize % FANOUT
}

/// Levels of nodes above the pages of a memory.
fn height(pages: u64) -> u32 {
    if pages == 0 {
        return 0;
    }
    (1..=LEVEL_MAX).find(|height| 1 << (FANOUT_BITS * height) >= pages).unwrap_or(LEVEL_MAX + 1)
}

const _: () = assert!(1_u64 << (FANOUT_BITS * (LEVEL_MAX + 1)) >= PAGE_COUNT_MAX);
const _: () = assert!(FANOUT == 1 << FANOUT_BITS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_follow_the_size() {
        let heights = [0, 1, 64, 65, 4096, 4097, 262_144, 262_145, PAGE_COUNT_MAX].map(height);
        assert_eq!(heights, [0, 1, 1, 2, 2, 3, 3, 4, 4]);
    }
}
