//! What a pass asks for: instructions put between those of a function's body. Nothing is renumbered, so everything that is not
//! edited is copied byte for byte.

use std::ops::Range;

use wasm_encoder::{Encode, Function, Instruction, ValType};
use wasmparser::FunctionBody;

use super::refusal::{FunctionPlace, Refusal};

/// Locals a function may have, as engines have it.
const LOCALS_MAX: u32 = 50_000;

/// The edits of one function.
pub(super) struct Edits {
    locals: u32,
    added: Vec<(ValType, u32)>,
    insertions: Vec<Insertion>,
}

struct Insertion {
    at: usize,
    side: Side,
    code: Vec<u8>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Side {
    /// Belongs to the instruction that ends here.
    After,
    /// Belongs to the instruction that begins here.
    Before,
}

impl Edits {
    /// No edits, of a function that has so many parameters and locals.
    pub(super) fn new(locals: u32) -> Self {
        Self { locals, added: Vec::new(), insertions: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.insertions.is_empty()
    }

    /// A local of this type to hold a value for a few instructions. All askers share it.
    pub(super) fn scratch(&mut self, ty: ValType) -> u32 {
        if let Some((_, index)) = self.added.iter().find(|(added, _)| *added == ty) {
            return *index;
        }
        let index = self.locals;
        self.locals += 1;
        self.added.push((ty, index));
        index
    }

    /// Puts instructions before the one that begins at the offset.
    pub(super) fn before(&mut self, at: usize, instructions: &[Instruction<'_>]) {
        self.insert(at, Side::Before, instructions);
    }

    /// Puts instructions after the one that ends at the offset.
    pub(super) fn after(&mut self, at: usize, instructions: &[Instruction<'_>]) {
        self.insert(at, Side::After, instructions);
    }

    fn insert(&mut self, at: usize, side: Side, instructions: &[Instruction<'_>]) {
        let mut code = Vec::new();
        for instruction in instructions {
            instruction.encode(&mut code);
        }
        self.insertions.push(Insertion { at, side, code });
    }

    /// The body with the edits made, without its size.
    pub(super) fn apply(mut self, wasm: &[u8], body: &FunctionBody<'_>, index: u32) -> Result<Vec<u8>, Refusal> {
        if self.locals > LOCALS_MAX {
            return Err(Refusal::TooMany {
                what: "locals (with those that preparation needs)",
                found: self.locals.into(),
                limit: LOCALS_MAX.into(),
                function: Some(FunctionPlace { index, name: None }),
            });
        }
        let refused = |error| Refusal::of_validation(wasm, error);
        // Stable: of several insertions at one place, those of the earlier pass come first.
        self.insertions.sort_by_key(|insertion| (insertion.at, insertion.side));
        let mut locals = Vec::new();
        for run in body.get_locals_reader().map_err(refused)? {
            let (count, ty) = run.map_err(refused)?;
            locals.push((count, value_type(ty)));
        }
        locals.extend(self.added.iter().map(|(ty, _)| (1, *ty)));
        let mut edited = Function::new(locals).into_raw_body();
        let code_start = body.get_binary_reader_for_operators().map_err(refused)?.original_position();
        let code = code_start..body.range().end;
        let mut copied = code.start;
        for insertion in &self.insertions {
            edited.extend_from_slice(bytes(wasm, copied..insertion.at));
            edited.extend_from_slice(&insertion.code);
            copied = insertion.at;
        }
        edited.extend_from_slice(bytes(wasm, copied..code.end));
        Ok(edited)
    }
}

fn bytes(wasm: &[u8], range: Range<usize>) -> &[u8] {
    wasm.get(range).unwrap_or_default()
}

fn value_type(ty: wasmparser::ValType) -> ValType {
    match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(_) => ValType::FUNCREF,
    }
}
