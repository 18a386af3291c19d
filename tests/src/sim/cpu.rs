//! CPU time as a guest's thread would measure it, decided by the simulator.
//!
//! A turn of the loop measures at its start, when its step starts, and at its end. A turn that is struck ticks with every measurement, so
//! that the guest measures, too, at each function it enters and each loop it repeats; at the one after `strike` more the time is over
//! the limit. Nothing depends on how fast the host is.

use std::sync::{Arc, Mutex, PoisonError};

use seed::Nanos;
use vm::engine::{Meter, Ticker};

/// The measurements that are not yet the guest's: at the start of the turn and of its step.
const BEFORE: u64 = 2;

/// A simulated CPU clock.
#[derive(Clone, Default)]
pub struct Cpu(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: u64,
    cost: u64,
    limit: u64,
    strike: Option<u64>,
    measured: u64,
    ticker: Option<Ticker>,
}

impl Cpu {
    /// The meter for a machine's settings.
    #[must_use]
    pub fn meter(&self) -> Meter {
        let this = self.clone();
        Arc::new(move || this.with(State::measure))
    }

    /// The machine that runs now; its limit.
    pub fn attach(&self, ticker: Ticker, limit: Nanos) {
        self.with(|state| {
            state.ticker = Some(ticker);
            state.limit = limit.0;
        });
    }

    /// A turn begins whose step will cost so much, or the limit and more if it lasts for `strike` measurements.
    pub fn begin(&self, cost: u64, strike: Option<u64>) {
        self.with(|state| {
            state.now = state.measure().0;
            state.cost = cost;
            state.strike = strike;
            state.measured = 0;
        });
    }

    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn measure(&mut self) -> Nanos {
        self.measured += 1;
        let struck = self.strike.is_some_and(|strike| self.measured > BEFORE + strike);
        if let (Some(_), Some(ticker)) = (self.strike, &self.ticker) {
            ticker.tick();
        }
        let passed = match self.measured {
            ..=BEFORE => 0,
            _ if struck => self.cost + self.limit + 1,
            _ => self.cost,
        };
        Nanos(self.now + passed)
    }
}
