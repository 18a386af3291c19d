//! The hash of a pin: BLAKE3 over its content, data in the shapes of data; as text, base58.
//!
//! What is hashed, one after another, numbers of 64 bits least byte first:
//!
//! | tag | of | then |
//! |---|---|---|
//! | 0 | pin | its 32-byte hash |
//! | 1 | law | name, arity, each as below after 3; body |
//! | 2 | application | how many arguments, head, arguments |
//! | 3 | natural | how many words, words |
//! | 4 | bytes | how many, they |
//! | 5 | constructor of rows of n > 0 elements | n as after 3 |
//! | 6 | row | how many elements, they |
//! | 7 | set | how many keys, they |
//! | 8 | table | how many keys, they, the values |
//!
//! A part that is shared is hashed as often as it occurs, which can be more often than there is time for: so hashing has a budget.

use std::fmt;

use thiserror::Error;

use crate::base58;
use crate::nat::Nat;
use crate::value::{Shape, Value};

/// The hash of a pin's content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinHash([u8; 32]);

impl PinHash {
    /// A hash that is given as bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash as text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        base58::decode(text).map(Self)
    }
}

impl fmt::Display for PinHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base58::encode(&self.0))
    }
}

impl fmt::Debug for PinHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How many bytes may be hashed.
#[derive(Debug, Clone)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// So many.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { left: bytes }
    }

    fn spend(&mut self, bytes: u64) -> Result<(), TooLarge> {
        self.left = self.left.checked_sub(bytes).ok_or(TooLarge)?;
        Ok(())
    }
}

impl Default for Budget {
    /// A gibibyte: some seconds.
    fn default() -> Self {
        Self::new(1 << 30)
    }
}

/// What is to be pinned is too large, written out, to be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a pin's content, written out, is too large to be hashed")]
pub struct TooLarge;

/// The hash of a pin of this content.
pub fn pin_hash(content: &Value, budget: &mut Budget) -> Result<PinHash, TooLarge> {
    let mut sink = Sink { hasher: blake3::Hasher::new(), buffer: Vec::new(), budget };
    let mut left = vec![content];
    while let Some(value) = left.pop() {
        match value.shape() {
            Some(Shape::Bar(bytes)) => sink.tag(4).count(bytes.len()).bytes(&bytes),
            Some(Shape::Cow(len)) => sink.tag(5).nat(&len),
            Some(Shape::Row(row)) => {
                sink.tag(6).count(row.len());
                left.extend(row.iter().rev());
            }
            Some(Shape::Set(keys)) => {
                sink.tag(7).count(keys.len());
                left.extend(keys.iter().rev());
            }
            Some(Shape::Tab(keys, values)) => {
                sink.tag(8).count(keys.len());
                left.extend(values.iter().rev());
                left.extend(keys.iter().rev());
            }
            None => match value {
                Value::Pin(pin) => sink.tag(0).bytes(pin.hash().as_bytes()),
                Value::Law(law) => {
                    sink.tag(1).nat(law.name());
                    sink.nat(law.arity());
                    left.push(law.body());
                }
                Value::App(app) => {
                    sink.tag(2).count(app.args().len());
                    left.extend(app.args().iter().rev());
                    left.push(app.head());
                }
                Value::Nat(nat) => sink.tag(3).nat(nat),
            },
        }
        sink.settle()?;
    }
    sink.flush()?;
    Ok(PinHash(*sink.hasher.finalize().as_bytes()))
}

/// Bytes on their way to the hasher, which is faster when it gets many at once.
struct Sink<'a> {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    budget: &'a mut Budget,
}

impl Sink<'_> {
    const BUFFERED_MAX: usize = 16 << 10;

    fn tag(&mut self, tag: u8) -> &mut Self {
        self.buffer.push(tag);
        self
    }

    fn count(&mut self, count: usize) -> &mut Self {
        self.buffer.extend_from_slice(&(count as u64).to_le_bytes());
        self
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn nat(&mut self, nat: &Nat) {
        let words = nat.to_words();
        self.count(words.len());
        for word in words {
            self.buffer.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Hands over what has come together, and pays for it.
    fn settle(&mut self) -> Result<(), TooLarge> {
        if self.buffer.len() < Self::BUFFERED_MAX { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), TooLarge> {
        self.budget.spend(self.buffer.len() as u64)?;
        self.hasher.update(&self.buffer);
        self.buffer.clear();
        Ok(())
    }
}
