//! Whole lives over a disk, a clock and ports that the simulator makes up: kills, power cuts, commits that fail or may have failed, full disks, reads that fail.

use super::{Effort, Row, Tally};
use crate::sim::sweep::{explain, sweep};

/// A round is one simulated life; it has several faults.
pub const ROW: Row =
    Row { name: "simulated", fault: "simulated crashes, power cuts, disk faults, clocks", in_ci: 10_000, run };

/// Lives between two looks at the clock.
const AT_ONCE: u64 = 100;

/// What of a life's coverage is a fault.
const FAULTS: [&str; 12] = [
    "clock set back",
    "commit at end: not done",
    "commit at end: unknown, done",
    "commit at end: unknown, not done",
    "disk full",
    "killed between commit and its report",
    "killed in mid-batch",
    "killed with a commit in flight, not done",
    "power cut",
    "read failed",
    "rot noticed",
    "rot where nothing needed it",
];

fn run(effort: &Effort) -> Tally {
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return Tally::not_run(format!("no temporary folder: {error}")),
    };
    // Native code is only believed from a folder that nobody else can enter; the engine makes such a one.
    let native = folder.path().join("native");
    let (mut tally, mut lived) = (Tally::default(), 0);
    while effort.goes_on(lived) {
        let first = effort.seed.wrapping_add(lived);
        let swept = sweep(first..first + AT_ONCE.min(effort.rounds - lived), &native, None);
        lived += swept.lives;
        tally.lives = Some(lived);
        let faults: u64 = FAULTS.iter().map(|fault| swept.coverage.of(fault)).sum();
        tally.injected += faults;
        match swept.failed {
            None => tally.survived += faults,
            Some((seed, failure)) => {
                tally.survived += faults.saturating_sub(1);
                // A life says which promise it breaks; that covers both.
                tally.wrong.push(explain(seed, &failure, &native));
                return tally;
            }
        }
    }
    tally
}
