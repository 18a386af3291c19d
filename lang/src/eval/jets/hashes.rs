//! Hashes: `(blake3 bar)`, bytes of bytes; `(pinhash p)`, the hash of a pin as bytes. Both decline anything else.

use super::Need::Head;
use super::bytes::is_bar;
use super::{Jet, Outcome};
use crate::eval::Crash;
use crate::eval::heap::Heap;
use crate::eval::word::Kind;

/// Bytes hashed that count as one step.
const BYTES_PER_STEP: u64 = 128;

pub(super) const JETS: &[Jet] = &[Jet::new("blake3", &[Head], blake3_of), Jet::new("pinhash", &[Head], pin_hash)];

fn blake3_of(heap: &mut Heap, args: &[u64]) -> Outcome {
    if !is_bar(heap, args[0]) {
        return Outcome::Decline;
    }
    let bytes = heap.bytes(args[0]);
    let hash = blake3::hash(&bytes);
    Outcome::Value(heap.bar(hash.as_bytes()), bytes.len() as u64 / BYTES_PER_STEP)
}

fn pin_hash(heap: &mut Heap, args: &[u64]) -> Outcome {
    if heap.kind_of(args[0]) != Some(Kind::PIN) {
        return Outcome::Decline;
    }
    match heap.pin_hash(args[0]) {
        Ok(hash) => Outcome::Value(heap.bar(hash.as_bytes()), 0),
        Err(_) => Outcome::Crash(Crash::HASH),
    }
}
