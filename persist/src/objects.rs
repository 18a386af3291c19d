//! Objects in a store: how their bytes are framed, and the promise that what comes back is what its id names.
//!
//! An object is stored under its id. The frame is chosen so that no value has a size that wastes a page
//! ([`crate::store::VALUE_BYTES_AVOIDED`]):
//!
//! | bytes | what |
//! |---|---|
//! | 0 | domain (bits 0..4) and codec (bits 4..8) |
//! | 1.. | codec 0: the bytes; 1: one zstd frame; 2: length (2, little-endian), the bytes, zeros up to 4097 |

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use seed::object::Objects;
use seed::page::PAGE_BYTES;
use seed::{Domain, Id, LoadError};
use thiserror::Error;

use crate::planted::{Bug, is_planted};
use crate::store::{Reader, Store, Table, VALUE_BYTES_AVOIDED, Writes};

/// Level 1: reference measurements give 1 % less space for 10 % less speed at level 3.
const ZSTD_LEVEL: i32 = 1;
/// The largest object that is read back: code, genesis or a payload of the largest size a limit allows.
const OBJECT_BYTES_MAX: usize = (1 << 30) + (1 << 16);
/// No tree or trie node comes near it.
const NODE_BYTES_MAX: usize = 1 << 28;
const PADDED_BYTES: usize = 4097;
/// Shorter objects are not worth a zstd frame: setting one up takes longer than writing the bytes.
const COMPRESS_BYTES_MIN: usize = 512;

/// No object and no batch is nested deeper.
const CONTENT_DEPTH_MAX: usize = 16;

const RAW: u8 = 0;
const ZSTD: u8 = 1;
const PADDED: u8 = 2;

/// A frame does not hold an object.
#[derive(Debug, Error)]
pub enum FrameError {
    /// It is empty, or its first byte means nothing.
    #[error("the stored frame has an unknown form")]
    Form,
    /// It should hold another kind of bytes.
    #[error("the stored frame holds bytes of another domain")]
    Domain,
    /// Its compressed content is damaged or too large.
    #[error("the stored frame cannot be decompressed")]
    Compression(#[source] std::io::Error),
}

/// The objects of one store, verified as they are read.
#[derive(Clone)]
pub struct Shelf {
    store: Arc<dyn Store>,
}

impl Shelf {
    /// The objects of `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The store underneath.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

impl Objects for Shelf {
    fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
        load(self.store.as_ref(), domain, id)
    }
}

/// Reads one object, proven against its id.
///
/// # Errors
/// If it is missing, damaged, or the store fails.
pub fn load(reader: &(impl Reader + ?Sized), domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
    let mut unframed = None;
    let found = reader.get_with(Table::Objects, id.as_bytes(), &mut |frame| unframed = Some(unframe(domain, frame)));
    match (found, unframed) {
        (Err(source), _) => Err(LoadError::Store { id: *id, is_damage: source.is_damage(), source: Box::new(source) }),
        (Ok(_), None) => Err(LoadError::Missing { domain, id: *id }),
        (Ok(_), Some(Ok(bytes))) => match id.verify(domain, &bytes) {
            Err(source) if !is_planted(Bug::UncheckedRead) => Err(LoadError::Damaged { id: *id, source }),
            _ => Ok(bytes),
        },
        // Whatever is wrong with the frame: the bytes are not those of the id.
        (Ok(_), Some(Err(_))) => Err(LoadError::Damaged {
            id: *id,
            source: seed::id::IdError::Mismatch { expected: *id, found: Id::of(Domain::Object, &[]) },
        }),
    }
}

/// Frames objects for writing; keeps the compressor between calls.
pub struct Framer {
    compressor: Mutex<zstd::bulk::Compressor<'static>>,
}

impl Framer {
    /// A new one.
    ///
    /// # Errors
    /// If zstd has no memory for a compressor.
    pub fn new() -> Result<Self, std::io::Error> {
        Ok(Self { compressor: Mutex::new(zstd::bulk::Compressor::new(ZSTD_LEVEL)?) })
    }

    /// Adds an object to what is about to be committed.
    pub fn put(&self, writes: &mut Writes, domain: Domain, id: &Id, bytes: &[u8]) {
        writes.put(Table::Objects, id.as_bytes().to_vec(), self.frame(domain, bytes));
    }

    /// The frame of some bytes.
    #[must_use]
    pub fn frame(&self, domain: Domain, bytes: &[u8]) -> Vec<u8> {
        let tag = |codec: u8| domain.number() | codec << 4;
        if bytes.len() >= COMPRESS_BYTES_MIN {
            let mut compressor = self.compressor.lock().unwrap_or_else(PoisonError::into_inner);
            // Compression only fails for want of memory; the raw form is always right.
            if let Ok(compressed) = compressor.compress(bytes)
                && compressed.len() < bytes.len()
                && !VALUE_BYTES_AVOIDED.contains(&(compressed.len() + 1))
            {
                return [&[tag(ZSTD)], compressed.as_slice()].concat();
            }
        }
        if !VALUE_BYTES_AVOIDED.contains(&(bytes.len() + 1)) {
            return [&[tag(RAW)], bytes].concat();
        }
        let mut frame = Vec::with_capacity(PADDED_BYTES + 2);
        frame.push(tag(PADDED));
        frame.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes());
        frame.extend_from_slice(bytes);
        frame.resize(frame.len().max(PADDED_BYTES), 0);
        frame
    }
}

/// The bytes in a frame. They are not yet proven to be anything.
///
/// # Errors
/// If the frame is malformed.
pub fn unframe(domain: Domain, frame: &[u8]) -> Result<Vec<u8>, FrameError> {
    let (&tag, body) = frame.split_first().ok_or(FrameError::Form)?;
    if tag & 15 != domain.number() {
        return Err(FrameError::Domain);
    }
    match tag >> 4 {
        RAW => Ok(body.to_vec()),
        ZSTD => decompress(domain, body).map_err(FrameError::Compression),
        PADDED => {
            let (length, rest) = body.split_first_chunk::<2>().ok_or(FrameError::Form)?;
            let length = usize::from(u16::from_le_bytes(*length));
            rest.get(..length).map(<[u8]>::to_vec).ok_or(FrameError::Form)
        }
        _ => Err(FrameError::Form),
    }
}

/// How long the frame is that some bytes begin with, where nothing else says it.
#[must_use]
pub fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let (&tag, body) = bytes.split_first()?;
    let domain = domain_of(bytes)?;
    let content = match tag >> 4 {
        ZSTD => zstd::zstd_safe::find_frame_compressed_size(body).ok()?,
        RAW if domain == Domain::Page => PAGE_BYTES,
        RAW => {
            let mut reader = seed::cbor::Reader::new(body);
            reader.item(CONTENT_DEPTH_MAX).ok()?;
            reader.position()
        }
        PADDED => PADDED_BYTES - 1,
        _ => return None,
    };
    (content <= body.len()).then_some(content + 1)
}

/// The domain that a frame claims to hold bytes of.
#[must_use]
pub fn domain_of(frame: &[u8]) -> Option<Domain> {
    Domain::from_number(frame.first()? & 15)
}

fn decompress(domain: Domain, frame: &[u8]) -> std::io::Result<Vec<u8>> {
    let bytes_max = match domain {
        Domain::Page => PAGE_BYTES,
        Domain::Node => NODE_BYTES_MAX,
        Domain::Object => OBJECT_BYTES_MAX,
    };
    let claimed = zstd::zstd_safe::get_frame_content_size(frame)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .filter(|&size| size <= bytes_max)
        .ok_or_else(|| std::io::Error::other("the frame claims an impossible size"))?;
    // zstd cannot make more than about 2^17 times of what it is given, so a small frame cannot claim a large buffer.
    if claimed / (1 << 18) > frame.len() {
        return Err(std::io::Error::other("the frame claims an impossible size"));
    }
    thread_local! {
        // Setting one up takes as long as decompressing two pages.
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    DECOMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(decompressor) => decompressor.decompress(frame, claimed),
        None => kept.insert(zstd::bulk::Decompressor::new()?).decompress(frame, claimed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cheap noise that does not compress.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[7]
            })
            .collect()
    }

    #[test]
    fn frames_read_back_and_never_waste_a_page() {
        let framer = Framer::new().unwrap();
        for length in [0, 1, 63, 64, 1000, 4078, 4079, 4080, 4081, 4095, 4096, 4097, 8176, 100_000] {
            for bytes in [noise(length), vec![7; length]] {
                let frame = framer.frame(Domain::Object, &bytes);
                assert!(!VALUE_BYTES_AVOIDED.contains(&frame.len()), "{length} bytes make a frame of {}", frame.len());
                assert_eq!(unframe(Domain::Object, &frame).unwrap(), bytes);
                assert!(unframe(Domain::Page, &frame).is_err());
                // Only what says itself how long it is can be told from what follows.
                let blob = framer.frame(Domain::Object, &seed::object::encode_blob(&bytes));
                assert_eq!(frame_bytes(&[&blob, &[9; 40][..]].concat()), Some(blob.len()));
                assert_eq!(domain_of(&frame), Some(Domain::Object));
            }
        }
    }

    #[test]
    fn no_damaged_frame_panics_or_explodes() {
        let framer = Framer::new().unwrap();
        let frame = framer.frame(Domain::Page, &[vec![3; 2000], noise(96), vec![0; 2000]].concat());
        for position in 0..frame.len() {
            let mut altered = frame.clone();
            altered[position] ^= 0x10;
            let _ = unframe(Domain::Page, &altered);
            let _ = unframe(Domain::Page, &frame[..position]);
        }
    }
}
