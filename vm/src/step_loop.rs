//! The step loop: the one place that decides what runs, what becomes durable when, and what may leave the machine.
//!
//! It is a state machine without threads, clocks or I/O of its own. A driver calls [`StepLoop::turn`] with the time until it has nothing to do,
//! makes durable what it is handed, reports back with [`StepLoop::committed`], and lets out what is released. Production drives it
//! from threads, the tests from a seeded simulator; both run this code.
//!
//! Invariants:
//! * Nothing is released before the batch that caused it is durable.
//! * At most one batch is in flight and one forming; a forming batch is bounded in CPU time, bytes and records.
//! * What has been executed since the last durable checkpoint, in flight included, never costs more than the recovery budget, except
//!   within one batch, which is then itself a checkpoint.
//! * An input is logged as a step or as an abort, once; an input that was not logged has had no effect.

use std::collections::{BTreeSet, HashMap, VecDeque};

use persist::journal::Commit;
use persist::planted::{Bug, is_planted};
use seed::message::{Code, Input};
use seed::record::{Batch, Epoch, OutputsHash, Record, SENDER_KEY_BYTES_MAX};
use seed::{EffectId, Id, LoadError, Nanos, PortId, ReplyId, RequestId, Seq};
use thiserror::Error;

use crate::body::{Body, BodyError, Difference, Divergence};
use crate::engine::Mode;
use crate::guest::{Abort, Fault, HostFault};
use crate::ledger::{Outcome, Release, Violation};

/// The words of a break and the reason of an abort, at most. The least limit of input is larger.
const BREAK_TEXT_BYTES_MAX: usize = 512;

/// How the loop behaves where nothing is declared in the image.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How much CPU time a crash may cost to execute again.
    pub recovery_budget: Nanos,
    /// CPU time after which a forming batch is closed.
    pub batch_cost_max: Nanos,
    /// Bytes of inputs and outputs after which a forming batch is closed.
    pub batch_bytes_max: u64,
    /// Records after which a forming batch is closed.
    pub batch_records_max: usize,
    /// Bytes of captured pages after which the next commit is a checkpoint.
    pub captured_bytes_max: u64,
    /// Records since the last checkpoint after which the next commit is one.
    pub checkpoint_records_max: u64,
    /// How long the log of deliveries may wait for another reason to commit.
    pub settle_delay: Nanos,
    /// The budget hint of `[4]` while inputs are waiting.
    pub again_budget_busy: Nanos,
    /// The budget hint of `[4]` otherwise.
    pub again_budget_alone: Nanos,
    /// Whether the first abort halts the machine.
    pub halt_on_abort: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            recovery_budget: Nanos::from_millis(250),
            batch_cost_max: Nanos::from_millis(10),
            batch_bytes_max: 4 << 20,
            batch_records_max: 4096,
            captured_bytes_max: 64 << 20,
            checkpoint_records_max: 50_000,
            settle_delay: Nanos::from_millis(50),
            again_budget_busy: Nanos::from_millis(2),
            again_budget_alone: Nanos::from_millis(50),
            halt_on_abort: false,
        }
    }
}

/// Who waits for an answer, as the driver numbers them. Not part of the machine: askers are gone when the host stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asker(pub u64);

/// Something that wants to enter the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A message.
    Message {
        /// Where it came in.
        port: PortId,
        /// Who sent it; empty for the owner.
        from: Vec<u8>,
        /// What it says.
        payload: Vec<u8>,
        /// Who waits for the answer.
        asker: Option<Asker>,
        /// The sender's key, or empty: the same key again gets the recorded outcome.
        key: Vec<u8>,
    },
    /// A port answers.
    Answer {
        /// Which request.
        request: RequestId,
        /// Whether further parts follow.
        more: bool,
        /// What.
        payload: Vec<u8>,
    },
    /// A port gives up.
    Broken {
        /// Which request.
        request: RequestId,
        /// Why.
        code: Code,
        /// Why, in words.
        text: String,
    },
}

/// What leaves the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// To a port: an effect, an ask or a cancellation.
    Port(PortId, Release),
    /// To somebody who waits.
    Asker(Asker, AskerNews),
    /// For the owner's eyes.
    Trace(String),
}

/// What an asker hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskerNews {
    /// An answer, or a part of one.
    Answer {
        /// Whether further parts follow.
        more: bool,
        /// What.
        payload: Vec<u8>,
    },
    /// No answer will come.
    Refused {
        /// Why.
        code: Code,
        /// Why, in words.
        text: String,
    },
    /// A message that wanted no answer is durable.
    Accepted,
}

/// What the driver is to do.
#[derive(Debug)]
pub enum Turn {
    /// Call again at once.
    Worked,
    /// Make this durable and report with [`StepLoop::committed`]. Go on calling meanwhile.
    Commit(Box<Commit>),
    /// Let these out, in order.
    Release(Vec<Outgoing>),
    /// Nothing to do until something arrives, a commit is done, or this time.
    Idle(Option<Nanos>),
    /// Stopped, with everything durable and a checkpoint at the end.
    Stopped,
    /// Halted; everything before is durable.
    Halted(Halt),
}

/// Why a machine halted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the machine halted: {what} was aborted: {reason}")]
pub struct Halt {
    /// Which input.
    pub what: &'static str,
    /// Why it was aborted.
    pub reason: String,
}

/// The loop cannot go on. Nothing that was not durable has left the machine.
#[derive(Debug, Error)]
pub enum Fatal {
    /// The host failed; no step happened.
    #[error("the host cannot run the machine on")]
    Host(#[from] HostFault),
    /// The machine's state cannot be had or brought back.
    #[error("the machine cannot go on")]
    Body(#[from] BodyError),
    /// An entry of the ledger cannot be had.
    #[error("the machine's tables cannot be read")]
    Load(#[from] LoadError),
}

/// What a batch follows on.
#[derive(Debug, Clone)]
pub struct Position {
    /// The seq of the next record.
    pub end: Seq,
    /// The last batch; none for a machine that is being booted.
    pub batch: Option<Id>,
    /// CPU time recorded since the last checkpoint.
    pub cost_since_checkpoint: Nanos,
    /// Records since the last checkpoint.
    pub records_since_checkpoint: u64,
    /// An epoch that is to begin.
    pub new_epoch: Option<Epoch>,
}

/// The loop with its machine.
pub struct StepLoop {
    body: Body,
    policy: Policy,
    position: Position,
    inbox: VecDeque<Entry>,
    forming: Forming,
    in_flight: Option<InFlight>,
    released: Vec<Outgoing>,
    delivered: BTreeSet<EffectId>,
    settle_at: Option<Nanos>,
    asks: Asks,
    askers: HashMap<ReplyId, Vec<Asker>>,
    again_queued: bool,
    stopping: bool,
    halt: Option<Halt>,
}

/// What waits to be run.
#[derive(Debug)]
enum Entry {
    /// With the ask that it answers or breaks, if it does that.
    Arrival(Arrival, Option<AskId>),
    Boot,
    Again,
    Due(RequestId),
    Gone(ReplyId),
    /// An answer was over the limit: its request is broken instead.
    TooLong(RequestId, AskId, String),
}

/// One ask of this run. Request numbers are the machine's and used again; an answer on its way belongs to the ask that the port saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AskId(u64);

/// Which ask each request number stands for.
#[derive(Default)]
struct Asks {
    next: u64,
    /// For the machine, as of the last step.
    open: HashMap<RequestId, (AskId, PortId)>,
    /// For the port, as of what was released.
    released: HashMap<RequestId, AskId>,
    /// Between the two, in order.
    unreleased: VecDeque<AskId>,
}

impl Asks {
    fn ask(&mut self, request: RequestId, port: PortId) {
        self.next += 1;
        self.open.insert(request, (AskId(self.next), port));
        self.unreleased.push_back(AskId(self.next));
    }

    fn close(&mut self, request: RequestId) {
        self.open.remove(&request);
    }

    fn release(&mut self, release: &Release) {
        match release {
            Release::Ask { request, .. } => {
                if let Some(ask) = self.unreleased.pop_front() {
                    self.released.insert(*request, ask);
                }
            }
            Release::Cancel { request, .. } => drop(self.released.remove(request)),
            _ => {}
        }
    }

    /// Whom this very ask went to, if it is still open.
    fn port(&self, request: RequestId, ask: AskId) -> Option<PortId> {
        self.open
            .get(&request)
            .filter(|(open, _)| *open == ask || is_planted(Bug::LateAnswerTaken))
            .map(|(_, port)| *port)
    }

    /// The ask that a port means.
    fn meant(&mut self, request: RequestId, is_last: bool) -> Option<AskId> {
        if is_last { self.released.remove(&request) } else { self.released.get(&request).copied() }
    }
}

#[derive(Default)]
struct Forming {
    records: Vec<Record>,
    /// Of each step so far, to compare with if they have to be executed again.
    outputs: Vec<Vec<u8>>,
    releases: Vec<Outgoing>,
    cost: Nanos,
    bytes: u64,
    /// Whether it has to be closed before anything else runs.
    is_final: bool,
    /// Whether it has to be a checkpoint.
    must_checkpoint: bool,
}

struct InFlight {
    releases: Vec<Outgoing>,
    end: Seq,
    is_checkpoint: bool,
}

impl StepLoop {
    /// A loop for a machine that stands at `position`: what is open is resumed, what is undelivered is delivered again.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn new(mut body: Body, policy: Policy, position: Position) -> Result<Self, Fatal> {
        let mut inbox = VecDeque::new();
        let mut released = Vec::new();
        if body.is_unborn() {
            inbox.push_back(Entry::Boot);
        }
        let (ledger, objects) = body.ledger();
        let _ = ledger.take_due();
        let mut asks = Asks::default();
        for (effect, asked) in ledger.effects(objects)? {
            let release = Release::Effect { effect, port: asked.port, payload: asked.payload };
            released.push(Outgoing::Port(asked.port, release));
        }
        for (request, asked) in ledger.requests(objects)? {
            if asked.broken.is_some() {
                inbox.push_back(Entry::Due(request));
            } else {
                asks.ask(request, asked.port);
                let release = Release::Ask { request, port: asked.port, payload: asked.payload, resumed: true };
                if !is_planted(Bug::NotResumed) {
                    released.push(Outgoing::Port(asked.port, release));
                }
            }
        }
        // Whoever asked without a key cannot come back for the answer.
        let gone = ledger.replies(objects)?.into_iter().filter(|(_, owed)| owed.key.is_empty());
        inbox.extend(gone.map(|(reply, _)| Entry::Gone(reply)));
        let again = ledger.wants_again();
        let mut this = Self {
            body,
            policy,
            position,
            inbox,
            forming: Forming::default(),
            in_flight: None,
            released,
            delivered: BTreeSet::new(),
            settle_at: None,
            asks,
            askers: HashMap::new(),
            again_queued: false,
            stopping: false,
            halt: None,
        };
        if again {
            this.queue_again();
        }
        if let Some(epoch) = this.position.new_epoch.take() {
            this.forming.records.push(Record::Epoch(epoch));
            // The image that an epoch names must be in the store. Alone in its batch, the epoch is a checkpoint of just that image; the
            // image of a machine that has never run is there already.
            this.forming.is_final = this.position.batch.is_some();
        }
        Ok(this)
    }

    /// The machine.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// How many inputs wait. Drivers stop reading from their sources when this grows large.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inbox.len()
    }

    /// Something wants to enter.
    pub fn arrive(&mut self, arrival: Arrival) {
        let ask = match &arrival {
            Arrival::Message { .. } => None,
            Arrival::Answer { request, more, .. } => self.asks.meant(*request, !more),
            Arrival::Broken { request, .. } => self.asks.meant(*request, true),
        };
        self.inbox.push_back(Entry::Arrival(arrival, ask));
    }

    /// An effect has been delivered.
    pub fn delivered(&mut self, effect: EffectId, now: Nanos) {
        self.delivered.insert(effect);
        self.settle_at.get_or_insert(now.plus(self.policy.settle_delay));
    }

    /// An asker no longer waits.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn asker_gone(&mut self, gone: Asker) -> Result<(), Fatal> {
        let is_theirs = |entry: &Entry| matches!(entry, Entry::Arrival(Arrival::Message { asker: Some(asker), key, .. }, _) if *asker == gone && key.is_empty());
        self.inbox.retain(|entry| !is_theirs(entry));
        let mut unheard = Vec::new();
        self.askers.retain(|reply, askers| {
            askers.retain(|asker| *asker != gone);
            if askers.is_empty() {
                unheard.push(*reply);
            }
            !askers.is_empty()
        });
        unheard.sort_unstable();
        let (ledger, objects) = self.body.ledger();
        for reply in unheard {
            if ledger.reply(reply, objects)?.is_some_and(|owed| owed.key.is_empty()) {
                self.inbox.push_back(Entry::Gone(reply));
            }
        }
        Ok(())
    }

    /// Ends the machine's run: nothing more is taken in, what was executed becomes durable, with a checkpoint.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// The batch in flight is durable.
    pub fn committed(&mut self) {
        let Some(done) = self.in_flight.take() else { return };
        self.released.extend(done.releases);
        if done.is_checkpoint {
            self.body.checkpointed();
        }
    }

    /// Does one thing, or says what is to be done.
    ///
    /// # Errors
    /// If the machine cannot go on. The loop must then be dropped.
    pub fn turn(&mut self, now: Nanos) -> Result<Turn, Fatal> {
        if !self.released.is_empty() {
            let released = std::mem::take(&mut self.released);
            for outgoing in &released {
                if let Outgoing::Port(_, release) = outgoing {
                    self.asks.release(release);
                }
            }
            return Ok(Turn::Release(released));
        }
        if self.in_flight.is_none() {
            if self.must_close(now) {
                return self.close(now).map(|commit| Turn::Commit(Box::new(commit)));
            }
            if let Some(halt) = &self.halt {
                return Ok(Turn::Halted(halt.clone()));
            }
            if self.stopping {
                return Ok(Turn::Stopped);
            }
        }
        if self.may_run()
            && let Some(entry) = self.inbox.pop_front()
        {
            self.run(entry)?;
            return Ok(Turn::Worked);
        }
        Ok(Turn::Idle(self.settle_at.filter(|_| self.in_flight.is_none())))
    }

    fn must_close(&self, now: Nanos) -> bool {
        let ending = self.stopping || self.halt.is_some();
        let has_news = !self.forming.records.is_empty();
        let owes_checkpoint = ending && self.position.records_since_checkpoint > 0;
        let settles = !self.delivered.is_empty() && (ending || self.settle_at.is_some_and(|at| at <= now));
        settles || owes_checkpoint || has_news && (ending || !self.may_run() || self.inbox.is_empty())
    }

    fn may_run(&self) -> bool {
        let forming = &self.forming;
        !self.stopping
            && self.halt.is_none()
            && !forming.is_final
            && forming.cost < self.policy.batch_cost_max
            && forming.bytes < self.policy.batch_bytes_max
            && forming.records.len() < self.policy.batch_records_max
    }

    /// Closes the forming batch.
    fn close(&mut self, now: Nanos) -> Result<Commit, Fatal> {
        let mut forming = std::mem::take(&mut self.forming);
        let opens_epoch = matches!(forming.records.as_slice(), [Record::Epoch(_)]);
        if !opens_epoch && !self.delivered.is_empty() || forming.records.is_empty() {
            // An empty list only where a clean stop owes a checkpoint and nothing else.
            let effects: Vec<EffectId> = std::mem::take(&mut self.delivered).into_iter().collect();
            if is_planted(Bug::SettledTwice) {
                self.delivered.extend(&effects);
            }
            self.settle_at = None;
            self.body.settle(&effects)?;
            forming.records.push(Record::Settle { effects });
        }
        let root = self.body.close()?;
        let cost = self.position.cost_since_checkpoint.plus(forming.cost);
        let records = self.position.records_since_checkpoint + forming.records.len() as u64;
        let is_checkpoint = forming.must_checkpoint
            || self.stopping
            || self.halt.is_some()
            || self.position.batch.is_none()
            || cost > self.policy.recovery_budget && !is_planted(Bug::BudgetIgnored)
            || records > self.policy.checkpoint_records_max
            || self.body.captured_bytes() > self.policy.captured_bytes_max
            || forming.records.iter().any(|record| matches!(record, Record::Epoch(_)));
        let mut hash = OutputsHash::default();
        forming.outputs.iter().for_each(|output| hash.push(output));
        let batch = Batch {
            first: self.position.end,
            time: now,
            records: forming.records,
            outputs: hash.finish(),
            root,
            previous: self.position.batch,
        };
        let id = Id::of(seed::Domain::Object, &batch.encode());
        self.position.end = batch.end();
        self.position.batch = Some(id);
        self.position.cost_since_checkpoint = if is_checkpoint { Nanos(0) } else { cost };
        self.position.records_since_checkpoint = if is_checkpoint { 0 } else { records };
        if is_planted(Bug::ReleasedBeforeCommitted) {
            self.released.append(&mut forming.releases);
        }
        self.in_flight = Some(InFlight { releases: forming.releases, end: batch.end(), is_checkpoint });
        let checkpoint = is_checkpoint.then(|| self.body.checkpoint());
        if is_planted(Bug::CheckpointTooSoon) {
            self.body.checkpointed();
        }
        Ok(Commit { batch, checkpoint })
    }

    fn run(&mut self, entry: Entry) -> Result<(), Fatal> {
        let Some(admitted) = self.admit(entry)? else { return Ok(()) };
        let encoding = admitted.input.encode();
        let limit = self.body.image().limits.input_bytes;
        if encoding.len() as u64 > limit {
            let text = format!("the input has {} bytes, more than the machine's limit of {limit}", encoding.len());
            match admitted.input {
                Input::Message { .. } => {
                    self.refuse(admitted.asker, text);
                    return Ok(());
                }
                Input::Answer { request, .. } => {
                    if let Some((ask, _)) = self.asks.open.get(&request) {
                        self.inbox.push_front(Entry::TooLong(request, *ask, text));
                    }
                    return Ok(());
                }
                // What the host says itself is short enough, but for the genesis data, which is of the machine's own choice.
                _ => {}
            }
        }
        let before = (self.body.engine().meter)();
        let executed = self.body.execute(&encoding, Mode::Live);
        let cost = Nanos((self.body.engine().meter)().0.saturating_sub(before.0));
        let reason = match executed {
            Ok(output) => match self.body.accept(&admitted.input, &admitted.key, &output)? {
                Ok(releases) => {
                    if self.body.is_unborn() {
                        // The machine has become another program: a boundary is made here, durable with the program itself.
                        self.forming.is_final = true;
                        self.forming.must_checkpoint = true;
                        self.inbox.push_front(Entry::Boot);
                    }
                    self.forming.bytes += (encoding.len() + output.len()) as u64;
                    self.forming.outputs.push(output);
                    let record = Record::Step { input: encoding, cost, key: admitted.key.clone() };
                    self.log(admitted, record, cost, releases);
                    return Ok(());
                }
                Err(violation) => AbortReason::Violation(violation),
            },
            Err(Fault::Abort(abort)) => AbortReason::Abort(abort),
            Err(Fault::Host(fault)) => return Err(fault.into()),
        };
        // With names from the program in it, it can be of any length.
        let mut reason = reason.to_string();
        truncate(&mut reason);
        self.abort(admitted, encoding, cost, &reason)
    }

    /// Takes the guest back to where it was before the step, and logs or halts.
    fn abort(&mut self, admitted: Admitted, encoding: Vec<u8>, cost: Nanos, reason: &str) -> Result<(), Fatal> {
        if !is_planted(Bug::NotRewound) {
            self.body.rewind()?;
        }
        if !is_planted(Bug::EarlierStepsLost) {
            self.execute_forming_again()?;
        }
        self.forming.is_final = true;
        let what = match &admitted.input {
            Input::Boot { .. } => Some("its boot"),
            Input::Broken { .. } => Some("the news of a broken request"),
            Input::Again { .. } => Some("the computation it had put off"),
            _ if self.policy.halt_on_abort => Some("an input"),
            _ => None,
        };
        if let Some(what) = what {
            self.halt = Some(Halt { what, reason: reason.to_owned() });
            if !self.policy.halt_on_abort || !matches!(admitted.input, Input::Message { .. } | Input::Answer { .. }) {
                return Ok(());
            }
        }
        let releases = self.body.abort(&admitted.input, &admitted.key, reason)?;
        if is_planted(Bug::LostAbort) {
            return Ok(());
        }
        let record = Record::Abort { input: encoding, cost, key: admitted.key.clone(), reason: reason.to_owned() };
        self.log(admitted, record, cost, releases);
        Ok(())
    }

    /// Steps of the forming batch that were lost with the guest's state are executed again; limits are off, since they were kept.
    fn execute_forming_again(&mut self) -> Result<(), Fatal> {
        let mut expected = self.forming.outputs.iter();
        for (position, record) in self.forming.records.iter().enumerate() {
            let Record::Step { input, .. } = record else { continue };
            let diverged = |reason: String| {
                let seq = Seq(self.position.end.0 + position as u64);
                BodyError::from(Divergence { seq, what: Difference::Fault { reason } })
            };
            match self.body.execute(input, Mode::Replay) {
                Ok(output) if Some(&output) == expected.next() => {}
                Ok(_) => return Err(diverged("another output than the first time".to_owned()).into()),
                Err(Fault::Host(fault)) => return Err(fault.into()),
                Err(Fault::Abort(abort)) => return Err(diverged(abort.to_string()).into()),
            }
        }
        Ok(())
    }

    /// Adds a record to the forming batch, with what it releases and what follows from it.
    fn log(&mut self, admitted: Admitted, record: Record, cost: Nanos, releases: Vec<Release>) {
        let is_abort = matches!(record, Record::Abort { .. });
        self.forming.records.push(record);
        self.forming.cost = self.forming.cost.plus(cost);
        let Admitted { input, asker, cancels, .. } = admitted;
        if let (Some(asker), Input::Message { reply, .. }) = (asker, &input) {
            match *reply {
                ReplyId::NONE => self.forming.releases.push(Outgoing::Asker(asker, AskerNews::Accepted)),
                reply => self.askers.entry(reply).or_default().push(asker),
            }
        }
        if let Input::Answer { request, more: false, .. } | Input::Broken { request, .. } = &input {
            self.asks.close(*request);
        }
        if let Some((request, port)) = cancels {
            self.address(Release::Cancel { request, port });
        }
        for release in releases {
            match &release {
                Release::Ask { request, port, .. } => self.asks.ask(*request, *port),
                Release::Cancel { request, .. } => self.asks.close(*request),
                _ => {}
            }
            self.address(release);
        }
        let (ledger, _) = self.body.ledger();
        let due = ledger.take_due();
        let wants_again = ledger.wants_again();
        for request in due {
            // The break of an aborted answer comes next; other breaks take their turn.
            if is_abort {
                self.inbox.push_front(Entry::Due(request))
            } else {
                self.inbox.push_back(Entry::Due(request))
            }
        }
        if wants_again {
            self.queue_again();
        }
    }

    fn queue_again(&mut self) {
        if !std::mem::replace(&mut self.again_queued, true) {
            self.inbox.push_back(Entry::Again);
        }
    }

    /// Finds out who a release is for.
    fn address(&mut self, release: Release) {
        let releases = &mut self.forming.releases;
        match release {
            Release::Effect { port, .. } | Release::Ask { port, .. } | Release::Cancel { port, .. } => {
                releases.push(Outgoing::Port(port, release));
            }
            Release::Answer { reply, more, payload } => {
                let askers = self.askers.get(&reply).cloned().unwrap_or_default();
                if !more {
                    self.askers.remove(&reply);
                }
                let news = AskerNews::Answer { more, payload };
                releases.extend(askers.into_iter().map(|asker| Outgoing::Asker(asker, news.clone())));
            }
            Release::Refuse { reply, code, text } => {
                let askers = self.askers.remove(&reply).unwrap_or_default();
                let news = AskerNews::Refused { code, text };
                releases.extend(askers.into_iter().map(|asker| Outgoing::Asker(asker, news.clone())));
            }
            Release::Trace { text } => releases.push(Outgoing::Trace(text)),
        }
    }

    /// Turns what waits into an input, or finds that it is no longer one.
    fn admit(&mut self, entry: Entry) -> Result<Option<Admitted>, Fatal> {
        let admitted = |input| Ok(Some(Admitted { input, key: Vec::new(), asker: None, cancels: None }));
        if matches!(entry, Entry::Boot) {
            let input = self.body.boot_input()?;
            return admitted(input);
        }
        let alone = self.inbox.is_empty();
        let (ledger, objects) = self.body.ledger();
        let asks = &self.asks;
        let is_open = |request: RequestId, ask: Option<AskId>| ask.and_then(|ask| asks.port(request, ask)).is_some();
        match entry {
            Entry::Boot => Ok(None),
            Entry::Again => {
                self.again_queued = false;
                if !ledger.wants_again() {
                    return Ok(None);
                }
                let budget = if alone { self.policy.again_budget_alone } else { self.policy.again_budget_busy };
                admitted(Input::Again { budget })
            }
            Entry::Due(request) => match ledger.request(request, objects)?.and_then(|asked| asked.broken) {
                Some((code, text)) => admitted(Input::Broken { request, code, text }),
                None => Ok(None),
            },
            Entry::Gone(reply) => match ledger.reply(reply, objects)? {
                Some(_) if !self.askers.contains_key(&reply) => admitted(Input::Gone { reply }),
                _ => Ok(None),
            },
            Entry::Arrival(Arrival::Answer { request, more, payload }, ask) => {
                if is_open(request, ask) {
                    admitted(Input::Answer { request, more, payload })
                } else {
                    Ok(None)
                }
            }
            Entry::Arrival(Arrival::Broken { request, code, mut text }, ask) => {
                if is_open(request, ask) {
                    truncate(&mut text);
                    admitted(Input::Broken { request, code, text })
                } else {
                    Ok(None)
                }
            }
            Entry::TooLong(request, ask, text) => Ok(asks.port(request, ask).map(|port| {
                let input = Input::Broken { request, code: Code::LIMIT, text };
                // The port may have further parts in hand.
                Admitted { input, key: Vec::new(), asker: None, cancels: Some((request, port)) }
            })),
            Entry::Arrival(Arrival::Message { port, from, payload, asker, key }, _) => {
                if key.len() > SENDER_KEY_BYTES_MAX {
                    self.refuse(asker, format!("the key has {} bytes, more than {SENDER_KEY_BYTES_MAX}", key.len()));
                    return Ok(None);
                }
                if !key.is_empty()
                    && !is_planted(Bug::KeyForgotten)
                    && let Some(outcome) = ledger.outcome(&key, objects)?
                {
                    self.repeat(asker, outcome);
                    return Ok(None);
                }
                let reply = if asker.is_some() { ledger.next_reply() } else { ReplyId::NONE };
                let input = Input::Message { port, from, reply, payload };
                Ok(Some(Admitted { input, key, asker, cancels: None }))
            }
        }
    }

    /// A message that came before gets the outcome that it had, once that is durable.
    fn repeat(&mut self, asker: Option<Asker>, outcome: Outcome) {
        let Some(asker) = asker else { return };
        let news = match outcome {
            Outcome::Pending(ReplyId::NONE) => AskerNews::Accepted,
            Outcome::Pending(reply) => return self.askers.entry(reply).or_default().push(asker),
            Outcome::Answered(payload) => AskerNews::Answer { more: false, payload },
            Outcome::Refused(code, text) => AskerNews::Refused { code, text },
        };
        self.release_behind_what_is_pending(Outgoing::Asker(asker, news));
    }

    /// A message is not taken in.
    fn refuse(&mut self, asker: Option<Asker>, text: String) {
        self.release_behind_what_is_pending(match asker {
            Some(asker) => Outgoing::Asker(asker, AskerNews::Refused { code: Code::LIMIT, text }),
            None => Outgoing::Trace(text),
        });
    }

    /// Releases something with the newest batch that is not durable yet, or at once if there is none.
    fn release_behind_what_is_pending(&mut self, outgoing: Outgoing) {
        if !self.forming.records.is_empty() {
            self.forming.releases.push(outgoing);
        } else if let Some(in_flight) = &mut self.in_flight {
            in_flight.releases.push(outgoing);
        } else {
            self.released.push(outgoing);
        }
    }

    /// The seq after the last record that is durable or in flight, for reports.
    #[must_use]
    pub fn end(&self) -> Seq {
        self.in_flight.as_ref().map_or(self.position.end, |in_flight| in_flight.end)
    }
}

/// Words are kept short enough for any machine's limit of input.
fn truncate(text: &mut String) {
    text.truncate(text.floor_char_boundary(BREAK_TEXT_BYTES_MAX));
}

/// An input that is about to be run.
struct Admitted {
    input: Input,
    key: Vec<u8>,
    asker: Option<Asker>,
    /// A request that its port has to forget.
    cancels: Option<(RequestId, PortId)>,
}

#[derive(Debug, Error)]
enum AbortReason {
    #[error(transparent)]
    Abort(Abort),
    #[error(transparent)]
    Violation(Violation),
}
