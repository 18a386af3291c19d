//! Tables: as in `lang/base/tables.abide`. Keys are normalised, values are not evaluated; what is no table is left to the law, which
//! takes it as the empty one.

use super::Need::{Deep, Elements, Head, Nothing};
use super::rows::{at_most, elements, room};
use super::{Jet, Outcome, truth, value};
use crate::eval::heap::Heap;
use crate::eval::order::compare;
use crate::eval::tree;
use crate::eval::word::{Kind, ZERO, header, imm, lazy, object};

pub(super) const JETS: &[Jet] = &[
    Jet::new("is-table", &[Head], |heap, args| match heap.kind_of(args[0]) {
        // Whether its values are a row may not be known yet.
        Some(Kind::APP) => Outcome::Decline,
        kind => value(truth(kind == Some(Kind::TAB))),
    }),
    Jet::new("table-len", &[Head], |heap, args| of(heap, args[0], |heap, root| imm(tree::size(heap, root) as u64))),
    Jet::new("is-key", &[Deep, Head], |heap, args| {
        of(heap, args[1], |heap, root| truth(tree::get(heap, root, args[0]).is_some()))
    }),
    Jet::new("at", &[Deep, Head], |heap, args| match tab(heap, args[1]) {
        Some(root) => Outcome::Eval(tree::get(heap, root, args[0]).unwrap_or(ZERO)),
        None => Outcome::Decline,
    }),
    Jet::new("lookup", &[Deep, Head], |heap, args| {
        of(heap, args[1], |heap, root| match tree::get(heap, root, args[0]) {
            Some(found) => heap.row(&[found]),
            None => heap.row(&[]),
        })
    }),
    Jet::new("entry", &[Head, Head], |heap, args| {
        let index = at_most(heap, args[0]);
        match tab(heap, args[1]).and_then(|root| tree::nth(heap, root, index)) {
            Some((key, found)) => value(heap.row(&[key, found])),
            None => Outcome::Decline,
        }
    }),
    Jet::new("least-key", &[Head], |heap, args| match tab(heap, args[0]).and_then(|root| tree::nth(heap, root, 0)) {
        Some((key, _)) => Outcome::Eval(key),
        None => Outcome::Decline,
    }),
    Jet::new("insert", &[Deep, Nothing, Head], |heap, args| {
        made(heap, args[2], |heap, root| tree::insert(heap, root, args[0], args[1]))
    }),
    Jet::new("delete", &[Deep, Head], |heap, args| made(heap, args[1], |heap, root| tree::remove(heap, root, args[0]))),
    Jet::new("union", &[Head, Head], |heap, args| {
        let (Some(a), Some(b)) = (tab(heap, args[0]), tab(heap, args[1])) else { return Outcome::Decline };
        let words = (tree::size(heap, a) + tree::size(heap, b)) * 6;
        if let Some(outcome) = room(heap, words) {
            return outcome;
        }
        let root = tree::union(heap, a, b);
        Outcome::Value(heap.tab(root), words as u64 / 48)
    }),
    Jet::new("map-values", &[Nothing, Head], |heap, args| mapped(heap, args, false)),
    Jet::new("map-entries", &[Nothing, Head], |heap, args| mapped(heap, args, true)),
    Jet::new("key-set", &[Head], |heap, args| listed(heap, args[0], 6, |heap, tab| heap.keys_set(tab))),
    Jet::new("keys", &[Head], |heap, args| listed(heap, args[0], 1, |heap, tab| heap.keys_row(tab))),
    Jet::new("values", &[Head], |heap, args| listed(heap, args[0], 1, |heap, tab| heap.values_row(tab))),
    Jet::new("entries", &[Head], |heap, args| {
        listed(heap, args[0], 4, |heap, tab| {
            let nodes = tree::nodes(heap, heap.field(tab, 0));
            let pairs: Vec<u64> = nodes
                .into_iter()
                .map(|node| {
                    let pair = [heap.field(node, 1), heap.field(node, 2)];
                    heap.row(&pair)
                })
                .collect();
            heap.row(&pairs)
        })
    }),
    Jet::new("from-entries", &[Elements], from_pairs),
    Jet::new("split-entries", &[Head, Head], |heap, args| {
        let count = at_most(heap, args[0]);
        pair(heap, args[1], |heap, root| tree::split_at(heap, root, count))
    }),
    Jet::new("split-table", &[Deep, Head], |heap, args| {
        pair(heap, args[1], |heap, root| {
            let (below, found, above) = tree::split(heap, root, args[0]);
            (below, found.map_or(above, |found| tree::insert(heap, above, args[0], found)))
        })
    }),
];

fn tab(heap: &mut Heap, value: u64) -> Option<u64> {
    let tab = heap.as_tab(value)?;
    Some(heap.field(tab, 0))
}

fn of(heap: &mut Heap, value: u64, ask: impl FnOnce(&mut Heap, u64) -> u64) -> Outcome {
    match tab(heap, value) {
        Some(root) => super::value(ask(heap, root)),
        None => Outcome::Decline,
    }
}

fn made(heap: &mut Heap, old: u64, change: impl FnOnce(&mut Heap, u64) -> u64) -> Outcome {
    let Some(root) = tab(heap, old) else { return Outcome::Decline };
    let new = change(heap, root);
    value(if new == root { old } else { heap.tab(new) })
}

fn listed(heap: &mut Heap, tab: u64, words: usize, list: impl FnOnce(&mut Heap, u64) -> u64) -> Outcome {
    let Some(tab) = heap.as_tab(tab) else { return Outcome::Decline };
    let count = tree::size(heap, heap.field(tab, 0));
    room(heap, count * words).unwrap_or_else(|| Outcome::Value(list(heap, tab), (count * words) as u64 / 16))
}

fn pair(heap: &mut Heap, value: u64, split: impl FnOnce(&mut Heap, u64) -> (u64, u64)) -> Outcome {
    let Some(root) = tab(heap, value) else { return Outcome::Decline };
    let (first, rest) = split(heap, root);
    let (first, rest) = (heap.tab(first), heap.tab(rest));
    super::value(heap.row(&[first, rest]))
}

/// A table with the same keys, `f` to be applied to each value. It has the same shape.
fn mapped(heap: &mut Heap, args: &[u64], with_key: bool) -> Outcome {
    let Some(root) = tab(heap, args[1]) else { return Outcome::Decline };
    let count = tree::size(heap, root);
    if let Some(outcome) = room(heap, count * 10) {
        return outcome;
    }
    let new = map_node(heap, root, args[0], with_key);
    Outcome::Value(heap.tab(new), count as u64)
}

/// No deeper than the tree.
fn map_node(heap: &mut Heap, node: u64, function: u64, with_key: bool) -> u64 {
    if node == ZERO {
        return ZERO;
    }
    let &[size, key, old, less, more] = heap.fields(node) else { return ZERO };
    let less = map_node(heap, less, function, with_key);
    let more = map_node(heap, more, function, with_key);
    let words: &[u64] = if with_key { &[function, key, old] } else { &[function, old] };
    let new = lazy(heap.make(header(Kind::APTHUNK, 0, words.len()), words));
    object(heap.make(header(Kind::NODE, 0, 5), &[size, key, new, less, more]))
}

/// Declines what is no row of rows of two, and keys that are not normal yet.
fn from_pairs(heap: &mut Heap, args: &[u64]) -> Outcome {
    if heap.kind_of(args[0]) != Some(Kind::ROW) {
        return Outcome::Decline;
    }
    let rows = elements(heap, args[0]);
    let total = rows.len();
    if let Some(outcome) = room(heap, total * 6) {
        return outcome;
    }
    let mut pairs = Vec::with_capacity(total);
    for pair in rows {
        if super::rows::count(heap, pair) != 2 {
            return Outcome::Decline;
        }
        let key = heap.resolve(heap.field(pair, 0));
        if !heap.is_evaluated(key) {
            return Outcome::Decline;
        }
        pairs.push((key, heap.field(pair, 1)));
    }
    // Stable, so that of equal keys the last one is last.
    pairs.sort_by(|a, b| compare(heap, a.0, b.0));
    let (mut keys, mut values): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
    for (key, found) in pairs {
        if keys.last().is_some_and(|last| compare(heap, *last, key).is_eq()) {
            values.pop();
            keys.pop();
        }
        keys.push(key);
        values.push(found);
    }
    let root = tree::build(heap, &keys, Some(&values));
    Outcome::Value(heap.tab(root), total as u64)
}
