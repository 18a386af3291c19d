//! What a machine *is*: ids, pages, the Merkle definitions, images, messages, log records and seed packs, as pure values.
//!
//! Invariant: this crate performs no I/O, reads no clock and draws no randomness. Every decoder is strict: bytes that are not
//! the one canonical encoding of a value are refused, so that equal values always have equal ids. Nothing here panics on, or
//! allocates out of proportion to, bytes it is given.
//!
//! `docs/format.md` has the byte layouts; golden vectors in `tests/` hold them in place.

pub mod number;

pub mod cbor;
pub mod id;
pub mod object;
pub mod page;

pub mod tree;
pub mod trie;

pub mod image;
pub mod message;
pub mod record;

#[cfg(feature = "pack")]
pub mod pack;

pub use id::{Domain, Id};
pub use number::{CallId, EffectId, Nanos, PageIndex, PortId, ReplyId, RequestId, Seq};
pub use object::{LoadError, Objects};
