//! Why a module was refused: what it uses that cannot be a machine's, and where.

use std::fmt;

use wasmparser::{BinaryReaderError, WasmFeatures};

use super::names::{self, Shown};

/// Why a module cannot be prepared. Nothing else is wrong with a module that was not refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The bytes are something else.
    #[error("not a WebAssembly module: {0}")]
    NotAModule(Mistaken),
    /// The module is not valid WebAssembly of the versions supported.
    #[error("not a valid WebAssembly module, {place}")]
    Invalid {
        /// Where validation stopped.
        place: Place,
        /// What the validator said.
        #[source]
        source: BinaryReaderError,
    },
    /// Valid WebAssembly, perhaps, but with a feature a machine cannot have.
    #[error("the module uses {construct}, {place}")]
    Construct {
        /// The feature.
        construct: Construct,
        /// Its first use.
        place: Place,
        /// What the validator said.
        #[source]
        source: BinaryReaderError,
    },
    /// An import other than the pure functions of the machine interface.
    #[error(
        "the module imports the {kind} `{name}` from `{module}`, and a machine may import only the functions {}",
        super::interface::PURE_IMPORTS_TEXT
    )]
    Import {
        /// Module named by the import.
        module: Shown,
        /// Field named by the import.
        name: Shown,
        /// function, memory ...
        kind: &'static str,
    },
    /// A pure function imported with another type than it has.
    #[error("the module imports `{name}` from `abide` as {found}, and its type is {expected}")]
    ImportType {
        /// The function.
        name: &'static str,
        /// Type asked for.
        found: Signature,
        /// Type it has.
        expected: Signature,
    },
    /// One of the exports every machine must have is absent.
    #[error("the module does not export `{name}` ({expected})")]
    ExportMissing {
        /// The export.
        name: &'static str,
        /// What it must be.
        expected: Signature,
    },
    /// An export of the machine interface is something else than it must be.
    #[error("the module exports `{name}` as {found}, and it must be {expected}")]
    ExportType {
        /// The export.
        name: &'static str,
        /// What it is.
        found: Signature,
        /// What it must be.
        expected: Signature,
    },
    /// An export name that preparation keeps for itself.
    #[error("the module exports `{0}`, and names that begin with `{reserved}` are reserved", reserved = super::RESERVED)]
    ExportReserved(Shown),
    /// More of something than is accepted.
    #[error("the module has {found} {what}, and at most {limit} are accepted{}", OfFunction(.function))]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many are accepted.
        limit: u64,
        /// The function that has them, if it is one.
        function: Option<FunctionPlace>,
    },
    /// The module is valid, what preparation makes of it is over a limit of the engine.
    #[error("the prepared form of the module is over a limit, {place}")]
    Outgrown {
        /// Where, in the prepared form.
        place: Place,
        /// Which limit.
        #[source]
        source: BinaryReaderError,
    },
    /// Something that was read cannot be written.
    #[error("the prepared form of the module cannot be written")]
    Unwritable(#[source] wasm_encoder::reencode::Error),
}

impl Refusal {
    /// A validator's error about a prepared module that is not one.
    pub(super) fn of_prepared(prepared: &[u8], source: BinaryReaderError) -> Self {
        let place = Place::of(prepared, source.offset());
        Self::Outgrown { place, source }
    }

    /// A validator's error, with the construct named if it is a well-known one.
    pub(super) fn of_validation(wasm: &[u8], source: BinaryReaderError) -> Self {
        let place = Place::of(wasm, source.offset());
        match Construct::of(&source) {
            Some(construct) => Self::Construct { construct, place, source },
            None => Self::Invalid { place, source },
        }
    }
}

/// What bytes that are not a module seem to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistaken {
    /// Nothing at all.
    Empty,
    /// A component of the component model, as binary or text.
    Component,
    /// WebAssembly in its text form.
    Text,
    /// A module of a version or layer that does not exist yet.
    Version(u32),
    /// Something else.
    Unknown,
}

impl Mistaken {
    /// Looks at the first bytes; `None` if they are a module's.
    pub(super) fn of(wasm: &[u8]) -> Option<Self> {
        if wasm.is_empty() {
            return Some(Self::Empty);
        }
        let Some(rest) = wasm.strip_prefix(b"\0asm") else {
            return Some(Self::of_text(wasm));
        };
        match rest.first_chunk::<4>() {
            Some([1, 0, 0, 0]) => None,
            Some([_, _, 1, 0]) => Some(Self::Component),
            Some(version) => Some(Self::Version(u32::from_le_bytes(*version))),
            None => Some(Self::Unknown),
        }
    }

    fn of_text(bytes: &[u8]) -> Self {
        let start = bytes.get(..4096).unwrap_or(bytes);
        let mut text = start.trim_ascii_start();
        while text.starts_with(b";;") {
            let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
            text = text.get(end..).unwrap_or_default().trim_ascii_start();
        }
        match text.strip_prefix(b"(").map(<[u8]>::trim_ascii_start) {
            Some(word) if word.starts_with(b"component") => Self::Component,
            Some(word) if word.starts_with(b"module") => Self::Text,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Mistaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there are no bytes"),
            Self::Component => f.write_str("it is a component, and machines are core modules"),
            Self::Text => f.write_str("it is the text form, which has to be translated first"),
            Self::Version(version) => write!(f, "its version is {version:#x}, and 1 is supported"),
            Self::Unknown => f.write_str("it does not begin with `\\0asm`"),
        }
    }
}

/// A feature of WebAssembly that machines cannot use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Construct {
    /// Atomics and shared memories.
    Threads,
    /// `externref`, `anyref`, structs, arrays ...
    GcReferences,
    /// `(ref $type)`, `call_ref` ...
    TypedReferences,
    /// Tags, `throw`, `try_table`, `exnref`, and the older form.
    Exceptions,
    /// Memories and tables with 64-bit indices.
    Memory64,
    /// Vector instructions whose results differ between processors.
    RelaxedSimd,
    /// Continuations.
    StackSwitching,
    /// Memories with pages of another size.
    PageSizes,
    /// 128-bit integer arithmetic.
    WideArithmetic,
    /// `global.get` of one of the module's own globals in a constant expression.
    ConstantOfGlobal,
    /// Something newer.
    Newer,
}

impl Construct {
    fn of(error: &BinaryReaderError) -> Option<Self> {
        let feature = error.missing_wasm_feature()?;
        // Became valid with garbage collection, and has nothing to do with it otherwise.
        if error.message().contains("global.get of locally defined global") {
            return Some(Self::ConstantOfGlobal);
        }
        let named = [
            (WasmFeatures::THREADS, Self::Threads),
            (WasmFeatures::SHARED_EVERYTHING_THREADS, Self::Threads),
            (WasmFeatures::EXCEPTIONS, Self::Exceptions),
            (WasmFeatures::LEGACY_EXCEPTIONS, Self::Exceptions),
            (WasmFeatures::STACK_SWITCHING, Self::StackSwitching),
            (WasmFeatures::GC_TYPES, Self::GcReferences),
            (WasmFeatures::GC, Self::GcReferences),
            (WasmFeatures::FUNCTION_REFERENCES, Self::TypedReferences),
            (WasmFeatures::MEMORY64, Self::Memory64),
            (WasmFeatures::RELAXED_SIMD, Self::RelaxedSimd),
            (WasmFeatures::CUSTOM_PAGE_SIZES, Self::PageSizes),
            (WasmFeatures::WIDE_ARITHMETIC, Self::WideArithmetic),
        ];
        let found = named.into_iter().find(|(named, _)| feature.intersects(*named));
        Some(found.map_or(Self::Newer, |(_, construct)| construct))
    }
}

impl fmt::Display for Construct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threads => "threads (atomics or shared memory)",
            Self::GcReferences => "garbage-collected references (externref, anyref, structs, arrays)",
            Self::TypedReferences => "typed function references",
            Self::Exceptions => "exceptions (tags, throw, try_table, exnref)",
            Self::Memory64 => "64-bit memories or tables (memory64)",
            Self::RelaxedSimd => "relaxed SIMD, whose results differ between processors",
            Self::StackSwitching => "stack switching",
            Self::PageSizes => "custom page sizes",
            Self::WideArithmetic => "wide arithmetic",
            Self::ConstantOfGlobal => "a constant expression that reads one of the module's own globals",
            Self::Newer => "a feature that is not supported",
        })
    }
}

/// Where in a module something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Offset in the module's bytes.
    pub offset: usize,
    /// The function, if it is in one.
    pub function: Option<FunctionPlace>,
}

impl Place {
    fn of(wasm: &[u8], offset: usize) -> Self {
        let function = names::function_at(wasm, offset);
        Self { offset, function }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {:#x}{}", self.offset, OfFunction(&self.function))
    }
}

/// A function of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionPlace {
    /// Its index.
    pub index: u32,
    /// Its name, if the name section has one.
    pub name: Option<Shown>,
}

struct OfFunction<'a>(&'a Option<FunctionPlace>);

impl fmt::Display for OfFunction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(FunctionPlace { index, name: None }) => write!(f, " in function {index}"),
            Some(FunctionPlace { index, name: Some(name) }) => write!(f, " in function {index} `{name}`"),
        }
    }
}

/// The type of an import or export, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature(pub(super) String);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
