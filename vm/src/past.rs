//! A machine as it stood after any of its records, for asking: in memory only, without ports, and nothing of it is kept.
//!
//! What was recorded is never executed here for the first time, so what a past machine says is what it would have said. Of a batch that is executed in part, the
//! recorded outputs and root cannot be compared; of all others they are.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use persist::branch::Branch;
use persist::journal::{Start, each_batch};
use persist::store::Reader;
use seed::message::Input;
use seed::object::{Link, Objects};
use seed::record::{Batch, Record};
use seed::{Domain, Id, LoadError, Nanos, PortId, Seq};
use thiserror::Error;

use crate::body::{Body, OnLost, SharedObjects};
use crate::engine::{Mode, Settings};
use crate::guest::Fault;
use crate::query::{Answer, read_answer};
use crate::replay::ReplayError;
use crate::step_loop::{Arrival, Asker, AskerNews, Fatal, Halt, Outgoing, Policy, Position, Room, StepLoop, Turn};

/// A machine that stands where its branch once stood.
pub struct Past {
    step_loop: StepLoop,
    objects: Arc<Overlay>,
    now: Nanos,
    asked: u64,
}

/// What a past machine could not be asked.
#[derive(Debug, Error)]
pub enum AskError {
    /// It waits for something that only a running machine gets.
    #[error("the machine would wait for a port before it answers")]
    Waits,
    /// It halts.
    #[error(transparent)]
    Halted(Halt),
    /// There is no program that has begun.
    #[error("at this point the machine has not booted: ask for a later one")]
    Unborn,
    /// It does not answer queries as it should.
    #[error("the machine does not answer queries as docs/abi.md says: {what}")]
    NoAnswer {
        /// What it did.
        what: String,
    },
    /// It cannot be run here.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

impl Past {
    /// The machine as it stood before the record with seq `end`, or at the end of its branch if that is less.
    ///
    /// From the last checkpoint on this executes what came after it; before, everything from the start.
    ///
    /// # Errors
    /// If the log is damaged, or comes out differently than recorded.
    pub fn at(
        settings: &Settings,
        objects: SharedObjects,
        reader: &(impl Reader + ?Sized),
        branch: &Branch,
        lost: &OnLost,
        end: Seq,
    ) -> Result<Self, ReplayError> {
        let objects = Arc::new(Overlay { base: objects, made: Mutex::default() });
        let restore = |root: &Id| {
            let objects: SharedObjects = Arc::clone(&objects) as SharedObjects;
            Body::restore(settings, Mode::Replay, objects, root, OnLost::clone(lost)).map_err(ReplayError::Body)
        };
        let checkpoint = branch.checkpoint;
        let (mut body, start) = if end >= checkpoint.end {
            (Some(restore(&checkpoint.root)?), Start::After { batch: checkpoint.batch, end: checkpoint.end })
        } else {
            (None, Start::At(Seq(0)))
        };
        let (mut time, mut failed) = (branch.time, None);
        each_batch(reader, branch, start, &mut |batch, _| {
            if batch.first >= end {
                return ControlFlow::Break(());
            }
            time = batch.time;
            match go_on(&mut body, &restore, &batch, end) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let mut body = body.ok_or(ReplayError::NoEpoch)?;
        body.go_live(settings).map_err(ReplayError::Body)?;
        let position = Position {
            end: end.min(branch.end),
            // Nothing follows on this in any log.
            batch: Some(branch.batch),
            cost_since_checkpoint: Nanos(0),
            records_since_checkpoint: 0,
            new_epoch: None,
        };
        let step_loop = StepLoop::new(body, Policy::default(), position).map_err(ReplayError::Stand)?;
        Ok(Self { step_loop, objects, now: time, asked: 0 })
    }

    /// The seq that the machine's next record would have.
    #[must_use]
    pub fn end(&self) -> Seq {
        self.step_loop.end()
    }

    /// Its body, whose engine has to be ticked while it is asked: that is what ends a step that goes on for too long.
    #[must_use]
    pub fn body(&self) -> &Body {
        self.step_loop.body()
    }

    /// Sends the machine a message of its owner, and lets it go on until that is answered. Later messages find what this one changed.
    ///
    /// # Errors
    /// If there is no answer, since nobody is behind its ports.
    pub fn say(&mut self, payload: Vec<u8>) -> Result<Vec<AskerNews>, AskError> {
        self.asked += 1;
        let asker = Asker(self.asked);
        let (port, from, key) = (PortId::OWNER, Vec::new(), Vec::new());
        self.step_loop.arrive(Arrival::Message { port, from, payload, asker: Some(asker), key, room: Room::default() });
        let mut heard = Vec::new();
        loop {
            match self.step_loop.turn(self.now)? {
                Turn::Worked => {}
                Turn::Commit(commit) => {
                    self.objects.keep(commit.checkpoint.unwrap_or_default());
                    self.step_loop.committed();
                }
                Turn::Release(released) => {
                    let theirs = |outgoing| match outgoing {
                        Outgoing::Asker(whom, news) if whom == asker => Some(news),
                        _ => None,
                    };
                    heard.extend(released.into_iter().filter_map(theirs));
                    if heard.last().is_some_and(|news| !matches!(news, AskerNews::Answer { more: true, .. })) {
                        return Ok(heard);
                    }
                }
                Turn::Idle(_) => return Err(AskError::Waits),
                Turn::Halted(halt) => return Err(AskError::Halted(halt)),
                Turn::Stopped => return Err(AskError::NoAnswer { what: "it stops".to_owned() }),
            }
        }
    }

    /// Sends a query, which changes nothing.
    ///
    /// # Errors
    /// If the step faults, or what it puts out is no answer to a query.
    pub fn query(&mut self, payload: Vec<u8>) -> Result<Answer, AskError> {
        let input = Input::Query { port: PortId::OWNER, payload }.encode();
        let body = self.step_loop.body_mut();
        if body.is_unborn() {
            return Err(AskError::Unborn);
        }
        let output = body.execute(&input, Mode::Live);
        body.rewind().map_err(Fatal::from)?;
        let output = match output {
            Ok(output) => output,
            Err(Fault::Abort(abort)) => return Err(AskError::NoAnswer { what: format!("it is aborted: {abort}") }),
            Err(Fault::Host(fault)) => return Err(Fatal::from(fault).into()),
        };
        read_answer(&output).map_err(|what| AskError::NoAnswer { what })
    }
}

/// Executes a batch, as far as it comes before `end`.
fn go_on(
    body: &mut Option<Body>,
    restore: &dyn Fn(&Id) -> Result<Body, ReplayError>,
    batch: &Batch,
    end: Seq,
) -> Result<(), ReplayError> {
    let body = match body {
        Some(body) => body,
        None => match batch.records.first() {
            Some(Record::Epoch(epoch)) => body.insert(restore(&epoch.image)?),
            _ => return Err(ReplayError::NoEpoch),
        },
    };
    let replayed = if batch.end() <= end { body.replay(batch) } else { body.replay_part(batch, end) };
    replayed.map_err(ReplayError::Body)
}

/// A store that is only read, and what has been made since.
struct Overlay {
    base: SharedObjects,
    made: Mutex<HashMap<Link, Vec<u8>>>,
}

impl Overlay {
    fn keep(&self, objects: Vec<(Link, Vec<u8>)>) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).extend(objects);
    }
}

impl Objects for Overlay {
    fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match made.get(&(domain, *id)) {
            Some(bytes) => Ok(bytes.clone()),
            None => self.base.load(domain, id),
        }
    }
}
