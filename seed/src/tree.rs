//! The page tree: a Merkle tree over a memory's pages, updated in memory at the cost of what changed.
//!
//! A tree over `n` pages has the least height `h` with `64^h >= n`, so its shape depends on the memory's size alone. All-zero
//! pages and subtrees are absent. A node is `[0, level, bitmap, id...]`: level 0 holds page ids, higher levels hold node ids; bit
//! `i` of the bitmap says that child `i` is present, and ids follow in that order. A memory's root is the id of its top node, or
//! nothing if all its pages are zero.
//!
//! A fan-out of 64 was chosen by `cargo bench -p tests` (docs/bench.md): wide enough that 4 GiB has four levels, narrow enough
//! that hashing the path above one page costs less than hashing the page twice.
//!
//! Nodes are loaded when first needed and stay in memory; [`PageTree::root`] hashes the changed ones, [`PageTree::take_unsaved`]
//! hands out those that no checkpoint holds yet.

use crate::cbor::{CborError, Fault, Reader, Writer};
use crate::object::{KIND_TREE_NODE, Link, LoadError, Objects, expect_kind};
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

    /// The tree with a known root, to be loaded as needed.
    #[must_use]
    pub fn stored(pages: u64, root: Option<Id>) -> Self {
        debug_assert!(pages <= PAGE_COUNT_MAX);
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
            let Some(node) = slot.open(level, objects)? else { return Ok(None) };
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
            Some(level) => self.root.set(level, index, page, objects).map(drop),
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
            Some(level) => self.root.for_each(level, 0, objects, visit),
            None => Ok(()),
        }
    }
}

impl Slot {
    /// The node in this slot, loaded if need be.
    fn open(&mut self, level: u32, objects: &dyn Objects) -> Result<Option<&mut Node>, LoadError> {
        if let Self::Stored(id) = *self {
            *self = Self::Node(Box::new(Node::load(level, id, objects)?));
        }
        Ok(match self {
            Self::Node(node) => Some(node),
            _ => None,
        })
    }

    /// Whether anything changed.
    fn set(
        &mut self,
        level: u32,
        index: PageIndex,
        page: Option<Id>,
        objects: &dyn Objects,
    ) -> Result<bool, LoadError> {
        let node = match self.open(level, objects)? {
            Some(node) => node,
            None if page.is_none() => return Ok(false),
            None => {
                *self = Self::Node(Box::new(Node::empty(level)));
                return self.set(level, index, page, objects);
            }
        };
        let changed = match &mut node.kids {
            Kids::Pages(kids) => std::mem::replace(&mut kids[digit(index, 0)], page) != page,
            Kids::Nodes(kids) => kids[digit(index, level)].set(level - 1, index, page, objects)?,
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
        level: u32,
        first: u64,
        objects: &dyn Objects,
        visit: &mut dyn FnMut(PageIndex, Id) -> Result<(), E>,
    ) -> Result<(), E> {
        let loaded;
        let node = match self {
            Self::Empty => return Ok(()),
            Self::Stored(id) => {
                loaded = Node::load(level, *id, objects)?;
                &loaded
            }
            Self::Node(node) => node,
        };
        for position in 0..FANOUT {
            let index = first + ((position as u64) << (FANOUT_BITS * level));
            match &node.kids {
                Kids::Pages(kids) => {
                    if let (Some(id), Ok(index)) = (kids[position], u32::try_from(index)) {
                        visit(PageIndex(index), id)?;
                    }
                }
                Kids::Nodes(kids) => kids[position].for_each(level - 1, index, objects, visit)?,
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

    fn load(level: u32, id: Id, objects: &dyn Objects) -> Result<Self, LoadError> {
        let bytes = objects.load(Domain::Node, &id)?;
        let malformed = |source| LoadError::Malformed { id, source };
        let (found, kids) = decode(&bytes).map_err(malformed)?;
        if found != level {
            return Err(malformed(CborError { at: 0, fault: Fault::Rule("a tree node is at the wrong level") }));
        }
        let mut node = Self { id: Some(id), saved: true, ..Self::empty(level) };
        for (position, kid) in kids {
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
        let ids: Vec<(usize, &Id)> = match &self.kids {
            Kids::Pages(kids) => kids.iter().enumerate().filter_map(|(i, kid)| Some((i, kid.as_ref()?))).collect(),
            Kids::Nodes(kids) => kids
                .iter()
                .enumerate()
                .filter_map(|(i, kid)| match kid {
                    Slot::Empty => None,
                    Slot::Stored(id) => Some((i, id)),
                    Slot::Node(node) => Some((i, node.id.as_ref()?)),
                })
                .collect(),
        };
        let bitmap = ids.iter().fold(0_u64, |bitmap, (position, _)| bitmap | 1 << position);
        let mut writer = Writer::with_capacity(16 + ids.len() * 36);
        writer.array(3 + ids.len()).uint(KIND_TREE_NODE).uint(u64::from(level)).uint(bitmap);
        ids.iter().for_each(|(_, id)| id.write(&mut writer));
        writer.finish()
    }
}

/// Which child leads to the page from a node at `level`.
fn digit(index: PageIndex, level: u32) -> usize {
    (index.0 >> (FANOUT_BITS * level)) as usize % FANOUT
}

fn height(pages: u64) -> u32 {
    (0..=LEVEL_MAX + 1)
        .find(|&height| pages == 0 || 1_u64 << (FANOUT_BITS * height) >= pages && height > 0)
        .unwrap_or(LEVEL_MAX + 1)
}

/// A node's level, and its children by position.
fn decode(bytes: &[u8]) -> Result<(u32, Vec<(usize, Id)>), CborError> {
    let mut reader = Reader::new(bytes);
    let count = reader.array()?;
    expect_kind(&mut reader, KIND_TREE_NODE)?;
    let level = reader.uint_max(u64::from(LEVEL_MAX), "a tree node's level")?;
    let bitmap = reader.uint()?;
    if bitmap == 0 || count != 3 + bitmap.count_ones() as usize {
        return Err(reader.fault(Fault::Rule("a tree node's bitmap and children disagree")));
    }
    let mut kids = Vec::with_capacity(bitmap.count_ones() as usize);
    for position in (0..FANOUT).filter(|position| bitmap >> position & 1 == 1) {
        kids.push((position, Id::read(&mut reader)?));
    }
    reader.end()?;
    Ok((level as u32, kids))
}

pub(crate) fn links(bytes: &[u8]) -> Result<Vec<Link>, CborError> {
    let (level, kids) = decode(bytes)?;
    let domain = if level == 0 { Domain::Page } else { Domain::Node };
    Ok(kids.into_iter().map(|(_, id)| (domain, id)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;

    use super::*;
    use crate::object::NoObjects;

    #[derive(Default)]
    struct Shelf(HashMap<Id, Vec<u8>>);

    impl Objects for Shelf {
        fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
            self.0.get(id).cloned().ok_or(LoadError::Missing { domain, id: *id })
        }
    }

    fn page(n: u64) -> Option<Id> {
        (n % 5 != 0).then(|| Id::of(Domain::Page, &n.to_le_bytes()))
    }

    fn build(pages: u64, content: &BTreeMap<u32, Option<Id>>) -> Option<Id> {
        let mut tree = PageTree::zero(pages);
        for (index, id) in content {
            tree.set(PageIndex(*index), *id, &NoObjects).unwrap();
        }
        tree.root()
    }

    #[test]
    fn heights_follow_the_size() {
        let heights = [0, 1, 64, 65, 4096, 4097, 262_144, 262_145, PAGE_COUNT_MAX].map(height);
        assert_eq!(heights, [0, 1, 1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn malformed_nodes_are_refused() {
        let id = Id::of(Domain::Page, b"x");
        let node = |level: u64, bitmap: u64, ids: usize| {
            let mut writer = Writer::new();
            writer.array(3 + ids).uint(KIND_TREE_NODE).uint(level).uint(bitmap);
            (0..ids).for_each(|_| id.write(&mut writer));
            links(&writer.finish())
        };
        assert!(node(0, 0b101, 2).is_ok());
        assert!(node(0, 0, 0).is_err());
        assert!(node(0, 0b101, 1).is_err());
        assert!(node(4, 1, 1).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// However a tree came about (order, growth, reloading), its root depends on its content alone.
        #[test]
        fn roots_depend_on_content_alone(
            writes in proptest::collection::vec((0_u32..5000, 0_u64..20, any::<bool>()), 1..80),
        ) {
            let mut shelf = Shelf::default();
            let mut tree = PageTree::zero(1);
            let mut content = BTreeMap::new();
            for (index, n, reload) in writes {
                tree.grow(tree.pages().max(u64::from(index) + 1));
                tree.set(PageIndex(index), page(n), &shelf).unwrap();
                content.insert(index, page(n));
                if reload {
                    let root = tree.root();
                    shelf.0.extend(tree.take_unsaved());
                    prop_assert!(tree.take_unsaved().is_empty());
                    tree = PageTree::stored(tree.pages(), root);
                }
            }
            prop_assert_eq!(tree.root(), build(tree.pages(), &content));
            content.retain(|_, id| id.is_some());
            let mut seen = BTreeMap::new();
            tree.for_each::<LoadError>(&shelf, &mut |index, id| { seen.insert(index.0, Some(id)); Ok(()) }).unwrap();
            prop_assert_eq!(&seen, &content);
            for index in [0, 1, 63, 64, 4095, 4096, 4999] {
                prop_assert_eq!(tree.get(PageIndex(index), &shelf).unwrap(), content.get(&index).copied().flatten());
            }
        }
    }
}
