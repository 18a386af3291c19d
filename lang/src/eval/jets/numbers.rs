//! Numbers: arithmetic, bits, order. What is no number is taken as zero, but for the order, which is of all values.
//!
//! `sub` gives zero where it would be less; `div` and `mod` by zero give zero; `divmod` a row of both; `bex n` is 2^n, `met n` how
//! many bits `n` has; `mix con dis` are exclusive or, or, and; `bit i n` is bit i of n; `cmp` is 0, 1 or 2.
//!
//! The order and equality normalise both sides first.

use super::Need::{Deep, Head};
use super::{Inline, Jet, Outcome, value};
use crate::eval::Crash;
use crate::eval::code::Op;
use crate::eval::heap::Heap;
use crate::eval::number::{compute, verdict};
use crate::eval::order::{compare_counted, equal};
use crate::eval::word::{ONE, ZERO};

/// Parts compared that count as one step.
const PARTS_PER_STEP: u64 = 8;

pub(super) const JETS: &[Jet] = &[
    one("inc", Op::INC, |heap, args| number(heap, Op::INC, args)),
    one("dec", Op::DEC, |heap, args| number(heap, Op::DEC, args)),
    one("not", Op::NOT, |heap, args| number(heap, Op::NOT, args)),
    one("met", Op::MET, |heap, args| number(heap, Op::MET, args)),
    one("bex", Op::BEX, |heap, args| number(heap, Op::BEX, args)),
    two("add", Op::ADD, |heap, args| number(heap, Op::ADD, args)),
    two("sub", Op::SUB, |heap, args| number(heap, Op::SUB, args)),
    two("mul", Op::MUL, |heap, args| number(heap, Op::MUL, args)),
    two("div", Op::DIV, |heap, args| number(heap, Op::DIV, args)),
    two("mod", Op::MOD, |heap, args| number(heap, Op::MOD, args)),
    two("lsh", Op::LSH, |heap, args| number(heap, Op::LSH, args)),
    two("rsh", Op::RSH, |heap, args| number(heap, Op::RSH, args)),
    two("mix", Op::MIX, |heap, args| number(heap, Op::MIX, args)),
    two("con", Op::CON, |heap, args| number(heap, Op::CON, args)),
    two("dis", Op::DIS, |heap, args| number(heap, Op::DIS, args)),
    two("pow", Op::POW, |heap, args| number(heap, Op::POW, args)),
    Jet::new("divmod", &[Head, Head], divmod),
    Jet::new("bit", &[Head, Head], bit),
    order("eql", Op::EQL, |heap, args| same(heap, Op::EQL, args)),
    order("neq", Op::NEQ, |heap, args| same(heap, Op::NEQ, args)),
    order("lth", Op::LTH, |heap, args| ordered(heap, Op::LTH, args)),
    order("lte", Op::LTE, |heap, args| ordered(heap, Op::LTE, args)),
    order("gth", Op::GTH, |heap, args| ordered(heap, Op::GTH, args)),
    order("gte", Op::GTE, |heap, args| ordered(heap, Op::GTE, args)),
    order("cmp", Op::CMP, |heap, args| ordered(heap, Op::CMP, args)),
];

const fn one(name: &'static str, op: u8, run: fn(&mut Heap, &[u64]) -> Outcome) -> Jet {
    Jet::new(name, &[Head], run).inline(Inline::Op(op))
}

const fn two(name: &'static str, op: u8, run: fn(&mut Heap, &[u64]) -> Outcome) -> Jet {
    Jet::new(name, &[Head, Head], run).inline(Inline::Op(op))
}

const fn order(name: &'static str, op: u8, run: fn(&mut Heap, &[u64]) -> Outcome) -> Jet {
    Jet::new(name, &[Deep, Deep], run).inline(Inline::Op(op))
}

fn number(heap: &mut Heap, op: u8, args: &[u64]) -> Outcome {
    match compute(heap, op, args[0], args.get(1).copied().unwrap_or(ZERO)) {
        Ok((value, cost)) => Outcome::Value(value, cost),
        Err(_) => Outcome::Crash(Crash::NUMBER),
    }
}

fn divmod(heap: &mut Heap, args: &[u64]) -> Outcome {
    let results = [Op::DIV, Op::MOD].map(|op| compute(heap, op, args[0], args[1]));
    match results {
        [Ok((quotient, cost)), Ok((rest, _))] => Outcome::Value(heap.row(&[quotient, rest]), cost),
        _ => Outcome::Crash(Crash::NUMBER),
    }
}

fn bit(heap: &mut Heap, args: &[u64]) -> Outcome {
    let (index, number) = (heap.cast(args[0]), heap.cast(args[1]));
    let limbs = heap.limbs(number);
    let limb = heap.small(index).and_then(|index| Some((limbs.get(usize::try_from(index / 64).ok()?)?, index % 64)));
    value(limb.map_or(ZERO, |(limb, index)| if limb >> index & 1 == 1 { ONE } else { ZERO }))
}

fn same(heap: &mut Heap, op: u8, args: &[u64]) -> Outcome {
    let (same, cost) = equal(heap, args[0], args[1]);
    Outcome::Value(if same == (op == Op::EQL) { ONE } else { ZERO }, cost as u64 / PARTS_PER_STEP)
}

fn ordered(heap: &mut Heap, op: u8, args: &[u64]) -> Outcome {
    let (order, cost) = compare_counted(heap, args[0], args[1]);
    Outcome::Value(verdict(op, order), cost as u64 / PARTS_PER_STEP)
}
