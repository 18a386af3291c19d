//! Hashes of pins in a heap, by the same bytes as [`crate::hash`] has them, computed when they are needed and then kept.

use std::collections::HashSet;

use super::heap::Heap;
use super::tree;
use super::word::{Kind, ONE, ZERO, at, is_imm, kind, len};
use crate::PinHash;
use crate::hash::TooLarge;

/// How many bytes may be hashed for one pin: some seconds.
const BYTES_MAX: u64 = 1 << 30;
const BUFFERED_MAX: usize = 16 << 10;

impl Heap {
    /// The hash of a pin, if it has been computed.
    pub(super) fn pin_hash_if_known(&self, pin: u64) -> Option<PinHash> {
        if self.field(pin, 3) == ZERO {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, chunk) in bytes.chunks_mut(8).enumerate() {
            chunk.copy_from_slice(&self.field(pin, 4 + index).to_le_bytes());
        }
        Some(PinHash::from_bytes(bytes))
    }

    /// Keeps the hash of a pin.
    pub(super) fn set_pin_hash(&mut self, pin: u64, hash: &PinHash) {
        let index = at(pin);
        for (offset, chunk) in hash.as_bytes().chunks(8).enumerate() {
            self.mem[index + 5 + offset] = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        }
        self.mem[index + 4] = ONE;
    }

    /// The hash of a pin. Those within it come first, each after those within itself.
    pub(super) fn pin_hash(&mut self, pin: u64) -> Result<PinHash, TooLarge> {
        let mut open = vec![pin];
        while let Some(top) = open.last().copied() {
            if self.pin_hash_if_known(top).is_some() {
                open.pop();
                continue;
            }
            let inner = self.unhashed(self.field(top, 0));
            if inner.is_empty() {
                let hash = self.hash_of(self.field(top, 0))?;
                self.set_pin_hash(top, &hash);
                open.pop();
            } else {
                open.extend(inner);
            }
        }
        Ok(self.pin_hash_if_known(pin).expect("it was computed just now"))
    }

    /// Pins that a normal value is made of and that have not been hashed.
    fn unhashed(&self, value: u64) -> Vec<u64> {
        let (mut left, mut seen, mut found) = (vec![value], HashSet::new(), Vec::new());
        while let Some(value) = left.pop() {
            let value = self.resolve(value);
            let Some(kind) = self.kind_of(value) else { continue };
            if matches!(kind, Kind::BIG | Kind::BAR) || !seen.insert(value) {
                continue;
            }
            match kind {
                Kind::PIN if self.field(value, 3) == ZERO => found.push(value),
                Kind::PIN => {}
                Kind::LAW => left.push(self.field(value, 2)),
                _ => left.extend_from_slice(self.fields(value)),
            }
        }
        found
    }

    /// The hash of content whose pins have been hashed.
    fn hash_of(&self, content: u64) -> Result<PinHash, TooLarge> {
        let mut sink = Sink { hasher: blake3::Hasher::new(), buffer: Vec::new(), written: 0 };
        let mut left = vec![content];
        while let Some(value) = left.pop() {
            let value = self.resolve(value);
            let kind = if is_imm(value) { Kind::BIG } else { kind(self.head(value)) };
            match kind {
                Kind::BIG => {
                    sink.tag(3);
                    sink.nat(&self.limbs(value));
                }
                Kind::PIN => {
                    sink.tag(0);
                    let hash = self.pin_hash_if_known(value).expect("hashed before");
                    sink.buffer.extend_from_slice(hash.as_bytes());
                }
                Kind::BAR => {
                    sink.tag(4);
                    sink.count(self.field(value, 0) as usize);
                    sink.buffer.extend_from_slice(&self.bytes(value));
                }
                Kind::LAW if self.is_cow(value) => {
                    let arity = self.limbs(self.field(value, 1));
                    let count = num_bigint::BigUint::new(
                        arity.iter().flat_map(|limb| [*limb as u32, (limb >> 32) as u32]).collect(),
                    ) - 1u32;
                    sink.tag(5);
                    sink.nat(&count.to_u64_digits());
                }
                Kind::LAW => {
                    sink.tag(1);
                    sink.nat(&self.limbs(self.field(value, 0)));
                    sink.nat(&self.limbs(self.field(value, 1)));
                    left.push(self.field(value, 2));
                }
                Kind::ROW => {
                    sink.tag(6);
                    sink.count(len(self.head(value)));
                    left.extend(self.fields(value).iter().rev());
                }
                Kind::SET => {
                    let keys = tree::keys(self, self.field(value, 0));
                    sink.tag(7);
                    sink.count(keys.len());
                    left.extend(keys.iter().rev());
                }
                Kind::TAB => {
                    let root = self.field(value, 0);
                    let (keys, values) = (tree::keys(self, root), tree::values(self, root));
                    sink.tag(8);
                    sink.count(keys.len());
                    left.extend(values.iter().rev());
                    left.extend(keys.iter().rev());
                }
                _ => {
                    sink.tag(2);
                    sink.count(len(self.head(value)) - 1);
                    left.extend(self.fields(value).iter().rev());
                }
            }
            sink.settle()?;
        }
        sink.flush()?;
        Ok(PinHash::from_bytes(*sink.hasher.finalize().as_bytes()))
    }
}

struct Sink {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    written: u64,
}

impl Sink {
    fn tag(&mut self, tag: u8) {
        self.buffer.push(tag);
    }

    fn count(&mut self, count: usize) {
        self.buffer.extend_from_slice(&(count as u64).to_le_bytes());
    }

    fn nat(&mut self, limbs: &[u64]) {
        self.count(limbs.len());
        limbs.iter().for_each(|limb| self.buffer.extend_from_slice(&limb.to_le_bytes()));
    }

    fn settle(&mut self) -> Result<(), TooLarge> {
        if self.buffer.len() < BUFFERED_MAX { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), TooLarge> {
        self.written += self.buffer.len() as u64;
        if self.written > BYTES_MAX {
            return Err(TooLarge);
        }
        self.hasher.update(&self.buffer);
        self.buffer.clear();
        Ok(())
    }
}
