//! The programs of `programs.abide`, run: part of the measurements that take this file in.

use std::time::Duration;

use lang::eval::Limits;
use lang::session::Session;

/// A program's name, what is evaluated, and what comes of it.
pub(crate) const PROGRAMS: [(&str, &str, &str); 11] = [
    ("fib 30", "(fib 30)", "832040"),
    ("a loop of ten million", "(count 10_000_000 0)", "50000005000000"),
    ("tak 24 16 8", "(tak 24 16 8)", "9"),
    ("primes below 8000 by a sieve of lists", "(primes 8000)", "3738566"),
    ("nine queens", "(queens 9)", "352"),
    ("a list of 100,000 sorted", "(sort-list 100_000)", "31126"),
    ("a row of 20,000 sorted", "(sort-row 20_000)", "30172"),
    ("a million inserts and lookups", "(entries-of 1_000_000)", "500000500000"),
    ("factorial of 3000", "(met (factorial 3000))", "30332"),
    ("20,000 lines put together and taken apart", "(lines-of 20_000)", "199990000"),
    ("4000 forms of its own grammar parsed", "(parse-forms 4000)", "4000"),
];

/// What running a program took.
pub(crate) struct Ran {
    /// Of this thread on a processor: others may be busy.
    pub(crate) time: Duration,
    pub(crate) reductions: u64,
    pub(crate) value: String,
}

/// A session that knows the programs.
pub(crate) fn session() -> Session {
    let files = |_: &str| Err("there are no files".to_owned());
    let mut session = Session::new(Limits::default(), Box::new(files)).expect("there is memory");
    session.run(include_str!("programs.abide")).expect("the programs are right");
    session
}

pub(crate) fn run(session: &mut Session, call: &str) -> Ran {
    let before = session.machine().usage().steps;
    let start = cpu();
    let outcome = session.run(call).expect("the programs are right");
    let time = cpu().saturating_sub(start);
    Ran { time, reductions: session.machine().usage().steps - before, value: format!("{:?}", outcome.values[0]) }
}

/// Time of this thread on a processor.
pub(crate) fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
