//! One process of a simulated host: it opens what is on the disk, checks it as `persist::machine` does, recovers, and runs the loop. Dropped
//! at any moment, it has died.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use persist::branch::Branch;
use persist::head::{Head, HeadFile};
use persist::journal::{AppendError, Commit, Journal, Start, each_batch};
use persist::objects::Framer;
use persist::store::model::{ModelDisk, ModelHead};
use persist::store::{Store, Writes};
use seed::image::{Grant, INTERFACE, Limits, Program};
use seed::object::encode_blob;
use seed::record::{Batch, Epoch};
use seed::{Domain, Id, Nanos, PortId, Seq};
use vm::body::{Body, OnLost, SharedObjects};
use vm::engine::{Backend, Mode, Settings};
use vm::memory::Tracker;
use vm::prepare::Memo;
use vm::reader::Reader;
use vm::recover::recover;
use vm::released::Released;
use vm::step_loop::{Policy, Position, StepLoop};

use super::cpu::Cpu;
use super::{Failure, chain, ensure};

/// A process.
pub struct Host {
    /// The loop with the machine.
    pub machine: StepLoop,
    /// The commit in flight.
    pub job: Option<Job>,
    /// Whether it was told to stop.
    pub is_stopping: bool,
    /// Somebody who asks it queries.
    pub reader: Option<(Released, Reader)>,
    journal: Journal,
    head: Option<HeadFile<ModelHead>>,
    disk: ModelDisk,
}

/// A commit that the loop waits for.
pub struct Job {
    /// What.
    pub commit: Box<Commit>,
    /// Whether it is on disk.
    pub is_written: bool,
}

/// What a process found when it opened the disk.
pub struct Found {
    /// The whole log, proven.
    pub log: Vec<(Batch, Id)>,
    /// Where the branch stands; none if the machine was never booted.
    pub branch: Option<Branch>,
    journal: Journal,
}

/// Why a process did not come up.
#[derive(Debug)]
pub enum Trouble {
    /// A read failed; again might help.
    Read(String),
    /// A promise is broken.
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn read(error: &(dyn std::error::Error + 'static)) -> Trouble {
    Trouble::Read(chain(error))
}

/// The guest, compiled from text.
///
/// # Panics
/// If it does not compile.
#[must_use]
pub fn program() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| match wat::parse_str(include_str!("../../guests/walker.wat")) {
        Ok(wasm) => wasm,
        Err(error) => panic!("{error}"),
    })
}

/// What a machine is granted at first.
#[must_use]
pub fn first_grants() -> Vec<Grant> {
    let names = ["owner", "console", "clock", "http-client:*"];
    names.iter().zip(0..).map(|(name, port)| Grant { port: PortId(port), name: (*name).to_owned() }).collect()
}

/// A disk with the objects of the guest, and the root of the image that it boots from.
///
/// # Errors
/// If the disk cannot be written.
pub fn new_disk(seed: u64, limits: Limits) -> Result<(ModelDisk, Id), Failure> {
    let disk = ModelDisk::new(seed);
    let framer = Framer::new().map_err(|error| Failure::new("a disk can be made", error.to_string()))?;
    let mut writes = Writes::new();
    let mut keep = |bytes: Vec<u8>| {
        let id = Id::of(Domain::Object, &bytes);
        framer.put(&mut writes, Domain::Object, &id, &bytes);
        id
    };
    let (code, genesis) = (keep(encode_blob(program())), keep(encode_blob(b"genesis")));
    let program = Program { interface: INTERFACE, code, genesis, limits, asks: vec![] };
    let root = keep(program.to_image(first_grants()).encode());
    disk.open().commit(&writes).map_err(|error| Failure::new("a disk can be made", chain(&error)))?;
    Ok((disk, root))
}

/// How guests are run here. Native code is kept in `native`.
#[must_use]
pub fn settings(backend: Backend, tracker: Tracker, native: &Path, cpu: &Cpu) -> Settings {
    static BEST: OnceLock<Tracker> = OnceLock::new();
    static PREPARED: OnceLock<Memo> = OnceLock::new();
    let best = *BEST.get_or_init(|| Tracker::select(None).0);
    let tracker = if tracker == Tracker::WriteProtect { best } else { tracker };
    let prepared = PREPARED.get_or_init(Memo::default).clone();
    Settings { backend, tracker, cache: Some(native.to_owned()), meter: cpu.meter(), elsewhere: None, prepared }
}

/// Nothing here is paged in lazily.
#[must_use]
pub fn lost() -> OnLost {
    Arc::new(|error| panic!("a page was lost: {error}"))
}

fn epoch(number: u64, image: Id) -> Epoch {
    Epoch {
        number,
        machine: [1; 16],
        incarnation: [u8::try_from(number & 0xff).unwrap_or(0); 16],
        engine: vm::engine::ENGINE.to_owned(),
        preparation: 1,
        host: [0; 16],
        device: 0,
        inode: number,
        image,
    }
}

impl Found {
    /// Opens the disk and reads the whole log.
    ///
    /// # Errors
    /// If something cannot be read, or is not what it should be.
    pub fn open(disk: &ModelDisk) -> Result<Self, Trouble> {
        let journal = Journal::open(Arc::new(disk.open())).map_err(|error| read(&error))?;
        let branch = journal.branch().cloned();
        let mut log = Vec::new();
        if let Some(branch) = &branch {
            each_batch(journal.store().as_ref(), branch, Start::At(Seq(0)), &mut |batch, id| {
                log.push((batch, id));
                ControlFlow::Continue(())
            })
            .map_err(|error| read(&error))?;
            check_head(disk, branch)?;
        }
        Ok(Self { log, branch, journal })
    }

    /// Recovers the machine and starts its loop. `root` is what it boots from; `new_epoch` as after a copy.
    ///
    /// # Errors
    /// If something cannot be read, or comes out differently.
    pub fn start(
        self,
        disk: &ModelDisk,
        settings: &Settings,
        policy: Policy,
        root: Id,
        new_epoch: bool,
        inspect: &dyn Fn(&mut Body) -> Result<(), Failure>,
    ) -> Result<(Host, usize), Trouble> {
        let objects: SharedObjects = Arc::new(self.journal.objects());
        let (mut body, position, batches) = match &self.branch {
            None => {
                let body = Body::restore(settings, Mode::Live, objects, &root, lost()).map_err(|error| read(&error))?;
                let (cost_since_checkpoint, new_epoch) = (Nanos(0), Some(epoch(0, root)));
                let end = Seq(0);
                let position =
                    Position { end, batch: None, cost_since_checkpoint, records_since_checkpoint: 0, new_epoch };
                (body, position, 0)
            }
            Some(branch) => {
                let since = self.journal.since_checkpoint().map_err(|error| read(&error))?;
                let cost = since.iter().fold(Nanos(0), |sum, batch| sum.plus(batch.cost()));
                ensure(cost <= policy.recovery_budget, "recovery never costs more than its budget", || {
                    cost.to_string()
                })?;
                let recovered = recover(settings, objects, branch, &since, lost()).map_err(|error| match error {
                    vm::body::BodyError::Diverged(_) => {
                        Trouble::Failed(Failure::new("replay does not diverge", chain(&error)))
                    }
                    error => read(&error),
                })?;
                let found = recovered.body.root();
                ensure(found == branch.root, "recovery leads to the branch's root", || found.to_string())?;
                let mut position = recovered.position;
                position.new_epoch = new_epoch.then(|| epoch(branch.epoch.number + 1, branch.root));
                (recovered.body, position, recovered.batches)
            }
        };
        inspect(&mut body)?;
        let machine = StepLoop::new(body, policy, position).map_err(|error| read(&error))?;
        let head = match &self.branch {
            Some(branch) => Some(open_head(disk, branch)?),
            None => None,
        };
        let disk = disk.clone();
        Ok((Host { machine, job: None, is_stopping: false, reader: None, journal: self.journal, head, disk }, batches))
    }
}

impl Host {
    /// Makes the commit in flight durable; true if there was one to be made so.
    ///
    /// # Errors
    /// How the commit failed.
    pub fn write(&mut self) -> Result<bool, AppendError> {
        let Some(job) = self.job.as_mut().filter(|job| !job.is_written) else { return Ok(false) };
        let branch = self.journal.append(&job.commit)?;
        job.is_written = true;
        let head = head_of(branch);
        match &mut self.head {
            // As when a folder is published: the machine is not there before its head is.
            None => {
                self.head = HeadFile::create_on(self.disk.head(), PathBuf::new(), &head).ok();
                self.disk.sync_head();
            }
            // Unsynced, and for detection only.
            Some(file) => drop(file.write(&head)),
        }
        Ok(true)
    }
}

fn head_of(branch: &Branch) -> Head {
    Head {
        counter: branch.end.0,
        seq: branch.end.0,
        batch: branch.batch.as_bytes().to_vec(),
        root: branch.root.as_bytes().to_vec(),
    }
}

fn open_head(disk: &ModelDisk, branch: &Branch) -> Result<HeadFile<ModelHead>, Failure> {
    match HeadFile::open_on(disk.head(), PathBuf::new()) {
        Ok(file) => Ok(file),
        // Died between the first commit and the head: in a real folder, before the machine was published.
        Err(persist::head::HeadError::Read { .. }) => {
            HeadFile::create_on(disk.head(), PathBuf::new(), &head_of(branch))
                .inspect(|_| disk.sync_head())
                .map_err(|error| Failure::new("a head can be written", chain(&error)))
        }
        Err(error) => Err(Failure::new("a head file stays whole", chain(&error))),
    }
}

/// The store is never older than what was acknowledged.
fn check_head(disk: &ModelDisk, branch: &Branch) -> Result<(), Failure> {
    let file = open_head(disk, branch)?;
    let head = file.newest();
    ensure(head.seq <= branch.end.0, "a store is never older than its head", || {
        format!("{} {}", head.seq, branch.end)
    })?;
    let same = head.seq != branch.end.0 || head.batch == branch.batch.as_bytes();
    ensure(same, "a store and its head tell of the same batches", || head.seq.to_string())
}
