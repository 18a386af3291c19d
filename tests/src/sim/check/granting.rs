//! Changes of grants: that each is logged as it was asked for, that the machine hears of it at once, and that a port that has gone stays gone.

use std::collections::{BTreeSet, VecDeque};

use seed::PortId;
use seed::image::Grant;
use seed::record::{Batch, Record};
use vm::ledger::Release;
use vm::step_loop::{Asker, AskerNews, Outgoing, ToPort};

use super::Checker;
use super::leaving::Leaving;
use crate::sim::{Failure, ensure};

/// A change that the owner has asked for.
#[derive(Debug, Clone)]
struct Change {
    grants: Vec<Grant>,
    next_port: PortId,
    asker: Option<Asker>,
}

/// What is known of changes of grants.
#[derive(Debug, Default)]
pub(super) struct Granting {
    /// Asked for in this run, and not logged yet.
    to_come: VecDeque<Change>,
    /// Logged, and the machine has not heard of it: the list, and who waits.
    untold: Option<(Vec<Grant>, Option<Asker>)>,
    askers: BTreeSet<u64>,
    /// Ports that were revoked, as the host was told.
    gone: BTreeSet<PortId>,
}

impl Granting {
    /// What was revoked before has no port in this run.
    pub(super) fn begin_run(&mut self, gone: BTreeSet<PortId>) {
        self.to_come.clear();
        self.gone = gone;
    }

    pub(super) fn waits(&self, asker: Asker) -> bool {
        self.askers.contains(&asker.0)
    }

    pub(super) fn close(&mut self, port: PortId) {
        self.gone.insert(port);
    }

    /// Something was released to a port.
    pub(super) fn is_there(&self, port: PortId, told: &ToPort) -> Result<(), Failure> {
        ensure(!self.gone.contains(&port), "nothing is released to a port that was revoked", || format!("{told:?}"))
    }
}

impl Checker {
    /// The grants that the machine will have once it has heard all that it was sent.
    #[must_use]
    pub fn grants_to_come(&self) -> (Vec<Grant>, PortId) {
        let last = self.granting.to_come.back();
        let last = last.map(|change| (change.grants.clone(), change.next_port));
        last.unwrap_or_else(|| (self.books.grants.clone(), self.books.next_port))
    }

    /// Ports that were granted once and are not any more.
    pub(super) fn gone_ports(&self) -> impl Iterator<Item = PortId> {
        (0..self.books.next_port.0).map(PortId).filter(|port| !self.books.is_granted(*port))
    }

    /// The owner asks for other grants.
    pub fn ask_for_grants(&mut self, grants: Vec<Grant>, next_port: PortId, asker: Option<Asker>) {
        self.granting.askers.extend(asker.map(|asker| asker.0));
        self.granting.to_come.push_back(Change { grants, next_port, asker });
    }

    /// A change of grants was logged.
    pub(super) fn regrant(&mut self, grants: &[Grant], next_port: PortId) -> Result<(), Failure> {
        const PROMISE: &str = "grants change once, as the owner says";
        let asked = self.granting.to_come.pop_front();
        let asked = asked.ok_or_else(|| Failure::new(PROMISE, format!("nobody asked for {grants:?}")))?;
        ensure(asked.grants == grants && asked.next_port == next_port, PROMISE, || format!("{grants:?}"))?;
        let gone: Vec<PortId> = self.books.grants.iter().map(|grant| grant.port).collect();
        let (broken, dropped) = self.books.regrant(grants, next_port);
        self.coverage.hit("grants changed");
        self.coverage.hit_if(!broken.is_empty(), "request broken with its grant");
        self.coverage.hit_if(dropped > 0, "effect dropped with its grant");
        self.expect(broken.into_iter().map(|(request, port)| Release::Cancel { request, port }).collect());
        let gone = gone.into_iter().filter(|port| !self.books.is_granted(*port));
        self.expected.extend(gone.map(|port| Leaving::Other(Outgoing::Revoked(port))));
        self.granting.untold = Some((grants.to_vec(), asked.asker));
        Ok(())
    }

    /// The machine hears of a change of grants.
    pub(super) fn hear_of_grants(&mut self, grants: &[Grant]) -> Result<(), Failure> {
        match self.granting.untold.take() {
            Some((changed, asker)) if changed == grants => {
                let accepted = asker.map(|asker| Leaving::Other(Outgoing::Asker(asker, AskerNews::Accepted)));
                self.expected.extend(accepted);
                Ok(())
            }
            untold => Err(Failure::new("a machine hears of the grants that it has", format!("{untold:?}"))),
        }
    }

    /// A whole batch was read: what it changed, it has told the machine.
    pub(super) fn told_of_grants(&self, batch: &Batch, is_checkpoint: bool) -> Result<(), Failure> {
        let detail = || format!("batch at seq {}", batch.first);
        let is_told = self.granting.untold.is_none();
        ensure(is_told, "a machine hears of its grants in the batch that changes them", detail)?;
        let changes = batch.records.iter().any(|record| matches!(record, Record::Grant { .. }));
        ensure(!changes || is_checkpoint, "the image of the last checkpoint has the grants in force", detail)
    }

    /// A message without an asker was dropped, for want of a grant.
    pub(super) fn turned_away(&mut self, text: &str) -> Result<(), Failure> {
        let said = |port| format!("a message on port {port} was dropped: not granted");
        let is_so = self.gone_ports().any(|port| text == said(port));
        self.coverage.hit("message on a revoked port");
        ensure(is_so, "only what comes from ports that were revoked is turned away", || text.to_owned())
    }
}
