//! Packs: the one file format in which machines travel. A program seed, a saved machine and an incremental transfer are all packs.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic `abidepk` and the format version, 1 |
//! | 8 | domain of the root |
//! | 9 | length of the root id in bytes |
//! | 10.. | root id |
//! | .. | one zstd frame (level 3, no checksum): objects, each `domain (1), length (4, little-endian), bytes` |
//! | last 34 | id of all bytes before, as an object |
//!
//! Objects come in dependency order, each once: an object's links are all before it, so no cycle can be expressed, and the root is
//! the last; every other object is linked by a later one. A pack may omit what its receiver has, though never its root. The same objects always make the same bytes (with the same zstd).

use std::collections::HashSet;
use std::error::Error as StdError;
use std::io::{self, Read, Write};

use thiserror::Error;

use crate::cbor::CborError;
use crate::id::Hasher;
use crate::object::{Link, LoadError, Objects, links};
use crate::{Domain, Id};

const MAGIC: &[u8; 7] = b"abidepk";
/// The version of the format that this crate writes, and the highest it reads.
pub const VERSION: u8 = 1;
const ZSTD_LEVEL: i32 = 3;
/// The largest window a frame may ask the reader to hold: 2^27 bytes.
const WINDOW_LOG_MAX: u32 = 27;
const CHECKSUM_BYTES: usize = 34;

/// Writing a pack failed.
#[derive(Debug, Error)]
pub enum WriteError {
    /// An object could not be had.
    #[error("collecting the objects of a pack failed")]
    Load(#[from] LoadError),
    /// The destination failed.
    #[error("writing a pack failed")]
    Write(#[from] io::Error),
}

/// Why a receiver refuses an object.
pub type SinkError = Box<dyn StdError + Send + Sync>;

/// Reading a pack failed.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It does not start like a pack.
    #[error("not a seed: it does not start with the mark of one")]
    NotAPack,
    /// It was written by a newer version.
    #[error("this seed has format {found}; this version reads up to {VERSION}")]
    Newer {
        /// Its format.
        found: u8,
    },
    /// Its header makes no sense, though its checksum matches.
    #[error("the seed's header is malformed")]
    Header,
    /// Its checksum is wrong.
    #[error("the seed is damaged or cut short: its checksum does not match")]
    Checksum,
    /// It cannot be decompressed.
    #[error("decompressing a seed failed")]
    Compression(#[source] io::Error),
    /// It ends before its root.
    #[error("the seed ends before its root object {root}")]
    NoRoot {
        /// The root it announces.
        root: Id,
    },
    /// It holds something of a kind that this version does not know.
    #[error("the seed holds something of unknown domain {number}")]
    Domain {
        /// What stands for the domain.
        number: u8,
    },
    /// Something follows the root.
    #[error("the seed has data after its root object")]
    Trailing,
    /// It holds more than the reader takes.
    #[error("the seed holds more than {bytes_max} bytes")]
    TooLarge {
        /// How much the reader takes.
        bytes_max: u64,
    },
    /// An object in it is not one.
    #[error("object {id} in the seed is malformed")]
    Malformed {
        /// Which.
        id: Id,
        /// How.
        source: CborError,
    },
    /// An object comes before something it needs, twice, or unasked.
    #[error("object {id} in the seed is out of place: {why}")]
    Order {
        /// Which.
        id: Id,
        /// What is wrong about its place.
        why: &'static str,
    },
    /// The receiver refused an object.
    #[error("storing an object of the seed failed")]
    Sink(#[source] SinkError),
}

/// Writes everything `root` needs, except what the receiver has. The root itself is always written: it is how a pack ends.
///
/// # Errors
/// If an object is missing or damaged, or `out` fails.
pub fn write<W: Write>(
    root: Link,
    objects: &dyn Objects,
    receiver_has: &dyn Fn(&Link) -> bool,
    out: W,
) -> Result<W, WriteError> {
    let mut out = Hashing { inner: out, hasher: Hasher::new(Domain::Object) };
    let id = root.1.as_bytes();
    out.write_all(MAGIC)?;
    let id_length = u8::try_from(id.len()).map_err(io::Error::other)?;
    out.write_all(&[VERSION, root.0.number(), id_length])?;
    out.write_all(id)?;
    let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL)?;
    let omit = |link: &Link| *link != root && receiver_has(link);
    walk(root, objects, &omit, &mut |(domain, _), bytes| {
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("an object over 4 GiB"))?;
        encoder.write_all(&[domain.number()])?;
        encoder.write_all(&length.to_le_bytes())?;
        encoder.write_all(bytes)?;
        Ok(())
    })?;
    let Hashing { mut inner, hasher } = encoder.finish()?;
    inner.write_all(hasher.finish().as_bytes())?;
    inner.flush()?;
    Ok(inner)
}

/// What [`walk`] calls with an object and its bytes.
pub type Visit<'a> = dyn FnMut(Link, &[u8]) -> Result<(), WriteError> + 'a;

/// Visits everything that `root` needs and `skip` does not stop at, children before parents, each object once.
///
/// # Errors
/// If an object is missing or damaged, or `visit` fails.
pub fn walk(
    root: Link,
    objects: &dyn Objects,
    skip: &dyn Fn(&Link) -> bool,
    visit: &mut Visit<'_>,
) -> Result<(), WriteError> {
    enum Task {
        Enter(Link),
        Leave(Link, Vec<u8>),
    }
    let mut seen = HashSet::new();
    let mut tasks = vec![Task::Enter(root)];
    while let Some(task) = tasks.pop() {
        match task {
            Task::Leave(link, bytes) => visit(link, &bytes)?,
            Task::Enter(link) if skip(&link) || !seen.insert(link) => {}
            Task::Enter(link) => {
                let bytes = objects.load(link.0, &link.1)?;
                let children = links(link.0, &bytes).map_err(|source| LoadError::Malformed { id: link.1, source })?;
                tasks.push(Task::Leave(link, bytes));
                tasks.extend(children.into_iter().rev().map(Task::Enter));
            }
        }
    }
    Ok(())
}

/// Hashes what passes through, for the checksum at the end.
struct Hashing<W> {
    inner: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Whether `bytes` start like a pack.
#[must_use]
pub fn is_pack(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads a pack and hands every object, proven against its id and well formed, to `sink`. Returns the root.
///
/// `bytes_max` bounds the sum of the objects' sizes; `receiver_has` tells what an incremental pack may refer to without bringing it.
///
/// # Errors
/// If the pack is not one, is damaged, malformed, incomplete or too large, or `sink` fails. What the sink got until then is sound in
/// itself, but the root is not complete.
pub fn read(
    pack: &[u8],
    bytes_max: u64,
    receiver_has: &dyn Fn(&Link) -> bool,
    sink: &mut dyn FnMut(Link, Vec<u8>) -> Result<(), SinkError>,
) -> Result<Link, ReadError> {
    let (root, frame) = open(pack)?;
    let mut decoder = zstd::Decoder::with_buffer(frame).map_err(ReadError::Compression)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(ReadError::Compression)?;
    let mut left = bytes_max;
    let mut seen = HashSet::new();
    // What nothing after it has needed yet: only the root may be left, so a pack brings nothing unasked.
    let mut unneeded = HashSet::new();
    loop {
        let mut head = [0; 5];
        if !read_head(&mut decoder, &mut head)? {
            return Err(ReadError::NoRoot { root: root.1 });
        }
        let domain = Domain::from_number(head[0]).ok_or(ReadError::Domain { number: head[0] })?;
        let length = u64::from(u32::from_le_bytes([head[1], head[2], head[3], head[4]]));
        left = left.checked_sub(length).ok_or(ReadError::TooLarge { bytes_max })?;
        let mut bytes = Vec::new();
        decoder.by_ref().take(length).read_to_end(&mut bytes).map_err(ReadError::Compression)?;
        if bytes.len() as u64 != length {
            return Err(ReadError::NoRoot { root: root.1 });
        }
        let link = (domain, Id::of(domain, &bytes));
        let children = links(domain, &bytes).map_err(|source| ReadError::Malformed { id: link.1, source })?;
        if children.iter().any(|child| !seen.contains(child) && !receiver_has(child)) {
            return Err(ReadError::Order { id: link.1, why: "it needs an object that has not come" });
        }
        if !seen.insert(link) {
            return Err(ReadError::Order { id: link.1, why: "it came before" });
        }
        sink(link, bytes).map_err(ReadError::Sink)?;
        children.iter().for_each(|child| {
            unneeded.remove(child);
        });
        if link == root {
            break;
        }
        unneeded.insert(link);
    }
    if let Some((_, id)) = unneeded.into_iter().min() {
        return Err(ReadError::Order { id, why: "nothing after it needs it" });
    }
    let mut rest = [0; 1];
    let more = decoder.read(&mut rest).map_err(ReadError::Compression)? > 0;
    if more || !decoder.finish().is_empty() {
        return Err(ReadError::Trailing);
    }
    Ok(root)
}

/// The root a pack announces, after its checksum has been checked.
///
/// # Errors
/// If it is not a pack, or damaged.
pub fn root(pack: &[u8]) -> Result<Link, ReadError> {
    open(pack).map(|(root, _)| root)
}

fn open(pack: &[u8]) -> Result<(Link, &[u8]), ReadError> {
    let rest = pack.strip_prefix(MAGIC).ok_or(ReadError::NotAPack)?;
    let (&version, rest) = rest.split_first().ok_or(ReadError::Checksum)?;
    match version {
        0 => return Err(ReadError::NotAPack),
        VERSION => {}
        found => return Err(ReadError::Newer { found }),
    }
    let body = pack.len().checked_sub(CHECKSUM_BYTES).ok_or(ReadError::Checksum)?;
    let checksum = Id::from_bytes(&pack[body..]).ok_or(ReadError::Checksum)?;
    checksum.verify(Domain::Object, &pack[..body]).map_err(|_| ReadError::Checksum)?;
    let rest = rest.get(..rest.len().saturating_sub(CHECKSUM_BYTES)).ok_or(ReadError::Checksum)?;
    let [domain, length, rest @ ..] = rest else { return Err(ReadError::Checksum) };
    let domain = Domain::from_number(*domain).ok_or(ReadError::Header)?;
    let (id, frame) = rest.split_at_checked(usize::from(*length)).ok_or(ReadError::Header)?;
    let id = Id::from_bytes(id).ok_or(ReadError::Header)?;
    Ok(((domain, id), frame))
}

/// Fills `head`; false at a clean end.
fn read_head(decoder: &mut impl Read, head: &mut [u8; 5]) -> Result<bool, ReadError> {
    let mut filled = 0;
    while filled < head.len() {
        match decoder.read(&mut head[filled..]).map_err(ReadError::Compression)? {
            0 => return Ok(false),
            count => filled += count,
        }
    }
    Ok(true)
}
