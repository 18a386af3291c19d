//! What each instruction does with the bits of NaNs, as the specification has it.

use wasmparser::Operator;

/// The width of floating-point numbers, alone or as lanes of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `f32`, `f32x4`
    Single,
    /// `f64`, `f64x2`
    Double,
}

/// What an instruction does. Operands that are not floats or vectors do not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// All operands are observed, bit by bit; results are determined.
    Observes,
    /// Operands are numbers of the shape, NaNs are NaNs whatever their bits; results are determined.
    Tests(Shape),
    /// Operands are numbers of one shape; the bits of NaNs among the results are not determined.
    Computes {
        /// Of the operands.
        from: Shape,
        /// Of the result.
        to: Shape,
    },
    /// The result is never a NaN, in whatever shape it is looked at.
    NeverNan,
    /// The result is made of the operands' numbers, bit by bit, none of them changed.
    Moves(Shape),
    /// One of the operands, whatever it is.
    Selects,
    /// The sign of every number is flipped.
    Negates(Shape),
    /// The sign of every number is cleared.
    Abs(Shape),
}

/// What an instruction other than those of control and variables does.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn effect(operator: &Operator<'_>) -> Effect {
    use Effect::{Abs, Computes, Moves, Negates, NeverNan, Observes, Selects, Tests};
    use Operator as O;
    use Shape::{Double, Single};
    match operator {
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
        | O::F32x4Ceil
        | O::F32x4Floor
        | O::F32x4Trunc
        | O::F32x4Nearest
        | O::F32x4Sqrt
        | O::F32x4Add
        | O::F32x4Sub
        | O::F32x4Mul
        | O::F32x4Div
        | O::F32x4Min
        | O::F32x4Max => Computes { from: Single, to: Single },
        O::F64Ceil
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
        | O::F64x2Ceil
        | O::F64x2Floor
        | O::F64x2Trunc
        | O::F64x2Nearest
        | O::F64x2Sqrt
        | O::F64x2Add
        | O::F64x2Sub
        | O::F64x2Mul
        | O::F64x2Div
        | O::F64x2Min
        | O::F64x2Max => Computes { from: Double, to: Double },
        O::F64PromoteF32 | O::F64x2PromoteLowF32x4 => Computes { from: Single, to: Double },
        O::F32DemoteF64 | O::F32x4DemoteF64x2Zero => Computes { from: Double, to: Single },
        O::F32Eq
        | O::F32Ne
        | O::F32Lt
        | O::F32Gt
        | O::F32Le
        | O::F32Ge
        | O::F32x4Eq
        | O::F32x4Ne
        | O::F32x4Lt
        | O::F32x4Gt
        | O::F32x4Le
        | O::F32x4Ge
        | O::I32TruncF32S
        | O::I32TruncF32U
        | O::I64TruncF32S
        | O::I64TruncF32U
        | O::I32TruncSatF32S
        | O::I32TruncSatF32U
        | O::I64TruncSatF32S
        | O::I64TruncSatF32U
        | O::I32x4TruncSatF32x4S
        | O::I32x4TruncSatF32x4U => Tests(Single),
        O::F64Eq
        | O::F64Ne
        | O::F64Lt
        | O::F64Gt
        | O::F64Le
        | O::F64Ge
        | O::F64x2Eq
        | O::F64x2Ne
        | O::F64x2Lt
        | O::F64x2Gt
        | O::F64x2Le
        | O::F64x2Ge
        | O::I32TruncF64S
        | O::I32TruncF64U
        | O::I64TruncF64S
        | O::I64TruncF64U
        | O::I32TruncSatF64S
        | O::I32TruncSatF64U
        | O::I64TruncSatF64S
        | O::I64TruncSatF64U
        | O::I32x4TruncSatF64x2SZero
        | O::I32x4TruncSatF64x2UZero => Tests(Double),
        O::F32ConvertI32S
        | O::F32ConvertI32U
        | O::F32ConvertI64S
        | O::F32ConvertI64U
        | O::F64ConvertI32S
        | O::F64ConvertI32U
        | O::F64ConvertI64S
        | O::F64ConvertI64U => NeverNan,
        O::F32Const { value } if !f32::from_bits(value.bits()).is_nan() => NeverNan,
        O::F64Const { value } if !f64::from_bits(value.bits()).is_nan() => NeverNan,
        O::V128Const { value } if !has_nan(value.bytes()) => NeverNan,
        O::F32x4Splat | O::F32x4ExtractLane { .. } | O::F32x4ReplaceLane { .. } | O::F32x4PMin | O::F32x4PMax => {
            Moves(Single)
        }
        O::F64x2Splat | O::F64x2ExtractLane { .. } | O::F64x2ReplaceLane { .. } | O::F64x2PMin | O::F64x2PMax => {
            Moves(Double)
        }
        O::Select | O::TypedSelect { .. } | O::TypedSelectMulti { .. } => Selects,
        O::F32Neg | O::F32x4Neg => Negates(Single),
        O::F64Neg | O::F64x2Neg => Negates(Double),
        O::F32Abs | O::F32x4Abs => Abs(Single),
        O::F64Abs | O::F64x2Abs => Abs(Double),
        _ => Observes,
    }
}

/// Whether a vector holds a NaN as either shape.
fn has_nan(bytes: &[u8; 16]) -> bool {
    let (singles, _) = bytes.as_chunks::<4>();
    let (doubles, _) = bytes.as_chunks::<8>();
    singles.iter().any(|lane| f32::from_le_bytes(*lane).is_nan())
        || doubles.iter().any(|lane| f64::from_le_bytes(*lane).is_nan())
}
