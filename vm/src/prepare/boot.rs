//! The functions added to a module: `abide:init` and `abide:redrop`.
//!
//! ```wat
//! (elem (i32.const 5) $f $g)          (elem $0 func $f $g)
//! (data (i32.const 8) "abc")          (data $0 "abc")
//! (start $main)                       (func (export "abide:init")
//!                                       i32.const 5  i32.const 0  i32.const 2  table.init $0   elem.drop $0
//!                                       i32.const 8  i32.const 0  i32.const 3  memory.init $0  data.drop $0
//!                                       call $main)
//! ```

use wasm_encoder::{Function, Instruction};
use wasmparser::{ConstExpr, DataKind, ElementItems, ElementKind};

use super::drops;
use super::plan::{Plan, is_active_in};
use super::survey::Survey;

/// The body of `abide:init`, in the order the specification gives to instantiation.
pub(super) fn init(survey: &Survey<'_>, plan: &Plan) -> wasmparser::Result<Function> {
    let mut code = Function::new([]);
    for (index, element) in (0..).zip(survey.sections.elements.iter().flat_map(|section| section.clone())) {
        let element = element?;
        let (ElementKind::Active { offset_expr, .. }, Some(table)) = (&element.kind, is_active_in(&element.kind))
        else {
            continue;
        };
        if plan.stays_active(&element.kind) {
            continue;
        }
        let count = match &element.items {
            ElementItems::Functions(items) => items.count(),
            ElementItems::Expressions(_, items) => items.count(),
        };
        range(survey.wasm, &mut code, offset_expr, count);
        code.instruction(&Instruction::TableInit { elem_index: index, table });
        code.instruction(&Instruction::ElemDrop(index));
        mark(&mut code, plan.element_flags.get(&index));
    }
    for (index, data) in (0..).zip(survey.sections.data.iter().flat_map(|section| section.clone())) {
        let data = data?;
        let DataKind::Active { memory_index, offset_expr } = &data.kind else {
            continue;
        };
        // Validation bounds a module to less than 4 GiB, and survey to much less.
        let count = u32::try_from(data.data.len()).unwrap_or(u32::MAX);
        range(survey.wasm, &mut code, offset_expr, count);
        code.instruction(&Instruction::MemoryInit { mem: *memory_index, data_index: index });
        code.instruction(&Instruction::DataDrop(index));
        mark(&mut code, plan.data_flags.get(&index));
    }
    if let Some(start) = survey.sections.start {
        code.instruction(&Instruction::Call(start));
    }
    code.instruction(&Instruction::End);
    Ok(code)
}

/// The body of `abide:redrop`.
pub(super) fn redrop(plan: &Plan) -> Function {
    let mut code = Function::new([]);
    let data = plan.data_flags.iter();
    let data = data.map(|(segment, flag)| (flag, Instruction::DataDrop(*segment)));
    let elements = plan.element_flags.iter();
    let elements = elements.map(|(segment, flag)| (flag, Instruction::ElemDrop(*segment)));
    for (flag, drop) in data.chain(elements) {
        code.instruction(&Instruction::GlobalGet(*flag));
        code.instruction(&Instruction::If(wasm_encoder::BlockType::Empty));
        code.instruction(&drop);
        code.instruction(&Instruction::End);
    }
    code.instruction(&Instruction::End);
    code
}

/// The operands of `table.init` and `memory.init`: offset, 0, count.
fn range(wasm: &[u8], code: &mut Function, offset: &ConstExpr<'_>, count: u32) {
    // A constant expression is the code of a function, all but its `end`.
    let expression = wasm.get(offset.get_binary_reader().range()).unwrap_or_default();
    code.raw(expression.split_last().map_or(&[][..], |(_, code)| code).iter().copied());
    code.instruction(&Instruction::I32Const(0));
    code.instruction(&Instruction::I32Const(count.cast_signed()));
}

fn mark(code: &mut Function, flag: Option<&u32>) {
    for instruction in flag.iter().flat_map(|flag| drops::mark(**flag)) {
        code.instruction(&instruction);
    }
}
