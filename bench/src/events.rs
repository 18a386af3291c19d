//! Durable events through production's threads: sent, logged, on disk, answered.

use std::path::Path;
use std::time::Duration;

use boot::driver::{Ended, Options, Running};
use boot::ports::console::Target as Console;
use persist::machine::Machine;
use tokio::sync::mpsc::unbounded_channel;
use vm::step_loop::{AskerNews, Policy};

use crate::machine::{Bare, Life, load_genesis, load_guest, load_message, make, scratch, settings};
use crate::report::{Report, Target, in_turns};

const ROUNDS: usize = 15;
const EVENTS: usize = 300;
const QUEUES: usize = 30;
const QUEUED: usize = 100;

/// One message at a time.
pub(crate) fn sequential(report: &mut Report) {
    let folder = scratch();
    let bed = Bed::new(folder.path());
    let (running, mut bare, bytes) = (bed.running, bed.bare, bed.alone_bytes);
    let (figure, floor) = in_turns(
        ROUNDS,
        || (0..EVENTS).for_each(|_| ask(&running, 1)),
        || (0..EVENTS).for_each(|_| bare.commit(1, bytes)),
    );
    let target = Target::ShareAtLeast(0.8);
    report.rate("sequential durable events", rate(EVENTS, figure), rate(EVENTS, floor), target);
    stop(running);
}

/// A hundred messages at a time.
pub(crate) fn queued(report: &mut Report) {
    let folder = scratch();
    let bed = Bed::new(folder.path());
    let (running, mut bare, bytes) = (bed.running, bed.bare, bed.share_bytes);
    let (figure, floor) = in_turns(
        ROUNDS,
        || (0..QUEUES).for_each(|_| ask(&running, QUEUED)),
        || (0..QUEUES).for_each(|_| bare.commit(QUEUED, bytes)),
    );
    let (events, target) = (QUEUES * QUEUED, Target::ShareAtLeast(0.4));
    report.rate("durable events, 100 queued at a time", rate(events, figure), rate(events, floor), target);
    stop(running);
}

/// A machine in motion, and its floor.
struct Bed {
    running: Running,
    bare: Bare,
    /// Bytes of the batch that one message makes.
    alone_bytes: usize,
    /// Bytes of each message's share in a batch of many.
    share_bytes: usize,
}

impl Bed {
    fn new(folder: &Path) -> Self {
        let place = make(folder, "machine", &load_guest(), &load_genesis(1));
        let (alone_bytes, share_bytes) = record_bytes(folder, &place);
        Self { running: start(folder, &place), bare: Bare::new(folder, "bare"), alone_bytes, share_bytes }
    }
}

fn stop(running: Running) {
    running.handle().stop();
    assert!(matches!(running.wait(), Ok(Ended::Stopped)), "the machine stops");
}

fn rate(events: usize, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

/// Bytes of the batch that one message makes, and of each message's share in one of many.
fn record_bytes(folder: &Path, place: &Path) -> (usize, usize) {
    let mut life = Life::open(folder, place, Policy::default());
    let message = load_message(0);
    life.send(&message, QUEUED);
    let share = life.batch_bytes() / QUEUED;
    life.send(&message, 1);
    let alone = life.batch_bytes();
    life.stop();
    (alone, share)
}

fn start(folder: &Path, place: &Path) -> Running {
    let machine = Machine::open(place).expect("the machine can be opened");
    let options = Options {
        settings: settings(folder),
        policy: Policy::default(),
        console: Console::Stderr,
        is_silent: false,
        stops_at_once: false,
        listens: false,
        watch: None,
    };
    Running::start(machine, options).expect("the machine starts")
}

/// Sends messages and waits until every one is answered.
fn ask(running: &Running, count: usize) {
    let payload = load_message(0);
    let waiting: Vec<_> = (0..count)
        .map(|_| {
            let (news, heard) = unbounded_channel();
            (running.handle().send(payload.clone(), Vec::new(), news), heard)
        })
        .collect();
    for (mut asking, mut heard) in waiting {
        match heard.blocking_recv() {
            Some(AskerNews::Answer { payload: answer, .. }) => assert_eq!(answer, payload),
            other => panic!("not an answer: {other:?}"),
        }
        asking.is_settled();
    }
}
