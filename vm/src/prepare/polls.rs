//! The pass that makes running code look, again and again, whether it is to stop.
//!
//! ```wat
//! (func $f                    (func $f
//!                               i32.const 0  i32.load8_u $abide:stop offset=0  drop
//!   call $g                     call $g
//!   loop                        loop
//!                                 i32.const 0  i32.load8_u $abide:stop offset=1  drop
//!     br 0                        br 0
//!   end)                        end)
//! ```
//!
//! A *poll* reads a byte of the memory that preparation adds. To interrupt a machine, the host takes access to that memory away, and
//! the next poll faults. Polls are at the head of every loop and at the entry of every function that calls: whatever runs without end comes
//! back to a loop's head or enters such a function again, through tail calls and tables, too. A function that neither loops nor
//! calls is soon over.
//!
//! A compiler may leave out a load whose address has been loaded before with no store in between, and the first poll of a function comes
//! before all others. So no two polls of a function read the same byte. The memory has more bytes than a function can have polls.

use wasm_encoder::{Instruction, MemArg};
use wasmparser::Operator;

use super::edits::Edits;
use super::plan::Plan;
use super::state::STOP_PAGES;
use super::survey::{Body, BodyFacts};

/// The most bytes that a function may have, as the validator has it; it sees every prepared module.
const FUNCTION_BYTES_MAX: u32 = 7_654_321;
/// The fewest bytes that a loop and its poll have: `loop` with its type, the poll's six, `end`.
const LOOP_BYTES_MIN: u32 = 9;
const _: () = assert!(FUNCTION_BYTES_MAX / LOOP_BYTES_MIN < STOP_PAGES * 65_536);

/// Whether there is anything to do in a body.
pub(super) fn applies(facts: BodyFacts) -> bool {
    facts.loops || facts.calls
}

/// Inserts the polls of a body.
pub(super) fn run(plan: &Plan, body: &Body<'_>, edits: &mut Edits) -> wasmparser::Result<()> {
    let mut operators = body.function.get_operators_reader()?;
    let mut offset = 0;
    if body.facts.calls {
        edits.before(operators.original_position(), &poll(plan.stop, offset));
        offset += 1;
    }
    while !operators.eof() {
        if matches!(operators.read()?, Operator::Loop { .. }) {
            edits.after(operators.original_position(), &poll(plan.stop, offset));
            offset += 1;
        }
    }
    Ok(())
}

fn poll(memory: u32, offset: u64) -> [Instruction<'static>; 3] {
    let place = MemArg { offset, align: 0, memory_index: memory };
    [Instruction::I32Const(0), Instruction::I32Load8U(place), Instruction::Drop]
}
