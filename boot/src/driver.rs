//! Running a machine: the threads around the step loop.
//!
//! | thread | does |
//! |---|---|
//! | guest | owns the step loop; runs steps, closes batches, releases what is durable |
//! | commit | owns the store; makes batches durable, one at a time, at a higher priority than the guest |
//! | tick | makes the guest look at its CPU time, while it runs; another does so for readers |
//! | readers | answer queries beside the guest, at most one a core, while there are any |
//! | host | ports' timers, the control socket, signals (tokio, one thread) |
//!
//! All of them talk to the guest thread through one queue of [`Event`]s. Nothing is released by any other thread, so what leaves the
//! machine leaves in the order of its log. Answers to queries are no part of it.

mod grants;
mod handle;
mod queries;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use persist::folder::Identity;
use persist::journal::{AppendError, Commit, Start, each_batch};
use persist::machine::{Machine, MachineError};
use seed::message::Code;
use seed::record::Epoch;
use seed::{Nanos, PortId, Seq};
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, info, warn};
use vm::body::{BodyError, OnLost};
use vm::engine::{ENGINE, Engine, Settings};
use vm::port::{Line, News, Port};
use vm::prepare::PREPARATION_VERSION;
use vm::recover::{Recovered, recover};
use vm::step_loop::{Arrival, Asker, AskerNews, Fatal, Halt, Outgoing, Policy, StepLoop, ToPort, Turn};

pub use self::grants::{Change, RegrantError, Regranted, number};
use self::grants::{Granting, Told};
pub use self::handle::{Asking, Handle, Message};
pub use self::queries::QUERY_CPU;
use self::queries::Queries;
use crate::clocks::{MachineClock, random};
use crate::dashboard::{Noted, RECORDS_MAX, Watch};
use crate::injection::{Side, at_commit, at_start};
use crate::ports;
use crate::ports::console::{Console, Target};
use crate::ports::http_client::Caller;
use crate::terminal::say;

/// Whoever sends faster than the machine works does not keep it from working.
const EVENTS_A_TURN: usize = 256;
/// How often a running guest looks at its CPU time.
const TICK: Duration = Duration::from_millis(5);
/// Of a thread of the host: room for a guest with the stack that one has by default, and for what the host does around it.
const HOST_STACK_BYTES: usize = 4 << 20;
/// Nice values: the commit thread's where it may raise its priority, the guest's where it may not.
const NICE_COMMIT: i32 = -10;
const NICE_GUEST: i32 = 5;

/// How to run a machine.
pub struct Options {
    /// How guests are run.
    pub settings: Settings,
    /// How the loop behaves.
    pub policy: Policy,
    /// Where the console's lines go.
    pub console: Target,
    /// Whether nothing is to leave the machine: it runs without ports, and what it asks waits for its next start.
    pub is_silent: bool,
    /// Whether it is to be stopped before it does anything: for a copy that only needs a checkpoint.
    pub stops_at_once: bool,
    /// Whether servers among its ports are open to clients: where it runs for its own sake, not for one message.
    pub listens: bool,
    /// Who is told what becomes durable, if anybody watches.
    pub watch: Option<Arc<Watch>>,
}

/// What comes to the guest thread.
enum Event {
    /// A message to the owner's port, and where its sender waits for news of it.
    Ask(Asker, Arrival, UnboundedSender<AskerNews>),
    /// A message that nobody waits for.
    Tell(Arrival),
    News(News),
    AskerGone(Asker),
    /// The owner changes the grants.
    Regrant(Asker, Change, Told),
    /// Queries are asked, after none were, or none are any more.
    Readers(bool),
    Committed(Result<(), AppendError>),
    Stop,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// Stopped on demand; everything is durable.
    Stopped,
    /// The machine halted.
    Halted(Halt),
}

/// A run could not begin or go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// The machine's folder or store.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Coming back to where the machine was.
    #[error("recovering the machine failed")]
    Recover {
        /// Engine and version that the epoch was made with.
        engine: String,
        /// What failed.
        source: BodyError,
    },
    /// The step loop.
    #[error("the machine cannot go on")]
    Fatal(#[from] Fatal),
    /// A commit.
    #[error("the machine was stopped: its last steps could not be made durable")]
    Commit(#[from] AppendError),
    /// A port.
    #[error("the port {name} cannot be opened")]
    Port {
        /// As it was granted.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// The host's means.
    #[error("setting up the host failed")]
    Host(#[source] std::io::Error),
    /// No randomness.
    #[error("the operating system gave no randomness")]
    Random(#[from] getrandom::Error),
    /// A thread of the host panicked: a bug.
    #[error("a thread of the host ended unexpectedly")]
    Thread,
}

/// A machine in motion.
pub struct Running {
    handle: Handle,
    guest: JoinHandle<Result<Ended, RunError>>,
    runtime: Option<Runtime>,
}

/// A machine that is being recovered. What is sent to it meanwhile waits.
pub struct Starting {
    handle: Handle,
    guest: JoinHandle<Result<Ended, RunError>>,
    started: Receiver<Result<(), RunError>>,
}

impl Running {
    /// Recovers a machine and sets it in motion. Everything that was open is resumed.
    ///
    /// # Errors
    /// If it cannot be brought back to where it was, or the host lacks something.
    pub fn start(machine: Machine, options: Options) -> Result<Self, RunError> {
        let runtime = host_runtime()?;
        let running = Self::begin(runtime.handle(), machine, options)?.wait()?;
        Ok(Self { runtime: Some(runtime), ..running })
    }

    /// Begins to recover a machine, whose ports will wait on a runtime of [`host_runtime`].
    ///
    /// # Errors
    /// If there is nothing to recover it from, or the host lacks something.
    pub fn begin(runtime: &tokio::runtime::Handle, machine: Machine, options: Options) -> Result<Starting, RunError> {
        let (events, inbox) = channel();
        let limits = {
            let image = load_image(&machine)?;
            image.limits
        };
        let lost = exit_on_lost_page(machine.folder().path());
        let queries = Queries::new(events.clone(), lost, &limits);
        let handle = Handle::new(events, queries);
        let (ready, started) = channel();
        let guest = {
            let (runtime, own) = (runtime.clone(), handle.clone());
            let run = move || match set_up(machine, &options, own, &runtime) {
                Ok((guest, step_loop)) => {
                    let _ = ready.send(Ok(()));
                    guest.run(step_loop, inbox)
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                    Ok(Ended::Stopped)
                }
            };
            thread::Builder::new()
                .name("abide-guest".to_owned())
                .stack_size(Engine::thread_stack_bytes(&limits))
                .spawn(run)
                .map_err(RunError::Host)?
        };
        Ok(Starting { handle, guest, started })
    }

    /// Recovers a machine and stops it at once, so that its end is a checkpoint. No port is opened.
    ///
    /// # Errors
    /// If it cannot be brought back to where it was.
    pub fn checkpoint(machine: Machine, options: Options) -> Result<Self, RunError> {
        Self::start(machine, Options { is_silent: true, stops_at_once: true, ..options })
    }

    /// A way to talk to it.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until the machine has ended.
    ///
    /// # Errors
    /// If it could not go on.
    pub fn wait(mut self) -> Result<Ended, RunError> {
        let ended = self.guest.join().map_err(|_| RunError::Thread)?;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        ended
    }
}

impl Starting {
    /// A way to talk to it.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until it is recovered and in motion. Everything that was open is resumed.
    ///
    /// # Errors
    /// If it cannot be brought back to where it was, or the host lacks something.
    pub fn wait(self) -> Result<Running, RunError> {
        match self.started.recv() {
            Ok(Ok(())) => Ok(Running { handle: self.handle, guest: self.guest, runtime: None }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(RunError::Thread),
        }
    }
}

/// A runtime for ports and whatever else waits for the world.
///
/// # Errors
/// If the host lacks the means.
pub fn host_runtime() -> Result<Runtime, RunError> {
    // The runtime panics where a thread cannot be had.
    thread::Builder::new().spawn(|| {}).map_err(RunError::Host)?.join().map_err(|_| RunError::Thread)?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        // Queries that take but a moment are answered on it.
        .thread_stack_size(HOST_STACK_BYTES)
        .enable_all()
        .thread_name("abide-host")
        .build()
        .map_err(RunError::Host)
}

/// The image of the machine's last checkpoint: for what does not change between checkpoints.
fn load_image(machine: &Machine) -> Result<seed::image::Image, RunError> {
    use seed::object::Objects;
    let root = machine.branch().checkpoint.root;
    let bytes = machine.objects().load(seed::Domain::Object, &root).map_err(|error| RunError::Fatal(error.into()))?;
    let malformed = |source| seed::LoadError::Malformed { id: root, source };
    seed::image::Image::decode(&bytes).map_err(|error| RunError::Fatal(malformed(error).into()))
}

/// The epoch that a machine is to begin, if it may not go on in its last one: its folder is another, or what runs it is.
fn next_epoch(last: &Epoch, identity: Identity, root: seed::Id) -> Result<Option<Epoch>, getrandom::Error> {
    let same_place = (last.host, last.device, last.inode) == (identity.host, identity.device, identity.inode);
    if same_place && last.engine == ENGINE && last.preparation == u64::from(PREPARATION_VERSION) {
        return Ok(None);
    }
    Ok(Some(new_epoch(last.number + 1, last.machine, identity, root)?))
}

/// An epoch that begins here and now.
///
/// # Errors
/// If the operating system has no randomness.
pub fn new_epoch(
    number: u64,
    machine: [u8; 16],
    identity: Identity,
    image: seed::Id,
) -> Result<Epoch, getrandom::Error> {
    Ok(Epoch {
        number,
        machine,
        incarnation: random()?,
        engine: ENGINE.to_owned(),
        preparation: u64::from(PREPARATION_VERSION),
        host: identity.host,
        device: identity.device,
        inode: identity.inode,
        image,
    })
}

/// Ends the process when a page of the machine's memory cannot be had while the guest waits for it: nothing may run on.
#[must_use]
pub fn exit_on_lost_page(path: &std::path::Path) -> OnLost {
    let path = path.to_owned();
    Arc::new(move |error| {
        crate::report::fatal(&path, &error);
    })
}

fn set_up(
    machine: Machine,
    options: &Options,
    handle: Handle,
    runtime: &tokio::runtime::Handle,
) -> Result<(Guest, StepLoop), RunError> {
    at_start().map_err(RunError::Host)?;
    let branch = machine.branch().clone();
    let since_checkpoint = machine.since_checkpoint()?;
    let lost = exit_on_lost_page(machine.folder().path());
    let objects = Arc::new(machine.objects());
    let recovered = recover(&options.settings, objects, &branch, &since_checkpoint, lost)
        .map_err(|source| RunError::Recover { engine: branch.epoch.engine.clone(), source })?;
    let Recovered { body, mut position, batches } = recovered;
    info!(batches, seq = branch.end.0, root = %branch.root, "recovered");
    position.new_epoch = next_epoch(&branch.epoch, machine.folder().identity(), branch.root)?;
    let last_call = body.image().processes.iter().map(|process| process.ledger.last_call).max().unwrap_or_default();
    let at = (branch.clone(), position.new_epoch.as_ref());
    let caller = Caller::new(at, last_call, machine.store(), Arc::new(machine.objects())).map_err(Fatal::from)?;
    let ticker = body.engine().ticker();
    let (limits, granting) = (body.image().limits, Granting::of(body.image()));
    let mut step_loop = StepLoop::new(body, options.policy, position)?;
    if options.stops_at_once {
        step_loop.stop();
    }
    if let Some(watch) = &options.watch {
        begin_watch(watch, &machine, &mut step_loop)?;
    }

    let clock = Arc::new(MachineClock::since(branch.time));
    let events = handle.events.clone();
    let queries = handle.queries.clone();
    queries.begin(ticker.clone());
    let line = {
        let events = events.clone();
        Line::new(move |news| drop(events.send(Event::News(news))))
    };
    let console = {
        let events = events.clone();
        Console::new(options.console, move |error| {
            match error.kind() {
                ErrorKind::BrokenPipe => say("nobody reads the machine's console any more: it is being stopped"),
                _ => say(&format!("the machine's console cannot be written ({error}): it is being stopped")),
            }
            let _ = events.send(Event::Stop);
        })
    };
    let host = (!options.is_silent).then(|| ports::Host {
        line: line.clone(),
        handle,
        runtime: runtime.clone(),
        console,
        clock: Arc::clone(&clock),
        limits,
        sockets: ports::sockets::Sockets::new(&clock),
        caller: Arc::new(caller),
        listens: options.listens,
    });
    let ports = host.as_ref().map_or_else(|| Ok(HashMap::new()), |host| ports::open(&granting.grants, host))?;
    let (commits, queue) = channel();
    let watch = options.watch.clone();
    let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.to_owned()).spawn(run).map_err(RunError::Host)
    };
    let (told, preferred) = channel();
    let commit = move || {
        let _ = told.send(prefer_this_thread());
        commit_all(machine, &queue, &events, watch.as_deref());
    };
    let committer = spawn("abide-commit", Box::new(commit))?;
    if !preferred.recv().unwrap_or(false) {
        defer_this_thread();
    }
    let is_running = Arc::new(AtomicBool::new(true));
    let ticking = Arc::clone(&is_running);
    let tick = spawn(
        "abide-tick",
        Box::new(move || {
            // Ends with the process or with the guest, which drops the other owner of the flag.
            while Arc::strong_count(&ticking) > 1 {
                if ticking.load(Ordering::Relaxed) {
                    ticker.tick();
                    thread::sleep(TICK);
                } else {
                    thread::park();
                }
            }
        }),
    )?;
    let guest = Guest {
        queries,
        ports,
        host,
        granting,
        line,
        commits: Some(commits),
        committer: Some(committer),
        askers: HashMap::new(),
        is_running: Some(is_running),
        tick,
        clock,
    };
    Ok((guest, step_loop))
}

/// The guest thread's belongings, besides the loop.
struct Guest {
    queries: Queries,
    ports: HashMap<PortId, Box<dyn Port>>,
    /// What ports are made of; nothing if the machine is to have none.
    host: Option<ports::Host>,
    granting: Granting,
    line: Line,
    commits: Option<Sender<(Box<Commit>, Option<Noted>)>>,
    committer: Option<JoinHandle<()>>,
    /// Who waits for answers.
    askers: HashMap<Asker, UnboundedSender<AskerNews>>,
    is_running: Option<Arc<AtomicBool>>,
    tick: JoinHandle<()>,
    clock: Arc<MachineClock>,
}

impl Guest {
    fn run(mut self, mut step_loop: StepLoop, inbox: Receiver<Event>) -> Result<Ended, RunError> {
        let ended = self.turn_until_ended(&mut step_loop, &inbox);
        self.ports.values_mut().for_each(|port| port.halt());
        // The store is closed, and the lock given back, before anybody hears of the end.
        self.queries.end();
        drop(step_loop);
        self.commits = None;
        if let Some(committer) = self.committer.take() {
            committer.join().map_err(|_| RunError::Thread)?;
        }
        self.is_running = None;
        self.tick.thread().unpark();
        // Whoever still waits, and whoever is still in the inbox, hears that nothing will come, and may be told so by the port through which they asked.
        self.askers.clear();
        drop(inbox);
        self.ports.values_mut().for_each(|port| port.close());
        ended
    }

    fn turn_until_ended(&mut self, step_loop: &mut StepLoop, inbox: &Receiver<Event>) -> Result<Ended, RunError> {
        loop {
            for event in inbox.try_iter().take(EVENTS_A_TURN) {
                self.take(step_loop, event)?;
            }
            match step_loop.turn(self.clock.now())? {
                Turn::Worked => {}
                Turn::Commit(commit) => {
                    let noted = step_loop.take_changes()?.map(Noted::now);
                    if let Some(commits) = &self.commits {
                        let _ = commits.send((commit, noted));
                    }
                }
                Turn::Release(outgoing) => outgoing.into_iter().for_each(|one| self.release(one)),
                Turn::Idle(until) => {
                    if let Some(event) = self.wait(inbox, until)? {
                        self.take(step_loop, event)?;
                    }
                }
                Turn::Stopped => return Ok(Ended::Stopped),
                Turn::Halted(halt) => return Ok(Ended::Halted(halt)),
            }
        }
    }

    fn take(&mut self, step_loop: &mut StepLoop, event: Event) -> Result<(), RunError> {
        match event {
            Event::Ask(asker, message, news) => {
                self.askers.insert(asker, news);
                step_loop.arrive(message);
            }
            Event::Tell(message) => step_loop.arrive(message),
            Event::News(News::Answer { request, more, payload, room }) => {
                step_loop.arrive(Arrival::Answer { request, more, payload, room });
            }
            Event::News(News::Broken { request, code, text }) => {
                step_loop.arrive(Arrival::Broken { request, code, text })
            }
            Event::News(News::Delivered(effect)) => step_loop.delivered(effect, self.clock.now()),
            Event::AskerGone(asker) => {
                self.askers.remove(&asker);
                step_loop.asker_gone(asker)?;
            }
            Event::Regrant(asker, change, told) => self.regrant(step_loop, asker, &change, told),
            Event::Readers(true) => step_loop.admit_readers(self.queries.released()),
            Event::Readers(false) => step_loop.dismiss_readers(),
            Event::Committed(Ok(())) => step_loop.committed(),
            // Done or not, nothing of it has left; the next start reads back which it was.
            Event::Committed(Err(error)) => return Err(error.into()),
            Event::Stop => step_loop.stop(),
        }
        Ok(())
    }

    fn wait(&self, inbox: &Receiver<Event>, until: Option<Nanos>) -> Result<Option<Event>, RunError> {
        self.set_running(false);
        let event = match until {
            None => inbox.recv().map(Some).map_err(|_| RunError::Thread),
            Some(until) => {
                let left = Duration::from_nanos(until.0.saturating_sub(self.clock.now().0));
                match inbox.recv_timeout(left) {
                    Ok(event) => Ok(Some(event)),
                    Err(RecvTimeoutError::Timeout) => Ok(None),
                    Err(RecvTimeoutError::Disconnected) => Err(RunError::Thread),
                }
            }
        };
        self.set_running(true);
        event
    }

    fn set_running(&self, running: bool) {
        if let Some(flag) = &self.is_running {
            flag.store(running, Ordering::Relaxed);
            if running {
                self.tick.thread().unpark();
            }
        }
    }

    fn release(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Port(port, release) => {
                let Some(port) = self.ports.get_mut(&port) else { return self.release_to_nobody(port, &release) };
                match release {
                    ToPort::Effect { effect, payload } => port.effect(effect, payload),
                    ToPort::Ask { request, payload, call: Some(call), resumed } => {
                        port.call(call, request, payload, resumed);
                    }
                    ToPort::Ask { request, payload, call: None, resumed } => port.ask(request, payload, resumed),
                    ToPort::Cancel { request } => port.cancel(request),
                }
            }
            Outgoing::Revoked(port) => drop(self.ports.remove(&port)),
            Outgoing::Asker(asker, AskerNews::Accepted) if self.regranted(asker) => {}
            Outgoing::Asker(asker, news) => {
                let is_last = !matches!(news, AskerNews::Answer { more: true, .. });
                if let Some(waiting) = self.askers.get(&asker) {
                    // An asker that has gone is reported by whoever it talked through.
                    let _ = waiting.send(news);
                }
                if is_last {
                    self.askers.remove(&asker);
                }
            }
            Outgoing::Trace(text) => info!(target: "machine", "{}", crate::ports::console::printable(text.as_bytes())),
        }
    }
}

impl Guest {
    /// The machine was granted a port that this host does not have.
    fn release_to_nobody(&self, port: PortId, release: &ToPort) {
        match release {
            ToPort::Ask { request, .. } if self.host.is_some() => {
                self.line.broken(*request, Code::FAILED, "this host has no such port");
            }
            ToPort::Effect { effect, .. } if self.host.is_some() => {
                warn!(%port, "an effect was dropped: this host has no such port");
                self.line.delivered(*effect);
            }
            _ => {}
        }
    }
}

/// Lets somebody watch a machine that is about to run. What stands in its log already is part of what they see.
fn begin_watch(watch: &Watch, machine: &Machine, step_loop: &mut StepLoop) -> Result<(), RunError> {
    let branch = machine.branch();
    let mut recent = Vec::new();
    let first = Seq(branch.end.0.saturating_sub(RECORDS_MAX as u64));
    each_batch(machine.store().as_ref(), branch, Start::At(first), &mut |batch, _| {
        recent.push(batch);
        ControlFlow::Continue(())
    })
    .map_err(MachineError::from)?;
    let stand = step_loop.watch()?;
    watch.begin(branch, step_loop.body().image().code, stand, recent);
    Ok(())
}

fn commit_all(
    mut machine: Machine,
    queue: &Receiver<(Box<Commit>, Option<Noted>)>,
    events: &Sender<Event>,
    watch: Option<&Watch>,
) {
    for (commit, noted) in queue {
        at_commit(Side::Before);
        let outcome = machine.append(&commit).map(|_| at_commit(Side::After));
        let failed = outcome.is_err();
        let took = noted.as_ref().map(Noted::elapsed);
        let _ = events.send(Event::Committed(outcome));
        if failed {
            return;
        }
        if let (Some(watch), Some(noted), Some(took)) = (watch, noted, took) {
            watch.durable(*commit, noted, took, machine.branch());
        }
    }
}

/// With busy cores this is the difference between 0.3 ms and 5 ms at the 99th percentile of a commit. False without the right to.
fn prefer_this_thread() -> bool {
    let raised = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE_COMMIT);
    debug!(?raised, "priority of the commit thread");
    raised.is_ok()
}

/// Where the commit thread cannot be preferred, the guest steps back.
fn defer_this_thread() {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE_GUEST);
}
