//! Choosing, ordering, showing.
//!
//! | | |
//! |---|---|
//! | `(if c a b)` | `a` if `c` is a number other than zero, else `b` |
//! | `(ifz c a b)` | the other way round |
//! | `(seq a b)` | `b`, once `a` is evaluated |
//! | `(and a b)`, `(or a b)` | 1 or 0; `b` is evaluated only if `a` does not decide |
//! | `(switch i else row)` | the element of a row; `else` if there is none |
//! | `(trace a b)` | `b`, once `a` is normal and was shown |
//! | `(isnat a)` .. `(isapp a)` | which of the four kinds of value it is |

use super::Need::{Deep, Head, Nothing};
use super::{Inline, Jet, Outcome, value};
use crate::eval::code::Op;
use crate::eval::heap::Heap;
use crate::eval::word::{Kind, ONE, ZERO, is_imm, len};

pub(super) const JETS: &[Jet] = &[
    Jet::new("if", &[Head, Nothing, Nothing], |heap, args| {
        Outcome::Eval(args[if is_true(heap, args[0]) { 1 } else { 2 }])
    })
    .inline(Inline::If),
    Jet::new("ifz", &[Head, Nothing, Nothing], |heap, args| {
        Outcome::Eval(args[if is_true(heap, args[0]) { 2 } else { 1 }])
    })
    .inline(Inline::Ifz),
    Jet::new("seq", &[Head, Nothing], |_, args| Outcome::Eval(args[1])).inline(Inline::Seq),
    // The second argument of these is needed only at times, so that without instructions the law decides.
    Jet::new("and", &[Head, Nothing], |heap, args| if is_true(heap, args[0]) { Outcome::Decline } else { value(ZERO) })
        .inline(Inline::And),
    Jet::new("or", &[Head, Nothing], |heap, args| if is_true(heap, args[0]) { value(ONE) } else { Outcome::Decline })
        .inline(Inline::Or),
    Jet::new("switch", &[Head, Nothing, Head], switch).inline(Inline::Switch),
    Jet::new("trace", &[Deep, Nothing], |_, args| Outcome::Show(args[0], args[1])),
    class("isnat", Op::IS_NAT, |heap, args| value(truth(heap.is_nat(args[0])))),
    class("ispin", Op::IS_PIN, |heap, args| value(truth(heap.kind_of(args[0]) == Some(Kind::PIN)))),
    class("islaw", Op::IS_LAW, |heap, args| value(truth(is_law(heap, args[0])))),
    class("isapp", Op::IS_APP, |heap, args| {
        let other = heap.is_nat(args[0]) || heap.kind_of(args[0]) == Some(Kind::PIN) || is_law(heap, args[0]);
        value(truth(!other))
    }),
];

const fn class(name: &'static str, op: u8, run: fn(&mut Heap, &[u64]) -> Outcome) -> Jet {
    Jet::new(name, &[Head], run).inline(Inline::Op(op))
}

pub(super) fn truth(yes: bool) -> u64 {
    if yes { ONE } else { ZERO }
}

pub(super) fn is_true(heap: &Heap, value: u64) -> bool {
    value != ZERO && heap.is_nat(value)
}

fn is_law(heap: &Heap, value: u64) -> bool {
    match heap.kind_of(value) {
        Some(Kind::LAW | Kind::BAR | Kind::SET) => true,
        Some(Kind::ROW) => len(heap.head(value)) == 0,
        _ => false,
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
