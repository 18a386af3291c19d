//! Bytes: as in `lang/base/bytes.abide`. What is no bytes is taken as none.

use super::Need::{Elements, Head};
use super::rows::{at_most, elements, room};
use super::{Jet, Outcome, truth, value};
use crate::eval::Crash;
use crate::eval::heap::Heap;
use crate::eval::number::LIMBS_MAX;
use crate::eval::word::{Kind, ZERO, imm};

pub(super) const JETS: &[Jet] = &[
    Jet::new("is-bytes", &[Head], |heap, args| value(truth(is_bar(heap, args[0])))),
    Jet::new("bytes-len", &[Head], |heap, args| value(imm(count(heap, args[0]) as u64))),
    Jet::new("byte", &[Head, Head], |heap, args| {
        let index = at_most(heap, args[0]);
        if index >= count(heap, args[1]) {
            return value(ZERO);
        }
        value(imm(heap.field(args[1], 1 + index / 8) >> (index % 8 * 8) & 0xff))
    }),
    Jet::new("bytes-weld", &[Head, Head], joined),
    Jet::new("bytes-cat", &[Elements], |heap, args| {
        let bars = elements(heap, args[0]);
        joined(heap, &bars)
    }),
    Jet::new("bytes-take", &[Head, Head], |heap, args| {
        let wanted = at_most(heap, args[0]);
        part(heap, args[1], 0, wanted)
    })
    .backwards(),
    Jet::new("bytes-drop", &[Head, Head], |heap, args| {
        let wanted = at_most(heap, args[0]);
        part(heap, args[1], wanted, usize::MAX)
    }),
    Jet::new("bytes-slice", &[Head, Head, Head], |heap, args| {
        let (from, to) = (at_most(heap, args[0]), at_most(heap, args[1]));
        part(heap, args[2], from, to)
    }),
    Jet::new("bytes-nat", &[Head], |heap, args| {
        let limbs = if is_bar(heap, args[0]) { heap.fields(args[0])[1..].to_vec() } else { Vec::new() };
        let cost = limbs.len() as u64 / 16;
        Outcome::Value(heap.nat_of(&limbs), cost)
    }),
    Jet::new("nat-bytes", &[Head], |heap, args| {
        let mut bytes = digits(heap, args[0]);
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        made(heap, &bytes)
    }),
    Jet::new("sized-bytes", &[Head, Head], |heap, args| {
        let size = at_most(heap, args[0]);
        // The law makes the number two to that many bytes.
        if size >= LIMBS_MAX * 8 {
            return Outcome::Crash(Crash::NUMBER);
        }
        let mut bytes = digits(heap, args[1]);
        let cost = bytes.len().saturating_sub(size) as u64 / 128;
        bytes.resize(size, 0);
        match made(heap, &bytes) {
            Outcome::Value(bar, more) => Outcome::Value(bar, cost + more),
            other => other,
        }
    }),
    Jet::new("bytes-row", &[Head], |heap, args| {
        let words = count(heap, args[0]);
        if let Some(outcome) = room(heap, words) {
            return outcome;
        }
        let row: Vec<u64> = bytes_of(heap, args[0]).into_iter().map(|byte| imm(u64::from(byte))).collect();
        Outcome::Value(heap.row(&row), words as u64 / 16)
    }),
    Jet::new("row-bytes", &[Elements], |heap, args| {
        let bytes: Vec<u8> = elements(heap, args[0])
            .into_iter()
            .map(|element| heap.limbs(element).first().map_or(0, |limb| limb.to_le_bytes()[0]))
            .collect();
        made(heap, &bytes)
    }),
    Jet::new("starts-with", &[Head, Head], |heap, args| {
        let wanted = bytes_of(heap, args[0]);
        let is_so = is_bar(heap, args[0]) && range(heap, args[1], 0, wanted.len()) == wanted;
        Outcome::Value(truth(is_so), wanted.len() as u64 / 128)
    }),
    Jet::new("bytes-find", &[Head, Head, Head], find).backwards(),
];

pub(super) fn is_bar(heap: &Heap, value: u64) -> bool {
    heap.kind_of(value) == Some(Kind::BAR)
}

fn count(heap: &Heap, value: u64) -> usize {
    if is_bar(heap, value) { heap.field(value, 0) as usize } else { 0 }
}

fn bytes_of(heap: &Heap, value: u64) -> Vec<u8> {
    if is_bar(heap, value) { heap.bytes(value) } else { Vec::new() }
}

/// The digits of a number in base 256, the least first, and zeros.
fn digits(heap: &Heap, number: u64) -> Vec<u8> {
    heap.limbs(heap.cast(number)).iter().flat_map(|limb| limb.to_le_bytes()).collect()
}

fn made(heap: &mut Heap, bytes: &[u8]) -> Outcome {
    if let Some(outcome) = room(heap, bytes.len() / 8) {
        return outcome;
    }
    let bar = heap.bar(bytes);
    Outcome::Value(bar, bytes.len() as u64 / 128)
}

fn joined(heap: &mut Heap, bars: &[u64]) -> Outcome {
    let total: usize = bars.iter().map(|bar| count(heap, *bar)).sum();
    if let Some(outcome) = room(heap, total / 8) {
        return outcome;
    }
    let mut bytes = Vec::with_capacity(total);
    for bar in bars {
        bytes.extend(bytes_of(heap, *bar));
    }
    made(heap, &bytes)
}

fn part(heap: &mut Heap, bar: u64, from: usize, to: usize) -> Outcome {
    let bytes = range(heap, bar, from, to);
    made(heap, &bytes)
}

/// The bytes from one place up to another, as far as there are any.
fn range(heap: &Heap, bar: u64, from: usize, to: usize) -> Vec<u8> {
    let to = to.min(count(heap, bar));
    let from = from.min(to);
    if from == to {
        return Vec::new();
    }
    let words = &heap.fields(bar)[1 + from / 8..1 + to.div_ceil(8)];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(to - from / 8 * 8);
    bytes.drain(..from % 8);
    bytes
}

/// How many bytes are searched at a time.
const WINDOW: usize = 4096;

/// Searches once through the bytes, whatever they are, and not beyond the first place.
fn find(heap: &mut Heap, args: &[u64]) -> Outcome {
    let (total, from) = (count(heap, args[2]), at_most(heap, args[1]));
    if !is_bar(heap, args[0]) || from > total {
        return value(imm(total as u64));
    }
    let wanted = bytes_of(heap, args[0]);
    if wanted.is_empty() {
        return value(imm(from as u64));
    }
    let shorter = prefixes(&wanted);
    let mut matched = 0;
    for start in (from..total).step_by(WINDOW) {
        for (index, byte) in range(heap, args[2], start, start + WINDOW).into_iter().enumerate() {
            while matched > 0 && byte != wanted[matched] {
                matched = shorter[matched - 1];
            }
            matched += usize::from(byte == wanted[matched]);
            if matched == wanted.len() {
                let end = start + index + 1;
                return Outcome::Value(imm((end - matched) as u64), (end - from + wanted.len()) as u64 / 64);
            }
        }
    }
    Outcome::Value(imm(total as u64), (total - from + wanted.len()) as u64 / 64)
}

/// Of each prefix of what is wanted, how long the longest end of it is that begins it, too: by it, as Knuth, Morris and Pratt
/// have it, no input makes a search slow.
fn prefixes(wanted: &[u8]) -> Vec<usize> {
    let mut shorter = vec![0; wanted.len()];
    let mut matched = 0;
    for index in 1..wanted.len() {
        while matched > 0 && wanted[index] != wanted[matched] {
            matched = shorter[matched - 1];
        }
        matched += usize::from(wanted[index] == wanted[matched]);
        shorter[index] = matched;
    }
    shorter
}
