//! Recorded batches executed again and compared.

use seed::message::Input;
use seed::record::{Batch, OutputsHash, Record};
use seed::{Id, PageIndex, Seq};
use thiserror::Error;

use super::{Body, BodyError};
use crate::engine::Mode;
use crate::guest::{Abort, Fault};

/// Executing the log again gave something else than what is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("at seq {seq}: {what}")]
pub struct Divergence {
    /// The first seq of the batch, or the step's own where that is known.
    pub seq: Seq,
    /// What differs.
    pub what: Difference,
}

/// What differs between a record and its execution.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Difference {
    /// The outputs of a batch.
    #[error("the outputs are {found}, recorded are {expected}")]
    Outputs {
        /// As recorded.
        expected: Id,
        /// As executed.
        found: Id,
    },
    /// The root after a batch.
    #[error("the root is {found}, recorded is {expected}")]
    Root {
        /// As recorded.
        expected: Id,
        /// As executed.
        found: Id,
    },
    /// A step that was recorded as done faults.
    #[error("a recorded step fails: {reason}")]
    Fault {
        /// How.
        reason: String,
    },
}

impl Body {
    /// Executes a recorded batch again and compares.
    ///
    /// # Errors
    /// If it comes out differently, or cannot be executed.
    pub fn replay(&mut self, batch: &Batch) -> Result<(), BodyError> {
        self.replay_steps(batch)?;
        self.compare_root(batch)
    }

    /// Executes recorded batches again; compares the outputs of each, and the root after the last. Finding what was written and hashing it
    /// costs once then, not once for each batch.
    ///
    /// # Errors
    /// If they come out differently, or cannot be executed.
    pub fn replay_all(&mut self, batches: &[Batch]) -> Result<(), BodyError> {
        batches.iter().try_for_each(|batch| self.replay_steps(batch))?;
        batches.last().map_or(Ok(()), |last| self.compare_root(last))
    }

    /// Executes those records of a batch again that come before `end`. With nothing recorded to compare with, this compares nothing.
    ///
    /// # Errors
    /// If they cannot be executed.
    pub fn replay_part(&mut self, batch: &Batch, end: Seq) -> Result<(), BodyError> {
        self.execute_recorded(batch, end)?;
        self.close().map(drop)
    }

    pub(super) fn replay_steps(&mut self, batch: &Batch) -> Result<(), BodyError> {
        let found = self.execute_recorded(batch, batch.end())?;
        if found != batch.outputs {
            let what = Difference::Outputs { expected: batch.outputs, found };
            return Err(Divergence { seq: batch.first, what }.into());
        }
        Ok(())
    }

    /// The hash of the outputs of the records before `end`.
    fn execute_recorded(&mut self, batch: &Batch, end: Seq) -> Result<Id, BodyError> {
        let mut hash = OutputsHash::default();
        for (seq, record) in (batch.first.0..end.0).map(Seq).zip(&batch.records) {
            let fault = |reason: String| Divergence { seq, what: Difference::Fault { reason } };
            match record {
                Record::Step { input, key, .. } => {
                    let output = match self.execute(input, Mode::Replay) {
                        Ok(output) => output,
                        Err(Fault::Host(fault)) => return Err(fault.into()),
                        Err(Fault::Abort(abort)) => return Err(fault(abort.to_string()).into()),
                    };
                    hash.push(&output);
                    let input = Input::decode(input).map_err(|error| fault(error.to_string()))?;
                    if let Err(violation) = self.accept(&input, key, &output)? {
                        return Err(fault(violation.to_string()).into());
                    }
                }
                Record::Abort { input, key, reason, .. } => {
                    let input = Input::decode(input).map_err(|error| fault(error.to_string()))?;
                    self.abort(&input, key, reason)?;
                }
                Record::Settle { effects } => self.settle(effects)?,
                Record::Grant { grants, next_port } => drop(self.regrant(grants, *next_port)?),
                Record::Become { .. } => {
                    return Err(BodyError::Image { what: "became another, which this version cannot" });
                }
                Record::Epoch(_) => {}
            }
        }
        Ok(hash.finish())
    }

    pub(super) fn compare_root(&mut self, batch: &Batch) -> Result<(), BodyError> {
        let root = self.close()?;
        if root != batch.root {
            let what = Difference::Root { expected: batch.root, found: root };
            return Err(Divergence { seq: batch.first, what }.into());
        }
        Ok(())
    }

    /// The function that first writes a page while the steps of `batch` are executed on the last boundary. The body is of no use afterwards.
    pub fn writer_of(&mut self, (memory, page): (usize, PageIndex), batch: &Batch) -> Option<String> {
        for record in &batch.records {
            let Record::Step { input, .. } = record else { continue };
            let guest = self.guest.as_mut()?;
            guest.set_mode(Mode::Replay);
            match guest.step_watching(input, memory, page) {
                Ok(_) => {}
                Err(Fault::Abort(Abort::Trap { function, .. })) => return function,
                Err(_) => return None,
            }
        }
        None
    }
}
