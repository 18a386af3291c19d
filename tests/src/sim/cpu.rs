//! CPU time as a guest's thread would measure it, decided by the simulator.
//!
//! A turn of the loop measures at its start, when its step starts, and at its end; a guest that is made to look measures in between. What it
//! is told depends on the plan alone, never on how fast the host is:
//!
//! * Usually every measurement from the third on says the same, below the limit, so that it does not matter how often the guest looks.
//! * In a turn that is struck more than the limit passes between measurements, so that the guest is over it when it first looks, whether
//!   that is while it initialises or in its step.
//! * A step that never ends is over the limit once it has used up real CPU time that no other step comes near.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use seed::Nanos;
use vm::engine::{Meter, Ticker};

/// The measurements that are not yet the guest's: at the start of the turn and of its step.
const BEFORE: u64 = 2;
const HUNG: Duration = Duration::from_millis(50);
const TICK: Duration = Duration::from_millis(10);

/// A simulated CPU clock, with a thread that makes guests look at it.
pub struct Cpu {
    shared: Arc<Shared>,
    ticking: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    now: u64,
    cost: u64,
    limit: u64,
    strikes: bool,
    hangs: bool,
    measured: u64,
    real_start: Duration,
    ticker: Option<Ticker>,
    is_over: bool,
}

impl Default for Cpu {
    fn default() -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let ticking = thread::Builder::new().spawn(move || tick(&theirs)).ok();
        Self { shared, ticking }
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.ended.notify_all();
        if let Some(ticking) = self.ticking.take() {
            // It has nothing to tell.
            let _ = ticking.join();
        }
    }
}

impl Cpu {
    /// The meter for a machine's settings.
    #[must_use]
    pub fn meter(&self) -> Meter {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.lock().measure())
    }

    /// The machine that runs now; its limit.
    pub fn attach(&self, ticker: Ticker, limit: Nanos) {
        let mut state = self.shared.lock();
        state.ticker = Some(ticker);
        state.limit = limit.0;
    }

    /// A turn begins whose step will cost so much, or too much if it is struck.
    pub fn begin(&self, cost: u64, strikes: bool) {
        let mut state = self.shared.lock();
        state.now += 1_000_000_000;
        state.cost = cost.min(state.limit - 1);
        state.strikes = strikes;
        state.hangs = false;
        state.measured = 0;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn measure(&mut self) -> Nanos {
        self.measured += 1;
        if self.measured == 1 {
            self.real_start = real();
        }
        if let (true, Some(ticker)) = (self.strikes, &self.ticker) {
            ticker.tick();
        }
        let passed = match self.measured {
            ..=BEFORE => 0,
            look if self.strikes => (self.limit + 1) * (look - BEFORE),
            _ => {
                self.hangs |= real().saturating_sub(self.real_start) >= HUNG;
                if self.hangs { self.limit + 1 } else { self.cost }
            }
        };
        Nanos(self.now + passed)
    }
}

/// CPU time of this thread: no load on the host makes an innocent step look like one that hangs.
fn real() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

fn tick(shared: &Shared) {
    let mut state = shared.lock();
    while !state.is_over {
        if let Some(ticker) = &state.ticker {
            ticker.tick();
        }
        state = shared.ended.wait_timeout(state, TICK).map_or_else(|error| error.into_inner().0, |(state, _)| state);
    }
}
