//! Object ids: self-describing hashes in the multihash form `code, length, digest`.
//!
//! The only hash written today is BLAKE3-256 (code 0x1e, length 32), keyed by the [`Domain`] of what is hashed so that a page can
//! never pass for a tree node or another object. Nothing assumes that a digest has 32 bytes: ids of other hashes are read, compared
//! and written back, and only [`Id::verify`] refuses what it cannot compute.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | hash code, below 0x80 |
//! | 1 | digest length in bytes, 16 to 64 |
//! | 2.. | digest |

use std::fmt;

use thiserror::Error;

use crate::cbor::{CborError, Fault, Reader, Writer};

/// The multihash code of BLAKE3.
pub const BLAKE3: u8 = 0x1e;
/// The longest digest an id may have, in bytes.
pub const DIGEST_BYTES_MAX: usize = 64;
const DIGEST_BYTES_MIN: usize = 16;
const DIGEST_BYTES: usize = 32;
/// The same as the byte that stores it.
const DIGEST_LENGTH: u8 = 32;
const _: () = assert!(DIGEST_LENGTH as usize == DIGEST_BYTES);

/// What kind of bytes an id names. Equal bytes in different domains have different ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// 4096 raw bytes of memory.
    Page,
    /// A node of a page tree or of a trie.
    Node,
    /// Everything else: images, blobs, batches, seeds.
    Object,
}

impl Domain {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Page, Self::Node, Self::Object];

    /// The number that stands for the domain in stored bytes.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The domain with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The BLAKE3 key: readable text, padded with spaces to 32 bytes.
    const fn key(self) -> &'static [u8; 32] {
        match self {
            Self::Page => b"abide format 1: page            ",
            Self::Node => b"abide format 1: node            ",
            Self::Object => b"abide format 1: object          ",
        }
    }
}

/// The name of an object: the hash of its bytes within its domain.
#[derive(Clone, Copy)]
pub struct Id {
    length: u8,
    bytes: [u8; 2 + DIGEST_BYTES_MAX],
}

/// An id does not fit the bytes it came with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// The bytes have another hash: they are damaged, or not the object asked for.
    #[error("the bytes of {expected} hash to {found}")]
    Mismatch {
        /// The id asked for.
        expected: Id,
        /// What the bytes hash to.
        found: Id,
    },
    /// The id uses a hash that this version cannot compute.
    #[error("{id} uses hash code {code:#04x}, which this version does not know")]
    UnknownHash {
        /// The id asked for.
        id: Id,
        /// Its multihash code.
        code: u8,
    },
}

impl Id {
    /// The id of `bytes` in `domain`.
    #[must_use]
    pub fn of(domain: Domain, bytes: &[u8]) -> Self {
        Self::from_blake3(*blake3::keyed_hash(domain.key(), bytes).as_bytes())
    }

    fn from_blake3(digest: [u8; DIGEST_BYTES]) -> Self {
        let mut bytes = [0; 2 + DIGEST_BYTES_MAX];
        bytes[0] = BLAKE3;
        bytes[1] = DIGEST_LENGTH;
        bytes[2..2 + DIGEST_BYTES].copy_from_slice(&digest);
        Self { length: 2 + DIGEST_LENGTH, bytes }
    }

    /// Reads an id from its multihash bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&code, rest) = bytes.split_first()?;
        let (&digest_length, digest) = rest.split_first()?;
        let plausible = code < 0x80
            && (DIGEST_BYTES_MIN..=DIGEST_BYTES_MAX).contains(&digest.len())
            && usize::from(digest_length) == digest.len()
            && (code != BLAKE3 || digest.len() == DIGEST_BYTES);
        if !plausible {
            return None;
        }
        let mut id = Self { length: digest_length + 2, bytes: [0; 2 + DIGEST_BYTES_MAX] };
        id.bytes[..bytes.len()].copy_from_slice(bytes);
        Some(id)
    }

    /// Reads an id from the hexadecimal form that [`fmt::LowerHex`] writes; capital digits are not in it.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if !digits.len().is_multiple_of(2) || digits.len() > 2 * (2 + DIGEST_BYTES_MAX) {
            return None;
        }
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let bytes: Option<Vec<u8>> =
            digits.chunks(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect();
        Self::from_bytes(&bytes?)
    }

    /// Its multihash bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The digest alone.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        &self.as_bytes()[2..]
    }

    /// Proves that `bytes` are what this id names.
    ///
    /// # Errors
    /// If they are not, or the id's hash is unknown to this version.
    pub fn verify(&self, domain: Domain, bytes: &[u8]) -> Result<(), IdError> {
        if self.bytes[0] != BLAKE3 {
            return Err(IdError::UnknownHash { id: *self, code: self.bytes[0] });
        }
        let found = Self::of(domain, bytes);
        if found == *self { Ok(()) } else { Err(IdError::Mismatch { expected: *self, found }) }
    }

    /// Writes it as a byte string.
    pub fn write(&self, writer: &mut Writer) {
        writer.bytes(self.as_bytes());
    }

    /// Reads it as a byte string.
    ///
    /// # Errors
    /// If the next item is not an id.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let at = reader.position();
        Self::from_bytes(reader.bytes()?).ok_or(CborError { at, fault: Fault::Range { what: "an id" } })
    }

    /// Writes an id or nothing; nothing is the empty byte string.
    pub fn write_option(id: Option<&Self>, writer: &mut Writer) {
        writer.bytes(id.map_or(&[], |id| id.as_bytes()));
    }

    /// Reads an id or nothing.
    ///
    /// # Errors
    /// If the next item is neither.
    pub fn read_option(reader: &mut Reader<'_>) -> Result<Option<Self>, CborError> {
        let at = reader.position();
        match reader.bytes()? {
            [] => Ok(None),
            bytes => {
                let id = Self::from_bytes(bytes).ok_or(CborError { at, fault: Fault::Range { what: "an id" } })?;
                Ok(Some(id))
            }
        }
    }

    /// The first eight digits of the digest, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.digest().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Computes an id from bytes that come piece by piece.
#[derive(Debug, Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts on no bytes.
    #[must_use]
    pub fn new(domain: Domain) -> Self {
        Self(blake3::Hasher::new_keyed(domain.key()))
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The id of all bytes so far.
    #[must_use]
    pub fn finish(&self) -> Id {
        Id::from_blake3(*self.0.finalize().as_bytes())
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Id {}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl std::hash::Hash for Id {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::LowerHex for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_apart() {
        let ids = Domain::ALL.map(|domain| Id::of(domain, b"the same bytes"));
        assert_ne!(ids[0], ids[1]);
        assert_ne!(ids[1], ids[2]);
        assert_ne!(ids[0], ids[2]);
    }

    #[test]
    fn pieces_hash_like_the_whole() {
        let mut hasher = Hasher::new(Domain::Object);
        for piece in [&b"a"[..], b"", b"bc"] {
            hasher.update(piece);
        }
        assert_eq!(hasher.finish(), Id::of(Domain::Object, b"abc"));
    }

    #[test]
    fn hex_reads_back() {
        let id = Id::of(Domain::Page, &[7; 4096]);
        assert_eq!(Id::from_hex(&format!("{id:x}")), Some(id));
        assert_eq!(Id::from_hex(&format!("{id:x}").to_uppercase()), None, "one id has one hexadecimal form");
        assert_eq!(Id::from_hex("1e"), None);
        assert_eq!(Id::from_hex("zz"), None);
    }

    #[test]
    fn other_hashes_are_carried_but_not_trusted() {
        let bytes = [vec![0x12, 64], vec![9; 64]].concat();
        let id = Id::from_bytes(&bytes).expect("a 64-byte digest fits");
        assert_eq!(id.as_bytes(), bytes);
        assert_eq!(id.verify(Domain::Page, b""), Err(IdError::UnknownHash { id, code: 0x12 }));
        assert_eq!(Id::from_bytes(&[BLAKE3, 31]), None);
        assert_eq!(Id::from_bytes(&[vec![BLAKE3, 33], vec![0; 33]].concat()), None);
        assert_eq!(Id::from_bytes(&[vec![0x80, 32], vec![0; 32]].concat()), None);
    }
}
