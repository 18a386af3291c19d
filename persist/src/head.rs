//! The `head` file: what was last acknowledged, kept beside the store so that a store that is older shows.
//!
//! LMDB can be led back to an older state by one flipped bit or one stale copy of its file, and would not notice. After each
//! commit the [`Head`] is written here, without a sync: a crash of the process loses nothing, a power cut may lose the newest
//! heads, so that a head *older* than the store is normal and a store older than its head is damage. The caller compares.
//!
//! Two slots are written alternately, each one disk sector, so that a torn write leaves the other slot whole.
//!
//! ```text
//! file: slot at 0, slot at 512; each, little-endian:
//!     0  8 bytes  magic "abidhead"
//!     8  u32      version, 1
//!    12  u32      zero
//!    16  u64      counter: the number of this commit in the store, only ever growing
//!    24  u64      seq: the sequence number reached
//!    32  u16      length of the batch id          34  u16  length of the root
//!    36  u32      zero
//!    40  128 bytes  batch id, zeros after it
//!   168  128 bytes  root, zeros after it
//!   296  184 bytes  zero
//!   480  32 bytes   BLAKE3 of bytes 0..480
//! ```
//!
//! This module never syncs, never repairs and never decides what a difference means.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file's name in a machine folder.
pub const HEAD_FILE: &str = "head";

/// The longest id a slot holds. Ids are multihashes, not necessarily of 32 bytes.
pub const ID_BYTES_MAX: usize = 128;

const SLOT_BYTES: usize = 512;
const FILE_BYTES: usize = 2 * SLOT_BYTES;
const MAGIC: &[u8; 8] = b"abidhead";
const VERSION: u32 = 1;
const BATCH_AT: usize = 40;
const ROOT_AT: usize = BATCH_AT + ID_BYTES_MAX;
const CHECKSUM_AT: usize = SLOT_BYTES - 32;
const _: () = assert!(ROOT_AT + ID_BYTES_MAX <= CHECKSUM_AT);

/// What was last acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The number of the commit in its store; every commit of any branch has a greater one than those before.
    pub counter: u64,
    /// The sequence number it reached.
    pub seq: u64,
    /// The id of its log batch.
    pub batch: Vec<u8>,
    /// The root it reached.
    pub root: Vec<u8>,
}

/// Where a head is kept: a file, or a model of one in tests.
pub trait HeadDisk: Send {
    /// All bytes.
    ///
    /// # Errors
    /// What the system says.
    fn read_all(&mut self) -> io::Result<Vec<u8>>;

    /// Replaces bytes at an offset, without a sync.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

impl HeadDisk for File {
    fn read_all(&mut self) -> io::Result<Vec<u8>> {
        // A head of any other length is wrong; one byte more than it should have is enough to see it.
        let mut bytes = vec![0; FILE_BYTES + 1];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read_at(&mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }
}

/// What was attempted with a head and failed.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// There is no head file.
    #[error("{} is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Neither slot is whole.
    #[error("{} is damaged: neither slot is whole", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer version of abide.
    #[error("{} has format version {found}, this version reads up to {VERSION}", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Reading failed.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The caller's mistake: a counter that does not grow, or an id that does not fit.
    #[error("not a head that can follow commit {last}: commit {counter}, ids of {batch} and {root} bytes")]
    NotNext {
        /// The counter of the newest head.
        last: u64,
        /// The counter that was to be written.
        counter: u64,
        /// Length of the batch id.
        batch: usize,
        /// Length of the root.
        root: usize,
    },
}

impl HeadError {
    /// Whether what is on disk is not what was written.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, HeadError::Missing { .. } | HeadError::Damaged { .. })
    }
}

/// An open head file.
#[derive(Debug)]
pub struct HeadFile<D = File> {
    disk: D,
    path: PathBuf,
    newest: Head,
    newest_slot: usize,
}

impl HeadFile<File> {
    /// Makes the head file of a new machine folder. The folder's own creation syncs it.
    ///
    /// # Errors
    /// [`HeadError::Write`], also when there is one already.
    pub fn create(folder: &Path, head: &Head) -> Result<HeadFile, HeadError> {
        let path = folder.join(HEAD_FILE);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|source| HeadError::Write { path: path.clone(), source })?;
        HeadFile::create_on(file, path, head)
    }

    /// Opens the head file of a machine folder for writing.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn open(folder: &Path) -> Result<HeadFile, HeadError> {
        let path = folder.join(HEAD_FILE);
        let file = open_file(OpenOptions::new().read(true).write(true), &path)?;
        HeadFile::open_on(file, path)
    }
}

/// Reads the head of a machine folder, which another process may be writing.
///
/// # Errors
/// [`HeadError`].
pub fn read(folder: &Path) -> Result<Head, HeadError> {
    let path = folder.join(HEAD_FILE);
    let file = open_file(OpenOptions::new().read(true), &path)?;
    Ok(HeadFile::open_on(file, path)?.newest)
}

/// The slots that are whole, the newest first, whatever else has become of the file.
#[must_use]
pub fn believable(folder: &Path) -> Vec<Head> {
    let bytes = File::open(folder.join(HEAD_FILE)).and_then(|mut file| HeadDisk::read_all(&mut file));
    let bytes = bytes.unwrap_or_default();
    let whole = bytes.chunks_exact(SLOT_BYTES).filter_map(|slot| match decode(slot) {
        Slot::Whole(head) => Some(head),
        Slot::TooNew(_) | Slot::Broken => None,
    });
    let mut whole: Vec<Head> = whole.collect();
    whole.sort_by_key(|head| std::cmp::Reverse(head.counter));
    whole
}

fn open_file(options: &OpenOptions, path: &Path) -> Result<File, HeadError> {
    let path = || path.to_owned();
    options.open(path()).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => HeadError::Missing { path: path() },
        _ => HeadError::Read { path: path(), source },
    })
}

impl<D: HeadDisk> HeadFile<D> {
    /// Writes a first head to an empty `disk`. `path` is for messages.
    ///
    /// # Errors
    /// [`HeadError::Write`] and [`HeadError::NotNext`].
    pub fn create_on(mut disk: D, path: PathBuf, head: &Head) -> Result<HeadFile<D>, HeadError> {
        check(0, head)?;
        let mut bytes = vec![0; FILE_BYTES];
        bytes[..SLOT_BYTES].copy_from_slice(&encode(head));
        disk.write_at(0, &bytes).map_err(|source| HeadError::Write { path: path.clone(), source })?;
        Ok(HeadFile { disk, path, newest: head.clone(), newest_slot: 0 })
    }

    /// Reads the newest whole slot of `disk`. `path` is for messages.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn open_on(mut disk: D, path: PathBuf) -> Result<HeadFile<D>, HeadError> {
        let bytes = disk.read_all().map_err(|source| HeadError::Read { path: path.clone(), source })?;
        if bytes.len() != FILE_BYTES {
            return Err(HeadError::Damaged { path });
        }
        let mut newest: Option<(usize, Head)> = None;
        for (slot, bytes) in bytes.chunks_exact(SLOT_BYTES).enumerate() {
            match decode(bytes) {
                Slot::Whole(head) if newest.as_ref().is_none_or(|(_, other)| other.counter < head.counter) => {
                    newest = Some((slot, head));
                }
                Slot::TooNew(found) => return Err(HeadError::TooNew { path, found }),
                Slot::Whole(_) | Slot::Broken => {}
            }
        }
        let (newest_slot, newest) = newest.ok_or_else(|| HeadError::Damaged { path: path.clone() })?;
        Ok(HeadFile { disk, path, newest, newest_slot })
    }

    /// The newest head.
    #[must_use]
    pub fn newest(&self) -> &Head {
        &self.newest
    }

    /// Records `head` over the older of the two slots. Call it after the commit it names is durable.
    ///
    /// # Errors
    /// [`HeadError::Write`] and [`HeadError::NotNext`]; the newest head is then what it was.
    pub fn write(&mut self, head: &Head) -> Result<(), HeadError> {
        check(self.newest.counter + 1, head)?;
        let slot = 1 - self.newest_slot;
        let offset = (slot * SLOT_BYTES) as u64;
        self.disk
            .write_at(offset, &encode(head))
            .map_err(|source| HeadError::Write { path: self.path.clone(), source })?;
        self.newest.clone_from(head);
        self.newest_slot = slot;
        Ok(())
    }
}

fn check(least: u64, head: &Head) -> Result<(), HeadError> {
    let (batch, root) = (head.batch.len(), head.root.len());
    if head.counter < least || batch > ID_BYTES_MAX || root > ID_BYTES_MAX {
        return Err(HeadError::NotNext { last: least.saturating_sub(1), counter: head.counter, batch, root });
    }
    Ok(())
}

fn encode(head: &Head) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let mut set = |at: usize, bytes: &[u8]| slot[at..at + bytes.len()].copy_from_slice(bytes);
    // `check` has bounded both lengths by ID_BYTES_MAX.
    let length = |id: &[u8]| u16::try_from(id.len()).unwrap_or(u16::MAX).to_le_bytes();
    set(0, MAGIC);
    set(8, &VERSION.to_le_bytes());
    set(16, &head.counter.to_le_bytes());
    set(24, &head.seq.to_le_bytes());
    set(32, &length(&head.batch));
    set(34, &length(&head.root));
    set(BATCH_AT, &head.batch);
    set(ROOT_AT, &head.root);
    let checksum = blake3::hash(&slot[..CHECKSUM_AT]);
    slot[CHECKSUM_AT..].copy_from_slice(checksum.as_bytes());
    slot
}

enum Slot {
    Whole(Head),
    TooNew(u32),
    Broken,
}

fn decode(slot: &[u8]) -> Slot {
    if &slot[..8] != MAGIC || blake3::hash(&slot[..CHECKSUM_AT]) != slot[CHECKSUM_AT..] {
        return Slot::Broken;
    }
    let version = u32::from_le_bytes([slot[8], slot[9], slot[10], slot[11]]);
    if version > VERSION {
        return Slot::TooNew(version);
    }
    let number = |at: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&slot[at..at + 8]);
        u64::from_le_bytes(eight)
    };
    let id = |length_at: usize, at: usize| {
        let length = usize::from(u16::from_le_bytes([slot[length_at], slot[length_at + 1]]));
        (length <= ID_BYTES_MAX).then(|| slot[at..at + length].to_vec())
    };
    match (id(32, BATCH_AT), id(34, ROOT_AT)) {
        (Some(batch), Some(root)) => {
            let head = Head { counter: number(16), seq: number(24), batch, root };
            // One head, one encoding: whatever should be zero is.
            if encode(&head) == slot { Slot::Whole(head) } else { Slot::Broken }
        }
        _ => Slot::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::ModelDisk;

    fn head(counter: u64) -> Head {
        Head { counter, seq: counter * 10, batch: vec![7; 34], root: vec![counter.to_le_bytes()[0]; 34] }
    }

    #[test]
    fn the_newest_slot_wins_and_survives_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = HeadFile::create(folder.path(), &head(1)).unwrap();
        assert_eq!(read(folder.path()).unwrap(), head(1));
        for counter in 2..9 {
            file.write(&head(counter)).unwrap();
            assert_eq!(read(folder.path()).unwrap(), head(counter));
        }
        drop(file);
        let mut file = HeadFile::open(folder.path()).unwrap();
        file.write(&head(100)).unwrap();
        assert_eq!(HeadFile::open(folder.path()).unwrap().newest(), &head(100));
    }

    #[test]
    fn a_counter_that_does_not_grow_and_an_id_that_does_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = HeadFile::create(folder.path(), &head(5)).unwrap();
        let long = Head { counter: 6, batch: vec![0; ID_BYTES_MAX + 1], ..Head::default() };
        let texts: Vec<String> =
            [head(5), head(4), long].iter().map(|head| file.write(head).unwrap_err().to_string()).collect();
        assert_eq!(
            texts,
            [
                "not a head that can follow commit 5: commit 5, ids of 34 and 34 bytes",
                "not a head that can follow commit 5: commit 4, ids of 34 and 34 bytes",
                "not a head that can follow commit 5: commit 6, ids of 129 and 0 bytes",
            ]
        );
        assert_eq!(file.newest(), &head(5));
    }

    #[test]
    fn every_flipped_bit_leaves_the_older_or_the_newer_head_and_two_leave_damage() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = HeadFile::create(folder.path(), &head(1)).unwrap();
        file.write(&head(2)).unwrap();
        let path = folder.path().join(HEAD_FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bytes).unwrap();
            let expected = if bit / 8 < SLOT_BYTES { 2 } else { 1 };
            assert_eq!(read(folder.path()).unwrap(), head(expected), "bit {bit}");
            bytes[(bit / 8) ^ SLOT_BYTES] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(read(folder.path()).unwrap_err().is_damage());
        }
        for length in (0..whole.len()).step_by(31) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(read(folder.path()).unwrap_err().is_damage());
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read(folder.path()), Err(HeadError::Missing { .. })));
    }

    #[test]
    fn a_newer_version_is_named_and_not_called_damage() {
        let folder = tempfile::tempdir().unwrap();
        HeadFile::create(folder.path(), &head(1)).unwrap();
        let path = folder.path().join(HEAD_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8] = 9;
        let checksum = blake3::hash(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..SLOT_BYTES].copy_from_slice(checksum.as_bytes());
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(read(folder.path()), Err(HeadError::TooNew { found: 9, .. })));
    }

    #[test]
    fn stored_bytes_do_not_change() {
        let bytes = encode(&Head { counter: 1, seq: 2, batch: vec![3; 34], root: vec![4; 34] });
        assert_eq!(&bytes[..16], b"abidhead\x01\0\0\0\0\0\0\0");
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), GOLDEN);
    }

    const GOLDEN: &str = "c37bfcdbf3ddb3437a30eefd62b62d96af1bbd5763186ba77116aabd68afcf52";

    /// Power cuts lose, tear and reorder what was not synced: the head may be older than the last write, never anything else.
    #[test]
    fn whatever_a_power_cut_leaves_is_some_head_that_was_written() {
        for seed in 0..500 {
            let disk = ModelDisk::new(seed);
            let mut file = HeadFile::create_on(disk.head(), HEAD_FILE.into(), &head(1)).unwrap();
            disk.sync_head();
            for counter in 2..2 + seed % 7 {
                file.write(&head(counter)).unwrap();
            }
            disk.cut_power();
            match HeadFile::open_on(disk.head(), HEAD_FILE.into()) {
                Ok(file) => {
                    let counter = file.newest().counter;
                    assert!((1..2 + seed % 7).contains(&counter));
                    assert_eq!(file.newest(), &head(counter));
                }
                // Only a tear inside a sector can hurt both slots, and the model tears at sector boundaries, as disks do.
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
    }
}
