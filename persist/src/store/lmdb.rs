//! The store on disk: `data.mdb` (and LMDB's `lock.mdb`) in a machine folder.
//!
//! LMDB is fast and safe against crashes and power cuts, and trusts its file blindly. Around it this module adds what it lacks:
//!
//! * The file is judged with ordinary reads before it is mapped (`header`); a short or nonsensical one is damage, not a signal.
//! * The pages that a commit makes LMDB calculate with are judged before it does (`pages`, `trees`): a wrong offset in one of them
//!   could make it write outside its own memory.
//! * What LMDB only notices by dying is turned into exit 3 that names the store (`crate::sys`).
//! * Full maps grow unseen, between transactions; a full disk is told from a broken one by `statvfs`, as LMDB calls both EIO.
//! * After a failed commit nothing works any more until the store is opened again.
//! * No second opening in one process: LMDB's file locks would not survive it.
//!
//! LMDB keeps the records of the tables in a table of its own, in one page, and writes that page with every commit. The tip is a plain entry there (`pages`), so that
//! replacing it makes no commit write a page more. It is the only one: that table stays one page deep.
//!
//! It never opens `lock.mdb` itself while LMDB has it open (closing it would drop LMDB's locks), and it verifies no value: the layers above do.

mod header;
pub(crate) mod nodes;
mod pages;
mod trees;

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{
    Cause, CommitError, Entry, Flaw, Reader, Settled, Store, StoreError, Table, Usage, Visit, Writes, check_key,
};
use crate::sys::{Claim, Code, Env, EnvOptions, ReadTxn, WriteTxn};
use pages::{FileSource, MapSource, TIP_KEY};
use trees::Known;

/// The store's file in a machine folder.
pub const DATA_FILE: &str = "data.mdb";

/// LMDB's table of readers.
const LOCK_FILE: &str = "lock.mdb";

/// LMDB's own table of tables comes after the named ones.
const TABLE_OF_TABLES: usize = Table::ALL.len();

/// The map of a new store: sparse, so that only what is stored takes space.
const MAP_BYTES_DEFAULT: u64 = 64 << 30;

/// How long a commit waits for readers when the map must grow.
const GROWTH_PATIENCE: Duration = Duration::from_secs(10);

/// How much a scan reads at a time: little enough to take no time, more than enough to be worth a transaction.
const PIECE_BYTES: usize = 1 << 20;

/// How many commits pass between two looks for readers that have died.
const COMMITS_BETWEEN_LOOKS: u64 = 64;

/// How often a check of a file is begun anew because another process has written it meanwhile.
const OPENING_TRIES: u32 = 100;
const WALK_TRIES: u32 = 3;

/// How to open a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The least size of the map. A file that needs more gets more; a full map is doubled.
    pub map_bytes: u64,
    /// How many read transactions all processes together may hold.
    pub readers: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { map_bytes: MAP_BYTES_DEFAULT, readers: 1022 }
    }
}

/// The store of a machine folder.
pub struct LmdbStore {
    shared: Arc<Shared>,
}

struct Shared {
    env: Arc<Env>,
    folder: PathBuf,
    read_only: bool,
    unlocked: bool,
    poisoned: AtomicBool,
    known: Mutex<Known>,
    commits: AtomicU64,
}

impl LmdbStore {
    /// Makes a new, empty store in `folder`, which exists.
    ///
    /// # Errors
    /// [`StoreError::Create`], also when there is a store already.
    pub fn create(folder: &Path, options: &Options) -> Result<LmdbStore, StoreError> {
        let failed = |cause| StoreError::Create { path: folder.to_owned(), cause };
        let file = new_file(&folder.join(DATA_FILE)).map_err(|error| failed(Cause::Io(error)))?;
        let claim = claim(&file, folder)?;
        let shape = Shape { page_bytes: rustix::param::page_size(), needed: 0, known: Known::default() };
        open_env(folder, options, claim, Access::Write, shape).map_err(failed)
    }

    /// Opens the store of `folder` for reading and writing. The caller holds the folder's lock.
    ///
    /// # Errors
    /// [`StoreError::Open`] with [`StoreError::is_damage`] when the file is not what a store left behind.
    pub fn open(folder: &Path, options: &Options) -> Result<LmdbStore, StoreError> {
        Self::open_checked(folder, options, Access::Write)
    }

    /// Opens the store of `folder` for reading, beside a process that may be writing. Where the folder cannot be written the
    /// lock file is done without ([`LmdbStore::is_unlocked`]).
    ///
    /// # Errors
    /// As [`LmdbStore::open`].
    pub fn open_read_only(folder: &Path, options: &Options) -> Result<LmdbStore, StoreError> {
        match Self::open_checked(folder, options, Access::Read) {
            Err(StoreError::Open { cause: Cause::Io(error), .. })
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                Self::open_checked(folder, options, Access::ReadUnlocked)
            }
            other => other,
        }
    }

    fn open_checked(folder: &Path, options: &Options, access: Access) -> Result<LmdbStore, StoreError> {
        let failed = |cause| StoreError::Open { path: folder.to_owned(), cause };
        let file = File::open(folder.join(DATA_FILE)).map_err(|error| {
            failed(match error.kind() {
                io::ErrorKind::NotFound => Cause::Damage(Flaw::Missing),
                _ => Cause::Io(error),
            })
        })?;
        let claim = claim(&file, folder)?;
        let header = header::check(&file).map_err(failed)?;
        let page_bytes = usize::try_from(header.page_bytes).unwrap_or(usize::MAX);
        let needed = (header.last_page + 1) * header.page_bytes;
        let source = FileSource { file: &file, page_bytes };
        let known = trees::steady(&source, OPENING_TRIES, trees::check_opening).map_err(failed)?;
        open_env(folder, options, claim, access, Shape { page_bytes, needed, known }).map_err(failed)
    }

    /// Whether this reader could not register itself: a running writer may then reuse pages under a long read, which shows as
    /// damage that is not there. Keep reads short and try again.
    #[must_use]
    pub fn is_unlocked(&self) -> bool {
        self.shared.unlocked
    }

    /// Copies one consistent state into `folder` without the free space.
    ///
    /// # Errors
    /// As [`Store::copy_to`].
    pub fn compact_to(&self, folder: &Path) -> Result<(), StoreError> {
        self.shared.copy(folder, true)
    }

    /// Checks every page (`trees::check_all`), then walks every table as a reader does, reading every byte: keys ascend, and there are
    /// as many as the header says. Run it in a child process, as damage may show as a signal (which ends the child with exit code 3).
    ///
    /// # Errors
    /// [`StoreError`] with [`StoreError::is_damage`] for the first flaw.
    pub fn walk(&self) -> Result<Walk, StoreError> {
        let view = View::new(&self.shared)?;
        self.shared.check_pages().map_err(|cause| StoreError::Snapshot { path: self.shared.folder.clone(), cause })?;
        let mut walk = Walk::default();
        for table in Table::ALL {
            let damaged =
                |flaw| StoreError::Read { path: self.shared.folder.clone(), table, cause: Cause::Damage(flaw) };
            if !view.txn.has(table.index()) {
                return Err(damaged(Flaw::NoTable(table)));
            }
            let expected = view.txn.entries(table.index()).map_err(|code| self.shared.read_error(table, code))?;
            let mut found = 0;
            let mut last: Vec<u8> = Vec::new();
            let mut ascending = true;
            view.scan(table, &[], &mut |key, value| {
                ascending = last.as_slice() < key;
                found += 1;
                last.clear();
                last.extend_from_slice(key);
                walk.take(key);
                walk.take(value);
                // A tree that goes round in circles would never end.
                if ascending && found <= expected { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if !ascending {
                return Err(damaged(Flaw::Order(table)));
            }
            if found != expected {
                return Err(damaged(Flaw::Count { table, expected, found }));
            }
            walk.entries[table.index()] = found;
        }
        walk.take(&view.tip()?.unwrap_or_default());
        let free = view.txn.free_pages(&mut |_| {});
        free.map_err(|code| self.shared.read_error(Table::Meta, code))?;
        Ok(walk)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Write,
    Read,
    ReadUnlocked,
}

/// What is known of a file before it is opened.
struct Shape {
    page_bytes: usize,
    /// Bytes up to the end of its last page.
    needed: u64,
    known: Known,
}

fn claim(file: &File, folder: &Path) -> Result<Claim, StoreError> {
    let path = folder.to_owned();
    match file.metadata() {
        Ok(metadata) => Claim::take(metadata.dev(), metadata.ino()).ok_or(StoreError::AlreadyOpen { path }),
        Err(error) => Err(StoreError::Open { path, cause: Cause::Io(error) }),
    }
}

fn open_env(folder: &Path, options: &Options, claim: Claim, access: Access, shape: Shape) -> Result<LmdbStore, Cause> {
    // The map size the file records is not used: a flipped bit there must not matter.
    let map_bytes = map_for(options.map_bytes, shape.needed.saturating_add(1 << 20));
    let read_only = access != Access::Write;
    let unlocked = access == Access::ReadUnlocked;
    if !unlocked {
        claim_room_for_readers(folder)?;
    }
    let names = Table::ALL.map(Table::name);
    let env = Env::open(
        folder,
        &EnvOptions {
            shown: folder,
            read_only,
            unlocked,
            map_bytes,
            readers: options.readers,
            page_bytes: shape.page_bytes,
            tables: &names,
        },
        claim,
    )
    .map_err(|code| cause_of(code, folder, 1 << 20))?;
    let (poisoned, known) = (AtomicBool::new(false), Mutex::new(shape.known));
    let shared =
        Shared { env, folder: folder.to_owned(), read_only, unlocked, poisoned, known, commits: AtomicU64::new(0) };
    Ok(LmdbStore { shared: Arc::new(shared) })
}

/// Makes sure that the table of readers has its first page on disk. LMDB makes it sparse and writes to it through a map, where a full disk shows as a
/// signal, which would be taken for damage. Nothing of this process has locked the file yet: the caller has the claim.
fn claim_room_for_readers(folder: &Path) -> Result<(), Cause> {
    let path = folder.join(LOCK_FILE);
    if std::fs::metadata(&path).is_ok_and(|metadata| metadata.blocks() > 0) {
        return Ok(());
    }
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).and_then(|file| {
        let page_bytes = rustix::param::page_size() as u64;
        Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, page_bytes)?)
    });
    match made.map_err(|error| cause_of(Code(error.raw_os_error().unwrap_or(libc::EIO)), folder, 0)) {
        Err(full @ Cause::Full { .. }) => Err(full),
        // Whatever else is wrong LMDB finds, too, and some file systems claim no room beforehand.
        _ => Ok(()),
    }
}

/// `least`, doubled until it holds `needed`, in whole pages of any size.
fn map_for(least: u64, needed: u64) -> usize {
    let mut bytes = least.clamp(1 << 16, 1 << 46).next_multiple_of(1 << 16);
    while bytes < needed && bytes < 1 << 46 {
        bytes *= 2;
    }
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// What a code of LMDB means, where `wanted` more bytes were about to be written in `folder`.
fn cause_of(code: Code, folder: &Path, wanted: u64) -> Cause {
    if code.is_damage() {
        return Cause::Damage(Flaw::Engine { code: code.0, message: code.message() });
    }
    if code.0 <= 0 {
        return Cause::Engine { code: code.0, message: code.message() };
    }
    let available = || rustix::fs::statvfs(folder).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    match code.0 {
        libc::ENOSPC | libc::EDQUOT => Cause::Full { available: available() },
        // LMDB says EIO when a write was cut short, which is what a full disk does.
        libc::EIO => match available() {
            available if available < wanted.saturating_add(1 << 16) => Cause::Full { available },
            _ => Cause::Io(io::Error::from_raw_os_error(code.0)),
        },
        // A copy is written straight from the map: a page that the disk does not give up is no address of ours that is wrong.
        libc::EFAULT => Cause::Io(io::Error::from_raw_os_error(libc::EIO)),
        code => Cause::Io(io::Error::from_raw_os_error(code)),
    }
}

impl Shared {
    fn check_usable(&self) -> Result<(), StoreError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(StoreError::Poisoned { path: self.folder.clone() });
        }
        Ok(())
    }

    fn begin(&self) -> Result<ReadTxn, StoreError> {
        self.check_usable()?;
        loop {
            match self.env.read() {
                Ok(txn) => return Ok(txn),
                // Another process has grown the file beyond this map.
                Err(Code::MAP_RESIZED) => {
                    self.grow().map_err(|cause| StoreError::Snapshot { path: self.folder.clone(), cause })?
                }
                Err(code) => return Err(self.state_error(code)),
            }
        }
    }

    fn grow(&self) -> Result<(), Cause> {
        let bytes = self.env.info().map_bytes.saturating_mul(2);
        tracing::info!(bytes, folder = %self.folder.display(), "growing the store's map");
        self.env.grow(bytes, GROWTH_PATIENCE).map_err(|error| match error {
            Ok(readers) => Cause::Busy { readers },
            Err(code) => {
                // LMDB gives the old map up before it has the new one: nothing is mapped now.
                self.poisoned.store(true, Ordering::Release);
                cause_of(code, &self.folder, 0)
            }
        })
    }

    fn state_error(&self, code: Code) -> StoreError {
        StoreError::Snapshot { path: self.folder.clone(), cause: cause_of(code, &self.folder, 0) }
    }

    fn read_error(&self, table: Table, code: Code) -> StoreError {
        StoreError::Read { path: self.folder.clone(), table, cause: cause_of(code, &self.folder, 0) }
    }

    /// Checks every page of the newest state, or of a newer one. Call it while a read transaction keeps that state as it is.
    fn check_pages(&self) -> Result<(), Cause> {
        let file = File::open(self.folder.join(DATA_FILE)).map_err(Cause::Io)?;
        let source = FileSource { file: &file, page_bytes: self.env.page_bytes() };
        let report = trees::steady(&source, WALK_TRIES, trees::check_all)?;
        tracing::debug!(?report, folder = %self.folder.display(), "checked every page of the store");
        Ok(())
    }

    /// Checks what a commit will use.
    fn check_commit(&self, txn: &mut WriteTxn<'_>, writes: &Settled<'_>) -> Result<(), Cause> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let page_bytes = self.env.page_bytes();
        let checked = txn.look(|map| trees::check_commit(&MapSource { map, page_bytes }, &mut known, &writes.changes));
        checked.unwrap_or_else(|| {
            let file = File::open(self.folder.join(DATA_FILE)).map_err(Cause::Io)?;
            trees::check_commit(&FileSource { file: &file, page_bytes }, &mut known, &writes.changes)
        })
    }

    fn copy(&self, folder: &Path, compact: bool) -> Result<(), StoreError> {
        self.check_usable()?;
        let failed = |cause| StoreError::Copy { path: self.folder.clone(), to: folder.to_owned(), cause };
        if compact {
            // LMDB copies the pages of a compact copy through memory of its own, one by one, as it does before it writes to them.
            let _state = self.begin()?;
            self.check_pages().map_err(failed)?;
        }
        let path = folder.join(DATA_FILE);
        let file = new_file(&path).map_err(|error| failed(Cause::Io(error)))?;
        let written = self.env.copy(file.as_fd(), compact).map_err(|code| cause_of(code, folder, 1 << 20));
        written.and_then(|()| file.sync_all().and_then(|()| File::open(folder)?.sync_all()).map_err(Cause::Io)).map_err(
            |cause| {
                // Half a copy is worse than none; that it cannot be removed is not the news.
                let _ = std::fs::remove_file(&path);
                failed(cause)
            },
        )
    }

    /// Writes and commits once. `Err((true, _))`: the commit itself failed.
    fn try_commit(&self, writes: &Settled<'_>) -> Result<(), (bool, Refusal)> {
        let refused = |code| (false, Refusal::Engine(code));
        // One that was killed in the middle of a read would keep every page of its state, and the file growing, for as long as this process lives.
        if self.commits.fetch_add(1, Ordering::Relaxed) % COMMITS_BETWEEN_LOOKS == COMMITS_BETWEEN_LOOKS - 1 {
            self.env.forget_dead_readers().map_err(refused)?;
        }
        let mut txn = self.env.write().map_err(refused)?;
        self.check_commit(&mut txn, writes).map_err(|cause| (false, Refusal::Check(cause)))?;
        for change in &writes.changes {
            let table = change.table.index();
            match &change.value {
                Some(value) => txn.put(table, &change.key, value),
                None => txn.delete(table, &change.key),
            }
            .map_err(refused)?;
        }
        if let Some(tip) = writes.tip {
            txn.put(TABLE_OF_TABLES, TIP_KEY, tip).map_err(refused)?;
        }
        txn.commit().map_err(|code| (true, Refusal::Engine(code)))
    }
}

/// Why a commit was not made.
enum Refusal {
    Engine(Code),
    /// What it would have used is damaged.
    Check(Cause),
}

impl Reader for LmdbStore {
    fn get_with(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Result<bool, StoreError> {
        View::new(&self.shared)?.get_with(table, key, visit)
    }

    fn tip(&self) -> Result<Option<Vec<u8>>, StoreError> {
        View::new(&self.shared)?.tip()
    }

    fn at_or_before(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        View::new(&self.shared)?.at_or_before(table, key)
    }

    /// In pieces, each a read transaction of its own that has ended before its entries are shown: who looks at them may take for ever, as a pager does.
    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut last = from.to_vec();
        let mut is_first = true;
        loop {
            let (mut piece, mut bytes): (Vec<Entry>, usize) = (Vec::new(), 0);
            View::new(&self.shared)?.scan(table, &last, &mut |key, value| {
                if is_first || key != last {
                    bytes += key.len() + value.len();
                    piece.push((key.to_vec(), value.to_vec()));
                }
                if bytes < PIECE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            for (key, value) in &piece {
                if visit(key, value).is_break() {
                    return Ok(());
                }
            }
            let end = match piece.pop() {
                Some((end, _)) if bytes >= PIECE_BYTES => end,
                _ => return Ok(()),
            };
            // In a damaged tree, which would never end.
            if end < last || !is_first && end == last {
                let cause = Cause::Damage(Flaw::Order(table));
                return Err(StoreError::Read { path: self.shared.folder.clone(), table, cause });
            }
            (last, is_first) = (end, false);
        }
    }
}

impl Store for LmdbStore {
    fn commit(&self, writes: &Writes) -> Result<(), CommitError> {
        let not_done = |source| CommitError::NotDone { source };
        let shared = &*self.shared;
        shared.check_usable().map_err(not_done)?;
        if shared.read_only {
            return Err(not_done(StoreError::ReadOnly { path: shared.folder.clone() }));
        }
        let settled = writes.settled().map_err(not_done)?;
        if writes.is_empty() {
            return Ok(());
        }
        loop {
            let (committing, cause) = match shared.try_commit(&settled) {
                Ok(()) => return Ok(()),
                // LMDB finds that out before it writes a meta page: nothing has happened, even inside its commit.
                Err((_, Refusal::Engine(Code::MAP_FULL))) => match shared.grow() {
                    Ok(()) => continue,
                    Err(cause) => (false, cause),
                },
                Err((committing, Refusal::Engine(code))) => {
                    (committing, cause_of(code, &shared.folder, writes.bytes()))
                }
                Err((committing, Refusal::Check(cause))) => (committing, cause),
            };
            shared.poisoned.store(true, Ordering::Release);
            let source = StoreError::Commit { path: shared.folder.clone(), cause };
            return Err(if committing { CommitError::Unknown { source } } else { CommitError::NotDone { source } });
        }
    }

    fn snapshot(&self) -> Result<Box<dyn Reader + Send>, StoreError> {
        Ok(Box::new(View::new(&self.shared)?))
    }

    fn copy_to(&self, folder: &Path) -> Result<(), StoreError> {
        self.shared.copy(folder, false)
    }

    fn usage(&self) -> Result<Usage, StoreError> {
        let shared = &*self.shared;
        let failed = |code| shared.state_error(code);
        let txn = shared.begin()?;
        let info = shared.env.info();
        let page_bytes = shared.env.page_bytes() as u64;
        let mut free = 0;
        txn.free_pages(&mut |_| free += 1).map_err(failed)?;
        let mut entries = [0; Table::ALL.len()];
        for table in Table::ALL {
            entries[table.index()] = txn.entries(table.index()).map_err(failed)?;
        }
        let file_bytes = std::fs::metadata(shared.folder.join(DATA_FILE))
            .map_err(|error| StoreError::Snapshot { path: shared.folder.clone(), cause: Cause::Io(error) })?
            .len();
        Ok(Usage {
            file_bytes,
            used_bytes: (info.last_page as u64 + 1).saturating_sub(free) * page_bytes,
            map_bytes: info.map_bytes as u64,
            commit: info.transaction as u64,
            entries,
        })
    }
}

/// One state of the store.
struct View {
    txn: ReadTxn,
    shared: Arc<Shared>,
}

impl View {
    fn new(shared: &Arc<Shared>) -> Result<View, StoreError> {
        Ok(View { txn: shared.begin()?, shared: Arc::clone(shared) })
    }
}

impl Reader for View {
    fn get_with(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Result<bool, StoreError> {
        self.shared.check_usable()?;
        check_key(key)?;
        self.txn.get(table.index(), key, visit).map_err(|code| self.shared.read_error(table, code))
    }

    fn tip(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.check_usable()?;
        let mut tip = None;
        let found = self.txn.get(TABLE_OF_TABLES, TIP_KEY, &mut |bytes| tip = Some(bytes.to_vec()));
        found.map_err(|code| self.shared.state_error(code)).map(|_| tip)
    }

    fn at_or_before(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.shared.check_usable()?;
        check_key(key)?;
        self.txn.at_or_before(table.index(), key).map_err(|code| self.shared.read_error(table, code))
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.shared.check_usable()?;
        if !from.is_empty() {
            check_key(from)?;
        }
        self.txn.scan(table.index(), from, visit).map_err(|code| self.shared.read_error(table, code))
    }
}

/// What a walk through a whole store found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Entries of each table, by number.
    pub entries: [u64; Table::ALL.len()],
    /// Bytes of all keys and values, and of the tip.
    pub bytes: u64,
    /// A sum over every byte, so that every byte was surely read; it means nothing.
    pub sum: u64,
}

impl Walk {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sum = bytes.iter().fold(self.sum, |sum, byte| sum.rotate_left(1).wrapping_add(u64::from(*byte)));
    }
}

/// Walks every table of the store in `folder`: [`LmdbStore::walk`] of a store that is not open in this process.
///
/// # Errors
/// As [`LmdbStore::walk`].
pub fn verify_structure(folder: &Path) -> Result<Walk, StoreError> {
    LmdbStore::open_read_only(folder, &Options::default())?.walk()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    fn write(table: Table, key: &[u8], value: Vec<u8>) -> Writes {
        let mut writes = Writes::new();
        writes.put(table, key.to_vec(), value);
        writes
    }

    /// A store whose map starts so small that everything makes it grow.
    fn tiny() -> Options {
        Options { map_bytes: 1 << 16, readers: 64 }
    }

    #[test]
    fn lmdb_is_a_store_and_grows_unseen() {
        for options in [tiny(), Options::default()] {
            conformance::check(&mut || {
                let folder = tempfile::tempdir().unwrap();
                let options = options.clone();
                let mut new = true;
                Box::new(move || {
                    if std::mem::take(&mut new) {
                        return Box::new(LmdbStore::create(folder.path(), &options).unwrap());
                    }
                    Box::new(LmdbStore::open(folder.path(), &options).unwrap())
                })
            });
        }
    }

    #[test]
    fn a_store_is_opened_once_in_a_process() {
        let folder = tempfile::tempdir().unwrap();
        let store = LmdbStore::create(folder.path(), &tiny()).unwrap();
        for _ in 0..2 {
            assert!(matches!(LmdbStore::open(folder.path(), &tiny()), Err(StoreError::AlreadyOpen { .. })));
            assert!(matches!(LmdbStore::open_read_only(folder.path(), &tiny()), Err(StoreError::AlreadyOpen { .. })));
        }
        let snapshot = store.snapshot().unwrap();
        drop(store);
        assert!(matches!(LmdbStore::open(folder.path(), &tiny()), Err(StoreError::AlreadyOpen { .. })));
        drop(snapshot);
        assert!(LmdbStore::open(folder.path(), &tiny()).is_ok());
        let again = LmdbStore::create(folder.path(), &tiny()).err().unwrap();
        assert!(
            matches!(again, StoreError::Create { cause: Cause::Io(error), .. } if error.kind() == io::ErrorKind::AlreadyExists)
        );
    }

    #[test]
    fn a_reader_only_reads() {
        let folder = tempfile::tempdir().unwrap();
        drop(LmdbStore::create(folder.path(), &tiny()).unwrap());
        let store = LmdbStore::open_read_only(folder.path(), &tiny()).unwrap();
        assert!(!store.is_unlocked());
        let error = store.commit(&write(Table::Log, b"k", vec![])).unwrap_err();
        assert!(matches!(error, CommitError::NotDone { source: StoreError::ReadOnly { .. } }));
        assert_eq!(store.get(Table::Log, b"k").unwrap(), None);
    }

    #[test]
    fn copies_are_whole_stores_and_compact_ones_are_smaller() {
        let folder = tempfile::tempdir().unwrap();
        let store = LmdbStore::create(folder.path(), &tiny()).unwrap();
        for n in 0..50u8 {
            store.commit(&write(Table::Objects, &[n], vec![n; 100_000])).unwrap();
        }
        let mut writes = Writes::new();
        (0..40u8).for_each(|n| writes.delete(Table::Objects, vec![n]));
        store.commit(&writes).unwrap();
        let mut sizes = Vec::new();
        for compact in [false, true] {
            let to = tempfile::tempdir().unwrap();
            if compact {
                store.compact_to(to.path()).unwrap()
            } else {
                store.copy_to(to.path()).unwrap()
            }
            assert!(store.copy_to(to.path()).is_err(), "nothing is overwritten");
            sizes.push(std::fs::metadata(to.path().join(DATA_FILE)).unwrap().len());
            assert_eq!(verify_structure(to.path()).unwrap().entries, [0, 0, 0, 10]);
            let copy = LmdbStore::open(to.path(), &tiny()).unwrap();
            assert_eq!(copy.get(Table::Objects, &[45]).unwrap().unwrap(), vec![45; 100_000]);
            copy.commit(&write(Table::Log, b"goes", b"on".to_vec())).unwrap();
        }
        assert!(sizes[1] * 3 < sizes[0], "{sizes:?}");
        let missing = store.copy_to(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(matches!(missing, StoreError::Copy { .. }) && !missing.is_damage());
    }

    #[test]
    fn a_map_that_readers_hold_does_not_grow_under_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = LmdbStore::create(folder.path(), &tiny()).unwrap();
        store.commit(&write(Table::Objects, b"small", vec![1; 10])).unwrap();
        let snapshot = store.snapshot().unwrap();
        std::thread::scope(|scope| {
            let commit = scope.spawn(|| store.commit(&write(Table::Objects, b"big", vec![2; 1 << 20])));
            std::thread::sleep(Duration::from_millis(50));
            assert!(!commit.is_finished());
            assert_eq!(snapshot.get(Table::Objects, b"small").unwrap().unwrap(), vec![1; 10]);
            drop(snapshot);
            commit.join().unwrap().unwrap();
        });
        assert_eq!(store.get(Table::Objects, b"big").unwrap().unwrap(), vec![2; 1 << 20]);
        assert!(store.usage().unwrap().map_bytes > 1 << 20);
    }

    /// When a meta page cannot be written, LMDB puts the old number back with the trees of the commit that failed, which may lie beyond the old last
    /// page. Taking that for damage made a machine unusable after one failed write; failing every write of a life found it.
    #[test]
    fn what_lmdb_leaves_of_a_meta_page_that_it_could_not_write_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let store = LmdbStore::create(folder.path(), &tiny()).unwrap();
        for n in 0..5 {
            store.commit(&write(Table::Log, b"k", vec![n; 100])).unwrap();
        }
        drop(store);
        let path = folder.path().join(DATA_FILE);
        let sound = std::fs::read(&path).unwrap();
        let header = header::check(&File::open(&path).unwrap()).unwrap();
        let slot = |transaction: u64| usize::try_from(transaction % 2 * header.page_bytes).unwrap();
        let (newer, older) = (slot(header.transaction), slot(header.transaction + 1));
        let spoil = |page: usize| {
            let mut bytes = sound.clone();
            for tree in [40, 88] {
                let root = page + tree + 40;
                bytes[root..root + 8].copy_from_slice(&(header.last_page + 3).to_ne_bytes());
            }
            std::fs::write(&path, bytes).unwrap();
        };
        spoil(newer);
        assert!(LmdbStore::open(folder.path(), &tiny()).is_err_and(|error| error.is_damage()));
        spoil(older);
        let again = LmdbStore::open(folder.path(), &tiny()).unwrap();
        assert_eq!(again.get(Table::Log, b"k").unwrap().unwrap(), [4; 100]);
        again.commit(&write(Table::Log, b"k", vec![5; 100])).unwrap();
        drop(again);
        assert_eq!(verify_structure(folder.path()).unwrap().entries, [0, 0, 1, 0]);
    }

    /// LMDB does not write pages that a transaction took from the end of the file and freed again, so that a sound file may be
    /// shorter than its last page. Taking that for truncation would have made a sound machine unusable.
    #[test]
    fn a_file_that_ends_before_free_pages_is_sound_and_one_that_ends_before_others_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = LmdbStore::create(folder.path(), &tiny()).unwrap();
        for n in 0..10 {
            store.commit(&write(Table::Log, b"k", vec![n; 100])).unwrap();
        }
        let mut txn = store.shared.env.write().unwrap();
        txn.put(2, b"k", b"loads the list of free pages").unwrap();
        txn.put(3, b"big", &[1; 100_000]).unwrap();
        txn.delete(3, b"big").unwrap();
        txn.commit().unwrap();
        drop(store);
        let path = folder.path().join(DATA_FILE);
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let header = header::check(&file).unwrap();
        let bytes = file.metadata().unwrap().len();
        assert!(bytes < (header.last_page + 1) * header.page_bytes, "LMDB has changed: {header:?}, {bytes} bytes");
        let again = LmdbStore::open(folder.path(), &tiny()).unwrap();
        assert_eq!(again.get(Table::Log, b"k").unwrap().unwrap(), b"loads the list of free pages");
        drop(again);
        assert_eq!(verify_structure(folder.path()).unwrap().entries, [0, 0, 1, 0]);
        file.set_len(bytes - header.page_bytes).unwrap();
        assert!(matches!(header::check(&file), Err(Cause::Damage(Flaw::Short { .. }))));
    }
}
