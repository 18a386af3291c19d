//! Decides, from the survey, what is state and how each part of it is exported.

use std::collections::{BTreeMap, BTreeSet};

use wasmparser::types::TypesRef;
use wasmparser::{ElementKind, ValType};

use super::names;
use super::state::{
    FunctionState, GlobalRole, GlobalState, INIT, MemoryState, REDROP, StateMap, TableState, ValueType,
};
use super::survey::Survey;

/// What the prepared module has that the original has not.
pub(super) struct Plan {
    pub(super) state: StateMap,
    /// The global that says whether a data segment is dropped, for segments where that can be observed.
    pub(super) data_flags: BTreeMap<u32, u32>,
    /// The same for element segments.
    pub(super) element_flags: BTreeMap<u32, u32>,
    /// Indices of the two functions added.
    pub(super) init: u32,
    pub(super) redrop: u32,
    /// Index of the memory added.
    pub(super) stop: u32,
    /// Tables whose active segments are no longer applied by instantiation.
    pub(super) captured_tables: BTreeSet<u32>,
}

/// Plans the prepared module.
pub(super) fn plan(survey: &Survey<'_>) -> wasmparser::Result<Plan> {
    let types = survey.types.as_ref();
    let mut globals = program_globals(types);
    let mut next = types.global_count();
    let mut flag = |role: GlobalRole, export: String| {
        let index = next;
        next += 1;
        globals.push(GlobalState { index, export, ty: ValueType::I32, role });
        index
    };
    // Whether a segment is dropped shows only in what `memory.init` and `table.init` do with it.
    let data_flags = survey.uses.data_read.iter();
    let data_flags = data_flags.map(|n| (*n, flag(GlobalRole::DataDropped(*n), format!("abide:d{n}")))).collect();
    let captured_tables = survey.uses.tables_written.clone();
    let droppable = droppable_elements(survey, &captured_tables)?;
    let element_flags = survey.uses.elements_read.intersection(&droppable);
    let element_flags =
        element_flags.map(|n| (*n, flag(GlobalRole::ElementDropped(*n), format!("abide:e{n}")))).collect();

    let init = types.function_count();
    let redrop = init + 1;
    let mut names = names::functions(survey.sections.names.as_ref(), init);
    names.insert(init, INIT.to_owned());
    names.insert(redrop, REDROP.to_owned());
    let tables = tables(types, &captured_tables);
    let captures_references = !tables.is_empty() || globals.iter().any(|global| global.ty == ValueType::FuncRef);
    let functions = survey.uses.functions_referred.iter().filter(|_| captures_references);
    let state = StateMap {
        memories: memories(types),
        exchange: survey.interface.exchange,
        globals,
        tables,
        functions: functions.map(|index| FunctionState { index: *index, export: format!("abide:f{index}") }).collect(),
        initialize: survey.interface.initialize,
        names,
    };
    let stop = types.memory_count();
    Ok(Plan { state, data_flags, element_flags, init, redrop, stop, captured_tables })
}

impl Plan {
    /// Whether instantiation still applies an element segment: it does if no instruction writes its table.
    pub(super) fn stays_active(&self, kind: &ElementKind<'_>) -> bool {
        is_active_in(kind).is_some_and(|table| !self.captured_tables.contains(&table))
    }
}

/// The table an active element segment is for.
pub(super) fn is_active_in(kind: &ElementKind<'_>) -> Option<u32> {
    match kind {
        ElementKind::Active { table_index, .. } => Some(table_index.unwrap_or(0)),
        ElementKind::Passive | ElementKind::Declared => None,
    }
}

/// Element segments that are not dropped by instantiation itself, in every instance alike.
fn droppable_elements(survey: &Survey<'_>, captured: &BTreeSet<u32>) -> wasmparser::Result<BTreeSet<u32>> {
    let mut droppable = BTreeSet::new();
    for (index, element) in (0..).zip(survey.sections.elements.iter().flat_map(|section| section.clone())) {
        let dropped = match &element?.kind {
            ElementKind::Passive => false,
            ElementKind::Declared => true,
            ElementKind::Active { table_index, .. } => !captured.contains(&table_index.unwrap_or(0)),
        };
        if !dropped {
            droppable.insert(index);
        }
    }
    Ok(droppable)
}

fn program_globals(types: TypesRef<'_>) -> Vec<GlobalState> {
    let globals = (0..types.global_count()).map(|index| (index, types.global_at(index)));
    globals
        .filter(|(_, ty)| ty.mutable)
        .map(|(index, ty)| GlobalState {
            index,
            export: format!("abide:g{index}"),
            ty: value_type(ty.content_type),
            role: GlobalRole::Program,
        })
        .collect()
}

fn value_type(ty: ValType) -> ValueType {
    match ty {
        ValType::I32 => ValueType::I32,
        ValType::I64 => ValueType::I64,
        ValType::F32 => ValueType::F32,
        ValType::F64 => ValueType::F64,
        ValType::V128 => ValueType::V128,
        // Validation admits no other reference type.
        ValType::Ref(_) => ValueType::FuncRef,
    }
}

fn memories(types: TypesRef<'_>) -> Vec<MemoryState> {
    let memories = (0..types.memory_count()).map(|index| (index, types.memory_at(index)));
    memories
        .map(|(index, ty)| MemoryState {
            index,
            export: format!("abide:m{index}"),
            pages_min: bounded(ty.initial),
            pages_max: ty.maximum.map(bounded),
        })
        .collect()
}

fn tables(types: TypesRef<'_>, captured: &BTreeSet<u32>) -> Vec<TableState> {
    let tables = captured.iter().map(|index| (*index, types.table_at(*index)));
    tables
        .map(|(index, ty)| TableState {
            index,
            export: format!("abide:t{index}"),
            elements_min: bounded(ty.initial),
            elements_max: ty.maximum.map(bounded),
        })
        .collect()
}

/// Sizes of 32-bit memories and tables; validation admits no greater ones.
fn bounded(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
