//! What happened in many lives, counted, so that a net with a hole does not pass for a net.

use std::collections::BTreeMap;
use std::fmt;

/// Everything that has to happen somewhere in a sweep of ten thousand lives.
pub const EXPECTED: &[&str] = &[
    "abort after other steps of its batch",
    "abort for CPU time",
    "abort of a step that never ends",
    "abort of an answer",
    "abort of a gone asker's news",
    "abort of the news of grants",
    "abort without a trap",
    "abort at first boot",
    "ask under a number used before",
    "asker gone",
    "batch that alone costs more than the budget",
    "checkpoint for the budget",
    "clean stop",
    "clock set back",
    "commit at end: done",
    "commit at end: not done",
    "commit at end: unknown, done",
    "commit at end: unknown, not done",
    "delivery reported of a dropped effect",
    "disk full",
    "effect delivered again",
    "effect dropped",
    "effect dropped with its grant",
    "epoch on an old branch",
    "grants changed",
    "halt",
    "halt that passed",
    "input over limit",
    "key repeated after a crash, answered",
    "key repeated after a crash, pending",
    "key repeated after it was forgotten",
    "key repeated before the answer",
    "killed before the news of a request not granted",
    "killed between commit and its report",
    "killed in mid-batch",
    "killed with a commit in flight, not done",
    "memory grown",
    "late answer under a number used again",
    "message on a revoked port",
    "oversize answer",
    "power cut",
    "query aborted",
    "query answered at once",
    "reader compared",
    "rot noticed",
    "rot where nothing needed it",
    "ran ahead of a checkpoint in flight",
    "ran ahead of a commit in flight",
    "read failed",
    "recovered by executing batches again",
    "recovered from a checkpoint alone",
    "request broken by its port",
    "request broken with its grant",
    "request cancelled",
    "request not granted",
    "request resumed",
    "several parts of an answer",
    "several slices",
    "settled with a batch",
    "settled alone",
    "stopped before its first commit",
    "violation of a rule",
];

/// Counters by name.
#[derive(Debug, Clone, Default)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    /// It happened.
    pub fn hit(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// It happened if so.
    pub fn hit_if(&mut self, happened: bool, what: &'static str) {
        if happened {
            self.hit(what);
        }
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// How often something happened.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// What should have happened and did not.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        EXPECTED.iter().copied().filter(|what| !self.0.contains_key(what)).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, count)| writeln!(f, "{count:>9}  {what}"))
    }
}
