//! How long is how many steps, and how much is too much. A step is a law entered or a jet, some 30 ns in a machine.

use lang::eval::Limits;

/// Nanoseconds a step is taken for, where a host says how long to go on. Fixed, so that a log replayed elsewhere does the same.
const NANOS_PER_STEP: u64 = 32;

/// Steps for which a slice goes on.
pub(crate) fn steps(budget_nanos: u64) -> u64 {
    (budget_nanos / NANOS_PER_STEP).clamp(SLICE_MIN, SLICE_MAX)
}

const SLICE_MIN: u64 = 1 << 12;
/// About a second: a step of the machine has ten.
const SLICE_MAX: u64 = 1 << 25;

/// Steps for which an input is worked on at once; what is left is put off.
pub(crate) const AT_ONCE: u64 = 1 << 20;

/// Steps for which a boot goes on at once: it is a rare thing, and its failure should be told to whoever boots.
pub(crate) const BOOT_AT_ONCE: u64 = 1 << 26;

/// Steps for a query, which cannot be put off.
pub(crate) const QUERY: u64 = 1 << 26;

/// What events may take before everything else has a turn of as many.
pub(crate) const TURN: u64 = 1 << 16;

/// What one computation may take before the next one has its turn.
pub(crate) const ROUND: u64 = 1 << 21;

/// Steps for any one thing, unless the genesis says otherwise: about two minutes.
pub(crate) const BUDGET: u64 = 1 << 32;

/// Bytes of messages that may wait.
pub(crate) const WAITING_BYTES_MAX: usize = 64 << 20;

/// Bytes and parts of one output: a machine may have 16 MiB and 65,536, unless its seed says otherwise.
pub(crate) const OUTPUT_BYTES_MAX: usize = 15 << 20;
pub(crate) const OUTPUT_PARTS_MAX: usize = 60_000;

/// Computations that may be under way.
pub(crate) const COMPUTATIONS_MAX: usize = 1 << 12;

/// Requests that may be open, as many as a machine may have by default, but some.
pub(crate) const REQUESTS_MAX: usize = 65_000;

/// Parts of a value that is given a name, or is shown whole: it is held outside of the heap then.
pub(crate) const NAMED_PARTS_MAX: usize = 1 << 19;

/// Bytes of a text that is run.
pub(crate) const TEXT_BYTES_MAX: usize = 4 << 20;

/// What fits, with room for what the kernel itself needs, in the gibibyte that a machine has by default.
pub(crate) fn limits() -> Limits {
    Limits { heap_words: 64 << 20, stack_words: 16 << 20, nursery_words: 16 << 10, ..Limits::default() }
}
