//! A pin with all that it is made of, as one file: `SEEDPOD:`, then a seed of `[hash [[germ [index ..]] ..]]`.
//!
//! Each germ is the content of a pin as bytes, its holes the pins at the indices, all of them before it; the last pin has the hash.

use std::collections::HashMap;
use std::sync::Arc;

use super::germ::{load_pin, write_germ};
use super::{Limits, ReadError, WriteError, read_germ, write};
use crate::hash::PinHash;
use crate::value::{Pin, Value};

const MAGIC: &[u8; 8] = b"SEEDPOD:";

/// Reads a pod: its last pin, whose hash is checked.
pub fn read_pod(bytes: &[u8]) -> Result<Value, ReadError> {
    let seed = bytes.strip_prefix(MAGIC).ok_or(ReadError::NotAPod)?;
    let mut limits = Limits::of(bytes.len());
    let pod = read_germ(seed, &[], &mut limits)?;
    let (hash, entries) = two(&pod).ok_or(ReadError::PodShape)?;
    let mut pins: Vec<Value> = Vec::new();
    for (number, entry) in entries.as_row().ok_or(ReadError::PodShape)?.iter().enumerate() {
        let (germ, refs) = two(entry).ok_or(ReadError::PodShape)?;
        let germ = germ.as_bar().ok_or(ReadError::PodShape)?;
        let refs = refs.as_row().ok_or(ReadError::PodShape)?.iter().map(|index| match index {
            Value::Nat(index) => index.to_word().and_then(|index| pins.get(usize::try_from(index).ok()?)).cloned(),
            _ => None,
        });
        let refs: Option<Vec<Value>> = refs.collect();
        pins.push(load_pin(&germ, &refs.ok_or(ReadError::PodReference(number))?, &mut limits)?);
    }
    let last = pins.pop().ok_or(ReadError::PodShape)?;
    let is_named = matches!(&last, Value::Pin(pin) if hash.as_bar().as_deref() == Some(pin.hash().as_bytes()));
    if is_named { Ok(last) } else { Err(ReadError::PodHash) }
}

fn two(value: &Value) -> Option<(&Value, &Value)> {
    let row = value.as_row().filter(|row| row.len() == 2)?;
    Some((row.get(0)?, row.get(1)?))
}

/// Writes a pod.
pub fn write_pod(pin: &Arc<Pin>) -> Result<Vec<u8>, WriteError> {
    let mut indices: HashMap<PinHash, u64> = HashMap::new();
    let mut entries = Vec::new();
    // Each pin that is begun, with those that it needs and how many of them have been looked at.
    let mut begun = vec![(Arc::clone(pin), pin.content().refs(), 0)];
    while let Some((pin, refs, next)) = begun.last_mut() {
        if let Some(needed) = refs.get(*next).cloned() {
            *next += 1;
            if !indices.contains_key(&needed.hash()) {
                let refs = needed.content().refs();
                begun.push((needed, refs, 0));
            }
            continue;
        }
        let refs = refs.iter().map(|needed| Value::word(indices[&needed.hash()])).collect();
        entries.push(Value::row(vec![Value::bar(&write_germ(pin)?), Value::row(refs)]));
        indices.insert(pin.hash(), indices.len() as u64);
        begun.pop();
    }
    let pod = Value::row(vec![Value::bar(pin.hash().as_bytes()), Value::row(entries)]);
    Ok([MAGIC.to_vec(), write::write(&pod, &[])?].concat())
}
