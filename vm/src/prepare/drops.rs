//! The pass that makes dropping a segment visible, where it can be observed at all.
//!
//! ```wat
//! data.drop 3        i32.const 1
//!                    global.set $abide:d3
//!                    data.drop 3
//! ```

use wasm_encoder::Instruction;
use wasmparser::Operator;

use super::edits::Edits;
use super::plan::Plan;
use super::survey::{Body, BodyFacts};

/// Whether there is anything to do in a body.
pub(super) fn applies(facts: BodyFacts) -> bool {
    facts.drops
}

/// Sets the segment's flag wherever it is dropped.
pub(super) fn run(plan: &Plan, body: &Body<'_>, edits: &mut Edits) -> wasmparser::Result<()> {
    for operator in body.function.get_operators_reader()?.into_iter_with_offsets() {
        let (operator, offset) = operator?;
        let flag = match operator {
            Operator::DataDrop { data_index } => plan.data_flags.get(&data_index),
            Operator::ElemDrop { elem_index } => plan.element_flags.get(&elem_index),
            _ => None,
        };
        if let Some(flag) = flag {
            edits.before(offset, &mark(*flag));
        }
    }
    Ok(())
}

/// The instructions that set a flag.
pub(super) fn mark(flag: u32) -> [Instruction<'static>; 2] {
    [Instruction::I32Const(1), Instruction::GlobalSet(flag)]
}
