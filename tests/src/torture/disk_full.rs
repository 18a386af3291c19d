//! A disk that is full at every write of a life. A command says so and what to do, nothing acknowledged is lost, and the machine goes on when there
//! is room again.

use super::disk_errors::fail_every_call;
use super::{Effort, Row, Tally};

/// A round is a disk that is full at each write, once and from then on.
pub const ROW: Row = Row { name: "disk-full", fault: "no room at any write, once and from then on", in_ci: 1, run };

const CALLS: [&str; 8] = ["fallocate", "fdatasync", "fsync", "ftruncate", "mkdir", "pwrite64", "write", "writev"];

fn run(effort: &Effort) -> Tally {
    fail_every_call(effort, "ENOSPC", &CALLS, says_full)
}

/// Whether an error says that the disk is full, and what to do.
pub(super) fn says_full(error: &str) -> bool {
    (error.contains("is full") || error.contains("No space left")) && error.contains("hint: ")
}
