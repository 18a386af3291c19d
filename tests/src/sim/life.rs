//! One life: a plan carried out, checked all the way, and brought to an end.

mod acts;
mod ending;
mod queries;

use std::fmt::Write as _;
use std::path::Path;

use persist::store::model::ModelDisk;
use seed::record::Record;
use seed::{Id, Nanos};
use vm::body::Body;
use vm::engine::{Backend, Settings};
use vm::step_loop::{Halt, Outgoing, Turn};

use super::check::Checker;
use super::coverage::Coverage;
use super::cpu::Cpu;
use super::host::{Found, Host, Job, Trouble, new_disk, settings};
use super::plan::{Action, Kind, Plan};
use super::ports::Ports;
use super::random::Random;
use super::{Failure, chain, ensure, twin};

/// Turns after which a machine that should come to rest is stuck.
const REST_TURNS_MAX: u32 = 4000;
const START: u64 = 1_700_000_000_000_000_000;
const KEYS: u64 = 5;

/// What a life was like.
#[derive(Debug, Default)]
pub struct Report {
    /// What happened in it.
    pub coverage: Coverage,
    /// Batches in its log.
    pub batches: usize,
    /// Records in its log.
    pub records: u64,
    /// Processes that it took.
    pub runs: u32,
    /// Every event, if asked for.
    pub trace: String,
}

/// Lives a life; native code is kept in `native`. The report is of use whether it fails or not.
pub fn live(plan: &Plan, native: &Path, with_trace: bool) -> (Report, Result<(), Failure>) {
    let (disk, root) = match new_disk(plan.seed, plan.limits) {
        Ok(made) => made,
        Err(failure) => return (Report::default(), Err(failure)),
    };
    let cpu = Cpu::default();
    let mut life = Life {
        settings: settings(Backend::Cranelift, plan.tracker, native, &cpu),
        checker: Checker::new(plan.policy, plan.limits),
        ports: Ports::default(),
        host: None,
        unsure: None,
        doomed: 0,
        read_fault: 0,
        is_forming: false,
        now: START,
        next: 1,
        halts: 0,
        is_over: false,
        trace: with_trace.then(String::new),
        disk,
        root,
        cpu,
        plan,
        native,
    };
    let outcome = life.run();
    if let Err(failure) = &outcome {
        life.note(|| failure.to_string());
    }
    let report = Report {
        batches: life.checker.log.len(),
        records: life.checker.end().0,
        runs: life.checker.run(),
        trace: life.trace.unwrap_or_default(),
        coverage: life.checker.coverage,
    };
    (report, outcome)
}

struct Life<'a> {
    plan: &'a Plan,
    native: &'a Path,
    settings: Settings,
    disk: ModelDisk,
    root: Id,
    cpu: Cpu,
    checker: Checker,
    ports: Ports,
    host: Option<Host>,
    /// A commit of the process before this one, and whether it must be on disk; unknown for one that was neither refused nor confirmed.
    unsure: Option<(Job, Option<bool>)>,
    /// Up to this commit, one may fail.
    doomed: u64,
    /// Up to this read, one may fail.
    read_fault: u64,
    /// Steps have been taken that no commit has.
    is_forming: bool,
    now: u64,
    next: u64,
    halts: u32,
    is_over: bool,
    trace: Option<String>,
}

/// What a turn came to.
#[derive(PartialEq, Eq)]
enum Turned {
    On,
    Idle(Option<Nanos>),
    Ended,
}

impl Life<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        for action in &self.plan.actions {
            if self.is_over {
                break;
            }
            self.now += 1000;
            self.act(*action)?;
        }
        self.finish()
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            // Writing to a string does not fail.
            let _ = writeln!(trace, "{:>14} {}", self.now - START, text());
        }
    }

    fn act(&mut self, action: Action) -> Result<(), Failure> {
        let random = &mut Random::new(action.entropy);
        if self.host.is_none() {
            self.start(random.one_in(10))?;
        }
        self.note(|| format!("-- {action}"));
        match action.kind {
            Kind::Turns => self.turns(random),
            Kind::Arrive => self.arrive(random),
            Kind::Answer | Kind::Break => self.answer(action.kind == Kind::Break, random),
            Kind::Deliver => self.deliver(random),
            Kind::Gone => self.gone(random),
            Kind::Grants => self.grants(random),
            Kind::Write => self.write(),
            Kind::Report => self.report(random),
            Kind::Fail(end) => self.fail(end),
            Kind::FailRead => {
                let number = self.disk.counts().reads + random.below(12);
                self.disk.fail_read(number);
                self.read_fault = self.read_fault.max(number + 1);
                Ok(())
            }
            Kind::Clock => {
                self.clock(random);
                Ok(())
            }
            Kind::Kill => {
                self.die("killed");
                Ok(())
            }
            Kind::PowerCut => {
                self.die("power cut");
                self.disk.cut_power();
                self.checker.coverage.hit("power cut");
                Ok(())
            }
            Kind::Rot => self.rot(random),
            Kind::Stop => {
                if let Some(host) = &mut self.host {
                    host.machine.stop();
                    host.is_stopping = true;
                }
                Ok(())
            }
        }
    }

    /// A process opens the disk and finds what must be there.
    fn start(&mut self, new_epoch: bool) -> Result<(), Failure> {
        // A read that fails ends the process; the next one is luckier.
        for _ in 0..20 {
            match self.try_start(new_epoch) {
                Ok(()) => return Ok(()),
                Err(Trouble::Failed(failure)) => return Err(failure),
                Err(Trouble::Read(text)) if self.may_misread() => self.note(|| format!("cannot start: {text}")),
                Err(Trouble::Read(text)) => return Err(Failure::new("a machine starts again", text)),
            }
        }
        Err(Failure::new("a machine starts again", "not after 20 attempts"))
    }

    fn try_start(&mut self, new_epoch: bool) -> Result<(), Trouble> {
        let found = Found::open(&self.disk)?;
        self.compare_log(&found)?;
        let known = found.branch.as_ref().map(|branch| branch.checkpoint.root);
        if let Some(root) = known {
            match twin::verify(&self.disk.open(), [root]) {
                Err(failure) if self.may_misread() => return Err(Trouble::Read(failure.to_string())),
                verified => verified?,
            };
        }
        let is_first = known.is_none();
        let policy = self.plan.policy;
        // Looking at all of a ledger loads all of it, so that not every process may do it: some have to load as they go.
        let looks = self.checker.run().is_multiple_of(3) && !self.may_misread();
        let checker = &self.checker;
        let inspect = |body: &mut Body| if looks { twin::compare_ledger(body, checker) } else { Ok(()) };
        let (host, batches) = found.start(&self.disk, &self.settings, policy, self.root, new_epoch, &inspect)?;
        self.checker.begin_run();
        self.note(|| format!("== run, {batches} batches executed again"));
        if !is_first {
            let what =
                if batches > 0 { "recovered by executing batches again" } else { "recovered from a checkpoint alone" };
            self.checker.coverage.hit(what);
        }
        self.cpu.attach(host.machine.body().engine().ticker(), self.plan.limits.step_cpu());
        self.ports = Ports::default();
        self.is_forming = false;
        self.host = Some(host);
        Ok(())
    }

    /// The log is what was known to be durable, and the commit that nobody was sure of, if it may be.
    fn compare_log(&mut self, found: &Found) -> Result<(), Failure> {
        let known = self.checker.log.len();
        let here: Vec<Id> = found.log.iter().map(|(_, id)| *id).collect();
        let before: Vec<Id> = self.checker.log.iter().map(|(_, id, _)| *id).collect();
        ensure(here.starts_with(&before), "what was durable stays", || format!("{} of {known} batches", here.len()))?;
        let unsure = self.unsure.take();
        match (&found.log[known..], unsure) {
            ([], None | Some((_, None | Some(false)))) => Ok(()),
            ([], Some((_, Some(true)))) => {
                Err(Failure::new("what was durable stays", "a commit that was done is gone"))
            }
            ([(batch, id)], Some((job, None | Some(true)))) => {
                ensure(*batch == *job.commit.batch, "only commits reach the log", || format!("seq {}", batch.first))?;
                self.checker.ingest(batch, *id, job.commit.checkpoint.is_some())
            }
            _ => Err(Failure::new("only commits reach the log", "a batch that nobody committed")),
        }
    }

    /// The process is gone, and with it all but the disk.
    fn die(&mut self, how: &'static str) {
        let Some(host) = self.host.take() else { return };
        self.note(|| how.to_owned());
        self.checker.coverage.hit_if(self.is_forming, "killed in mid-batch");
        self.checker.coverage.hit_if(self.checker.log.is_empty(), "stopped before its first commit");
        if let Some(job) = host.job {
            self.checker.coverage.hit_if(job.is_written, "killed between commit and its report");
            if !job.is_written && self.unsure.is_none() {
                self.unsure = Some((job, Some(false)));
                self.checker.coverage.hit("killed with a commit in flight, not done");
            }
        }
        self.disk.kill();
        self.disk.set_capacity(None);
    }

    /// Whether a read that fails may be one that was made to.
    fn may_misread(&self) -> bool {
        self.read_fault > 0
    }

    fn turns(&mut self, random: &mut Random) -> Result<(), Failure> {
        for _ in 0..=random.below(8) {
            if self.turn(random)? != Turned::On {
                break;
            }
        }
        Ok(())
    }

    fn turn(&mut self, random: &mut Random) -> Result<Turned, Failure> {
        let Some(host) = &mut self.host else { return Ok(Turned::Ended) };
        let cost = random.below(random.clone().weighted(&[(8, 20_000), (3, 300_000), (1, 3_000_000)]));
        let strikes = random.one_in(100);
        self.cpu.begin(cost, strikes);
        let turned = host.machine.turn(Nanos(self.now));
        let in_flight = host.job.as_ref().map(|job| job.commit.checkpoint.is_some());
        match turned {
            Ok(Turn::Worked) => {
                self.is_forming = true;
                self.note(|| format!("worked, {cost} ns, struck {strikes}"));
                self.checker.coverage.hit_if(in_flight.is_some(), "ran ahead of a commit in flight");
                self.checker.coverage.hit_if(in_flight == Some(true), "ran ahead of a checkpoint in flight");
                Ok(Turned::On)
            }
            Ok(Turn::Commit(commit)) => {
                ensure(host.job.is_none(), "one batch is in flight at a time", String::new)?;
                let text = format!("{:#?}", commit.batch.records.iter().map(shown).collect::<Vec<_>>());
                let is_checkpoint = commit.checkpoint.is_some();
                host.job = Some(Job { commit, is_written: false });
                self.is_forming = false;
                self.note(|| format!("commit, checkpoint {is_checkpoint}: {text}"));
                Ok(Turned::On)
            }
            Ok(Turn::Release(released)) => {
                for outgoing in released {
                    self.release(&outgoing)?;
                }
                Ok(Turned::On)
            }
            Ok(Turn::Idle(until)) => Ok(Turned::Idle(until)),
            Ok(Turn::Stopped) => self.stopped(),
            Ok(Turn::Halted(halt)) => self.halted(&halt),
            Err(fatal) if self.may_misread() => {
                self.note(|| chain(&fatal));
                self.checker.coverage.hit("read failed");
                self.die("a read failed");
                Ok(Turned::Ended)
            }
            Err(fatal) => Err(Failure::new("a machine goes on", chain(&fatal))),
        }
    }

    fn release(&mut self, outgoing: &Outgoing) -> Result<(), Failure> {
        self.note(|| format!("released {outgoing:?}"));
        self.checker.released(outgoing)?;
        match outgoing {
            Outgoing::Port(_, told) => self.ports.take(told),
            Outgoing::Asker(..) | Outgoing::Trace(_) | Outgoing::Revoked(_) => Ok(()),
        }
    }

    fn stopped(&mut self) -> Result<Turned, Failure> {
        self.note(|| "stopped".to_owned());
        let Some(host) = self.host.take() else { return Ok(Turned::Ended) };
        ensure(host.job.is_none(), "a clean stop leaves nothing in flight", String::new)?;
        self.checker.stopped(false)?;
        self.checker.coverage.hit("clean stop");
        self.disk.kill();
        Ok(Turned::Ended)
    }

    fn halted(&mut self, halt: &Halt) -> Result<Turned, Failure> {
        self.note(|| halt.to_string());
        self.checker.coverage.hit("halt");
        self.checker.coverage.hit_if(halt.what == "its boot", "abort at first boot");
        self.halts += 1;
        // One that halts whenever it is started has nothing more to tell.
        self.is_over = self.halts > 3;
        let Some(host) = self.host.take() else { return Ok(Turned::Ended) };
        ensure(host.job.is_none(), "everything before a halt is durable", String::new)?;
        self.disk.kill();
        Ok(Turned::Ended)
    }
}

fn shown(record: &Record) -> String {
    match record {
        Record::Step { input, cost, key } => {
            format!("step {:?} {cost} ns key {key:?}", seed::message::Input::decode(input))
        }
        Record::Abort { input, cost, key, reason } => {
            format!("abort {:?} {cost} ns key {key:?}: {reason}", seed::message::Input::decode(input))
        }
        other => format!("{other:?}"),
    }
}
