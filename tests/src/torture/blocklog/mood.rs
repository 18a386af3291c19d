//! How a disk behaves besides what it holds: how long it takes, and what it cannot read.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::record::BLOCK;
use crate::sim::random::Random;

/// How often a block cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// The next time, and never after.
    Once,
    /// As long as the disk is in this mood.
    Always,
}

/// What a disk is like at the moment. Usually it answers at once and can read everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Mood {
    slow: Option<(RangeInclusive<u64>, Random)>,
    unreadable: BTreeMap<u64, Unreadable>,
    /// How many reads have failed.
    pub(super) failed: u64,
}

impl Mood {
    /// Every read, write and flush takes so many milliseconds.
    pub(super) fn slow(milliseconds: RangeInclusive<u64>, seed: u64) -> Self {
        Self { slow: Some((milliseconds, Random::new(seed))), ..Self::default() }
    }

    /// These blocks cannot be read.
    pub(super) fn unreadable(blocks: impl IntoIterator<Item = u64>, how: Unreadable) -> Self {
        Self { unreadable: blocks.into_iter().map(|block| (block, how)).collect(), ..Self::default() }
    }

    /// How long the next answer takes.
    pub(super) fn pause(&mut self) -> Duration {
        let Some((milliseconds, random)) = &mut self.slow else { return Duration::ZERO };
        let spread = milliseconds.end().saturating_sub(*milliseconds.start()) + 1;
        Duration::from_millis(milliseconds.start() + random.below(spread))
    }

    /// Whether a read of these bytes fails.
    pub(super) fn fails(&mut self, at: u64, length: u64) -> bool {
        let block = BLOCK as u64;
        let touched = at / block..(at + length).div_ceil(block);
        let hit: Vec<_> = self.unreadable.range(touched).map(|(block, how)| (*block, *how)).collect();
        for (block, _) in hit.iter().filter(|(_, how)| *how == Unreadable::Once) {
            self.unreadable.remove(block);
        }
        self.failed += u64::from(!hit.is_empty());
        !hit.is_empty()
    }
}
