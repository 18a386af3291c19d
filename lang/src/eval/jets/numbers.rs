//! Numbers and order: as in `lang/base/numbers.abide` and `lang/base/order.abide`. What is no number is taken as zero, but by `eql` and
//! `cmp`, which are of all values.
//!
//! These two decline values that are not evaluated throughout: the laws evaluate no more than they must to find a difference.
//! `(divmod a b)` is a row of what `div` and `mod` give.

use super::Need::{Head, Unless0};
use super::{Inline, Jet, Outcome, truth, value};
use crate::eval::Crash;
use crate::eval::code::Op;
use crate::eval::heap::Heap;
use crate::eval::number::{compute, verdict};
use crate::eval::order::{compare, equal};
use crate::eval::word::{ONE, ZERO, is_imm};

pub(super) const JETS: &[Jet] = &[
    one("nat", Op::NAT, |heap, args| number(heap, Op::NAT, args)),
    one("inc", Op::INC, |heap, args| number(heap, Op::INC, args)),
    one("dec", Op::DEC, |heap, args| number(heap, Op::DEC, args)),
    one("met", Op::MET, |heap, args| number(heap, Op::MET, args)),
    one("bex", Op::BEX, |heap, args| number(heap, Op::BEX, args)),
    two("add", Op::ADD, |heap, args| number(heap, Op::ADD, args)),
    back("sub", Op::SUB, |heap, args| number(heap, Op::SUB, args)),
    guard("mul", Op::MUL, 0, &[Head, Unless0(0)], |heap, args| guarded(heap, Op::MUL, args, 0)),
    guard("pow", Op::POW, 1, &[Unless0(1), Head], |heap, args| guarded(heap, Op::POW, args, 1)),
    guard("div", Op::DIV, 1, &[Unless0(1), Head], |heap, args| guarded(heap, Op::DIV, args, 1)),
    guard("mod", Op::MOD, 1, &[Unless0(1), Head], |heap, args| guarded(heap, Op::MOD, args, 1)),
    Jet::new("divmod", &[Unless0(1), Head], divmod),
    two("lth", Op::LTH, |heap, args| cast_order(heap, Op::LTH, args)),
    back("gth", Op::GTH, |heap, args| cast_order(heap, Op::GTH, args)),
    back("lte", Op::LTE, |heap, args| cast_order(heap, Op::LTE, args)),
    two("gte", Op::GTE, |heap, args| cast_order(heap, Op::GTE, args)),
    back("same-nat", Op::SAME, |heap, args| cast_order(heap, Op::SAME, args)),
    two("cmp-nat", Op::CMP_NAT, |heap, args| cast_order(heap, Op::CMP_NAT, args)),
    back("min", Op::MIN, |heap, args| number(heap, Op::MIN, args)),
    two("max", Op::MAX, |heap, args| number(heap, Op::MAX, args)),
    guard("lsh", Op::LSH, 0, &[Head, Unless0(0)], |heap, args| guarded(heap, Op::LSH, args, 0)),
    back("rsh", Op::RSH, |heap, args| number(heap, Op::RSH, args)),
    two("bit-xor", Op::MIX, |heap, args| number(heap, Op::MIX, args)),
    two("bit-or", Op::CON, |heap, args| number(heap, Op::CON, args)),
    guard("bit-and", Op::DIS, 0, &[Head, Unless0(0)], |heap, args| guarded(heap, Op::DIS, args, 0)),
    Jet::new("bit", &[Head, Head], bit),
    Jet::new("low-bits", &[Head, Head], low_bits),
    two("eql", Op::EQL, |heap, args| same(heap, Op::EQL, args)),
    two("neq", Op::NEQ, |heap, args| same(heap, Op::NEQ, args)),
    two("cmp", Op::CMP, any_order),
];

type Run = fn(&mut Heap, &[u64]) -> Outcome;

const fn one(name: &'static str, op: u8, run: Run) -> Jet {
    Jet::new(name, &[Head], run).inline(Inline::Op(op))
}

const fn two(name: &'static str, op: u8, run: Run) -> Jet {
    Jet::new(name, &[Head, Head], run).inline(Inline::Op(op))
}

/// One that evaluates its second argument first.
const fn back(name: &'static str, op: u8, run: Run) -> Jet {
    Jet::new(name, &[Head, Head], run).inline(Inline::Back(op)).backwards()
}

/// One that needs an argument only if the other one, `guard`, is not zero.
const fn guard(name: &'static str, op: u8, guard: usize, needs: &'static [super::Need], run: Run) -> Jet {
    Jet::new(name, needs, run).inline(Inline::Guard(op, guard))
}

fn number(heap: &mut Heap, op: u8, args: &[u64]) -> Outcome {
    match compute(heap, op, args[0], args.get(1).copied().unwrap_or(ZERO)) {
        Ok((value, cost)) => Outcome::Value(value, cost),
        Err(_) => Outcome::Crash(Crash::NUMBER),
    }
}

fn guarded(heap: &mut Heap, op: u8, args: &[u64], guard: usize) -> Outcome {
    if super::is_true(heap, args[guard]) {
        return number(heap, op, args);
    }
    value(if op == Op::POW { ONE } else { ZERO })
}

fn divmod(heap: &mut Heap, args: &[u64]) -> Outcome {
    if !super::is_true(heap, args[1]) {
        return value(heap.row(&[ZERO, ZERO]));
    }
    let results = [Op::DIV, Op::MOD].map(|op| compute(heap, op, args[0], args[1]));
    match results {
        [Ok((quotient, cost)), Ok((rest, _))] => Outcome::Value(heap.row(&[quotient, rest]), cost),
        _ => Outcome::Crash(Crash::NUMBER),
    }
}

fn cast_order(heap: &mut Heap, op: u8, args: &[u64]) -> Outcome {
    let (x, y) = (heap.cast(args[0]), heap.cast(args[1]));
    value(verdict(op, compare(heap, x, y)))
}

fn bit(heap: &mut Heap, args: &[u64]) -> Outcome {
    let (index, number) = (heap.cast(args[0]), heap.cast(args[1]));
    let limbs: &[u64] = if is_imm(number) { &[number >> 1] } else { heap.fields(number) };
    let limb = heap.small(index).and_then(|index| Some((limbs.get(usize::try_from(index / 64).ok()?)?, index % 64)));
    value(truth(limb.is_some_and(|(limb, index)| limb >> index & 1 == 1)))
}

fn low_bits(heap: &mut Heap, args: &[u64]) -> Outcome {
    let mut limbs = heap.limbs(heap.cast(args[1]));
    let cost = limbs.len() as u64 / 64;
    if let Some(count) = heap.small(heap.cast(args[0])).and_then(|count| usize::try_from(count).ok()) {
        let whole = count / 64;
        if whole < limbs.len() {
            limbs.truncate(whole + 1);
            limbs[whole] &= (1 << (count % 64)) - 1;
        }
    }
    Outcome::Value(heap.nat_of(&limbs), cost)
}

fn same(heap: &mut Heap, op: u8, args: &[u64]) -> Outcome {
    if heap.is_nat(args[0]) != heap.is_nat(args[1]) {
        return value(truth(op == Op::NEQ));
    }
    if !heap.is_evaluated(args[0]) || !heap.is_evaluated(args[1]) {
        return Outcome::Decline;
    }
    value(truth(equal(heap, args[0], args[1]) == (op == Op::EQL)))
}

fn any_order(heap: &mut Heap, args: &[u64]) -> Outcome {
    if !heap.is_evaluated(args[0]) || !heap.is_evaluated(args[1]) {
        return Outcome::Decline;
    }
    value(verdict(Op::CMP, compare(heap, args[0], args[1])))
}
