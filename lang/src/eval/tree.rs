//! Sets and tables as trees balanced by weight: what changes one shares all but a path with it.
//!
//! A node is size, key, value (zero in a set), lesser, greater; no node is the number zero. Keys are normal, so that comparing
//! them evaluates nothing. Recursion here is no deeper than a tree, which is less than three times the logarithm of its size.

use std::cmp::Ordering;

use super::heap::Heap;
use super::order::compare;
use super::word::{Kind, ZERO, header, imm, is_imm, object};

/// How much heavier than the other one a side may be, and when one rotation does.
const DELTA: usize = 3;
const RATIO: usize = 2;

const SIZE: usize = 0;
const KEY: usize = 1;
const VALUE: usize = 2;
const LESS: usize = 3;
const MORE: usize = 4;

#[inline]
pub(super) fn size(heap: &Heap, node: u64) -> usize {
    if is_imm(node) { 0 } else { (heap.field(node, SIZE) >> 1) as usize }
}

fn new(heap: &mut Heap, key: u64, value: u64, less: u64, more: u64) -> u64 {
    let size = imm((size(heap, less) + size(heap, more) + 1) as u64);
    object(heap.make(header(Kind::NODE, 0, 5), &[size, key, value, less, more]))
}

fn parts(heap: &Heap, node: u64) -> (u64, u64, u64, u64) {
    (heap.field(node, KEY), heap.field(node, VALUE), heap.field(node, LESS), heap.field(node, MORE))
}

/// Of keys that ascend, and their values.
pub(super) fn build(heap: &mut Heap, keys: &[u64], values: Option<&[u64]>) -> u64 {
    if keys.is_empty() {
        return ZERO;
    }
    let middle = keys.len() / 2;
    let less = build(heap, &keys[..middle], values.map(|values| &values[..middle]));
    let more = build(heap, &keys[middle + 1..], values.map(|values| &values[middle + 1..]));
    new(heap, keys[middle], values.map_or(ZERO, |values| values[middle]), less, more)
}

/// All nodes, the least key first.
pub(super) fn nodes(heap: &Heap, root: u64) -> Vec<u64> {
    let mut found = Vec::with_capacity(size(heap, root));
    let mut path = Vec::new();
    let mut node = root;
    loop {
        while !is_imm(node) {
            path.push(node);
            node = heap.field(node, LESS);
        }
        let Some(next) = path.pop() else { return found };
        found.push(next);
        node = heap.field(next, MORE);
    }
}

pub(super) fn keys(heap: &Heap, root: u64) -> Vec<u64> {
    nodes(heap, root).into_iter().map(|node| heap.field(node, KEY)).collect()
}

pub(super) fn values(heap: &Heap, root: u64) -> Vec<u64> {
    nodes(heap, root).into_iter().map(|node| heap.field(node, VALUE)).collect()
}

/// The value of a key.
pub(super) fn get(heap: &mut Heap, mut node: u64, key: u64) -> Option<u64> {
    while !is_imm(node) {
        match compare(heap, key, heap.field(node, KEY)) {
            Ordering::Less => node = heap.field(node, LESS),
            Ordering::Equal => return Some(heap.field(node, VALUE)),
            Ordering::Greater => node = heap.field(node, MORE),
        }
    }
    None
}

/// Key and value by rank.
pub(super) fn nth(heap: &Heap, mut node: u64, mut rank: usize) -> Option<(u64, u64)> {
    while !is_imm(node) {
        let (key, value, less, more) = parts(heap, node);
        let before = size(heap, less);
        match rank.cmp(&before) {
            Ordering::Less => node = less,
            Ordering::Equal => return Some((key, value)),
            Ordering::Greater => {
                rank -= before + 1;
                node = more;
            }
        }
    }
    None
}

/// A node over two sides that were balanced before one of them changed by one.
fn balance(heap: &mut Heap, key: u64, value: u64, less: u64, more: u64) -> u64 {
    let (l, m) = (size(heap, less), size(heap, more));
    if l + m <= 1 {
        return new(heap, key, value, less, more);
    }
    if m > DELTA * l {
        let (k, v, inner, outer) = parts(heap, more);
        if size(heap, inner) < RATIO * size(heap, outer) {
            let left = new(heap, key, value, less, inner);
            return new(heap, k, v, left, outer);
        }
        let (ik, iv, il, im) = parts(heap, inner);
        let left = new(heap, key, value, less, il);
        let right = new(heap, k, v, im, outer);
        return new(heap, ik, iv, left, right);
    }
    if l > DELTA * m {
        let (k, v, outer, inner) = parts(heap, less);
        if size(heap, inner) < RATIO * size(heap, outer) {
            let right = new(heap, key, value, inner, more);
            return new(heap, k, v, outer, right);
        }
        let (ik, iv, il, im) = parts(heap, inner);
        let left = new(heap, k, v, outer, il);
        let right = new(heap, key, value, im, more);
        return new(heap, ik, iv, left, right);
    }
    new(heap, key, value, less, more)
}

pub(super) fn insert(heap: &mut Heap, node: u64, key: u64, value: u64) -> u64 {
    if is_imm(node) {
        return new(heap, key, value, ZERO, ZERO);
    }
    let (k, v, less, more) = parts(heap, node);
    match compare(heap, key, k) {
        Ordering::Less => {
            let less = insert(heap, less, key, value);
            balance(heap, k, v, less, more)
        }
        Ordering::Equal => new(heap, k, value, less, more),
        Ordering::Greater => {
            let more = insert(heap, more, key, value);
            balance(heap, k, v, less, more)
        }
    }
}

/// Without a key. The same node if it is not there.
pub(super) fn remove(heap: &mut Heap, node: u64, key: u64) -> u64 {
    if is_imm(node) {
        return node;
    }
    let (k, v, less, more) = parts(heap, node);
    match compare(heap, key, k) {
        Ordering::Less => {
            let new = remove(heap, less, key);
            if new == less { node } else { balance(heap, k, v, new, more) }
        }
        Ordering::Equal => glue(heap, less, more),
        Ordering::Greater => {
            let new = remove(heap, more, key);
            if new == more { node } else { balance(heap, k, v, less, new) }
        }
    }
}

/// The least key, its value, and the rest.
fn take_least(heap: &mut Heap, node: u64) -> (u64, u64, u64) {
    let (key, value, less, more) = parts(heap, node);
    if is_imm(less) {
        return (key, value, more);
    }
    let (k, v, rest) = take_least(heap, less);
    (k, v, balance(heap, key, value, rest, more))
}

fn take_most(heap: &mut Heap, node: u64) -> (u64, u64, u64) {
    let (key, value, less, more) = parts(heap, node);
    if is_imm(more) {
        return (key, value, less);
    }
    let (k, v, rest) = take_most(heap, more);
    (k, v, balance(heap, key, value, less, rest))
}

/// Two trees that were sides of one node.
fn glue(heap: &mut Heap, less: u64, more: u64) -> u64 {
    if is_imm(less) {
        more
    } else if is_imm(more) {
        less
    } else if size(heap, less) > size(heap, more) {
        let (k, v, less) = take_most(heap, less);
        balance(heap, k, v, less, more)
    } else {
        let (k, v, more) = take_least(heap, more);
        balance(heap, k, v, less, more)
    }
}

/// Two trees of any sizes and a key between them.
fn link(heap: &mut Heap, key: u64, value: u64, less: u64, more: u64) -> u64 {
    if is_imm(less) {
        return insert(heap, more, key, value);
    }
    if is_imm(more) {
        return insert(heap, less, key, value);
    }
    let (l, m) = (size(heap, less), size(heap, more));
    if DELTA * l < m {
        let (k, v, inner, outer) = parts(heap, more);
        let left = link(heap, key, value, less, inner);
        balance(heap, k, v, left, outer)
    } else if DELTA * m < l {
        let (k, v, outer, inner) = parts(heap, less);
        let right = link(heap, key, value, inner, more);
        balance(heap, k, v, outer, right)
    } else {
        new(heap, key, value, less, more)
    }
}

fn merge(heap: &mut Heap, less: u64, more: u64) -> u64 {
    if is_imm(less) {
        return more;
    }
    if is_imm(more) {
        return less;
    }
    let (key, value, more) = take_least(heap, more);
    link(heap, key, value, less, more)
}

/// What is below a key, the value at it, what is above.
pub(super) fn split(heap: &mut Heap, node: u64, key: u64) -> (u64, Option<u64>, u64) {
    if is_imm(node) {
        return (ZERO, None, ZERO);
    }
    let (k, v, less, more) = parts(heap, node);
    match compare(heap, key, k) {
        Ordering::Less => {
            let (below, found, above) = split(heap, less, key);
            let above = link(heap, k, v, above, more);
            (below, found, above)
        }
        Ordering::Equal => (less, Some(v), more),
        Ordering::Greater => {
            let (below, found, above) = split(heap, more, key);
            let below = link(heap, k, v, less, below);
            (below, found, above)
        }
    }
}

/// The first so many, and the rest.
pub(super) fn split_at(heap: &mut Heap, node: u64, count: usize) -> (u64, u64) {
    if is_imm(node) || count == 0 {
        return (ZERO, node);
    }
    if count >= size(heap, node) {
        return (node, ZERO);
    }
    let (k, v, less, more) = parts(heap, node);
    let before = size(heap, less);
    if count <= before {
        let (first, rest) = split_at(heap, less, count);
        let rest = link(heap, k, v, rest, more);
        (first, rest)
    } else {
        let (first, rest) = split_at(heap, more, count - before - 1);
        let first = link(heap, k, v, less, first);
        (first, rest)
    }
}

/// What is in either. Of keys in both, the first one's value.
pub(super) fn union(heap: &mut Heap, a: u64, b: u64) -> u64 {
    if is_imm(b) {
        return a;
    }
    if is_imm(a) {
        return b;
    }
    let (k, v, less, more) = parts(heap, a);
    let (below, _, above) = split(heap, b, k);
    let less = union(heap, less, below);
    let more = union(heap, more, above);
    link(heap, k, v, less, more)
}

/// What is in both, with the first one's values; or what is in the first one only.
pub(super) fn select(heap: &mut Heap, a: u64, b: u64, both: bool) -> u64 {
    if is_imm(a) || is_imm(b) {
        return if both { ZERO } else { a };
    }
    let (k, v, less, more) = parts(heap, a);
    let (below, found, above) = split(heap, b, k);
    let less = select(heap, less, below, both);
    let more = select(heap, more, above, both);
    if found.is_some() == both { link(heap, k, v, less, more) } else { merge(heap, less, more) }
}
