//! Faults by the thousand. Each [`Row`] of [`ROWS`] injects one kind of fault, as often as it is asked to, and counts what became of the machines.
//!
//! The same rows run in the tests, with the counts of [`Row::in_ci`], and as `cargo run --release -p tests --bin torture`, for as long as one likes.

pub mod blocklog;
pub mod clocks;
pub mod disk_errors;
pub mod disk_full;
pub mod live_copies;
pub mod mapped_reads;
pub mod memory_limits;
pub mod openers;
pub mod power_cuts;
pub mod simulated;
pub mod slow_disk;
pub mod small_disks;
pub mod stale_reader;
pub mod system_calls;

mod rounds;
mod scenes;
mod strace;

use std::fmt;
use std::time::Instant;

/// How much a row is to do: it ends with whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds to do; what a round is, the row knows.
    pub rounds: u64,
    /// When to stop injecting.
    pub until: Option<Instant>,
    /// What decides everything that is random.
    pub seed: u64,
}

impl Effort {
    /// Whether a row that has done so many rounds is to go on.
    #[must_use]
    pub fn goes_on(&self, done: u64) -> bool {
        done < self.rounds && self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// What became of the machines.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Faults injected.
    pub injected: u64,
    /// Lives in which they were, where a row makes lives up and not faults.
    pub lives: Option<u64>,
    /// After how many of them the machine went on, or refused to with the right reason.
    pub survived: u64,
    /// Faults after which something acknowledged was gone, and how to see it again.
    pub lost: Vec<String>,
    /// Faults after which something false was said or the tool failed otherwise, and how to see it again.
    pub wrong: Vec<String>,
    /// Why the row could not run here, if it could not.
    pub not_run: Option<String>,
    /// What of the row could not run here, and why.
    pub left_out: Vec<String>,
}

impl Tally {
    /// A row that cannot run on this host.
    #[must_use]
    pub fn not_run(why: impl Into<String>) -> Self {
        Self { not_run: Some(why.into()), ..Self::default() }
    }

    /// Counts what became of one fault.
    pub fn count(&mut self, outcome: Result<(), Harm>) {
        self.injected += 1;
        match outcome {
            Ok(()) => self.survived += 1,
            Err(Harm::Lost(what)) => self.lost.push(what),
            Err(Harm::Wrong(what)) => self.wrong.push(what),
        }
    }

    /// Whether no fault did any harm.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.wrong.is_empty()
    }
}

/// What a fault may do and never should. The text says how to see it again.
#[derive(Debug, Clone)]
pub enum Harm {
    /// Something acknowledged is gone.
    Lost(String),
    /// A wrong answer, a signal, a panic, or a machine that does not come back.
    Wrong(String),
}

/// One kind of fault.
pub struct Row {
    /// What to call it on the command line.
    pub name: &'static str,
    /// What is done to the machine.
    pub fault: &'static str,
    /// How many rounds the tests do.
    pub in_ci: u64,
    /// Injects them.
    pub run: fn(&Effort) -> Tally,
}

/// Every kind of fault.
pub const ROWS: &[Row] = &[
    simulated::ROW,
    system_calls::ROW,
    disk_errors::ROW,
    mapped_reads::ROW,
    disk_full::ROW,
    small_disks::ROW,
    live_copies::ROW,
    openers::ROW,
    clocks::ROW,
    slow_disk::ROW,
    stale_reader::ROW,
    memory_limits::ROW,
    power_cuts::ROW,
];

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.not_run {
            return write!(f, "NOT RUN: {why}");
        }
        let Self { injected, survived, lost, wrong, .. } = self;
        write!(f, "{injected:>9} injected {survived:>9} survived {:>3} lost {:>3} wrong", lost.len(), wrong.len())?;
        if let Some(lives) = self.lives {
            write!(f, " in {lives} lives")?;
        }
        self.left_out.iter().try_for_each(|what| write!(f, " (NOT RUN: {what})"))
    }
}

/// Does a row as often as the tests do.
///
/// # Panics
/// If a fault did harm, or the row could run here and injected none.
#[track_caller]
#[allow(clippy::print_stdout, reason = "a test says what it has covered")]
pub fn assert_harmless(row: &Row) {
    let tally = (row.run)(&Effort { rounds: row.in_ci, until: None, seed: 0 });
    println!("{:<13} {tally}   {}", row.name, row.fault);
    if let Some(why) = &tally.not_run {
        crate::not_run(&format!("{}: {why}", row.name));
    }
    let harm: Vec<_> = tally.lost.iter().chain(&tally.wrong).map(String::as_str).collect();
    assert!(tally.is_clean(), "{}", harm.join("\n\n"));
    assert!(tally.injected > 0 || tally.not_run.is_some(), "{} injected nothing", row.name);
}
