//! Many lives, on all processors, and what to do with one that fails: make it shorter, and show it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use persist::planted::{Bug, plant};

use super::Failure;
use super::coverage::Coverage;
use super::life::{Report, live};
use super::plan::Plan;

/// Native stack of a thread that lives lives: what guests may use in a replay, and what the host's own unoptimised code takes.
const STACK_BYTES: usize = 16 << 20;

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Swept {
    /// Lives lived.
    pub lives: u64,
    /// Batches in all logs.
    pub batches: u64,
    /// Records in all logs.
    pub records: u64,
    /// Processes it took.
    pub runs: u64,
    /// What happened.
    pub coverage: Coverage,
    /// The failing seed that is least.
    pub failed: Option<(u64, Failure)>,
}

/// Lives a life; a panic is a failure, too.
pub fn try_live(plan: &Plan, native: &Path, with_trace: bool) -> (Report, Result<(), Failure>) {
    catch_unwind(AssertUnwindSafe(|| live(plan, native, with_trace))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        (Report::default(), Err(Failure::new("nothing panics", text.unwrap_or_default())))
    })
}

/// Lives the lives of these seeds, with a bug planted if one is given. Ends early if one fails.
pub fn sweep(seeds: std::ops::Range<u64>, native: &Path, bug: Option<Bug>) -> Swept {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let swept = Mutex::new(Swept::default());
    let one_thread = || {
        plant(bug);
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let (report, outcome) = try_live(&Plan::new(seed), native, false);
            let mut swept = swept.lock().unwrap_or_else(PoisonError::into_inner);
            swept.lives += 1;
            swept.batches += report.batches as u64;
            swept.records += report.records;
            swept.runs += u64::from(report.runs);
            swept.coverage.merge(&report.coverage);
            if let Err(failure) = outcome {
                stop.store(true, Ordering::Relaxed);
                if swept.failed.as_ref().is_none_or(|(known, _)| seed < *known) {
                    swept.failed = Some((seed, failure));
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            let builder = thread::Builder::new().stack_size(STACK_BYTES);
            if let Err(error) = builder.spawn_scoped(scope, one_thread) {
                panic!("no thread: {error}");
            }
        }
    });
    swept.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Takes actions out of a failing plan as long as it fails in the same way, for at most this long.
#[must_use]
pub fn minimise(plan: &Plan, failure: &Failure, native: &Path, at_most: Duration) -> Plan {
    let start = Instant::now();
    let mut plan = plan.clone();
    let mut chunk = plan.actions.len().next_power_of_two() / 2;
    while chunk > 0 && start.elapsed() < at_most {
        let mut removed = false;
        let mut at = 0;
        while at < plan.actions.len() && start.elapsed() < at_most {
            let mut shorter = plan.clone();
            shorter.actions.drain(at..(at + chunk).min(plan.actions.len()));
            let same = try_live(&shorter, native, false).1.is_err_and(|found| found.promise == failure.promise);
            if same {
                plan = shorter;
                removed = true;
            } else {
                at += chunk;
            }
        }
        if !removed || chunk > 1 {
            chunk /= 2;
        }
    }
    plan
}

/// A failure for people: the seed, the shortest plan found, and everything that happened in it.
#[must_use]
pub fn explain(seed: u64, failure: &Failure, native: &Path) -> String {
    let explain = move || {
        let plan = minimise(&Plan::new(seed), failure, native, Duration::from_secs(60));
        let (report, outcome) = try_live(&plan, native, true);
        let actions: Vec<String> = plan.actions.iter().map(ToString::to_string).collect();
        let shortest = outcome.err().map_or_else(String::new, |failure| failure.to_string());
        format!(
            "seed {seed} breaks a promise\n  {failure}\n\nthe shortest plan found has {} actions\n  {}\nand ends with\n  {shortest}\n\n{}\n\
             run it alone with ABIDE_SIM_SEED={seed}",
            actions.len(),
            actions.join("\n  "),
            report.trace,
        )
    };
    on_a_guest_thread(explain)
}

/// Calls `act` on a thread with the native stack that guests need.
///
/// # Panics
/// If there is no such thread, or it panics.
pub fn on_a_guest_thread<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, act);
        match thread.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => panic!("no thread: {error}"),
        }
    })
}
