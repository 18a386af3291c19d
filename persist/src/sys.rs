//! Calls into C: the one file of `persist` with unsafe code, and the one that names LMDB.
//!
//! Three things live here, each behind a safe face:
//!
//! * [`Env`], [`ReadTxn`] and [`WriteTxn`]: LMDB, through the `lmdb-rkv` crate and, for what it lacks (reads with bounds checks,
//!   hot copy, stale readers, assertions), through `lmdb-rkv-sys`. Every slice LMDB returns is checked to lie inside the file.
//! * The last words: a fatal signal *inside a store call* of this thread means that the file is damaged (LMDB trusts it). It ends
//!   the process with exit code 3 after naming the store on stderr. Signals outside store calls go to whoever handled them before.
//! * Open-file-description locks, which no safe crate in use offers.
//!
//! Invariants: never `NOSYNC`, `NOMETASYNC`, `MAPASYNC` or `WRITEMAP`; one environment per file and process; the map moves only
//! while no read transaction of this process is open.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::CStr;
use std::fmt::Write as _;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering, compiler_fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::Duration;

use libc::c_int;
use lmdb::{DatabaseFlags, EnvironmentFlags, Transaction as _, WriteFlags};
use lmdb_sys as ffi;

use crate::store::{Entry, Table, Visit};

/// An error code: LMDB's (negative) or the system's (positive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) c_int);

impl Code {
    pub(crate) const CORRUPTED: Code = Code(ffi::MDB_CORRUPTED);
    pub(crate) const NOT_FOUND: Code = Code(ffi::MDB_NOTFOUND);
    pub(crate) const BAD_TXN: Code = Code(ffi::MDB_BAD_TXN);
    pub(crate) const MAP_FULL: Code = Code(ffi::MDB_MAP_FULL);
    pub(crate) const MAP_RESIZED: Code = Code(ffi::MDB_MAP_RESIZED);

    /// Whether LMDB returns it only for a file that is not as LMDB wrote it. `MDB_BAD_TXN` is among them because transactions
    /// are not misused here: one that has gone bad has met a page that is not there, which LMDB does not always say at once.
    pub(crate) fn is_damage(self) -> bool {
        matches!(
            self.0,
            ffi::MDB_CORRUPTED
                | ffi::MDB_PAGE_NOTFOUND
                | ffi::MDB_INVALID
                | ffi::MDB_VERSION_MISMATCH
                | ffi::MDB_INCOMPATIBLE
                | ffi::MDB_CURSOR_FULL
                | ffi::MDB_BAD_TXN
                | ffi::MDB_PAGE_FULL
        )
    }

    pub(crate) fn message(self) -> String {
        // SAFETY: mdb_strerror returns a static string, or one of strerror's that is copied at once.
        unsafe { CStr::from_ptr(ffi::mdb_strerror(self.0)) }.to_string_lossy().into_owned()
    }
}

impl From<lmdb::Error> for Code {
    fn from(error: lmdb::Error) -> Code {
        Code(error.to_err_code())
    }
}

fn result(code: c_int) -> Result<(), Code> {
    if code == ffi::MDB_SUCCESS { Ok(()) } else { Err(Code(code)) }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// LMDB's own two tables: the pages that hold nothing, and the records of all other tables.
const TABLE_OF_FREE_PAGES: ffi::MDB_dbi = 0;
const TABLE_OF_TABLES: ffi::MDB_dbi = 1;

/// How to open an environment.
pub(crate) struct EnvOptions<'a> {
    /// The machine folder, as people should see it.
    pub(crate) shown: &'a Path,
    pub(crate) read_only: bool,
    /// Whether to do without the lock file (reading only).
    pub(crate) unlocked: bool,
    pub(crate) map_bytes: usize,
    pub(crate) readers: u32,
    pub(crate) page_bytes: usize,
    pub(crate) tables: &'a [&'static str],
}

/// An open LMDB environment and its tables.
pub(crate) struct Env {
    lmdb: lmdb::Environment,
    /// The named ones, in the order in which they were asked for, then LMDB's own table of tables.
    tables: Vec<Option<lmdb::Database>>,
    page_bytes: usize,
    /// Where the map begins; 0 while unknown.
    base: AtomicUsize,
    map_bytes: AtomicUsize,
    gate: Mutex<Gate>,
    /// Signalled when the last reader leaves and when the map has been moved, or not.
    turned: Condvar,
    writer: Mutex<()>,
    words: Arc<LastWords>,
    /// Dropped last: LMDB's locks of this process are gone by then.
    _claim: Claim,
}

/// Who keeps the map where it is.
#[derive(Default)]
struct Gate {
    readers: usize,
    growing: bool,
}

/// How long a new reader lets a waiting growth go first. Bounded, as the reader's own thread may hold what the growth waits for.
const COURTESY: Duration = Duration::from_millis(100);

/// What an environment says about itself.
pub(crate) struct EnvInfo {
    pub(crate) map_bytes: usize,
    pub(crate) last_page: usize,
    pub(crate) transaction: usize,
}

impl Env {
    /// Opens `folder`. With `read_only` unset, missing tables are created (and with them, in a new folder, the file).
    pub(crate) fn open(folder: &Path, options: &EnvOptions<'_>, claim: Claim) -> Result<Arc<Env>, Code> {
        install_handlers();
        let words = Arc::new(LastWords::new(options.shown));
        let said_on_death = Arc::clone(&words);
        let _call = Call::enter(&said_on_death, 0..0);
        let mut flags = EnvironmentFlags::NO_TLS;
        flags.set(EnvironmentFlags::READ_ONLY, options.read_only);
        flags.set(EnvironmentFlags::NO_LOCK, options.unlocked);
        let lmdb = lmdb::Environment::new()
            .set_flags(flags)
            .set_max_readers(options.readers)
            .set_max_dbs(u32::try_from(options.tables.len()).map_err(|_| Code(libc::EINVAL))?)
            .set_map_size(options.map_bytes)
            .open_with_permissions(folder, 0o600)?;
        // SAFETY: the environment is open; the callback never unwinds.
        result(unsafe { ffi::mdb_env_set_assert(lmdb.env(), Some(on_assert)) })?;
        let mut env = Env {
            lmdb,
            tables: Vec::new(),
            page_bytes: options.page_bytes,
            base: AtomicUsize::new(0),
            map_bytes: AtomicUsize::new(options.map_bytes),
            gate: Mutex::default(),
            turned: Condvar::new(),
            writer: Mutex::new(()),
            words,
            _claim: claim,
        };
        env.close_on_exec()?;
        if !options.read_only {
            env.forget_dead_readers()?;
        }
        env.open_tables(options)?;
        env.find_base(options.tables)?;
        Ok(Arc::new(env))
    }

    /// Strikes from LMDB's table those who died in the middle of a read.
    pub(crate) fn forget_dead_readers(&self) -> Result<(), Code> {
        let _call = self.enter();
        let mut dead = 0;
        // SAFETY: the environment is open and `dead` outlives the call.
        result(unsafe { ffi::mdb_reader_check(self.lmdb.env(), &raw mut dead) })
    }

    /// LMDB leaves the descriptor of its data file inheritable.
    fn close_on_exec(&self) -> Result<(), Code> {
        let mut fd = -1;
        // SAFETY: the environment is open and `fd` outlives the call.
        result(unsafe { ffi::mdb_env_get_fd(self.lmdb.env(), &raw mut fd) })?;
        // SAFETY: LMDB keeps the descriptor open as long as the environment.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC).map_err(|error| Code(error.raw_os_error()))
    }

    fn open_tables(&mut self, options: &EnvOptions<'_>) -> Result<(), Code> {
        for name in options.tables {
            match self.lmdb.open_db(Some(name)) {
                Ok(table) => self.tables.push(Some(table)),
                Err(lmdb::Error::NotFound) => self.tables.push(None),
                Err(error) => return Err(error.into()),
            }
        }
        self.tables.push(Some(self.lmdb.open_db(None)?));
        if options.read_only || self.tables.iter().all(Option::is_some) {
            return Ok(());
        }
        let txn = self.lmdb.begin_rw_txn()?;
        for (table, name) in self.tables.iter_mut().zip(options.tables) {
            if table.is_none() {
                // SAFETY: nobody else has this environment yet, so no other transaction opens a table.
                *table = Some(unsafe { txn.create_db(Some(name), DatabaseFlags::empty()) }?);
            }
        }
        Ok(txn.commit()?)
    }

    /// Finds where the map begins, from the page that holds the record of the first table: a page starts with its own number.
    fn find_base(&self, tables: &[&str]) -> Result<(), Code> {
        self.base.store(0, Ordering::Relaxed);
        if self.page_bytes > rustix::param::page_size() {
            return Ok(()); // Pages are then not aligned in memory; signals remain as the guard.
        }
        let Some(name) = tables.iter().zip(&self.tables).find_map(|(name, table)| table.and(Some(name))) else {
            return Ok(());
        };
        let txn = self.lmdb.begin_ro_txn()?;
        let mut key = value_of(name.as_bytes());
        let mut value = value_of(&[]);
        // SAFETY: transaction, key and value outlive the call; LMDB only writes `value`.
        result(unsafe { ffi::mdb_get(txn.txn(), TABLE_OF_TABLES, &raw mut key, &raw mut value) })?;
        let page = value.mv_data as usize & !(self.page_bytes - 1);
        // SAFETY: `page` is the start of the mapped page that LMDB has just read the record from, aligned for a u64.
        let number = unsafe { *(page as *const usize) };
        let base =
            number.checked_mul(self.page_bytes).and_then(|offset| page.checked_sub(offset)).ok_or(Code::CORRUPTED)?;
        self.base.store(base, Ordering::Relaxed);
        Ok(())
    }

    fn enter(&self) -> Call<'_> {
        let base = self.base.load(Ordering::Relaxed);
        let map = if base == 0 { 0..0 } else { base..base.saturating_add(self.map_bytes.load(Ordering::Relaxed)) };
        Call::enter(&self.words, map)
    }

    pub(crate) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    pub(crate) fn info(&self) -> EnvInfo {
        let _call = self.enter();
        // SAFETY: MDB_envinfo is plain data, the environment is open; mdb_env_info reads the mapped meta pages, whose presence
        // was checked before mapping.
        let info = unsafe {
            let mut info: ffi::MDB_envinfo = std::mem::zeroed();
            ffi::mdb_env_info(self.lmdb.env(), &raw mut info);
            info
        };
        EnvInfo { map_bytes: info.me_mapsize, last_page: info.me_last_pgno, transaction: info.me_last_txnid }
    }

    /// Begins a read transaction; the map does not move until it ends.
    pub(crate) fn read(self: &Arc<Env>) -> Result<ReadTxn, Code> {
        let pass = ReaderPass::new(self);
        let call = self.enter();
        let txn = self.lmdb.begin_ro_txn()?;
        // SAFETY: only the lifetime changes. `pass` keeps the environment alive and is dropped after the transaction.
        let txn = unsafe { std::mem::transmute::<lmdb::RoTransaction<'_>, lmdb::RoTransaction<'static>>(txn) };
        let end = (self.info().last_page + 1).saturating_mul(self.page_bytes);
        drop(call);
        Ok(ReadTxn { txn: Some(txn), end, pass })
    }

    /// Begins a write transaction; waits for other ones of this process.
    pub(crate) fn write(&self) -> Result<WriteTxn<'_>, Code> {
        let turn = locked(&self.writer);
        let _call = self.enter();
        let txn = self.lmdb.begin_rw_txn()?;
        Ok(WriteTxn { env: self, txn: Some(txn), _turn: turn })
    }

    /// Moves the map to one of `bytes`, once no reader of this process is left. `Err(Ok(n))`: `n` readers stayed too long.
    pub(crate) fn grow(&self, bytes: usize, patience: Duration) -> Result<(), Result<usize, Code>> {
        let _turn = locked(&self.writer);
        let mut gate = locked(&self.gate);
        gate.growing = true;
        let (mut gate, _) = self
            .turned
            .wait_timeout_while(gate, patience, |gate| gate.readers > 0)
            .unwrap_or_else(PoisonError::into_inner);
        gate.growing = false;
        let moved = if gate.readers > 0 { Err(Ok(gate.readers)) } else { self.move_map(bytes).map_err(Err) };
        self.turned.notify_all();
        moved
    }

    /// Called with the gate closed and empty.
    fn move_map(&self, bytes: usize) -> Result<(), Code> {
        let _call = Call::enter(&self.words, 0..0);
        self.lmdb.set_map_size(bytes)?;
        self.map_bytes.store(bytes, Ordering::Relaxed);
        self.find_base(&Table::ALL.map(Table::name))
    }

    /// Writes a consistent copy of the environment to `file`, with `compact` without its free pages.
    pub(crate) fn copy(self: &Arc<Env>, file: BorrowedFd<'_>, compact: bool) -> Result<(), Code> {
        let _pass = ReaderPass::new(self);
        let _call = self.enter();
        let flags = if compact { ffi::MDB_CP_COMPACT } else { 0 };
        // SAFETY: the environment is open and its map does not move while `_pass` exists; the descriptor is borrowed.
        result(unsafe { ffi::mdb_env_copyfd2(self.lmdb.env(), file.as_raw_fd(), flags) })
    }
}

/// Counts a reader in, and out again when dropped.
struct ReaderPass(Arc<Env>);

impl ReaderPass {
    fn new(env: &Arc<Env>) -> ReaderPass {
        let gate = locked(&env.gate);
        let (mut gate, _) =
            env.turned.wait_timeout_while(gate, COURTESY, |gate| gate.growing).unwrap_or_else(PoisonError::into_inner);
        gate.readers += 1;
        ReaderPass(Arc::clone(env))
    }
}

impl Drop for ReaderPass {
    fn drop(&mut self) {
        let mut gate = locked(&self.0.gate);
        gate.readers -= 1;
        if gate.readers == 0 && gate.growing {
            self.0.turned.notify_all();
        }
    }
}

/// A read transaction.
pub(crate) struct ReadTxn {
    /// Some until dropped.
    txn: Option<lmdb::RoTransaction<'static>>,
    /// Bytes of the file that pages of this transaction can lie in.
    end: usize,
    pass: ReaderPass,
}

// SAFETY: with NO_TLS a read transaction belongs to no thread; it may be used by one at a time, which `!Sync` ensures.
unsafe impl Send for ReadTxn {}

impl Drop for ReadTxn {
    fn drop(&mut self) {
        let _call = self.pass.0.enter();
        self.txn = None;
    }
}

/// A key and its value, where they lie in the map.
type MappedEntry<'t> = (&'t [u8], &'t [u8]);

impl ReadTxn {
    fn raw(&self) -> *mut ffi::MDB_txn {
        self.txn.as_ref().map_or(ptr::null_mut(), lmdb::Transaction::txn)
    }

    fn dbi(&self, table: usize) -> Option<ffi::MDB_dbi> {
        self.pass.0.tables.get(table).copied().flatten().map(|table| table.dbi())
    }

    /// Whether the environment has the table at all.
    pub(crate) fn has(&self, table: usize) -> bool {
        self.dbi(table).is_some()
    }

    pub(crate) fn get(&self, table: usize, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Result<bool, Code> {
        let Some(dbi) = self.dbi(table) else { return Ok(false) };
        let call = self.pass.0.enter();
        let mut key = value_of(key);
        let mut value = value_of(&[]);
        // SAFETY: transaction, key and value outlive the call; LMDB only writes `value`.
        match result(unsafe { ffi::mdb_get(self.raw(), dbi, &raw mut key, &raw mut value) }) {
            Err(Code::NOT_FOUND) => return Ok(false),
            other => other?,
        }
        let bytes = self.bytes(value)?;
        call.visit(|| visit(bytes));
        Ok(true)
    }

    pub(crate) fn at_or_before(&self, table: usize, key: &[u8]) -> Result<Option<Entry>, Code> {
        let Some(dbi) = self.dbi(table) else { return Ok(None) };
        let call = self.pass.0.enter();
        let cursor = Cursor::open(self, dbi)?;
        let found = match cursor.get(ffi::MDB_SET_RANGE, key)? {
            Some((at, value)) if at == key => Some((at, value)),
            Some(_) => cursor.get(ffi::MDB_PREV, &[])?,
            None => cursor.get(ffi::MDB_LAST, &[])?,
        };
        Ok(found.map(|(key, value)| call.visit(|| (key.to_vec(), value.to_vec()))))
    }

    pub(crate) fn scan(&self, table: usize, from: &[u8], visit: &mut Visit<'_>) -> Result<(), Code> {
        let Some(dbi) = self.dbi(table) else { return Ok(()) };
        let call = self.pass.0.enter();
        let cursor = Cursor::open(self, dbi)?;
        let first = if from.is_empty() { ffi::MDB_FIRST } else { ffi::MDB_SET_RANGE };
        let mut entry = cursor.get(first, from)?;
        while let Some((key, value)) = entry {
            if call.visit(|| visit(key, value)).is_break() {
                return Ok(());
            }
            entry = cursor.get(ffi::MDB_NEXT, &[])?;
        }
        Ok(())
    }

    /// Entries of a table, as its header says.
    pub(crate) fn entries(&self, table: usize) -> Result<u64, Code> {
        let Some(dbi) = self.dbi(table) else { return Ok(0) };
        let _call = self.pass.0.enter();
        // SAFETY: MDB_stat is plain data and outlives the call.
        let stat = unsafe {
            let mut stat: ffi::MDB_stat = std::mem::zeroed();
            result(ffi::mdb_stat(self.raw(), dbi, &raw mut stat))?;
            stat
        };
        Ok(stat.ms_entries as u64)
    }

    /// The pages that hold nothing, as LMDB lists them: each value is a count and as many page numbers.
    pub(crate) fn free_pages(&self, visit: &mut dyn FnMut(usize)) -> Result<(), Code> {
        let call = self.pass.0.enter();
        let cursor = Cursor::open(self, TABLE_OF_FREE_PAGES)?;
        let mut entry = cursor.get(ffi::MDB_FIRST, &[])?;
        while let Some((_, value)) = entry {
            call.visit(|| {
                let mut numbers = value.chunks_exact(size_of::<usize>()).map(|number| {
                    let mut bytes = [0; size_of::<usize>()];
                    bytes.copy_from_slice(number);
                    usize::from_ne_bytes(bytes)
                });
                let count = numbers.next().ok_or(Code::CORRUPTED)?;
                if count > numbers.len() {
                    return Err(Code::CORRUPTED);
                }
                numbers.take(count).for_each(&mut *visit);
                Ok(())
            })?;
            entry = cursor.get(ffi::MDB_NEXT, &[])?;
        }
        Ok(())
    }

    /// The bytes LMDB points to, if they lie inside the file.
    fn bytes(&self, value: ffi::MDB_val) -> Result<&[u8], Code> {
        if value.mv_size == 0 {
            return Ok(&[]);
        }
        let base = self.pass.0.base.load(Ordering::Relaxed);
        let start = value.mv_data as usize;
        let inside = start
            .checked_sub(base)
            .and_then(|offset| offset.checked_add(value.mv_size))
            .is_some_and(|end| end <= self.end);
        if base != 0 && !inside {
            return Err(Code::CORRUPTED);
        }
        // SAFETY: the bytes lie in the read-only map, which stays where it is while `self.pass` exists, and LMDB writes no page
        // that a live read transaction can see. Where the base is unknown this trusts the file as LMDB itself does.
        Ok(unsafe { std::slice::from_raw_parts(value.mv_data.cast::<u8>(), value.mv_size) })
    }
}

/// A cursor of a read transaction.
struct Cursor<'t> {
    cursor: *mut ffi::MDB_cursor,
    txn: &'t ReadTxn,
}

impl<'t> Cursor<'t> {
    fn open(txn: &'t ReadTxn, dbi: ffi::MDB_dbi) -> Result<Cursor<'t>, Code> {
        let mut cursor = ptr::null_mut();
        // SAFETY: the transaction is open and `cursor` outlives the call.
        result(unsafe { ffi::mdb_cursor_open(txn.raw(), dbi, &raw mut cursor) })?;
        Ok(Cursor { cursor, txn })
    }

    fn get(&self, op: ffi::MDB_cursor_op, key: &[u8]) -> Result<Option<MappedEntry<'t>>, Code> {
        let mut key = value_of(key);
        let mut value = value_of(&[]);
        // SAFETY: the cursor is open; key and value outlive the call, LMDB only replaces what they point to.
        match result(unsafe { ffi::mdb_cursor_get(self.cursor, &raw mut key, &raw mut value, op) }) {
            Err(Code::NOT_FOUND) => Ok(None),
            Err(code) => Err(code),
            Ok(()) => Ok(Some((self.txn.bytes(key)?, self.txn.bytes(value)?))),
        }
    }
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, closed once, before its transaction ends because it borrows it.
        unsafe { ffi::mdb_cursor_close(self.cursor) }
    }
}

/// A write transaction; dropped without commit it changes nothing.
pub(crate) struct WriteTxn<'e> {
    env: &'e Env,
    /// Some until dropped or committed.
    txn: Option<lmdb::RwTransaction<'e>>,
    _turn: MutexGuard<'e, ()>,
}

impl WriteTxn<'_> {
    /// Shows the file to `look` as it lies in the map, from its first to its last page, before this transaction changes anything;
    /// none where the map's beginning is unknown.
    pub(crate) fn look<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let call = self.env.enter();
        let base = self.env.base.load(Ordering::Relaxed);
        let bytes = (self.env.info().last_page + 1).checked_mul(self.env.page_bytes)?;
        if base == 0 || bytes > self.env.map_bytes.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: the bytes lie in the read-only map, which stays where it is while this transaction has its turn. Only a write
        // transaction writes to the file, and this one does not while it is borrowed. That a file may end before its map does is
        // a signal, which is named like those inside LMDB.
        let map = unsafe { std::slice::from_raw_parts(base as *const u8, bytes) };
        Some(call.visit(|| look(map)))
    }

    pub(crate) fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Result<(), Code> {
        let _call = self.env.enter();
        let table = self.table(table)?;
        let txn = self.txn.as_mut().ok_or(Code::BAD_TXN)?;
        Ok(txn.put(table, &key, &value, WriteFlags::empty())?)
    }

    pub(crate) fn delete(&mut self, table: usize, key: &[u8]) -> Result<(), Code> {
        let _call = self.env.enter();
        let table = self.table(table)?;
        let txn = self.txn.as_mut().ok_or(Code::BAD_TXN)?;
        match txn.del(table, &key, None) {
            Err(lmdb::Error::NotFound) => Ok(()),
            other => Ok(other?),
        }
    }

    pub(crate) fn commit(mut self) -> Result<(), Code> {
        let _call = self.env.enter();
        Ok(self.txn.take().ok_or(Code::BAD_TXN)?.commit()?)
    }

    fn table(&self, table: usize) -> Result<lmdb::Database, Code> {
        self.env.tables.get(table).copied().flatten().ok_or(Code::NOT_FOUND)
    }
}

impl Drop for WriteTxn<'_> {
    fn drop(&mut self) {
        if self.txn.is_some() {
            let _call = self.env.enter();
            self.txn = None;
        }
    }
}

fn value_of(bytes: &[u8]) -> ffi::MDB_val {
    ffi::MDB_val { mv_size: bytes.len(), mv_data: bytes.as_ptr().cast_mut().cast() }
}

// ---------------------------------------------------------------------------------------------------------------------------
// One environment per file and process.

/// The right of this process to have a file open as an environment.
#[derive(Debug)]
pub(crate) struct Claim(u64, u64);

static CLAIMS: Mutex<Option<HashSet<(u64, u64)>>> = Mutex::new(None);

impl Claim {
    /// Claims the file with this device and inode; none when it is taken.
    pub(crate) fn take(device: u64, inode: u64) -> Option<Claim> {
        let new = locked(&CLAIMS).get_or_insert_default().insert((device, inode));
        new.then(|| Claim(device, inode))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(claims) = locked(&CLAIMS).as_mut() {
            claims.remove(&(self.0, self.1));
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------------
// Last words.

/// What is said when a signal ends a store call, made ready beforehand: a handler may not allocate.
struct LastWords {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl LastWords {
    fn new(shown: &Path) -> LastWords {
        // No control character of a path reaches a terminal.
        let mut path = String::new();
        for c in shown.to_string_lossy().chars() {
            let _ = if c.is_control() { write!(path, "{}", c.escape_default()) } else { write!(path, "{c}") };
        }
        LastWords {
            before: format!("error: the store of machine {path} is damaged (").into_bytes(),
            after: format!(" while reading)\nhint: abide verify {path}\n").into_bytes(),
        }
    }
}

/// Which store call this thread is in, for the signal handlers.
struct CallState {
    /// Null outside store calls.
    words: Cell<*const LastWords>,
    /// Whether the thread runs a visitor, where only an access to the map is the store's fault.
    visiting: Cell<bool>,
    map_start: Cell<usize>,
    map_end: Cell<usize>,
}

thread_local! {
    // Const and without a destructor, so that reading it in a handler allocates nothing.
    static CALL: CallState = const {
        CallState { words: Cell::new(ptr::null()), visiting: Cell::new(false), map_start: Cell::new(0), map_end: Cell::new(0) }
    };
}

/// While this exists, the thread is in a store call.
struct Call<'w> {
    outer: (*const LastWords, bool, usize, usize),
    words: PhantomData<&'w LastWords>,
}

impl<'w> Call<'w> {
    fn enter(words: &'w LastWords, map: std::ops::Range<usize>) -> Call<'w> {
        let outer = CALL.with(|call| {
            // The words go last: a signal in between still finds the state of the outer call, or none.
            let outer = call.words.replace(ptr::null());
            compiler_fence(Ordering::SeqCst);
            let outer =
                (outer, call.visiting.replace(false), call.map_start.replace(map.start), call.map_end.replace(map.end));
            compiler_fence(Ordering::SeqCst);
            call.words.set(words);
            outer
        });
        compiler_fence(Ordering::SeqCst);
        Call { outer, words: PhantomData }
    }

    /// Runs code of the caller that reads bytes of the map.
    fn visit<T>(&self, visitor: impl FnOnce() -> T) -> T {
        struct Visiting;
        impl Drop for Visiting {
            fn drop(&mut self) {
                compiler_fence(Ordering::SeqCst);
                CALL.with(|call| call.visiting.set(false));
            }
        }
        CALL.with(|call| call.visiting.set(true));
        compiler_fence(Ordering::SeqCst);
        let _visiting = Visiting;
        visitor()
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        let (words, visiting, start, end) = self.outer;
        CALL.with(|call| {
            call.words.set(ptr::null());
            compiler_fence(Ordering::SeqCst);
            call.visiting.set(visiting);
            call.map_start.set(start);
            call.map_end.set(end);
            compiler_fence(Ordering::SeqCst);
            call.words.set(words);
        });
    }
}

const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT, libc::SIGFPE];

/// Who handled these signals before.
static BEFORE: [OnceLock<libc::sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

fn install_handlers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
            // SAFETY: sigaction is plain data that is valid when zeroed; the pointers outlive the calls. The previous action is
            // recorded before ours is installed, so the handler always finds it.
            unsafe {
                let mut old: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, ptr::null(), &raw mut old);
                let _ = before.set(old);
                let mut ours: libc::sigaction = std::mem::zeroed();
                ours.sa_sigaction = on_signal as *const () as usize;
                ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigemptyset(&raw mut ours.sa_mask);
                libc::sigaction(signal, &raw const ours, ptr::null_mut());
            }
        }
    });
}

/// Ends the process if the signal is the store's doing, otherwise hands it on. Only async-signal-safe calls are made.
extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo.
    let (sent, sender, address) = unsafe { ((*info).si_code <= 0, (*info).si_pid(), (*info).si_addr() as usize) };
    let (words, ours) = CALL.with(|call| {
        let in_map = (call.map_start.get()..call.map_end.get()).contains(&address);
        let ours = match signal {
            // SAFETY: getpid is always safe. abort() sends the signal to its own process.
            libc::SIGABRT => !call.visiting.get() && sent && sender == unsafe { libc::getpid() },
            libc::SIGFPE => !call.visiting.get() && !sent,
            _ => !sent && (in_map || !call.visiting.get()),
        };
        (call.words.get(), ours)
    });
    if ours && !words.is_null() {
        let text = match signal {
            libc::SIGSEGV => "signal 11",
            libc::SIGBUS => "signal 7",
            libc::SIGABRT => "signal 6",
            _ => "signal 8",
        };
        // SAFETY: set by `Call::enter` from a reference that the call still holds.
        last_words(unsafe { &*words }, text.as_bytes());
    }
    hand_on(signal, info, context, sent);
}

fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void, sent: bool) {
    let before = SIGNALS.iter().position(|s| *s == signal).and_then(|index| BEFORE[index].get());
    let (handler, flags) = before.map_or((libc::SIG_DFL, 0), |before| (before.sa_sigaction, before.sa_flags));
    // SAFETY: the previous handler was installed by its owner with these flags, so it has this signature; sigaction gets valid
    // data; raise, like sigaction, is async-signal-safe.
    unsafe {
        match handler {
            libc::SIG_IGN if sent => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &raw const default, ptr::null_mut());
                libc::raise(signal);
            }
            _ if flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                    std::mem::transmute(handler);
                handler(signal, info, context);
            }
            _ => {
                let handler: extern "C" fn(c_int) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

/// LMDB found its own structures impossible and is about to abort.
extern "C" fn on_assert(_env: *mut ffi::MDB_env, message: *const libc::c_char) {
    let words = CALL.with(|call| call.words.get());
    if !words.is_null() && !message.is_null() {
        // SAFETY: the words were set by `Call::enter` from a reference the call still holds; the message is a C string.
        unsafe { last_words(&*words, CStr::from_ptr(message).to_bytes()) }
    }
}

fn last_words(words: &LastWords, what: &[u8]) -> ! {
    for text in [&words.before, what, &words.after] {
        // SAFETY: write and _exit are async-signal-safe and the slice is valid.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    }
    // SAFETY: ends the process without running anything.
    unsafe { libc::_exit(3) }
}

// ---------------------------------------------------------------------------------------------------------------------------
// Open-file-description locks.

fn whole_file(kind: c_int) -> libc::flock {
    // SAFETY: flock is plain data; zero means the whole file from its start, and is what these commands want as pid.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = i16::try_from(kind).unwrap_or_default();
    lock
}

/// Locks the file exclusively for the open description `file`; false when another description has it locked.
pub(crate) fn try_lock_file(file: &impl AsFd) -> io::Result<bool> {
    let lock = whole_file(libc::F_WRLCK);
    // SAFETY: the descriptor is borrowed and `lock` outlives the call.
    match unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        0 => Ok(true),
        _ => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            error => Err(error),
        },
    }
}

/// Gives the lock of the open description `file` back, whoever else has a descriptor of it.
pub(crate) fn unlock_file(file: &impl AsFd) -> io::Result<()> {
    let lock = whole_file(libc::F_UNLCK);
    // SAFETY: the descriptor is borrowed and `lock` outlives the call.
    match unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether another open description has the file locked.
pub(crate) fn is_file_locked(file: &impl AsFd) -> io::Result<bool> {
    let mut lock = whole_file(libc::F_WRLCK);
    // SAFETY: the descriptor is borrowed and `lock` outlives the call.
    match unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } {
        0 => Ok(c_int::from(lock.l_type) != libc::F_UNLCK),
        _ => Err(io::Error::last_os_error()),
    }
}
