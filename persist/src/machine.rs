//! A machine at rest in its folder: made, opened for running, opened for reading, copied.
//!
//! The types are the states: [`NewMachine`] is being made under a temporary name, [`Machine`] is locked and may be appended to,
//! [`Reading`] looks on beside whoever runs it. Opening proves the folder's parts against each other: format, sizes, branch record,
//! and the `head` file, so that a store older than what was last acknowledged is damage and not a surprise.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use seed::object::Link;
use seed::pack::{self, ReadError};
use seed::record::Batch;
use seed::{Domain, Id, Seq};
use thiserror::Error;

use crate::branch::{Branch, MAIN};
use crate::folder::{Folder, FolderError, Identity, LockError, LockedFolder, NewFolder};
use crate::head::{self, Head, HeadError, HeadFile};
use crate::journal::{AppendError, Commit, Journal, JournalError, read_branch};
use crate::objects::{Framer, Shelf};
use crate::store::lmdb::{LmdbStore, Options};
use crate::store::{CommitError, Store, StoreError, Writes};

/// Bytes of objects in one transaction of an import.
const IMPORT_BYTES: u64 = 32 << 20;

/// What was attempted with a machine and failed.
#[derive(Debug, Error)]
pub enum MachineError {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A commit to its store.
    #[error("writing the machine failed")]
    Commit(#[from] CommitError),
    /// Its log.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its head file.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The store is older than what was last acknowledged.
    #[error("the store of {} ends at seq {store}, but seq {head} was acknowledged", path.display())]
    Older {
        /// The machine.
        path: PathBuf,
        /// Where the store ends.
        store: Seq,
        /// Where the head says that it ends.
        head: Seq,
    },
    /// The store and the head file tell of different batches.
    #[error("the store of {} and its head file disagree about the batch before seq {seq}", path.display())]
    OtherBatch {
        /// The machine.
        path: PathBuf,
        /// The seq after the batch.
        seq: Seq,
    },
    /// A store without a branch: the machine was never booted.
    #[error("the store of {} holds no machine", path.display())]
    Empty {
        /// The machine.
        path: PathBuf,
    },
    /// A seed could not be read.
    #[error("reading the seed failed")]
    Seed(#[from] ReadError),
    /// The compressor could not be made.
    #[error("setting up compression failed")]
    Compression(#[source] std::io::Error),
}

impl MachineError {
    /// Whether what is on disk is not what was written.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Folder(error) => error.is_damage(),
            Self::Store(error) => error.is_damage(),
            Self::Commit(error) => error.store_error().is_damage(),
            Self::Journal(error) => error.is_damage(),
            Self::Head(error) => error.is_damage(),
            Self::Older { .. } | Self::OtherBatch { .. } | Self::Empty { .. } => true,
            Self::Lock(_) | Self::Seed(_) | Self::Compression(_) => false,
        }
    }
}

/// A machine that is being made. Dropped before [`NewMachine::publish`], it leaves nothing behind.
pub struct NewMachine {
    // Dropped first: the store must be closed before its folder moves or goes.
    journal: Journal,
    folder: NewFolder,
}

impl NewMachine {
    /// Begins a machine that will appear at `place`. `nonce` is random.
    ///
    /// # Errors
    /// If something is there already, or the folder cannot be made.
    pub fn begin(place: &Path, nonce: u64) -> Result<Self, MachineError> {
        let folder = NewFolder::begin(place, nonce)?;
        let store: Arc<dyn Store> = Arc::new(LmdbStore::create(folder.path(), &Options::default())?);
        Ok(Self { journal: Journal::open(store)?, folder })
    }

    /// Takes in every object of a seed. Its root.
    ///
    /// # Errors
    /// If the seed is not one, or holds more than `bytes_max`, or the store fails.
    pub fn import(&mut self, seed: &[u8], bytes_max: u64) -> Result<Link, MachineError> {
        let framer = Framer::new().map_err(MachineError::Compression)?;
        let store = self.journal.store();
        let mut writes = Writes::new();
        let root = pack::read(seed, bytes_max, &|_| false, &mut |(domain, id), bytes| {
            framer.put(&mut writes, domain, &id, &bytes);
            if writes.bytes() > IMPORT_BYTES {
                store.commit(&std::mem::take(&mut writes))?;
            }
            Ok(())
        })?;
        store.commit(&writes)?;
        Ok(root)
    }

    /// Takes in one object more.
    ///
    /// # Errors
    /// If the store fails.
    pub fn keep(&mut self, domain: Domain, id: &Id, bytes: &[u8]) -> Result<(), MachineError> {
        let framer = Framer::new().map_err(MachineError::Compression)?;
        let mut writes = Writes::new();
        framer.put(&mut writes, domain, id, bytes);
        Ok(self.journal.store().commit(&writes)?)
    }

    /// The objects taken in.
    #[must_use]
    pub fn objects(&self) -> Shelf {
        self.journal.objects()
    }

    pub(crate) fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Where the new machine will be known to have begun.
    ///
    /// # Errors
    /// If its folder cannot be looked at.
    pub fn identity(&self) -> Result<Identity, MachineError> {
        // A rename keeps device and inode.
        Ok(Folder::open(self.folder.path())?.identity())
    }

    /// Makes a batch durable.
    ///
    /// # Errors
    /// If the store fails.
    pub fn append(&mut self, commit: &Commit) -> Result<&Branch, AppendError> {
        self.journal.append(commit)
    }

    /// Moves the machine to its place, whole. Every [`Shelf`] of it must have been dropped.
    ///
    /// # Errors
    /// If nothing was appended, or the folder cannot be moved; nothing is left behind then.
    pub fn publish(self) -> Result<LockedFolder, MachineError> {
        Ok(self.close()?.publish()?)
    }

    /// Closes the machine where it is being made, so that it can be looked at before it is moved. Every [`Shelf`] of it must have been dropped.
    ///
    /// # Errors
    /// If nothing was appended, or its head cannot be written; nothing is left behind then.
    pub fn close(self) -> Result<NewFolder, MachineError> {
        let Self { journal, folder } = self;
        let branch = journal.branch().ok_or_else(|| MachineError::Empty { path: folder.path().to_owned() })?;
        HeadFile::create(folder.path(), &head_of(branch))?;
        drop(journal);
        Ok(folder)
    }
}

/// A machine of which this process is the one writer.
pub struct Machine {
    // Dropped in this order: the store closes before the lock is given back.
    journal: Journal,
    head: HeadFile,
    folder: LockedFolder,
}

impl Machine {
    /// Locks and opens the machine at `path`.
    ///
    /// # Errors
    /// If it is not a machine, is damaged, or another process has it.
    pub fn open(path: &Path) -> Result<Self, MachineError> {
        Self::open_locked(Folder::open(path)?.lock()?)
    }

    /// Opens a machine whose folder is locked already.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn open_locked(folder: LockedFolder) -> Result<Self, MachineError> {
        let path = folder.path();
        let head = HeadFile::open(path)?;
        let store: Arc<dyn Store> = Arc::new(LmdbStore::open(path, &Options::default())?);
        let journal = Journal::open(store)?;
        let branch = journal.branch().ok_or_else(|| MachineError::Empty { path: path.to_owned() })?;
        compare(path, branch, head.newest())?;
        Ok(Self { journal, head, folder })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        self.folder.folder()
    }

    /// Where its branch stands.
    ///
    /// # Panics
    /// Never: an open machine has a branch.
    #[must_use]
    pub fn branch(&self) -> &Branch {
        match self.journal.branch() {
            Some(branch) => branch,
            None => unreachable!("a machine is only opened with a branch"),
        }
    }

    /// Its objects.
    #[must_use]
    pub fn objects(&self) -> Shelf {
        self.journal.objects()
    }

    /// Its store, for reading beside what is appended.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.journal.store())
    }

    /// The batches after the last checkpoint, proven.
    ///
    /// # Errors
    /// If one is missing or damaged.
    pub fn since_checkpoint(&self) -> Result<Vec<Batch>, MachineError> {
        Ok(self.journal.since_checkpoint()?)
    }

    /// Makes a batch durable, then notes it in the head file. A machine of an older format becomes one of the present format with the first: until then an
    /// older version of abide can still finish what it began.
    ///
    /// # Errors
    /// If the folder or the store fails. After a failed commit nothing more can be appended until the machine is opened again.
    pub fn append(&mut self, commit: &Commit) -> Result<&Branch, AppendError> {
        self.folder.raise_version()?;
        let branch = self.journal.append(commit)?;
        // Unsynced and for detection only: a head that cannot be written makes the next opening less strict, not wrong.
        if let Err(error) = self.head.write(&head_of(branch)) {
            tracing::warn!(%error, "the head file cannot be written");
        }
        Ok(branch)
    }
}

/// A machine that is looked at, perhaps while another process runs it.
pub struct Reading {
    store: Arc<LmdbStore>,
    branch: Branch,
    folder: Folder,
}

impl Reading {
    /// Opens the machine at `path` for reading. The branch record is as of now.
    ///
    /// # Errors
    /// If it is not a machine, or is damaged.
    pub fn open(path: &Path) -> Result<Self, MachineError> {
        let folder = Folder::open(path)?;
        // In this order: a writer notes a commit in the head after it is in the store.
        let head = head::read(path)?;
        let store = Arc::new(LmdbStore::open_read_only(path, &Options::default())?);
        let branch = main_of(&store, path)?;
        compare(path, &branch, &head)?;
        Ok(Self { store, branch, folder })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Where its branch stood when it was opened or last refreshed.
    #[must_use]
    pub fn branch(&self) -> &Branch {
        &self.branch
    }

    /// Looks again where the branch stands.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn refresh(&mut self) -> Result<&Branch, MachineError> {
        self.branch = main_of(&self.store, self.folder.path())?;
        Ok(&self.branch)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &LmdbStore {
        &self.store
    }

    /// Its objects.
    #[must_use]
    pub fn objects(&self) -> Shelf {
        Shelf::new(Arc::clone(&self.store) as Arc<dyn Store>)
    }

    /// Copies the machine to `place`, as of one moment, whoever runs it meanwhile. The copy is the same machine at the same root; its
    /// next start finds that the folder is another and begins a new epoch.
    ///
    /// # Errors
    /// If something is there already, or copying fails; nothing is left behind then.
    pub fn copy(&self, place: &Path, nonce: u64) -> Result<Branch, MachineError> {
        let folder = NewFolder::begin(place, nonce)?;
        self.store.copy_to(folder.path())?;
        let copied = LmdbStore::open_read_only(folder.path(), &Options::default())?;
        let branch = main_of(&copied, folder.path())?;
        drop(copied);
        HeadFile::create(folder.path(), &head_of(&branch))?;
        folder.publish()?;
        Ok(branch)
    }
}

/// Where a machine's branch stands. Its store may be written meanwhile, so that all of it is read from one state.
fn main_of(store: &LmdbStore, path: &Path) -> Result<Branch, MachineError> {
    let (_, branch) =
        read_branch(store.snapshot()?.as_ref(), MAIN)?.ok_or_else(|| MachineError::Empty { path: path.to_owned() })?;
    Ok(branch)
}

fn head_of(branch: &Branch) -> Head {
    Head {
        counter: branch.end.0,
        seq: branch.end.0,
        batch: branch.batch.as_bytes().to_vec(),
        root: branch.root.as_bytes().to_vec(),
    }
}

/// A store may be newer than its head, which is not synced; never older, and never another at the same seq.
fn compare(path: &Path, branch: &Branch, head: &Head) -> Result<(), MachineError> {
    if head.seq > branch.end.0 {
        return Err(MachineError::Older { path: path.to_owned(), store: branch.end, head: Seq(head.seq) });
    }
    let same = Id::from_bytes(&head.batch) == Some(branch.batch) && Id::from_bytes(&head.root) == Some(branch.root);
    if head.seq == branch.end.0 && !same {
        return Err(MachineError::OtherBatch { path: path.to_owned(), seq: branch.end });
    }
    Ok(())
}
