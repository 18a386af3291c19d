//! Modules that this process has prepared lately: a machine's is needed by two engines at every start.

use std::sync::{Arc, Mutex, PoisonError};

use seed::Id;

use super::{Prepared, Refusal, prepare};

/// A machine needs its own; one that becomes another program, two.
const KEPT: usize = 2;

/// Prepared modules by name. Clones share them.
#[derive(Clone, Default)]
pub struct Memo(Arc<Mutex<Vec<Known>>>);

type Known = (Id, Arc<Prepared>);

impl Memo {
    /// The module of this name, prepared. The name is a hash of it.
    ///
    /// # Errors
    /// If it cannot be a machine.
    pub fn prepare(&self, id: &Id, wasm: &[u8]) -> Result<Arc<Prepared>, Refusal> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, prepared)) = known().iter().find(|(known, _)| known == id) {
            return Ok(Arc::clone(prepared));
        }
        let prepared = Arc::new(prepare(wasm)?);
        let mut known = known();
        known.truncate(KEPT - 1);
        known.insert(0, (*id, Arc::clone(&prepared)));
        Ok(prepared)
    }
}
