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
//! * A change of grants and the input that tells the machine of it are in one batch, which is a checkpoint: the image of the last
//!   checkpoint has the grants that are in force.
//! * What a port says of a request is for the ask that it was given, or for none.
//! * While ports have more to deliver than they may, nothing is run but changes of grants.

mod admit;
mod askers;
mod asks;
mod news;
mod regrant;
mod run;
mod undelivered;
mod watched;

use std::collections::{BTreeSet, VecDeque};

use persist::journal::Commit;
use persist::planted::{Bug, is_planted};
use seed::record::{Batch, Epoch, OutputsHash, Record};
use seed::{EffectId, Id, LoadError, Nanos, Seq};
use thiserror::Error;

use crate::body::{Advance, Body, BodyError};
use crate::guest::HostFault;
use crate::released::Released;
use admit::Entry;
use askers::Askers;
use asks::Asks;
pub use asks::Ticket;
pub use news::{Arrival, Asker, AskerNews, Outgoing, Room, ToPort};
use undelivered::Undelivered;
pub use watched::{Asked, Changes, Open, Stand, WATCHED_BYTES_MAX, Written};

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
    /// Bytes of effects that no port has delivered yet, above which nothing is run until some are.
    pub undelivered_bytes_max: u64,
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
            undelivered_bytes_max: 64 << 20,
            settle_delay: Nanos::from_millis(50),
            again_budget_busy: Nanos::from_millis(2),
            again_budget_alone: Nanos::from_millis(50),
            halt_on_abort: false,
        }
    }
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
    undelivered: Undelivered,
    delivered: BTreeSet<EffectId>,
    /// Effects that went with their port's grant; a port that had them in hand may still report them.
    dropped: BTreeSet<EffectId>,
    settle_at: Option<Nanos>,
    asks: Asks,
    askers: Askers,
    again_queued: bool,
    stopping: bool,
    halt: Option<Halt>,
    /// Where readers hear of what is released, while there are any.
    readers: Option<Released>,
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
    /// For readers. None that came later can make anything of it.
    advance: Option<Advance>,
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
        let (mut asks, mut undelivered) = (Asks::default(), Undelivered::default());
        for (effect, asked) in ledger.effects(objects)? {
            undelivered.add(effect, &asked.payload);
            released.push(Outgoing::Port(asked.port, ToPort::Effect { effect, payload: asked.payload }));
        }
        for (request, asked) in ledger.requests(objects)? {
            if asked.broken.is_some() {
                inbox.push_back(Entry::Due(request));
            } else {
                let request = asks.ask(request, asked.port);
                let ask = ToPort::Ask { request, payload: asked.payload, call: asked.call, resumed: true };
                if !is_planted(Bug::NotResumed) {
                    released.push(Outgoing::Port(asked.port, ask));
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
            undelivered,
            delivered: BTreeSet::new(),
            dropped: BTreeSet::new(),
            settle_at: None,
            asks,
            askers: Askers::default(),
            again_queued: false,
            stopping: false,
            halt: None,
            readers: None,
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

    /// The body, for a step that is thrown away.
    pub(crate) fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// How many inputs wait. Drivers stop reading from their sources when this grows large.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inbox.len()
    }

    /// Something wants to enter.
    pub fn arrive(&mut self, arrival: Arrival) {
        if let Arrival::Message { asker, .. } = &arrival {
            self.askers.arrive(*asker);
        }
        self.inbox.push_back(Entry::Arrival(arrival));
    }

    /// An effect has been delivered.
    pub fn delivered(&mut self, effect: EffectId, now: Nanos) {
        self.undelivered.remove(effect);
        if self.dropped.remove(&effect) && !is_planted(Bug::DroppedSettled) {
            return;
        }
        self.delivered.insert(effect);
        self.settle_at.get_or_insert(now.plus(self.policy.settle_delay));
    }

    /// An asker no longer waits.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn asker_gone(&mut self, gone: Asker) -> Result<(), Fatal> {
        let Some(reply) = self.askers.leave(gone) else { return Ok(()) };
        let (ledger, objects) = self.body.ledger();
        if ledger.reply(reply, objects)?.is_some_and(|owed| owed.key.is_empty()) {
            self.inbox.push_back(Entry::Gone(reply));
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
        if done.is_checkpoint {
            self.body.checkpointed();
        }
        // Whoever hears of the batch finds it.
        match (&self.readers, done.advance) {
            (Some(readers), Some(advance)) => {
                readers.publish(advance, done.is_checkpoint.then(|| self.body.durable()));
            }
            (Some(_), None) => self.open_to_readers(),
            (None, _) => {}
        }
        self.released.extend(done.releases);
    }

    /// Readers come: from here on what is released is there for them, or, if a batch is in flight, as soon as that is durable.
    pub fn admit_readers(&mut self, readers: &Released) {
        self.readers = Some(readers.clone());
        if self.in_flight.is_none() {
            self.open_to_readers();
        }
    }

    /// The last of them have gone.
    pub fn dismiss_readers(&mut self) {
        self.body.tell_advances(false);
        if let Some(readers) = self.readers.take() {
            readers.close();
        }
    }

    /// With nothing in flight, the body's last boundary is what has been released.
    fn open_to_readers(&mut self) {
        if let Some(readers) = &self.readers {
            readers.open(self.body.contents());
            self.body.tell_advances(true);
        }
    }

    /// Does one thing, or says what is to be done.
    ///
    /// # Errors
    /// If the machine cannot go on. The loop must then be dropped.
    pub fn turn(&mut self, now: Nanos) -> Result<Turn, Fatal> {
        if !self.released.is_empty() {
            return Ok(Turn::Release(std::mem::take(&mut self.released)));
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
        if let Some(entry) = self.next() {
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
        settles
            || owes_checkpoint
            || has_news && (ending || !self.may_run() || self.waits_for_ports() || self.inbox.is_empty())
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

    /// Whether too much is on its way to ports.
    fn waits_for_ports(&self) -> bool {
        self.undelivered.bytes() > self.policy.undelivered_bytes_max
    }

    /// What is to be run now.
    fn next(&mut self) -> Option<Entry> {
        if !self.may_run() {
            return None;
        }
        if self.waits_for_ports() {
            // Nothing else helps a machine with a port that never delivers.
            let is_change = |entry: &Entry| matches!(entry, Entry::Arrival(Arrival::Grants { .. }));
            let position = self.inbox.iter().position(is_change)?;
            return self.inbox.remove(position);
        }
        self.inbox.pop_front()
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
        }
        .seal();
        self.position.end = batch.end();
        self.position.batch = Some(batch.id());
        self.position.cost_since_checkpoint = if is_checkpoint { Nanos(0) } else { cost };
        self.position.records_since_checkpoint = if is_checkpoint { 0 } else { records };
        if is_planted(Bug::ReleasedBeforeCommitted) {
            self.released.append(&mut forming.releases);
        }
        let advance = self.body.advance();
        self.in_flight = Some(InFlight { releases: forming.releases, advance, end: batch.end(), is_checkpoint });
        let checkpoint = is_checkpoint.then(|| self.body.checkpoint());
        if is_planted(Bug::CheckpointTooSoon) {
            self.body.checkpointed();
        }
        Ok(Commit { batch, checkpoint })
    }

    /// The seq after the last record that is durable or in flight, for reports.
    #[must_use]
    pub fn end(&self) -> Seq {
        self.in_flight.as_ref().map_or(self.position.end, |in_flight| in_flight.end)
    }
}
