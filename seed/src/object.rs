//! Objects: immutable bytes named by hash, and what every object can tell about itself: its kind and its links.
//!
//! Nodes and objects are deterministic CBOR arrays that start with their kind. Kind numbers are append-only.
//!
//! | kind | domain | what |
//! |---|---|---|
//! | 0 | node | page tree node ([`crate::tree`]) |
//! | 1 | node | trie branch ([`crate::trie`]) |
//! | 2 | node | trie bucket |
//! | 16 | object | blob: `[16, bytes]` |
//! | 17 | object | image ([`crate::image`]) |
//! | 18 | object | program, the root of a seed ([`crate::image::Program`]) |

use std::error::Error as StdError;

use thiserror::Error;

use crate::cbor::{CborError, Fault, Reader, Writer};
use crate::id::Hasher;
use crate::id::IdError;
use crate::image::{Image, Program};
use crate::page::{PAGE_BYTES, ZERO};
use crate::tree::TreeNode;
use crate::trie::TrieNode;
use crate::{Domain, Id};

/// Kind of a page tree node.
pub const KIND_TREE_NODE: u64 = 0;
/// Kind of a trie branch.
pub const KIND_TRIE_BRANCH: u64 = 1;
/// Kind of a trie bucket.
pub const KIND_TRIE_BUCKET: u64 = 2;
/// Kind of a blob.
pub const KIND_BLOB: u64 = 16;
/// Kind of an image.
pub const KIND_IMAGE: u64 = 17;
/// Kind of a program.
pub const KIND_PROGRAM: u64 = 18;

/// A typed reference from one object to another.
pub type Link = (Domain, Id);

/// Where objects come from. An implementation returns only bytes that it has verified against the id.
pub trait Objects {
    /// The bytes of an object.
    ///
    /// # Errors
    /// If it is missing, damaged or cannot be read.
    fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError>;
}

/// No objects at all: for values that are complete in memory.
#[derive(Debug, Clone, Copy)]
pub struct NoObjects;

impl Objects for NoObjects {
    fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
        Err(LoadError::Missing { domain, id: *id })
    }
}

/// An object could not be had.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It is not in the store.
    #[error("object {id} ({domain:?}) is missing")]
    Missing {
        /// Its domain.
        domain: Domain,
        /// Its id.
        id: Id,
    },
    /// Its bytes are not what its id says.
    #[error("object {id} is damaged")]
    Damaged {
        /// Its id.
        id: Id,
        /// How that shows.
        source: IdError,
    },
    /// Its bytes are what its id says, and still not an object of the expected kind.
    #[error("object {id} is malformed")]
    Malformed {
        /// Its id.
        id: Id,
        /// Where and how.
        source: CborError,
    },
    /// The store failed.
    #[error("reading object {id} failed")]
    Store {
        /// Its id.
        id: Id,
        /// Whether that shows damage of the store.
        is_damage: bool,
        /// How.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl LoadError {
    /// Which object.
    #[must_use]
    pub fn id(&self) -> &Id {
        match self {
            Self::Missing { id, .. }
            | Self::Damaged { id, .. }
            | Self::Malformed { id, .. }
            | Self::Store { id, .. } => id,
        }
    }

    /// Whether the store is damaged, as against momentarily out of reach.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::Store { is_damage: false, .. })
    }
}

/// A blob's encoding.
#[must_use]
pub fn encode_blob(bytes: &[u8]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(bytes.len() + 12);
    writer.array(2).uint(KIND_BLOB).bytes(bytes);
    writer.finish()
}

/// The id of a blob of so many bytes, once they have been added.
#[must_use]
pub fn blob_hasher(length: u64) -> Hasher {
    let mut head = Writer::new();
    head.array(2).uint(KIND_BLOB).bytes_head(length);
    let mut hasher = Hasher::new(Domain::Object);
    hasher.update(&head.finish());
    hasher
}

/// The bytes in a blob.
///
/// # Errors
/// If `encoding` is not a blob.
pub fn decode_blob(encoding: &[u8]) -> Result<&[u8], CborError> {
    let mut reader = Reader::new(encoding);
    reader.array_of(2)?;
    expect_kind(&mut reader, KIND_BLOB)?;
    let bytes = reader.bytes()?;
    reader.end()?;
    Ok(bytes)
}

/// Loads a blob's bytes.
///
/// # Errors
/// If it cannot be had or is not a blob.
pub fn load_blob(objects: &dyn Objects, id: &Id) -> Result<Vec<u8>, LoadError> {
    let encoding = objects.load(Domain::Object, id)?;
    decode_blob(&encoding).map(<[u8]>::to_vec).map_err(|source| LoadError::Malformed { id: *id, source })
}

/// The kind an encoding claims to have.
///
/// # Errors
/// If it is not an array that starts with a number.
pub fn kind(encoding: &[u8]) -> Result<u64, CborError> {
    let mut reader = Reader::new(encoding);
    reader.array()?;
    reader.uint()
}

/// What an object refers to, in order. Fully decodes it, so an object with links known is an object that is well formed.
///
/// # Errors
/// If the bytes are not an object of the domain.
pub fn links(domain: Domain, bytes: &[u8]) -> Result<Vec<Link>, CborError> {
    let unknown = CborError { at: 0, fault: Fault::Rule("unknown kind of object") };
    match domain {
        Domain::Page if bytes.len() != PAGE_BYTES => {
            Err(CborError { at: bytes.len(), fault: Fault::Rule("a page has 4096 bytes") })
        }
        // Were it allowed, equal memories could have different roots.
        Domain::Page if bytes == ZERO => {
            Err(CborError { at: 0, fault: Fault::Rule("an all-zero page is never stored") })
        }
        Domain::Page => Ok(Vec::new()),
        Domain::Node => match kind(bytes)? {
            KIND_TREE_NODE => TreeNode::decode(bytes).map(|node| node.links()),
            KIND_TRIE_BRANCH | KIND_TRIE_BUCKET => TrieNode::decode(bytes).map(|node| node.links()),
            _ => Err(unknown),
        },
        Domain::Object => match kind(bytes)? {
            KIND_BLOB => decode_blob(bytes).map(|_| Vec::new()),
            KIND_IMAGE => Image::decode(bytes).map(|image| image.links()),
            KIND_PROGRAM => Program::decode(bytes).map(|program| program.links()),
            _ => Err(unknown),
        },
    }
}

pub(crate) fn expect_kind(reader: &mut Reader<'_>, kind: u64) -> Result<(), CborError> {
    let at = reader.position();
    if reader.uint()? == kind {
        Ok(())
    } else {
        Err(CborError { at, fault: Fault::Rule("another kind of object was expected") })
    }
}
