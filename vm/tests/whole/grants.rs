//! Grants that change during a life: what is in the log, what the machine hears, and what becomes of what it had asked.

use std::ops::ControlFlow;

use persist::journal::{Start, each_batch};
use persist::store::Store;
use persist::store::model::ModelDisk;
use seed::image::Grant;
use seed::message::{Code, Input};
use seed::record::Record;
use seed::{PortId, Seq};
use vm::step_loop::{Arrival, Asker, AskerNews, Policy, Room, Turn};

use super::life::{Life, example, grants, new_disk, on_a_guest_thread};

const OWNER: Asker = Asker(1);

/// Another list of grants: without some of the first, and with others.
fn regrant(life: &mut Life, without: &[&str], with: &[(u64, &str)]) {
    let mut list = grants();
    list.retain(|grant| !without.contains(&grant.name.as_str()));
    list.extend(with.iter().map(|(port, name)| Grant { port: PortId(*port), name: (*name).to_owned() }));
    let next_port = PortId(4 + with.len() as u64);
    life.machine.arrive(Arrival::Grants { grants: list, next_port, asker: Some(OWNER) });
}

/// The log, batch for batch, a word for each record.
fn logged(life: &Life, disk: &ModelDisk) -> Vec<Vec<String>> {
    let word = |record: &Record| match record {
        Record::Step { input, .. } => match Input::decode(input).unwrap() {
            Input::Boot { grants, .. } => format!("boot with {}", grants.len()),
            Input::Grants { grants } => format!("told of {}", grants.len()),
            Input::Broken { request, code, text } => format!("{request} broken: {} ({text})", code.word()),
            _ => "step".to_owned(),
        },
        Record::Abort { .. } => "abort".to_owned(),
        Record::Grant { grants, next_port } => format!("{} granted, next {next_port}", grants.len()),
        Record::Settle { .. } => "settle".to_owned(),
        Record::Epoch(_) => "epoch".to_owned(),
        Record::Become { .. } => "become".to_owned(),
    };
    let mut batches = Vec::new();
    let snapshot = disk.open().snapshot().unwrap();
    each_batch(snapshot.as_ref(), life.journal.branch().unwrap(), Start::At(Seq(0)), &mut |batch, _| {
        batches.push(batch.records.iter().map(word).collect());
        ControlFlow::Continue(())
    })
    .unwrap();
    batches
}

#[test]
fn a_request_to_a_port_that_goes_is_broken_once_also_by_another_process() {
    on_a_guest_thread(|| {
        let (disk, root) = new_disk(&example("counter/counter.wat"));
        // The break is not in the batch of the change.
        let mut life = Life::start_with(&disk, root, Policy { batch_records_max: 2, ..Policy::default() });
        life.settle(2);
        assert_eq!((life.lines.len(), life.asks.len()), (2, 1), "it waits for its clock");
        let waiting = life.asks[0].0;
        let before = logged(&life, &disk).len();
        regrant(&mut life, &["clock"], &[]);
        // An answer that is on its way comes too late.
        life.machine.arrive(Arrival::Answer { request: waiting, more: false, payload: vec![0], room: Room::default() });
        while life.news.is_empty() {
            life.turn();
        }
        assert_eq!(life.news, [(OWNER, AskerNews::Accepted)]);
        assert_eq!((life.revoked.as_slice(), life.asks.len()), (&[PortId(2)][..], 0));
        assert!(life.journal.since_checkpoint().unwrap().is_empty(), "the last checkpoint has the new grants");
        assert_eq!(logged(&life, &disk)[before..], [["3 granted, next 4", "told of 3"]]);
        drop(life);
        disk.kill();
        for _ in 0..2 {
            let mut life = Life::start(&disk, root);
            life.settle(0);
            let log = logged(&life, &disk).concat();
            let broken = format!("{} broken: not granted (port 2 is not granted)", waiting.number());
            assert_eq!(log.iter().filter(|word| **word == broken).count(), 1, "{log:?}");
            assert_eq!(life.asks.len(), 0, "nothing is resumed");
            drop(life);
            disk.kill();
        }
    });
}

/// Traps when it is told of grants, and otherwise does nothing.
const DEAF: &str = r#"(module
    (memory (export "memory") 1)
    (data (i32.const 16) "\80")
    (func (export "abide_alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "abide_step") (param $in i32) (param i32) (result i64)
        (if (i32.eq (i32.load8_u offset=1 (local.get $in)) (i32.const 6)) (then unreachable))
        (i64.const 0x1000000001)))"#;

#[test]
fn a_machine_that_does_not_hear_of_its_grants_has_them_all_the_same() {
    on_a_guest_thread(|| {
        let (disk, root) = new_disk(&wat::parse_str(DEAF).unwrap());
        let mut life = Life::start(&disk, root);
        life.settle(0);
        regrant(&mut life, &["random"], &[(4, "http:80")]);
        regrant(&mut life, &["random"], &[(4, "http:80"), (5, "random")]);
        life.settle(0);
        assert_eq!(life.news, [(); 2].map(|()| (OWNER, AskerNews::Accepted)));
        assert_eq!(life.revoked, [PortId(3)]);
        let log = logged(&life, &disk).concat();
        assert_eq!(log[2..], ["4 granted, next 5", "abort", "5 granted, next 6", "abort"]);
        drop(life);
        disk.kill();
        let mut life = Life::start(&disk, root);
        assert_eq!(life.machine.body().image().grants.len(), 5);
        assert_eq!(life.machine.body().image().next_port, PortId(6));
        life.machine.stop();
        life.settle(0);
    });
}

#[test]
fn a_machine_that_has_not_booted_hears_of_its_grants_when_it_does() {
    on_a_guest_thread(|| {
        let (disk, root) = new_disk(&example("counter/counter.wat"));
        let mut life = Life::start(&disk, root);
        let owner = grants().remove(0);
        life.machine.regrant_first(vec![owner], PortId(4));
        life.settle(0);
        let log = logged(&life, &disk);
        assert_eq!(
            log[0],
            ["epoch", "1 granted, next 4", "boot with 1", "1 broken: not granted (port 2 is not granted)"]
        );
        assert_eq!((life.asks.len(), life.revoked.len()), (0, 3));
    });
}

/// A message that had come in, and the news of a delivery, when the port went.
#[test]
fn what_a_port_that_goes_has_in_hand_comes_to_nothing() {
    on_a_guest_thread(|| {
        let (disk, root) = new_disk(&example("counter/counter.wat"));
        let mut life = Life::start(&disk, root);
        life.settle(1);
        let (port, payload, key) = (PortId(3), b"late".to_vec(), Vec::new());
        regrant(&mut life, &["random", "console"], &[]);
        let from = b"somebody".to_vec();
        life.machine.arrive(Arrival::Message {
            port,
            from,
            payload,
            asker: Some(Asker(9)),
            key,
            room: Room::default(),
        });
        life.settle(0);
        let text = "a message on port 3 was dropped: not granted".to_owned();
        let refused = AskerNews::Refused { code: Code::NOT_GRANTED, text };
        assert_eq!(life.news, [(OWNER, AskerNews::Accepted), (Asker(9), refused)]);
        let lines = life.lines.len();
        // Its clock goes on, and its lines have nowhere to go.
        let (request, ..) = life.asks.remove(0);
        let mut time = seed::cbor::Writer::new();
        time.uint(1_700_000_100_000_000_000);
        life.machine.arrive(Arrival::Answer { request, more: false, payload: time.finish(), room: Room::default() });
        while !matches!(life.turn(), Turn::Idle(_)) {}
        assert_eq!(life.lines.len(), lines);
        assert_eq!(life.traces, ["an effect for port 1 was dropped: not granted"]);
    });
}
