//! One walk over the whole module: validates it, and notes what preparation has to know.

use std::collections::BTreeSet;

use wasmparser::types::Types;
use wasmparser::{
    ConstExpr, CustomSectionReader, DataSectionReader, ElementItems, ElementKind, ElementSectionReader, Export,
    ExportSectionReader, FuncToValidate, FuncValidatorAllocations, FunctionBody, FunctionSectionReader,
    GlobalSectionReader, ImportSectionReader, MemorySectionReader, Operator, OperatorsReader, Parser, Payload,
    TableSectionReader, TypeSectionReader, ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

use super::interface::{self, Interface};
use super::nan;
use super::refusal::{Mistaken, Refusal};

/// What a module may use: WebAssembly 2.0 without `externref`, and several memories, tail calls, extended constant expressions.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST);

/// Bytes of a module. Native code is several times as large, so this is more than a host should be asked to compile.
const MODULE_BYTES_MAX: usize = 64 << 20;

/// A valid module that can be a machine's, and what was seen in it.
pub(super) struct Survey<'a> {
    pub(super) wasm: &'a [u8],
    pub(super) sections: Sections<'a>,
    pub(super) interface: Interface,
    pub(super) types: Types,
    pub(super) bodies: Vec<Body<'a>>,
    pub(super) uses: Uses,
}

/// The sections, as they came.
#[derive(Default)]
pub(super) struct Sections<'a> {
    pub(super) types: Option<TypeSectionReader<'a>>,
    pub(super) imports: Option<ImportSectionReader<'a>>,
    pub(super) functions: Option<FunctionSectionReader<'a>>,
    pub(super) tables: Option<TableSectionReader<'a>>,
    pub(super) memories: Option<MemorySectionReader<'a>>,
    pub(super) globals: Option<GlobalSectionReader<'a>>,
    pub(super) exports: Option<ExportSectionReader<'a>>,
    pub(super) start: Option<u32>,
    pub(super) elements: Option<ElementSectionReader<'a>>,
    pub(super) data: Option<DataSectionReader<'a>>,
    pub(super) names: Option<CustomSectionReader<'a>>,
}

/// A function with a body.
pub(super) struct Body<'a> {
    pub(super) function: FunctionBody<'a>,
    pub(super) index: u32,
    ty: u32,
    resources: ValidatorResources,
    pub(super) facts: BodyFacts,
}

/// What a body contains that some pass may have to rewrite.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct BodyFacts {
    /// An operation whose NaNs are not determined.
    pub(super) unsettled_nans: bool,
    /// `data.drop` or `elem.drop`.
    pub(super) drops: bool,
    /// `loop`.
    pub(super) loops: bool,
    /// Any call.
    pub(super) calls: bool,
}

/// What the module's code and constant expressions do to tables, segments and functions.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// Tables some instruction writes or grows.
    pub(super) tables_written: BTreeSet<u32>,
    /// Data segments some `memory.init` reads.
    pub(super) data_read: BTreeSet<u32>,
    /// Element segments some `table.init` reads.
    pub(super) elements_read: BTreeSet<u32>,
    /// Functions some `ref.func` or element segment makes a reference of.
    pub(super) functions_referred: BTreeSet<u32>,
}

impl Body<'_> {
    /// A validator at the start of the body: it knows types and heights at every instruction.
    pub(super) fn validator(&self) -> wasmparser::FuncValidator<ValidatorResources> {
        self.to_validate().into_validator(FuncValidatorAllocations::default())
    }

    fn to_validate(&self) -> FuncToValidate<ValidatorResources> {
        FuncToValidate { resources: self.resources.clone(), index: self.index, ty: self.ty, features: FEATURES }
    }
}

/// Validates and surveys.
pub(super) fn survey(wasm: &[u8]) -> Result<Survey<'_>, Refusal> {
    if let Some(mistaken) = Mistaken::of(wasm) {
        return Err(Refusal::NotAModule(mistaken));
    }
    if wasm.len() > MODULE_BYTES_MAX {
        return Err(Refusal::TooMany {
            what: "bytes",
            found: wasm.len() as u64,
            limit: MODULE_BYTES_MAX as u64,
            function: None,
        });
    }
    let refused = |error| Refusal::of_validation(wasm, error);
    let (sections, types, mut bodies) = validate_module(wasm).map_err(refused)?;
    let interface = check_interface(wasm, &sections, &types)?;
    let mut uses = Uses::default();
    let mut allocations = FuncValidatorAllocations::default();
    for body in &mut bodies {
        let mut validator = body.to_validate().into_validator(allocations);
        body.facts = validate_body(&body.function, &mut validator, &mut uses).map_err(refused)?;
        allocations = validator.into_allocations();
    }
    survey_references(&sections, &mut uses).map_err(refused)?;
    Ok(Survey { wasm, sections, interface, types, bodies, uses })
}

/// Validates a module of our own making.
pub(super) fn validate(wasm: &[u8]) -> wasmparser::Result<()> {
    Validator::new_with_features(FEATURES).validate_all(wasm).map(|_| ())
}

type Module<'a> = (Sections<'a>, Types, Vec<Body<'a>>);

/// Validates everything but the bodies of functions.
fn validate_module(wasm: &[u8]) -> wasmparser::Result<Module<'_>> {
    let mut sections = Sections::default();
    let mut bodies = Vec::new();
    let mut validator = Validator::new_with_features(FEATURES);
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    for payload in parser.parse_all(wasm) {
        let payload = payload?;
        match validator.payload(&payload)? {
            ValidPayload::Func(to_validate, function) => bodies.push(Body {
                function,
                index: to_validate.index,
                ty: to_validate.ty,
                resources: to_validate.resources,
                facts: BodyFacts::default(),
            }),
            ValidPayload::End(types) => return Ok((sections, types, bodies)),
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
        match payload {
            Payload::TypeSection(section) => sections.types = Some(section),
            Payload::ImportSection(section) => sections.imports = Some(section),
            Payload::FunctionSection(section) => sections.functions = Some(section),
            Payload::TableSection(section) => sections.tables = Some(section),
            Payload::MemorySection(section) => sections.memories = Some(section),
            Payload::GlobalSection(section) => sections.globals = Some(section),
            Payload::ExportSection(section) => sections.exports = Some(section),
            Payload::StartSection { func, .. } => sections.start = Some(func),
            Payload::ElementSection(section) => sections.elements = Some(section),
            Payload::DataSection(section) => sections.data = Some(section),
            Payload::CustomSection(section) if section.name() == "name" && sections.names.is_none() => {
                sections.names = Some(section);
            }
            _ => {}
        }
    }
    // The parser ends with the payload that ends the validator; it has no other way out than an error.
    let types = validator.end(wasm.len())?;
    Ok((sections, types, bodies))
}

fn check_interface(wasm: &[u8], sections: &Sections<'_>, types: &Types) -> Result<Interface, Refusal> {
    let refused = |error| Refusal::of_validation(wasm, error);
    for import in sections.imports.iter().flat_map(|section| section.clone().into_imports()) {
        interface::check_import(&import.map_err(refused)?, types.as_ref())?;
    }
    let exports: Vec<Export<'_>> = match &sections.exports {
        Some(section) => section.clone().into_iter().collect::<Result<_, _>>().map_err(refused)?,
        None => Vec::new(),
    };
    interface::check_exports(&exports, types.as_ref())
}

fn validate_body(
    body: &FunctionBody<'_>,
    validator: &mut wasmparser::FuncValidator<ValidatorResources>,
    uses: &mut Uses,
) -> wasmparser::Result<BodyFacts> {
    let mut facts = BodyFacts::default();
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    reader.set_features(FEATURES);
    let mut operators = OperatorsReader::new(reader);
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        validator.op(offset, &operator)?;
        facts.unsettled_nans |= nan::is_unsettled(&operator);
        facts.drops |= matches!(operator, Operator::DataDrop { .. } | Operator::ElemDrop { .. });
        facts.loops |= matches!(operator, Operator::Loop { .. });
        facts.calls |= matches!(
            operator,
            Operator::Call { .. }
                | Operator::CallIndirect { .. }
                | Operator::ReturnCall { .. }
                | Operator::ReturnCallIndirect { .. }
        );
        uses.note(&operator);
    }
    operators.finish()?;
    Ok(facts)
}

impl Uses {
    fn note(&mut self, operator: &Operator<'_>) {
        match *operator {
            Operator::TableSet { table }
            | Operator::TableGrow { table }
            | Operator::TableFill { table }
            | Operator::TableCopy { dst_table: table, .. } => {
                self.tables_written.insert(table);
            }
            Operator::TableInit { table, elem_index } => {
                self.tables_written.insert(table);
                self.elements_read.insert(elem_index);
            }
            Operator::MemoryInit { data_index, .. } => {
                self.data_read.insert(data_index);
            }
            Operator::RefFunc { function_index } => {
                self.functions_referred.insert(function_index);
            }
            _ => {}
        }
    }

    fn note_expression(&mut self, expression: &ConstExpr<'_>) -> wasmparser::Result<()> {
        for operator in expression.get_operators_reader() {
            self.note(&operator?);
        }
        Ok(())
    }
}

/// Notes the functions that element segments and globals refer to.
fn survey_references(sections: &Sections<'_>, uses: &mut Uses) -> wasmparser::Result<()> {
    for global in sections.globals.iter().flat_map(|section| section.clone()) {
        uses.note_expression(&global?.init_expr)?;
    }
    for element in sections.elements.iter().flat_map(|section| section.clone()) {
        let element = element?;
        if matches!(element.kind, ElementKind::Declared) {
            continue;
        }
        match element.items {
            ElementItems::Functions(functions) => {
                for function in functions {
                    uses.functions_referred.insert(function?);
                }
            }
            ElementItems::Expressions(_, expressions) => {
                for expression in expressions {
                    uses.note_expression(&expression?)?;
                }
            }
        }
    }
    Ok(())
}
