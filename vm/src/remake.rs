//! An image made again: from an older one, by executing the batches between the two, as a recovery does. For machines whose store is damaged.

use seed::Id;
use seed::object::Link;
use seed::record::Batch;

use crate::body::{Body, BodyError, Difference, Divergence, OnLost, SharedObjects};
use crate::engine::{Mode, Settings};

/// So many batches are executed between two comparisons of roots.
const BATCHES_MAX: usize = 256;

/// What shows batches, one after the other, to whoever takes them.
pub type Batches<'b> = dyn FnMut(&mut dyn FnMut(Batch) -> Result<(), BodyError>) -> Result<(), BodyError> + 'b;

/// Every object that the image `root` needs and the image `base`, which `objects` has whole, does not.
///
/// # Errors
/// If it cannot be executed here, or comes out differently than recorded.
pub fn remake(
    settings: &Settings,
    objects: SharedObjects,
    base: &Id,
    batches: &mut Batches<'_>,
    root: &Id,
    lost: OnLost,
) -> Result<Vec<(Link, Vec<u8>)>, BodyError> {
    let mut body = Body::restore(settings, Mode::Replay, objects, base, lost)?;
    let (mut waiting, mut last) = (Vec::new(), None);
    batches(&mut |batch| {
        last = Some(batch.first);
        waiting.push(batch);
        if waiting.len() < BATCHES_MAX {
            return Ok(());
        }
        body.replay_all(&std::mem::take(&mut waiting))
    })?;
    body.replay_all(&waiting)?;
    let found = body.close()?;
    if found != *root {
        let what = Difference::Root { expected: *root, found };
        return Err(Divergence { seq: last.unwrap_or_default(), what }.into());
    }
    Ok(body.checkpoint())
}
