//! Promise 4 with real programs: what a machine logged on one engine comes out the same on the others, and when it is put down and taken up again
//! after every batch. Every batch's outputs and root are compared.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use persist::journal::{Start, each_batch};
use persist::machine::Reading;
use seed::Seq;
use seed::record::{Batch, Record};
use tests::abide::{Life, boot, example, place_in_memory};
use tests::sim::cpu::Cpu;
use tests::sim::host::settings;
use tests::sim::sweep::on_a_guest_thread;
use tests::sim::twin::{replay, replay_restored};
use vm::body::SharedObjects;
use vm::engine::Backend;
use vm::memory::Tracker;

/// Executes the machine's log again in every way there is.
fn comes_out_the_same(machine: &Path, batches_min: usize) {
    let reading = Reading::open(machine).unwrap();
    let mut log: Vec<Batch> = Vec::new();
    each_batch(reading.store(), reading.branch(), Start::At(Seq(0)), &mut |batch, _| {
        log.push(batch);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(log.len() >= batches_min, "{} batches", log.len());
    let Some(Record::Epoch(epoch)) = log[0].records.first() else { panic!("a log starts with an epoch") };
    let objects: SharedObjects = Arc::new(reading.objects());
    let native = tempfile::tempdir().unwrap();
    let cpu = Cpu::default();
    let settings = |backend, tracker| settings(backend, tracker, &native.path().join("native"), &cpu);
    for backend in [Backend::Cranelift, Backend::CraneliftPlain, Backend::Pulley] {
        for tracker in [Tracker::WriteProtect, Tracker::Compare] {
            replay(&settings(backend, tracker), SharedObjects::clone(&objects), &epoch.image, log.iter())
                .unwrap_or_else(|failure| panic!("{backend:?}, {tracker:?}: {failure}"));
        }
    }
    // Later batches add nothing but time.
    let restored = log.iter().take(300);
    replay_restored(&settings(Backend::Cranelift, Tracker::WriteProtect), objects, &epoch.image, restored)
        .unwrap_or_else(|failure| panic!("restored after every batch: {failure}"));
}

#[test]
fn notes_come_out_the_same_on_every_engine() {
    let place = place_in_memory();
    let machine = place.path().join("notes");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    for number in 0..400 {
        let asked = match number % 5 {
            0..3 => format!("put note{} {}", number % 97, "text ".repeat(number % 50)),
            3 => format!("get note{}", number % 89),
            _ => format!("del note{}", number % 31),
        };
        // A note that is not there is refused, which is logged as well.
        talk.say(&format!("key {number}"), &asked).unwrap();
    }
    let _ = life.stop();
    on_a_guest_thread(|| comes_out_the_same(&machine, 400));
}

#[test]
fn sqlite_comes_out_the_same_on_every_engine() {
    let place = place_in_memory();
    let machine = super::sqlite::machine(place.path(), "db");
    let script = super::sqlite::script();
    let (_, deaths) = super::sqlite::perform(&machine, &script[..600], &[]);
    assert_eq!(deaths, 0);
    on_a_guest_thread(|| comes_out_the_same(&machine, 600));
}

#[test]
fn a_counter_comes_out_the_same_on_every_engine() {
    let place = place_in_memory();
    let machine = place.path().join("counter");
    boot(&machine, &tests::abide::fast_counter(place.path()), &[]);
    let mut life = Life::start(&machine);
    for number in 1..=50 {
        assert_eq!(life.line(), Some(format!("counter is at {number}")));
    }
    let _ = life.stop();
    on_a_guest_thread(|| comes_out_the_same(&machine, 50));
}
