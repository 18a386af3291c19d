//! Bytes.
//!
//! `(barlen b)`, `(baridx i b)` (0 if there is none), `(barweld a b)`, `(barcat row)`, `(bartake n b)`, `(bardrop n b)`; `(barnat b)`
//! is the number whose digits in base 256 they are, the first the least, and `(natbar n)` the bytes of a number, none for zero.
//!
//! All but `natbar` decline what is not bytes.

use super::Need::{Elements, Head};
use super::rows::{at_most, count, room};
use super::{Jet, Outcome, value};
use crate::eval::heap::Heap;
use crate::eval::word::{Kind, ZERO, imm};

pub(super) const JETS: &[Jet] = &[
    Jet::new("barlen", &[Head], |heap, args| match is_bar(heap, args[0]) {
        true => value(imm(heap.field(args[0], 0))),
        false => Outcome::Decline,
    }),
    Jet::new("baridx", &[Head, Head], |heap, args| {
        if !is_bar(heap, args[1]) {
            return Outcome::Decline;
        }
        let (index, count) = (at_most(heap, args[0]), heap.field(args[1], 0) as usize);
        if index >= count {
            return value(ZERO);
        }
        value(imm(heap.field(args[1], 1 + index / 8) >> (index % 8 * 8) & 0xff))
    }),
    Jet::new("barweld", &[Head, Head], joined),
    Jet::new("barcat", &[Elements], |heap, args| {
        if count(heap, args[0]).is_none() {
            return Outcome::Decline;
        }
        let bars: Vec<u64> = heap.fields(args[0]).iter().map(|bar| heap.resolve(*bar)).collect();
        joined(heap, &bars)
    }),
    Jet::new("bartake", &[Head, Head], |heap, args| {
        let wanted = at_most(heap, args[0]);
        part(heap, args[1], |bytes| &bytes[..wanted.min(bytes.len())])
    }),
    Jet::new("bardrop", &[Head, Head], |heap, args| {
        let wanted = at_most(heap, args[0]);
        part(heap, args[1], |bytes| &bytes[wanted.min(bytes.len())..])
    }),
    Jet::new("barnat", &[Head], |heap, args| {
        if !is_bar(heap, args[0]) {
            return Outcome::Decline;
        }
        let limbs = heap.fields(args[0])[1..].to_vec();
        let cost = limbs.len() as u64 / 16;
        Outcome::Value(heap.nat_of(&limbs), cost)
    }),
    Jet::new("natbar", &[Head], |heap, args| {
        let limbs = heap.limbs(heap.cast(args[0]));
        let mut bytes: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        made(heap, &bytes)
    }),
];

pub(super) fn is_bar(heap: &Heap, value: u64) -> bool {
    heap.kind_of(value) == Some(Kind::BAR)
}

fn made(heap: &mut Heap, bytes: &[u8]) -> Outcome {
    if let Some(outcome) = room(heap, bytes.len() / 8) {
        return outcome;
    }
    let bar = heap.bar(bytes);
    Outcome::Value(bar, bytes.len() as u64 / 128)
}

fn joined(heap: &mut Heap, bars: &[u64]) -> Outcome {
    let mut total = 0;
    for bar in bars {
        if !is_bar(heap, *bar) {
            return Outcome::Decline;
        }
        total += heap.field(*bar, 0) as usize;
    }
    if let Some(outcome) = room(heap, total / 8) {
        return outcome;
    }
    let mut bytes = Vec::with_capacity(total);
    for bar in bars {
        bytes.extend(heap.bytes(*bar));
    }
    made(heap, &bytes)
}

fn part(heap: &mut Heap, bar: u64, choose: impl FnOnce(&[u8]) -> &[u8]) -> Outcome {
    if !is_bar(heap, bar) {
        return Outcome::Decline;
    }
    let bytes = heap.bytes(bar);
    made(heap, choose(&bytes))
}
