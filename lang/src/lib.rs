//! The language: PLAN values, their hashes, their files and their text.
//!
//! Invariant: this crate performs no I/O, reads no clock and draws no randomness. Nothing here recurses on the depth of what it
//! is given, panics on it, or allocates out of proportion to it.

pub mod nat;
pub mod value;

mod base58;
pub mod hash;

pub mod seedfile;

pub mod base;
pub mod compile;
pub mod eval;
pub mod session;
pub mod text;

pub use hash::PinHash;
pub use nat::Nat;
pub use value::Value;
