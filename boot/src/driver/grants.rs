//! Changes of grants, as the owner asks for them: what each comes to, and what stands in its way.
//!
//! A port that is to be granted is opened first, and only then is anything logged: whoever hears that it is granted can use it. One that is revoked is
//! closed once that is durable. Changes are taken one after the other, each as the one before has left the grants.

use std::collections::{BTreeSet, VecDeque};

use seed::PortId;
use seed::image::{Grant, Image};
use seed::message::Input;
use thiserror::Error;
use tokio::sync::oneshot;
use vm::step_loop::{Arrival, Asker, StepLoop};

use super::{Guest, RunError};
use crate::ports;

/// What the owner wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// To have ports of these names granted.
    Grant(Vec<String>),
    /// To have these, by name or number, granted no longer.
    Revoke(Vec<String>),
}

/// What has come of it, durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regranted {
    /// All grants.
    pub grants: Vec<Grant>,
    /// Those that have come, or gone: none where all was so already.
    pub changed: Vec<Grant>,
}

/// Grants cannot be changed so. Nothing has changed, and nothing is logged.
#[derive(Debug, Error)]
pub enum RegrantError {
    /// No kind of port has such a name.
    #[error("the port {name} cannot be granted: this version has no such port")]
    Unknown {
        /// What was to be granted.
        name: String,
    },
    /// It cannot be revoked.
    #[error("the port {name} is not granted")]
    NotGranted {
        /// What was to be revoked.
        name: String,
        /// What could be.
        grants: Vec<Grant>,
    },
    /// The owner's port was to be revoked.
    #[error("port 0 is the owner's, which is never revoked")]
    Owner,
    /// The list would be too long.
    #[error("the machine would have {count} grants, and may have {max}")]
    TooMany {
        /// How many.
        count: usize,
        /// The most.
        max: usize,
    },
    /// The machine could not be told.
    #[error("the list of its grants would have {bytes} bytes, more than the machine takes in, which is {limit}")]
    TooLong {
        /// Bytes of the input that would tell it.
        bytes: u64,
        /// Its limit.
        limit: u64,
    },
    /// All numbers were given.
    #[error("the port {name} cannot be granted: the machine has no number left for it")]
    NoNumber {
        /// What was to be granted.
        name: String,
    },
    /// A port cannot be opened.
    #[error(transparent)]
    Port(RunError),
}

/// Where somebody waits for what becomes of a change.
pub(super) type Told = oneshot::Sender<Result<Regranted, RegrantError>>;

/// The grants, as they will be when the machine has taken all that was asked for.
pub(super) struct Granting {
    pub(super) grants: Vec<Grant>,
    next_port: PortId,
    /// The most bytes that an input may have.
    input_bytes_max: u64,
    /// Changes that are not durable yet, and who waits for them.
    under_way: VecDeque<(Asker, Vec<(Told, Regranted)>)>,
}

/// What a change would come to.
struct Plan {
    grants: Vec<Grant>,
    next_port: PortId,
    changed: Vec<Grant>,
}

impl Granting {
    /// Of a machine as it stands.
    pub(super) fn of(image: &Image) -> Self {
        let (grants, next_port, input_bytes_max) = (image.grants.clone(), image.next_port, image.limits.input_bytes);
        Self { grants, next_port, input_bytes_max, under_way: VecDeque::new() }
    }

    fn plan(&self, change: &Change) -> Result<Plan, RegrantError> {
        match change {
            Change::Grant(names) => self.plan_to_grant(names),
            Change::Revoke(names) => self.plan_to_revoke(names),
        }
    }

    fn plan_to_grant(&self, names: &[String]) -> Result<Plan, RegrantError> {
        let mut plan = Plan { grants: self.grants.clone(), next_port: self.next_port, changed: Vec::new() };
        for name in names {
            if !ports::is_known(name) {
                return Err(RegrantError::Unknown { name: name.clone() });
            }
            if !plan.grants.iter().any(|grant| grant.name == *name) {
                let grant = number(name.clone(), &mut plan.next_port)?;
                plan.grants.push(grant.clone());
                plan.changed.push(grant);
            }
        }
        if plan.changed.is_empty() {
            return Ok(plan);
        }
        let (count, max) = (plan.grants.len(), ports::GRANTS_MAX);
        if count > max {
            return Err(RegrantError::TooMany { count, max });
        }
        let (bytes, limit) = (input_bytes(&plan.grants), self.input_bytes_max);
        if bytes > limit { Err(RegrantError::TooLong { bytes, limit }) } else { Ok(plan) }
    }

    fn plan_to_revoke(&self, names: &[String]) -> Result<Plan, RegrantError> {
        let mut gone = BTreeSet::new();
        for name in names {
            let is_meant = |grant: &&Grant| match name.parse() {
                Ok(number) => grant.port == PortId(number),
                Err(_) => grant.name == *name,
            };
            match self.grants.iter().find(is_meant) {
                Some(grant) if grant.port == PortId::OWNER => return Err(RegrantError::Owner),
                Some(grant) => drop(gone.insert(grant.port)),
                None => {
                    let grants = self.grants.iter().filter(|grant| grant.port != PortId::OWNER).cloned().collect();
                    return Err(RegrantError::NotGranted { name: name.clone(), grants });
                }
            }
        }
        let (changed, grants) = self.grants.iter().cloned().partition(|grant| gone.contains(&grant.port));
        Ok(Plan { grants, next_port: self.next_port, changed })
    }
}

/// A grant under the next number.
///
/// # Errors
/// If there is none left: only an image that somebody has forged comes near that.
pub fn number(name: String, next_port: &mut PortId) -> Result<Grant, RegrantError> {
    let port = *next_port;
    *next_port = port.next();
    if *next_port == port { Err(RegrantError::NoNumber { name }) } else { Ok(Grant { port, name }) }
}

fn input_bytes(grants: &[Grant]) -> u64 {
    Input::Grants { grants: grants.to_vec() }.encode().len() as u64
}

impl Guest {
    /// Takes a change on, or says why not.
    pub(super) fn regrant(&mut self, step_loop: &mut StepLoop, asker: Asker, change: &Change, told: Told) {
        let planned = self.granting.plan(change).and_then(|plan| self.open_new(&plan).map(|()| plan));
        let Plan { grants, next_port, changed } = match planned {
            Ok(plan) => plan,
            // Whoever asked may have gone.
            Err(error) => return drop(told.send(Err(error))),
        };
        let regranted = Regranted { grants: grants.clone(), changed };
        if regranted.changed.is_empty() {
            match self.granting.under_way.back_mut() {
                // It is so once that is durable.
                Some((_, waiting)) => waiting.push((told, regranted)),
                None => drop(told.send(Ok(regranted))),
            }
            return;
        }
        self.granting.grants.clone_from(&grants);
        self.granting.next_port = next_port;
        self.granting.under_way.push_back((asker, vec![(told, regranted)]));
        step_loop.arrive(Arrival::Grants { grants, next_port, asker: Some(asker) });
    }

    /// Opens the ports that a change would bring: all of them, or none.
    fn open_new(&mut self, plan: &Plan) -> Result<(), RegrantError> {
        let Some(host) = &self.host else { return Ok(()) };
        let new = plan.grants.iter().filter(|grant| grant.port >= self.granting.next_port).cloned().collect::<Vec<_>>();
        self.ports.extend(ports::open(&new, host).map_err(RegrantError::Port)?);
        Ok(())
    }

    /// Tells those who wait for a change that it is durable. Whether it was one that somebody waits for.
    pub(super) fn regranted(&mut self, asker: Asker) -> bool {
        let Some((_, waiting)) = self.granting.under_way.pop_front_if(|(first, _)| *first == asker) else {
            return false;
        };
        for (told, regranted) in waiting {
            let _ = told.send(Ok(regranted));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granting() -> Granting {
        let grant = |(port, name): (u64, &str)| Grant { port: PortId(port), name: name.to_owned() };
        let grants = [(0, "owner"), (1, "console"), (3, "random"), (6, "http:8080")].map(grant).to_vec();
        Granting { grants, next_port: PortId(9), input_bytes_max: 100, under_way: VecDeque::new() }
    }

    fn shown(grants: &[Grant]) -> String {
        grants.iter().map(|grant| format!("{}={}", grant.port, grant.name)).collect::<Vec<_>>().join(" ")
    }

    fn check(change: fn(Vec<String>) -> Change, names: &[&str]) -> String {
        match granting().plan(&change(names.iter().map(|name| (*name).to_owned()).collect())) {
            Ok(plan) => format!("{}, next {}; {}", shown(&plan.grants), plan.next_port, shown(&plan.changed)),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn numbers_are_given_once() {
        assert_eq!(
            check(Change::Grant, &["clock", "random", "clock"]),
            "0=owner 1=console 3=random 6=http:8080 9=clock, next 10; 9=clock"
        );
        assert_eq!(check(Change::Revoke, &["http:8080", "1", "6"]), "0=owner 3=random, next 9; 1=console 6=http:8080");
        assert_eq!(check(Change::Grant, &["http:8080"]), "0=owner 1=console 3=random 6=http:8080, next 9; ");
    }

    #[test]
    fn what_cannot_be_changes_nothing() {
        assert_eq!(check(Change::Revoke, &["1", "2"]), "the port 2 is not granted");
        assert_eq!(check(Change::Revoke, &["clock"]), "the port clock is not granted");
        assert_eq!(check(Change::Revoke, &["owner"]), "port 0 is the owner's, which is never revoked");
        assert_eq!(check(Change::Revoke, &["0"]), "port 0 is the owner's, which is never revoked");
        assert_eq!(
            check(Change::Grant, &["clock", "gopher:70"]),
            "the port gopher:70 cannot be granted: this version has no such port"
        );
        let mut last = PortId(u64::MAX - 1);
        assert!(number("clock".to_owned(), &mut last).is_ok() && number("clock".to_owned(), &mut last).is_err());
        let servers: Vec<String> = (1..10).map(|port| format!("http:{port}")).collect();
        let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
        let error = "the list of its grants would have 123 bytes, more than the machine takes in, which is 100";
        assert_eq!(check(Change::Grant, &servers), error);
    }
}
