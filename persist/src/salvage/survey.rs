//! What stands of a damaged machine, and what can be made of it: a pure reading of a [`Salvage`].
//!
//! Batches name each other by their ids, backwards. So from where the machine stood (its head file, or a branch record) the log is followed
//! back as far as batches can be had: a *segment*. Below a hole the next segment begins with the nearest batch that anything else names, and so on
//! to seq 0: a batch that nothing names may be a damaged one that still decodes, and is not believed.
//! An image is *whole* if everything it needs proves itself. Then, of all whole images at boundaries between batches, the one counts from
//! which executing the batches after it leads furthest; of those that lead equally far the newest.
//!
//! * If its segment reaches back to seq 0, the history is kept ([`Kept::History`]); images that epochs start from and that are damaged are made again
//!   by executing the log from an older one.
//! * If not, the state is kept and a new log begins with it ([`Kept::State`]): to whoever has a machine its state matters more than its history.

mod believed;
mod closure;
mod goal;

use seed::message::Input;
use seed::object::encode_blob;
use seed::record::{Batch, Record};
use seed::{Domain, Id, Seq};

use super::{BatchAt, Salvage, start_of};
use crate::part::Lost;
use closure::Closure;

/// How many objects that cannot be had are named.
const LOST_MAX: usize = 20;

/// Seqs from one on, up to and without another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub from: Seq,
    /// The one after the last.
    pub to: Seq,
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.to.0.saturating_sub(1) {
            last if last <= self.from.0 => write!(f, "seq {}", self.from),
            last => write!(f, "seqs {} to {last}", self.from),
        }
    }
}

/// A point between two batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The seq after it.
    pub end: Seq,
    /// The batch before it; none at the start of a log.
    pub batch: Option<Id>,
    /// The machine's root there.
    pub root: Id,
}

/// Where the machine stood, as far as anything says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// The seq after its last record.
    pub end: Seq,
    /// Its last batch.
    pub batch: Id,
    /// What the head file acknowledges and no log leads to.
    pub unknown_head: Option<Seq>,
}

/// What a repair keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The log from its first record on.
    History,
    /// The state; a new log begins with it.
    State,
}

/// What can be made of what stands.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it keeps.
    pub kept: Kept,
    /// The newest whole image.
    pub base: Boundary,
    /// How far executing the log again leads from there.
    pub end: Boundary,
    /// Images that epochs start from and that are to be made again: which, and from which whole one.
    pub remade: Vec<(Boundary, Boundary)>,
    segment: Option<usize>,
}

/// Batches that follow on each other.
#[derive(Debug, Default)]
struct Segment {
    from: Seq,
    to: Seq,
    /// The batch before the first.
    before: Option<Id>,
    /// Ascending.
    batches: Vec<Item>,
}

/// A batch of a segment.
#[derive(Clone, Copy, Debug)]
struct Item {
    at: BatchAt,
    /// The start of the root after it.
    root: u64,
}

/// What stands.
#[derive(Debug)]
pub struct Survey {
    /// Where the machine stood.
    pub goal: Option<Goal>,
    /// Stretches of the log that cannot be had, newest first.
    pub holes: Vec<Span>,
    /// What the image needs that the machine last made durable as a whole, and cannot be had: some of it.
    pub lost: Vec<Lost>,
    /// Why the history cannot be kept though the log is whole: what the image of an epoch needs.
    pub lost_epoch: Option<(Seq, Id)>,
    /// What can be made of it.
    pub plan: Option<Plan>,
    /// Bytes that the disk does not give.
    pub unreadable: u64,
    /// The last epoch that is known of, for a machine that begins a new log.
    pub epoch: Option<(u64, [u8; 16])>,
    segments: Vec<Segment>,
    epochs: Vec<(Seq, Id)>,
}

impl Survey {
    /// Looks at what a salvage has found.
    #[must_use]
    pub fn of(salvage: &mut Salvage) -> Survey {
        let mut survey = Survey {
            goal: salvage.goal(),
            holes: Vec::new(),
            lost: Vec::new(),
            lost_epoch: None,
            plan: None,
            unreadable: salvage.unreadable(),
            epoch: salvage.branches.first().map(|branch| (branch.epoch.number, branch.epoch.machine)),
            segments: Vec::new(),
            epochs: Vec::new(),
        };
        let Some(goal) = survey.goal else { return survey };
        salvage.guess_last();
        survey.walk(salvage, &goal);
        if !survey.holes.is_empty() && salvage.add_unnamed_batches() {
            (survey.segments, survey.holes, survey.epochs) = Default::default();
            survey.walk(salvage, &goal);
        }
        let named = salvage.boundaries();
        let checkpoints = salvage.branches.iter().map(|branch| branch.checkpoint);
        let checkpoint =
            checkpoints.filter(|checkpoint| checkpoint.end <= goal.end).max_by_key(|checkpoint| checkpoint.end);
        let mut closure = Closure::new(salvage);
        if let Some(checkpoint) = checkpoint {
            survey.lost = closure.lost(checkpoint.root);
        }
        survey.plan = survey.plan(&mut closure, &named);
        survey
    }

    /// Up to which seq the log is whole from its first record on.
    #[must_use]
    pub fn history(&self) -> Seq {
        self.segments.iter().find(|segment| segment.reaches_the_start()).map_or(Seq(0), |segment| segment.to)
    }

    /// The seq after the last record that is known to have been there.
    #[must_use]
    pub fn acknowledged(&self) -> Seq {
        self.goal.map_or(Seq(0), |goal| goal.unknown_head.map_or(goal.end, |head| head.max(goal.end)))
    }

    /// The images that epochs of a kept history start from and that are whole.
    pub fn whole_epochs(&self, plan: &Plan) -> Vec<Id> {
        let is_kept = |seq: Seq| plan.kept == Kept::History && seq < plan.end.end;
        let is_remade = |image: &Id| plan.remade.iter().any(|(target, _)| target.root == *image);
        let kept = self.epochs.iter().filter(|(seq, image)| is_kept(*seq) && !is_remade(image));
        kept.map(|(_, image)| *image).collect()
    }

    /// Acknowledged records that a repair cannot save.
    #[must_use]
    pub fn lost_records(&self) -> Option<Span> {
        let to = self.acknowledged();
        let from = self.plan.as_ref().map_or(Seq(0), |plan| plan.end.end);
        (from < to).then_some(Span { from, to })
    }

    /// Shows the batches between two boundaries of a plan.
    ///
    /// # Errors
    /// What `visit` says. A batch that cannot be had any more ends it early, which a comparison of roots finds.
    pub fn batches<E>(
        &self,
        salvage: &Salvage,
        plan: &Plan,
        span: Span,
        visit: &mut dyn FnMut(Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(segment) = plan.segment.and_then(|number| self.segments.get(number)) else { return Ok(()) };
        let first = segment.batches.partition_point(|item| item.at.first < span.from.0);
        for item in segment.batches[first..].iter().take_while(|item| item.at.end <= span.to.0) {
            let Some((batch, _)) = salvage.read_batch(&item.at) else { return Ok(()) };
            visit(batch)?;
        }
        Ok(())
    }

    fn walk(&mut self, salvage: &mut Salvage, goal: &Goal) {
        let (mut wanted, mut end) = (Some(goal.batch), goal.end);
        loop {
            let (to, mut batches) = (end, Vec::new());
            while let Some((at, batch)) = wanted.and_then(|id| salvage.batch(&id)).filter(|(at, _)| at.end == end.0) {
                self.note(salvage, &batch);
                batches.push(Item { at, root: start_of(batch.root.as_bytes()) });
                (end, wanted) = (batch.first, batch.previous);
            }
            batches.reverse();
            if !batches.is_empty() {
                self.segments.push(Segment { from: end, to, before: wanted, batches });
            }
            if end == Seq(0) {
                return;
            }
            // One that ends right here has been asked for by its id, and is another.
            let below = salvage.last_before(end);
            let from = below.map_or(Seq(0), |(at, _)| Seq(at.end));
            self.holes.push(Span { from, to: end });
            let Some((_, id)) = below else { return };
            (wanted, end) = (Some(id), from);
        }
    }

    /// Keeps in mind what a batch tells besides.
    fn note(&mut self, salvage: &mut Salvage, batch: &Batch) {
        for (position, record) in batch.records.iter().enumerate() {
            match record {
                Record::Epoch(epoch) => {
                    self.epochs.push((Seq(batch.first.0 + position as u64), epoch.image));
                    self.epoch = self.epoch.max(Some((epoch.number, epoch.machine)));
                }
                // What a program was booted with is in its image as a blob, and in the log.
                Record::Step { input, .. } if input.get(1) == Some(&0) => {
                    if let Ok(Input::Boot { genesis, handover, .. }) = Input::decode(input) {
                        salvage.derive(Domain::Object, encode_blob(&genesis));
                        if let Some(handover) = handover {
                            salvage.derive(Domain::Object, encode_blob(&handover));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn plan(&mut self, closure: &mut Closure<'_>, named: &[Boundary]) -> Option<Plan> {
        // How far each segment leads, and each image that stands alone.
        let mut ways: Vec<(Seq, Option<usize>, Option<Boundary>)> =
            self.segments.iter().enumerate().map(|(number, segment)| (segment.to, Some(number), None)).collect();
        let goal = self.goal.map_or(Seq(0), |goal| goal.end);
        let alone =
            |boundary: &&Boundary| boundary.end <= goal && !self.segments.iter().any(|segment| segment.has(boundary));
        ways.extend(named.iter().filter(alone).map(|boundary| (boundary.end, None, Some(*boundary))));
        ways.sort_by_key(|(reach, segment, _)| std::cmp::Reverse((*reach, segment.is_some())));
        ways.into_iter().find_map(|(_, number, alone)| match (number, alone) {
            (None, Some(base)) if closure.is_whole(base.root) => {
                Some(Plan { kept: Kept::State, base, end: base, remade: Vec::new(), segment: None })
            }
            (Some(number), _) => self.plan_segment(number, closure, named),
            _ => None,
        })
    }

    fn plan_segment(&mut self, number: usize, closure: &mut Closure<'_>, named: &[Boundary]) -> Option<Plan> {
        let segment = std::mem::take(&mut self.segments[number]);
        let plan = self.plan_of(&segment, number, closure, named);
        self.segments[number] = segment;
        plan
    }

    fn plan_of(
        &mut self,
        segment: &Segment,
        number: usize,
        closure: &mut Closure<'_>,
        named: &[Boundary],
    ) -> Option<Plan> {
        let base = self.newest_whole(segment, segment.to, closure, named)?;
        let last = segment.batches.last().and_then(|item| closure.salvage.read_batch(&item.at));
        let end = last.map_or(base, |(batch, id)| Boundary { end: batch.end(), batch: Some(id), root: batch.root });
        let mut plan = Plan { kept: Kept::State, base, end, remade: Vec::new(), segment: Some(number) };
        if !segment.reaches_the_start() {
            return Some(plan);
        }
        let mut epochs = self.epochs.clone();
        epochs.sort_by_key(|(seq, _)| *seq);
        for (seq, image) in epochs.into_iter().filter(|(seq, _)| *seq < segment.to) {
            if closure.is_whole(image) {
                continue;
            }
            if seq == Seq(0) {
                if closure.derive_first_image(image, &base) {
                    continue;
                }
                self.lost_epoch = Some((seq, image));
                return Some(plan);
            }
            // An epoch starts from the root before it.
            let older = self.newest_whole(segment, seq, closure, named).filter(|older| older.end < seq);
            let Some((older, at)) = older.zip(segment.boundary(closure.salvage, seq, image)) else {
                self.lost_epoch = Some((seq, image));
                plan.remade.clear();
                return Some(plan);
            };
            plan.remade.push((at, older));
        }
        plan.kept = Kept::History;
        Some(plan)
    }

    /// The newest whole image of a segment, not after this seq.
    fn newest_whole(
        &self,
        segment: &Segment,
        most: Seq,
        closure: &mut Closure<'_>,
        named: &[Boundary],
    ) -> Option<Boundary> {
        for item in segment.batches.iter().rev().filter(|item| item.at.end <= most.0) {
            if !closure.salvage.may_have(item.root) {
                continue;
            }
            let Some((batch, id)) = closure.salvage.read_batch(&item.at) else { continue };
            if closure.is_whole(batch.root) {
                return Some(Boundary { end: batch.end(), batch: Some(id), root: batch.root });
            }
        }
        if segment.reaches_the_start() {
            let (_, root) = self.epochs.iter().copied().find(|(seq, _)| *seq == Seq(0))?;
            return closure.is_whole(root).then_some(Boundary { end: Seq(0), batch: None, root });
        }
        let at_start = |named: &&Boundary| named.end == segment.from && named.batch == segment.before;
        named.iter().find(at_start).copied().filter(|named| closure.is_whole(named.root))
    }
}

impl Segment {
    fn reaches_the_start(&self) -> bool {
        self.from == Seq(0) && self.before.is_none()
    }

    /// Whether a boundary is one of this segment's.
    fn has(&self, boundary: &Boundary) -> bool {
        (self.from == boundary.end && self.before == boundary.batch)
            || self.batches.iter().any(|item| {
                item.at.end == boundary.end.0
                    && boundary.batch.is_some_and(|batch| start_of(batch.as_bytes()) == item.at.start)
            })
    }

    /// The boundary at this seq, whose root is known.
    fn boundary(&self, salvage: &Salvage, seq: Seq, root: Id) -> Option<Boundary> {
        let item = self.batches.iter().find(|item| item.at.end == seq.0)?;
        let (_, id) = salvage.read_batch(&item.at)?;
        Some(Boundary { end: seq, batch: Some(id), root })
    }
}
