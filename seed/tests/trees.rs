//! Page trees: the root depends on the content alone, and a stranger's nodes are believed no further than they have been checked.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod common;

use std::collections::BTreeMap;

use common::{Shelf, chain};
use proptest::prelude::*;
use seed::object::{NoObjects, links};
use seed::page::{PAGE_BYTES, PAGE_COUNT_MAX};
use seed::tree::{FANOUT, PageTree, TreeNode};
use seed::{Domain, Id, LoadError, PageIndex};

fn page(n: u64) -> Option<Id> {
    (!n.is_multiple_of(5)).then(|| Id::of(Domain::Page, &n.to_le_bytes()))
}

fn build(pages: u64, content: &BTreeMap<u32, Option<Id>>) -> Option<Id> {
    let mut tree = PageTree::zero(pages);
    for (index, id) in content {
        tree.set(PageIndex(*index), *id, &NoObjects).unwrap();
    }
    tree.root()
}

fn all(tree: &PageTree, shelf: &Shelf) -> Result<BTreeMap<u32, Option<Id>>, LoadError> {
    let mut seen = BTreeMap::new();
    tree.for_each::<LoadError>(shelf, &mut |index, id| {
        seen.insert(index.0, Some(id));
        Ok(())
    })?;
    Ok(seen)
}

#[test]
fn sizes_just_below_and_above_a_level_work() {
    for pages in [1, 63, 64, 65, 4095, 4096, 4097, 262_144, 262_145, PAGE_COUNT_MAX - 1, PAGE_COUNT_MAX] {
        let last = u32::try_from(pages - 1).unwrap();
        let mut tree = PageTree::zero(pages);
        assert_eq!(tree.root(), None);
        tree.set(PageIndex(last), page(1), &NoObjects).unwrap();
        let mut shelf = Shelf::default();
        shelf.keep_nodes(tree.take_unsaved());
        let mut stored = PageTree::stored(pages, tree.root());
        assert_eq!(stored.get(PageIndex(last), &shelf).unwrap(), page(1));
        assert_eq!(stored.get(PageIndex(last + 1), &shelf).unwrap(), None, "beyond the end of {pages} pages");
        assert_eq!(all(&stored, &shelf).unwrap(), BTreeMap::from([(last, page(1))]));
        stored.set(PageIndex(last), None, &shelf).unwrap();
        assert_eq!(stored.root(), None, "a memory of zeros has no root");
    }
}

/// A node that could not be loaded must not leave half a change behind: the step that failed may be tried again.
#[test]
fn a_failed_change_changes_nothing() {
    let mut tree = PageTree::zero(5000);
    [0, 70, 4999].iter().for_each(|index| tree.set(PageIndex(*index), page(1), &NoObjects).unwrap());
    let root = tree.root();
    let mut shelf = Shelf::default();
    shelf.keep_nodes(tree.take_unsaved());
    let mut stored = PageTree::stored(5000, root);
    let missing = shelf.0.iter().find(|(_, bytes)| {
        let node = TreeNode::decode(bytes).unwrap();
        node.level == 0 && node.kids[0].0 == 6
    });
    let (link, bytes) = missing.map(|(link, bytes)| (*link, bytes.clone())).unwrap();
    shelf.0.remove(&link);
    assert!(stored.set(PageIndex(70), page(2), &shelf).is_err());
    assert_eq!(stored.root(), root);
    shelf.0.insert(link, bytes);
    stored.set(PageIndex(70), page(2), &shelf).unwrap();
    assert_ne!(stored.root(), root);
}

/// A seed from a stranger named pages beyond the end of its memory. Every node was well formed, so `for_each` handed them to whoever
/// copies pages into a memory that has no room for them, and the same memory could have many roots. Loading now knows where a node is.
#[test]
fn nodes_with_pages_beyond_the_end_are_malformed() {
    let mut shelf = Shelf::default();
    let leaf = shelf.keep(Domain::Node, TreeNode { level: 0, kids: vec![(16, page(1).unwrap())] }.encode());
    let above = shelf.keep(Domain::Node, TreeNode { level: 1, kids: vec![(1, leaf)] }.encode());
    for (pages, root, fits) in [(17, leaf, true), (16, leaf, false), (81, above, true), (80, above, false)] {
        let expected = "a tree node has pages beyond the end of the memory";
        let tree = PageTree::stored(pages, Some(root));
        let complaint = |error: LoadError| assert!(chain(&error).ends_with(expected), "{}", chain(&error));
        let last = PageIndex(u32::try_from(pages - 1).unwrap());
        match all(&tree, &shelf) {
            Ok(_) => assert!(fits),
            Err(error) => complaint(error),
        }
        match PageTree::stored(pages, Some(root)).get(last, &shelf) {
            Ok(_) => assert!(fits),
            Err(error) => complaint(error),
        }
    }
}

#[test]
fn nodes_at_the_wrong_level_are_malformed() {
    let mut shelf = Shelf::default();
    let leaf = shelf.keep(Domain::Node, TreeNode { level: 0, kids: vec![(0, page(1).unwrap())] }.encode());
    let error = PageTree::stored(65, Some(leaf)).get(PageIndex(0), &shelf).unwrap_err();
    assert!(chain(&error).ends_with("a tree node is at the wrong level"));
    let trie = shelf.keep(Domain::Node, common::samples::trie_nodes(1).1.remove(0).1);
    assert!(PageTree::stored(65, Some(trie)).get(PageIndex(0), &shelf).is_err());
}

/// An all-zero page was accepted as an object, so a seed could bring one, and a memory that is zero there had two roots.
#[test]
fn an_all_zero_page_is_not_an_object() {
    assert!(links(Domain::Page, &[0; PAGE_BYTES]).is_err());
    assert_eq!(links(Domain::Page, &[1; PAGE_BYTES]), Ok(vec![]));
    assert!(links(Domain::Page, &[1; PAGE_BYTES - 1]).is_err());
}

#[test]
fn malformed_nodes_are_refused() {
    let id = page(1).unwrap();
    let node = |level: u64, bitmap: u64, ids: usize| {
        let mut writer = seed::cbor::Writer::new();
        writer.array(3 + ids).uint(0).uint(level).uint(bitmap);
        (0..ids).for_each(|_| id.write(&mut writer));
        links(Domain::Node, &writer.finish())
    };
    assert_eq!(node(0, 0b101, 2).unwrap(), [(Domain::Page, id); 2]);
    assert_eq!(node(2, u64::MAX, FANOUT).unwrap(), [(Domain::Node, id); FANOUT]);
    assert_eq!(node(3, 0b1111, 4).unwrap(), [(Domain::Node, id); 4]);
    assert!(node(3, 0b1_0000, 1).is_err(), "no memory has more than 2^20 pages");
    assert!(node(0, 0, 0).is_err());
    assert!(node(0, 0b101, 1).is_err());
    assert!(node(0, 0b101, 3).is_err());
    assert!(node(4, 1, 1).is_err());
    assert!(node(1 << 32, 1, 1).is_err());
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
                shelf.keep_nodes(tree.take_unsaved());
                prop_assert!(tree.take_unsaved().is_empty());
                tree = PageTree::stored(tree.pages(), root);
            }
        }
        prop_assert_eq!(tree.root(), build(tree.pages(), &content));
        content.retain(|_, id| id.is_some());
        prop_assert_eq!(&all(&tree, &shelf).unwrap(), &content);
        for index in [0, 1, 63, 64, 4095, 4096, 4999] {
            prop_assert_eq!(tree.get(PageIndex(index), &shelf).unwrap(), content.get(&index).copied().flatten());
        }
    }

    /// A reloaded tree may hold some nodes in memory and others not; everything saved is enough to go on from.
    #[test]
    fn saved_nodes_are_enough(
        writes in proptest::collection::vec((0_u32..300_000, 1_u64..5), 1..60),
    ) {
        let mut shelf = Shelf::default();
        let mut tree = PageTree::zero(300_000);
        for (index, n) in writes {
            tree.set(PageIndex(index), page(n), &shelf).unwrap();
            shelf.keep_nodes(tree.take_unsaved());
            let fresh = PageTree::stored(300_000, tree.root());
            prop_assert_eq!(all(&fresh, &shelf).unwrap(), all(&tree, &shelf).unwrap());
        }
    }
}
