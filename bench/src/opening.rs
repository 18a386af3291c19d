//! Bounded recovery: what opening costs, by the machine's size, its age and how it ended.

use std::path::Path;
use std::time::{Duration, Instant};

use vm::step_loop::Policy;

use crate::machine::{Life, load_genesis, load_guest, load_message, make, scratch};
use crate::report::{Report, Target, median, time};

const ROUNDS: usize = 7;

pub(crate) fn run(report: &mut Report) {
    let folder = scratch();
    let folder = folder.path();
    for mib in [1, 3, 64, 1023] {
        let place = make(folder, &format!("size-{mib}"), &load_guest(), &load_genesis(mib));
        measure(report, folder, &place, End::Stop, &format!("open, {mib} MiB, after a clean stop"));
    }
    let place = make(folder, "age", &load_guest(), &load_genesis(64));
    let message = load_message(2);
    let mut sent = 0;
    for inputs in [10, 100_000] {
        let mut life = Life::open(folder, &place, Policy::default());
        while sent < inputs {
            let count = (inputs - sent).min(100);
            life.send(&message, count);
            sent += count;
        }
        // As after kill -9: what was executed after the last checkpoint is executed again.
        drop(life);
        measure(report, folder, &place, End::Kill, &format!("open, 64 MiB, after {inputs} inputs and kill -9"));
    }
}

/// How a life ends before the next opening.
#[derive(Clone, Copy)]
enum End {
    Stop,
    Kill,
}

fn measure(report: &mut Report, folder: &Path, place: &Path, end: End, name: &str) {
    let (mut opened, mut first) = (Vec::new(), Vec::new());
    let mut replayed = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut life = Life::open(folder, place, Policy::default());
        opened.push(start.elapsed());
        // A message that writes nothing changes little of what the next opening finds.
        life.send(&load_message(0), 1);
        first.push(start.elapsed());
        replayed = life.replayed;
        if matches!(end, End::Stop) {
            life.stop();
        }
    }
    report.cost(name, median(opened), None, Target::Reported);
    let first: Duration = median(first);
    report.note("", &format!("{:>12} with a first answer; {replayed} batches executed again", time(first)));
}
