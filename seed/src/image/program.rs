//! Programs: what a machine starts from.

use super::{Grant, Image, Ledger, Limits, Process};
use crate::cbor::{CborError, Fault, Reader, Writer};
use crate::object::{KIND_PROGRAM, Link, expect_kind};
use crate::{Domain, Id, PortId};

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
        for name in &self.asks {
            writer.text(name);
        }
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

    /// The image of a machine that is about to boot from it, with `grants` given, by ascending port. The next port to be granted is
    /// none of those that docs/abi.md numbers, given or not.
    #[must_use]
    pub fn to_image(&self, grants: Vec<Grant>) -> Image {
        let next_port = grants.last().map_or(PortId::FIRST_FREE, |grant| grant.port.next().max(PortId::FIRST_FREE));
        Image {
            interface: self.interface,
            code: self.code,
            genesis: self.genesis,
            limits: self.limits,
            grants,
            next_port,
            processes: vec![Process { state: None, handover: None, ledger: Ledger::first() }],
        }
    }

    /// What it refers to.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        vec![(Domain::Object, self.code), (Domain::Object, self.genesis)]
    }
}
