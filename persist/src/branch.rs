//! Branches: named sequences of images and log records, as in git. One record a branch says where it stands; it changes with every
//! commit, in the same transaction as the batch.
//!
//! ```text
//! branch      [number, parent, end, batch, root, time, checkpoint, epoch]
//! parent      []  or  [number of the parent branch, seq of the first record that is not shared]
//! checkpoint  [end, batch, root]
//! epoch       [first_seq, record]      the record of ../seed/record.rs that opened it
//! ```
//!
//! Stored as the tip ([`crate::store`]), in format 1 under its name, as `[branch, id of the encoding of branch]`, so that a damaged record is noticed before it is believed.
//! `end` is the seq after the last record; `batch` is empty only before the first commit.

use seed::cbor::{CborError, Fault, Reader, Writer};
use seed::record::{Batch, Epoch, Record};
use seed::{Domain, Id, Nanos, Seq};

/// The branch that a machine runs on unless another is named.
pub const MAIN: &str = "main";

/// Where a branch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its number, in the keys of the log.
    pub number: u32,
    /// The branch it was forked from, and the seq from which on it has records of its own.
    pub parent: Option<(u32, Seq)>,
    /// The seq that the next record will have.
    pub end: Seq,
    /// The last durable batch.
    pub batch: Id,
    /// The machine's root after it.
    pub root: Id,
    /// The host's time when it was closed.
    pub time: Nanos,
    /// The last root whose every page and node is durable.
    pub checkpoint: Checkpoint,
    /// The current epoch.
    pub epoch: Epoch,
    /// The seq of the epoch's record.
    pub epoch_first: Seq,
}

/// A recorded root whose every page and node is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The seq that the first record after it has.
    pub end: Seq,
    /// The batch that ends there.
    pub batch: Id,
    /// The root.
    pub root: Id,
}

impl Branch {
    /// Where a branch stands after `batch` (whose id is `id`), which is a checkpoint or not. The first batch of a branch starts with an
    /// epoch and is a checkpoint.
    ///
    /// # Errors
    /// If the batch does not follow on the branch.
    pub fn after(current: Option<&Self>, batch: &Batch, id: Id, is_checkpoint: bool) -> Result<Self, NotNext> {
        let epoch = batch.records.iter().enumerate().rev().find_map(|(position, record)| match record {
            Record::Epoch(epoch) => Some((epoch.clone(), Seq(batch.first.0 + position as u64))),
            _ => None,
        });
        let follows = match current {
            None => batch.first == Seq(0) && batch.previous.is_none() && is_checkpoint,
            Some(branch) => batch.first == branch.end && batch.previous == Some(branch.batch),
        };
        let known = current.map(|branch| (branch.epoch.clone(), branch.epoch_first));
        let (Some((epoch, epoch_first)), true) = (epoch.or(known), follows) else { return Err(NotNext) };
        let here = Checkpoint { end: batch.end(), batch: id, root: batch.root };
        Ok(Self {
            number: current.map_or(0, |branch| branch.number),
            parent: current.and_then(|branch| branch.parent),
            end: batch.end(),
            batch: id,
            root: batch.root,
            time: batch.time,
            checkpoint: current.filter(|_| !is_checkpoint).map_or(here, |branch| branch.checkpoint),
            epoch,
            epoch_first,
        })
    }

    /// Its stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(512);
        writer.array(8).uint(u64::from(self.number));
        match self.parent {
            None => writer.array(0),
            Some((number, first)) => writer.array(2).uint(u64::from(number)).uint(first.0),
        };
        writer.uint(self.end.0);
        self.batch.write(&mut writer);
        self.root.write(&mut writer);
        writer.uint(self.time.0);
        writer.array(3).uint(self.checkpoint.end.0);
        self.checkpoint.batch.write(&mut writer);
        self.checkpoint.root.write(&mut writer);
        writer.array(2).uint(self.epoch_first.0);
        Record::Epoch(self.epoch.clone()).write(&mut writer);
        let branch = writer.finish();
        let mut stored = Writer::with_capacity(branch.len() + 40);
        stored.array(2).encoded(&branch);
        Id::of(Domain::Object, &branch).write(&mut stored);
        stored.finish()
    }

    /// Reads a stored form.
    ///
    /// # Errors
    /// If it is damaged or malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(bytes);
        reader.array_of(2)?;
        let encoding = reader.item(4)?;
        let at = reader.position();
        let id = Id::read(&mut reader)?;
        reader.end()?;
        id.verify(Domain::Object, encoding)
            .map_err(|_| CborError { at, fault: Fault::Rule("a branch record does not match its checksum") })?;

        let mut reader = Reader::new(encoding);
        reader.array_of(8)?;
        let number = read_number(&mut reader)?;
        let parent = match reader.array()? {
            0 => None,
            2 => Some((read_number(&mut reader)?, Seq(reader.uint()?))),
            _ => return Err(reader.fault(Fault::Rule("a branch has one parent or none"))),
        };
        let end = Seq(reader.uint()?);
        let batch = Id::read(&mut reader)?;
        let root = Id::read(&mut reader)?;
        let time = Nanos(reader.uint()?);
        reader.array_of(3)?;
        let checkpoint =
            Checkpoint { end: Seq(reader.uint()?), batch: Id::read(&mut reader)?, root: Id::read(&mut reader)? };
        reader.array_of(2)?;
        let epoch_first = Seq(reader.uint()?);
        let at = reader.position();
        let Record::Epoch(epoch) = Record::read(&mut reader)? else {
            return Err(CborError { at, fault: Fault::Rule("a branch's epoch is another record") });
        };
        if checkpoint.end > end || epoch_first >= end {
            return Err(CborError { at, fault: Fault::Rule("a branch's checkpoint or epoch is ahead of it") });
        }
        reader.end()?;
        Ok(Self { number, parent, end, batch, root, time, checkpoint, epoch, epoch_first })
    }
}

/// A batch was offered that does not follow on the branch's last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the batch does not follow on the branch's last batch")]
pub struct NotNext;

fn read_number(reader: &mut Reader<'_>) -> Result<u32, CborError> {
    let number = reader.uint_max(u64::from(u32::MAX), "a branch's number")?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}
