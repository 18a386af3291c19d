//! The ports of a simulated host: they take what is released to them and do as they are told, late, out of order or never.

use std::collections::{BTreeMap, BTreeSet};

use seed::EffectId;
use vm::step_loop::{Arrival, Room, Ticket, ToPort};

use super::random::Random;
use super::{Failure, ensure, ops};

/// What the ports of one run have in hand.
#[derive(Debug, Default)]
pub struct Ports {
    asked: BTreeMap<Ticket, Asked>,
    /// What was cancelled before it was answered for good. Its answer may be on its way.
    cancelled: Vec<(Ticket, Asked)>,
    tickets: BTreeSet<Ticket>,
    /// Effects that came, in order, until their delivery is reported.
    pub effects: Vec<EffectId>,
}

#[derive(Debug)]
struct Asked {
    nonce: u64,
    parts: u8,
}

/// The number by which the guest tells its asks apart.
#[must_use]
pub fn nonce(payload: &[u8]) -> u64 {
    payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Ports {
    /// A port is told something.
    ///
    /// # Errors
    /// If it makes no sense to a port.
    pub fn take(&mut self, told: &ToPort) -> Result<(), Failure> {
        match told {
            ToPort::Effect { effect, .. } => self.effects.push(*effect),
            ToPort::Ask { request, payload, .. } => {
                let is_open = self.is_asked_under_the_number_of(*request);
                ensure(!is_open, "a port is asked under a number once at a time", || format!("{request:?}"))?;
                ensure(self.tickets.insert(*request), "no two asks have one ticket", || format!("{request:?}"))?;
                self.asked.insert(*request, Asked { nonce: nonce(payload), parts: 0 });
            }
            ToPort::Cancel { request } => {
                ensure(self.tickets.contains(request), "only what was asked is cancelled", || format!("{request:?}"))?;
                self.cancelled.extend(self.asked.remove_entry(request));
            }
        }
        Ok(())
    }

    /// Whether nobody waits for a port.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// A port answers one of its requests: with operations, wholly if `whole`, else perhaps in part.
    pub fn answer(&mut self, random: &mut Random, run: u8, whole: bool) -> Option<Arrival> {
        let request = self.any(random)?;
        let more = !whole && random.one_in(3);
        let asked = self.asked.get_mut(&request)?;
        let mut payload = asked.nonce.to_le_bytes().to_vec();
        payload.extend([run, asked.parts]);
        asked.parts += 1;
        if !whole {
            payload.extend(ops::operations(random));
            if random.one_in(60) {
                payload.resize(2000, 0);
            }
        }
        if !more {
            self.asked.remove(&request);
        }
        Some(Arrival::Answer { request, more, payload, room: Room::default() })
    }

    /// A port gives one of its requests up.
    pub fn give_up(&mut self, random: &mut Random) -> Option<Arrival> {
        let request = self.any(random)?;
        let asked = self.asked.remove(&request)?;
        let operations = if random.one_in(8) { ops::operations(random) } else { ops::tame(random) };
        // Letters and arguments are below 128.
        let text = format!("{:016x}{}", asked.nonce, String::from_utf8_lossy(&operations));
        Some(Arrival::Broken { request, code: seed::message::Code::FAILED, text })
    }

    /// A port answers, or gives up, what it has not heard yet is cancelled. Whether the machine has asked something else under its number.
    pub fn cross(&mut self, random: &mut Random, run: u8) -> Option<(Arrival, bool)> {
        if self.cancelled.is_empty() {
            return None;
        }
        let (request, asked) = self.cancelled.swap_remove(random.index(self.cancelled.len()));
        let room = Room::default();
        let arrival = if random.one_in(4) {
            let text = format!("{:016x}", asked.nonce);
            Arrival::Broken { request, code: seed::message::Code::FAILED, text }
        } else {
            let mut payload = asked.nonce.to_le_bytes().to_vec();
            payload.extend([run, asked.parts]);
            Arrival::Answer { request, more: random.one_in(3), payload, room }
        };
        Some((arrival, self.is_asked_under_the_number_of(request)))
    }

    fn is_asked_under_the_number_of(&self, request: Ticket) -> bool {
        self.asked.keys().any(|asked| asked.number() == request.number())
    }

    fn any(&self, random: &mut Random) -> Option<Ticket> {
        if self.asked.is_empty() {
            return None;
        }
        self.asked.keys().nth(random.index(self.asked.len())).copied()
    }
}
