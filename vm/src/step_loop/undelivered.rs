//! Effects on their way: caused by a step, and not reported as delivered.
//!
//! A port may have all of them in memory, and nobody waits for an effect who could be told that there are too many. So the machine waits, as long as the
//! ports take: one that causes more than its ports deliver runs as fast as they do.

use std::collections::HashMap;

use seed::EffectId;

/// What is on its way, by its size.
#[derive(Default)]
pub(super) struct Undelivered {
    effects: HashMap<EffectId, u64>,
    bytes: u64,
}

impl Undelivered {
    /// A step has caused one.
    pub(super) fn add(&mut self, effect: EffectId, payload: &[u8]) {
        let bytes = payload.len() as u64;
        self.effects.insert(effect, bytes);
        self.bytes += bytes;
    }

    /// One has arrived, or is to go nowhere.
    pub(super) fn remove(&mut self, effect: EffectId) {
        // Ports may report one twice.
        self.bytes -= self.effects.remove(&effect).unwrap_or(0);
    }

    /// How many bytes there are of them.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
