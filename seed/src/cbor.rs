//! Deterministic CBOR (RFC 8949, 4.2.1), restricted to unsigned integers, byte strings, text strings and definite arrays.
//!
//! One value has exactly one encoding, and the reader refuses every other: longer length forms, indefinite lengths, maps, tags,
//! floats, negative integers and simple values. A [`Reader`] allocates nothing and lends from its input.
//!
//! | first byte | item |
//! |---|---|
//! | `00`..`1b` | unsigned integer, shortest form |
//! | `40`..`5b` | byte string |
//! | `60`..`7b` | text string, UTF-8 |
//! | `80`..`9b` | array |

mod read;
mod value;

pub use read::Reader;
pub use value::{DEPTH_MAX, Value};

use thiserror::Error;

const UINT: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;

/// Builds one encoding, item by item. The caller keeps the count that it promised to [`Writer::array`].
#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty encoding.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty encoding with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// The finished encoding.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Starts an array of `count` items.
    pub fn array(&mut self, count: usize) -> &mut Self {
        self.head(ARRAY, count as u64)
    }

    /// An unsigned integer.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.head(UINT, value)
    }

    /// The integers 0 and 1 stand for false and true.
    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.uint(u64::from(value))
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    /// What comes before the bytes of a byte string, for one that is not in memory.
    pub fn bytes_head(&mut self, length: u64) -> &mut Self {
        self.head(BYTES, length)
    }

    /// A byte string that lies in pieces.
    pub fn bytes_in_pieces(&mut self, pieces: &[impl AsRef<[u8]>]) -> &mut Self {
        self.head(BYTES, pieces.iter().map(|piece| piece.as_ref().len() as u64).sum());
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece.as_ref()));
        self
    }

    /// A text string.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, value.len() as u64);
        self.bytes.extend_from_slice(value.as_bytes());
        self
    }

    /// Items that are already encoded, taken as they are.
    pub fn encoded(&mut self, items: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(items);
        self
    }

    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let [.., b4, b5, b6, b7] = value.to_be_bytes();
        let major = major << 5;
        match value {
            0..24 => self.bytes.push(major | b7),
            24..=0xff => self.bytes.extend_from_slice(&[major | 24, b7]),
            0x100..=0xffff => self.bytes.extend_from_slice(&[major | 25, b6, b7]),
            0x1_0000..=0xffff_ffff => self.bytes.extend_from_slice(&[major | 26, b4, b5, b6, b7]),
            _ => {
                self.bytes.push(major | 27);
                self.bytes.extend_from_slice(&value.to_be_bytes());
            }
        }
        self
    }
}

/// Why bytes are not the canonical encoding of what was expected. `at` is an offset in bytes from the start of the input.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("byte {at}: {fault}")]
pub struct CborError {
    /// Where.
    pub at: usize,
    /// What.
    pub fault: Fault,
}

/// What is wrong with an encoding.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The input ends inside an item.
    #[error("the input ends in the middle of an item")]
    Truncated,
    /// Bytes follow the last item.
    #[error("there are bytes after the end")]
    Trailing,
    /// Another kind of item was expected.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What the reader asked for.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A number or length is not in its shortest form.
    #[error("a number is not in its shortest form")]
    NotShortest,
    /// A length is indefinite, or of a form that CBOR reserves.
    #[error("an indefinite length or a reserved form")]
    Reserved,
    /// A text string is not UTF-8.
    #[error("a text string is not UTF-8")]
    NotUtf8,
    /// An array has another number of items.
    #[error("expected an array of {expected} items, found {found}")]
    Count {
        /// What the reader asked for.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// A number is outside its range.
    #[error("{what} is out of range")]
    Range {
        /// Which number.
        what: &'static str,
    },
    /// Arrays are nested deeper than the reader allows.
    #[error("arrays are nested too deeply")]
    Depth,
    /// A rule of the format, not of CBOR, is broken.
    #[error("{0}")]
    Rule(&'static str),
}
