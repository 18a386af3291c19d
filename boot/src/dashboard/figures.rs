//! Figures of the last minutes, second by second: how much was done, how long it took. All of it has one size.

use std::collections::VecDeque;

use serde_json::{Value as Json, json};

/// Seconds that are kept.
pub(super) const SECONDS: usize = 300;
/// Seconds that a distribution is of.
const RECENT: u64 = 60;
/// What is shorter is in the first bin: 2^8 ns.
const FIRST_BITS: u32 = 8;
/// Bins to each doubling, as bits.
const PART_BITS: u32 = 2;
/// Up to 2^35 ns, half a minute; what is longer is in the last one.
const BINS: usize = ((35 - FIRST_BITS) << PART_BITS) as usize + 1;

/// How often which time was taken, to a quarter of it.
#[derive(Clone)]
pub(super) struct Times {
    bins: [u32; BINS],
    count: u64,
    max: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { bins: [0; BINS], count: 0, max: 0 }
    }
}

impl Times {
    pub(super) fn add(&mut self, nanos: u64) {
        if let Some(bin) = self.bins.get_mut(bin_of(nanos)) {
            *bin = bin.saturating_add(1);
        }
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    fn merge(&mut self, other: &Self) {
        self.bins.iter_mut().zip(&other.bins).for_each(|(bin, more)| *bin = bin.saturating_add(*more));
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// The time that this part of all took at most: the end of its bin, and not more than the longest.
    fn quantile(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut below = 0;
        for (bin, count) in self.bins.iter().enumerate() {
            below += u64::from(*count);
            if below >= rank {
                return edge(bin + 1).min(self.max);
            }
        }
        self.max
    }

    fn json(&self) -> Json {
        if self.count == 0 {
            return Json::Null;
        }
        json!([self.quantile(50), self.quantile(99), self.max])
    }

    fn bins_json(&self) -> Json {
        let full = self.bins.iter().enumerate().filter(|(_, count)| **count > 0);
        full.map(|(bin, count)| json!([edge(bin), edge(bin + 1), count])).collect()
    }
}

fn bin_of(nanos: u64) -> usize {
    let Some(bits) = nanos.checked_ilog2().and_then(|log| log.checked_sub(FIRST_BITS)) else { return 0 };
    let part = (nanos >> (bits + FIRST_BITS - PART_BITS)) & ((1 << PART_BITS) - 1);
    usize::try_from(((u64::from(bits) << PART_BITS) | part) + 1).unwrap_or(BINS).min(BINS - 1)
}

/// The least time of a bin.
fn edge(bin: usize) -> u64 {
    let Some(bin) = (bin as u64).checked_sub(1) else { return 0 };
    let (bits, part) = (bin >> PART_BITS, bin & ((1 << PART_BITS) - 1));
    ((1 << PART_BITS) | part) << (bits + u64::from(FIRST_BITS - PART_BITS))
}

/// What became durable in one second.
#[derive(Clone, Default)]
pub(super) struct Second {
    /// Since the dashboard was opened.
    pub(super) at: u64,
    pub(super) records: u64,
    pub(super) steps: u64,
    pub(super) aborts: u64,
    pub(super) commits: u64,
    pub(super) checkpoints: u64,
    pub(super) pages: u64,
    pub(super) bytes: u64,
    /// CPU time of the steps.
    pub(super) cost: u64,
    pub(super) step: Times,
    pub(super) commit: Times,
}

impl Second {
    pub(super) fn json(&self) -> Json {
        json!({
            "at": self.at, "records": self.records, "steps": self.steps, "aborts": self.aborts,
            "commits": self.commits, "checkpoints": self.checkpoints, "pages": self.pages, "bytes": self.bytes,
            "cost_ns": self.cost, "step_ns": self.step.json(), "commit_ns": self.commit.json(),
        })
    }
}

/// The seconds in which something became durable.
#[derive(Clone, Default)]
pub(super) struct Figures {
    seconds: VecDeque<Second>,
}

impl Figures {
    /// The present second.
    pub(super) fn at(&mut self, now: u64) -> &mut Second {
        if self.seconds.back().is_none_or(|last| last.at < now) {
            while self.seconds.front().is_some_and(|first| first.at + SECONDS as u64 <= now) {
                self.seconds.pop_front();
            }
            self.seconds.push_back(Second { at: now, ..Second::default() });
        }
        let last = self.seconds.len().saturating_sub(1);
        &mut self.seconds[last]
    }

    /// The seconds from this one on.
    pub(super) fn since(&self, first: u64) -> Vec<Second> {
        let later = self.seconds.iter().rev().take_while(|second| second.at >= first);
        let mut seconds: Vec<Second> = later.cloned().collect();
        seconds.reverse();
        seconds
    }

    /// The last minute as one.
    pub(super) fn recent(&self, now: u64) -> Recent {
        let mut sum = Second::default();
        for second in self.seconds.iter().filter(|second| second.at + RECENT > now) {
            sum.step.merge(&second.step);
            sum.commit.merge(&second.commit);
            sum.records += second.records;
            sum.commits += second.commits;
            sum.pages += second.pages;
            sum.bytes += second.bytes;
            sum.cost += second.cost;
        }
        Recent(sum)
    }
}

/// What became durable in the last minute.
pub(super) struct Recent(Second);

impl Recent {
    /// How its times are distributed, and what its batches had together.
    pub(super) fn json(&self) -> Json {
        let Self(sum) = self;
        json!({
            "seconds": RECENT, "records": sum.records, "commits": sum.commits, "pages": sum.pages, "bytes": sum.bytes,
            "cost_ns": sum.cost, "step_ns": sum.step.json(), "step_bins": sum.step.bins_json(),
            "commit_ns": sum.commit.json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_its_bin() {
        for shift in 0..64 {
            for nanos in [(1_u64 << shift) - 1, 1 << shift, (1 << shift) + (1 << shift) / 4, u64::MAX >> shift] {
                let bin = bin_of(nanos);
                assert!(edge(bin) <= nanos, "{nanos} is below bin {bin}");
                assert!(nanos < edge(bin + 1) || bin == BINS - 1, "{nanos} is above bin {bin}");
            }
        }
        for bin in 1..BINS {
            assert!(edge(bin) < edge(bin + 1));
            assert!(bin < 2 || edge(bin + 1) - edge(bin) <= edge(bin) / 4, "bin {bin} is wider than a quarter");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut times = Times::default();
        assert_eq!(times.json(), Json::Null);
        (1..=100).for_each(|number| times.add(number * 1_000_000));
        let (half, most) = (times.quantile(50), times.quantile(99));
        assert!((50_000_000..=62_500_000).contains(&half), "{half}");
        assert!((99_000_000..=100_000_000).contains(&most), "{most}");
        assert_eq!(times.quantile(100), 100_000_000);
        let counted: u64 = times.bins_json().as_array().unwrap().iter().map(|bin| bin[2].as_u64().unwrap()).sum();
        assert_eq!(counted, 100);
    }

    #[test]
    fn only_so_many_seconds_are_kept() {
        let mut figures = Figures::default();
        for now in 0..2000 {
            figures.at(now).records += 1;
            figures.at(now).records += 1;
        }
        assert_eq!(figures.since(0).len(), SECONDS);
        assert_eq!(figures.since(1999)[0].records, 2);
        assert_eq!(figures.recent(1999).0.records, 2 * RECENT);
        figures.at(5000);
        assert_eq!(figures.since(0).len(), 1);
    }
}
