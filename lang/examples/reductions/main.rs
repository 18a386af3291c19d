//! How many reductions a second: `cargo run --release -p lang --example reductions [PART OF A NAME]`.
//!
//! A reduction is a law's body entered, or a jet. Times are of this thread on a processor. The programs are in `programs.abide`.
//! `events` is another measurement: a counter beside a table of a million entries, one of which each event changes.

#![allow(clippy::print_stdout, reason = "a measurement for people")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of times and counts"
)]

mod programs;

use lang::Value;
use lang::eval::{Depth, Progress};
use programs::{PROGRAMS, Ran, cpu, run, session};

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    if wanted == "events" {
        return events();
    }
    for (name, call, expected) in PROGRAMS.into_iter().filter(|(name, ..)| name.contains(&wanted)) {
        let mut session = session();
        let Ran { time, reductions, value } = run(&mut session, call);
        assert_eq!(value, expected, "{name}");
        println!(
            "{name:40} {:6.1} M reductions/s {:7.3} s {reductions:>11} reductions, {:?}",
            reductions as f64 / time.as_secs_f64() / 1e6,
            time.as_secs_f64(),
            session.machine().usage(),
        );
    }
}

fn events() {
    const ENTRIES: u64 = 1_000_000;
    let mut session = session();
    session.run("(def (step s k) (case s [n t] [(inc n) (insert k (inc n) t)]))").expect("it is right");
    let step = session.environment().get("step").cloned().expect("it is defined");
    let machine = session.machine();
    let table = Value::tab((0..ENTRIES).map(|key| (Value::word(key), Value::word(0))).collect()).expect("keys differ");
    let step = machine.load(&step);
    let mut state = machine.load(&Value::row(vec![Value::word(0), table]));
    // What taking in a million entries leaves to do is no event's.
    machine.collect(true);
    let mut random = 1u64;
    let mut times = Vec::new();
    for _ in 0..1_000_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let key = machine.load(&Value::word((random >> 33) % ENTRIES));
        let start = cpu();
        let next = machine.apply(step, &[state, key]);
        machine.release(key);
        machine.release(state);
        machine.start(next, Depth::Normal);
        machine.release(next);
        let Progress::Done(root) = machine.run(u64::MAX) else { panic!("it ends") };
        state = root;
        times.push(cpu().saturating_sub(start));
    }
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    let usage = machine.usage();
    println!("median {:?}, 99 % {:?}, 99.99 % {:?}, worst {:?}; {usage:?}", at(0.5), at(0.99), at(0.9999), at(1.0));
}
