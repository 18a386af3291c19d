//! From a branch at rest to a machine in motion: restore the last checkpoint, execute what came after it again, compare.

use persist::branch::Branch;
use seed::Nanos;
use seed::record::Batch;

use crate::body::{Body, BodyError, OnLost, SharedObjects};
use crate::engine::{Mode, Settings};
use crate::step_loop::Position;

/// A machine that stands where its branch ends.
pub struct Recovered {
    /// The machine.
    pub body: Body,
    /// Where it stands.
    pub position: Position,
    /// How many batches were executed again.
    pub batches: usize,
}

/// Restores the machine at the end of a branch. `since_checkpoint` are the batches after the branch's last checkpoint, proven.
///
/// # Errors
/// If the state cannot be had, cannot be run here, or comes out differently than recorded. Nothing has been changed then.
pub fn recover(
    settings: &Settings,
    objects: SharedObjects,
    branch: &Branch,
    since_checkpoint: &[Batch],
    lost: OnLost,
) -> Result<Recovered, BodyError> {
    let mode = if since_checkpoint.is_empty() { Mode::Live } else { Mode::Replay };
    let restore = |mode| {
        let (objects, lost) = (SharedObjects::clone(&objects), OnLost::clone(&lost));
        Body::restore(settings, mode, objects, &branch.checkpoint.root, lost)
    };
    let mut body = restore(mode)?;
    if let Err(error) = body.replay_all(since_checkpoint) {
        // Once more, slowly: the first batch that comes out differently is the one to name.
        let mut body = restore(mode)?;
        since_checkpoint.iter().try_for_each(|batch| body.replay(batch))?;
        return Err(error);
    }
    body.go_live(settings)?;
    let position = Position {
        end: branch.end,
        batch: Some(branch.batch),
        cost_since_checkpoint: since_checkpoint.iter().fold(Nanos(0), |sum, batch| sum.plus(batch.cost())),
        records_since_checkpoint: branch.end.0.saturating_sub(branch.checkpoint.end.0),
        new_epoch: None,
    };
    Ok(Recovered { body, position, batches: since_checkpoint.len() })
}
