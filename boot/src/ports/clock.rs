//! **clock**: `[0]` answers the time, `[1, t]` answers at time `t`, `[2, first, every]` at `first` and then again and again. Times are nanoseconds since 1970,
//! answers are one CBOR integer.
//!
//! A wait is for an absolute time, so a machine that was stopped meanwhile is answered at once, and a host's clock that is set forward ends waits;
//! one that is set back does not prolong them ([`MachineClock`]). Resumed by waiting for the same time. What repeats answers in parts, one after the other:
//! the next is sent when the machine has taken the one before, and all times that were missed meanwhile, or while the machine did not run, are one.

pub mod payload;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use seed::message::Code;
use seed::{EffectId, Nanos};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use vm::port::{Line, Port, Ticket};
use vm::step_loop::Room;

use self::payload::{Ask, encode};
use super::Known;
use crate::clocks::MachineClock;

/// The host's clock may be set while somebody waits; this is how soon that is noticed.
const NAP_MAX: Duration = Duration::from_secs(1);

/// Understands the name of a grant.
pub fn parse(name: &str, _folder: &Path) -> Option<Known> {
    (name == "clock").then(|| {
        Known::new(name, |_, host| {
            Ok(Some(Box::new(Clock::new(host.line.clone(), host.runtime.clone(), Arc::clone(&host.clock)))))
        })
    })
}

/// The machine's clock as a port.
pub struct Clock {
    line: Line,
    runtime: Handle,
    waits: HashMap<Ticket, AbortHandle>,
    clock: Arc<MachineClock>,
}

impl Clock {
    /// A clock whose waits run on `runtime`.
    #[must_use]
    pub fn new(line: Line, runtime: Handle, clock: Arc<MachineClock>) -> Self {
        Self { line, runtime, waits: HashMap::new(), clock }
    }

    fn wait(&mut self, request: Ticket, wait: impl Future<Output = ()> + Send + 'static) {
        self.waits.retain(|_, wait| !wait.is_finished());
        self.waits.insert(request, self.runtime.spawn(wait).abort_handle());
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.waits.values().for_each(AbortHandle::abort);
    }
}

impl Port for Clock {
    fn ask(&mut self, request: Ticket, payload: Vec<u8>, resumed: bool) {
        let time = match Ask::decode(&payload) {
            Ok(Ask::Now) => Nanos(0),
            Ok(Ask::Until(time)) => time,
            Ok(Ask::Every { first, every }) => {
                let due = if resumed { next_after(self.clock.started_from(), first, every) } else { first };
                return self.wait(request, repeat(request, due, every, self.line.clone(), Arc::clone(&self.clock)));
            }
            Err(error) => {
                let takes = "the clock takes [0], [1, time] or [2, first, every]";
                return self.line.broken(request, Code::MALFORMED, format!("{takes}: {error}"));
            }
        };
        if time <= self.clock.now() {
            return self.line.answer(request, encode(self.clock.now()));
        }
        let (line, clock) = (self.line.clone(), Arc::clone(&self.clock));
        self.wait(request, async move {
            until(time, &clock).await;
            line.answer(request, encode(clock.now()));
        });
    }

    fn effect(&mut self, effect: EffectId, _payload: Vec<u8>) {
        // Nothing a clock can be told; it counts as told.
        self.line.delivered(effect);
    }

    fn cancel(&mut self, request: Ticket) {
        if let Some(wait) = self.waits.remove(&request) {
            wait.abort();
        }
    }
}

async fn until(time: Nanos, clock: &MachineClock) {
    while let Some(left) = time.0.checked_sub(clock.now().0).filter(|left| *left > 0) {
        tokio::time::sleep(Duration::from_nanos(left).min(NAP_MAX)).await;
    }
}

async fn repeat(request: Ticket, mut due: Nanos, every: Nanos, line: Line, clock: Arc<MachineClock>) {
    loop {
        until(due, &clock).await;
        // Dropped when the machine takes the answer: more of them would only wait for that.
        let (held, taken) = oneshot::channel::<()>();
        line.part(request, encode(clock.now()), Room::of(held));
        let _ = taken.await;
        due = next_after(clock.now(), due, every);
    }
}

/// The first of the times `first`, `first + every`, ... that is later than `time`.
fn next_after(time: Nanos, first: Nanos, every: Nanos) -> Nanos {
    match time.0.checked_sub(first.0) {
        None => first,
        Some(passed) => {
            let count = (passed / every.0.max(1)).saturating_add(1);
            Nanos(first.0.saturating_add(count.saturating_mul(every.0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_keeps_to_its_times() {
        let next = |time, first, every| next_after(Nanos(time), Nanos(first), Nanos(every)).0;
        assert_eq!(next(0, 10, 5), 10);
        assert_eq!(next(9, 10, 5), 10);
        assert_eq!(next(10, 10, 5), 15);
        assert_eq!(next(14, 10, 5), 15);
        assert_eq!(next(15, 10, 5), 20);
        assert_eq!(next(1003, 10, 5), 1005, "however many were missed");
        assert_eq!(next(u64::MAX, 10, 5), u64::MAX, "the end of time");
        assert_eq!(next(20, 10, u64::MAX), u64::MAX);
    }
}
