//! Which batches are believed that no id leads to, because what would lead to them is lost.

use seed::record::{Batch, OutputsHash, Record};
use seed::{Id, Seq};

use crate::salvage::{BatchAt, Salvage, start_of};

impl Salvage {
    /// The batch that ends nearest before a seq, of those that something names: a damaged one may decode, too, and is then another.
    pub(super) fn last_before(&self, seq: Seq) -> Option<(BatchAt, Id)> {
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
    pub(super) fn guess_last(&mut self) {
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
                    if batch.id() == branch.batch {
                        guessed.push(batch);
                    }
                }
            }
        }
        guessed.into_iter().for_each(|batch| self.add_guessed(batch));
    }
}
