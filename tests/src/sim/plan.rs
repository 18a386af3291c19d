//! What a life will be like: its terms and its actions, all from one number. An action carries its own randomness and finds its
//! object when it is carried out, so that a plan still means something after others have been taken out of it.

use std::fmt;

use seed::Nanos;
use seed::image::Limits;
use vm::engine::Backend;
use vm::memory::Tracker;
use vm::step_loop::Policy;

use super::random::Random;

/// A life to come.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What everything follows from.
    pub seed: u64,
    /// How the loop behaves.
    pub policy: Policy,
    /// What the machine may use.
    pub limits: Limits,
    /// How written pages are found; the other one if this host lacks it.
    pub tracker: Tracker,
    /// Another code generator to execute the log with at the end.
    pub other_backend: Option<Backend>,
    /// Whether to execute the log with a body restored from its objects after every batch, too.
    pub restore_always: bool,
    /// What happens, in order.
    pub actions: Vec<Action>,
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// What.
    pub kind: Kind,
    /// How, in detail.
    pub entropy: u64,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The loop turns a few times.
    Turns,
    /// Somebody sends a message.
    Arrive,
    /// A port answers, wholly or in part.
    Answer,
    /// A port breaks a request.
    Break,
    /// A port reports an effect as delivered.
    Deliver,
    /// An asker stops waiting.
    Gone,
    /// The owner changes the grants.
    Grants,
    /// The commit in flight reaches the disk.
    Write,
    /// The loop hears of it.
    Report,
    /// The next commit fails in this way.
    Fail(CommitEnd),
    /// Reading fails once, soon.
    FailRead,
    /// The clock moves.
    Clock,
    /// The process dies.
    Kill,
    /// The power fails.
    PowerCut,
    /// The machine is told to stop.
    Stop,
    /// The process dies, and a bit of its disk flips.
    Rot,
}

/// How a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitEnd {
    /// Nothing is written, and the caller knows.
    NotDone,
    /// It is on disk, and nobody knows.
    UnknownDone,
    /// It is not on disk, and nobody knows.
    UnknownNotDone,
    /// There is no room.
    Full,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:#x}", self.kind, self.entropy)
    }
}

/// Weights of what happens; `rough` lives are short and interrupted.
fn weights(rough: u64) -> [(u64, Kind); 19] {
    [
        (300, Kind::Turns),
        (120, Kind::Arrive),
        (100, Kind::Answer),
        (8, Kind::Break),
        (60, Kind::Deliver),
        (16, Kind::Gone),
        (16, Kind::Grants),
        (140, Kind::Write),
        (140, Kind::Report),
        (3 * rough, Kind::Fail(CommitEnd::NotDone)),
        (3 * rough, Kind::Fail(CommitEnd::UnknownDone)),
        (3 * rough, Kind::Fail(CommitEnd::UnknownNotDone)),
        (rough, Kind::Fail(CommitEnd::Full)),
        (rough, Kind::FailRead),
        (25, Kind::Clock),
        (6 * rough, Kind::Kill),
        (2 * rough, Kind::PowerCut),
        (3 * rough, Kind::Stop),
        (2 * rough, Kind::Rot),
    ]
}

impl Plan {
    /// The life that follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let rough = random.weighted(&[(3, 0), (5, 1), (1, 4)]);
        let weights = weights(rough);
        let count = 60 + random.below(440);
        let (policy, limits) = (policy(random), limits(random));
        let tracker = if random.one_in(2) { Tracker::Compare } else { Tracker::WriteProtect };
        let other_backend = match random.below(24) {
            0 => Some(Backend::CraneliftPlain),
            1 => Some(Backend::Pulley),
            _ => None,
        };
        let restore_always = random.one_in(16);
        let action = |random: &mut Random| Action { kind: random.weighted(&weights), entropy: random.number() };
        let actions = (0..count).map(|_| action(random)).collect();
        Self { seed, policy, limits, tracker, other_backend, restore_always, actions }
    }
}

fn policy(random: &mut Random) -> Policy {
    Policy {
        recovery_budget: Nanos(random.pick(&[100_000, 500_000, 2_000_000, 20_000_000])),
        batch_cost_max: Nanos(random.pick(&[50_000, 200_000, 1_000_000])),
        batch_bytes_max: random.pick(&[200, 4000, 1 << 20]),
        batch_records_max: random.pick(&[1, 3, 10, 1000]),
        captured_bytes_max: random.pick(&[0, 16 << 10, 100 << 10, 1 << 20]),
        checkpoint_records_max: random.pick(&[3, 20, 100, 10_000]),
        undelivered_bytes_max: random.pick(&[0, 1000, 64 << 20, 64 << 20]),
        settle_delay: Nanos(random.pick(&[0, 1_000_000, 50_000_000])),
        again_budget_busy: Nanos(2_000_000),
        again_budget_alone: Nanos(50_000_000),
        halt_on_abort: random.one_in(24),
    }
}

fn limits(random: &mut Random) -> Limits {
    Limits {
        step_cpu_ms: 1 + random.below(20),
        // The guest begins with four pages.
        memory_bytes: (4 + random.below(4)) << 16,
        table_elements: 4 + random.below(4),
        stack_bytes: 1 << 16,
        input_bytes: 1024,
        output_bytes: 1024 + random.below(2048),
        requests: random.pick(&[2, 4, 8, 16]),
        outcomes: random.pick(&[0, 1, 3, 100]),
    }
}
