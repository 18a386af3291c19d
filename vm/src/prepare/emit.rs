//! Writes the prepared module: the original's sections, with what the plan adds and the passes' edits.

use wasm_encoder::reencode::{self, Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ConstExpr, DataCountSection, DataSection, ElementMode, ElementSection, ElementSegment, ExportKind,
    ExportSection, FunctionSection, GlobalSection, GlobalType, ImportSection, MemorySection, MemoryType, Module,
    TableSection, TypeSection, ValType,
};

use super::edits::Edits;
use super::names;
use super::plan::{self, Plan};
use super::refusal::Refusal;
use super::state::{GlobalRole, INIT, REDROP, STOP, STOP_PAGES};
use super::survey::{Body, Survey};
use super::{PASSES, boot};

type Reencoded<T> = Result<T, reencode::Error>;

/// Writes the module.
pub(super) fn emit(survey: &Survey<'_>, plan: &Plan) -> Result<Vec<u8>, Refusal> {
    let code = code(survey, plan)?;
    sections(survey, plan, &code).map_err(|error| unexpected(survey.wasm, error))
}

fn sections(survey: &Survey<'_>, plan: &Plan, code: &CodeSection) -> Reencoded<Vec<u8>> {
    let copy = &mut RoundtripReencoder;
    let old = &survey.sections;
    let mut module = Module::new();

    let mut types = TypeSection::new();
    if let Some(section) = old.types.clone() {
        copy.parse_type_section(&mut types, section)?;
    }
    let added_type = types.len();
    types.ty().function([], []);
    module.section(&types);

    if let Some(section) = old.imports.clone() {
        let mut imports = ImportSection::new();
        copy.parse_import_section(&mut imports, section)?;
        module.section(&imports);
    }

    let mut functions = FunctionSection::new();
    if let Some(section) = old.functions.clone() {
        copy.parse_function_section(&mut functions, section)?;
    }
    functions.function(added_type).function(added_type);
    module.section(&functions);

    if let Some(section) = old.tables.clone() {
        let mut tables = TableSection::new();
        copy.parse_table_section(&mut tables, section)?;
        module.section(&tables);
    }
    let mut memories = MemorySection::new();
    if let Some(section) = old.memories.clone() {
        copy.parse_memory_section(&mut memories, section)?;
    }
    let pages = STOP_PAGES.into();
    memories.memory(MemoryType {
        minimum: pages,
        maximum: Some(pages),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    module.section(&memories);
    module.section(&globals(survey, plan)?);
    module.section(&exports(survey, plan)?);
    if let Some(elements) = elements(survey, plan)? {
        module.section(&elements);
    }
    let data = data(survey)?;
    if let Some(data) = &data {
        module.section(&DataCountSection { count: data.len() });
    }
    module.section(code);
    if let Some(data) = &data {
        module.section(data);
    }
    module.section(&names::section(old.names.as_ref(), &plan.state.names));
    Ok(module.finish())
}

fn globals(survey: &Survey<'_>, plan: &Plan) -> Reencoded<GlobalSection> {
    let mut globals = GlobalSection::new();
    if let Some(section) = survey.sections.globals.clone() {
        RoundtripReencoder.parse_global_section(&mut globals, section)?;
    }
    let flag = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    for global in &plan.state.globals {
        if global.role != GlobalRole::Program {
            globals.global(flag, &ConstExpr::i32_const(0));
        }
    }
    Ok(globals)
}

fn exports(survey: &Survey<'_>, plan: &Plan) -> Reencoded<ExportSection> {
    let mut exports = ExportSection::new();
    if let Some(section) = survey.sections.exports.clone() {
        RoundtripReencoder.parse_export_section(&mut exports, section)?;
    }
    for memory in &plan.state.memories {
        exports.export(&memory.export, ExportKind::Memory, memory.index);
    }
    for global in &plan.state.globals {
        exports.export(&global.export, ExportKind::Global, global.index);
    }
    for table in &plan.state.tables {
        exports.export(&table.export, ExportKind::Table, table.index);
    }
    for function in &plan.state.functions {
        exports.export(&function.export, ExportKind::Func, function.index);
    }
    exports.export(STOP, ExportKind::Memory, plan.stop);
    exports.export(INIT, ExportKind::Func, plan.init);
    exports.export(REDROP, ExportKind::Func, plan.redrop);
    Ok(exports)
}

/// Element segments, those of captured tables made passive.
fn elements(survey: &Survey<'_>, plan: &Plan) -> Reencoded<Option<ElementSection>> {
    let Some(section) = survey.sections.elements.clone() else {
        return Ok(None);
    };
    let mut elements = ElementSection::new();
    for element in section {
        let element = element?;
        if plan::is_active_in(&element.kind).is_none() || plan.stays_active(&element.kind) {
            RoundtripReencoder.parse_element(&mut elements, element)?;
        } else {
            elements.segment(ElementSegment {
                mode: ElementMode::Passive,
                elements: RoundtripReencoder.element_items(element.items)?,
            });
        }
    }
    Ok(Some(elements))
}

/// Data segments, all of them passive.
fn data(survey: &Survey<'_>) -> Reencoded<Option<DataSection>> {
    let Some(section) = survey.sections.data.clone() else {
        return Ok(None);
    };
    let mut data = DataSection::new();
    for segment in section {
        data.passive(segment?.data.iter().copied());
    }
    Ok(Some(data))
}

/// The bodies of all functions, edited by every pass that applies, and of those added.
fn code(survey: &Survey<'_>, plan: &Plan) -> Result<CodeSection, Refusal> {
    let refused = |error| Refusal::of_validation(survey.wasm, error);
    let mut code = CodeSection::new();
    for body in &survey.bodies {
        let edits = edits(plan, body).map_err(refused)?;
        if edits.is_empty() {
            code.raw(body.function.as_bytes());
        } else {
            code.raw(&edits.apply(survey.wasm, &body.function, body.index)?);
        }
    }
    code.function(&boot::init(survey, plan).map_err(refused)?);
    code.function(&boot::redrop(plan));
    Ok(code)
}

fn edits(plan: &Plan, body: &Body<'_>) -> wasmparser::Result<Edits> {
    let mut edits = Edits::new(0);
    if PASSES.iter().all(|pass| !(pass.applies)(body.facts)) {
        return Ok(edits);
    }
    let mut validator = body.validator();
    validator.read_locals(&mut body.function.get_binary_reader())?;
    edits = Edits::new(validator.len_locals());
    for pass in PASSES {
        if (pass.applies)(body.facts) {
            (pass.run)(plan, body, &mut edits)?;
        }
    }
    Ok(edits)
}

/// The survey has read all of this before, so that only the validator's errors are to be expected, and none of those.
fn unexpected(wasm: &[u8], error: reencode::Error) -> Refusal {
    match error {
        reencode::Error::ParseError(source) => Refusal::of_validation(wasm, source),
        other => Refusal::Unwritable(other),
    }
}
