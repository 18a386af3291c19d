//! A canonical Merkle map from short keys to entries: where a process keeps its open requests, owed replies, undelivered effects
//! and remembered outcomes, so that a commit costs what changed in them.
//!
//! A key's path is the sequence of 4-bit digits of the BLAKE3 hash of its bytes, high digit of each byte first. A subtree of at
//! most 16 entries is a bucket, `[2, [key, data, link]...]` by ascending key; a larger one is a branch,
//! `[1, entries, bitmap, id...]`. So the shape, and the root, depend on the content alone, whatever was put in or taken out before. An
//! empty map has no root. `link` names a blob that belongs to the entry, or is the empty byte string.

use std::collections::BTreeMap;

use crate::cbor::{CborError, Fault, Reader, Writer};
use crate::object::{KIND_TRIE_BRANCH, KIND_TRIE_BUCKET, Link, LoadError, Objects, expect_kind};
use crate::{Domain, Id};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64;
const FANOUT: usize = 16;
const BUCKET_MAX: usize = 16;
/// A path has 64 digits; a bucket there may be larger than others, and no two keys get there in this universe.
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
    Stored(Id),
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
        Self { root: root.map_or(Slot::Empty, Slot::Stored) }
    }

    /// How many entries there are.
    ///
    /// # Errors
    /// If the root node cannot be loaded.
    pub fn len(&mut self, objects: &dyn Objects) -> Result<u64, LoadError> {
        Ok(self.root.open(objects)?.map_or(0, |node| node.len()))
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
        for depth in 0.. {
            let Some(node) = slot.open(objects)? else { break };
            match &mut node.body {
                Body::Bucket(entries) => return Ok(entries.get(key).cloned()),
                Body::Branch { kids, .. } => slot = &mut kids[path.digit(depth)],
            }
        }
        Ok(None)
    }

    /// Puts an entry under `key`; the one that was there.
    ///
    /// # Errors
    /// If a node on the way cannot be loaded; the map is then unchanged.
    pub fn insert(&mut self, key: &[u8], entry: Entry, objects: &dyn Objects) -> Result<Option<Entry>, LoadError> {
        debug_assert!(key.len() <= KEY_BYTES_MAX);
        self.root.insert(key, &Path::of(key), 0, entry, objects)
    }

    /// Takes the entry under `key` out.
    ///
    /// # Errors
    /// If a node that is needed cannot be loaded; the map must then no longer be used.
    pub fn remove(&mut self, key: &[u8], objects: &dyn Objects) -> Result<Option<Entry>, LoadError> {
        self.root.remove(key, &Path::of(key), 0, objects)
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

    /// Every entry, by ascending key.
    ///
    /// # Errors
    /// If a node cannot be loaded.
    pub fn entries(&self, objects: &dyn Objects) -> Result<BTreeMap<Vec<u8>, Entry>, LoadError> {
        let mut all = BTreeMap::new();
        self.root.collect(objects, &mut all)?;
        Ok(all)
    }
}

struct Path([u8; 32]);

impl Path {
    fn of(key: &[u8]) -> Self {
        Self(*blake3::hash(key).as_bytes())
    }

    fn digit(&self, depth: usize) -> usize {
        let byte = self.0[depth / 2 % 32];
        usize::from(if depth.is_multiple_of(2) { byte >> 4 } else { byte & 15 })
    }
}

impl Slot {
    fn open(&mut self, objects: &dyn Objects) -> Result<Option<&mut Node>, LoadError> {
        if let Self::Stored(id) = *self {
            *self = Self::Node(Box::new(Node::load(id, objects)?));
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
        depth: usize,
        entry: Entry,
        objects: &dyn Objects,
    ) -> Result<Option<Entry>, LoadError> {
        let Some(node) = self.open(objects)? else {
            *self = Self::bucket(Entries::from([(key.to_vec(), entry)]));
            return Ok(None);
        };
        let replaced = match &mut node.body {
            Body::Bucket(bucket) => {
                let replaced = bucket.insert(key.to_vec(), entry);
                if bucket.len() > BUCKET_MAX && depth < DEPTH_MAX {
                    node.body = split(std::mem::take(bucket), depth);
                }
                replaced
            }
            Body::Branch { entries, kids } => {
                let replaced = kids[path.digit(depth)].insert(key, path, depth + 1, entry, objects)?;
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
        depth: usize,
        objects: &dyn Objects,
    ) -> Result<Option<Entry>, LoadError> {
        let Some(node) = self.open(objects)? else { return Ok(None) };
        let removed = match &mut node.body {
            Body::Bucket(bucket) => bucket.remove(key),
            Body::Branch { kids, .. } => kids[path.digit(depth)].remove(key, path, depth + 1, objects)?,
        };
        if removed.is_none() {
            return Ok(None);
        }
        node.touch();
        match &mut node.body {
            Body::Bucket(bucket) if bucket.is_empty() => *self = Self::Empty,
            Body::Bucket(_) => {}
            Body::Branch { entries, kids } => {
                *entries -= 1;
                if *entries <= BUCKET_MAX as u64 {
                    let mut merged = Entries::new();
                    kids.iter().try_for_each(|kid| kid.collect(objects, &mut merged))?;
                    *self = Self::bucket(merged);
                }
            }
        }
        Ok(removed)
    }

    fn collect(&self, objects: &dyn Objects, into: &mut Entries) -> Result<(), LoadError> {
        let loaded;
        let node = match self {
            Self::Empty => return Ok(()),
            Self::Stored(id) => {
                loaded = Node::load(*id, objects)?;
                &loaded
            }
            Self::Node(node) => node,
        };
        match &node.body {
            Body::Bucket(bucket) => {
                into.extend(bucket.iter().map(|(key, entry)| (key.clone(), entry.clone())));
                Ok(())
            }
            Body::Branch { kids, .. } => kids.iter().try_for_each(|kid| kid.collect(objects, into)),
        }
    }

    fn id(&mut self) -> Option<Id> {
        match self {
            Self::Empty => None,
            Self::Stored(id) => Some(*id),
            Self::Node(node) => Some(node.id()),
        }
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
        parts[Path::of(&key).digit(depth)].insert(key, entry);
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
    fn load(id: Id, objects: &dyn Objects) -> Result<Self, LoadError> {
        let bytes = objects.load(Domain::Node, &id)?;
        let body = match decode(&bytes).map_err(|source| LoadError::Malformed { id, source })? {
            Decoded::Bucket(bucket) => Body::Bucket(bucket),
            Decoded::Branch { entries, kids: ids } => {
                let mut kids = Box::new([const { Slot::Empty }; FANOUT]);
                ids.into_iter().for_each(|(position, id)| kids[position] = Slot::Stored(id));
                Body::Branch { entries, kids }
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
        let mut writer = Writer::new();
        match &self.body {
            Body::Bucket(bucket) => {
                writer.array(1 + bucket.len()).uint(KIND_TRIE_BUCKET);
                for (key, entry) in bucket {
                    writer.array(3).bytes(key).bytes(&entry.data);
                    Id::write_option(entry.link.as_ref(), &mut writer);
                }
            }
            Body::Branch { entries, kids } => {
                let ids: Vec<(usize, Id)> = kids
                    .iter()
                    .enumerate()
                    .filter_map(|(position, kid)| match kid {
                        Slot::Empty => None,
                        Slot::Stored(id) => Some((position, *id)),
                        Slot::Node(node) => Some((position, node.id?)),
                    })
                    .collect();
                let bitmap = ids.iter().fold(0_u64, |bitmap, (position, _)| bitmap | 1 << position);
                writer.array(3 + ids.len()).uint(KIND_TRIE_BRANCH).uint(*entries).uint(bitmap);
                ids.iter().for_each(|(_, id)| id.write(&mut writer));
            }
        }
        writer.finish()
    }
}

enum Decoded {
    Bucket(Entries),
    Branch { entries: u64, kids: Vec<(usize, Id)> },
}

fn decode(bytes: &[u8]) -> Result<Decoded, CborError> {
    let mut reader = Reader::new(bytes);
    let count = reader.array()?;
    if crate::object::kind(bytes)? == KIND_TRIE_BUCKET {
        expect_kind(&mut reader, KIND_TRIE_BUCKET)?;
        let mut bucket = Entries::new();
        for _ in 1..count {
            reader.array_of(3)?;
            let key = reader.bytes()?;
            if key.len() > KEY_BYTES_MAX || bucket.last_key_value().is_some_and(|(last, _)| last.as_slice() >= key) {
                return Err(reader.fault(Fault::Rule("a bucket's keys are too long or out of order")));
            }
            let data = reader.bytes()?.to_vec();
            let link = Id::read_option(&mut reader)?;
            bucket.insert(key.to_vec(), Entry { data, link });
        }
        if bucket.is_empty() {
            return Err(reader.fault(Fault::Rule("a bucket is empty")));
        }
        reader.end()?;
        return Ok(Decoded::Bucket(bucket));
    }
    expect_kind(&mut reader, KIND_TRIE_BRANCH)?;
    let entries = reader.uint()?;
    let bitmap = reader.uint_max(0xffff, "a branch's bitmap")?;
    if entries <= BUCKET_MAX as u64 || bitmap == 0 || count != 3 + bitmap.count_ones() as usize {
        return Err(reader.fault(Fault::Rule("a branch's counts disagree")));
    }
    let mut kids = Vec::with_capacity(FANOUT);
    for position in (0..FANOUT).filter(|position| bitmap >> position & 1 == 1) {
        kids.push((position, Id::read(&mut reader)?));
    }
    reader.end()?;
    Ok(Decoded::Branch { entries, kids })
}

pub(crate) fn links(bytes: &[u8]) -> Result<Vec<Link>, CborError> {
    Ok(match decode(bytes)? {
        Decoded::Bucket(bucket) => {
            bucket.values().filter_map(|entry| entry.link).map(|id| (Domain::Object, id)).collect()
        }
        Decoded::Branch { kids, .. } => kids.into_iter().map(|(_, id)| (Domain::Node, id)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Shelf(HashMap<Id, Vec<u8>>);

    impl Objects for Shelf {
        fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
            self.0.get(id).cloned().ok_or(LoadError::Missing { domain, id: *id })
        }
    }

    fn entry(n: u16) -> Entry {
        Entry {
            data: n.to_le_bytes().to_vec(),
            link: n.is_multiple_of(3).then(|| Id::of(Domain::Object, &n.to_le_bytes())),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Against a plain map: same answers, and a root that depends on the content alone.
        #[test]
        fn behaves_like_a_map(
            operations in proptest::collection::vec((0_u16..120, any::<bool>(), any::<u16>(), 0_u8..10), 1..400),
        ) {
            let mut shelf = Shelf::default();
            let mut trie = Trie::default();
            let mut model = BTreeMap::new();
            for (key, put, value, reload) in operations {
                let key = key.to_be_bytes();
                if put {
                    prop_assert_eq!(trie.insert(&key, entry(value), &shelf).unwrap(), model.insert(key.to_vec(), entry(value)));
                } else {
                    prop_assert_eq!(trie.remove(&key, &shelf).unwrap(), model.remove(key.as_slice()));
                }
                if reload == 0 {
                    let root = trie.root();
                    shelf.0.extend(trie.take_unsaved());
                    trie = Trie::stored(root);
                }
                prop_assert_eq!(trie.len(&shelf).unwrap(), model.len() as u64);
            }
            for key in 0_u16..120 {
                prop_assert_eq!(trie.get(&key.to_be_bytes(), &shelf).unwrap(), model.get(key.to_be_bytes().as_slice()).cloned());
            }
            prop_assert_eq!(&trie.entries(&shelf).unwrap(), &model);
            let mut rebuilt = Trie::default();
            for (key, entry) in model.iter().rev() {
                rebuilt.insert(key, entry.clone(), &shelf).unwrap();
            }
            prop_assert_eq!(trie.root(), rebuilt.root());
            prop_assert_eq!(trie.is_empty(), model.is_empty());
        }
    }
}
