//! Sets: as in `lang/base/sets.abide`. Keys are normalised; what is no set is left to the law, which takes it as the empty one.

use super::Need::{Deep, Head};
use super::rows::{at_most, elements, room};
use super::{Jet, Outcome, truth, value};
use crate::eval::heap::Heap;
use crate::eval::order::compare;
use crate::eval::tree;
use crate::eval::word::{Kind, ZERO, imm};

pub(super) const JETS: &[Jet] = &[
    Jet::new("is-set", &[Head], |heap, args| value(truth(heap.kind_of(args[0]) == Some(Kind::SET)))),
    Jet::new("set-len", &[Head], |heap, args| of(heap, args[0], |heap, root| imm(tree::size(heap, root) as u64))),
    Jet::new("set-has", &[Deep, Head], |heap, args| {
        of(heap, args[1], |heap, root| truth(tree::get(heap, root, args[0]).is_some()))
    }),
    Jet::new("set-least", &[Head], |heap, args| match set(heap, args[0]).and_then(|root| tree::nth(heap, root, 0)) {
        Some((key, _)) => Outcome::Eval(key),
        None => Outcome::Decline,
    }),
    Jet::new("set-insert", &[Deep, Head], |heap, args| {
        made(heap, args[1], |heap, root| {
            if tree::get(heap, root, args[0]).is_some() { root } else { tree::insert(heap, root, args[0], ZERO) }
        })
    }),
    Jet::new("set-delete", &[Deep, Head], |heap, args| {
        made(heap, args[1], |heap, root| tree::remove(heap, root, args[0]))
    }),
    Jet::new("set-union", &[Head, Head], |heap, args| both(heap, args, tree::union)),
    Jet::new("set-common", &[Head, Head], |heap, args| both(heap, args, |heap, a, b| tree::select(heap, a, b, true))),
    Jet::new("set-without", &[Head, Head], |heap, args| both(heap, args, |heap, a, b| tree::select(heap, a, b, false))),
    Jet::new("set-take", &[Head, Head], |heap, args| {
        let count = at_most(heap, args[0]);
        made(heap, args[1], |heap, root| tree::split_at(heap, root, count).0)
    }),
    Jet::new("set-drop", &[Head, Head], |heap, args| {
        let count = at_most(heap, args[0]);
        made(heap, args[1], |heap, root| tree::split_at(heap, root, count).1)
    }),
    Jet::new("set-split", &[Deep, Head], |heap, args| {
        pair(heap, args[1], |heap, root| {
            let (below, found, above) = tree::split(heap, root, args[0]);
            (below, if found.is_some() { tree::insert(heap, above, args[0], ZERO) } else { above })
        })
    }),
    Jet::new("set-row", &[Head], |heap, args| match heap.kind_of(args[0]) {
        Some(Kind::SET) => {
            let words = tree::size(heap, heap.field(args[0], 0));
            room(heap, words).unwrap_or_else(|| Outcome::Value(heap.keys_row(args[0]), words as u64 / 8))
        }
        _ => Outcome::Decline,
    }),
    Jet::new("row-set", &[Deep], |heap, args| {
        if heap.kind_of(args[0]) != Some(Kind::ROW) {
            return Outcome::Decline;
        }
        let mut keys = elements(heap, args[0]);
        let count = keys.len();
        if let Some(outcome) = room(heap, count * 6) {
            return outcome;
        }
        keys.sort_by(|a, b| compare(heap, *a, *b));
        keys.dedup_by(|a, b| compare(heap, *a, *b).is_eq());
        Outcome::Value(heap.set_of(&keys), count as u64)
    }),
];

fn set(heap: &Heap, value: u64) -> Option<u64> {
    (heap.kind_of(value) == Some(Kind::SET)).then(|| heap.field(value, 0))
}

fn of(heap: &mut Heap, value: u64, ask: impl FnOnce(&mut Heap, u64) -> u64) -> Outcome {
    match set(heap, value) {
        Some(root) => super::value(ask(heap, root)),
        None => Outcome::Decline,
    }
}

fn made(heap: &mut Heap, old: u64, change: impl FnOnce(&mut Heap, u64) -> u64) -> Outcome {
    let Some(root) = set(heap, old) else { return Outcome::Decline };
    let new = change(heap, root);
    value(if new == root { old } else { heap.set(new) })
}

fn both(heap: &mut Heap, args: &[u64], join: impl FnOnce(&mut Heap, u64, u64) -> u64) -> Outcome {
    let (Some(a), Some(b)) = (set(heap, args[0]), set(heap, args[1])) else { return Outcome::Decline };
    let words = tree::size(heap, a) + tree::size(heap, b);
    if let Some(outcome) = room(heap, words * 6) {
        return outcome;
    }
    let root = join(heap, a, b);
    Outcome::Value(heap.set(root), words as u64 / 8)
}

fn pair(heap: &mut Heap, value: u64, split: impl FnOnce(&mut Heap, u64) -> (u64, u64)) -> Outcome {
    let Some(root) = set(heap, value) else { return Outcome::Decline };
    let (first, rest) = split(heap, root);
    let (first, rest) = (heap.set(first), heap.set(rest));
    super::value(heap.row(&[first, rest]))
}
