//! What a commit costs beside the bare commit of the same record, in one thread.

use std::time::Duration;

use vm::step_loop::Policy;

use crate::machine::{Bare, Life, Spent, load_genesis, load_guest, load_message, make, scratch};
use crate::report::{Report, Target, in_turns, median, time, timed};

const ROUNDS: usize = 25;
const COMMITS: usize = 100;
const LONG_RUN: usize = 10_000;

pub(crate) fn run(report: &mut Report) {
    let folder = scratch();
    let folder = folder.path();
    for mib in [1, 16, 256] {
        let place = make(folder, &format!("machine-{mib}"), &load_guest(), &load_genesis(mib));
        let mut life = Life::open(folder, &place, Policy::default());
        let mut bare = Bare::new(folder, &format!("bare-{mib}"));
        // A large memory is paged in as it is touched: that is not to be measured here.
        (0..mib).for_each(|_| life.send(&load_message(4096), 1));
        life.send(&load_message(0), 1);
        let record_bytes = life.batch_bytes();
        for (pages, dirty) in [("1 dirty page", 0), ("2 dirty pages", 1), ("3 dirty pages", 2), ("33 dirty pages", 32)]
        {
            let message = load_message(dirty);
            let each = |time: Duration| time / COMMITS as u32;
            life.spent = Spent::default();
            let (figure, floor) = in_turns(
                ROUNDS,
                || (0..COMMITS).for_each(|_| life.send(&message, 1)),
                || (0..COMMITS).for_each(|_| bare.commit(1, record_bytes)),
            );
            let is_promised = mib == 16 && dirty == 1;
            let target = if is_promised { Target::BeyondAtMost(Duration::from_micros(60)) } else { Target::Reported };
            report.cost(&format!("step and commit, {pages} in {mib} MiB"), each(figure), Some(each(floor)), target);
            let Spent { stepping, closing, appending } = life.spent;
            let [stepping, closing, appending] =
                [stepping, closing, appending].map(|sum| time(sum / (ROUNDS * COMMITS) as u32));
            report.note("", &format!("means: {stepping} to step, {closing} to close, {appending} to append"));
        }
    }
    long_run(report, folder);
    checkpoints(report, folder);
}

/// Ten thousand commits, with every checkpoint that falls due and the one of a clean stop.
fn long_run(report: &mut Report, folder: &std::path::Path) {
    let place = make(folder, "long", &load_guest(), &load_genesis(16));
    let mut bare = Bare::new(folder, "long-bare");
    // One page of its load, and the one that the message is put in.
    let message = load_message(1);
    let mut life = Some(Life::open(folder, &place, Policy::default()));
    let record_bytes = life.as_mut().map_or(0, |life| {
        life.send(&message, 1);
        life.batch_bytes()
    });
    let mut checkpoints = 0;
    let mut part = 0;
    const PARTS: usize = 20;
    let (mut figure, mut floor) = (Duration::ZERO, Duration::ZERO);
    while part < PARTS {
        part += 1;
        figure += timed(|| {
            if let Some(life) = &mut life {
                (0..LONG_RUN / PARTS).for_each(|_| life.send(&message, 1));
            }
            if part == PARTS
                && let Some(life) = life.take()
            {
                checkpoints = life.stop();
            }
        });
        floor += timed(|| (0..LONG_RUN / PARTS).for_each(|_| bare.commit(1, record_bytes)));
    }
    let name = format!("10,000 commits, 2 dirty pages in 16 MiB, {checkpoints} checkpoints");
    report.cost(&name, figure, Some(floor), Target::TimesAtMost(1.3));
}

/// A commit that is a checkpoint, beside one that is not and dirties as much.
fn checkpoints(report: &mut Report, folder: &std::path::Path) {
    for dirty in [1, 16, 256, 4096] {
        let name = format!("checkpointed-{dirty}");
        let place = make(folder, &name, &load_guest(), &load_genesis(256));
        let message = load_message(dirty);
        let measure = |policy: Policy| {
            let mut life = Life::open(folder, &place, policy);
            (0..64).for_each(|_| life.send(&load_message(4096), 1));
            let times = (0..ROUNDS).map(|_| timed(|| life.send(&message, 1))).collect();
            life.stop();
            median(times)
        };
        let plain = measure(Policy {
            captured_bytes_max: u64::MAX,
            recovery_budget: seed::Nanos(u64::MAX),
            ..Policy::default()
        });
        let with = measure(Policy { captured_bytes_max: 0, ..Policy::default() });
        let name = format!("commit that is a checkpoint of {} pages, beside one that is not", dirty + 1);
        report.cost(&name, with, Some(plain), Target::Reported);
    }
}
