//! The machine interface (docs/abi.md) as far as a module's imports and exports go.

use wasmparser::types::TypesRef;
use wasmparser::{Export, ExternalKind, FuncType, Import, RefType, TypeRef, ValType};

use super::RESERVED;
use super::names::Shown;
use super::refusal::{Refusal, Signature};

/// The pure functions a module may import, all from module `abide`.
const PURE_IMPORTS: &[(&str, &[ValType], &[ValType])] =
    &[("blake3_256", &[ValType::I32, ValType::I32, ValType::I32], &[])];
/// The same in words.
pub(super) const PURE_IMPORTS_TEXT: &str = "`blake3_256` from `abide`";

const ALLOC: (&[ValType], &[ValType]) = (&[ValType::I32], &[ValType::I32]);
const STEP: (&[ValType], &[ValType]) = (&[ValType::I32, ValType::I32], &[ValType::I64]);
const INITIALIZE: (&[ValType], &[ValType]) = (&[], &[]);

/// The exports of the machine interface a module has.
pub(super) struct Interface {
    pub(super) exchange: u32,
    pub(super) initialize: bool,
}

/// Refuses every import that is not a pure function with its type.
pub(super) fn check_import(import: &Import<'_>, types: TypesRef<'_>) -> Result<(), Refusal> {
    let refused = |kind| Refusal::Import { module: Shown::new(import.module), name: Shown::new(import.name), kind };
    let type_index = match import.ty {
        TypeRef::Func(index) | TypeRef::FuncExact(index) => index,
        TypeRef::Memory(_) => return Err(refused("memory")),
        TypeRef::Table(_) => return Err(refused("table")),
        TypeRef::Global(_) => return Err(refused("global")),
        TypeRef::Tag(_) => return Err(refused("tag")),
    };
    let known = PURE_IMPORTS.iter().find(|(name, ..)| import.module == "abide" && import.name == *name);
    let Some((name, params, results)) = known else {
        return Err(refused("function"));
    };
    let ty = types[types.core_type_at_in_module(type_index)].unwrap_func();
    if (ty.params(), ty.results()) == (*params, *results) {
        return Ok(());
    }
    Err(Refusal::ImportType {
        name,
        found: function_signature(ty.params(), ty.results()),
        expected: function_signature(params, results),
    })
}

/// Refuses reserved export names, and exports of the machine interface that are missing or something else.
pub(super) fn check_exports(exports: &[Export<'_>], types: TypesRef<'_>) -> Result<Interface, Refusal> {
    if let Some(export) = exports.iter().find(|export| export.name.starts_with(RESERVED)) {
        return Err(Refusal::ExportReserved(Shown::new(export.name)));
    }
    let find = |name| exports.iter().find(|export| export.name == name);
    let memory =
        find("memory").ok_or_else(|| Refusal::ExportMissing { name: "memory", expected: memory_signature() })?;
    if memory.kind != ExternalKind::Memory {
        return Err(Refusal::ExportType {
            name: "memory",
            found: signature(memory, types),
            expected: memory_signature(),
        });
    }
    for (name, ty) in [("abide_alloc", ALLOC), ("abide_step", STEP)] {
        let export =
            find(name).ok_or_else(|| Refusal::ExportMissing { name, expected: function_signature(ty.0, ty.1) })?;
        check_function(name, export, ty, types)?;
    }
    let initialize = find("_initialize");
    if let Some(export) = initialize {
        check_function("_initialize", export, INITIALIZE, types)?;
    }
    Ok(Interface { exchange: memory.index, initialize: initialize.is_some() })
}

fn check_function(
    name: &'static str,
    export: &Export<'_>,
    (params, results): (&[ValType], &[ValType]),
    types: TypesRef<'_>,
) -> Result<(), Refusal> {
    if let Some(ty) = function_type(export, types)
        && (ty.params(), ty.results()) == (params, results)
    {
        return Ok(());
    }
    Err(Refusal::ExportType { name, found: signature(export, types), expected: function_signature(params, results) })
}

fn function_type<'a>(export: &Export<'_>, types: TypesRef<'a>) -> Option<&'a FuncType> {
    let is_function = matches!(export.kind, ExternalKind::Func | ExternalKind::FuncExact);
    is_function.then(|| types.get(types.core_function_at(export.index)).map(|ty| ty.unwrap_func()))?
}

fn memory_signature() -> Signature {
    Signature("a memory".to_owned())
}

fn signature(export: &Export<'_>, types: TypesRef<'_>) -> Signature {
    match export.kind {
        ExternalKind::Func | ExternalKind::FuncExact => function_type(export, types)
            .map_or_else(|| Signature("a function".to_owned()), |ty| function_signature(ty.params(), ty.results())),
        ExternalKind::Memory => memory_signature(),
        ExternalKind::Table => Signature("a table".to_owned()),
        ExternalKind::Global => Signature("a global".to_owned()),
        ExternalKind::Tag => Signature("a tag".to_owned()),
    }
}

/// As docs/abi.md writes it, without the names of parameters. Long ones are cut short: a function may have 1000.
fn function_signature(params: &[ValType], results: &[ValType]) -> Signature {
    Signature(format!("a function ({}) -> ({})", list(params), list(results)))
}

fn list(types: &[ValType]) -> String {
    let mut words: Vec<&str> = types.iter().take(8).map(|ty| word(*ty)).collect();
    if types.len() > words.len() {
        words.push("...");
    }
    words.join(", ")
}

fn word(ty: ValType) -> &'static str {
    match ty {
        ValType::I32 => "i32",
        ValType::I64 => "i64",
        ValType::F32 => "f32",
        ValType::F64 => "f64",
        ValType::V128 => "v128",
        ValType::Ref(RefType::FUNCREF) => "funcref",
        ValType::Ref(_) => "ref",
    }
}
