//! Tries: they behave like a map, the root depends on the content alone, and a stranger's nodes are believed no further than they
//! have been checked.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod common;

use std::collections::BTreeMap;

use common::{Shelf, chain};
use proptest::prelude::*;
use seed::object::{NoObjects, links};
use seed::trie::{BUCKET_MAX, Entry, KEY_BYTES_MAX, Trie, TrieKid, TrieNode};
use seed::{Domain, Id, LoadError};

fn entry(n: u16) -> Entry {
    Entry {
        data: n.to_le_bytes().to_vec(),
        link: n.is_multiple_of(3).then(|| Id::of(Domain::Object, &n.to_le_bytes())),
    }
}

fn bucket(keys: impl Iterator<Item = u16>) -> TrieNode {
    TrieNode::Bucket(keys.map(|n| (n.to_be_bytes().to_vec(), entry(n))).collect())
}

/// The keys whose path starts with a digit.
fn keys_under(digit: u8) -> impl Iterator<Item = u16> {
    (0..u16::MAX).filter(move |n| blake3::hash(&n.to_be_bytes()).as_bytes()[0] >> 4 == digit)
}

/// Every way to look into a trie fails, saying the same.
fn check_malformed(root: Id, key: &[u8], shelf: &Shelf, expected: &str) {
    let complaint = |error: LoadError| assert!(chain(&error).ends_with(expected), "{} != {expected}", chain(&error));
    let fresh = || Trie::stored(Some(root));
    complaint(fresh().get(key, shelf).unwrap_err());
    complaint(fresh().insert(key, entry(0), shelf).unwrap_err());
    complaint(fresh().remove(key, shelf).unwrap_err());
    complaint(fresh().entries(shelf).unwrap_err());
}

/// A branch used to state its own number of entries, which nothing could check without loading all of them. One that said 17 and had 1000
/// collapsed into a bucket of 999 when an entry was taken out; one that said 1000 and had 1 became a branch without children. Both encode to
/// nodes that no one can read again. Now a branch states the number below each child, and a child that has another is malformed.
#[test]
fn entry_counts_that_lie_are_found_on_the_way() {
    let mut shelf = Shelf::default();
    let ten = shelf.keep(Domain::Node, bucket(keys_under(3).take(10)).encode());
    let branch = |entries| TrieNode::Branch(vec![TrieKid { digit: 3, entries, id: ten }]).encode();
    let key = keys_under(3).next().unwrap().to_be_bytes();
    let lie = shelf.keep(Domain::Node, branch(17));
    check_malformed(lie, &key, &shelf, "a trie node has another number of entries than its parent says");
    assert!(TrieNode::decode(&branch(10)).is_err(), "it should have been a bucket");
    assert!(TrieNode::decode(&branch(0)).is_err());
    assert!(TrieNode::decode(&branch(u64::MAX)).is_err(), "sums must not overflow");
}

/// Keys in a bucket that their path does not lead to were listed but never found, and the same map could have many roots.
#[test]
fn keys_that_belong_elsewhere_are_malformed() {
    let mut shelf = Shelf::default();
    let nine = bucket(
        keys_under(3).take(8).chain(keys_under(4).take(1)).collect::<std::collections::BTreeSet<_>>().into_iter(),
    );
    let kids = [(3, nine), (5, bucket(keys_under(5).take(9)))];
    let kids = kids.map(|(digit, node)| TrieKid { digit, entries: 9, id: shelf.keep(Domain::Node, node.encode()) });
    let root = shelf.keep(Domain::Node, TrieNode::Branch(kids.to_vec()).encode());
    let key = keys_under(3).next().unwrap().to_be_bytes();
    check_malformed(root, &key, &shelf, "a trie node has a key that belongs elsewhere");
}

/// Branches may be chained far deeper than a path is long; walking down such a chain recursively overflowed the stack.
#[test]
fn chains_of_branches_end_where_paths_end() {
    let mut shelf = Shelf::default();
    let mut id = shelf.keep(Domain::Node, bucket(0..16).encode());
    let path = *blake3::hash(b"key").as_bytes();
    for depth in (0..100_000_usize).rev() {
        let byte = path[depth / 2 % 32];
        let digit = usize::from(if depth.is_multiple_of(2) { byte >> 4 } else { byte & 15 });
        id = shelf.keep(Domain::Node, TrieNode::Branch(vec![TrieKid { digit, entries: 17, id }]).encode());
    }
    check_malformed(id, b"key", &shelf, "a trie is too deep");
}

/// Buckets of any size were accepted, so that a map of 17 entries had two roots.
#[test]
fn only_buckets_within_their_size_are_read() {
    let sized = |count: u16| TrieNode::decode(&bucket(0..count).encode()).map(|node| node.entries());
    assert_eq!(sized(16), Ok(BUCKET_MAX as u64));
    assert!(sized(17).is_err());
    assert!(sized(0).is_err());
}

#[test]
fn malformed_buckets_are_refused() {
    let read = |keys: &[&[u8]]| {
        let mut writer = seed::cbor::Writer::new();
        writer.array(1 + keys.len()).uint(2);
        for key in keys {
            writer.array(3).bytes(key).bytes(b"data").bytes(&[]);
        }
        links(Domain::Node, &writer.finish())
    };
    assert_eq!(read(&[b"a", b"b"]), Ok(vec![]));
    assert!(read(&[b"b", b"a"]).is_err(), "order");
    assert!(read(&[b"a", b"a"]).is_err(), "twice");
    assert!(read(&[&[0; KEY_BYTES_MAX]]).is_ok());
    assert!(read(&[&[0; KEY_BYTES_MAX + 1]]).is_err(), "length");
}

#[test]
#[should_panic(expected = "a trie key is too long")]
fn a_key_that_could_not_be_read_again_is_not_written() {
    let _ = Trie::default().insert(&[0; KEY_BYTES_MAX + 1], entry(0), &NoObjects);
}

/// When a branch shrinks to a bucket's size its children must be gathered even if none of them is in memory.
#[test]
fn stored_children_are_merged() {
    for count in [17_u16, 40, 300] {
        let mut shelf = Shelf::default();
        let mut trie = Trie::default();
        (0..count).for_each(|n| drop(trie.insert(&n.to_be_bytes(), entry(n), &NoObjects).unwrap()));
        shelf.keep_nodes(trie.take_unsaved());
        for n in (10..count).rev() {
            let mut fresh = Trie::stored(trie.root());
            assert_eq!(fresh.remove(&n.to_be_bytes(), &shelf).unwrap(), Some(entry(n)));
            shelf.keep_nodes(fresh.take_unsaved());
            trie = fresh;
        }
        let root = trie.root();
        assert_eq!(root, Some(Id::of(Domain::Node, &bucket(0..10).encode())));
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
                let there = model.insert(key.to_vec(), entry(value));
                prop_assert_eq!(trie.insert(&key, entry(value), &shelf).unwrap(), there);
            } else {
                prop_assert_eq!(trie.remove(&key, &shelf).unwrap(), model.remove(key.as_slice()));
            }
            if reload == 0 {
                let root = trie.root();
                shelf.keep_nodes(trie.take_unsaved());
                trie = Trie::stored(root);
            }
            prop_assert_eq!(trie.len(&shelf).unwrap(), model.len() as u64);
        }
        for key in (0_u16..120).map(u16::to_be_bytes) {
            prop_assert_eq!(trie.get(&key, &shelf).unwrap(), model.get(key.as_slice()).cloned());
        }
        prop_assert_eq!(&trie.entries(&shelf).unwrap(), &model);
        let mut rebuilt = Trie::default();
        for (key, entry) in model.iter().rev() {
            rebuilt.insert(key, entry.clone(), &shelf).unwrap();
        }
        prop_assert_eq!(trie.root(), rebuilt.root());
        prop_assert_eq!(trie.is_empty(), model.is_empty());
        shelf.keep_nodes(trie.take_unsaved());
        prop_assert_eq!(Trie::stored(trie.root()).entries(&shelf).unwrap(), model);
    }
}
