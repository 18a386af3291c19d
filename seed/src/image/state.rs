//! WebAssembly state at rest: memories, globals and tables.

use crate::Id;
use crate::cbor::{CborError, Fault, Reader, Writer};
use crate::page::PAGE_COUNT_MAX;

/// A funcref that refers to nothing.
pub const FUNCREF_NULL: u32 = u32::MAX;

/// WebAssembly state at rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// In the order of the prepared module's state map, like the others.
    pub memories: Vec<Memory>,
    /// Mutable globals.
    pub globals: Vec<Global>,
    /// Tables that can change.
    pub tables: Vec<Table>,
}

/// A linear memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Its size in 4 KiB pages.
    pub pages: u64,
    /// The root of its page tree; none if it is all zero.
    pub root: Option<Id>,
}

/// The value of a mutable global.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    /// i32 bits.
    I32(u32),
    /// i64 bits.
    I64(u64),
    /// f32 bits.
    F32(u32),
    /// f64 bits.
    F64(u64),
    /// v128 bits.
    V128(u128),
    /// Index of a function, or [`FUNCREF_NULL`].
    Funcref(u32),
}

/// A table of funcrefs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// How many elements it has.
    pub elements: u64,
    /// Blob: four bytes for each element.
    pub content: Id,
}

impl State {
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.array(3).array(self.memories.len());
        for memory in &self.memories {
            writer.array(2).uint(memory.pages);
            Id::write_option(memory.root.as_ref(), writer);
        }
        writer.array(self.globals.len());
        self.globals.iter().for_each(|global| global.write(writer));
        writer.array(self.tables.len());
        for table in &self.tables {
            writer.array(2).uint(table.elements);
            table.content.write(writer);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let mut state = Self::default();
        for _ in 0..reader.array()? {
            reader.array_of(2)?;
            let pages = reader.uint_max(PAGE_COUNT_MAX, "a memory's size")?;
            let root = Id::read_option(reader)?;
            if pages == 0 && root.is_some() {
                return Err(reader.fault(Fault::Rule("a memory without pages has a root")));
            }
            state.memories.push(Memory { pages, root });
        }
        for _ in 0..reader.array()? {
            state.globals.push(Global::read(reader)?);
        }
        for _ in 0..reader.array()? {
            reader.array_of(2)?;
            let elements = reader.uint_max(u64::from(u32::MAX), "a table's size")?;
            state.tables.push(Table { elements, content: Id::read(reader)? });
        }
        Ok(state)
    }
}

impl Global {
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.array(2);
        match self {
            Self::I32(bits) => writer.uint(0).bytes(&bits.to_le_bytes()),
            Self::I64(bits) => writer.uint(1).bytes(&bits.to_le_bytes()),
            Self::F32(bits) => writer.uint(2).bytes(&bits.to_le_bytes()),
            Self::F64(bits) => writer.uint(3).bytes(&bits.to_le_bytes()),
            Self::V128(bits) => writer.uint(4).bytes(&bits.to_le_bytes()),
            Self::Funcref(index) => writer.uint(5).bytes(&index.to_le_bytes()),
        };
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        const WIDTH: &str = "a global's width";
        reader.array_of(2)?;
        Ok(match reader.uint_max(5, "a global's kind")? {
            0 => Self::I32(u32::from_le_bytes(reader.bytes_of(WIDTH)?)),
            1 => Self::I64(u64::from_le_bytes(reader.bytes_of(WIDTH)?)),
            2 => Self::F32(u32::from_le_bytes(reader.bytes_of(WIDTH)?)),
            3 => Self::F64(u64::from_le_bytes(reader.bytes_of(WIDTH)?)),
            4 => Self::V128(u128::from_le_bytes(reader.bytes_of(WIDTH)?)),
            _ => Self::Funcref(u32::from_le_bytes(reader.bytes_of(WIDTH)?)),
        })
    }
}
