//! Laws become code, once, when they are first run.
//!
//! A body is read into a flat list of parts ([`expr`]), then written as instructions ([`emit`]); backwards over those, it is found
//! out which slots are dead where, and how much is made ([`facts`]). What is evaluated later (an argument, a let) becomes a piece
//! of code of its own with what it captures; pieces wait in a list, so that nothing here recurses further than [`emit::DEPTH`].
//!
//! Laziness can be observed: what is evaluated too early may crash or never end. So only this is evaluated before it is asked
//! for: arithmetic on numbers that are there, small, at the moment, which ends at once and cannot crash.

mod emit;
mod expr;
mod facts;
mod lets;

use super::heap::Heap;
use super::word::{Kind, at, header, imm, object};
use super::{JetTable, Limit};

pub(super) use facts::TRACKED;

/// Compiles a law and keeps the code with it. Returns where it starts.
pub(super) fn compile(heap: &mut Heap, jets: &JetTable, law: u64) -> Result<usize, Limit> {
    let source = expr::read(heap, law)?;
    let emitted = emit::emit(heap, jets, &source)?;
    let count = emitted.constants.len();
    let mut words = vec![heap.field(law, 0), imm(count as u64)];
    words.extend(&emitted.constants);
    words.extend(&emitted.code);
    let code = heap.alloc_fixed(header(Kind::CODE, 0, words.len()), &words);
    let entry = code + 3 + count;
    let index = at(law);
    heap.mem[index + 4] = object(code);
    heap.mem[index + 5] = imm(entry as u64);
    heap.remember(index);
    Ok(entry)
}
