//! Rounds of a row, a few at a time. A check that panics is a harm like any other: the rounds after it are done all the same.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{Effort, Harm, Tally};
use crate::sim::random::Random;

/// As many as the hosts that run the tests have processors.
const THREADS: u64 = 2;

/// After so many harms the rest has nothing to add.
const HARMS_MAX: usize = 20;

/// Does a round for every number from 0 on, as long as the effort says. A round in which no fault came about gives none.
pub(super) fn side_by_side(effort: &Effort, round: impl Fn(u64) -> Option<Result<(), Harm>> + Sync) -> Tally {
    let (tally, next) = (Mutex::new(Tally::default()), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if !effort.goes_on(number) {
                        return;
                    }
                    let outcome = catch_unwind(AssertUnwindSafe(|| round(number)));
                    let outcome = outcome.unwrap_or_else(|panic| Some(Err(Harm::Wrong(words(panic.as_ref())))));
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(outcome) = outcome {
                        tally.count(outcome);
                    }
                    if tally.lost.len() + tally.wrong.len() >= HARMS_MAX {
                        return;
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Does a round for each of these, in an order that follows from the effort's seed, so that a row that is cut short has looked everywhere. One
/// round of the effort is all of them.
pub(super) fn sweep<T: Sync>(
    effort: &Effort,
    points: &[T],
    round: impl Fn(&T) -> Option<Result<(), Harm>> + Sync,
) -> Tally {
    let mut order: Vec<&T> = points.iter().collect();
    let mut random = Random::new(effort.seed);
    for last in (1..order.len()).rev() {
        order.swap(last, random.index(last + 1));
    }
    let rounds = effort.rounds.saturating_mul(order.len() as u64);
    side_by_side(&Effort { rounds, ..*effort }, |number| {
        let position = usize::try_from(number).unwrap_or(usize::MAX) % order.len();
        round(order[position])
    })
}

/// What a panic says, with how to see it again where that is told by [`telling`].
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Does something; whatever harm it finds, or how it panics, is told together with how to see it again.
pub(super) fn telling<T>(again: &str, work: impl FnOnce() -> Result<T, Harm>) -> Result<T, Harm> {
    let done = catch_unwind(AssertUnwindSafe(work));
    let done = done.unwrap_or_else(|panic| Err(Harm::Wrong(words(panic.as_ref()))));
    done.map_err(|harm| match harm {
        Harm::Lost(what) => Harm::Lost(format!("{again}\n{what}")),
        Harm::Wrong(what) => Harm::Wrong(format!("{again}\n{what}")),
    })
}
