//! The store of one machine: four ordered tables of bytes and one value besides, the tip, changed by atomic, durable commits.
//!
//! This module owns the words every layer above uses to reach the disk: [`Reader`], [`Store`], [`Writes`] and their errors.
//! It promises:
//!
//! * A commit has three outcomes and says which: done (`Ok`), surely not done, or unknown. Unknown is resolved by reopening and
//!   reading back, never by guessing.
//! * After a failed commit the store is *poisoned*: every call fails until it is opened again, so that nothing is ever built on
//!   a state nobody has verified.
//! * Keys are 1 to [`KEY_BYTES_MAX`] bytes and ordered as unsigned bytes; anything else is an error and never a panic.
//! * The tip costs a commit no page of its own: what changes with every commit belongs there, and nothing else fits.
//!
//! It does not promise that what is read is what was written: LMDB does not notice corruption, so the layers above verify every
//! value by its hash, and absence by dense numbering or reachability.

pub mod lmdb;
pub mod model;

#[cfg(test)]
mod conformance;

use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};

/// The longest key a table accepts.
pub const KEY_BYTES_MAX: usize = 511;

/// The longest value a table accepts: what LMDB's 32-bit length can say.
pub const VALUE_BYTES_MAX: usize = 0xffff_ffff;

/// Value sizes that waste a whole page each: 16 bytes of header push them onto a second 4 KiB page (reference: half the disk and
/// half the speed). The layer that frames values compresses, strips or splits so that it never stores one; a debug build asserts it.
pub const VALUE_BYTES_AVOIDED: RangeInclusive<usize> = 4081..=4096;

/// The longest tip. On disk it lies in the one page that every commit writes anyway, beside the records of the tables, and LMDB keeps a value there only if
/// two of its size would fit into a page: in one of 4096 bytes, 2026 bytes under the tip's key.
pub const TIP_BYTES_MAX: usize = 2000;

/// The tables of a store. Numbers and names are stored; both are append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Facts about the store itself.
    Meta = 0,
    /// Branches by name.
    Branches = 1,
    /// Log batches by branch and first sequence number.
    Log = 2,
    /// Objects by id.
    Objects = 3,
}

impl Table {
    /// Every table, in order of number.
    pub const ALL: [Table; 4] = [Table::Meta, Table::Branches, Table::Log, Table::Objects];

    /// The name the table has on disk.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::Branches => "branches",
            Table::Log => "log",
            Table::Objects => "objects",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What one commit changes: puts and deletes, in order, and the tip. When a key or the tip appears twice the last one counts.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    changes: Vec<Change>,
    tip: Option<Vec<u8>>,
    bytes: u64,
}

/// One put (`value` is some) or delete (`value` is none).
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) table: Table,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Writes {
    /// No changes.
    #[must_use]
    pub fn new() -> Writes {
        Writes::default()
    }

    /// Stores `value` under `key`, replacing what is there.
    pub fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.push(Change { table, key, value: Some(value) });
    }

    /// Removes `key`; removing what is not there is no error.
    pub fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.push(Change { table, key, value: None });
    }

    /// Replaces the tip.
    pub fn set_tip(&mut self, value: Vec<u8>) {
        self.bytes += value.len() as u64;
        self.tip = Some(value);
    }

    /// Adds all changes of `later` after these.
    pub fn append(&mut self, mut later: Writes) {
        self.changes.append(&mut later.changes);
        self.tip = later.tip.or(self.tip.take());
        self.bytes += later.bytes;
    }

    /// The number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len() + usize::from(self.tip.is_some())
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all keys and values, for budgets.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn push(&mut self, change: Change) {
        let value = change.value.as_ref().map_or(0, Vec::len);
        self.bytes += (change.key.len() + value) as u64;
        self.changes.push(change);
    }

    /// The one change that counts for each key, ordered by table and key: sorted batches are written 1.5 times faster.
    /// With them the new tip, if there is one. Fails on the first key or value that no store accepts.
    pub(crate) fn settled(&self) -> Result<Settled<'_>, StoreError> {
        for change in &self.changes {
            check_key(&change.key)?;
            if let Some(value) = &change.value {
                if value.len() > VALUE_BYTES_MAX {
                    return Err(StoreError::ValueLength { bytes: value.len() });
                }
                debug_assert!(
                    !VALUE_BYTES_AVOIDED.contains(&value.len()),
                    "a value of {} bytes wastes a page",
                    value.len()
                );
            }
        }
        if let Some(tip) = self.tip.as_ref().filter(|tip| tip.len() > TIP_BYTES_MAX) {
            return Err(StoreError::TipLength { bytes: tip.len() });
        }
        let mut order: Vec<&Change> = self.changes.iter().collect();
        order.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        // The sort is stable: of equal keys, keep the last.
        let mut settled: Vec<&Change> = Vec::with_capacity(order.len());
        for change in order {
            match settled.last_mut() {
                Some(last) if last.table == change.table && last.key == change.key => *last = change,
                _ => settled.push(change),
            }
        }
        Ok(Settled { changes: settled, tip: self.tip.as_deref() })
    }
}

/// What is left of [`Writes`] when the last change of each key is the only one.
#[derive(Clone, Debug)]
pub(crate) struct Settled<'w> {
    /// By table and key.
    pub(crate) changes: Vec<&'w Change>,
    /// The new tip; none if it stays.
    pub(crate) tip: Option<&'w [u8]>,
}

/// Fails unless `key` is one that a table can hold.
pub(crate) fn check_key(key: &[u8]) -> Result<(), StoreError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(StoreError::KeyLength { bytes: key.len() });
    }
    Ok(())
}

/// A key and its value, copied.
pub type Entry = (Vec<u8>, Vec<u8>);

/// What looks at entries during a scan, and says when it has seen enough.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// Reading one consistent state of a store.
///
/// On a [`Store`] each call sees the newest commit; on a [`Store::snapshot`] every call sees the same one.
pub trait Reader {
    /// The value under `key`, copied.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read; a missing key is `Ok(None)`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut value = None;
        self.get_with(table, key, &mut |bytes| value = Some(bytes.to_vec()))?;
        Ok(value)
    }

    /// Shows the value under `key` to `visit` without copying it; false when there is none. `visit` must not commit.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn get_with(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Result<bool, StoreError>;

    /// The tip, copied; none before the first commit that sets it.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn tip(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// The entry with the greatest key that is `key` or less.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn at_or_before(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, StoreError>;

    /// Shows all entries from the first key that is `from` or greater, in order, until `visit` breaks. An empty `from` starts at
    /// the beginning. `visit` must not commit.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read; entries already shown stay shown.
    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError>;
}

/// A store that can be changed. Any number of threads read while one commits; commits queue.
pub trait Store: Reader + Send + Sync {
    /// Makes all of `writes` durable, or none. When this returns `Ok` they are on disk.
    ///
    /// # Errors
    /// [`CommitError`] says whether nothing was written or nobody knows. Apart from misuse (a bad key), every error poisons.
    fn commit(&self, writes: &Writes) -> Result<(), CommitError>;

    /// One state of the store that stays as it is while commits go on. Held long, it keeps replaced pages from being reused.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn snapshot(&self) -> Result<Box<dyn Reader + Send>, StoreError>;

    /// Copies one consistent state into `folder`, which exists and holds no store yet, and syncs it. Commits go on meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]; what was written of the copy is removed again.
    fn copy_to(&self, folder: &Path) -> Result<(), StoreError>;

    /// Sizes, for `status` and budgets.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn usage(&self) -> Result<Usage, StoreError>;
}

/// Sizes of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the store's file.
    pub file_bytes: u64,
    /// Bytes of it that hold something; the rest is reused by later commits.
    pub used_bytes: u64,
    /// The file's limit until the next growth.
    pub map_bytes: u64,
    /// Number of the last commit as the engine counts them.
    pub commit: u64,
    /// Entries of each table, by number.
    pub entries: [u64; Table::ALL.len()],
}

/// A commit that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Surely nothing of it was written.
    #[error("nothing was committed")]
    NotDone {
        /// Why.
        #[source]
        source: StoreError,
    },
    /// All of it or nothing of it is on disk: reopen the store and read back.
    #[error("it is unknown whether the commit is on disk")]
    Unknown {
        /// What failed.
        #[source]
        source: StoreError,
    },
}

impl CommitError {
    /// What failed.
    #[must_use]
    pub fn store_error(&self) -> &StoreError {
        match self {
            CommitError::NotDone { source } | CommitError::Unknown { source } => source,
        }
    }
}

/// What was attempted with a store and failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Making a new store.
    #[error("cannot create a store in {}", path.display())]
    Create {
        /// The machine folder.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// Opening a store.
    #[error("cannot open the store of {}", path.display())]
    Open {
        /// The machine folder.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// Reading a table.
    #[error("cannot read table {table} of {}", path.display())]
    Read {
        /// The machine folder.
        path: PathBuf,
        /// The table.
        table: Table,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// Reading what belongs to no table: beginning a consistent read, or the tip.
    #[error("cannot read the store of {}", path.display())]
    Snapshot {
        /// The machine folder.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// Committing.
    #[error("cannot commit to the store of {}", path.display())]
    Commit {
        /// The machine folder.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// Copying.
    #[error("cannot copy the store of {} to {}", path.display(), to.display())]
    Copy {
        /// The machine folder.
        path: PathBuf,
        /// Where the copy should have been made.
        to: PathBuf,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// A commit failed earlier: open the store again before anything else.
    #[error("the store of {} cannot be used after a failed commit until it is opened again", path.display())]
    Poisoned {
        /// The machine folder.
        path: PathBuf,
    },
    /// This process already has the store open; LMDB's file locks do not survive a second opening.
    #[error("the store of {} is already open in this process", path.display())]
    AlreadyOpen {
        /// The machine folder.
        path: PathBuf,
    },
    /// The store was opened for reading.
    #[error("the store of {} is open for reading only", path.display())]
    ReadOnly {
        /// The machine folder.
        path: PathBuf,
    },
    /// A key that no table can hold.
    #[error("a key of {bytes} bytes: keys are 1 to {KEY_BYTES_MAX} bytes")]
    KeyLength {
        /// Its length.
        bytes: usize,
    },
    /// A value that no table can hold.
    #[error("a value of {bytes} bytes: values are at most {VALUE_BYTES_MAX} bytes")]
    ValueLength {
        /// Its length.
        bytes: usize,
    },
    /// A value that no store takes as its tip.
    #[error("a tip of {bytes} bytes: it has at most {TIP_BYTES_MAX} bytes")]
    TipLength {
        /// Its length.
        bytes: usize,
    },
}

impl StoreError {
    /// Whether what is on disk is not what was written: exit 3 and `abide verify`, not "try again".
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self.cause(), Some(Cause::Damage(_)))
    }

    /// Whether the file system is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.cause(), Some(Cause::Full { .. }))
    }

    /// Whether the caller did what it must not, whatever the disk holds.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        self.cause().is_none()
    }

    /// Why, where the reason lies outside the caller.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            StoreError::Create { cause, .. }
            | StoreError::Open { cause, .. }
            | StoreError::Read { cause, .. }
            | StoreError::Snapshot { cause, .. }
            | StoreError::Commit { cause, .. }
            | StoreError::Copy { cause, .. } => Some(cause),
            StoreError::Poisoned { .. }
            | StoreError::AlreadyOpen { .. }
            | StoreError::ReadOnly { .. }
            | StoreError::KeyLength { .. }
            | StoreError::ValueLength { .. }
            | StoreError::TipLength { .. } => None,
        }
    }
}

/// Why an operation on a store failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The disk does not hold what was written.
    #[error("the store is damaged")]
    Damage(#[source] Flaw),
    /// No room: only `available` bytes are left for this user.
    #[error("the file system is full ({available} bytes available)")]
    Full {
        /// What `statvfs` says is left.
        available: u64,
    },
    /// Readers held the map for so long that it could not grow.
    #[error("the store's map is full and {readers} readers keep it from growing")]
    Busy {
        /// How many.
        readers: usize,
    },
    /// The system refused.
    #[error(transparent)]
    Io(io::Error),
    /// The engine refused, for none of the reasons above.
    #[error("{message}")]
    Engine {
        /// The engine's code.
        code: i32,
        /// The engine's words.
        message: String,
    },
}

/// What is wrong with a damaged store.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The file is gone.
    #[error("data.mdb is missing")]
    Missing,
    /// The file is not one.
    #[error("data.mdb is not a regular file")]
    NotAFile,
    /// The file ends before its last page.
    #[error("data.mdb has {bytes} bytes and should have {needed}")]
    Short {
        /// Its length.
        bytes: u64,
        /// The least it must be.
        needed: u64,
    },
    /// One of the two pages that say where everything is.
    #[error("meta page {page} of data.mdb has an impossible {field}")]
    Meta {
        /// 0 or 1.
        page: u8,
        /// Which field.
        field: &'static str,
    },
    /// The two pages that say where everything is disagree.
    #[error("the meta pages of data.mdb do not belong together ({field})")]
    Metas {
        /// Which field.
        field: &'static str,
    },
    /// The tree of free pages.
    #[error("the list of free pages of data.mdb is malformed at page {page}")]
    FreeList {
        /// Where.
        page: u64,
    },
    /// A page of a tree.
    #[error("page {page} of data.mdb has an impossible {field}")]
    Page {
        /// Which page.
        page: u64,
        /// What of it.
        field: &'static str,
    },
    /// A page with two owners.
    #[error("page {page} of data.mdb is used twice")]
    UsedTwice {
        /// Which page.
        page: u64,
    },
    /// A page that is neither in a tree nor in the list of free pages.
    #[error("page {page} of data.mdb is neither used nor free")]
    Unused {
        /// Which page.
        page: u64,
    },
    /// A tree that is larger or smaller than its record says.
    #[error("{tree} should have {expected} {what} and has {found}")]
    Tally {
        /// Which tree.
        tree: &'static str,
        /// What was counted.
        what: &'static str,
        /// What the record says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// A table that every store has.
    #[error("table {0} is missing")]
    NoTable(Table),
    /// Keys that are not ascending.
    #[error("the keys of table {0} are out of order")]
    Order(Table),
    /// A table that holds more or less than its header says.
    #[error("table {table} holds {found} entries and should hold {expected}")]
    Count {
        /// The table.
        table: Table,
        /// What its header says.
        expected: u64,
        /// What a walk found.
        found: u64,
    },
    /// What the engine noticed by itself.
    #[error("{message}")]
    Engine {
        /// The engine's code.
        code: i32,
        /// The engine's words.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_of_a_key_counts_and_order_is_by_table_and_key() {
        let mut writes = Writes::new();
        writes.put(Table::Objects, b"b".to_vec(), b"1".to_vec());
        writes.put(Table::Meta, b"z".to_vec(), b"2".to_vec());
        writes.delete(Table::Objects, b"b".to_vec());
        writes.put(Table::Objects, b"a".to_vec(), b"3".to_vec());
        writes.put(Table::Objects, b"b".to_vec(), b"44".to_vec());
        assert_eq!((writes.len(), writes.bytes()), (5, 5 + 5));
        assert_eq!(writes.settled().unwrap().tip, None);
        let mut later = Writes::new();
        writes.set_tip(b"six".to_vec());
        later.set_tip(b"seven".to_vec());
        writes.append(later);
        writes.append(Writes::new());
        assert_eq!((writes.len(), writes.bytes()), (6, 5 + 5 + 3 + 5));
        let settled = writes.settled().unwrap();
        assert_eq!(settled.tip, Some(&b"seven"[..]));
        let text: Vec<String> = settled
            .changes
            .iter()
            .map(|c| format!("{} {} {:?}", c.table, String::from_utf8_lossy(&c.key), c.value.as_ref().map(Vec::len)))
            .collect();
        assert_eq!(text, ["meta z Some(1)", "objects a Some(1)", "objects b Some(2)"]);
    }

    #[test]
    fn numbers_and_names_of_tables_are_stored_and_never_change() {
        let listed: Vec<(u8, &str)> = Table::ALL.iter().map(|t| (*t as u8, t.name())).collect();
        assert_eq!(listed, [(0, "meta"), (1, "branches"), (2, "log"), (3, "objects")]);
    }
}
