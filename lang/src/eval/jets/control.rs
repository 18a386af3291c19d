//! Choosing, ordering, showing: `if`, `ifz`, `not`, `and`, `or`, `seq`, `is-nat`, `is-pin`, `is-law`, `is-app` are as in
//! `lang/base/core.abide`. `(switch i else row)` is the element of a row, or `else` if there is none; `(trace a b)` is `b`, once `a` is
//! normal and was shown.

use super::Need::{Deep, Head, Nothing};
use super::{Inline, Jet, Outcome, is_true, truth, value};
use crate::eval::Crash;
use crate::eval::code::Op;
use crate::eval::heap::Heap;
use crate::eval::number::compute;
use crate::eval::word::{Kind, ONE, ZERO, header, is_imm, lazy, len};

pub(super) const JETS: &[Jet] = &[
    Jet::new("if", &[Head, Nothing, Nothing], |heap, args| {
        Outcome::Eval(args[if is_true(heap, args[0]) { 1 } else { 2 }])
    })
    .inline(Inline::If),
    Jet::new("ifz", &[Head, Nothing, Nothing], ifz).inline(Inline::Ifz),
    Jet::new("not", &[Head], |heap, args| value(truth(!is_true(heap, args[0])))).inline(Inline::Op(Op::NOT)),
    // The second argument of these is needed only at times, so that without instructions the law decides.
    Jet::new("and", &[Head, Nothing], |heap, args| if is_true(heap, args[0]) { Outcome::Decline } else { value(ZERO) })
        .inline(Inline::And),
    Jet::new("or", &[Head, Nothing], |heap, args| if is_true(heap, args[0]) { value(ONE) } else { Outcome::Decline })
        .inline(Inline::Or),
    Jet::new("seq", &[Head, Nothing], |_, args| Outcome::Eval(args[1])).inline(Inline::Seq),
    Jet::new("switch", &[Head, Nothing, Head], switch).inline(Inline::Switch),
    Jet::new("trace", &[Deep, Nothing], |_, args| Outcome::Show(args[0], args[1])),
    class("is-nat", Op::IS_NAT, |heap, args| value(truth(heap.is_nat(args[0])))),
    class("is-pin", Op::IS_PIN, |heap, args| value(truth(heap.kind_of(args[0]) == Some(Kind::PIN)))),
    class("is-law", Op::IS_LAW, |heap, args| value(truth(is_law(heap, args[0])))),
    class("is-app", Op::IS_APP, |heap, args| {
        let other = heap.is_nat(args[0]) || heap.kind_of(args[0]) == Some(Kind::PIN) || is_law(heap, args[0]);
        value(truth(!other))
    }),
];

const fn class(name: &'static str, op: u8, run: fn(&mut Heap, &[u64]) -> Outcome) -> Jet {
    Jet::new(name, &[Head], run).inline(Inline::Op(op))
}

fn is_law(heap: &Heap, value: u64) -> bool {
    match heap.kind_of(value) {
        Some(Kind::LAW | Kind::BAR | Kind::SET) => true,
        Some(Kind::ROW) => len(heap.head(value)) == 0,
        _ => false,
    }
}

fn ifz(heap: &mut Heap, args: &[u64]) -> Outcome {
    if !is_true(heap, args[0]) {
        return Outcome::Eval(args[1]);
    }
    match compute(heap, Op::DEC, args[0], ZERO) {
        Ok((less, _)) => Outcome::Eval(lazy(heap.make(header(Kind::APTHUNK, 0, 2), &[args[2], less]))),
        Err(_) => Outcome::Crash(Crash::NUMBER),
    }
}

fn switch(heap: &mut Heap, args: &[u64]) -> Outcome {
    let index = heap.cast(args[0]);
    if heap.kind_of(args[2]) != Some(Kind::ROW) {
        return Outcome::Decline;
    }
    if is_imm(index) && index >> 1 < len(heap.head(args[2])) as u64 {
        Outcome::Eval(heap.field(args[2], (index >> 1) as usize))
    } else {
        Outcome::Eval(args[1])
    }
}
