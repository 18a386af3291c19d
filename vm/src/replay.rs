//! Replaying a whole log: from the image that an epoch starts from, every batch executed again and compared.
//!
//! The first divergence is narrowed down as far as the store allows: to the batch, to the first page that differs (if the recorded
//! root's tree is in the store), and to the function that wrote that page.

use std::ops::ControlFlow;

use persist::branch::Branch;
use persist::journal::{JournalError, Start, each_batch};
use persist::store::Reader;
use seed::image::Image;
use seed::record::{Batch, Record};
use seed::tree::PageTree;
use seed::{Domain, Id, LoadError, PageIndex, Seq};
use thiserror::Error;

use crate::body::{Body, BodyError, Difference, Divergence, OnLost, SharedObjects};
use crate::engine::{Mode, Settings};
use crate::step_loop::Fatal;

/// What a replay has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Batches executed.
    pub batches: u64,
    /// Records executed.
    pub records: u64,
    /// The seq after the last of them.
    pub end: Seq,
}

/// A replay did not come to its end.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Journal(#[from] JournalError),
    /// The log does not start with an epoch.
    #[error("the log does not start with an epoch")]
    NoEpoch,
    /// The machine cannot be executed.
    #[error("the log cannot be executed")]
    Body(#[source] BodyError),
    /// The machine cannot be set up where the log ends.
    #[error("the machine cannot stand there")]
    Stand(#[source] Fatal),
    /// It came out differently.
    #[error("{divergence}{}{}", page_text(.page), function_text(.function))]
    Diverged {
        /// Where and what.
        divergence: Divergence,
        /// The first page that differs: memory, page.
        page: Option<(usize, PageIndex)>,
        /// The function that first writes that page in the batch.
        function: Option<String>,
    },
}

impl ReplayError {
    /// Whether the store is damaged or diverges, as against out of reach.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_damage(),
            Self::NoEpoch | Self::Diverged { .. } => true,
            Self::Body(BodyError::Load(error)) => error.is_damage(),
            Self::Body(error) => matches!(error, BodyError::Restore(_)),
            Self::Stand(_) => false,
        }
    }
}

fn page_text(page: &Option<(usize, PageIndex)>) -> String {
    page.map_or_else(String::new, |(memory, page)| {
        format!(
            "; the first page that differs is page {page} of memory {memory} (address {:#x})",
            u64::from(page.0) * 4096
        )
    })
}

fn function_text(function: &Option<String>) -> String {
    function.as_ref().map_or_else(String::new, |name| format!(", written by {name}"))
}

/// Replays a branch from its first record to its end.
///
/// # Errors
/// If the log is damaged, or executing it comes out differently than recorded.
pub fn replay(
    settings: &Settings,
    objects: &SharedObjects,
    reader: &(impl Reader + ?Sized),
    branch: &Branch,
    lost: &OnLost,
    progress: &mut dyn FnMut(Replayed),
) -> Result<Replayed, ReplayError> {
    let mut body: Option<Body> = None;
    let mut done = Replayed::default();
    let mut failed: Option<(BodyError, Batch, Seq)> = None;
    let mut last_boundary = Seq(0);
    each_batch(reader, branch, Start::At(Seq(0)), &mut |batch, _| match replay_one(
        settings, objects, lost, &mut body, &batch,
    ) {
        Ok(()) => {
            done.batches += 1;
            done.records += batch.records.len() as u64;
            done.end = batch.end();
            last_boundary = batch.end();
            progress(done);
            ControlFlow::Continue(())
        }
        Err(error) => {
            failed = Some((error, batch, last_boundary));
            ControlFlow::Break(())
        }
    })?;
    match failed {
        None => Ok(done),
        Some((BodyError::Diverged(divergence), batch, _)) => {
            let page = first_difference(objects, body.as_ref(), &batch, &divergence);
            let function = page.and_then(|page| {
                let mut fresh = up_to(settings, objects, reader, branch, lost, batch.first)?;
                fresh.writer_of(page, &batch)
            });
            Err(ReplayError::Diverged { divergence, page, function })
        }
        Some((error, _, _)) => Err(ReplayError::Body(error)),
    }
}

fn replay_one(
    settings: &Settings,
    objects: &SharedObjects,
    lost: &OnLost,
    body: &mut Option<Body>,
    batch: &Batch,
) -> Result<(), BodyError> {
    if let Some(body) = body {
        return body.replay(batch);
    }
    let Some(Record::Epoch(epoch)) = batch.records.first() else {
        return Err(BodyError::Image { what: "is not named by an epoch at the start of the log" });
    };
    let objects = SharedObjects::clone(objects);
    let restored = Body::restore(settings, Mode::Replay, objects, &epoch.image, OnLost::clone(lost))?;
    body.insert(restored).replay(batch)
}

/// A body that has replayed everything before `end`.
fn up_to(
    settings: &Settings,
    objects: &SharedObjects,
    reader: &(impl Reader + ?Sized),
    branch: &Branch,
    lost: &OnLost,
    end: Seq,
) -> Option<Body> {
    let mut body = None;
    let walked = each_batch(reader, branch, Start::At(Seq(0)), &mut |batch, _| {
        if batch.first >= end || replay_one(settings, objects, lost, &mut body, &batch).is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    walked.ok().and(body)
}

/// The first page in which the executed state differs from the recorded one, where the store has that one's tree.
fn first_difference(
    objects: &SharedObjects,
    body: Option<&Body>,
    batch: &Batch,
    divergence: &Divergence,
) -> Option<(usize, PageIndex)> {
    if !matches!(divergence.what, Difference::Root { .. }) {
        return None;
    }
    let recorded = Image::decode(&objects.load(Domain::Object, &batch.root).ok()?).ok()?;
    let recorded = recorded.processes.first()?.state.as_ref()?.memories.clone();
    let executed = body?.page_ids().ok()?;
    for (memory, found) in recorded.iter().zip(&executed).enumerate() {
        let (known, found) = found;
        let mut expected: Vec<(PageIndex, Id)> = Vec::new();
        let tree = PageTree::stored(known.pages, known.root);
        tree.for_each::<LoadError>(objects.as_ref(), &mut |index, id| {
            expected.push((index, id));
            Ok(())
        })
        .ok()?;
        let differing = expected.iter().zip(found.iter()).find(|(left, right)| left != right);
        let first = match differing {
            Some((left, right)) => Some(left.0.min(right.0)),
            None => expected.get(found.len()).or_else(|| found.get(expected.len())).map(|(index, _)| *index),
        };
        if let Some(index) = first {
            return Some((memory, index));
        }
    }
    None
}
