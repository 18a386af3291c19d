//! Bugs to plant, so that tests can prove that they would be found.
//!
//! Each is one condition at the place where such a bug could be. Without the feature `planted` all of them are the constant `false`, and the compiler
//! leaves nothing of them; with it a thread plants one for itself, and other threads go on without.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// What a batch puts out leaves before the batch is durable.
    ReleasedBeforeCommitted,
    /// Every third commit is not synced.
    SkippedSync,
    /// A commit that may have failed is taken as done.
    UnknownTakenAsDone,
    /// A delivered effect is logged as delivered in the next batch as well.
    SettledTwice,
    /// Of the pages that a checkpoint has to save, those with odd numbers are left out.
    StaleCheckpoint,
    /// A checkpoint counts as durable as soon as it is handed out.
    CheckpointTooSoon,
    /// An abort is not logged.
    LostAbort,
    /// After an abort the guest's memory stays as the aborted step left it.
    NotRewound,
    /// After an abort earlier steps of its batch are not executed again.
    EarlierStepsLost,
    /// After an abort the memory keeps what it has grown by.
    GrowthKept,
    /// What is read is not compared with its id.
    UncheckedRead,
    /// The recovery budget makes no checkpoints.
    BudgetIgnored,
    /// Requests that are open at a start are not resumed.
    NotResumed,
    /// An answer to a request settles another one that was made later under the same number.
    LateAnswerTaken,
    /// A sender's key that comes again is executed again.
    KeyForgotten,
    /// Requests stay open when their port is no longer granted.
    OutlivesGrant,
    /// A machine is not told that its grants have changed.
    GrantsUntold,
    /// An effect that was dropped with its port's grant is logged as delivered when the port says so.
    DroppedSettled,
    /// What a query writes to pages stays there.
    QueryKept,
    /// A reader goes on to a newer version without the pages that have odd numbers.
    PagesUntold,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::ReleasedBeforeCommitted,
        Self::SkippedSync,
        Self::UnknownTakenAsDone,
        Self::SettledTwice,
        Self::StaleCheckpoint,
        Self::CheckpointTooSoon,
        Self::LostAbort,
        Self::NotRewound,
        Self::EarlierStepsLost,
        Self::GrowthKept,
        Self::UncheckedRead,
        Self::BudgetIgnored,
        Self::NotResumed,
        Self::LateAnswerTaken,
        Self::KeyForgotten,
        Self::OutlivesGrant,
        Self::GrantsUntold,
        Self::DroppedSettled,
        Self::QueryKept,
        Self::PagesUntold,
    ];
}

/// Whether a bug is planted.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use compiled_in::{is_planted, plant};

#[cfg(feature = "planted")]
mod compiled_in {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether a bug is planted in this thread.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug in this thread, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }
}
