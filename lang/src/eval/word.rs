//! Words: what a value is in a heap, and what the first word of an object says.
//!
//! | a value's low bits | |
//! |---|---|
//! | `1` | a number below 2^63, shifted left by one |
//! | `00` | a reference to an object in weak head normal form: its index, shifted left by two |
//! | `10` | a reference to an object that is, or once was, something to be evaluated |
//!
//! | a header's bits | |
//! |---|---|
//! | 0..6 | kind |
//! | 6, 7 | [`NORMAL`], [`BUSY`] |
//! | 8..32 | extra, by kind |
//! | 32..64 | how many words follow |
//!
//! Invariant: a word of the heap outside of bytes, limbs, hashes and instructions, and every word of the stack, is a value.

/// The number 0.
pub(super) const ZERO: u64 = 1;
/// The number 1.
pub(super) const ONE: u64 = 3;
/// The largest number that is a word.
pub(super) const IMM_MAX: u64 = u64::MAX >> 1;

/// A number below 2^63.
#[inline(always)]
pub(super) const fn imm(number: u64) -> u64 {
    number << 1 | 1
}

#[inline(always)]
pub(super) const fn is_imm(value: u64) -> bool {
    value & 1 == 1
}

/// Whether it may have to be evaluated first.
#[inline(always)]
pub(super) const fn is_lazy(value: u64) -> bool {
    value & 3 == 2
}

/// Where a reference points to.
#[inline(always)]
pub(super) const fn at(value: u64) -> usize {
    (value >> 2) as usize
}

#[inline(always)]
pub(super) const fn object(index: usize) -> u64 {
    (index as u64) << 2
}

#[inline(always)]
pub(super) const fn lazy(index: usize) -> u64 {
    (index as u64) << 2 | 2
}

/// What an object is. Those from [`Kind::THUNK`] on are referred to as lazy.
pub(super) struct Kind;

impl Kind {
    /// Room that nothing is in.
    pub(super) const FREE: u8 = 0;
    /// An object that has been promoted; where to is in the rest of the header.
    pub(super) const MOVED: u8 = 1;
    /// Limbs, the least first, the last one not zero, of a number from 2^63 on.
    pub(super) const BIG: u8 = 2;
    /// Head, arguments: an application that waits for more, as many as the header's extra says, or more than that can.
    pub(super) const APP: u8 = 3;
    /// Elements by index.
    pub(super) const ROW: u8 = 4;
    /// Name, arity, body, code or zero, where that starts or zero. The header's extra is the arity, or [`MANY`].
    pub(super) const LAW: u8 = 5;
    /// Content, where its code starts or zero, jet or zero, whether it has been hashed, hash. The header's extra is the arity, or [`MANY`].
    pub(super) const PIN: u8 = 6;
    /// How many bytes, then they, eight a word.
    pub(super) const BAR: u8 = 7;
    /// Root of a tree of keys, or zero.
    pub(super) const SET: u8 = 8;
    /// Root of a tree of keys and values, or zero.
    pub(super) const TAB: u8 = 9;
    /// Size, key, value, lesser, greater: part of a set or a table.
    pub(super) const NODE: u8 = 10;
    /// A law's name, how many constants, they, instructions.
    pub(super) const CODE: u8 = 11;
    /// Code, what it captured. The header's extra is where in the code.
    pub(super) const THUNK: u8 = 16;
    /// Function and arguments, to be applied.
    pub(super) const APTHUNK: u8 = 17;
    /// A value, or a lazy one.
    pub(super) const IND: u8 = 18;
    /// Being evaluated. What follows is dead.
    pub(super) const HOLE: u8 = 19;
    /// Evaluation that ended in a crash: opcode, argument.
    pub(super) const CRASH: u8 = 20;
    /// Evaluation that was interrupted: what to evaluate, how to go on, a piece of the stack.
    pub(super) const PAUSED: u8 = 21;
}

/// Header flag: nothing in it, at any depth, is left to evaluate.
pub(super) const NORMAL: u64 = 1 << 6;
/// Header flag: it is being normalised.
pub(super) const BUSY: u64 = 1 << 7;
/// An arity too large for a header.
pub(super) const MANY: usize = 0xff_ffff;

#[inline(always)]
pub(super) const fn header(kind: u8, extra: usize, len: usize) -> u64 {
    kind as u64 | (extra as u64) << 8 | (len as u64) << 32
}

#[inline(always)]
pub(super) const fn kind(header: u64) -> u8 {
    (header & 0x3f) as u8
}

#[inline(always)]
pub(super) const fn extra(header: u64) -> usize {
    (header >> 8 & 0xff_ffff) as usize
}

/// How many words follow a header.
#[inline(always)]
pub(super) const fn len(header: u64) -> usize {
    (header >> 32) as usize
}

/// An arity as a header has it.
pub(super) fn short(arity: u64) -> usize {
    usize::try_from(arity).map_or(MANY, |arity| arity.min(MANY))
}
