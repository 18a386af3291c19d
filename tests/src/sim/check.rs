//! The judge of a life: it reads the log as it becomes durable, knows from the models what follows from it, and compares that with what leaves
//! the machine.
//!
//! * Nothing leaves that does not follow from what is durable, nothing follows that does not leave, in order.
//! * A step's outputs are the model's; an abort is one in the model, or for CPU time.
//! * A message is logged once; under a key, once in the key's window. A request is settled once, by who was asked. An effect is
//!   settled once, after it was reported.
//! * A change of grants is logged once, together with the input that tells the machine of it. After it nothing leaves for a port that is gone, and
//!   nothing comes in from it.
//! * Checkpoints come often enough for the recovery budget.

mod askers;
mod entering;
mod granting;
mod leaving;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use seed::image::Limits;
use seed::message::{Code, Input, Output};
use seed::record::{Batch, OutputsHash, Record};
use seed::{EffectId, Id, Nanos, ReplyId, RequestId, Seq};
use vm::ledger::Release;
use vm::step_loop::{AskerNews, Outgoing, Policy, ToPort};

pub use self::askers::Sent;
use self::askers::{Execution, Waiting};
use self::granting::Granting;
use self::leaving::Leaving;
use super::books::Books;
use super::coverage::Coverage;
use super::host::first_grants;
use super::walker::Walker;
use super::{Failure, ensure};

/// All that is known of a life from outside.
pub struct Checker {
    policy: Policy,
    walker: Walker,
    /// What the machine asked and owes, as of the durable log.
    pub books: Books,
    /// The durable log: each batch's id and whether it is a checkpoint.
    pub log: Vec<(Batch, Id, bool)>,
    cost_since_checkpoint: Nanos,
    run: u32,
    is_booted: bool,
    expected: VecDeque<Leaving>,
    sent: BTreeMap<u64, Sent>,
    waiting: BTreeMap<u64, Waiting>,
    executed: BTreeMap<u64, ReplyId>,
    executions: Vec<Execution>,
    granting: Granting,
    reported: BTreeSet<EffectId>,
    delivered_once: BTreeSet<EffectId>,
    numbers_used: BTreeSet<RequestId>,
    progress: BTreeMap<u64, (u8, u8)>,
    oversize_answers: BTreeSet<u64>,
    refusal_traces: u64,
    /// What has happened.
    pub coverage: Coverage,
}

impl Checker {
    /// For a machine that is about to be booted.
    #[must_use]
    pub fn new(policy: Policy, limits: Limits) -> Self {
        Self {
            policy,
            walker: Walker::new(limits),
            books: Books::new(limits, first_grants()),
            log: Vec::new(),
            cost_since_checkpoint: Nanos(0),
            run: 0,
            is_booted: false,
            expected: VecDeque::new(),
            sent: BTreeMap::new(),
            waiting: BTreeMap::new(),
            executed: BTreeMap::new(),
            executions: Vec::new(),
            granting: Granting::default(),
            reported: BTreeSet::new(),
            delivered_once: BTreeSet::new(),
            numbers_used: BTreeSet::new(),
            progress: BTreeMap::new(),
            oversize_answers: BTreeSet::new(),
            refusal_traces: 0,
            coverage: Coverage::default(),
        }
    }

    /// The seq after the last durable record.
    #[must_use]
    pub fn end(&self) -> Seq {
        self.log.last().map_or(Seq(0), |(batch, ..)| batch.end())
    }

    /// The id of the last durable batch.
    #[must_use]
    pub fn last(&self) -> Option<Id> {
        self.log.last().map(|(_, id, _)| *id)
    }

    /// The number of the present run.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.run
    }

    /// A process begins: it will deliver again and resume.
    pub fn begin_run(&mut self) {
        self.run += 1;
        self.expected.clear();
        let gone = self.gone_ports().collect();
        self.granting.begin_run(gone);
        for (effect, (port, payload)) in &self.books.effects {
            let (effect, port, payload) = (*effect, *port, payload.clone());
            self.expected.push_back(Leaving::Effect { effect, port, payload });
            self.coverage.hit_if(self.delivered_once.contains(&effect), "effect delivered again");
        }
        for (request, asked) in &self.books.requests {
            if asked.broken.is_none() {
                let (port, payload, call) = (asked.port, asked.payload.clone(), asked.call);
                self.expected.push_back(Leaving::Ask { request: *request, port, payload, call, resumed: true });
                self.coverage.hit("request resumed");
            } else if matches!(asked.broken, Some((Code::NOT_GRANTED, _))) {
                self.coverage.hit("killed before the news of a request not granted");
            }
        }
    }

    /// An effect's delivery is reported to the loop.
    pub fn report(&mut self, effect: EffectId) {
        self.coverage.hit_if(!self.books.effects.contains_key(&effect), "delivery reported of a dropped effect");
        self.reported.insert(effect);
    }

    /// A batch is on disk.
    ///
    /// # Errors
    /// If it is not what the models say.
    pub fn ingest(&mut self, batch: &Batch, id: Id, is_checkpoint: bool) -> Result<(), Failure> {
        ensure(batch.first == self.end(), "the log is dense", || format!("a batch at seq {}", batch.first))?;
        ensure(batch.previous == self.last(), "each batch names the one before", || format!("seq {}", batch.first))?;
        let mut outputs = OutputsHash::default();
        for (position, record) in batch.records.iter().enumerate() {
            let at = |failure: Failure| Failure {
                promise: failure.promise,
                detail: format!("seq {}: {}", batch.first.0 + position as u64, failure.detail),
            };
            match record {
                Record::Step { input, key, .. } => {
                    let output = self.step(input, key).map_err(at)?;
                    outputs.push(&Output::encode_list(&output));
                }
                Record::Abort { input, key, reason, .. } => {
                    self.abort(input, key, reason).map_err(at)?;
                    let after_steps =
                        batch.records[..position].iter().any(|record| matches!(record, Record::Step { .. }));
                    self.coverage.hit_if(after_steps, "abort after other steps of its batch");
                }
                Record::Settle { effects } => self.settle(effects, batch.records.len()).map_err(at)?,
                Record::Epoch(_) => self.coverage.hit_if(batch.first != Seq(0), "epoch on an old branch"),
                Record::Grant { grants, next_port } => self.regrant(grants, *next_port).map_err(at)?,
                Record::Become { .. } => {
                    return Err(at(Failure::new("only what entered is logged", format!("{record:?}"))));
                }
            }
        }
        ensure(outputs.finish() == batch.outputs, "outputs are the model's", || {
            format!("batch at seq {}", batch.first)
        })?;
        self.told_of_grants(batch, is_checkpoint)?;
        self.count_cost(batch, is_checkpoint)?;
        self.coverage.hit_if(self.walker.has_grown(), "memory grown");
        self.log.push((batch.clone(), id, is_checkpoint));
        Ok(())
    }

    fn count_cost(&mut self, batch: &Batch, is_checkpoint: bool) -> Result<(), Failure> {
        let budget = self.policy.recovery_budget;
        let sum = self.cost_since_checkpoint.plus(batch.cost());
        self.coverage.hit_if(batch.cost() > budget, "batch that alone costs more than the budget");
        self.coverage.hit_if(sum > budget && batch.cost() <= budget, "checkpoint for the budget");
        self.cost_since_checkpoint = if is_checkpoint { Nanos(0) } else { sum };
        ensure(self.cost_since_checkpoint <= budget, "recovery never costs more than its budget", || {
            format!("{} ns after the batch at seq {}", sum, batch.first)
        })
    }

    fn step(&mut self, input: &[u8], key: &[u8]) -> Result<Vec<Output>, Failure> {
        let input = self.enter(input, key)?;
        let outputs = self
            .walker
            .step(&input)
            .map_err(|_| Failure::new("outputs are the model's", format!("the model aborts: {input:?}")))?;
        let port = match &input {
            Input::Broken { request, .. } => self.books.requests.get(request).map(|asked| asked.port),
            _ => None,
        };
        let releases = self.books.step(&input, key, &outputs).map_err(|breaks| {
            Failure::new("a step that breaks a rule is aborted", format!("{}: {input:?} -> {outputs:?}", breaks.0))
        })?;
        for release in &releases {
            match release {
                Release::Ask { request, .. } => {
                    let is_new = self.numbers_used.insert(*request);
                    self.coverage.hit_if(!is_new, "ask under a number used before");
                }
                Release::Cancel { .. } => self.coverage.hit("request cancelled"),
                Release::Trace { text } => self.coverage.hit_if(text.len() > 1, "effect dropped"),
                _ => {}
            }
        }
        self.coverage.hit_if(matches!(input, Input::Again { .. }) && self.books.again, "several slices");
        if let Input::Broken { request, code: Code::LIMIT, .. } = input
            && let Some(port) = port
        {
            // The port may have further parts of the answer that was too long.
            self.expect(vec![Release::Cancel { request, port }]);
        }
        self.expect(releases);
        Ok(outputs)
    }

    fn abort(&mut self, input: &[u8], key: &[u8], reason: &str) -> Result<(), Failure> {
        let input = self.enter(input, key)?;
        let is_cpu = reason.contains("CPU time");
        let mut tried = self.walker.clone();
        let follows = match tried.step(&input) {
            Err(_) => {
                self.coverage.hit_if(!reason.contains("trap"), "abort without a trap");
                self.coverage.hit_if(is_cpu, "abort of a step that never ends");
                true
            }
            Ok(outputs) => {
                let breaks = self.books.clone().step(&input, key, &outputs).is_err();
                self.coverage.hit_if(breaks, "violation of a rule");
                breaks
            }
        };
        ensure(follows || is_cpu, "a step that the model carries out is not aborted", || {
            format!("{reason}: {input:?}")
        })?;
        self.coverage.hit_if(is_cpu, "abort for CPU time");
        self.coverage.hit_if(matches!(input, Input::Answer { .. }), "abort of an answer");
        self.coverage.hit_if(matches!(input, Input::Gone { .. }), "abort of a gone asker's news");
        self.coverage.hit_if(matches!(input, Input::Grants { .. }), "abort of the news of grants");
        let halts = matches!(input, Input::Boot { .. } | Input::Broken { .. } | Input::Again { .. });
        ensure(!halts, "an abort that halts is not logged", || format!("{input:?}"))?;
        let releases = self.books.abort(&input, key, reason);
        if releases.is_empty() && matches!(input, Input::Message { .. }) {
            self.nobody_told(reason);
        }
        self.expect(releases);
        Ok(())
    }

    fn settle(&mut self, effects: &[EffectId], records: usize) -> Result<(), Failure> {
        self.coverage.hit_if(records > 1 && !effects.is_empty(), "settled with a batch");
        self.coverage.hit_if(records == 1 && !effects.is_empty(), "settled alone");
        for effect in effects {
            ensure(self.reported.contains(effect), "only delivered effects are settled", || effect.to_string())?;
            ensure(self.books.settle(*effect), "an effect is settled once", || effect.to_string())?;
        }
        Ok(())
    }

    /// Something has left the machine.
    ///
    /// # Errors
    /// If it does not follow from what is durable.
    pub fn released(&mut self, outgoing: &Outgoing) -> Result<(), Failure> {
        match outgoing {
            Outgoing::Asker(asker, news) if !self.granting.waits(*asker) => return self.told(*asker, news),
            Outgoing::Trace(text) if text.starts_with("a message on port") => return self.turned_away(text),
            Outgoing::Port(port, told) => self.granting.is_there(*port, told)?,
            Outgoing::Revoked(port) => self.granting.close(*port),
            Outgoing::Trace(text) if text.contains(", more than") && self.refusal_traces > 0 => {
                self.refusal_traces -= 1;
                return Ok(());
            }
            _ => {}
        }
        if let Outgoing::Port(_, ToPort::Effect { effect, .. }) = outgoing {
            self.delivered_once.insert(*effect);
        }
        match self.expected.pop_front() {
            Some(expected) if expected == Leaving::of(outgoing.clone()) => Ok(()),
            Some(expected) => {
                Err(Failure::new("what leaves is what follows", format!("{outgoing:?} instead of {expected:?}")))
            }
            None => Err(Failure::new("durable before visible", format!("{outgoing:?}"))),
        }
    }

    /// The machine has come to rest, with every port's answers in and every delivery reported: nothing may be left undone.
    ///
    /// # Errors
    /// If something is.
    pub fn rested(&self) -> Result<(), Failure> {
        ensure(self.expected.is_empty(), "what follows leaves", || format!("{:?}", self.expected))?;
        ensure(!self.books.again, "a machine is called again when it wants", String::new)?;
        let open = &self.books.requests;
        ensure(open.is_empty(), "a settled request is closed", || format!("{open:?}"))?;
        self.all_gone_told()?;
        self.all_told()
    }

    /// The machine has stopped cleanly.
    ///
    /// # Errors
    /// If it left something undone.
    pub fn stopped(&self, all_delivered: bool) -> Result<(), Failure> {
        let is_checkpoint = self.log.last().is_some_and(|(.., is_checkpoint)| *is_checkpoint);
        ensure(is_checkpoint, "a clean stop checkpoints", String::new)?;
        ensure(self.expected.is_empty(), "what follows leaves", || format!("{:?}", self.expected))?;
        let effects = &self.books.effects;
        ensure(!all_delivered || effects.is_empty(), "delivered effects are settled", || format!("{effects:?}"))
    }

    /// Notes what a step or an abort releases, for comparison with what will leave.
    fn expect(&mut self, releases: Vec<Release>) {
        for release in releases {
            match release {
                Release::Effect { effect, port, payload } => {
                    self.expected.push_back(Leaving::Effect { effect, port, payload });
                }
                Release::Ask { request, port, payload, call } => {
                    self.expected.push_back(Leaving::Ask { request, port, payload, call, resumed: false });
                }
                Release::Cancel { request, port } => self.expected.push_back(Leaving::Cancel { request, port }),
                Release::Trace { text } => self.expected.push_back(Leaving::Other(Outgoing::Trace(text))),
                Release::Answer { reply, more, payload } => {
                    self.expect_news(reply, AskerNews::Answer { reply, more, payload })
                }
                Release::Refuse { reply, code, text } => self.expect_news(reply, AskerNews::Refused { code, text }),
            }
        }
    }
}
