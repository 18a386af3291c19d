//! Machines to measure: made as `abide boot` makes them, run in production's threads or, step by step, in this one.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use boot::clocks::{cpu_meter, wall_clock};
use boot::driver::new_epoch;
use persist::journal::{Start, each_batch};
use persist::machine::{Machine, NewMachine};
use persist::store::lmdb::{LmdbStore, Options};
use persist::store::{Store, Table, Writes};
use seed::image::{Grant, INTERFACE, Limits, Program};
use seed::object::encode_blob;
use seed::{Domain, Id, Nanos, PortId, Seq};
use tempfile::TempDir;
use vm::body::{Body, OnLost, SharedObjects};
use vm::engine::{Backend, Mode, Settings};
use vm::memory::Tracker;
use vm::prepare::Memo;
use vm::recover::recover;
use vm::step_loop::{Arrival, Asker, AskerNews, Outgoing, Policy, Position, Room, StepLoop, Turn};

use crate::report::timed;

/// A machine that answers messages and dirties as many pages as they say; see the file.
pub(crate) fn load_guest() -> Vec<u8> {
    wat::parse_str(include_str!("../guests/load.wat")).expect("the guest is WebAssembly text")
}

/// Its genesis data for a memory of `mib` MiB.
pub(crate) fn load_genesis(mib: u32) -> Vec<u8> {
    (mib * 16).to_le_bytes().to_vec()
}

/// A message for it, of 64 bytes.
pub(crate) fn load_message(dirty_pages: u32) -> Vec<u8> {
    let mut payload = dirty_pages.to_le_bytes().to_vec();
    payload.resize(64, b'.');
    payload
}

/// A folder where the build is, so that figures do not come from a file system in memory; or in the folder that `ABIDE_BENCH_FOLDER` names.
pub(crate) fn scratch() -> TempDir {
    let program = std::env::current_exe().expect("a running program has a path");
    let target = program.ancestors().find(|path| path.ends_with("target")).unwrap_or(Path::new("."));
    let place = std::env::var_os("ABIDE_BENCH_FOLDER").map_or_else(|| target.to_owned(), PathBuf::from);
    tempfile::Builder::new().prefix("bench-").tempdir_in(place).expect("the folder of the bench can be written")
}

/// How guests are run: as in production, with the native code cache beside the machines.
pub(crate) fn settings(folder: &Path) -> Settings {
    Settings {
        backend: Backend::Cranelift,
        tracker: Tracker::select(None).0,
        cache: Some(folder.join("cache")),
        meter: cpu_meter(),
        elsewhere: None,
        prepared: Memo::default(),
    }
}

fn lost() -> OnLost {
    Arc::new(|error| panic!("{error}"))
}

/// Makes a machine of a module, with no port but the owner's.
pub(crate) fn make(folder: &Path, name: &str, wasm: &[u8], genesis: &[u8]) -> PathBuf {
    let place = folder.join(name);
    let mut new = NewMachine::begin(&place, 1).expect("a machine can be begun");
    let mut keep = |bytes: Vec<u8>| {
        let id = Id::of(Domain::Object, &bytes);
        new.keep(Domain::Object, &id, &bytes).expect("an object can be kept");
        id
    };
    let (code, genesis) = (keep(encode_blob(wasm)), keep(encode_blob(genesis)));
    let program = Program { interface: INTERFACE, code, genesis, limits: Limits::default(), asks: Vec::new() };
    let image = program.to_image(vec![Grant { port: PortId::OWNER, name: "owner".to_owned() }]);
    let root = keep(image.encode());
    let identity = new.identity().expect("a folder has an identity");
    let position = Position {
        end: Seq(0),
        batch: None,
        cost_since_checkpoint: Nanos(0),
        records_since_checkpoint: 0,
        new_epoch: Some(new_epoch(0, [1; 16], identity, root).expect("the system has randomness")),
    };
    let objects: SharedObjects = Arc::new(new.objects());
    let body = Body::restore(&settings(folder), Mode::Live, objects, &root, lost()).expect("the module can be run");
    let mut step_loop = StepLoop::new(body, Policy::default(), position).expect("a new machine has no trouble");
    loop {
        match step_loop.turn(wall_clock()).expect("the machine boots") {
            Turn::Commit(commit) => {
                new.append(&commit).expect("the boot can be committed");
                step_loop.committed();
                step_loop.stop();
            }
            Turn::Stopped => break,
            Turn::Halted(halt) => panic!("{halt}"),
            Turn::Worked | Turn::Release(_) | Turn::Idle(_) => {}
        }
    }
    drop(step_loop);
    new.publish().expect("the machine can be published");
    place
}

/// Time by what it was spent on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Running steps.
    pub(crate) stepping: Duration,
    /// Capturing, hashing and encoding batches, with their checkpoints.
    pub(crate) closing: Duration,
    /// Making them durable.
    pub(crate) appending: Duration,
}

/// A machine in this thread: no queue and no other thread is involved.
pub(crate) struct Life {
    // Dropped before the machine: it holds a shelf of its store.
    step_loop: StepLoop,
    machine: Machine,
    answers: usize,
    /// Where the time went.
    pub(crate) spent: Spent,
    /// Commits so far that were checkpoints.
    pub(crate) checkpoints: usize,
    /// How many batches were executed again to get here.
    pub(crate) replayed: usize,
}

impl Life {
    /// Opens a machine as `abide start` does.
    pub(crate) fn open(folder: &Path, place: &Path, policy: Policy) -> Self {
        let machine = Machine::open(place).expect("the machine can be opened");
        let batches = machine.since_checkpoint().expect("the log can be read");
        let objects: SharedObjects = Arc::new(machine.objects());
        let recovered =
            recover(&settings(folder), objects, machine.branch(), &batches, lost()).expect("the machine recovers");
        let step_loop = StepLoop::new(recovered.body, policy, recovered.position).expect("the machine goes on");
        Self { step_loop, machine, answers: 0, spent: Spent::default(), checkpoints: 0, replayed: recovered.batches }
    }

    /// Sends messages together and runs until all are answered.
    pub(crate) fn send(&mut self, payload: &[u8], count: usize) {
        for number in 0..count {
            self.step_loop.arrive(Arrival::Message {
                port: PortId::OWNER,
                from: Vec::new(),
                payload: payload.to_vec(),
                asker: Some(Asker(number as u64)),
                key: Vec::new(),
                room: Room::default(),
            });
        }
        let goal = self.answers + count;
        self.run();
        assert_eq!(self.answers, goal, "every message is answered");
    }

    /// Bytes of the last batch, as its id is made of them.
    pub(crate) fn batch_bytes(&self) -> usize {
        let branch = self.machine.branch();
        let mut bytes = 0;
        let start = Start::At(Seq(branch.end.0 - 1));
        each_batch(self.machine.objects().store().as_ref(), branch, start, &mut |batch, _| {
            bytes = batch.encode().len();
            ControlFlow::Break(())
        })
        .expect("the log can be read");
        bytes
    }

    /// Stops it cleanly, with a checkpoint.
    pub(crate) fn stop(mut self) -> usize {
        self.step_loop.stop();
        self.run();
        self.checkpoints
    }

    fn run(&mut self) {
        loop {
            let start = Instant::now();
            match self.step_loop.turn(wall_clock()).expect("the machine runs") {
                Turn::Worked => self.spent.stepping += start.elapsed(),
                Turn::Commit(commit) => {
                    self.spent.closing += start.elapsed();
                    self.checkpoints += usize::from(commit.checkpoint.is_some());
                    self.spent.appending += timed(|| {
                        self.machine.append(&commit).expect("a batch can be committed");
                    });
                    self.step_loop.committed();
                }
                Turn::Release(outgoing) => {
                    let is_answer = |one: &&Outgoing| matches!(one, Outgoing::Asker(_, AskerNews::Answer { .. }));
                    self.answers += outgoing.iter().filter(is_answer).count();
                }
                Turn::Idle(_) | Turn::Stopped => return,
                Turn::Halted(halt) => panic!("{halt}"),
            }
        }
    }
}

/// The floor of everything durable: LMDB alone, one value a record, in the same file system.
pub(crate) struct Bare {
    store: LmdbStore,
    next: u64,
}

impl Bare {
    /// A new store in a folder of its own.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let place = folder.join(name);
        std::fs::create_dir(&place).expect("a folder can be made");
        Self { store: LmdbStore::create(&place, &Options::default()).expect("a store can be made"), next: 0 }
    }

    /// Commits one transaction of some records of some bytes.
    pub(crate) fn commit(&mut self, records: usize, bytes: usize) {
        let mut writes = Writes::new();
        for _ in 0..records {
            let key = [&[0; 4], &self.next.to_be_bytes()[..]].concat();
            // As little of it compresses as of a batch with three hashes in it.
            let value =
                (0..bytes as u64).map(|at| (at ^ self.next).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[7]);
            writes.put(Table::Log, key, value.collect());
            self.next += 1;
        }
        self.store.commit(&writes).expect("a bare commit succeeds");
    }
}
