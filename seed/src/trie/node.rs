//! A trie node as it is stored: `[1, bitmap, entries, id...]` or `[2, [key, data, link]...]`.

use std::collections::BTreeMap;

use super::{BUCKET_MAX, Entry, FANOUT, KEY_BYTES_MAX};
use crate::cbor::{CborError, Fault, Reader, Writer};
use crate::object::{KIND_TRIE_BRANCH, KIND_TRIE_BUCKET, Link, expect_kind, kind};
use crate::{Domain, Id};

/// More than a child of a branch can have; small enough for sums not to overflow.
const ENTRIES_MAX: u64 = u32::MAX as u64;

/// A stored node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrieNode {
    /// Up to [`BUCKET_MAX`] entries by key.
    Bucket(BTreeMap<Vec<u8>, Entry>),
    /// More entries than that, by the next digit of their paths.
    Branch(Vec<TrieKid>),
}

/// A child of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrieKid {
    /// The digit that leads to it.
    pub digit: usize,
    /// How many entries are below it. A child that has another number of them is malformed.
    pub entries: u64,
    /// Its id.
    pub id: Id,
}

impl TrieNode {
    /// How many entries are in it and below it.
    #[must_use]
    pub fn entries(&self) -> u64 {
        match self {
            Self::Bucket(bucket) => bucket.len() as u64,
            Self::Branch(kids) => kids.iter().map(|kid| kid.entries).sum(),
        }
    }

    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bucket(bucket) => encode_bucket(bucket),
            Self::Branch(kids) => encode_branch(kids),
        }
    }

    /// Reads an encoding.
    ///
    /// # Errors
    /// If it is not canonical or not a trie node.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        if kind(bytes)? == KIND_TRIE_BUCKET { decode_bucket(bytes) } else { decode_branch(bytes) }
    }

    pub(crate) fn links(&self) -> Vec<Link> {
        match self {
            Self::Bucket(bucket) => {
                bucket.values().filter_map(|entry| entry.link).map(|id| (Domain::Object, id)).collect()
            }
            Self::Branch(kids) => kids.iter().map(|kid| (Domain::Node, kid.id)).collect(),
        }
    }
}

pub(super) fn encode_bucket(bucket: &BTreeMap<Vec<u8>, Entry>) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(1 + bucket.len()).uint(KIND_TRIE_BUCKET);
    for (key, entry) in bucket {
        writer.array(3).bytes(key).bytes(&entry.data);
        Id::write_option(entry.link.as_ref(), &mut writer);
    }
    writer.finish()
}

pub(super) fn encode_branch(kids: &[TrieKid]) -> Vec<u8> {
    let bitmap = kids.iter().fold(0_u64, |bitmap, kid| bitmap | 1 << kid.digit);
    let mut writer = Writer::with_capacity(8 + kids.len() * 42);
    writer.array(2 + 2 * kids.len()).uint(KIND_TRIE_BRANCH).uint(bitmap);
    for kid in kids {
        writer.uint(kid.entries);
        kid.id.write(&mut writer);
    }
    writer.finish()
}

fn decode_bucket(bytes: &[u8]) -> Result<TrieNode, CborError> {
    let mut reader = Reader::new(bytes);
    let count = reader.array()?;
    expect_kind(&mut reader, KIND_TRIE_BUCKET)?;
    if !(2..=1 + BUCKET_MAX).contains(&count) {
        return Err(reader.fault(Fault::Rule("a bucket has 1 to 16 entries")));
    }
    let mut bucket: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
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
    reader.end()?;
    Ok(TrieNode::Bucket(bucket))
}

fn decode_branch(bytes: &[u8]) -> Result<TrieNode, CborError> {
    let mut reader = Reader::new(bytes);
    let count = reader.array()?;
    expect_kind(&mut reader, KIND_TRIE_BRANCH)?;
    let bitmap = reader.uint_max((1 << FANOUT) - 1, "a branch's bitmap")?;
    if bitmap == 0 || count != 2 + 2 * bitmap.count_ones() as usize {
        return Err(reader.fault(Fault::Rule("a branch's bitmap and children disagree")));
    }
    let mut kids = Vec::with_capacity(FANOUT);
    let mut total = 0;
    for digit in (0..FANOUT).filter(|digit| bitmap >> digit & 1 == 1) {
        let entries = reader.uint_max(ENTRIES_MAX, "the number of entries below a branch")?;
        if entries == 0 {
            return Err(reader.fault(Fault::Rule("a branch has an empty child")));
        }
        total += entries;
        kids.push(TrieKid { digit, entries, id: Id::read(&mut reader)? });
    }
    if total <= BUCKET_MAX as u64 {
        return Err(reader.fault(Fault::Rule("a branch has no more entries than a bucket")));
    }
    reader.end()?;
    Ok(TrieNode::Branch(kids))
}
