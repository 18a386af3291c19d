//! The instructions that replace a NaN on top of the stack, whatever its bits, by the canonical one.
//!
//! ```wat
//! ;; f64                             ;; v128 as f64x2
//! local.set $x                       local.tee $x
//! block                              v128.const f64x2 nan nan
//!   local.get $x                     local.get $x
//!   local.get $x                     local.get $x
//!   f64.ge                           f64x2.eq
//!   br_if 0                          v128.bitselect
//!   f64.const nan
//!   local.set $x
//! end
//! local.get $x
//! ```
//!
//! `x >= x` is false for NaNs alone, and costs processors one flag where `x == x` costs two. A branch that is never taken is
//! cheaper than `select`, which needs the constant in a register; lanes cannot branch. Measured on stores of sums of products: 1.24
//! times the time of the plain loop, against 1.39 with `select` and 2.5 with `select` and `==`.

use wasm_encoder::{BlockType, Ieee32, Ieee64, Instruction, ValType};
use wasmparser::Operator;

use super::operations::Shape;
use crate::prepare::edits::Edits;

const NAN_SINGLE: u32 = 0x7fc0_0000;
const NAN_DOUBLE: u64 = 0x7ff8_0000_0000_0000;

/// The sign canonical NaNs get. The value may be the negation of another, and then the two must differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Positive,
    Negative,
}

/// A value that can hold NaNs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F64,
    F32x4,
    F64x2,
}

impl Kind {
    pub(super) fn new(shape: Shape, vector: bool) -> Self {
        match (shape, vector) {
            (Shape::Single, false) => Self::F32,
            (Shape::Double, false) => Self::F64,
            (Shape::Single, true) => Self::F32x4,
            (Shape::Double, true) => Self::F64x2,
        }
    }
}

/// Whether an instruction that computes yields a vector.
pub(super) fn yields_vector(operator: &Operator<'_>) -> bool {
    use Operator as O;
    !matches!(
        operator,
        O::F32Ceil
            | O::F32Floor
            | O::F32Trunc
            | O::F32Nearest
            | O::F32Sqrt
            | O::F32Add
            | O::F32Sub
            | O::F32Mul
            | O::F32Div
            | O::F32Min
            | O::F32Max
            | O::F32DemoteF64
            | O::F64Ceil
            | O::F64Floor
            | O::F64Trunc
            | O::F64Nearest
            | O::F64Sqrt
            | O::F64Add
            | O::F64Sub
            | O::F64Mul
            | O::F64Div
            | O::F64Min
            | O::F64Max
            | O::F64PromoteF32
    )
}

/// Settles the value that the instruction ending at the offset leaves on top of the stack.
pub(super) fn insert(edits: &mut Edits, at: usize, kind: Kind, sign: Sign) {
    let local = match kind {
        Kind::F32 => ValType::F32,
        Kind::F64 => ValType::F64,
        Kind::F32x4 | Kind::F64x2 => ValType::V128,
    };
    let local = edits.scratch(local);
    let nan = nan(kind, sign);
    let (set, get) = (Instruction::LocalSet(local), Instruction::LocalGet(local));
    let is_number = match kind {
        Kind::F32 => Instruction::F32Ge,
        Kind::F64 => Instruction::F64Ge,
        Kind::F32x4 => Instruction::F32x4Eq,
        Kind::F64x2 => Instruction::F64x2Eq,
    };
    match kind {
        Kind::F32 | Kind::F64 => edits.after(
            at,
            &[
                set.clone(),
                Instruction::Block(BlockType::Empty),
                get.clone(),
                get.clone(),
                is_number,
                Instruction::BrIf(0),
                nan,
                set,
                Instruction::End,
                get,
            ],
        ),
        Kind::F32x4 | Kind::F64x2 => edits
            .after(at, &[Instruction::LocalTee(local), nan, get.clone(), get, is_number, Instruction::V128Bitselect]),
    }
}

fn nan(kind: Kind, sign: Sign) -> Instruction<'static> {
    match kind {
        Kind::F32 => Instruction::F32Const(Ieee32::new(single(sign))),
        Kind::F64 => Instruction::F64Const(Ieee64::new(double(sign))),
        Kind::F32x4 => {
            let lane = u128::from(single(sign));
            let lanes = lane | lane << 32 | lane << 64 | lane << 96;
            Instruction::V128Const(lanes.cast_signed())
        }
        Kind::F64x2 => {
            let lane = u128::from(double(sign));
            Instruction::V128Const((lane | lane << 64).cast_signed())
        }
    }
}

fn single(sign: Sign) -> u32 {
    match sign {
        Sign::Positive => NAN_SINGLE,
        Sign::Negative => NAN_SINGLE | 1 << 31,
    }
}

fn double(sign: Sign) -> u64 {
    match sign {
        Sign::Positive => NAN_DOUBLE,
        Sign::Negative => NAN_DOUBLE | 1 << 63,
    }
}
