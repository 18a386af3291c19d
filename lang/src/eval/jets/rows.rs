//! Rows.
//!
//! | | |
//! |---|---|
//! | `(len r)` | how many elements; 0 of what is no row |
//! | `(idx i r)`, `(get r i)` | an element; 0 if there is none |
//! | `(put i v r)`, `(mut i v r)` | the row with another element there; the same row if it is shorter |
//! | `(weld a b)`, `(cat rr)` | one after the other; all of the rows in a row |
//! | `(map f r)` | `f` applied to each, when it is asked for |
//! | `(rev r)`, `(take n r)`, `(drop n r)` | |
//!
//! All decline what is no row.

use super::Need::{Elements, Head, Nothing};
use super::{Inline, Jet, Outcome, value};
use crate::eval::heap::{Heap, LARGE};
use crate::eval::word::{Kind, ZERO, at, header, imm, is_imm, lazy, len};

pub(super) const JETS: &[Jet] = &[
    Jet::new("len", &[Head], |heap, args| match count(heap, args[0]) {
        Some(count) => value(imm(count as u64)),
        None => Outcome::Decline,
    }),
    Jet::new("idx", &[Head, Head], |heap, args| idx(heap, args[0], args[1])).inline(Inline::Idx),
    Jet::new("get", &[Head, Head], |heap, args| idx(heap, args[1], args[0])).inline(Inline::Get),
    Jet::new("put", &[Head, Nothing, Head], put),
    Jet::new("mut", &[Head, Nothing, Head], put),
    Jet::new("weld", &[Head, Head], joined),
    Jet::new("cat", &[Elements], |heap, args| {
        if count(heap, args[0]).is_none() {
            return Outcome::Decline;
        }
        let rows: Vec<u64> = heap.fields(args[0]).iter().map(|row| heap.resolve(*row)).collect();
        joined(heap, &rows)
    }),
    Jet::new("map", &[Nothing, Head], map),
    Jet::new("rev", &[Head], |heap, args| part(heap, args[0], |elements| elements.iter().rev().copied().collect())),
    Jet::new("take", &[Head, Head], |heap, args| {
        let wanted = at_most(heap, args[0]);
        part(heap, args[1], |elements| elements[..wanted.min(elements.len())].to_vec())
    }),
    Jet::new("drop", &[Head, Head], |heap, args| {
        let wanted = at_most(heap, args[0]);
        part(heap, args[1], |elements| elements[wanted.min(elements.len())..].to_vec())
    }),
];

/// How many elements a row has.
pub(super) fn count(heap: &Heap, value: u64) -> Option<usize> {
    (heap.kind_of(value) == Some(Kind::ROW)).then(|| len(heap.head(value)))
}

/// A number taken as a count of something in memory.
pub(super) fn at_most(heap: &Heap, number: u64) -> usize {
    heap.small(number).and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX)
}

/// Whether so many words can be had without asking first.
pub(super) fn room(heap: &Heap, words: usize) -> Option<Outcome> {
    (words > LARGE && !heap.could_hold(words)).then_some(Outcome::Room(words))
}

fn cost(words: usize) -> u64 {
    words as u64 / 16
}

fn idx(heap: &mut Heap, index: u64, row: u64) -> Outcome {
    let Some(count) = count(heap, row) else { return Outcome::Decline };
    let index = heap.cast(index);
    if is_imm(index) && index >> 1 < count as u64 {
        Outcome::Eval(heap.field(row, (index >> 1) as usize))
    } else {
        value(ZERO)
    }
}

fn put(heap: &mut Heap, args: &[u64]) -> Outcome {
    let Some(count) = count(heap, args[2]) else { return Outcome::Decline };
    let index = heap.cast(args[0]);
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
    let mut total = 0;
    for row in rows {
        match count(heap, *row) {
            Some(count) => total += count,
            None => return Outcome::Decline,
        }
    }
    if let Some(outcome) = room(heap, total) {
        return outcome;
    }
    let new = heap.row_of(total);
    let mut to = at(new) + 1;
    for row in rows {
        let from = at(*row) + 1;
        let count = len(heap.head(*row));
        heap.mem.copy_within(from..from + count, to);
        to += count;
    }
    Outcome::Value(new, cost(total))
}

fn part(heap: &mut Heap, row: u64, choose: impl FnOnce(&[u64]) -> Vec<u64>) -> Outcome {
    let Some(count) = count(heap, row) else { return Outcome::Decline };
    if let Some(outcome) = room(heap, count) {
        return outcome;
    }
    let elements = choose(heap.fields(row));
    Outcome::Value(heap.row(&elements), cost(count))
}

fn map(heap: &mut Heap, args: &[u64]) -> Outcome {
    let Some(count) = count(heap, args[1]) else { return Outcome::Decline };
    if let Some(outcome) = room(heap, count * 4) {
        return outcome;
    }
    let mut elements = heap.fields(args[1]).to_vec();
    for element in &mut elements {
        *element = lazy(heap.make(header(Kind::APTHUNK, 0, 2), &[args[0], *element]));
    }
    Outcome::Value(heap.row(&elements), cost(count * 4))
}
