//! Who calls: what the key of a call is made of besides the call itself, so that a call that is made again has the key it had, and no other call has it.
//!
//! A call's number is the machine's, in its image: two copies of a machine may both make a call 7. So its key is also of the incarnation that
//! made it. A call that is resumed may have been made by an earlier one, which is found in the log.

use std::sync::Arc;

use persist::branch::Branch;
use persist::journal::epochs;
use persist::store::Store;
use seed::image::Image;
use seed::object::Objects;
use seed::record::Epoch;
use seed::{CallId, Domain, Id, LoadError, PortId};
use tokio::sync::OnceCell;

/// A machine as its present incarnation, and those before.
pub struct Caller {
    machine: [u8; 16],
    present: Lived,
    store: Arc<dyn Store>,
    objects: Arc<dyn Objects + Send + Sync>,
    branch: Branch,
    /// The log's incarnations, in order, once somebody has asked.
    before: OnceCell<Arc<[Lived]>>,
}

#[derive(Debug, Clone, Copy)]
struct Lived {
    incarnation: [u8; 16],
    /// The last call that was made before it.
    after: CallId,
}

impl Caller {
    /// The machine of a branch, in its last epoch or in one that begins with this root.
    ///
    /// # Errors
    /// If the image that the epoch starts from cannot be had.
    pub fn new(
        (branch, begins): (Branch, Option<&Epoch>),
        last_call: CallId,
        store: Arc<dyn Store>,
        objects: Arc<dyn Objects + Send + Sync>,
    ) -> Result<Self, LoadError> {
        let present = match begins {
            Some(epoch) => Lived { incarnation: epoch.incarnation, after: last_call },
            None => Lived {
                incarnation: branch.epoch.incarnation,
                after: last_call_of(objects.as_ref(), &branch.epoch.image)?,
            },
        };
        Ok(Self { machine: branch.epoch.machine, present, store, objects, branch, before: OnceCell::new() })
    }

    /// The key of a call.
    ///
    /// # Errors
    /// Why it cannot be known who made it.
    pub async fn key(&self, call: CallId, payload: &[u8]) -> Result<String, String> {
        let incarnation = self.who_made(call).await?;
        Ok(key(&self.machine, &incarnation, call, payload))
    }

    /// What a port calls something of its own that another process, or another copy of the machine, must not take for its own. A machine that is
    /// killed and started again calls it the same.
    #[must_use]
    pub fn name_for(&self, port: PortId) -> String {
        let mut hash = blake3::Hasher::new_derive_key("abide port's own name 1");
        hash.update(&self.machine).update(&self.present.incarnation).update(&port.0.to_be_bytes());
        hash.finalize().to_hex().chars().take(16).collect()
    }

    async fn who_made(&self, call: CallId) -> Result<[u8; 16], String> {
        if call > self.present.after {
            return Ok(self.present.incarnation);
        }
        let before = self.before.get_or_try_init(|| self.read_log()).await?;
        let made = before.iter().rev().find(|lived| lived.after < call);
        // Before the log's first epoch, a machine that was saved as a seed had made it: whoever boots that seed makes it again, as a call of its own.
        made.or(before.first()).map(|lived| lived.incarnation).ok_or_else(|| "the log has no epoch".to_owned())
    }

    async fn read_log(&self) -> Result<Arc<[Lived]>, String> {
        let (store, objects, branch) = (Arc::clone(&self.store), Arc::clone(&self.objects), self.branch.clone());
        let read = move || {
            let lived = epochs(store.as_ref(), &branch).map_err(|error| error.to_string())?.into_iter().map(|epoch| {
                let after = last_call_of(objects.as_ref(), &epoch.image).map_err(|error| error.to_string())?;
                Ok(Lived { incarnation: epoch.incarnation, after })
            });
            lived.collect::<Result<Arc<[Lived]>, String>>()
        };
        tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
    }
}

fn last_call_of(objects: &dyn Objects, root: &Id) -> Result<CallId, LoadError> {
    let bytes = objects.load(Domain::Object, root)?;
    let image = Image::decode(&bytes).map_err(|source| LoadError::Malformed { id: *root, source })?;
    Ok(image.processes.iter().map(|process| process.ledger.last_call).max().unwrap_or_default())
}

fn key(machine: &[u8; 16], incarnation: &[u8; 16], call: CallId, payload: &[u8]) -> String {
    let mut hash = blake3::Hasher::new_derive_key("abide http-client idempotency key 1");
    hash.update(machine).update(incarnation).update(&call.0.to_be_bytes()).update(payload);
    hash.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_machine_incarnation_number_and_call() {
        let known = key(&[1; 16], &[2; 16], CallId(3), b"payload");
        assert_eq!(known, "8d725e728c3e78182206f9be87d7904b7015e2ab3d810e7f24633c8d1e5cf143");
        let others = [
            key(&[0; 16], &[2; 16], CallId(3), b"payload"),
            key(&[1; 16], &[0; 16], CallId(3), b"payload"),
            key(&[1; 16], &[2; 16], CallId(4), b"payload"),
            key(&[1; 16], &[2; 16], CallId(3), b"other"),
        ];
        assert!(!others.contains(&known));
    }
}
