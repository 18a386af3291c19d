//! A machine alone: its step loop on a disk in memory, in this thread. What is slow in a process (folders, sockets, a clock) is left out, and it
//! can be killed between any two turns.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use persist::journal::Journal;
use persist::store::model::ModelDisk;
use persist::store::{CommitError, Entry, Reader, Store, StoreError, Table, Usage, Visit, Writes};
use seed::image::{Grant, INTERFACE, Limits, Program};
use seed::object::encode_blob;
use seed::record::Epoch;
use seed::{Domain, Id, Nanos, PortId, Seq};
use vm::body::{Body, OnLost, SharedObjects};
use vm::engine::{Backend, Engine, Mode, Settings};
use vm::memory::Tracker;
use vm::prepare::Memo;
use vm::recover::recover;
use vm::step_loop::{Arrival, Asker, AskerNews, Outgoing, Policy, Position, Room, StepLoop, ToPort, Turn};

/// A machine, its disk, and what it has said so far.
pub struct Lone {
    disk: ModelDisk,
    image: Id,
    settings: Settings,
    policy: Policy,
    life: Option<(Journal, StepLoop)>,
    now: u64,
    asked: u64,
    /// What became of what was sent, by the number that sending gave.
    pub news: Vec<(u64, Said)>,
    /// What it showed to its owner.
    pub traces: Vec<String>,
    /// Why it halted.
    pub halted: Option<String>,
    /// How many pages the last checkpoint saved.
    pub pages: usize,
    /// Commits so far.
    pub commits: usize,
    /// Turns so far.
    pub turns: usize,
}

/// What a machine says to somebody who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// An answer.
    Answer(Vec<u8>),
    /// A refusal: its code, and why.
    Refused(u64, String),
}

fn lost() -> OnLost {
    Arc::new(|error| panic!("a page was lost: {error}"))
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

impl Lone {
    /// A machine of a module, which has not booted. Native code is kept in a folder in `native`.
    ///
    /// # Panics
    /// If the module can be no machine.
    #[must_use]
    pub fn new(module: &[u8], genesis: &[u8], policy: Policy, native: &Path) -> Self {
        let disk = ModelDisk::new(1);
        let framer = persist::objects::Framer::new().expect("objects can be framed");
        let mut writes = Writes::new();
        let mut keep = |bytes: Vec<u8>| {
            let id = Id::of(Domain::Object, &bytes);
            framer.put(&mut writes, Domain::Object, &id, &bytes);
            id
        };
        let (code, genesis) = (keep(encode_blob(module)), keep(encode_blob(genesis)));
        let names = ["owner", "console", "clock", "random"];
        let grants = names.iter().zip(0..).map(|(name, port)| Grant { port: PortId(port), name: (*name).to_owned() });
        let program = Program { interface: INTERFACE, code, genesis, limits: Limits::default(), asks: vec![] };
        let image = keep(program.to_image(grants.collect()).encode());
        disk.open().commit(&writes).expect("a disk in memory can be written");
        let clock = Arc::new(AtomicU64::new(0));
        let settings = Settings {
            backend: Backend::Cranelift,
            tracker: Tracker::select(None).0,
            // Made when it is needed, and closed to others, as code is only believed in such a folder.
            cache: Some(native.join("native")),
            meter: Arc::new(move || Nanos(clock.fetch_add(1000, Ordering::Relaxed))),
            elsewhere: None,
            prepared: Memo::default(),
        };
        let now = 1_700_000_000_000_000_000;
        let (news, traces) = (Vec::new(), Vec::new());
        let mut lone = Self {
            disk,
            image,
            settings,
            policy,
            life: None,
            now,
            asked: 0,
            news,
            traces,
            halted: None,
            pages: 0,
            commits: 0,
            turns: 0,
        };
        lone.start();
        lone
    }

    fn start(&mut self) {
        let journal = Journal::open(Arc::new(self.disk.open())).expect("the disk can be read");
        let objects: SharedObjects = Arc::new(journal.objects());
        let (body, position) = match journal.branch() {
            None => {
                let body = Body::restore(&self.settings, Mode::Live, objects, &self.image, lost());
                let position = Position {
                    end: Seq(0),
                    batch: None,
                    cost_since_checkpoint: Nanos(0),
                    records_since_checkpoint: 0,
                    new_epoch: Some(epoch(self.image)),
                };
                (body.expect("an image can be restored"), position)
            }
            Some(branch) => {
                let batches = journal.since_checkpoint().expect("the disk can be read");
                let recovered = recover(&self.settings, objects, branch, &batches, lost()).expect("a machine recovers");
                assert_eq!(recovered.body.root(), branch.root, "recovery leads to the root that was committed");
                (recovered.body, recovered.position)
            }
        };
        let machine = StepLoop::new(body, self.policy, position).expect("the loop begins");
        self.life = Some((journal, machine));
    }

    /// From now on commits are prepared, encoded and compressed like any, and then forgotten: for more of them than a disk in memory holds. It cannot
    /// be killed any more.
    ///
    /// # Panics
    /// If it has not booted.
    pub fn forget_commits(&mut self) {
        let journal = Journal::open(Arc::new(Forgetful(self.disk.open()))).expect("the disk can be read");
        let (old, _) = self.life.as_mut().expect("it lives");
        assert_eq!(journal.branch(), old.branch(), "all that was committed is there");
        *old = journal;
    }

    /// Kills it, and starts it again from what was durable. Whoever waited for an answer waits in vain.
    pub fn kill(&mut self) {
        self.life = None;
        self.disk.kill();
        self.start();
    }

    fn machine(&mut self) -> &mut StepLoop {
        let (_, machine) = self.life.as_mut().expect("it lives");
        machine
    }

    /// Sends a payload to its owner's port. Returns the number under which there will be news.
    pub fn post(&mut self, payload: &[u8]) -> u64 {
        self.post_with_key(payload, (self.asked + 1).to_be_bytes().repeat(2))
    }

    /// Sends a payload whose outcome the machine is not to remember.
    pub fn post_without_key(&mut self, payload: &[u8]) -> u64 {
        self.post_with_key(payload, Vec::new())
    }

    fn post_with_key(&mut self, payload: &[u8], key: Vec<u8>) -> u64 {
        self.asked += 1;
        self.arrive(self.asked, payload.to_vec(), key);
        self.asked
    }

    /// Asks again for the news of something that was sent before a kill.
    pub fn post_again(&mut self, number: u64) {
        self.arrive(number, Vec::new(), number.to_be_bytes().repeat(2));
    }

    fn arrive(&mut self, number: u64, payload: Vec<u8>, key: Vec<u8>) {
        let (port, from, asker, room) = (PortId::OWNER, Vec::new(), Some(Asker(number)), Room::default());
        self.machine().arrive(Arrival::Message { port, from, payload, asker, key, room });
    }

    /// One turn, done as the loop says. False if there was nothing to do.
    ///
    /// # Panics
    /// If the host fails.
    pub fn turn(&mut self) -> bool {
        self.now += 1_000_000;
        self.turns += 1;
        let now = Nanos(self.now);
        let (journal, machine) = self.life.as_mut().expect("it lives");
        match machine.turn(now).expect("the loop goes on") {
            Turn::Commit(commit) => {
                if let Some(objects) = &commit.checkpoint {
                    self.pages = objects.iter().filter(|((domain, _), _)| *domain == Domain::Page).count();
                }
                journal.append(&commit).expect("a disk in memory can be written");
                machine.committed();
                self.commits += 1;
                true
            }
            Turn::Release(outgoing) => {
                for one in outgoing {
                    match one {
                        Outgoing::Port(_, ToPort::Effect { effect, .. }) => machine.delivered(effect, now),
                        Outgoing::Asker(asker, AskerNews::Answer { payload, .. }) => {
                            self.news.push((asker.0, Said::Answer(payload)));
                        }
                        Outgoing::Asker(asker, AskerNews::Refused { code, text }) => {
                            self.news.push((asker.0, Said::Refused(code.0, text)));
                        }
                        Outgoing::Trace(text) => self.traces.push(text),
                        _ => {}
                    }
                }
                true
            }
            Turn::Worked => true,
            Turn::Halted(halt) => {
                self.halted = Some(halt.to_string());
                false
            }
            Turn::Idle(_) | Turn::Stopped => false,
        }
    }

    /// Goes on until there is nothing to do.
    pub fn settle(&mut self) {
        while self.turn() {}
    }

    /// Goes on until there is news of what was sent.
    ///
    /// # Panics
    /// If there is none.
    pub fn said(&mut self, number: u64) -> Said {
        loop {
            if let Some(index) = self.news.iter().position(|(news, _)| *news == number) {
                return self.news.remove(index).1;
            }
            assert!(self.turn(), "nothing is said of {number}: {:?}", self.halted);
        }
    }

    /// Sends something and waits for what is said to it.
    ///
    /// # Panics
    /// If nothing is.
    pub fn send(&mut self, payload: &[u8]) -> Said {
        let number = self.post(payload);
        self.said(number)
    }

    /// The root of the last commit.
    #[must_use]
    pub fn root(&self) -> Option<Id> {
        let (journal, _) = self.life.as_ref()?;
        journal.branch().map(|branch| branch.root)
    }
}

/// A store that takes commits and keeps nothing of them.
struct Forgetful<S>(S);

impl<S: Store> Reader for Forgetful<S> {
    fn get_with(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Result<bool, StoreError> {
        self.0.get_with(table, key, visit)
    }

    fn tip(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.tip()
    }

    fn at_or_before(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.0.at_or_before(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.0.scan(table, from, visit)
    }
}

impl<S: Store> Store for Forgetful<S> {
    fn commit(&self, _: &Writes) -> Result<(), CommitError> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn Reader + Send>, StoreError> {
        self.0.snapshot()
    }

    fn copy_to(&self, folder: &Path) -> Result<(), StoreError> {
        self.0.copy_to(folder)
    }

    fn usage(&self) -> Result<Usage, StoreError> {
        self.0.usage()
    }
}

/// Guests need the native stack that their limits promise.
///
/// # Panics
/// As what is run does.
pub fn on_a_guest_thread(test: impl FnOnce() + Send + 'static) {
    let stack = Engine::thread_stack_bytes(&Limits::default());
    let thread = std::thread::Builder::new().stack_size(stack).spawn(test).expect("a thread can be made");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
