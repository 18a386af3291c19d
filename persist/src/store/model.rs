//! A disk in memory that fails on demand: the other implementation of [`Store`], for simulation and fault tests.
//!
//! A [`ModelDisk`] is what survives; stores and head files opened on it are what a process holds. Everything is deterministic
//! from its seed. It models what was measured of LMDB on real file systems: a commit is atomic and durable when it succeeds; when
//! it fails it may or may not be on disk; the head file's writes are unsynced, so a power cut may lose any of them, but a 512-byte
//! sector is old or new. Beyond that it does what rot and people do: flips bits, loses values, brings back an older state.
//!
//! To sweep: run once, ask [`ModelDisk::counts`] how many reads and commits there were, then run again failing at each.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Cause, CommitError, Entry, Reader, Settled, Store, StoreError, Table, Usage, Visit, Writes, check_key};
use crate::head::HeadDisk;
use crate::planted::{Bug, is_planted};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
/// The tables by number, then the tip: a map that holds nothing, or the tip under [`TIP_KEY`].
type Tables = [Arc<Map>; TIP + 1];

const TIP: usize = Table::ALL.len();
/// No table holds an empty key.
const TIP_KEY: &[u8] = b"";

/// What a change replaced, by position in [`Tables`] and key: none where nothing was.
type Replaced = (usize, Vec<u8>, Option<Vec<u8>>);

const SECTOR_BYTES: usize = 512;

/// How a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// Surely nothing was written, and the caller is told so.
    NotDone,
    /// The caller is told that nobody knows, and it is on disk.
    UnknownDone,
    /// The caller is told that nobody knows, and it is not on disk.
    UnknownNotDone,
}

/// How many operations there have been, failed ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that read.
    pub reads: u64,
    /// Calls of commit.
    pub commits: u64,
    /// Writes of the head file.
    pub head_writes: u64,
}

/// What survives: the tables, the head file, and the faults still to come.
#[derive(Clone)]
pub struct ModelDisk(Arc<Mutex<Disk>>);

struct Disk {
    random: u64,
    tables: Tables,
    commits: u64,
    /// What each commit replaced, oldest first.
    undo: Vec<Vec<Replaced>>,
    head: Vec<u8>,
    head_unsynced: Vec<(usize, Vec<u8>)>,
    /// Newest commits that a power cut takes back: none, unless [`Bug::SkippedSync`] is planted.
    unsynced: usize,
    /// Handles of an older generation belong to a process that is gone.
    generation: u64,
    counts: Counts,
    read_faults: BTreeSet<u64>,
    commit_faults: BTreeMap<u64, CommitFault>,
    head_faults: BTreeSet<u64>,
    capacity: Option<u64>,
    copies: BTreeMap<PathBuf, ModelDisk>,
}

impl ModelDisk {
    /// An empty disk whose accidents follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> ModelDisk {
        ModelDisk(Arc::new(Mutex::new(Disk {
            random: seed,
            tables: Tables::default(),
            commits: 0,
            undo: Vec::new(),
            head: Vec::new(),
            head_unsynced: Vec::new(),
            unsynced: 0,
            generation: 0,
            counts: Counts::default(),
            read_faults: BTreeSet::new(),
            commit_faults: BTreeMap::new(),
            head_faults: BTreeSet::new(),
            capacity: None,
            copies: BTreeMap::new(),
        })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the store, as a process does after whatever happened.
    #[must_use]
    pub fn open(&self) -> ModelStore {
        let generation = self.disk().generation;
        ModelStore { handle: Arc::new(Handle { disk: self.clone(), generation, poisoned: AtomicBool::new(false) }) }
    }

    /// The head file.
    #[must_use]
    pub fn head(&self) -> ModelHead {
        ModelHead { disk: self.clone(), generation: self.disk().generation }
    }

    /// The operations so far; the next read is number `reads`, and so on.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.disk().counts
    }

    /// Makes the read with this number fail with an I/O error.
    pub fn fail_read(&self, number: u64) {
        self.disk().read_faults.insert(number);
    }

    /// Makes the commit with this number fail.
    pub fn fail_commit(&self, number: u64, fault: CommitFault) {
        self.disk().commit_faults.insert(number, fault);
    }

    /// Makes the head write with this number fail with an I/O error.
    pub fn fail_head_write(&self, number: u64) {
        self.disk().head_faults.insert(number);
    }

    /// Limits the bytes of all keys and values; none lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// The process dies: its handles work no more, the disk keeps everything.
    pub fn kill(&self) {
        self.disk().generation += 1;
    }

    /// The power fails: as [`ModelDisk::kill`], and of what was not synced some is lost, some torn.
    pub fn cut_power(&self) {
        let mut disk = self.disk();
        disk.generation += 1;
        let unsynced = std::mem::take(&mut disk.head_unsynced);
        // Each sector is as some write left it, or as it was: sectors reach the disk in no particular order.
        let sectors = unsynced.iter().map(|(at, bytes)| (at + bytes.len()).div_ceil(SECTOR_BYTES)).max().unwrap_or(0);
        let mut states = vec![disk.head.clone()];
        for (at, bytes) in unsynced {
            let mut state = states.last().cloned().unwrap_or_default();
            write_bytes(&mut state, at, &bytes);
            states.push(state);
        }
        let mut left = disk.head.clone();
        for sector in 0..sectors {
            let state = &states[disk.below(states.len() as u64)];
            let at = sector * SECTOR_BYTES;
            let end = state.len().min(at + SECTOR_BYTES);
            if at < end {
                write_bytes(&mut left, at, &state[at..end]);
            }
        }
        disk.head = left;
        let unsynced = std::mem::take(&mut disk.unsynced);
        disk.roll_back(unsynced);
    }

    /// The head file is synced, as at the folder's creation.
    pub fn sync_head(&self) {
        let mut disk = self.disk();
        for (at, bytes) in std::mem::take(&mut disk.head_unsynced) {
            write_bytes(&mut disk.head, at, &bytes);
        }
    }

    /// Flips one bit of the value under `key`; false when there is no such bit.
    #[must_use]
    pub fn flip_bit(&self, table: Table, key: &[u8], bit: usize) -> bool {
        self.flip(table.index(), key, bit)
    }

    /// Flips one bit of the tip; false when it has no such bit.
    #[must_use]
    pub fn flip_tip_bit(&self, bit: usize) -> bool {
        self.flip(TIP, TIP_KEY, bit)
    }

    fn flip(&self, table: usize, key: &[u8], bit: usize) -> bool {
        let mut disk = self.disk();
        let value = Arc::make_mut(&mut disk.tables[table]).get_mut(key);
        match value.and_then(|value| value.get_mut(bit / 8)) {
            Some(byte) => {
                *byte ^= 1 << (bit % 8);
                true
            }
            None => false,
        }
    }

    /// Flips a random bit of a random value of `table`; none when the table has no bits.
    #[must_use]
    pub fn flip_any_bit(&self, table: Table) -> Option<Vec<u8>> {
        self.flip_any(table.index())
    }

    /// Flips a random bit of the tip; false when there is none.
    #[must_use]
    pub fn flip_any_tip_bit(&self) -> bool {
        self.flip_any(TIP).is_some()
    }

    fn flip_any(&self, table: usize) -> Option<Vec<u8>> {
        let (key, bit) = {
            let mut disk = self.disk();
            let map = Arc::clone(&disk.tables[table]);
            let candidates: Vec<_> = map.iter().filter(|(_, value)| !value.is_empty()).collect();
            if candidates.is_empty() {
                return None;
            }
            let (key, value) = candidates[disk.below(candidates.len() as u64)];
            (key.clone(), disk.below(value.len() as u64 * 8))
        };
        self.flip(table, &key, bit).then_some(key)
    }

    /// Loses the value under `key`; false when there is none.
    #[must_use]
    pub fn lose(&self, table: Table, key: &[u8]) -> bool {
        Arc::make_mut(&mut self.disk().tables[table.index()]).remove(key).is_some()
    }

    /// Loses the tip; false when there is none.
    #[must_use]
    pub fn lose_tip(&self) -> bool {
        Arc::make_mut(&mut self.disk().tables[TIP]).remove(TIP_KEY).is_some()
    }

    /// Replaces the value under `key` by an arbitrary one, as a stale or misdirected write does.
    pub fn overwrite(&self, table: Table, key: &[u8], value: &[u8]) {
        Arc::make_mut(&mut self.disk().tables[table.index()]).insert(key.to_vec(), value.to_vec());
    }

    /// All keys of `table`, in order.
    #[must_use]
    pub fn keys(&self, table: Table) -> Vec<Vec<u8>> {
        self.disk().tables[table.index()].keys().cloned().collect()
    }

    /// Brings back the store as it was `commits` commits ago; the head file stays. False when it is not that old.
    #[must_use]
    pub fn roll_back(&self, commits: usize) -> bool {
        self.disk().roll_back(commits)
    }

    /// The copy that [`Store::copy_to`] made in `folder`.
    #[must_use]
    pub fn copy_in(&self, folder: &Path) -> Option<ModelDisk> {
        self.disk().copies.get(folder).cloned()
    }
}

impl Disk {
    /// A number below `limit`, by splitmix64.
    fn below(&mut self, limit: u64) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit.max(1)).unwrap_or(0)
    }

    fn roll_back(&mut self, commits: usize) -> bool {
        if commits > self.undo.len() {
            return false;
        }
        for _ in 0..commits {
            let Some(undo) = self.undo.pop() else { break };
            self.commits -= 1;
            for (table, key, old) in undo {
                set(&mut self.tables, table, &key, old);
            }
        }
        true
    }

    fn used(&self) -> u64 {
        self.tables.iter().flat_map(|map| map.iter()).map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn apply(&mut self, writes: &Settled<'_>) {
        let changes = writes.changes.iter().map(|change| (change.table.index(), &*change.key, change.value.clone()));
        let tip = writes.tip.map(|tip| (TIP, TIP_KEY, Some(tip.to_vec())));
        let mut undo = Vec::with_capacity(writes.changes.len() + 1);
        for (table, key, value) in changes.chain(tip) {
            let old = set(&mut self.tables, table, key, value);
            undo.push((table, key.to_vec(), old));
        }
        self.undo.push(undo);
        self.commits += 1;
    }
}

fn set(tables: &mut Tables, table: usize, key: &[u8], value: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let map = Arc::make_mut(&mut tables[table]);
    match value {
        Some(value) => map.insert(key.to_vec(), value),
        None => map.remove(key),
    }
}

fn write_bytes(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    file.resize(file.len().max(at + bytes.len()), 0);
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A store opened on a [`ModelDisk`].
pub struct ModelStore {
    handle: Arc<Handle>,
}

struct Handle {
    disk: ModelDisk,
    generation: u64,
    poisoned: AtomicBool,
}

const SHOWN: &str = "model";

fn eio() -> Cause {
    Cause::Io(io::Error::from_raw_os_error(libc::EIO))
}

impl Handle {
    /// The disk, if this handle may still use it.
    fn usable(&self) -> Result<MutexGuard<'_, Disk>, StoreError> {
        let disk = self.disk.disk();
        if self.poisoned.load(Ordering::Acquire) || disk.generation != self.generation {
            return Err(StoreError::Poisoned { path: SHOWN.into() });
        }
        Ok(disk)
    }

    /// Counts a read of `table` and returns what it should see: `fixed`, or the newest state.
    fn read(&self, table: Table, fixed: Option<&Tables>) -> Result<Arc<Map>, StoreError> {
        let failed = |cause| StoreError::Read { path: SHOWN.into(), table, cause };
        self.read_map(table.index(), fixed, &failed)
    }

    /// The same of the tip.
    fn read_tip(&self, fixed: Option<&Tables>) -> Result<Arc<Map>, StoreError> {
        self.read_map(TIP, fixed, &|cause| StoreError::Snapshot { path: SHOWN.into(), cause })
    }

    fn read_map(
        &self,
        table: usize,
        fixed: Option<&Tables>,
        failed: &dyn Fn(Cause) -> StoreError,
    ) -> Result<Arc<Map>, StoreError> {
        let mut disk = self.usable()?;
        let number = disk.counts.reads;
        disk.counts.reads += 1;
        if disk.read_faults.contains(&number) {
            return Err(failed(eio()));
        }
        Ok(Arc::clone(&fixed.unwrap_or(&disk.tables)[table]))
    }
}

fn read_value(map: &Map, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> bool {
    map.get(key).map(|value| visit(value)).is_some()
}

fn read_at_or_before(map: &Map, key: &[u8]) -> Option<Entry> {
    let range = (Bound::Unbounded, Bound::Included(key));
    map.range::<[u8], _>(range).next_back().map(|(key, value)| (key.clone(), value.clone()))
}

fn read_scan(map: &Map, from: &[u8], visit: &mut Visit<'_>) {
    let range = (Bound::Included(from), Bound::Unbounded);
    let _ = map.range::<[u8], _>(range).try_for_each(|(key, value)| visit(key, value));
}

struct View {
    handle: Arc<Handle>,
    /// The state a snapshot stays at; none for the newest.
    tables: Option<Tables>,
}

impl Reader for View {
    fn get_with(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Result<bool, StoreError> {
        check_key(key)?;
        Ok(read_value(&*self.handle.read(table, self.tables.as_ref())?, key, visit))
    }

    fn tip(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.handle.read_tip(self.tables.as_ref())?.get(TIP_KEY).cloned())
    }

    fn at_or_before(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        Ok(read_at_or_before(&*self.handle.read(table, self.tables.as_ref())?, key))
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if !from.is_empty() {
            check_key(from)?;
        }
        read_scan(&*self.handle.read(table, self.tables.as_ref())?, from, visit);
        Ok(())
    }
}

impl ModelStore {
    fn newest(&self) -> View {
        View { handle: Arc::clone(&self.handle), tables: None }
    }
}

impl Reader for ModelStore {
    fn get_with(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Result<bool, StoreError> {
        self.newest().get_with(table, key, visit)
    }

    fn tip(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.newest().tip()
    }

    fn at_or_before(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.newest().at_or_before(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.newest().scan(table, from, visit)
    }
}

impl Store for ModelStore {
    fn commit(&self, writes: &Writes) -> Result<(), CommitError> {
        let not_done = |source| CommitError::NotDone { source };
        let mut disk = self.handle.usable().map_err(not_done)?;
        let settled = writes.settled().map_err(not_done)?;
        if writes.is_empty() {
            return Ok(());
        }
        let number = disk.counts.commits;
        disk.counts.commits += 1;
        let fault = disk.commit_faults.get(&number).copied();
        let poison = |cause| {
            self.handle.poisoned.store(true, Ordering::Release);
            StoreError::Commit { path: SHOWN.into(), cause }
        };
        match fault {
            Some(CommitFault::NotDone) => return Err(CommitError::NotDone { source: poison(eio()) }),
            Some(CommitFault::UnknownNotDone) => return Err(CommitError::Unknown { source: poison(eio()) }),
            Some(CommitFault::UnknownDone) => {
                disk.apply(&settled);
                return Err(CommitError::Unknown { source: poison(eio()) });
            }
            None => {}
        }
        if let Some(capacity) = disk.capacity {
            let available = capacity.saturating_sub(disk.used());
            if writes.bytes() > available {
                // LMDB finds out while it commits, so that even this is unknown to the caller.
                return Err(CommitError::Unknown { source: poison(Cause::Full { available }) });
            }
        }
        disk.apply(&settled);
        let is_synced = !(is_planted(Bug::SkippedSync) && number % 3 == 2);
        disk.unsynced = if is_synced { 0 } else { disk.unsynced + 1 };
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn Reader + Send>, StoreError> {
        let tables = self.handle.usable()?.tables.clone();
        Ok(Box::new(View { handle: Arc::clone(&self.handle), tables: Some(tables) }))
    }

    fn copy_to(&self, folder: &Path) -> Result<(), StoreError> {
        let mut disk = self.handle.usable()?;
        let copy = ModelDisk::new(disk.random);
        copy.disk().tables = disk.tables.clone();
        copy.disk().commits = disk.commits;
        disk.copies.insert(folder.to_owned(), copy);
        Ok(())
    }

    fn usage(&self) -> Result<Usage, StoreError> {
        let disk = self.handle.usable()?;
        let used = disk.used();
        let mut entries = [0; Table::ALL.len()];
        for table in Table::ALL {
            entries[table.index()] = disk.tables[table.index()].len() as u64;
        }
        let map_bytes = disk.capacity.unwrap_or(u64::MAX);
        Ok(Usage { file_bytes: used, used_bytes: used, map_bytes, commit: disk.commits, entries })
    }
}

/// A head file on a [`ModelDisk`].
pub struct ModelHead {
    disk: ModelDisk,
    generation: u64,
}

impl HeadDisk for ModelHead {
    fn read_all(&mut self) -> io::Result<Vec<u8>> {
        let disk = self.disk.disk();
        if disk.head.is_empty() && disk.head_unsynced.is_empty() {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let mut bytes = disk.head.clone();
        for (at, written) in &disk.head_unsynced {
            write_bytes(&mut bytes, *at, written);
        }
        Ok(bytes)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let number = disk.counts.head_writes;
        disk.counts.head_writes += 1;
        if disk.generation != self.generation || disk.head_faults.contains(&number) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let offset = usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        disk.head_unsynced.push((offset, bytes.to_vec()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    fn write(key: &str, value: &str) -> Writes {
        let mut writes = Writes::new();
        writes.put(Table::Log, key.into(), value.into());
        writes
    }

    #[test]
    fn the_model_is_a_store() {
        conformance::check(&mut || {
            let disk = ModelDisk::new(0);
            Box::new(move || Box::new(disk.open()))
        });
    }

    /// Count the commits, then fail each of them in each way: what is on disk afterwards is what the fault says.
    #[test]
    fn a_sweep_over_every_commit_and_every_way_to_fail() {
        let run = |disk: &ModelDisk| {
            let store = disk.open();
            (0..4).try_for_each(|n| store.commit(&write(&format!("{n}"), "v"))).map_err(|error| (error, store))
        };
        let disk = ModelDisk::new(1);
        assert!(run(&disk).is_ok());
        let commits = disk.counts().commits;
        assert_eq!(commits, 4);
        for number in 0..commits {
            for fault in [CommitFault::NotDone, CommitFault::UnknownDone, CommitFault::UnknownNotDone] {
                let disk = ModelDisk::new(1);
                disk.fail_commit(number, fault);
                let (error, store) = run(&disk).err().unwrap();
                assert_eq!(matches!(error, CommitError::NotDone { .. }), fault == CommitFault::NotDone);
                assert!(matches!(store.get(Table::Log, b"0"), Err(StoreError::Poisoned { .. })));
                let done = number + u64::from(fault == CommitFault::UnknownDone);
                assert_eq!(disk.open().usage().unwrap().entries[Table::Log.index()], done);
            }
        }
    }

    #[test]
    fn rot_loss_stale_states_full_disks_and_dead_processes() {
        let disk = ModelDisk::new(2);
        let store = disk.open();
        store.commit(&write("a", "1")).unwrap();
        store.commit(&write("a", "2")).unwrap();
        store.commit(&write("b", "3")).unwrap();
        let snapshot = store.snapshot().unwrap();
        assert!(disk.roll_back(2));
        assert_eq!(store.get(Table::Log, b"a").unwrap().unwrap(), b"1");
        assert_eq!(store.get(Table::Log, b"b").unwrap(), None);
        assert_eq!(snapshot.get(Table::Log, b"b").unwrap().unwrap(), b"3");
        assert!(!disk.roll_back(2));
        assert_eq!(disk.flip_any_bit(Table::Log).unwrap(), b"a");
        assert_ne!(store.get(Table::Log, b"a").unwrap().unwrap(), b"1");
        assert!(disk.lose(Table::Log, b"a") && !disk.lose(Table::Log, b"a"));
        disk.set_capacity(Some(3));
        store.commit(&write("c", "4")).unwrap();
        assert!(store.commit(&write("d", "5")).unwrap_err().store_error().is_full());
        let store = disk.open();
        disk.fail_read(disk.counts().reads + 1);
        assert!(store.get(Table::Log, b"c").is_ok());
        assert!(matches!(store.get(Table::Log, b"c"), Err(StoreError::Read { .. })));
        assert!(store.get(Table::Log, b"c").is_ok());
        disk.kill();
        assert!(matches!(store.get(Table::Log, b"c"), Err(StoreError::Poisoned { .. })));
        assert!(disk.open().get(Table::Log, b"c").is_ok());
    }
}
