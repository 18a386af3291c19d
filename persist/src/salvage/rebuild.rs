//! A new machine made of what stands of a damaged one, in a folder of its own, in steps that its caller paces: every object that proves itself,
//! what a whole image needs besides, the images that were made again, and then the log.
//!
//! What is written here is proven when it is read for it, and the whole is verified before anybody uses it.

use std::collections::HashSet;

use seed::object::{Link, links};
use seed::record::Batch;
use seed::{Domain, Id, LoadError, Objects, Seq};
use thiserror::Error;

use super::Salvage;
use super::survey::{Plan, Span, Survey};
use crate::branch::NotNext;
use crate::machine::{MachineError, NewMachine};
use crate::objects::Framer;
use crate::store::{CommitError, Writes};

/// Bytes in one transaction.
const COMMIT_BYTES: u64 = 32 << 20;

/// A new machine could not be made of what stands.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// Writing it.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// An object that was there a moment ago.
    #[error("an object cannot be had any more")]
    Object(#[from] LoadError),
    /// Batches that were found to follow on each other do not.
    #[error("the log cannot be put together")]
    Log(#[from] NotNext),
}

impl From<CommitError> for RebuildError {
    fn from(error: CommitError) -> Self {
        Self::Machine(error.into())
    }
}

/// Objects and batches on their way into a new machine.
struct Filling<'n> {
    new: &'n mut NewMachine,
    framer: Framer,
    writes: Writes,
}

impl<'n> Filling<'n> {
    fn of(new: &'n mut NewMachine) -> Result<Self, RebuildError> {
        let framer = Framer::new().map_err(MachineError::Compression)?;
        Ok(Self { new, framer, writes: Writes::new() })
    }

    fn put(&mut self, (domain, id): Link, bytes: &[u8]) -> Result<(), RebuildError> {
        self.framer.put(&mut self.writes, domain, &id, bytes);
        self.flush_over(COMMIT_BYTES)
    }

    fn flush_over(&mut self, bytes: u64) -> Result<(), RebuildError> {
        if self.writes.bytes() > bytes {
            self.new.journal().store().commit(&std::mem::take(&mut self.writes))?;
        }
        Ok(())
    }
}

/// Takes in every object of a damaged machine that proves itself. How many.
///
/// # Errors
/// If the new machine cannot be written.
pub fn take_objects(
    new: &mut NewMachine,
    salvage: &Salvage,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, RebuildError> {
    let mut filling = Filling::of(new)?;
    let mut count = 0;
    salvage.each_object(&mut |link, bytes| {
        count += 1;
        progress(count);
        filling.put(link, &bytes)
    })?;
    filling.flush_over(0)?;
    Ok(count)
}

/// Takes in what an image needs and the new machine has not got yet. How many objects.
///
/// # Errors
/// If an object cannot be had, or the new machine cannot be written.
pub fn take_image(new: &mut NewMachine, salvage: &Salvage, root: Id) -> Result<u64, RebuildError> {
    let shelf = new.objects();
    let mut filling = Filling::of(new)?;
    let (mut seen, mut count) = (HashSet::new(), 0);
    let mut open = vec![(Domain::Object, root)];
    while let Some(link) = open.pop() {
        if !seen.insert(link) {
            continue;
        }
        let bytes = match shelf.load(link.0, &link.1) {
            Ok(bytes) => bytes,
            Err(_) => {
                let bytes = salvage.load(link.0, &link.1)?;
                filling.put(link, &bytes)?;
                count += 1;
                bytes
            }
        };
        open.extend(links(link.0, &bytes).map_err(|source| LoadError::Malformed { id: link.1, source })?);
    }
    filling.flush_over(0)?;
    Ok(count)
}

/// Takes in objects that were made again.
///
/// # Errors
/// If the new machine cannot be written.
pub fn take(new: &mut NewMachine, objects: &[(Link, Vec<u8>)]) -> Result<(), RebuildError> {
    let mut filling = Filling::of(new)?;
    objects.iter().try_for_each(|(link, bytes)| filling.put(*link, bytes))?;
    filling.flush_over(0)
}

/// Takes in the log of a plan that keeps it, and lets the new machine stand at its end; its checkpoint is at this seq.
///
/// # Errors
/// If the batches cannot be had, or the new machine cannot be written.
pub fn take_log(
    new: &mut NewMachine,
    salvage: &Salvage,
    survey: &Survey,
    plan: &Plan,
    checkpoint: Seq,
) -> Result<u64, RebuildError> {
    let mut filling = Filling::of(new)?;
    let mut count = 0;
    let span = Span { from: Seq(0), to: plan.end.end };
    survey.batches(salvage, plan, span, &mut |batch: Batch| {
        // The first is one by rule: the branch cannot begin without.
        let is_checkpoint = batch.first == Seq(0) || batch.end() == checkpoint;
        filling.new.journal().adopt(&batch, is_checkpoint, &mut filling.writes)?;
        count += 1;
        filling.flush_over(COMMIT_BYTES)
    })?;
    if filling.new.journal().branch().is_none_or(|branch| branch.end != plan.end.end) {
        return Err(NotNext.into());
    }
    filling.new.journal().settle(&mut filling.writes);
    filling.flush_over(0)?;
    Ok(count)
}
