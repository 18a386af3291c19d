//! A pin as a file of its own: the hashes of the pins that its content is made of, then the content, with holes in their place.
//!
//! | part | |
//! |---|---|
//! | head | how many hashes, 8 bytes; each, 32 bytes |
//! | germ | a seed with as many holes |

use super::table::word;
use super::{Limits, ReadError, WriteError, read_germ, write};
use crate::hash::PinHash;
use crate::value::{Pin, Value};

/// A pin's file, its head read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinFile<'a> {
    /// The pins that it needs.
    pub refs: Vec<PinHash>,
    germ: &'a [u8],
}

/// Reads the head of a pin's file.
pub fn read_pin_file(bytes: &[u8]) -> Result<PinFile<'_>, ReadError> {
    const HEAD: &str = "head";
    let mut germ = bytes;
    let count = word(&mut germ, HEAD)?;
    let mut refs = Vec::new();
    for _ in 0..count {
        let (hash, rest) = germ.split_first_chunk().ok_or(ReadError::Truncated(HEAD))?;
        refs.push(PinHash::from_bytes(*hash));
        germ = rest;
    }
    Ok(PinFile { refs, germ })
}

impl PinFile<'_> {
    /// The pin, given those that it needs, in the order of `refs`. That they have these hashes is the caller's to see to.
    pub fn load(&self, refs: &[Value], limits: &mut Limits) -> Result<Value, ReadError> {
        load_pin(self.germ, refs, limits)
    }
}

/// Writes a pin's file.
pub fn write_pin_file(pin: &Pin) -> Result<Vec<u8>, WriteError> {
    let refs = pin.content().refs();
    let mut bytes = (refs.len() as u64).to_le_bytes().to_vec();
    bytes.extend(refs.iter().flat_map(|pin| *pin.hash().as_bytes()));
    bytes.extend(write_germ(pin)?);
    Ok(bytes)
}

pub(super) fn load_pin(germ: &[u8], refs: &[Value], limits: &mut Limits) -> Result<Value, ReadError> {
    let content = read_germ(germ, refs, limits)?;
    Ok(Value::pin_within(content, &mut limits.hashed)?)
}

pub(super) fn write_germ(pin: &Pin) -> Result<Vec<u8>, WriteError> {
    let refs = pin.content().refs();
    write::write(pin.content(), &refs.iter().map(|pin| pin.as_ref()).collect::<Vec<_>>())
}
