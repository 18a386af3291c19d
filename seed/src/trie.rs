//! A canonical Merkle map from short keys to entries: where a process keeps its open requests, owed replies, undelivered effects
//! and remembered outcomes, so that a commit costs what changed in them.
//!
//! A key's path is the sequence of 4-bit digits of the BLAKE3 hash of its bytes, high digit of each byte first. A subtree of at
//! most 16 entries is a bucket, `[2, [key, data, link]...]` by ascending key; a larger one is a branch,
//! `[1, bitmap, entries, id, entries, id...]`, with the number of entries below each child. So the shape, and the root, depend on the
//! content alone, whatever was put in or taken out before. An empty map has no root. `link` names a blob that belongs to the entry, or
//! is the empty byte string.
//!
//! A node is trusted no further than it has been checked: when it is loaded, its keys must belong where it is, and it must have the
//! number of entries that its parent says.

mod node;

use std::collections::BTreeMap;

pub use node::{TrieKid, TrieNode};

use crate::cbor::{CborError, Fault};
use crate::object::{LoadError, Objects};
use crate::{Domain, Id};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64;
/// Children of a branch.
pub const FANOUT: usize = 16;
/// Entries of a bucket.
pub const BUCKET_MAX: usize = 16;
/// A path has 64 digits, and no two keys share all of them in this universe.
const DEPTH_MAX: usize = 64;

/// What a key leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Bytes kept in the map itself; best short, since a change of one entry rewrites its bucket.
    pub data: Vec<u8>,
    /// A blob that belongs to it.
    pub link: Option<Id>,
}

/// The map, partly in memory.
#[derive(Debug, Default)]
pub struct Trie {
    root: Slot,
}

type Entries = BTreeMap<Vec<u8>, Entry>;

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Stored {
        id: Id,
        /// What the parent says; nobody says it of the root.
        entries: Option<u64>,
    },
    Node(Box<Node>),
}

#[derive(Debug)]
struct Node {
    id: Option<Id>,
    saved: bool,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Bucket(Entries),
    Branch { entries: u64, kids: Box<[Slot; FANOUT]> },
}

impl Trie {
    /// The map with a known root, to be loaded as needed.
    #[must_use]
    pub fn stored(root: Option<Id>) -> Self {
        Self { root: root.map_or(Slot::Empty, |id| Slot::Stored { id, entries: None }) }
    }

    /// How many entries there are.
    ///
    /// # Errors
    /// If the root node cannot be loaded.
    pub fn len(&mut self, objects: &dyn Objects) -> Result<u64, LoadError> {
        Ok(self.root.open(Place::ROOT, objects)?.map_or(0, |node| node.len()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.root, Slot::Empty)
    }

    /// The entry under `key`.
    ///
    /// # Errors
    /// If a node on the way cannot be loaded.
    pub fn get(&mut self, key: &[u8], objects: &dyn Objects) -> Result<Option<Entry>, LoadError> {
        let path = Path::of(key);
        let mut slot = &mut self.root;
        let mut place = Place::ROOT;
        loop {
            let Some(node) = slot.open(place, objects)? else { return Ok(None) };
            match &mut node.body {
                Body::Bucket(entries) => return Ok(entries.get(key).cloned()),
                Body::Branch { kids, .. } => {
                    let digit = path.digit(place.depth);
                    slot = &mut kids[usize::from(digit)];
                    place = place.child(digit);
                }
            }
        }
    }

    /// Puts an entry under `key`; the one that was there.
    ///
    /// # Errors
    /// If a node on the way cannot be loaded; the map is then unchanged.
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`]: stored, it could not be read again.
    pub fn insert(&mut self, key: &[u8], entry: Entry, objects: &dyn Objects) -> Result<Option<Entry>, LoadError> {
        assert!(key.len() <= KEY_BYTES_MAX, "a trie key is too long");
        self.root.insert(key, &Path::of(key), Place::ROOT, entry, objects)
    }

    /// Takes the entry under `key` out.
    ///
    /// # Errors
    /// If a node that is needed cannot be loaded; the map must then no longer be used.
    pub fn remove(&mut self, key: &[u8], objects: &dyn Objects) -> Result<Option<Entry>, LoadError> {
        self.root.remove(key, &Path::of(key), Place::ROOT, objects)
    }

    /// The root's id, after hashing every changed node.
    pub fn root(&mut self) -> Option<Id> {
        self.root.id()
    }

    /// The nodes of the current root that no checkpoint holds, children first; from now on they count as held.
    pub fn take_unsaved(&mut self) -> Vec<(Id, Vec<u8>)> {
        self.root();
        let mut taken = Vec::new();
        self.root.take_unsaved(&mut taken);
        taken
    }

    /// Every entry, by ascending key. Loads, and so checks, every node.
    ///
    /// # Errors
    /// If a node cannot be loaded.
    pub fn entries(&self, objects: &dyn Objects) -> Result<BTreeMap<Vec<u8>, Entry>, LoadError> {
        let mut all = BTreeMap::new();
        self.root.collect(Place::ROOT, objects, &mut all)?;
        Ok(all)
    }
}

/// The digits that lead to a key.
#[derive(Clone, Copy)]
struct Path([u8; 32]);

impl Path {
    fn of(key: &[u8]) -> Self {
        Self(*blake3::hash(key).as_bytes())
    }

    fn digit(&self, depth: usize) -> u8 {
        let byte = self.0[depth / 2];
        if depth.is_multiple_of(2) { byte >> 4 } else { byte & 15 }
    }
}

/// Where a node is: the first `depth` digits of the paths of all keys in it.
#[derive(Clone, Copy)]
struct Place {
    path: Path,
    depth: usize,
}

impl Place {
    const ROOT: Self = Self { path: Path([0; 32]), depth: 0 };

    fn child(self, digit: u8) -> Self {
        let mut path = self.path;
        let shift = if self.depth.is_multiple_of(2) { 4 } else { 0 };
        path.0[self.depth / 2] |= digit << shift;
        Self { path, depth: self.depth + 1 }
    }

    fn holds(self, key: &[u8]) -> bool {
        let path = Path::of(key);
        (0..self.depth).all(|depth| path.digit(depth) == self.path.digit(depth))
    }
}

impl Slot {
    fn open(&mut self, place: Place, objects: &dyn Objects) -> Result<Option<&mut Node>, LoadError> {
        if let Self::Stored { id, entries } = *self {
            *self = Self::Node(Box::new(Node::load(place, id, entries, objects)?));
        }
        Ok(match self {
            Self::Node(node) => Some(node),
            _ => None,
        })
    }

    fn bucket(entries: Entries) -> Self {
        if entries.is_empty() {
            return Self::Empty;
        }
        Self::Node(Box::new(Node { id: None, saved: false, body: Body::Bucket(entries) }))
    }

    fn insert(
        &mut self,
        key: &[u8],
        path: &Path,
        place: Place,
        entry: Entry,
        objects: &dyn Objects,
    ) -> Result<Option<Entry>, LoadError> {
        let Some(node) = self.open(place, objects)? else {
            *self = Self::bucket(Entries::from([(key.to_vec(), entry)]));
            return Ok(None);
        };
        let replaced = match &mut node.body {
            Body::Bucket(bucket) => {
                let replaced = bucket.insert(key.to_vec(), entry);
                if bucket.len() > BUCKET_MAX && place.depth < DEPTH_MAX {
                    node.body = split(std::mem::take(bucket), place.depth);
                }
                replaced
            }
            Body::Branch { entries, kids } => {
                let digit = path.digit(place.depth);
                let replaced = kids[usize::from(digit)].insert(key, path, place.child(digit), entry, objects)?;
                *entries += u64::from(replaced.is_none());
                replaced
            }
        };
        node.touch();
        Ok(replaced)
    }

    fn remove(
        &mut self,
        key: &[u8],
        path: &Path,
        place: Place,
        objects: &dyn Objects,
    ) -> Result<Option<Entry>, LoadError> {
        let Some(node) = self.open(place, objects)? else { return Ok(None) };
        let removed = match &mut node.body {
            Body::Bucket(bucket) => bucket.remove(key),
            Body::Branch { entries, kids } => {
                let digit = path.digit(place.depth);
                let removed = kids[usize::from(digit)].remove(key, path, place.child(digit), objects)?;
                *entries -= u64::from(removed.is_some());
                removed
            }
        };
        if removed.is_none() {
            return Ok(None);
        }
        node.touch();
        let left = node.len();
        match &node.body {
            Body::Bucket(_) if left == 0 => *self = Self::Empty,
            Body::Branch { .. } if left <= BUCKET_MAX as u64 => {
                let mut merged = Entries::new();
                self.collect(place, objects, &mut merged)?;
                *self = Self::bucket(merged);
            }
            _ => {}
        }
        Ok(removed)
    }

    fn collect(&self, place: Place, objects: &dyn Objects, into: &mut Entries) -> Result<(), LoadError> {
        let loaded;
        let node = match self {
            Self::Empty => return Ok(()),
            Self::Stored { id, entries } => {
                loaded = Node::load(place, *id, *entries, objects)?;
                &loaded
            }
            Self::Node(node) => node,
        };
        match &node.body {
            Body::Bucket(bucket) => {
                into.extend(bucket.iter().map(|(key, entry)| (key.clone(), entry.clone())));
                Ok(())
            }
            Body::Branch { kids, .. } => {
                let mut kids = (0..).zip(kids.iter());
                kids.try_for_each(|(digit, kid)| kid.collect(place.child(digit), objects, into))
            }
        }
    }

    fn id(&mut self) -> Option<Id> {
        match self {
            Self::Empty => None,
            Self::Stored { id, .. } => Some(*id),
            Self::Node(node) => Some(node.id()),
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Stored { entries, .. } => entries.unwrap_or(0),
            Self::Node(node) => node.len(),
        }
    }

    /// What its parent stores of it, once its id is known.
    fn kid(&self, digit: usize) -> Option<TrieKid> {
        let id = match self {
            Self::Empty => return None,
            Self::Stored { id, .. } => *id,
            Self::Node(node) => node.id?,
        };
        Some(TrieKid { digit, entries: self.len(), id })
    }

    fn take_unsaved(&mut self, taken: &mut Vec<(Id, Vec<u8>)>) {
        let Self::Node(node) = self else { return };
        if node.saved {
            return;
        }
        if let Body::Branch { kids, .. } = &mut node.body {
            kids.iter_mut().for_each(|kid| kid.take_unsaved(taken));
        }
        let id = node.id();
        taken.push((id, node.encode()));
        node.saved = true;
    }
}

fn split(entries: Entries, depth: usize) -> Body {
    let total = entries.len() as u64;
    let mut parts: [Entries; FANOUT] = Default::default();
    for (key, entry) in entries {
        parts[usize::from(Path::of(&key).digit(depth))].insert(key, entry);
    }
    let mut kids = Box::new([const { Slot::Empty }; FANOUT]);
    for (kid, part) in kids.iter_mut().zip(parts) {
        *kid = Slot::bucket(part);
        // All of a full bucket may share their next digit as well.
        if let Slot::Node(node) = kid
            && let Body::Bucket(bucket) = &mut node.body
            && bucket.len() > BUCKET_MAX
            && depth + 1 < DEPTH_MAX
        {
            node.body = split(std::mem::take(bucket), depth + 1);
        }
    }
    Body::Branch { entries: total, kids }
}

impl Node {
    fn load(place: Place, id: Id, entries: Option<u64>, objects: &dyn Objects) -> Result<Self, LoadError> {
        let bytes = objects.load(Domain::Node, &id)?;
        let broken = |rule| LoadError::Malformed { id, source: CborError { at: 0, fault: Fault::Rule(rule) } };
        let stored = TrieNode::decode(&bytes).map_err(|source| LoadError::Malformed { id, source })?;
        let total = stored.entries();
        if entries.is_some_and(|entries| entries != total) {
            return Err(broken("a trie node has another number of entries than its parent says"));
        }
        let body = match stored {
            TrieNode::Bucket(bucket) if bucket.keys().all(|key| place.holds(key)) => Body::Bucket(bucket),
            TrieNode::Bucket(_) => return Err(broken("a trie node has a key that belongs elsewhere")),
            // Without this, a stranger's chain of branches could be deeper than the stack.
            TrieNode::Branch(_) if place.depth >= DEPTH_MAX => return Err(broken("a trie is too deep")),
            TrieNode::Branch(stored) => {
                let mut kids = Box::new([const { Slot::Empty }; FANOUT]);
                for TrieKid { digit, entries, id } in stored {
                    kids[digit] = Slot::Stored { id, entries: Some(entries) };
                }
                Body::Branch { entries: total, kids }
            }
        };
        Ok(Self { id: Some(id), saved: true, body })
    }

    fn touch(&mut self) {
        self.id = None;
        self.saved = false;
    }

    fn len(&self) -> u64 {
        match &self.body {
            Body::Bucket(bucket) => bucket.len() as u64,
            Body::Branch { entries, .. } => *entries,
        }
    }

    fn id(&mut self) -> Id {
        if let Some(id) = self.id {
            return id;
        }
        if let Body::Branch { kids, .. } = &mut self.body {
            for kid in kids.iter_mut() {
                kid.id();
            }
        }
        let id = Id::of(Domain::Node, &self.encode());
        self.id = Some(id);
        id
    }

    /// Only once every child's id is known.
    fn encode(&self) -> Vec<u8> {
        match &self.body {
            Body::Bucket(bucket) => node::encode_bucket(bucket),
            Body::Branch { kids, .. } => {
                let kids: Vec<TrieKid> = kids.iter().enumerate().filter_map(|(digit, kid)| kid.kid(digit)).collect();
                node::encode_branch(&kids)
            }
        }
    }
}
