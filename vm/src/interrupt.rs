//! Making a running guest look at its CPU time, and stopping it when that is used up.
//!
//! | code | how a [`Ticker`] reaches it | where it looks |
//! |---|---|---|
//! | native | closes the guest's stop memory | at polls: reads of that memory, which fault now |
//! | byte code | advances the engine's epoch | where the engine checks its epoch |
//!
//! A poll costs native code one load (`prepare/polls.rs`), an epoch check costs it two loads, a comparison and a branch. When a poll faults,
//! the signal handler, on the guest's own thread, asks the [`Overseer`] and opens the memory again. If the guest may go on, the load is made
//! again and nothing has happened. If not, the engine makes a trap of the fault, with the function that was running.
//!
//! The host's interpreter of byte code checks bounds itself and would not survive a closed memory, so there the polls are idle.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seed::Nanos;

use crate::engine::Meter;
use crate::memory::{GuestMemory, MemoryBank, MemoryError, StopMemory};

/// Interrupts guests of one engine so that they check their CPU time.
#[derive(Clone)]
pub struct Ticker(Reach);

/// How guests are reached.
#[derive(Clone)]
pub(crate) enum Reach {
    /// By their stop memories.
    Stops(Arc<MemoryBank>),
    /// By the engine's epoch.
    Epochs(wasmtime::Engine),
}

impl Ticker {
    pub(crate) fn new(reach: Reach) -> Self {
        Self(reach)
    }

    /// One tick.
    pub fn tick(&self) {
        match &self.0 {
            Reach::Stops(bank) => bank.close_stops(),
            Reach::Epochs(engine) => engine.increment_epoch(),
        }
    }
}

/// Decides whether an interrupted guest goes on.
pub(crate) struct Overseer {
    meter: Meter,
    state: Mutex<State>,
}

struct State {
    /// CPU time at which the running step is stopped.
    deadline: Nanos,
    /// A memory one of whose pages is watched for its first write.
    watched: Option<Arc<GuestMemory>>,
    verdict: Option<Verdict>,
}

/// Why a guest was stopped.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It has used up its CPU time.
    OutOfTime,
    /// A bulk instruction wrote the page that is watched.
    WatchedWrite,
    /// It could not be let go on.
    Stuck(MemoryError),
}

impl Overseer {
    /// Of a guest that may run for ever.
    pub(crate) fn new(meter: Meter) -> Self {
        Self { meter, state: Mutex::new(State { deadline: Nanos(u64::MAX), watched: None, verdict: None }) }
    }

    /// The CPU time of the calling thread.
    pub(crate) fn now(&self) -> Nanos {
        (self.meter)()
    }

    /// The guest is about to run, until that CPU time.
    pub(crate) fn begin(&self, deadline: Nanos) {
        let mut state = self.state();
        state.deadline = deadline;
        state.verdict = None;
    }

    /// Has the guest stopped when this memory has seen a bulk write, or no longer.
    pub(crate) fn watch(&self, memory: Option<Arc<GuestMemory>>) {
        self.state().watched = memory;
    }

    /// Whether the guest may go on; if not, there is a verdict. On the guest's thread.
    pub(crate) fn may_go_on(&self) -> bool {
        // Not under the lock: what the meter does is none of ours.
        let now = (self.meter)();
        let mut state = self.state();
        state.verdict = if state.watched.as_ref().is_some_and(|memory| memory.bulk_write_seen()) {
            Some(Verdict::WatchedWrite)
        } else if now >= state.deadline {
            Some(Verdict::OutOfTime)
        } else {
            None
        };
        state.verdict.is_none()
    }

    /// What a signal handler does when the guest has come to its closed stop memory: says whether the guest may go on, and opens it.
    pub(crate) fn has_stopped_at(&self, stop: &StopMemory) -> bool {
        let may_go_on = self.may_go_on();
        // Opened last: if the meter itself ticks, the guest must come past this poll all the same.
        match stop.open() {
            Ok(()) => may_go_on,
            Err(error) => {
                self.is_stuck(error);
                false
            }
        }
    }

    /// The guest cannot be let go on: what it is about to do fails on the host. On the guest's thread, in a signal handler.
    pub(crate) fn is_stuck(&self, error: MemoryError) {
        self.state().verdict = Some(Verdict::Stuck(error));
    }

    /// Why the guest was stopped, if it was.
    pub(crate) fn take_verdict(&self) -> Option<Verdict> {
        self.state().verdict.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
