//! How a life ends: without further troubles the machine comes to rest and stops, and everything about it is checked once more.

use std::sync::Arc;

use persist::objects::Shelf;
use persist::store::{Reader as _, Table};
use seed::record::Record;
use vm::body::SharedObjects;

use super::{Life, REST_TURNS_MAX, Turned};
use crate::sim::host::settings;
use crate::sim::random::Random;
use crate::sim::{Failure, twin};

impl Life<'_> {
    /// No more troubles: the machine comes to rest, stops, and everything about it is checked once more.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        self.note(|| "-- to the end".to_owned());
        let random = &mut Random::new(self.plan.seed ^ 0x656e_6421);
        self.die("killed at the end");
        while self.disk.counts().reads < self.read_fault {
            let _ = self.disk.open().get(Table::Meta, b"format");
        }
        self.read_fault = 0;
        let halts_before = self.halts;
        self.rest(random)?;
        if self.halts == halts_before {
            self.checker.coverage.hit_if(self.halts > 0, "halt that passed");
            self.checker.rested()?;
            self.stop(random)?;
        }
        self.check_disk()
    }

    pub(super) fn rest(&mut self, random: &mut Random) -> Result<(), Failure> {
        self.start(false)?;
        for _ in 0..random.below(8) {
            self.arrive(random)?;
        }
        self.turns(random)?;
        self.gone(random)?;
        for _ in 0..REST_TURNS_MAX {
            self.now += 1_000_000;
            let turned = self.turn(random)?;
            let in_flight = self.host.as_ref().is_some_and(|host| host.job.is_some());
            self.write()?;
            self.report(random)?;
            let delivered = !self.ports.effects.is_empty();
            self.deliver(random)?;
            match turned {
                Turned::On => {}
                Turned::Ended => return Ok(()),
                Turned::Idle(until) => {
                    let run = u8::try_from(self.checker.run()).unwrap_or(u8::MAX);
                    let answer = self.ports.answer(random, run, true);
                    if let (Some(host), Some(answer)) = (&mut self.host, answer) {
                        host.machine.arrive(answer);
                    } else if let Some(until) = until {
                        self.now = self.now.max(until.0);
                    } else if !delivered && !in_flight {
                        return Ok(());
                    }
                }
            }
        }
        Err(Failure::new("a machine comes to rest", format!("not in {REST_TURNS_MAX} turns")))
    }

    pub(super) fn stop(&mut self, random: &mut Random) -> Result<(), Failure> {
        for _ in 0..REST_TURNS_MAX {
            if let Some(host) = &mut self.host {
                host.machine.stop();
            }
            if self.turn(random)? == Turned::Ended {
                return self.checker.stopped(true);
            }
            self.write()?;
            self.report(random)?;
            self.deliver(random)?;
        }
        Err(Failure::new("a machine stops", format!("not in {REST_TURNS_MAX} turns")))
    }

    pub(super) fn check_disk(&mut self) -> Result<(), Failure> {
        self.die("done");
        self.start(false)?;
        let Some(host) = self.host.take() else { return Ok(()) };
        drop(host);
        let store = self.disk.open();
        let epochs = self.checker.log.iter().flat_map(|(batch, ..)| &batch.records).filter_map(|record| match record {
            Record::Epoch(epoch) => Some(epoch.image),
            _ => None,
        });
        let checkpoint = self.checker.log.iter().rev().find(|(.., is_checkpoint)| *is_checkpoint);
        twin::verify(&store, epochs.chain(checkpoint.map(|(batch, ..)| batch.root)))?;
        let objects: SharedObjects = Arc::new(Shelf::new(Arc::new(store)));
        twin::replay(
            &self.settings,
            SharedObjects::clone(&objects),
            &self.root,
            self.checker.log.iter().map(|(batch, ..)| batch),
        )?;
        if let Some(backend) = self.plan.other_backend {
            let settings = settings(backend, self.plan.tracker, self.native, &self.cpu);
            twin::replay(
                &settings,
                SharedObjects::clone(&objects),
                &self.root,
                self.checker.log.iter().map(|(batch, ..)| batch),
            )?;
        }
        if self.plan.restore_always {
            twin::replay_restored(
                &self.settings,
                objects,
                &self.root,
                self.checker.log.iter().map(|(batch, ..)| batch),
            )?;
        }
        Ok(())
    }
}
