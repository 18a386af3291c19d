//! The ports of a simulated host: they take what is released to them and do as they are told, late, out of order or never.

use std::collections::BTreeMap;

use seed::{EffectId, RequestId};
use vm::ledger::Release;
use vm::step_loop::{Arrival, Room};

use super::random::Random;
use super::{Failure, ensure, ops};

/// What the ports of one run have in hand.
#[derive(Debug, Default)]
pub struct Ports {
    asked: BTreeMap<RequestId, Asked>,
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
    /// Something was released to a port.
    ///
    /// # Errors
    /// If it makes no sense to a port.
    pub fn take(&mut self, release: &Release) -> Result<(), Failure> {
        match release {
            Release::Effect { effect, .. } => self.effects.push(*effect),
            Release::Ask { request, payload, .. } => {
                let asked = Asked { nonce: nonce(payload), parts: 0 };
                let before = self.asked.insert(*request, asked);
                ensure(before.is_none(), "a port is asked under a number once at a time", || request.to_string())?;
            }
            Release::Cancel { request, .. } => drop(self.asked.remove(request)),
            Release::Answer { .. } | Release::Refuse { .. } | Release::Trace { .. } => {}
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

    fn any(&self, random: &mut Random) -> Option<RequestId> {
        if self.asked.is_empty() {
            return None;
        }
        self.asked.keys().nth(random.index(self.asked.len())).copied()
    }
}
