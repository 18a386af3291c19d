//! A machine's life in one thread: booted, run, killed, recovered, over the in-memory store.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use persist::journal::{Commit, Journal, Start, each_batch};
use persist::store::model::ModelDisk;
use persist::store::{Reader, Store, Table, Writes};
use seed::image::{Grant, INTERFACE, Image, Limits, Program};
use seed::message::Output;
use seed::object::encode_blob;
use seed::record::{Epoch, Record};
use seed::tree::PageTree;
use seed::{Domain, Id, LoadError, Nanos, PortId, ReplyId, Seq};
use vm::body::{Body, OnLost, SharedObjects};
use vm::engine::{Backend, Mode, Settings};
use vm::memory::Tracker;
use vm::prepare::Memo;
use vm::recover::recover;
use vm::replay::{ReplayError, replay};
use vm::step_loop::{Arrival, Asker, AskerNews, Outgoing, Policy, Position, Room, StepLoop, Ticket, ToPort, Turn};

fn settings() -> Settings {
    let clock = Arc::new(AtomicU64::new(0));
    Settings {
        backend: Backend::Cranelift,
        tracker: Tracker::select(None).0,
        cache: None,
        meter: Arc::new(move || Nanos(clock.fetch_add(1000, Ordering::Relaxed))),
        elsewhere: None,
        prepared: Memo::default(),
    }
}

fn lost() -> OnLost {
    Arc::new(|error| panic!("{error}"))
}

pub(super) fn grants() -> Vec<Grant> {
    let names = ["owner", "console", "clock", "random"];
    names.iter().zip(0..).map(|(name, port)| Grant { port: PortId(port), name: (*name).to_owned() }).collect()
}

/// A disk with the objects of a program, and the root of the image it boots from.
pub(super) fn new_disk(wasm: &[u8]) -> (ModelDisk, Id) {
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

pub(super) struct Life {
    pub(super) journal: Journal,
    pub(super) machine: StepLoop,
    pub(super) lines: Vec<String>,
    /// Ports that it was told have gone.
    pub(super) revoked: Vec<PortId>,
    pub(super) traces: Vec<String>,
    pub(super) news: Vec<(Asker, AskerNews)>,
    pub(super) asks: Vec<(Ticket, PortId, Vec<u8>)>,
    now: u64,
}

impl Life {
    pub(super) fn start(disk: &ModelDisk, root: Id) -> Self {
        Self::start_with(disk, root, Policy::default())
    }

    pub(super) fn start_with(disk: &ModelDisk, root: Id, policy: Policy) -> Self {
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
        let machine = StepLoop::new(body, policy, position).unwrap();
        Self {
            journal,
            machine,
            lines: vec![],
            revoked: vec![],
            traces: vec![],
            news: vec![],
            asks: vec![],
            now: 1_700_000_000_000_000_000,
        }
    }

    /// Runs until there is nothing to do; the clock is answered at once.
    pub(super) fn settle(&mut self, clock_answers: usize) {
        let mut answers = clock_answers;
        loop {
            match self.turn() {
                Turn::Idle(None) if answers > 0 && !self.asks.is_empty() => {
                    answers -= 1;
                    let (request, _, _) = self.asks.remove(0);
                    let mut payload = seed::cbor::Writer::new();
                    payload.uint(self.now);
                    self.machine.arrive(Arrival::Answer {
                        request,
                        more: false,
                        payload: payload.finish(),
                        room: Room::default(),
                    });
                }
                Turn::Idle(None) | Turn::Stopped => return,
                _ => {}
            }
        }
    }

    /// One turn, done as the loop says.
    pub(super) fn turn(&mut self) -> Turn {
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
                        Outgoing::Port(_, ToPort::Effect { effect, payload }) => {
                            self.lines.push(String::from_utf8(payload).unwrap());
                            self.machine.delivered(effect, Nanos(self.now));
                        }
                        Outgoing::Port(port, ToPort::Ask { request, payload, .. }) => {
                            self.asks.push((request, port, payload));
                        }
                        Outgoing::Port(_, ToPort::Cancel { request }) => {
                            self.asks.retain(|(asked, ..)| *asked != request);
                        }
                        Outgoing::Revoked(port) => self.revoked.push(port),
                        Outgoing::Trace(text) => self.traces.push(text),
                        Outgoing::Asker(asker, news) => self.news.push((asker, news)),
                    }
                }
                Turn::Worked
            }
            Turn::Halted(halt) => panic!("{halt}"),
            other => other,
        }
    }

    pub(super) fn send(&mut self, payload: &str) -> String {
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
            room: Room::default(),
        });
    }
}

pub(super) fn example(path: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path);
    let bytes = std::fs::read(&path).unwrap();
    if path.extension().is_some_and(|extension| extension == "wat") {
        wat::parse_bytes(&bytes).unwrap().into_owned()
    } else {
        bytes
    }
}

/// Guests need the native stack that their limits promise.
pub(super) fn on_a_guest_thread(test: fn()) {
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

/// What a replay reports must lead a person to the cause: here a step whose input is not the one it was run with.
#[test]
fn a_divergence_is_reported_by_seq_page_and_function() {
    on_a_guest_thread(divergence_is_reported);
}

fn divergence_is_reported() {
    let (disk, root) = new_disk(&example("notes/notes.wasm"));
    // Every batch a checkpoint, so that every recorded root is in the store.
    let mut life = Life::start_with(&disk, root, Policy { recovery_budget: Nanos(0), ..Policy::default() });
    life.settle(0);
    assert_eq!(life.send("put a first"), "ok");
    assert_eq!(life.send("put b second"), "ok");
    let branch = life.journal.branch().unwrap().clone();
    let mut batches = Vec::new();
    each_batch(disk.open().snapshot().unwrap().as_ref(), &branch, Start::At(Seq(0)), &mut |batch, _| {
        batches.push(batch);
        ControlFlow::Continue(())
    })
    .unwrap();

    // The same objects, and a log that is sound in itself but tells of another input.
    let forged = ModelDisk::new(2);
    let mut writes = Writes::new();
    for key in disk.keys(Table::Objects) {
        let value = disk.open().get(Table::Objects, &key).unwrap().unwrap();
        writes.put(Table::Objects, key, value);
    }
    forged.open().commit(&writes).unwrap();
    let mut journal = Journal::open(Arc::new(forged.open())).unwrap();
    let mut previous = None;
    let told = batches.iter().find(|batch| batch.first == Seq(2)).unwrap().root;
    for mut batch in batches {
        for record in &mut batch.records {
            if let Record::Step { input, .. } = record
                && let Some(at) = input.windows(5).position(|window| window == b"first")
            {
                input[at] = b'F';
            }
        }
        batch.previous = previous;
        let batch = batch.seal();
        previous = Some(batch.id());
        journal.append(&Commit { batch, checkpoint: Some(Vec::new()) }).unwrap();
    }
    let objects: SharedObjects = Arc::new(journal.objects());
    let store = forged.open();
    let branch = journal.branch().unwrap();
    let error = replay(&settings(), &objects, &store, branch, &lost(), &mut |_| {}).unwrap_err();
    assert!(error.is_damage());
    let ReplayError::Diverged { divergence, page, function } = &error else { panic!("{error}") };
    assert_eq!(divergence.seq, Seq(2));
    assert!(error.to_string().starts_with("at seq 2: the root is "), "{error}");
    // The first page in which the machine that really was has the word that was forged.
    let image = Image::decode(&objects.load(Domain::Object, &told).unwrap()).unwrap();
    let memory = image.processes[0].state.as_ref().unwrap().memories[0];
    let mut first = None;
    let each = &mut |index, id: Id| -> Result<(), LoadError> {
        let bytes = objects.load(Domain::Page, &id)?;
        if first.is_none() && bytes.windows(5).any(|window| window == b"first") {
            first = Some(index);
        }
        Ok(())
    };
    PageTree::stored(memory.pages, memory.root).for_each::<LoadError>(objects.as_ref(), each).unwrap();
    assert_eq!(page.map(|(memory, page)| (memory, Some(page))), Some((0, first)), "{error}");
    assert_eq!(function.as_deref(), Some("abide_step"), "{error}");
}
