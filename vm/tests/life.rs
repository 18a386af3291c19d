//! A machine's life in one thread: booted, run, killed, recovered, over the in-memory store.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use persist::journal::Journal;
use persist::store::model::ModelDisk;
use persist::store::{Store, Writes};
use seed::image::{Grant, INTERFACE, Limits, Program};
use seed::message::Output;
use seed::object::encode_blob;
use seed::record::Epoch;
use seed::{Domain, Id, Nanos, PortId, ReplyId, RequestId, Seq};
use vm::body::{Body, OnLost, SharedObjects};
use vm::engine::{Backend, Mode, Settings};
use vm::ledger::Release;
use vm::memory::Tracker;
use vm::recover::recover;
use vm::step_loop::{Arrival, Asker, AskerNews, Outgoing, Policy, Position, StepLoop, Turn};

fn settings() -> Settings {
    let clock = Arc::new(AtomicU64::new(0));
    Settings {
        backend: Backend::Cranelift,
        tracker: Tracker::select(None).0,
        cache: None,
        meter: Arc::new(move || Nanos(clock.fetch_add(1000, Ordering::Relaxed))),
    }
}

fn lost() -> OnLost {
    Arc::new(|error| panic!("{error}"))
}

fn grants() -> Vec<Grant> {
    let names = ["owner", "console", "clock", "random"];
    names.iter().zip(0..).map(|(name, port)| Grant { port: PortId(port), name: (*name).to_owned() }).collect()
}

/// A disk with the objects of a program, and the root of the image it boots from.
fn new_disk(wasm: &[u8]) -> (ModelDisk, Id) {
    let disk = ModelDisk::new(1);
    let store = disk.open();
    let framer = persist::objects::Framer::new().unwrap();
    let mut writes = Writes::new();
    let mut keep = |bytes: Vec<u8>| {
        let id = Id::of(Domain::Object, &bytes);
        framer.put(&mut writes, Domain::Object, &id, &bytes);
        id
    };
    let code = keep(encode_blob(wasm));
    let genesis = keep(encode_blob(b""));
    let program = Program { interface: INTERFACE, code, genesis, limits: Limits::default(), asks: vec![] };
    let root = keep(program.to_image(grants()).encode());
    store.commit(&writes).unwrap();
    (disk, root)
}

fn epoch(image: Id) -> Epoch {
    Epoch {
        number: 0,
        machine: [1; 16],
        incarnation: [2; 16],
        engine: vm::engine::ENGINE.to_owned(),
        preparation: 1,
        host: [0; 16],
        device: 0,
        inode: 0,
        image,
    }
}

struct Life {
    journal: Journal,
    machine: StepLoop,
    lines: Vec<String>,
    news: Vec<(Asker, AskerNews)>,
    asks: Vec<(RequestId, PortId, Vec<u8>)>,
    now: u64,
}

impl Life {
    fn start(disk: &ModelDisk, root: Id) -> Self {
        let journal = Journal::open(Arc::new(disk.open())).unwrap();
        let objects: SharedObjects = Arc::new(journal.objects());
        let settings = settings();
        let (body, position) = match journal.branch() {
            None => {
                let body = Body::restore(&settings, Mode::Live, objects, &root, lost()).unwrap();
                let position = Position {
                    end: Seq(0),
                    batch: None,
                    cost_since_checkpoint: Nanos(0),
                    records_since_checkpoint: 0,
                    new_epoch: Some(epoch(root)),
                };
                (body, position)
            }
            Some(branch) => {
                let batches = journal.since_checkpoint().unwrap();
                let recovered = recover(&settings, objects, branch, &batches, lost()).unwrap();
                assert_eq!(recovered.body.root(), branch.root);
                (recovered.body, recovered.position)
            }
        };
        let machine = StepLoop::new(body, Policy::default(), position).unwrap();
        Self { journal, machine, lines: vec![], news: vec![], asks: vec![], now: 1_700_000_000_000_000_000 }
    }

    /// Runs until there is nothing to do; the clock is answered at once.
    fn settle(&mut self, clock_answers: usize) {
        let mut answers = clock_answers;
        loop {
            match self.turn() {
                Turn::Idle(None) if answers > 0 && !self.asks.is_empty() => {
                    answers -= 1;
                    let (request, _, _) = self.asks.remove(0);
                    let mut payload = seed::cbor::Writer::new();
                    payload.uint(self.now);
                    self.machine.arrive(Arrival::Answer { request, more: false, payload: payload.finish() });
                }
                Turn::Idle(None) | Turn::Stopped => return,
                _ => {}
            }
        }
    }

    /// One turn, done as the loop says.
    fn turn(&mut self) -> Turn {
        self.now += 1_000_000;
        let turn = self.machine.turn(Nanos(self.now)).unwrap();
        match turn {
            Turn::Commit(commit) => {
                self.journal.append(&commit).unwrap();
                self.machine.committed();
                Turn::Worked
            }
            Turn::Release(outgoing) => {
                for one in outgoing {
                    match one {
                        Outgoing::Port(_, Release::Effect { effect, payload, .. }) => {
                            self.lines.push(String::from_utf8(payload).unwrap());
                            self.machine.delivered(effect, Nanos(self.now));
                        }
                        Outgoing::Port(_, Release::Ask { request, port, payload, .. }) => {
                            self.asks.push((request, port, payload));
                        }
                        Outgoing::Asker(asker, news) => self.news.push((asker, news)),
                        other => panic!("{other:?}"),
                    }
                }
                Turn::Worked
            }
            Turn::Halted(halt) => panic!("{halt}"),
            other => other,
        }
    }

    fn send(&mut self, payload: &str) -> String {
        self.post(payload);
        self.settle(0);
        match self.news.pop().expect("an answer").1 {
            AskerNews::Answer { payload, .. } => String::from_utf8(payload).unwrap(),
            AskerNews::Refused { code, text } => format!("{}: {text}", code.word()),
            AskerNews::Accepted => "accepted".to_owned(),
        }
    }

    fn post(&mut self, payload: &str) {
        self.machine.arrive(Arrival::Message {
            port: PortId::OWNER,
            from: vec![],
            payload: payload.into(),
            asker: Some(Asker(7)),
            key: vec![],
        });
    }
}

fn example(path: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path);
    let bytes = std::fs::read(&path).unwrap();
    if path.extension().is_some_and(|extension| extension == "wat") {
        wat::parse_bytes(&bytes).unwrap().into_owned()
    } else {
        bytes
    }
}

/// Guests need the native stack that their limits promise.
fn on_a_guest_thread(test: fn()) {
    let stack = vm::engine::Engine::thread_stack_bytes(&Limits::default());
    std::thread::Builder::new().stack_size(stack).spawn(test).unwrap().join().unwrap();
}

#[test]
fn a_counter_counts_on_where_it_was_killed() {
    on_a_guest_thread(counter_counts_on);
}

fn counter_counts_on() {
    let (disk, root) = new_disk(&example("counter/counter.wat"));
    let mut life = Life::start(&disk, root);
    life.settle(3);
    assert_eq!(life.lines, ["counter is at 1", "counter is at 2", "counter is at 3"]);
    drop(life);
    disk.kill();
    let mut life = Life::start(&disk, root);
    life.settle(2);
    assert_eq!(life.lines, ["counter is at 4", "counter is at 5"]);
    life.machine.stop();
    life.settle(0);
    assert_eq!(life.journal.since_checkpoint().unwrap(), []);
}

#[test]
fn notes_keep_what_was_answered_and_aborts_change_nothing() {
    on_a_guest_thread(notes_keep_what_was_answered);
}

fn notes_keep_what_was_answered() {
    let (disk, root) = new_disk(&example("notes/notes.wasm"));
    let mut life = Life::start(&disk, root);
    life.settle(0);
    assert_eq!(life.send("put a first"), "ok");
    assert!(life.send("test trap").starts_with("aborted: "), "a trap is an abort");
    assert!(life.send("test malformed").starts_with("aborted: malformed output"), "malformed output is an abort");
    assert!(life.send("test recurse").starts_with("aborted: "), "endless recursion is an abort");
    assert_eq!(life.send("get a"), "first");
    assert_eq!(life.send("put b second"), "ok");
    drop(life);
    disk.kill();
    let mut life = Life::start(&disk, root);
    assert_eq!(life.send("get a"), "first");
    assert_eq!(life.send("get b"), "second");
    assert_eq!(life.send("count"), "2");
}

#[test]
fn a_machine_becomes_another_program_and_stays_it() {
    on_a_guest_thread(becomes_another_program);
}

/// A program that answers its first message and becomes `next`; the answer must not be lost on the way.
fn becoming(next: &[u8]) -> Vec<u8> {
    let mut shelf = HashMap::new();
    let mut keep = |bytes: Vec<u8>| {
        let id = Id::of(Domain::Object, &bytes);
        shelf.insert((Domain::Object, id), bytes);
        id
    };
    let (code, genesis) = (keep(encode_blob(next)), keep(encode_blob(b"")));
    let program = Program { interface: INTERFACE, code, genesis, limits: Limits::default(), asks: vec![] };
    let root = keep(program.encode());
    let seed = seed::pack::write((Domain::Object, root), &Shelf(shelf), &|_| false, Vec::new()).unwrap();
    let output = Output::encode_list(&[
        Output::Answer { reply: ReplyId(1), more: false, payload: b"becoming".to_vec() },
        Output::Become { seed, handover: b"what I was".to_vec() },
    ]);
    let data: String = output.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let length = output.len();
    let text = format!(
        r#"(module
            (memory (export "memory") 64)
            (data (i32.const 16) "\80")
            (data (i32.const 65536) "{data}")
            (func (export "abide_alloc") (param i32) (result i32) (i32.const 1024))
            (func (export "abide_step") (param $in i32) (param i32) (result i64)
                (if (i32.eqz (i32.load8_u offset=1 (local.get $in))) (then (return (i64.const 0x1000000001))))
                (i64.or (i64.const 0x1000000000000) (i64.const {length}))))"#
    );
    wat::parse_str(text).unwrap()
}

struct Shelf(HashMap<seed::object::Link, Vec<u8>>);

impl seed::Objects for Shelf {
    fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, seed::LoadError> {
        self.0.get(&(domain, *id)).cloned().ok_or(seed::LoadError::Missing { domain, id: *id })
    }
}

fn becomes_another_program() {
    let (disk, root) = new_disk(&becoming(&example("notes/notes.wasm")));
    let mut life = Life::start(&disk, root);
    life.settle(0);
    assert_eq!(life.send("now"), "becoming");
    assert_eq!(life.send("put a first"), "ok");
    drop(life);
    disk.kill();
    let mut life = Life::start(&disk, root);
    assert_eq!(life.send("get a"), "first");
    // Killed between becoming and the new program's first step: the handover is part of the image.
    let (disk, root) = new_disk(&becoming(&example("notes/notes.wasm")));
    let mut life = Life::start(&disk, root);
    life.settle(0);
    life.post("now");
    while life.news.is_empty() {
        life.turn();
    }
    drop(life);
    disk.kill();
    let mut life = Life::start(&disk, root);
    assert_eq!(life.send("put b second"), "ok");
    // Something that is not a program aborts the step instead.
    let (disk, root) = new_disk(&becoming(b"not a module"));
    let mut life = Life::start(&disk, root);
    life.settle(0);
    assert!(life.send("now").starts_with("aborted: cannot become"), "an abort");
}
