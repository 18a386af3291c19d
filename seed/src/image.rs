//! Images: the canonical value of a machine at rest. An image's id is the machine's *root*.
//!
//! ```text
//! image    [17, interface, code, genesis, limits, grants, next_port, [process...]]
//! program  [18, interface, code, genesis, limits, [asked_port_name...]]
//! limits   [step_cpu_ms, memory_bytes, table_elements, stack_bytes, input_bytes, output_bytes, requests, outcomes]
//! grants   [[port, name]...]                    by ascending port
//! process  [state, ledger]
//! state    []                                   not booted yet
//!          [memories, globals, tables]
//! memory   [pages, root]                        4 KiB pages; root of the page tree, or empty
//! global   [kind, bits]                         0 i32, 1 i64, 2 f32, 3 f64, 4 v128: little-endian bits; 5 funcref: see below
//! table    [elements, blob]                     the blob holds a funcref of 4 bytes for each element
//! funcref  index of the function in the module, little-endian; ffffffff is null
//! ledger   [requests, replies, effects, outcomes, next_reply, next_effect, first_outcome, next_outcome, again]
//! ```
//!
//! `code`, `genesis` and `blob` are ids of blobs; the first four of a ledger are trie roots, or empty. There is one process today, and nothing
//! here assumes that.

use crate::cbor::{CborError, Fault, Reader, Writer};
use crate::object::{KIND_IMAGE, KIND_PROGRAM, Link, expect_kind};
use crate::page::PAGE_COUNT_MAX;
use crate::{Domain, EffectId, Id, Nanos, PortId, ReplyId};

/// The number of the machine interface that this version speaks (docs/abi.md).
pub const INTERFACE: u64 = 1;
/// A funcref that refers to nothing.
pub const FUNCREF_NULL: u32 = u32::MAX;

/// A machine at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The machine interface it was booted with.
    pub interface: u64,
    /// Blob: the WebAssembly module as the seed brought it, before preparation.
    pub code: Id,
    /// Blob: the genesis data.
    pub genesis: Id,
    /// What it may use.
    pub limits: Limits,
    /// The ports it may use, by ascending number.
    pub grants: Vec<Grant>,
    /// The number of the next port to be granted.
    pub next_port: PortId,
    /// What runs in it.
    pub processes: Vec<Process>,
}

/// What a machine starts from, before anybody granted it anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The machine interface it was written for.
    pub interface: u64,
    /// Blob: the WebAssembly module.
    pub code: Id,
    /// Blob: the genesis data.
    pub genesis: Id,
    /// What it may use.
    pub limits: Limits,
    /// Names of the ports it asks for, besides those given unasked; ascending.
    pub asks: Vec<String>,
}

/// The right to use one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its number in this machine.
    pub port: PortId,
    /// Which port of the host it is.
    pub name: String,
}

/// One process of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its WebAssembly state; `None` before its first step.
    pub state: Option<State>,
    /// What it asked and owes.
    pub ledger: Ledger,
}

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

/// The roots and counters of what a process asked and owes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Trie of open requests, by number (8 bytes, big-endian, like the others).
    pub requests: Option<Id>,
    /// Trie of owed replies.
    pub replies: Option<Id>,
    /// Trie of effects whose delivery is not logged.
    pub effects: Option<Id>,
    /// Trie of remembered outcomes, by sender key.
    pub outcomes: Option<Id>,
    /// The number of the next owed reply.
    pub next_reply: ReplyId,
    /// The number of the next effect.
    pub next_effect: EffectId,
    /// The oldest remembered outcome.
    pub first_outcome: u64,
    /// The number of the next outcome.
    pub next_outcome: u64,
    /// Whether the machine wants to be called again.
    pub again: bool,
}

/// What a machine may use. The same on every host, recorded in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of one step, in milliseconds.
    pub step_cpu_ms: u64,
    /// All memories together, in bytes.
    pub memory_bytes: u64,
    /// All tables together, in elements.
    pub table_elements: u64,
    /// Native stack, in bytes.
    pub stack_bytes: u64,
    /// One input, encoded, in bytes.
    pub input_bytes: u64,
    /// One output, encoded, in bytes.
    pub output_bytes: u64,
    /// Open requests, owed replies, undelivered effects: each, in number.
    pub requests: u64,
    /// Outcomes remembered for senders that repeat themselves, in number.
    pub outcomes: u64,
}

/// The name of a limit with its default and the values it may have.
#[derive(Debug, Clone, Copy)]
pub struct LimitRange {
    /// As on the command line and in docs/abi.md.
    pub name: &'static str,
    /// If nothing is declared.
    pub default: u64,
    /// The least it may be.
    pub min: u64,
    /// The most it may be.
    pub max: u64,
}

impl Limits {
    /// Every limit, in the order of their encoding.
    pub const RANGES: [LimitRange; 8] = [
        range("step_cpu_ms", 10_000, 1, 86_400_000),
        range("memory_bytes", 1 << 30, 1 << 16, 1 << 34),
        range("table_elements", 1 << 20, 0, 1 << 24),
        range("stack_bytes", 1 << 20, 1 << 16, 1 << 26),
        range("input_bytes", 1 << 24, 1 << 10, 1 << 30),
        range("output_bytes", 1 << 24, 1 << 10, 1 << 30),
        range("requests", 1 << 16, 1, 1 << 20),
        range("outcomes", 1 << 12, 0, 1 << 20),
    ];

    /// All of them, in the order of [`Self::RANGES`].
    #[must_use]
    pub const fn values(&self) -> [u64; 8] {
        [
            self.step_cpu_ms,
            self.memory_bytes,
            self.table_elements,
            self.stack_bytes,
            self.input_bytes,
            self.output_bytes,
            self.requests,
            self.outcomes,
        ]
    }

    /// The limits with these values; the name of the first one out of range otherwise.
    ///
    /// # Errors
    /// If one is out of range.
    pub fn from_values(values: [u64; 8]) -> Result<Self, &'static str> {
        for (range, value) in Self::RANGES.iter().zip(values) {
            if !(range.min..=range.max).contains(&value) {
                return Err(range.name);
            }
        }
        let [step_cpu_ms, memory_bytes, table_elements, stack_bytes, input_bytes, output_bytes, requests, outcomes] =
            values;
        Ok(Self {
            step_cpu_ms,
            memory_bytes,
            table_elements,
            stack_bytes,
            input_bytes,
            output_bytes,
            requests,
            outcomes,
        })
    }

    /// CPU time of one step.
    #[must_use]
    pub const fn step_cpu(&self) -> Nanos {
        Nanos::from_millis(self.step_cpu_ms)
    }

    fn write(&self, writer: &mut Writer) {
        writer.array(8);
        self.values().iter().for_each(|value| drop(writer.uint(*value)));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        reader.array_of(8)?;
        let at = reader.position();
        let mut values = [0; 8];
        for value in &mut values {
            *value = reader.uint()?;
        }
        Self::from_values(values).map_err(|what| CborError { at, fault: Fault::Range { what } })
    }
}

impl Default for Limits {
    fn default() -> Self {
        let [step_cpu_ms, memory_bytes, table_elements, stack_bytes, input_bytes, output_bytes, requests, outcomes] =
            Self::RANGES.map(|range| range.default);
        Self { step_cpu_ms, memory_bytes, table_elements, stack_bytes, input_bytes, output_bytes, requests, outcomes }
    }
}

const fn range(name: &'static str, default: u64, min: u64, max: u64) -> LimitRange {
    LimitRange { name, default, min, max }
}

impl Program {
    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(6).uint(KIND_PROGRAM).uint(self.interface);
        self.code.write(&mut writer);
        self.genesis.write(&mut writer);
        self.limits.write(&mut writer);
        writer.array(self.asks.len());
        self.asks.iter().for_each(|name| drop(writer.text(name)));
        writer.finish()
    }

    /// Reads an encoding.
    ///
    /// # Errors
    /// If it is not canonical or not a program.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(bytes);
        reader.array_of(6)?;
        expect_kind(&mut reader, KIND_PROGRAM)?;
        let interface = reader.uint()?;
        let code = Id::read(&mut reader)?;
        let genesis = Id::read(&mut reader)?;
        let limits = Limits::read(&mut reader)?;
        let mut asks: Vec<String> = Vec::new();
        for _ in 0..reader.array()? {
            let name = reader.text()?;
            if asks.last().is_some_and(|last| last.as_str() >= name) {
                return Err(reader.fault(Fault::Rule("asked ports are out of order")));
            }
            asks.push(name.to_owned());
        }
        reader.end()?;
        Ok(Self { interface, code, genesis, limits, asks })
    }

    /// The image of a machine that is about to boot from it, with `grants` given.
    #[must_use]
    pub fn to_image(&self, grants: Vec<Grant>) -> Image {
        let next_port = grants.last().map_or(PortId(1), |grant| grant.port.next());
        Image {
            interface: self.interface,
            code: self.code,
            genesis: self.genesis,
            limits: self.limits,
            grants,
            next_port,
            processes: vec![Process { state: None, ledger: Ledger::first() }],
        }
    }

    /// What it refers to.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        vec![(Domain::Object, self.code), (Domain::Object, self.genesis)]
    }
}

impl Image {
    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(512);
        writer.array(8).uint(KIND_IMAGE).uint(self.interface);
        self.code.write(&mut writer);
        self.genesis.write(&mut writer);
        self.limits.write(&mut writer);
        write_grants(&self.grants, &mut writer);
        writer.uint(self.next_port.0);
        writer.array(self.processes.len());
        self.processes.iter().for_each(|process| process.write(&mut writer));
        writer.finish()
    }

    /// Reads an encoding.
    ///
    /// # Errors
    /// If it is not canonical or not an image.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(bytes);
        reader.array_of(8)?;
        expect_kind(&mut reader, KIND_IMAGE)?;
        let interface = reader.uint()?;
        let code = Id::read(&mut reader)?;
        let genesis = Id::read(&mut reader)?;
        let limits = Limits::read(&mut reader)?;
        let grants = read_grants(&mut reader)?;
        let next_port = PortId(reader.uint()?);
        if grants.last().is_some_and(|last| last.port >= next_port) {
            return Err(reader.fault(Fault::Rule("a granted port is numbered ahead of the next one")));
        }
        let mut processes = Vec::new();
        for _ in 0..reader.array()? {
            processes.push(Process::read(&mut reader)?);
        }
        reader.end()?;
        Ok(Self { interface, code, genesis, limits, grants, next_port, processes })
    }

    /// Its id: the machine's root.
    #[must_use]
    pub fn root(&self) -> Id {
        Id::of(Domain::Object, &self.encode())
    }

    /// What it refers to.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        let mut links = vec![(Domain::Object, self.code), (Domain::Object, self.genesis)];
        for process in &self.processes {
            if let Some(state) = &process.state {
                for memory in &state.memories {
                    links.extend(memory.root.map(|root| (Domain::Node, root)));
                }
                links.extend(state.tables.iter().map(|table| (Domain::Object, table.content)));
            }
            let Ledger { requests, replies, effects, outcomes, .. } = process.ledger;
            links.extend([requests, replies, effects, outcomes].into_iter().flatten().map(|id| (Domain::Node, id)));
        }
        links
    }
}

impl Process {
    fn write(&self, writer: &mut Writer) {
        writer.array(2);
        match &self.state {
            None => drop(writer.array(0)),
            Some(state) => state.write(writer),
        }
        self.ledger.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        reader.array_of(2)?;
        let state = match reader.array()? {
            0 => None,
            3 => Some(State::read(reader)?),
            _ => return Err(reader.fault(Fault::Rule("a process's state has none or three parts"))),
        };
        Ok(Self { state, ledger: Ledger::read(reader)? })
    }
}

impl State {
    fn write(&self, writer: &mut Writer) {
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

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let mut state = Self::default();
        for _ in 0..reader.array()? {
            reader.array_of(2)?;
            let pages = reader.uint_max(PAGE_COUNT_MAX, "a memory's size")?;
            state.memories.push(Memory { pages, root: Id::read_option(reader)? });
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
    fn write(&self, writer: &mut Writer) {
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

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
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

impl Ledger {
    /// Nothing asked, nothing owed; numbers start at 1.
    #[must_use]
    pub fn first() -> Self {
        Self { next_reply: ReplyId(1), next_effect: EffectId(1), ..Self::default() }
    }

    fn write(&self, writer: &mut Writer) {
        writer.array(9);
        for root in [&self.requests, &self.replies, &self.effects, &self.outcomes] {
            Id::write_option(root.as_ref(), writer);
        }
        writer.uint(self.next_reply.0).uint(self.next_effect.0);
        writer.uint(self.first_outcome).uint(self.next_outcome).flag(self.again);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        reader.array_of(9)?;
        Ok(Self {
            requests: Id::read_option(reader)?,
            replies: Id::read_option(reader)?,
            effects: Id::read_option(reader)?,
            outcomes: Id::read_option(reader)?,
            next_reply: ReplyId(reader.uint()?),
            next_effect: EffectId(reader.uint()?),
            first_outcome: reader.uint()?,
            next_outcome: reader.uint()?,
            again: reader.flag()?,
        })
    }
}

/// Writes a list of grants, as images and inputs have it.
pub fn write_grants(grants: &[Grant], writer: &mut Writer) {
    writer.array(grants.len());
    for grant in grants {
        writer.array(2).uint(grant.port.0).text(&grant.name);
    }
}

/// Reads a list of grants.
///
/// # Errors
/// If it is malformed or out of order.
pub fn read_grants(reader: &mut Reader<'_>) -> Result<Vec<Grant>, CborError> {
    let mut grants: Vec<Grant> = Vec::new();
    for _ in 0..reader.array()? {
        reader.array_of(2)?;
        let port = PortId(reader.uint()?);
        if grants.last().is_some_and(|last| last.port >= port) {
            return Err(reader.fault(Fault::Rule("grants are out of order")));
        }
        grants.push(Grant { port, name: reader.text()?.to_owned() });
    }
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Image {
        let id = |n: u8| Id::of(Domain::Object, &[n]);
        Image {
            interface: INTERFACE,
            code: id(1),
            genesis: id(2),
            limits: Limits::default(),
            grants: vec![
                Grant { port: PortId(0), name: "owner".into() },
                Grant { port: PortId(2), name: "clock".into() },
            ],
            next_port: PortId(4),
            processes: vec![Process {
                state: Some(State {
                    memories: vec![Memory { pages: 32, root: Some(id(3)) }, Memory { pages: 0, root: None }],
                    globals: vec![Global::I32(1), Global::V128(2), Global::F64(3), Global::Funcref(FUNCREF_NULL)],
                    tables: vec![Table { elements: 3, content: id(4) }],
                }),
                ledger: Ledger { requests: Some(id(5)), again: true, ..Ledger::first() },
            }],
        }
    }

    #[test]
    fn images_read_back_and_know_their_links() {
        let image = sample();
        assert_eq!(Image::decode(&image.encode()), Ok(image.clone()));
        assert_eq!(image.links().len(), 5);
        let unborn = Image { processes: vec![Process { state: None, ledger: Ledger::first() }], ..image };
        assert_eq!(Image::decode(&unborn.encode()), Ok(unborn));
    }

    #[test]
    fn no_shortened_or_altered_image_reads_as_another() {
        let encoding = sample().encode();
        for length in 0..encoding.len() {
            assert!(Image::decode(&encoding[..length]).is_err());
        }
        for position in 0..encoding.len() {
            let mut altered = encoding.clone();
            altered[position] ^= 1;
            if let Ok(image) = Image::decode(&altered) {
                assert_eq!(image.encode(), altered, "a non-canonical image was accepted");
            }
        }
    }

    #[test]
    fn limits_are_held_to_their_ranges() {
        let mut values = Limits::default().values();
        values[1] = 0;
        assert_eq!(Limits::from_values(values), Err("memory_bytes"));
        for range in Limits::RANGES {
            assert!((range.min..=range.max).contains(&range.default), "{}", range.name);
        }
    }
}
