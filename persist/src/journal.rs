//! One branch of a store as a sequence of commits: appending batches, checkpoints among them, and reading them back, proven.
//!
//! | table | key | value |
//! |---|---|---|
//! | meta | `format` | [`FORMAT`] as CBOR |
//! | branches | name | nothing: the branch runs, its record ([`crate::branch`]) is the tip |
//! | log | branch number (4, big-endian), first seq (8, big-endian) | frame of a batch |
//! | objects | id | frame of an object |
//!
//! In format 1 the record was the value in `branches`, and there was no tip. Such a store is read as it is; the first commit to it also makes it one of the
//! present format, as the first commit to a new one does.
//!
//! A batch proves the one before it by its id, and the branch record proves the last. Appending names the branch's last batch and fails
//! as a conflict if another one has come between.

use std::ops::ControlFlow;
use std::sync::Arc;

use seed::cbor::{self, CborError};
use seed::object::Link;
use seed::record::{Batch, Epoch, Record, Sealed};
use seed::{Domain, Id, LoadError, Seq};
use thiserror::Error;

use crate::branch::{Branch, MAIN, NotNext};
use crate::folder::FolderError;
use crate::objects::{FrameError, Framer, Shelf, unframe};
use crate::planted::{Bug, is_planted};
use crate::store::{CommitError, Reader, Store, StoreError, Table, Writes};

/// The format that a store has after a commit.
pub const FORMAT: u64 = 2;
/// The format whose records of branches are in their table.
const FORMAT_WITHOUT_TIP: u64 = 1;
const FORMAT_KEY: &[u8] = b"format";

/// One branch of a store, positioned at its end.
pub struct Journal {
    store: Arc<dyn Store>,
    framer: Framer,
    name: String,
    /// What the store has; nothing before the first commit.
    format: Option<u64>,
    branch: Option<Branch>,
}

/// What one commit makes durable.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The batch.
    pub batch: Sealed,
    /// For a checkpoint: every object that the batch's root needs and no earlier checkpoint holds.
    pub checkpoint: Option<Vec<(Link, Vec<u8>)>>,
}

/// Reading a journal failed.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The store failed.
    #[error("reading the store failed")]
    Store(#[from] StoreError),
    /// It has another format.
    #[error("the store has format {found}; this version reads formats up to {FORMAT}")]
    Format {
        /// Its format.
        found: u64,
    },
    /// It has no such branch.
    #[error("the store has no branch {name}")]
    NoBranch {
        /// The name asked for.
        name: String,
    },
    /// The record of a branch is neither in its table nor the tip, or both are there.
    #[error("the record of branch {name} is not where it should be")]
    Record {
        /// Its name.
        name: String,
    },
    /// The record of a branch is damaged.
    #[error("the record of branch {name} is damaged")]
    Branch {
        /// Its name.
        name: String,
        /// Where.
        source: CborError,
    },
    /// A batch is missing.
    #[error("the batch at seq {seq} is missing from the log")]
    Missing {
        /// The seq it should start with.
        seq: Seq,
    },
    /// A batch cannot be decompressed.
    #[error("the batch at seq {seq} is damaged")]
    Frame {
        /// Its first seq.
        seq: Seq,
        /// How.
        source: FrameError,
    },
    /// A batch is malformed.
    #[error("the batch at seq {seq} is malformed")]
    Batch {
        /// Its first seq.
        seq: Seq,
        /// Where.
        source: CborError,
    },
    /// A batch is not the one that its successor, or the branch, names.
    #[error("the batch at seq {seq} is {found}, and its successor names {expected}")]
    Chain {
        /// Its first seq.
        seq: Seq,
        /// What its successor names.
        expected: Id,
        /// What it is.
        found: Id,
    },
    /// Batches overlap or leave a gap.
    #[error("the log has a gap or an overlap at seq {seq}")]
    Gap {
        /// Where.
        seq: Seq,
    },
    /// An object is missing or damaged.
    #[error("an object is missing or damaged")]
    Object(#[from] LoadError),
    /// The compressor could not be made.
    #[error("setting up compression failed")]
    Compression(#[source] std::io::Error),
}

impl JournalError {
    /// Whether what is on disk is not what was written.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Store(error) => error.is_damage(),
            Self::Object(error) => error.is_damage(),
            // Every store with a format has the branch that it was booted on.
            Self::NoBranch { name } => name == MAIN,
            Self::Format { .. } | Self::Compression(_) => false,
            _ => true,
        }
    }
}

/// A commit that did not succeed.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The batch does not follow on the branch's last one.
    #[error("appending to branch {name} at seq {seq} conflicts with its end")]
    Conflict {
        /// The branch.
        name: String,
        /// The first seq of the batch offered.
        seq: Seq,
        /// Why.
        source: NotNext,
    },
    /// The folder could not be made one of the present version, which comes before the first commit to a store of an older format; nothing was committed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The store failed; whether the batch is durable is in the source.
    #[error("committing the batch at seq {seq} failed")]
    Commit {
        /// The first seq of the batch.
        seq: Seq,
        /// How.
        source: CommitError,
    },
}

impl AppendError {
    /// Whether what is on disk is not what was written.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Conflict { .. } => false,
            Self::Folder(error) => error.is_damage(),
            Self::Commit { source, .. } => source.store_error().is_damage(),
        }
    }
}

impl Journal {
    /// The branch `main` of a store, which may be new.
    ///
    /// # Errors
    /// If the store has another format or the branch record is damaged.
    pub fn open(store: Arc<dyn Store>) -> Result<Self, JournalError> {
        let framer = Framer::new().map_err(JournalError::Compression)?;
        let (format, branch) = read_branch(store.as_ref(), MAIN)?.unzip();
        Ok(Self { store, framer, name: MAIN.to_owned(), format, branch })
    }

    /// Where the branch stands; nothing before the first commit.
    #[must_use]
    pub fn branch(&self) -> Option<&Branch> {
        self.branch.as_ref()
    }

    /// The objects of the store.
    #[must_use]
    pub fn objects(&self) -> Shelf {
        Shelf::new(Arc::clone(&self.store))
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Makes a batch durable, and with it a checkpoint if it is one. When this returns, it is on disk.
    ///
    /// # Errors
    /// If the batch does not follow, or the store fails; then nothing more can be appended until the store is opened again.
    pub fn append(&mut self, commit: &Commit) -> Result<&Branch, AppendError> {
        let batch = &commit.batch;
        let next = Branch::after(self.branch.as_ref(), batch, batch.id(), commit.checkpoint.is_some())
            .map_err(|source| AppendError::Conflict { name: self.name.clone(), seq: batch.first, source })?;
        let mut writes = Writes::new();
        if self.format != Some(FORMAT) {
            self.put_format(&mut writes);
        }
        for ((domain, id), bytes) in commit.checkpoint.iter().flatten() {
            self.framer.put(&mut writes, *domain, id, bytes);
        }
        writes.put(Table::Log, log_key(next.number, batch.first), self.framer.frame(Domain::Object, batch.encoding()));
        writes.set_tip(next.encode());
        match self.store.commit(&writes) {
            Ok(()) => {}
            Err(CommitError::Unknown { .. }) if is_planted(Bug::UnknownTakenAsDone) => {}
            Err(source) => return Err(AppendError::Commit { seq: batch.first, source }),
        }
        self.format = Some(FORMAT);
        Ok(self.branch.insert(next))
    }

    /// Adds batches that were committed elsewhere, with their places in the log, to `writes`. Where the branch then stands is known here, and is stored with the
    /// last of them, by [`Journal::settle`].
    ///
    /// # Errors
    /// If one does not follow on the one before.
    pub(crate) fn adopt(&mut self, batch: &Batch, is_checkpoint: bool, writes: &mut Writes) -> Result<(), NotNext> {
        let encoding = batch.encode();
        let id = Id::of(Domain::Object, &encoding);
        let next = Branch::after(self.branch.as_ref(), batch, id, is_checkpoint)?;
        writes.put(Table::Log, log_key(next.number, batch.first), self.framer.frame(Domain::Object, &encoding));
        self.branch = Some(next);
        Ok(())
    }

    /// Adds what makes a store of adopted batches a machine's.
    pub(crate) fn settle(&self, writes: &mut Writes) {
        if let Some(branch) = &self.branch {
            self.put_format(writes);
            writes.set_tip(branch.encode());
        }
    }

    /// Adds what makes a store, new or of an older format, one of the present format whose tip is this branch's.
    fn put_format(&self, writes: &mut Writes) {
        let mut format = cbor::Writer::new();
        format.uint(FORMAT);
        writes.put(Table::Meta, FORMAT_KEY.to_vec(), format.finish());
        writes.put(Table::Branches, self.name.clone().into_bytes(), Vec::new());
    }

    /// The batches after the last checkpoint, proven: what has to be executed again to get to the branch's root.
    ///
    /// # Errors
    /// If one is missing or damaged.
    pub fn since_checkpoint(&self) -> Result<Vec<Batch>, JournalError> {
        let Some(branch) = &self.branch else { return Ok(Vec::new()) };
        let mut batches = Vec::new();
        let start = Start::After { batch: branch.checkpoint.batch, end: branch.checkpoint.end };
        each_batch(self.store.as_ref(), branch, start, &mut |batch, _| {
            batches.push(batch);
            ControlFlow::Continue(())
        })?;
        Ok(batches)
    }
}

/// Where reading of the log starts.
#[derive(Debug, Clone, Copy)]
pub enum Start {
    /// After a batch that is known: the first one read must name it.
    After {
        /// The batch before the first one read.
        batch: Id,
        /// The seq after it.
        end: Seq,
    },
    /// With the batch that holds this seq, whatever came before.
    At(Seq),
}

/// Shows every batch of the branch from `start` on, with its id. Each is proven by its successor before it is shown, the last by the branch.
///
/// # Errors
/// If a batch is missing, damaged or out of the chain.
pub fn each_batch(
    reader: &(impl Reader + ?Sized),
    branch: &Branch,
    start: Start,
    visit: &mut dyn FnMut(Batch, Id) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    let (first, previous) = match start {
        Start::After { batch, end } => (end, Some(batch)),
        Start::At(seq) => (first_of(reader, branch, seq)?, None),
    };
    if first >= branch.end {
        let proven = previous.is_none_or(|previous| previous == branch.batch && first == branch.end);
        return if proven { Ok(()) } else { Err(JournalError::Gap { seq: first }) };
    }
    let mut chain = Chain { branch, next: first, previous, held: None, failed: None };
    reader.scan(Table::Log, &log_key(branch.number, first), &mut |key, frame| match chain.take(key, frame, visit) {
        Ok(flow) => flow,
        Err(error) => {
            chain.failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    chain.finish(visit)
}

/// The epochs of a branch, in order. Reads all of its log.
///
/// # Errors
/// If a batch is missing, damaged or out of the chain.
pub fn epochs(reader: &(impl Reader + ?Sized), branch: &Branch) -> Result<Vec<Epoch>, JournalError> {
    let mut epochs = Vec::new();
    each_batch(reader, branch, Start::At(Seq(0)), &mut |batch, _| {
        epochs.extend(batch.records.into_iter().filter_map(|record| match record {
            Record::Epoch(epoch) => Some(epoch),
            _ => None,
        }));
        ControlFlow::Continue(())
    })?;
    Ok(epochs)
}

/// Holds each batch back until its successor has named it.
struct Chain<'a> {
    branch: &'a Branch,
    next: Seq,
    previous: Option<Id>,
    held: Option<(Batch, Id)>,
    failed: Option<JournalError>,
}

impl Chain<'_> {
    fn take(
        &mut self,
        key: &[u8],
        frame: &[u8],
        visit: &mut dyn FnMut(Batch, Id) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, JournalError> {
        let seq = self.next;
        if !key.starts_with(&self.branch.number.to_be_bytes()) || seq >= self.branch.end {
            return Ok(ControlFlow::Break(()));
        }
        if key != log_key(self.branch.number, seq) {
            return Err(JournalError::Missing { seq });
        }
        let (batch, id) = decode_batch(seq, frame)?;
        match (self.held.take(), self.previous) {
            (Some((held, held_id)), _) => {
                if batch.previous != Some(held_id) {
                    let expected = batch.previous.unwrap_or(id);
                    return Err(JournalError::Chain { seq: held.first, expected, found: held_id });
                }
                if visit(held, held_id).is_break() {
                    self.next = self.branch.end;
                    return Ok(ControlFlow::Break(()));
                }
            }
            (None, Some(previous)) if batch.previous != Some(previous) => {
                return Err(JournalError::Chain { seq, expected: previous, found: batch.previous.unwrap_or(id) });
            }
            (None, _) => {}
        }
        self.next = batch.end();
        self.held = Some((batch, id));
        Ok(ControlFlow::Continue(()))
    }

    fn finish(self, visit: &mut dyn FnMut(Batch, Id) -> ControlFlow<()>) -> Result<(), JournalError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.next != self.branch.end {
            return Err(JournalError::Missing { seq: self.next });
        }
        if let Some((batch, id)) = self.held {
            if id != self.branch.batch {
                return Err(JournalError::Chain { seq: batch.first, expected: self.branch.batch, found: id });
            }
            let _ = visit(batch, id);
        }
        Ok(())
    }
}

fn decode_batch(seq: Seq, frame: &[u8]) -> Result<(Batch, Id), JournalError> {
    let encoding = unframe(Domain::Object, frame).map_err(|source| JournalError::Frame { seq, source })?;
    let batch = Batch::decode(&encoding).map_err(|source| JournalError::Batch { seq, source })?;
    if batch.first != seq {
        return Err(JournalError::Gap { seq });
    }
    Ok((batch, Id::of(Domain::Object, &encoding)))
}

/// The first seq of the batch that holds `seq`.
fn first_of(reader: &(impl Reader + ?Sized), branch: &Branch, seq: Seq) -> Result<Seq, JournalError> {
    if seq >= branch.end {
        return Ok(branch.end);
    }
    match reader.at_or_before(Table::Log, &log_key(branch.number, seq))? {
        Some((key, _)) if key.len() == 12 && key.starts_with(&branch.number.to_be_bytes()) => {
            let first = key[4..].iter().fold(0, |first, &byte| first << 8 | u64::from(byte));
            Ok(Seq(first))
        }
        _ => Err(JournalError::Missing { seq }),
    }
}

/// Reads the format of a store and the record of a branch; nothing if the store has no format yet. `reader` is at one state, or nobody commits meanwhile.
///
/// # Errors
/// If the store has another format or no such branch, if the record is damaged or not where the format has it, or if the store fails.
pub fn read_branch(reader: &(impl Reader + ?Sized), name: &str) -> Result<Option<(u64, Branch)>, JournalError> {
    let Some(format) = read_format(reader)? else { return Ok(None) };
    let listed = reader.get(Table::Branches, name.as_bytes())?;
    let listed = listed.ok_or_else(|| JournalError::NoBranch { name: name.to_owned() })?;
    let record = match (format, reader.tip()?, listed.is_empty()) {
        (FORMAT_WITHOUT_TIP, None, false) => listed,
        (FORMAT, Some(tip), true) => tip,
        _ => return Err(JournalError::Record { name: name.to_owned() }),
    };
    let branch = Branch::decode(&record);
    branch.map(|branch| Some((format, branch))).map_err(|source| JournalError::Branch { name: name.to_owned(), source })
}

/// The format of a store; nothing if it has none yet.
fn read_format(reader: &(impl Reader + ?Sized)) -> Result<Option<u64>, JournalError> {
    let Some(bytes) = reader.get(Table::Meta, FORMAT_KEY)? else { return Ok(None) };
    let mut decoder = cbor::Reader::new(&bytes);
    match decoder.uint().and_then(|format| decoder.end().map(|()| format)) {
        Ok(format @ FORMAT_WITHOUT_TIP..=FORMAT) => Ok(Some(format)),
        Ok(found) => Err(JournalError::Format { found }),
        Err(source) => Err(JournalError::Branch { name: "(format)".to_owned(), source }),
    }
}

fn log_key(branch: u32, first: Seq) -> Vec<u8> {
    [&branch.to_be_bytes()[..], &first.0.to_be_bytes()].concat()
}
