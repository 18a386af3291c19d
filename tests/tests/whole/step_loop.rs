//! What the step loop once did wrong, each story by itself. The simulator of `sim.rs` found most of them; here they stay found even when its
//! plans change.

use std::collections::BTreeMap;

use seed::image::{Grant, Limits};
use seed::message::{Code, Input};
use seed::object::{Objects, load_blob};
use seed::record::Record;
use seed::{Domain, Nanos, PortId};
use tests::sim::cpu::Cpu;
use tests::sim::host::{Found, Host, Job, new_disk, settings};
use tests::sim::sweep::on_a_guest_thread;
use vm::engine::{Backend, Settings};
use vm::memory::Tracker;
use vm::step_loop::{Arrival, Asker, AskerNews, Outgoing, Policy, Room, Ticket, ToPort, Turn};

use persist::store::model::ModelDisk;

/// Less than one effect of the operation `e` with its largest argument has.
const UNDELIVERED_BYTES_MAX: u64 = 1000;

struct Machine {
    disk: ModelDisk,
    root: seed::Id,
    settings: Settings,
    host: Host,
    log: Vec<Record>,
    out: Vec<Outgoing>,
    /// What its ports were asked last under each number.
    asked: BTreeMap<u64, Ticket>,
    next: u64,
    _native: tempfile::TempDir,
    _cpu: Cpu,
}

impl Machine {
    fn boot(limits: Limits) -> Self {
        let native = tempfile::tempdir().unwrap();
        let cpu = Cpu::default();
        let settings = settings(Backend::Cranelift, Tracker::Compare, &native.path().join("native"), &cpu);
        let (disk, root) = new_disk(1, limits).unwrap();
        let host = start(&disk, &settings, root, false);
        cpu.attach(host.machine.body().engine().ticker(), limits.step_cpu());
        cpu.begin(1000, false);
        let (log, out, asked) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut this = Self { disk, root, settings, host, log, out, asked, next: 0, _native: native, _cpu: cpu };
        this.settle();
        this
    }

    /// The process dies, and another one goes on.
    fn restart(&mut self, new_epoch: bool) {
        self.disk.kill();
        self.host = start(&self.disk, &self.settings, self.root, new_epoch);
    }

    /// A message with these operations; who asked.
    fn send(&mut self, operations: &[u8], key: &[u8]) -> Asker {
        self.next += 1;
        let asker = Asker(self.next);
        let payload = [&self.next.to_le_bytes()[..], operations].concat();
        let (port, from, key) = (PortId::OWNER, Vec::new(), key.to_vec());
        self.host.machine.arrive(Arrival::Message {
            port,
            from,
            payload,
            asker: Some(asker),
            key,
            room: Room::default(),
        });
        asker
    }

    /// The answer, with these operations, of the port that was asked last under this number.
    fn answer(&mut self, number: u64, more: bool, operations: &[u8]) {
        self.answer_to(self.asked[&number], more, operations);
    }

    fn answer_to(&mut self, request: Ticket, more: bool, operations: &[u8]) {
        let payload = [&[0; 10], operations].concat();
        self.host.machine.arrive(Arrival::Answer { request, more, payload, room: Room::default() });
    }

    /// Ports come and go; none has a number above 4.
    fn regrant(&mut self, grants: &[(u64, &str)]) {
        let grant = |(port, name): &(u64, &str)| Grant { port: PortId(*port), name: (*name).to_owned() };
        let grants = grants.iter().map(grant).collect();
        self.host.machine.arrive(Arrival::Grants { grants, next_port: PortId(5), asker: None });
    }

    /// Runs until there is nothing to do. What was released since the last time.
    fn settle(&mut self) -> Vec<Outgoing> {
        loop {
            match self.host.machine.turn(Nanos(1)).unwrap() {
                Turn::Worked => {}
                Turn::Commit(commit) => {
                    self.log.extend(commit.batch.records.clone());
                    self.host.job = Some(Job { commit, is_written: false });
                    assert!(self.host.write().unwrap());
                    self.host.job = None;
                    self.host.machine.committed();
                }
                Turn::Release(released) => {
                    for one in &released {
                        if let Outgoing::Port(_, ToPort::Ask { request, .. }) = one {
                            self.asked.insert(request.number().0, *request);
                        }
                    }
                    self.out.extend(released);
                }
                Turn::Idle(_) => return std::mem::take(&mut self.out),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The inputs of the log from the `from`th record on, and whether each was aborted.
    fn inputs(&self, from: usize) -> Vec<(Input, bool)> {
        let decoded = |record: &Record| match record {
            Record::Step { input, .. } => Some((Input::decode(input).unwrap(), false)),
            Record::Abort { input, .. } => Some((Input::decode(input).unwrap(), true)),
            _ => None,
        };
        self.log[from..].iter().filter_map(decoded).collect()
    }
}

fn start(disk: &ModelDisk, settings: &Settings, root: seed::Id, new_epoch: bool) -> Host {
    let Ok(found) = Found::open(disk) else { panic!("the disk cannot be read") };
    let policy = Policy { settle_delay: Nanos(0), undelivered_bytes_max: UNDELIVERED_BYTES_MAX, ..Policy::default() };
    match found.start(disk, settings, policy, root, new_epoch, &|_| Ok(())) {
        Ok((host, _)) => host,
        Err(trouble) => panic!("{trouble:?}"),
    }
}

fn limits(requests: u64) -> Limits {
    Limits { stack_bytes: 1 << 16, input_bytes: 1024, requests, ..Limits::default() }
}

fn answered(out: &[Outgoing], asker: Asker) -> bool {
    out.iter().any(|one| matches!(one, Outgoing::Asker(to, AskerNews::Answer { more: false, .. }) if *to == asker))
}

/// A step that dropped a segment and trapped was taken back in place, and the segment stayed dropped: the next step that used it aborted
/// where a replay did not. A guest that has dropped something is made anew now.
#[test]
fn segments_that_an_aborted_step_dropped_come_back() {
    on_a_guest_thread(|| {
        let mut machine = Machine::boot(limits(8));
        machine.send(b"m\x01r\x00", b"");
        machine.send(b"D\x00", b"");
        let last = machine.send(b"m\x01i\x00r\x00", b"");
        assert!(answered(&machine.settle(), last));
        machine.restart(false);
        machine.settle();
    });
}

/// Asking again while a request is answered counted as one more than the limit, and so did a part of an answer that was owed already.
#[test]
fn what_a_step_closes_makes_room_for_what_it_opens() {
    on_a_guest_thread(|| {
        let mut machine = Machine::boot(limits(2));
        machine.send(b"q\x00q\x00", b"");
        machine.send(b"", b"");
        machine.settle();
        let before = machine.log.len();
        machine.answer(1, false, b"q\x00L\x00");
        machine.settle();
        assert!(matches!(machine.inputs(before)[..], [(Input::Answer { .. }, false)]));
    });
}

/// A request number stands for another request once the machine has cancelled and asked anew; an answer that was on its way then went to
/// the wrong one.
#[test]
fn a_late_answer_is_not_one_to_the_next_request_of_that_number() {
    on_a_guest_thread(|| {
        let mut machine = Machine::boot(limits(8));
        machine.send(b"q\x00r\x00", b"");
        machine.settle();
        let before = machine.log.len();
        machine.send(b"X\x00r\x00", b"");
        machine.answer(1, true, b"");
        machine.settle();
        assert!(matches!(machine.inputs(before)[..], [(Input::Message { .. }, false)]));
        machine.answer(1, false, b"");
        machine.settle();
        assert!(matches!(machine.inputs(before)[..], [_, (Input::Answer { .. }, false)]));
    });
}

/// The same, but the port's answer is in the queue of the driver while the loop lets out the cancellation and the next ask: the loop took it for an answer
/// to what it had just let out. A port is given a ticket with each ask now, and gives it back.
#[test]
fn an_answer_that_crosses_a_cancellation_is_not_one_to_what_follows_it() {
    on_a_guest_thread(|| {
        let mut machine = Machine::boot(limits(8));
        machine.send(b"q\x00r\x00", b"");
        machine.settle();
        let first = machine.asked[&1];
        let before = machine.log.len();
        machine.send(b"X\x00r\x00", b"");
        let out = machine.settle();
        let second = machine.asked[&1];
        assert_ne!(first, second);
        let Some(Outgoing::Port(_, ToPort::Cancel { request })) = out.first() else { panic!("{out:?}") };
        assert_eq!(*request, first);
        // What the port of the first has sent is all taken in only now.
        machine.answer_to(first, true, b"");
        machine.answer_to(first, false, b"");
        machine.host.machine.arrive(Arrival::Broken { request: first, code: Code::FAILED, text: String::new() });
        hears_only_of(&mut machine, second, before);
    });
}

/// Of a message and the request that it led to: nothing was heard of it yet, and its answer is.
fn hears_only_of(machine: &mut Machine, request: Ticket, before: usize) {
    machine.settle();
    assert!(matches!(machine.inputs(before)[..], [(Input::Message { .. }, false)]));
    machine.answer_to(request, false, b"");
    machine.settle();
    assert!(matches!(machine.inputs(before)[..], [_, (Input::Answer { .. }, false)]));
}

/// So also where the cancellation is the host's: the port was revoked, and the machine asks another under the same number.
#[test]
fn a_port_that_is_revoked_does_not_answer_for_the_next_one() {
    on_a_guest_thread(|| {
        let mut machine = Machine::boot(limits(8));
        machine.send(b"q\x00r\x00", b"");
        machine.settle();
        let first = machine.asked[&1];
        machine.regrant(&[(0, "owner"), (1, "console"), (3, "random"), (4, "clock")]);
        machine.settle();
        let before = machine.log.len();
        machine.send(b"q\x00r\x00", b"");
        let out = machine.settle();
        let second = machine.asked[&1];
        assert!(matches!(&out[..], [Outgoing::Port(PortId(4), ToPort::Ask { request, .. }), ..] if *request == second));
        machine.answer_to(first, false, b"");
        hears_only_of(&mut machine, second, before);
    });
}

/// A part of an answer over the limit breaks the request, and the port has to know: its next part went to the next request of that number.
#[test]
fn a_port_whose_answer_is_too_long_is_told_to_stop() {
    on_a_guest_thread(|| {
        let mut machine = Machine::boot(limits(8));
        machine.send(b"q\x00r\x00", b"");
        machine.settle();
        let before = machine.log.len();
        machine.answer(1, true, &[0; 2000]);
        machine.answer(1, false, b"");
        let out = machine.settle();
        assert_eq!(out, [Outgoing::Port(PortId(2), ToPort::Cancel { request: machine.asked[&1] })]);
        assert!(matches!(machine.inputs(before)[..], [(Input::Broken { code: Code::LIMIT, .. }, false)]));
    });
}

/// A break whose words were over the limit of input was not delivered at all, and the request stayed open.
#[test]
fn a_break_with_too_many_words_is_delivered_with_fewer() {
    on_a_guest_thread(|| {
        let mut machine = Machine::boot(limits(8));
        machine.send(b"q\x00r\x00", b"");
        machine.settle();
        let before = machine.log.len();
        let (request, code, text) = (machine.asked[&1], Code::LOST, "ä".repeat(5000));
        machine.host.machine.arrive(Arrival::Broken { request, code, text });
        machine.settle();
        assert!(matches!(machine.inputs(before)[..], [(Input::Broken { code: Code::LOST, .. }, false)]));
    });
}

/// A key longer than a ledger holds ended the process in an assertion.
#[test]
fn a_key_that_is_too_long_is_refused() {
    on_a_guest_thread(|| {
        let mut machine = Machine::boot(limits(8));
        let before = machine.log.len();
        let asker = machine.send(b"r\x00", &[7; 65]);
        let out = machine.settle();
        assert!(
            matches!(&out[..], [Outgoing::Asker(to, AskerNews::Refused { code: Code::LIMIT, .. })] if *to == asker)
        );
        assert_eq!(machine.log.len(), before);
    });
}

/// With its window passed, a key came again; the answer to the first message then became the outcome of the second.
#[test]
fn an_outcome_belongs_to_a_message_and_not_to_its_key() {
    on_a_guest_thread(|| {
        let mut machine = Machine::boot(Limits { outcomes: 1, ..limits(8) });
        machine.send(b"", b"key");
        machine.send(b"", b"other");
        machine.send(b"", b"key");
        machine.settle();
        // The first message is answered, the third still waits: so does who repeats it.
        machine.send(b"l\x00r\x00", b"");
        machine.settle();
        let repeats = machine.send(b"", b"key");
        assert!(!answered(&machine.settle(), repeats));
        machine.send(b"l\x00l\x00r\x00", b"");
        assert!(answered(&machine.settle(), repeats));
    });
}

/// An epoch names the image that it starts from; opened on a machine that had gone on since its checkpoint, it named one that was nowhere in
/// the store.
#[test]
fn the_image_that_an_epoch_starts_from_is_in_the_store() {
    on_a_guest_thread(|| {
        let mut machine = Machine::boot(limits(8));
        machine.send(b"w\x01r\x00", b"");
        machine.settle();
        machine.restart(true);
        machine.send(b"w\x02r\x00", b"");
        machine.settle();
        let Ok(found) = Found::open(&machine.disk) else { panic!("the disk cannot be read") };
        let branch = found.branch.unwrap();
        assert_eq!(branch.epoch.number, 1);
        let objects = persist::objects::Shelf::new(std::sync::Arc::new(machine.disk.open()));
        let image = objects.load(Domain::Object, &branch.epoch.image).unwrap();
        let image = seed::image::Image::decode(&image).unwrap();
        assert!(load_blob(&objects, &image.code).is_ok());
    });
}

/// What a machine told its ports faster than they delivered stayed in the host's memory: up to 65,536 effects of 16 MiB. It waits for them now, and while it
/// does, grants can be changed.
#[test]
fn a_machine_waits_for_ports_that_have_much_to_deliver() {
    on_a_guest_thread(|| {
        let mut machine = Machine::boot(limits(8));
        let effect_in = |out: &[Outgoing]| {
            let effects = out.iter().filter_map(|one| match one {
                Outgoing::Port(PortId(1), ToPort::Effect { effect, .. }) => Some(*effect),
                _ => None,
            });
            let effects: Vec<_> = effects.collect();
            assert_eq!(effects.len(), 1, "{out:?}");
            effects[0]
        };
        let first = machine.send(b"e\x7fr\x00", b"");
        let second = machine.send(b"r\x00", b"");
        let out = machine.settle();
        assert!(answered(&out, first) && !answered(&out, second));
        machine.host.machine.delivered(effect_in(&out), Nanos(1));
        assert!(answered(&machine.settle(), second));
        // So also in another process, which delivers again.
        machine.send(b"e\x7fr\x00", b"");
        machine.settle();
        machine.restart(false);
        let third = machine.send(b"r\x00", b"");
        let out = machine.settle();
        assert!(!answered(&out, third));
        machine.host.machine.delivered(effect_in(&out), Nanos(1));
        assert!(answered(&machine.settle(), third));
        // A port that never delivers can be revoked.
        machine.send(b"e\x7fr\x00", b"");
        let fourth = machine.send(b"r\x00", b"");
        assert!(!answered(&machine.settle(), fourth));
        machine.regrant(&[(0, "owner"), (2, "clock"), (3, "random")]);
        assert!(answered(&machine.settle(), fourth));
    });
}
