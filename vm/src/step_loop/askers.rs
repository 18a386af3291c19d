//! Who waits for what: a message that was not run yet, or a reply.
//!
//! Invariant: what is done for one asker does not depend on how many others there are.

use std::collections::{HashMap, HashSet};

use seed::ReplyId;

use super::news::Asker;

/// All who wait.
#[derive(Default)]
pub(super) struct Askers {
    /// Whose message waits to be run.
    before: HashSet<Asker>,
    /// Who waits for each reply, in the order in which they asked.
    of: HashMap<ReplyId, Vec<Asker>>,
    /// For which reply each waits.
    reply: HashMap<Asker, ReplyId>,
}

impl Askers {
    /// A message has come.
    pub(super) fn arrive(&mut self, asker: Option<Asker>) {
        self.before.extend(asker);
    }

    /// A message is about to be run. Whether nobody has lost interest in it.
    pub(super) fn admit(&mut self, asker: Option<Asker>) -> bool {
        asker.is_none_or(|asker| self.before.remove(&asker))
    }

    /// From now on they wait for this reply.
    pub(super) fn wait(&mut self, asker: Asker, reply: ReplyId) {
        self.of.entry(reply).or_default().push(asker);
        self.reply.insert(asker, reply);
    }

    /// Whether anybody waits for a reply.
    pub(super) fn has(&self, reply: ReplyId) -> bool {
        self.of.contains_key(&reply)
    }

    /// Who waits for a reply: those who will wait for more of it, or who wait no longer.
    pub(super) fn hear(&mut self, reply: ReplyId, more: bool) -> Vec<Asker> {
        if more {
            return self.of.get(&reply).cloned().unwrap_or_default();
        }
        let askers = self.of.remove(&reply).unwrap_or_default();
        for asker in &askers {
            self.reply.remove(asker);
        }
        askers
    }

    /// One of them has gone. Returns the reply that nobody waits for any more.
    pub(super) fn leave(&mut self, asker: Asker) -> Option<ReplyId> {
        self.before.remove(&asker);
        let reply = self.reply.remove(&asker)?;
        let left = self.of.get_mut(&reply)?;
        left.retain(|other| *other != asker);
        if !left.is_empty() {
            return None;
        }
        self.of.remove(&reply);
        Some(reply)
    }
}
