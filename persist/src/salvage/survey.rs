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

use std::collections::HashMap;

use seed::image::{Image, Ledger, Process};
use seed::message::Input;
use seed::object::{Link, encode_blob, links};
use seed::record::{Batch, OutputsHash, Record};
use seed::{Domain, Id, Objects, Seq};

use super::{BatchAt, Salvage, start_of};
use crate::head::Head;
use crate::part::{Lost, Part};
use crate::verify::verify_shape;

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
#[derive(Clone, Debug)]
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
        let mut closure = Closure { salvage, known: HashMap::new() };
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
        let segment = self.segments[number].clone();
        let base = self.newest_whole(&segment, segment.to, closure, named)?;
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
            let older = self.newest_whole(&segment, seq, closure, named).filter(|older| older.end < seq);
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

/// Which objects are whole with all that they need.
struct Closure<'s> {
    salvage: &'s mut Salvage,
    known: HashMap<Link, bool>,
}

impl Closure<'_> {
    fn is_whole(&mut self, root: Id) -> bool {
        if !self.is_closed((Domain::Object, root)) {
            return false;
        }
        let image = self.salvage.load(Domain::Object, &root).ok().and_then(|bytes| Image::decode(&bytes).ok());
        image.is_some_and(|image| verify_shape(self.salvage, &image).is_ok())
    }

    fn is_closed(&mut self, link: Link) -> bool {
        if let Some(known) = self.known.get(&link) {
            return *known;
        }
        let needed = self.salvage.load(link.0, &link.1).ok().and_then(|bytes| links(link.0, &bytes).ok());
        let closed = needed.is_some_and(|needed| needed.into_iter().all(|needed| self.is_closed(needed)));
        self.known.insert(link, closed);
        closed
    }

    /// What an image needs and cannot be had.
    fn lost(&mut self, root: Id) -> Vec<Lost> {
        let mut lost: Vec<Lost> = Vec::new();
        let mut open = vec![(Part::Image, (Domain::Object, root))];
        while let Some((part, link)) = open.pop() {
            if lost.len() >= LOST_MAX || self.is_closed(link) || lost.iter().any(|lost| lost.link == link) {
                continue;
            }
            match self.salvage.load(link.0, &link.1) {
                Err(source) => lost.push(Lost { link, part, source }),
                Ok(bytes) => open.extend(part.needs(link.0, &bytes).unwrap_or_default()),
            }
        }
        lost
    }

    /// The image of a machine before its first step follows from a later one of the same program, but for what was granted since.
    fn derive_first_image(&mut self, first: Id, later: &Boundary) -> bool {
        let later = self.salvage.load(Domain::Object, &later.root).ok().and_then(|bytes| Image::decode(&bytes).ok());
        let Some(mut image) = later else { return false };
        image.processes = vec![Process { state: None, handover: None, ledger: Ledger::first() }];
        if image.root() != first {
            return false;
        }
        self.salvage.derive(Domain::Object, image.encode());
        self.known.remove(&(Domain::Object, first));
        self.is_whole(first)
    }
}

impl Salvage {
    /// Where the machine stood. The head file says it, a branch record or a batch that leads back to it may say more.
    fn goal(&self) -> Option<Goal> {
        let head = self.heads.first().and_then(|head: &Head| Some((Seq(head.seq), Id::from_bytes(&head.batch)?)));
        let goal = |end, batch| Goal { end, batch, unknown_head: None };
        let newest_branch = self.branches.first().map(|branch| goal(branch.end, branch.batch));
        let Some((seq, batch)) = head else {
            let newest_batch = || {
                let own = self.batches.iter().filter(|batch| batch.is_own());
                let newest = own.max_by_key(|batch| (batch.end, batch.time))?;
                Some(goal(Seq(newest.end), self.read_batch(newest)?.1))
            };
            return newest_branch.or_else(newest_batch).map(|base| self.extended(base));
        };
        let ahead = self.branches.iter().filter(|branch| branch.end >= seq);
        for branch in ahead.clone() {
            if self.leads_back(&branch.batch, branch.end, seq, &batch) == Some(true) {
                return Some(self.extended(goal(branch.end, branch.batch)));
            }
        }
        let by_head = self.extended(goal(seq, batch));
        // A hole may lie between the head and a branch record that is further; who knows the machine's name has not made it up.
        let machine = self.machine_at(&batch);
        let further = ahead.clone().find(|branch| {
            branch.end > by_head.end
                && self.leads_back(&branch.batch, branch.end, seq, &batch).is_none()
                && machine.is_none_or(|machine| machine == branch.epoch.machine)
        });
        if let Some(branch) = further {
            return Some(self.extended(goal(branch.end, branch.batch)));
        }
        match newest_branch {
            // The head file is another machine's, or the log is: what the log has is something.
            Some(base) if base.end >= seq && self.batch(&batch).is_none() && by_head.end == seq => {
                Some(Goal { unknown_head: Some(seq), ..self.extended(base) })
            }
            _ => Some(by_head),
        }
    }

    /// Whether following the log back from a batch leads to this one; nothing if that cannot be told.
    fn leads_back(&self, from: &Id, mut end: Seq, seq: Seq, batch: &Id) -> Option<bool> {
        let mut at = *from;
        while end > seq {
            let (_, found) = self.batch(&at)?;
            (at, end) = (found.previous?, found.first);
        }
        Some(end == seq && at == *batch)
    }

    /// The machine's name, as the log before a batch has it.
    fn machine_at(&self, batch: &Id) -> Option<[u8; 16]> {
        let mut at = *batch;
        loop {
            let (_, found) = self.batch(&at)?;
            let epoch = found.records.iter().find_map(|record| match record {
                Record::Epoch(epoch) => Some(epoch.machine),
                _ => None,
            });
            if epoch.is_some() {
                return epoch;
            }
            at = found.previous?;
        }
    }

    /// Follows the log forward: the head file is not synced, and a branch record may be an older one.
    fn extended(&self, mut goal: Goal) -> Goal {
        while let Some((at, id)) = self.best_after(goal.end, &goal.batch) {
            (goal.end, goal.batch) = (Seq(at.end), id);
        }
        goal
    }

    /// The batch after another; of several the one that was followed by most.
    fn best_after(&self, end: Seq, batch: &Id) -> Option<(BatchAt, Id)> {
        let after = self.after(end, batch);
        if after.len() < 2 {
            return after.into_iter().next();
        }
        let length = |at: &BatchAt, id: &Id| {
            let (mut end, mut id) = (Seq(at.end), *id);
            while let Some((next, next_id)) = self.after(end, &id).into_iter().next() {
                (end, id) = (Seq(next.end), next_id);
            }
            end
        };
        after.into_iter().max_by_key(|(at, id)| (length(at, id), at.time))
    }

    fn after(&self, end: Seq, batch: &Id) -> Vec<(BatchAt, Id)> {
        let first = self.by_first.partition_point(|index| self.batches[*index as usize].first < end.0);
        let here = self.by_first[first..].iter().map(|index| self.batches[*index as usize]);
        let mut found: Vec<(BatchAt, Id)> = Vec::new();
        // A copy that has gone on from here has a life of its own.
        for at in here.take_while(|at| at.first == end.0).filter(BatchAt::is_own) {
            if let Some((next, id)) = self.read_batch(&at)
                && next.previous == Some(*batch)
                && found.iter().all(|(_, known)| *known != id)
            {
                found.push((at, id));
            }
        }
        found
    }

    /// The batch that ends nearest before a seq, of those that something names: a damaged one may decode, too, and is then another.
    fn last_before(&self, seq: Seq) -> Option<(BatchAt, Id)> {
        let first = self.by_first.partition_point(|index| self.batches[*index as usize].first < seq.0);
        let below = self.by_first[..first].iter().rev().map(|index| self.batches[*index as usize]);
        below.filter(|at| at.end < seq.0).find_map(|at| {
            let (batch, id) = self.read_batch(&at)?;
            (self.is_named(&at, &id) && (at.is_own() || self.is_of_our_life(batch, id))).then_some((at, id))
        })
    }

    fn is_named(&self, batch: &BatchAt, id: &Id) -> bool {
        let first = self.by_first.partition_point(|index| self.batches[*index as usize].first < batch.end);
        let next = self.by_first[first..].iter().map(|index| &self.batches[*index as usize]);
        next.take_while(|next| next.first == batch.end).any(|next| next.previous == batch.start)
            || self.branches.iter().any(|branch| branch.batch == *id || branch.checkpoint.batch == *id)
            || self.heads.iter().any(|head| head.batch == id.as_bytes())
    }

    /// Whether a batch of another copy is from before that copy's life parted from ours: going back from it, there is one of ours before
    /// there is an epoch that is not.
    fn is_of_our_life(&self, mut batch: Batch, mut id: Id) -> bool {
        loop {
            if self.has_own(&id) {
                return true;
            }
            let epoch = batch.records.iter().rev().find_map(|record| match record {
                Record::Epoch(epoch) => Some(epoch.incarnation),
                _ => None,
            });
            if let Some(incarnation) = epoch {
                return self.branches.iter().any(|branch| branch.epoch.incarnation == incarnation);
            }
            let Some(previous) = batch.previous else { return false };
            let Some((_, before)) = self.batch(&previous) else { return false };
            (batch, id) = (before, previous);
        }
    }

    fn has_own(&self, id: &Id) -> bool {
        let start = start_of(id.as_bytes());
        let first = self.batches.partition_point(|batch| batch.start < start);
        self.batches[first..].iter().take_while(|batch| batch.start == start).any(BatchAt::is_own)
    }

    /// What a branch record says of its last batch is all there is in it if it was that of a clean stop, or of a new epoch: the id tells whether it was.
    fn guess_last(&mut self) {
        let mut guessed = Vec::new();
        for branch in self.branches.iter().filter(|branch| branch.end.0 > 0 && self.batch(&branch.batch).is_none()) {
            let first = Seq(branch.end.0 - 1);
            let ends_there = self.batches.iter().filter(|at| at.end == first.0);
            for previous in ends_there.filter_map(|at| Some(self.read_batch(at)?.1)) {
                for record in [Record::Settle { effects: Vec::new() }, Record::Epoch(branch.epoch.clone())] {
                    let batch = Batch {
                        first,
                        time: branch.time,
                        records: vec![record],
                        outputs: OutputsHash::default().finish(),
                        root: branch.root,
                        previous: Some(previous),
                    };
                    if Id::of(Domain::Object, &batch.encode()) == branch.batch {
                        guessed.push(batch);
                    }
                }
            }
        }
        guessed.into_iter().for_each(|batch| self.add_guessed(batch));
    }

    /// Boundaries whose root is said by something else than their batch.
    fn boundaries(&self) -> Vec<Boundary> {
        let mut named = Vec::new();
        for branch in &self.branches {
            let checkpoint = branch.checkpoint;
            named.push(Boundary { end: checkpoint.end, batch: Some(checkpoint.batch), root: checkpoint.root });
            named.push(Boundary { end: branch.end, batch: Some(branch.batch), root: branch.root });
        }
        for head in &self.heads {
            if let (Some(batch), Some(root)) = (Id::from_bytes(&head.batch), Id::from_bytes(&head.root)) {
                named.push(Boundary { end: Seq(head.seq), batch: Some(batch), root });
            }
        }
        named
    }

    /// Whether something claims to be an object whose id starts so.
    fn may_have(&self, start: u64) -> bool {
        let is_unnamed = |unnamed: &Vec<(u64, super::Place, super::Form)>| {
            unnamed.binary_search_by_key(&start, |(start, ..)| *start).is_ok()
        };
        self.objects.binary_search_by_key(&start, |(start, _)| *start).is_ok()
            || self.unnamed.get().is_some_and(is_unnamed)
            || self.shelf.is_some()
    }
}
