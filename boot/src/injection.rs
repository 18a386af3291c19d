//! Where a test can end this process: just before or just after any commit, as `kill -9` would.
//!
//! `ABIDE_KILL_AT_COMMIT=N` or `N:before` ends it before the Nth commit of the process is begun, `N:after` when it is durable and nobody has been
//! told. `ABIDE_HOLD_START=FILE` makes every recovery wait while that file exists and is empty, and fail if there is text in it.
//! With `ABIDE_SCRUB_AT_ONCE` the background check begins with the machine, and its passes follow on each other. Compiled in with the feature `injection` only; without it there is nothing here that costs anything.

/// Which side of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The commit has not begun.
    Before,
    /// The commit is durable.
    After,
}

/// Passes a commit of this process; may not return.
#[cfg(not(feature = "injection"))]
pub(crate) fn at_commit(_side: Side) {}

/// Passes the beginning of a recovery; may wait or fail.
#[cfg(not(feature = "injection"))]
pub(crate) fn at_start() -> std::io::Result<()> {
    Ok(())
}

/// Whether a background check begins at once, and again and again.
#[cfg(not(feature = "injection"))]
pub(crate) fn scrubs_at_once() -> bool {
    false
}

#[cfg(feature = "injection")]
pub(crate) use compiled_in::{at_commit, at_start, scrubs_at_once};

#[cfg(feature = "injection")]
mod compiled_in {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::Side;

    static BEGUN: AtomicU64 = AtomicU64::new(0);
    static PLAN: OnceLock<Option<(u64, Side)>> = OnceLock::new();

    /// Passes a commit of this process; may not return.
    pub(crate) fn at_commit(side: Side) {
        let commit = match side {
            Side::Before => BEGUN.fetch_add(1, Ordering::SeqCst) + 1,
            Side::After => BEGUN.load(Ordering::SeqCst),
        };
        if *PLAN.get_or_init(plan) == Some((commit, side)) {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    /// Passes the beginning of a recovery; may wait or fail.
    pub(crate) fn at_start() -> io::Result<()> {
        let Some(path) = std::env::var_os("ABIDE_HOLD_START") else { return Ok(()) };
        loop {
            match std::fs::read_to_string(&path) {
                Err(_) => return Ok(()),
                Ok(text) if !text.is_empty() => return Err(io::Error::other(text)),
                Ok(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Whether a background check begins at once, and again and again.
    pub(crate) fn scrubs_at_once() -> bool {
        std::env::var_os("ABIDE_SCRUB_AT_ONCE").is_some()
    }

    fn plan() -> Option<(u64, Side)> {
        let text = std::env::var("ABIDE_KILL_AT_COMMIT").ok()?;
        let (number, side) = match text.split_once(':') {
            Some((number, "after")) => (number, Side::After),
            Some((number, "before")) => (number, Side::Before),
            Some(_) => return None,
            None => (text.as_str(), Side::Before),
        };
        Some((number.parse().ok()?, side))
    }
}
