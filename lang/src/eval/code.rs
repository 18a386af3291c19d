//! Instructions: what laws are compiled to.
//!
//! A word is an opcode of 8 bits and three fields of 18: `a`, `b`, `c`. An *operand* in a field is a slot of the frame or, with
//! [`CONST`] set, how far before this word a constant is. A *list* of operands is packed three a word. Jumps say how many words
//! further, counted from the instruction's first word; they only go forward.
//!
//! Code of one law: entry, instructions, and the same for each thing in it that is evaluated later. Slot 0 of a frame is the law
//! itself, or the pin of it that was applied (then its arguments follow), or the code of a thunk (then what it captured follows).
//!
//! After each instruction that may leave the frame for a while stands a *point* of two words, where the frame is gone on with: which
//! slot the value goes to, how many words are made from there on at the most, and, a bit a slot, which slots are dead.

pub(super) const FIELD: u32 = 18;
pub(super) const FIELD_MAX: usize = (1 << FIELD) - 1;
/// Set in an operand that is a constant.
pub(super) const CONST: usize = 1 << (FIELD - 1);
/// Words of a point.
pub(super) const POINT: usize = 2;

#[inline(always)]
pub(super) const fn op(word: u64) -> u8 {
    word as u8
}

#[inline(always)]
pub(super) const fn a(word: u64) -> usize {
    (word >> 8) as usize & FIELD_MAX
}

#[inline(always)]
pub(super) const fn b(word: u64) -> usize {
    (word >> (8 + FIELD)) as usize & FIELD_MAX
}

#[inline(always)]
pub(super) const fn c(word: u64) -> usize {
    (word >> (8 + 2 * FIELD)) as usize & FIELD_MAX
}

pub(super) const fn word(op: u8, a: usize, b: usize, c: usize) -> u64 {
    op as u64 | (a as u64) << 8 | (b as u64) << (8 + FIELD) | (c as u64) << (8 + 2 * FIELD)
}

/// Words of a list of so many operands.
#[inline(always)]
pub(super) const fn list(count: usize) -> usize {
    count.div_ceil(3)
}

/// Opcodes.
pub(super) struct Op;

impl Op {
    /// `frame need args`, then dead slots: the entry of a law.
    pub(super) const ENTRY: u8 = 0;
    /// The same, of something evaluated later: it captured `args` values.
    pub(super) const PIECE: u8 = 19;
    /// `dest need -`, then dead slots.
    pub(super) const POINT: u8 = 1;
    /// `dest from`
    pub(super) const MOVE: u8 = 2;
    /// `dest entry count`, `back`, list: something evaluated later, by the entry's distance from the code's header.
    pub(super) const THUNK: u8 = 3;
    /// `dest count -`, list: a function and its arguments, applied later.
    pub(super) const APTHUNK: u8 = 4;
    /// `dest count left`, list: an application that waits for `left` more.
    pub(super) const APP: u8 = 5;
    /// `dest count -`, list by index.
    pub(super) const ROW: u8 = 6;
    /// `thunk index from`: what a thunk captured, once that is there.
    pub(super) const PATCH: u8 = 7;
    /// `dest from height`, point.
    pub(super) const EVAL: u8 = 8;
    /// `- from -`: an evaluated value is the result.
    pub(super) const RETURN: u8 = 9;
    /// `- from -`: what this evaluates to is the result.
    pub(super) const RETURN_EVAL: u8 = 10;
    /// `height count -`, list of function and arguments, point.
    pub(super) const CALL: u8 = 11;
    /// The same in place of this frame, without a point.
    pub(super) const TAIL_CALL: u8 = 12;
    /// `height count back`, list of arguments, point: of the law itself.
    pub(super) const SELF_CALL: u8 = 13;
    pub(super) const SELF_TAIL_CALL: u8 = 14;
    /// `to - -`
    pub(super) const JUMP: u8 = 15;
    /// `to from -`: unless it is a number other than zero.
    pub(super) const JUMP_ZERO: u8 = 16;
    /// `default from count`, then how far for each number.
    pub(super) const SWITCH: u8 = 17;
    /// `dest count left`, list: an application, whatever comes of it.
    pub(super) const PARTIAL: u8 = 18;

    /// `dest from -`: numbers, of one.
    pub(super) const INC: u8 = 32;
    pub(super) const DEC: u8 = 33;
    pub(super) const NOT: u8 = 34;
    pub(super) const TRUTH: u8 = 35;
    pub(super) const MET: u8 = 36;
    pub(super) const BEX: u8 = 37;
    pub(super) const NAT: u8 = 38;
    /// The same, of any value that is evaluated: which kind it is, how long as a row, whether it is a row of any elements.
    pub(super) const IS_NAT: u8 = 39;
    pub(super) const IS_PIN: u8 = 40;
    pub(super) const IS_LAW: u8 = 41;
    pub(super) const IS_APP: u8 = 42;
    pub(super) const IS_ROW: u8 = 43;
    pub(super) const LEN: u8 = 44;
    pub(super) const IS_FULL: u8 = 45;
    /// `dest left right`: numbers, of two.
    pub(super) const ADD: u8 = 48;
    pub(super) const SUB: u8 = 49;
    pub(super) const MUL: u8 = 50;
    pub(super) const DIV: u8 = 51;
    pub(super) const MOD: u8 = 52;
    pub(super) const LSH: u8 = 53;
    pub(super) const RSH: u8 = 54;
    pub(super) const MIX: u8 = 55;
    pub(super) const CON: u8 = 56;
    pub(super) const DIS: u8 = 57;
    pub(super) const POW: u8 = 58;
    pub(super) const MIN: u8 = 59;
    pub(super) const MAX: u8 = 60;
    /// The same: element `left` of what is a row, perhaps to be evaluated; zero if there is none.
    pub(super) const IDX: u8 = 61;
    /// `dest left right`, `height - -`, list of the jet and both, point: order, of any two values.
    pub(super) const EQL: u8 = 64;
    pub(super) const NEQ: u8 = 65;
    pub(super) const LTH: u8 = 66;
    pub(super) const LTE: u8 = 67;
    pub(super) const GTH: u8 = 68;
    pub(super) const GTE: u8 = 69;
    pub(super) const CMP: u8 = 70;
    /// The same, of numbers: what is none is zero.
    pub(super) const SAME: u8 = 71;
    pub(super) const CMP_NAT: u8 = 72;

    /// Added to an opcode of these: `dest left right`, `done failed -`: if all are small numbers, or evaluated where any value will do.
    pub(super) const TRY: u8 = 96;
    /// Added to an order's opcode: `- left right`, `yes no -`: if both are small numbers, else goes on with what follows.
    pub(super) const BRANCH: u8 = 176;

    pub(super) const fn is_unary(op: u8) -> bool {
        op >= Self::INC && op < Self::ADD
    }

    pub(super) const fn is_binary(op: u8) -> bool {
        op >= Self::ADD && op < Self::EQL
    }

    /// Orders: there is a jet to ask if an instruction is not enough.
    pub(super) const fn is_order(op: u8) -> bool {
        op >= Self::EQL && op <= Self::CMP_NAT
    }

    /// Orders that give yes or no.
    pub(super) const fn is_question(op: u8) -> bool {
        Self::is_order(op) && op != Self::CMP && op != Self::CMP_NAT
    }

    pub(super) const fn is_try(op: u8) -> bool {
        op >= Self::TRY + Self::INC && op <= Self::TRY + Self::CMP_NAT
    }

    pub(super) const fn is_branch(op: u8) -> bool {
        op >= Self::BRANCH + Self::EQL && op <= Self::BRANCH + Self::CMP_NAT
    }

    /// Whether it may be done before it is asked for: it ends at once, and cannot crash.
    pub(super) const fn is_cheap(op: u8) -> bool {
        matches!(
            op,
            Self::INC..=Self::MET
                | Self::NAT..=Self::IS_FULL
                | Self::ADD..=Self::MOD
                | Self::RSH..=Self::DIS
                | Self::MIN..=Self::IDX
                | Self::EQL..=Self::CMP_NAT
        )
    }
}

/// How many operands an instruction has in a list.
pub(super) fn listed(word: u64) -> usize {
    match op(word) {
        Op::APTHUNK | Op::APP | Op::ROW | Op::PARTIAL => b(word),
        Op::THUNK => c(word),
        Op::CALL | Op::TAIL_CALL => b(word) + 1,
        Op::SELF_CALL | Op::SELF_TAIL_CALL => b(word),
        op if Op::is_order(op) => 3,
        _ => 0,
    }
}

/// How many words before an instruction's list.
pub(super) fn lead(word: u64) -> usize {
    match op(word) {
        Op::THUNK => 2,
        op if Op::is_try(op) || Op::is_branch(op) || Op::is_order(op) => 2,
        Op::ENTRY | Op::PIECE | Op::POINT => 2,
        Op::SWITCH => 1 + c(word),
        _ => 1,
    }
}
