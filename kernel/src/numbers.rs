//! Numbers of requests or of replies: those that are open, and which ones may be without having been seen here.

use std::collections::{BTreeMap, BTreeSet};

/// Numbers of one kind.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// Those that the program has open, and whether the other side is done with them.
    open: BTreeMap<u64, bool>,
    /// If the machine was another program before: all others than these may be open since then. From the first to the last of
    /// each range, since most follow one another.
    seen: Option<BTreeMap<u64, u64>>,
    /// What was seen for the first time since the last [`Self::keep`].
    new: BTreeSet<u64>,
}

/// Ranges that are kept. Of what is forgotten then, the least, less is known: the host may have to judge it.
const RANGES_MAX: usize = 1 << 16;

impl Numbers {
    /// Those of a machine that was another program before. Zero is none.
    pub(crate) fn inherited() -> Self {
        Self { seen: Some(BTreeMap::from([(0, 0)])), ..Self::default() }
    }

    /// How many are known to be open.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether it is known to be open.
    pub(crate) fn is_known(&self, number: u64) -> bool {
        self.open.contains_key(&number)
    }

    /// Of what is open, or may be, whether the other side is done with it.
    pub(crate) fn get(&self, number: u64) -> Option<bool> {
        self.open.get(&number).copied().or_else(|| self.may_be_open(number).then_some(false))
    }

    /// It is open. What was known of it before is returned.
    pub(crate) fn insert(&mut self, number: u64, is_done: bool) -> Option<bool> {
        self.see(number);
        self.open.insert(number, is_done)
    }

    /// It is over.
    pub(crate) fn remove(&mut self, number: u64) -> Option<bool> {
        self.see(number);
        self.open.remove(&number)
    }

    /// It is from here on what it was before, unless [`Self::keep`] is told that nothing has happened.
    pub(crate) fn put_back(&mut self, number: u64, before: Option<bool>) {
        match before {
            Some(before) => drop(self.open.insert(number, before)),
            None => drop(self.open.remove(&number)),
        }
    }

    /// It is not of the time before.
    pub(crate) fn see(&mut self, number: u64) {
        if self.may_be_open(number) {
            self.new.insert(number);
        }
    }

    /// What was seen has been seen, or it has not.
    pub(crate) fn keep(&mut self, is_kept: bool) {
        let new = std::mem::take(&mut self.new);
        if let (Some(seen), true) = (&mut self.seen, is_kept) {
            new.into_iter().for_each(|number| add(seen, number));
        }
    }

    fn may_be_open(&self, number: u64) -> bool {
        let is_unseen = |seen: &BTreeMap<u64, u64>| range_of(seen, number).is_none_or(|(_, last)| last < number);
        self.seen.as_ref().is_some_and(is_unseen) && !self.new.contains(&number) && !self.is_known(number)
    }
}

/// The last range that begins no later.
fn range_of(ranges: &BTreeMap<u64, u64>, number: u64) -> Option<(u64, u64)> {
    ranges.range(..=number).next_back().map(|(first, last)| (*first, *last))
}

/// Adds a number that is in none of them.
fn add(ranges: &mut BTreeMap<u64, u64>, number: u64) {
    let before = range_of(ranges, number).filter(|(_, last)| last.checked_add(1) == Some(number));
    let after = number.checked_add(1).and_then(|next| ranges.remove(&next));
    ranges.insert(before.map_or(number, |(first, _)| first), after.unwrap_or(number));
    if ranges.len() > RANGES_MAX {
        ranges.pop_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_seen_may_be_open_once() {
        let mut numbers = Numbers::inherited();
        assert_eq!(numbers.get(5), Some(false));
        numbers.remove(5);
        assert_eq!(numbers.get(5), None);
        numbers.keep(false);
        assert_eq!(numbers.get(5), Some(false), "it has not been");
        numbers.remove(5);
        numbers.keep(true);
        assert_eq!(numbers.get(5), None);
        numbers.insert(5, true);
        assert_eq!(numbers.get(5), Some(true));
        numbers.remove(5);
        assert_eq!(numbers.get(5), None);
        assert_eq!(Numbers::default().get(5), None);
    }

    #[test]
    fn numbers_that_follow_one_another_are_one_range() {
        let mut numbers = Numbers::inherited();
        for number in [7, 9, 8, 1, 3, u64::MAX, 2, u64::MAX - 1] {
            numbers.see(number);
            numbers.see(number);
            numbers.keep(true);
        }
        let ranges: Vec<_> = numbers.seen.clone().unwrap().into_iter().collect();
        assert_eq!(ranges, [(0, 3), (7, 9), (u64::MAX - 1, u64::MAX)]);
        let unseen: Vec<u64> = (0..12).filter(|number| numbers.get(*number).is_some()).collect();
        assert_eq!(unseen, [4, 5, 6, 10, 11]);
    }
}
