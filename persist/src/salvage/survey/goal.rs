//! Where a damaged machine stood. The head file says what was acknowledged; it is not synced, so that a branch record or a batch that leads
//! back to it may say more, and nothing that does not lead back to it counts.

use seed::record::Record;
use seed::{Id, Seq};

use super::{Boundary, Goal};
use crate::head::Head;
use crate::salvage::{BatchAt, Form, Place, Salvage};

impl Salvage {
    /// Where the machine stood. The head file says it, a branch record or a batch that leads back to it may say more.
    pub(super) fn goal(&self) -> Option<Goal> {
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

    /// Boundaries whose root is said by something else than their batch.
    pub(super) fn boundaries(&self) -> Vec<Boundary> {
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
    pub(super) fn may_have(&self, start: u64) -> bool {
        let is_unnamed =
            |unnamed: &Vec<(u64, Place, Form)>| unnamed.binary_search_by_key(&start, |(start, ..)| *start).is_ok();
        self.objects.binary_search_by_key(&start, |(start, _)| *start).is_ok()
            || self.unnamed.get().is_some_and(is_unnamed)
            || self.shelf.is_some()
    }
}
