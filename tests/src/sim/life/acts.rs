//! What happens to a machine from outside: messages, answers, deliveries, the disk, the clock.

use std::path::Path;

use persist::journal::AppendError;
use persist::objects::load;
use persist::store::model::CommitFault;
use persist::store::{CommitError, Store as _, Table};
use seed::image::Grant;
use seed::record::SENDER_KEY_BYTES_MAX;
use seed::{Domain, Id, Nanos, PortId};
use vm::body::Body;
use vm::step_loop::{Arrival, Asker, Room};

use super::{KEYS, Life, START};
use crate::sim::check::Sent;
use crate::sim::host::{Found, first_grants};
use crate::sim::plan::CommitEnd;
use crate::sim::random::Random;
use crate::sim::{Failure, chain, ensure, ops};

impl Life<'_> {
    pub(super) fn arrive(&mut self, random: &mut Random) -> Result<(), Failure> {
        let Some(host) = &mut self.host else { return Ok(()) };
        let tag = self.next;
        self.next += 1;
        let mut payload = tag.to_le_bytes().to_vec();
        payload.extend(ops::operations(random));
        let is_long = random.one_in(50);
        if is_long {
            payload.resize(2000, 0);
        }
        let asker = (!random.one_in(4)).then_some(Asker(tag));
        let key = match random.below(40) {
            0 => vec![b'k'; 65],
            1..13 => format!("key {}", random.below(KEYS)).into_bytes(),
            _ => Vec::new(),
        };
        let is_refused = is_long || key.len() > SENDER_KEY_BYTES_MAX;
        let from = if random.one_in(2) { b"somebody".to_vec() } else { Vec::new() };
        let (grants, next_port) = self.checker.grants_to_come();
        let ports: Vec<PortId> = grants.iter().map(|grant| grant.port).collect();
        let port = if random.one_in(10) { PortId(random.below(next_port.0)) } else { random.pick(&ports) };
        self.checker.send(tag, Sent { port, key: key.clone(), asker, is_refused });
        host.machine.arrive(Arrival::Message { port, from, payload, asker, key, room: Room::default() });
        Ok(())
    }

    /// Takes ports away, and gives others back under new numbers.
    pub(super) fn grants(&mut self, random: &mut Random) -> Result<(), Failure> {
        let Some(host) = &mut self.host else { return Ok(()) };
        let asker = random.one_in(2).then_some(Asker(self.next));
        self.next += 1;
        let (mut grants, mut next_port) = self.checker.grants_to_come();
        for known in &first_grants()[1..] {
            match grants.iter().position(|grant| grant.name == known.name) {
                Some(position) if random.one_in(4) => drop(grants.remove(position)),
                None if !random.one_in(3) => {
                    grants.push(Grant { port: next_port, name: known.name.clone() });
                    next_port = next_port.next();
                }
                _ => {}
            }
        }
        self.checker.ask_for_grants(grants.clone(), next_port, asker);
        host.machine.arrive(Arrival::Grants { grants, next_port, asker });
        Ok(())
    }

    pub(super) fn answer(&mut self, gives_up: bool, random: &mut Random) -> Result<(), Failure> {
        let Some(host) = &mut self.host else { return Ok(()) };
        let run = u8::try_from(self.checker.run()).unwrap_or(u8::MAX);
        if random.one_in(8)
            && let Some((arrival, crosses)) = self.ports.cross(random, run)
        {
            self.checker.coverage.hit_if(crosses, "late answer under a number used again");
            host.machine.arrive(arrival);
            return Ok(());
        }
        let arrival = if gives_up { self.ports.give_up(random) } else { self.ports.answer(random, run, false) };
        let Some(arrival) = arrival else { return Ok(()) };
        if let Arrival::Answer { payload, .. } = &arrival
            && payload.len() > 1000
        {
            self.checker.oversize_answer(payload);
        }
        host.machine.arrive(arrival);
        Ok(())
    }

    pub(super) fn deliver(&mut self, random: &mut Random) -> Result<(), Failure> {
        let Some(host) = &mut self.host else { return Ok(()) };
        for _ in 0..=random.below(3) {
            if self.ports.effects.is_empty() {
                break;
            }
            let effect = self.ports.effects.remove(random.index(self.ports.effects.len()));
            self.checker.report(effect);
            host.machine.delivered(effect, Nanos(self.now));
        }
        Ok(())
    }

    pub(super) fn gone(&mut self, random: &mut Random) -> Result<(), Failure> {
        let waiting = self.checker.still_waiting();
        let Some(host) = self.host.as_mut().filter(|_| !waiting.is_empty()) else { return Ok(()) };
        let asker = random.pick(&waiting);
        self.checker.leave(asker);
        match host.machine.asker_gone(asker) {
            Ok(()) => Ok(()),
            Err(_) if self.may_misread() => {
                self.die("a read failed");
                Ok(())
            }
            Err(fatal) => Err(Failure::new("a machine goes on", chain(&fatal))),
        }
    }

    pub(super) fn clock(&mut self, random: &mut Random) {
        match random.below(8) {
            0 => {
                self.now = self.now.saturating_sub(random.below(3_600_000_000_000)).max(START);
                self.checker.coverage.hit("clock set back");
            }
            1 => self.now += random.below(3_600_000_000_000),
            _ => self.now += random.below(60_000_000),
        }
    }

    pub(super) fn fail(&mut self, end: CommitEnd) -> Result<(), Failure> {
        let number = self.disk.counts().commits;
        self.doomed = number + 1;
        let fault = match end {
            CommitEnd::NotDone => CommitFault::NotDone,
            CommitEnd::UnknownDone => CommitFault::UnknownDone,
            CommitEnd::UnknownNotDone => CommitFault::UnknownNotDone,
            CommitEnd::Full => {
                let used =
                    self.disk.open().usage().map_err(|error| Failure::new("a disk tells its size", chain(&error)))?;
                self.disk.set_capacity(Some(used.used_bytes));
                return Ok(());
            }
        };
        self.disk.fail_commit(number, fault);
        Ok(())
    }

    pub(super) fn write(&mut self) -> Result<(), Failure> {
        let Some(host) = &mut self.host else { return Ok(()) };
        let error = match host.write() {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let Some(job) = &host.job else { return Ok(()) };
                let (batch, is_checkpoint) = (job.commit.batch.clone(), job.commit.checkpoint.is_some());
                self.note(|| format!("durable up to seq {}", batch.end()));
                self.checker.coverage.hit("commit at end: done");
                return self.checker.ingest(&batch, batch.id(), is_checkpoint);
            }
            Err(error) => error,
        };
        let AppendError::Commit { source, .. } = &error else {
            return Err(Failure::new("a commit follows on the one before", chain(&error)));
        };
        ensure(self.disk.counts().commits <= self.doomed, "a commit is done on a healthy disk", || chain(&error))?;
        let must_be = match source {
            CommitError::NotDone { .. } => Some(false),
            CommitError::Unknown { .. } => None,
        };
        self.checker.coverage.hit_if(source.store_error().is_full(), "disk full");
        self.unsure = host.job.take().map(|job| (job, must_be));
        self.note(|| chain(&error));
        let before = self.checker.log.len();
        self.die("the commit failed");
        // What a failed commit left is settled by reading, as in every start.
        self.start(false)?;
        self.checker.coverage.hit(match (must_be, self.checker.log.len() > before) {
            (Some(_), _) => "commit at end: not done",
            (None, true) => "commit at end: unknown, done",
            (None, false) => "commit at end: unknown, not done",
        });
        Ok(())
    }

    pub(super) fn report(&mut self, random: &mut Random) -> Result<(), Failure> {
        let Some(host) = &mut self.host else { return Ok(()) };
        if host.job.take_if(|job| job.is_written).is_none() {
            return Ok(());
        }
        host.machine.committed();
        self.note(|| "reported".to_owned());
        self.read(random)
    }

    /// A copy of the disk with one bit flipped is noticed to be damaged, or does as well as the disk itself. The disk is left as it is.
    pub(super) fn rot(&mut self, random: &mut Random) -> Result<(), Failure> {
        const PROMISE: &str = "nothing unchecked is used";
        self.die("killed");
        let failed = |error: &dyn std::error::Error| Failure::new(PROMISE, chain(error));
        let place = Path::new("rotten");
        self.disk.open().copy_to(place).map_err(|error| failed(&error))?;
        let Some(rotten) = self.disk.copy_in(place) else { return Ok(()) };
        let store = rotten.open();
        let table = Table::ALL.get(usize::try_from(random.below(Table::ALL.len() as u64 + 1)).unwrap_or(0)).copied();
        let flipped = match table {
            Some(table) => rotten.flip_any_bit(table),
            None => rotten.flip_any_tip_bit().then(Vec::new),
        };
        let Some(key) = flipped else { return Ok(()) };
        self.note(|| match table {
            Some(table) => format!("a bit flips in {table:?} under {key:02x?}"),
            None => "a bit flips in the tip".to_owned(),
        });
        if let (Some(Table::Objects), Some(id)) = (table, Id::from_bytes(&key)) {
            for domain in [Domain::Page, Domain::Node, Domain::Object] {
                let is_right = load(&store, domain, &id).map_or(true, |bytes| Id::of(domain, &bytes) == id);
                ensure(is_right, PROMISE, || format!("{domain:?} {id} is other than its name says"))?;
            }
        }
        let found = Found::open(&rotten);
        if let Ok(found) = &found {
            let known = self.checker.log.iter().map(|(_, id, _)| id);
            let same =
                found.log.len() >= known.len() && found.log.iter().zip(known).all(|((_, id), known)| id == known);
            ensure(same, PROMISE, || "another log".to_owned())?;
        }
        let inspect = |_: &mut Body| Ok(());
        let start = |found: Found| found.start(&rotten, &self.settings, self.plan.policy, self.root, false, &inspect);
        let started = found.and_then(start);
        self.checker.coverage.hit(if started.is_ok() { "rot where nothing needed it" } else { "rot noticed" });
        Ok(())
    }
}
