//! Rows: as in `lang/base/rows.abide`. What is no row is taken as the empty one. Elements are not evaluated, but by `cat`, which asks
//! whether they are rows, and `sort`, which declines them unless they are evaluated throughout, as `put` declines a place that
//! is not: their laws need not look.

use super::Need::{Elements, Head, IfRow, Nothing};
use super::{Inline, Jet, Outcome, value};
use crate::eval::code::Op;
use crate::eval::heap::{Heap, LARGE};
use crate::eval::order::compare;
use crate::eval::word::{Kind, ZERO, at, header, imm, is_imm, is_lazy, lazy, len};

pub(super) const JETS: &[Jet] = &[
    Jet::new("is-row", &[Head], |heap, args| value(super::truth(heap.kind_of(args[0]) == Some(Kind::ROW))))
        .inline(Inline::Op(Op::IS_ROW)),
    Jet::new("len", &[Head], |heap, args| value(imm(count(heap, args[0]) as u64))).inline(Inline::Op(Op::LEN)),
    Jet::new("idx", &[IfRow(1), Head], |heap, args| idx(heap, args[0], args[1])).inline(Inline::Idx),
    Jet::new("get", &[Head, IfRow(0)], |heap, args| idx(heap, args[1], args[0])).inline(Inline::Get),
    Jet::new("gen", &[Head, Nothing], generate),
    Jet::new("put", &[Nothing, Nothing, Head], put),
    Jet::new("weld", &[Head, Head], joined),
    Jet::new("cat", &[Elements], |heap, args| {
        let rows = elements(heap, args[0]);
        joined(heap, &rows)
    }),
    Jet::new("map", &[Nothing, Head], map),
    Jet::new("rev", &[Head], |heap, args| part(heap, args[0], |elements| elements.iter().rev().copied().collect())),
    Jet::new("take", &[Head, Head], |heap, args| {
        let wanted = at_most(heap, args[0]);
        part(heap, args[1], |elements| elements[..wanted.min(elements.len())].to_vec())
    })
    .backwards(),
    Jet::new("drop", &[Head, Head], |heap, args| {
        let wanted = at_most(heap, args[0]);
        part(heap, args[1], |elements| elements[wanted.min(elements.len())..].to_vec())
    }),
    Jet::new("sort", &[Head], sort),
];

/// How many elements a row has.
pub(super) fn count(heap: &Heap, value: u64) -> usize {
    if heap.kind_of(value) == Some(Kind::ROW) { len(heap.head(value)) } else { 0 }
}

/// The elements of a row, as far as they are evaluated.
pub(super) fn elements(heap: &Heap, value: u64) -> Vec<u64> {
    let count = count(heap, value);
    (0..count).map(|index| heap.resolve(heap.field(value, index))).collect()
}

/// A number taken as a count of something in memory.
pub(super) fn at_most(heap: &Heap, number: u64) -> usize {
    heap.small(number).and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX)
}

/// What to say if so many words cannot be had without asking first.
pub(super) fn room(heap: &Heap, words: usize) -> Option<Outcome> {
    (words > LARGE && !heap.could_hold(words)).then_some(Outcome::Room(words))
}

fn cost(words: usize) -> u64 {
    words as u64 / 16
}

fn idx(heap: &mut Heap, index: u64, row: u64) -> Outcome {
    let count = count(heap, row) as u64;
    // Of an empty row it has not been evaluated.
    if count == 0 {
        return value(ZERO);
    }
    let index = heap.cast(index);
    if is_imm(index) && index >> 1 < count {
        Outcome::Eval(heap.field(row, (index >> 1) as usize))
    } else {
        value(ZERO)
    }
}

fn generate(heap: &mut Heap, args: &[u64]) -> Outcome {
    let count = at_most(heap, args[0]);
    // As many as would fill any memory are more than there is room for.
    let words = count.saturating_mul(4);
    if let Some(outcome) = room(heap, words) {
        return outcome;
    }
    let elements: Vec<u64> =
        (0..count).map(|index| lazy(heap.make(header(Kind::APTHUNK, 0, 2), &[args[1], imm(index as u64)]))).collect();
    Outcome::Value(heap.row(&elements), cost(words))
}

fn put(heap: &mut Heap, args: &[u64]) -> Outcome {
    let index = heap.resolve(args[0]);
    if is_lazy(index) {
        return Outcome::Decline;
    }
    let (index, count) = (heap.cast(index), count(heap, args[2]));
    if count == 0 {
        return value(heap.row(&[]));
    }
    if !is_imm(index) || index >> 1 >= count as u64 {
        return value(args[2]);
    }
    if let Some(outcome) = room(heap, count) {
        return outcome;
    }
    let new = heap.row_of(count);
    let (from, to) = (at(args[2]) + 1, at(new) + 1);
    heap.mem.copy_within(from..from + count, to);
    heap.mem[to + (index >> 1) as usize] = args[1];
    Outcome::Value(new, cost(count))
}

fn joined(heap: &mut Heap, rows: &[u64]) -> Outcome {
    let total = rows.iter().map(|row| count(heap, *row)).sum();
    if let Some(outcome) = room(heap, total) {
        return outcome;
    }
    let new = heap.row_of(total);
    let mut to = at(new) + 1;
    for row in rows {
        let count = count(heap, *row);
        if count > 0 {
            let from = at(*row) + 1;
            heap.mem.copy_within(from..from + count, to);
        }
        to += count;
    }
    Outcome::Value(new, cost(total))
}

fn part(heap: &mut Heap, row: u64, choose: impl FnOnce(&[u64]) -> Vec<u64>) -> Outcome {
    let count = count(heap, row);
    if let Some(outcome) = room(heap, count) {
        return outcome;
    }
    let elements = if count == 0 { Vec::new() } else { choose(heap.fields(row)) };
    Outcome::Value(heap.row(&elements), cost(count))
}

fn map(heap: &mut Heap, args: &[u64]) -> Outcome {
    let count = count(heap, args[1]);
    if let Some(outcome) = room(heap, count * 4) {
        return outcome;
    }
    let mut made = Vec::with_capacity(count);
    for index in 0..count {
        let element = heap.field(args[1], index);
        made.push(lazy(heap.make(header(Kind::APTHUNK, 0, 2), &[args[0], element])));
    }
    Outcome::Value(heap.row(&made), cost(count * 4))
}

fn sort(heap: &mut Heap, args: &[u64]) -> Outcome {
    let mut elements = elements(heap, args[0]);
    if elements.len() < 2 {
        return value(args[0]);
    }
    if let Some(outcome) = room(heap, elements.len()) {
        return outcome;
    }
    if !elements.iter().all(|element| heap.is_evaluated(*element)) {
        return Outcome::Decline;
    }
    // Stable, as the law is.
    elements.sort_by(|a, b| compare(heap, *a, *b));
    let cost = elements.len() as u64 * u64::from(elements.len().ilog2()) / 4;
    Outcome::Value(heap.row(&elements), cost)
}
