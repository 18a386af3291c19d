//! What a prepared module's state is made of, and by which exports the host reaches it.
//!
//! A machine at rest is exactly: the bytes and sizes of the [`memories`](StateMap::memories), the values of the
//! [`globals`](StateMap::globals) and the sizes and elements of the [`tables`](StateMap::tables). Everything else is the same in
//! every instance of one prepared module.

use std::collections::BTreeMap;

/// The exported function that initialises a fresh machine, once in its life: active segments, then the start function.
pub const INIT: &str = "abide:init";
/// The exported function that drops, in a restored instance, the segments the captured one had dropped.
pub const REDROP: &str = "abide:redrop";
/// The exported memory that is no state: code reads it wherever it could go on for long, so that the host can stop it there.
pub const STOP: &str = "abide:stop";
/// The size of that memory, in pages of 64 KiB.
pub const STOP_PAGES: u32 = 16;
/// Export names beginning like this belong to preparation; a module that uses one is refused.
pub const RESERVED: &str = "abide:";

/// The state of a prepared module, by export.
///
/// To boot: instantiate, call [`INIT`], then `_initialize` if [`initialize`](Self::initialize).
/// To restore: instantiate, write memories, globals and tables, call [`REDROP`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateMap {
    /// Every memory of the program, by index. [`STOP`] comes after them.
    pub memories: Vec<MemoryState>,
    /// Index of the memory exported as `memory`, in which buffers are exchanged.
    pub exchange: u32,
    /// Every mutable global, by index. Those that say which segments are dropped come last.
    pub globals: Vec<GlobalState>,
    /// Every table whose contents can differ from what instantiation gives it, by index.
    pub tables: Vec<TableState>,
    /// Every function a captured table or global can refer to, by index. Empty if no reference is captured.
    pub functions: Vec<FunctionState>,
    /// Whether the module exports `_initialize`.
    pub initialize: bool,
    pub(super) names: BTreeMap<u32, String>,
}

impl StateMap {
    /// The name section's name for a function of the prepared module. Preparation adds functions at the end, so the index is the
    /// original module's too.
    pub fn function_name(&self, index: u32) -> Option<String> {
        self.names.get(&index).cloned()
    }
}

/// A linear memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryState {
    /// Its index.
    pub index: u32,
    /// Its added export, `abide:m<index>`.
    pub export: String,
    /// Declared minimum, in pages of 64 KiB.
    pub pages_min: u32,
    /// Declared maximum, in pages of 64 KiB.
    pub pages_max: Option<u32>,
}

/// A mutable global.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalState {
    /// Its index.
    pub index: u32,
    /// Its added export: `abide:g<index>`, `abide:d<segment>` or `abide:e<segment>`.
    pub export: String,
    /// The type of its value.
    pub ty: ValueType,
    /// What it is for.
    pub role: GlobalRole,
}

/// What a mutable global is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlobalRole {
    /// One of the program's own.
    Program,
    /// 1 if the data segment of this index is dropped, else 0.
    DataDropped(u32),
    /// 1 if the element segment of this index is dropped, else 0.
    ElementDropped(u32),
}

/// The type of a global.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// `i32`
    I32,
    /// `i64`
    I64,
    /// `f32`: captured as its 32 bits, whatever number they are.
    F32,
    /// `f64`: captured as its 64 bits.
    F64,
    /// `v128`: captured as its 128 bits.
    V128,
    /// `funcref`: null or one of [`StateMap::functions`].
    FuncRef,
}

/// A table of `funcref`, captured whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableState {
    /// Its index.
    pub index: u32,
    /// Its added export, `abide:t<index>`.
    pub export: String,
    /// Declared minimum, in elements.
    pub elements_min: u32,
    /// Declared maximum, in elements.
    pub elements_max: Option<u32>,
}

/// A function that can be referred to from captured state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionState {
    /// Its index; an imported function's counts too.
    pub index: u32,
    /// Its added export, `abide:f<index>`.
    pub export: String,
}
