//! The host's clocks and randomness: the only place that reads them for the layers below.
//!
//! A host's clock can be set to anything at any time. A machine's cannot: [`MachineClock`] follows the host's, never goes back and never stands still.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use seed::Nanos;
use vm::engine::Meter;

/// Host time since 1970; zero for a clock that is set before.
#[must_use]
pub fn wall_clock() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// While the host's clock is behind a machine's, the machine's is slower by this part: slow enough to be caught up with, and fast enough for waits.
const SLOWER_BY: u32 = 16;

/// The time of one machine: the host's, and never earlier than the machine has been told.
///
/// After the host's clock was set back, a machine's time goes on from where it was, a sixteenth slower, until the host's clock has caught up. So
/// nobody in the machine sees time go back, and a wait for the next second is over in a second and not when the host gets there again.
pub struct MachineClock {
    since: Nanos,
    told: Mutex<Told>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    time: Nanos,
    at: Instant,
}

impl MachineClock {
    /// The clock of a machine that knows of this time.
    #[must_use]
    pub fn since(time: Nanos) -> Self {
        Self { since: time, told: Mutex::new(Told { time, at: Instant::now() }) }
    }

    /// What the machine knew of the time when it was started.
    #[must_use]
    pub fn started_from(&self) -> Nanos {
        self.since
    }

    /// The machine's time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        *told = Told { time: told.time_after(at.saturating_duration_since(told.at), wall_clock()), at };
        told.time
    }
}

impl Told {
    fn time_after(self, elapsed: Duration, host: Nanos) -> Nanos {
        let least = (elapsed - elapsed / SLOWER_BY).as_nanos();
        host.max(self.time.plus(Nanos(u64::try_from(least).unwrap_or(u64::MAX))))
    }
}

/// The CPU time of the calling thread.
#[must_use]
pub fn cpu_meter() -> Meter {
    Arc::new(|| {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let part = |value: i64| u64::try_from(value).unwrap_or(0);
        Nanos(part(time.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(time.tv_nsec)))
    })
}

/// Random bytes.
///
/// # Errors
/// If the operating system has none.
pub fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host's clock was set back by ten years. A machine that had asked to be woken in a second was woken in ten years, and one that asked for the
    /// time was told that it had not happened yet. Now the host's clock is one of two things that its time is made of.
    #[test]
    fn a_machines_time_goes_on_whatever_the_hosts_does() {
        const SECOND: u64 = 1_000_000_000;
        let mut told = Told { time: Nanos(100 * SECOND), at: Instant::now() };
        let mut after = |seconds: u64, host: u64| {
            told.time = told.time_after(Duration::from_secs(seconds), Nanos(host));
            told.time.0
        };
        assert_eq!(after(1, 101 * SECOND), 101 * SECOND, "as the host's");
        assert_eq!(after(0, 500 * SECOND), 500 * SECOND, "set forward");
        assert_eq!(after(16, 0), 515 * SECOND, "set back: from where it was, a sixteenth slower");
        assert_eq!(after(16, 514 * SECOND), 530 * SECOND, "still behind");
        assert_eq!(after(16, 530 * SECOND), 545 * SECOND, "still behind");
        assert_eq!(after(16, 546 * SECOND), 560 * SECOND, "caught up with");
        assert_eq!(after(16, 577 * SECOND), 577 * SECOND, "as the host's");
        assert_eq!(after(0, u64::MAX), u64::MAX);
        assert_eq!(after(1, 0), u64::MAX, "the end of time");
    }
}
