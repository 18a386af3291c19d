//! A change of grants: logged, carried out, told to the machine, all in one batch.
//!
//! What the machine had asked of a port that goes is broken, what it had told it and was not delivered is dropped. The port itself ends when the
//! batch is durable; what was released to it before may still have reached it.

use persist::planted::{Bug, is_planted};
use seed::PortId;
use seed::image::Grant;
use seed::message::Input;
use seed::record::Record;

use super::admit::{Admitted, Entry};
use super::news::{Arrival, Asker, AskerNews, Outgoing};
use super::{Fatal, StepLoop};
use crate::ledger::{Release, Revoked};

impl StepLoop {
    /// Changes the grants before anything else that waits: for a machine that is about to begin on another host.
    pub fn regrant_first(&mut self, grants: Vec<Grant>, next_port: PortId) {
        self.inbox.push_front(Entry::Arrival(Arrival::Grants { grants, next_port, asker: None }));
    }

    pub(super) fn is_granted(&self, port: PortId) -> bool {
        port == PortId::OWNER || self.body.image().grants.iter().any(|grant| grant.port == port)
    }

    /// Carries out a change of grants; the input that tells the machine of it. One that has not booted hears of them when it does.
    pub(super) fn regrant(
        &mut self,
        grants: Vec<Grant>,
        next_port: PortId,
        asker: Option<Asker>,
    ) -> Result<Option<Admitted>, Fatal> {
        debug_assert!(grants.first().is_some_and(|grant| grant.port == PortId::OWNER), "the owner stays");
        debug_assert!(next_port >= self.body.image().next_port, "port numbers are never reused");
        let Revoked { ports, requests, effects } = self.body.regrant(&grants, next_port)?;
        self.forming.records.push(Record::Grant { grants: grants.clone(), next_port });
        self.forming.must_checkpoint = true;
        for (request, port) in requests {
            self.address(Release::Cancel { request, port });
        }
        effects.iter().for_each(|effect| self.undelivered.remove(*effect));
        if !is_planted(Bug::DroppedSettled) {
            for effect in effects {
                if !self.delivered.remove(&effect) {
                    self.dropped.insert(effect);
                }
            }
        }
        if self.delivered.is_empty() {
            self.settle_at = None;
        }
        self.forming.releases.extend(ports.into_iter().map(Outgoing::Revoked));
        let (ledger, _) = self.body.ledger();
        self.inbox.extend(ledger.take_due().into_iter().map(Entry::Due));
        if self.body.is_unborn() || is_planted(Bug::GrantsUntold) {
            self.forming.releases.extend(asker.map(|asker| Outgoing::Asker(asker, AskerNews::Accepted)));
            return Ok(None);
        }
        Ok(Some(Admitted { input: Input::Grants { grants }, key: Vec::new(), asker, cancels: None }))
    }
}
