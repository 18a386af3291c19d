//! The name section: read leniently (it is not validated, and never a reason to refuse), written with names for what was added.

use std::collections::BTreeMap;
use std::fmt;

use wasm_encoder::reencode::{RoundtripReencoder, utils};
use wasm_encoder::{NameMap, NameSection};
use wasmparser::{CustomSectionReader, KnownCustom, Name, Parser, Payload};

use super::refusal::FunctionPlace;

/// The subsection of function names, which is rewritten.
const FUNCTIONS: u8 = 1;
/// Characters of a name that are shown.
const SHOWN_CHARS: usize = 120;

/// A name from a module, fit to be shown: without control characters and not too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    pub(super) fn new(name: &str) -> Self {
        let mut shown: String = name.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
        if name.chars().nth(SHOWN_CHARS).is_some() {
            shown.push_str("...");
        }
        Self(shown)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names of functions, of those below `count`. What cannot be read is left out.
pub(super) fn functions(section: Option<&CustomSectionReader<'_>>, count: u32) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for subsection in subsections(section) {
        if let Name::Function(map) = subsection {
            for naming in map.into_iter().map_while(Result::ok) {
                if naming.index < count {
                    names.entry(naming.index).or_insert_with(|| naming.name.to_owned());
                }
            }
        }
    }
    names
}

/// The section of the prepared module: what the old one says, and the names of all functions.
pub(super) fn section(old: Option<&CustomSectionReader<'_>>, functions: &BTreeMap<u32, String>) -> NameSection {
    let mut by_kind = BTreeMap::new();
    for name in subsections(old) {
        if let Some(kind) = kind(&name) {
            by_kind.entry(kind).or_insert(name);
        }
    }
    let mut section = NameSection::new();
    let after_functions = by_kind.split_off(&FUNCTIONS);
    copy(&mut section, by_kind);
    let mut map = NameMap::new();
    for (index, name) in functions {
        map.append(*index, name);
    }
    section.functions(&map);
    copy(&mut section, after_functions);
    section
}

/// Copies what can be read; a subsection that cannot leaves no trace.
fn copy(section: &mut NameSection, subsections: BTreeMap<u8, Name<'_>>) {
    for name in subsections.into_values() {
        let _ = utils::parse_custom_name_subsection(&mut RoundtripReencoder, section, name);
    }
}

/// The function whose body the offset is in, by name if it has one.
pub(super) fn function_at(wasm: &[u8], offset: usize) -> Option<FunctionPlace> {
    let mut next = 0;
    let mut found = None;
    let mut names = None;
    for payload in Parser::new(0).parse_all(wasm).map_while(Result::ok) {
        match payload {
            Payload::ImportSection(imports) => {
                let functions = imports.into_imports().map_while(Result::ok);
                let functions = functions.filter(|import| matches!(import.ty, wasmparser::TypeRef::Func(_)));
                next = u32::try_from(functions.count()).ok()?;
            }
            Payload::CodeSectionEntry(body) => {
                if body.range().contains(&offset) {
                    found = Some(next);
                }
                next += 1;
            }
            Payload::CustomSection(section) if section.name() == "name" => names = names.or(Some(section)),
            _ => {}
        }
    }
    let index = found?;
    let name = functions(names.as_ref(), next).get(&index).map(|name| Shown::new(name));
    Some(FunctionPlace { index, name })
}

fn subsections<'a>(section: Option<&CustomSectionReader<'a>>) -> impl Iterator<Item = Name<'a>> + use<'a> {
    let reader = section.and_then(|section| match section.as_known() {
        KnownCustom::Name(reader) => Some(reader),
        _ => None,
    });
    reader.into_iter().flatten().map_while(Result::ok)
}

/// The order in which subsections are written; `None` for those rewritten or unknown.
fn kind(name: &Name<'_>) -> Option<u8> {
    Some(match name {
        Name::Module { .. } => 0,
        Name::Local(_) => 2,
        Name::Label(_) => 3,
        Name::Type(_) => 4,
        Name::Table(_) => 5,
        Name::Memory(_) => 6,
        Name::Global(_) => 7,
        Name::Element(_) => 8,
        Name::Data(_) => 9,
        Name::Function(_) | Name::Field(_) | Name::Tag(_) | Name::Unknown { .. } => return None,
    })
}
