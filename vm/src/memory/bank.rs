//! Making memories for wasmtime, and finding the host's handle of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use super::{GuestMemory, MemoryError, Tracker, WASM_PAGE_BYTES, lock};

/// Makes the memories of all instances of an engine. Give it to `Config::with_host_memory`.
pub(crate) struct MemoryBank {
    tracker: Tracker,
    /// Memories made so far by each thread that is inside [`MemoryBank::watch`].
    watched: Mutex<HashMap<ThreadId, Vec<Arc<GuestMemory>>>>,
}

impl MemoryBank {
    /// A bank whose memories use the given tracker, which should come from [`Tracker::select`].
    pub(crate) fn new(tracker: Tracker) -> MemoryBank {
        MemoryBank { tracker, watched: Mutex::default() }
    }

    /// Calls `instantiate`, and returns with its result the memories that it made on this thread, in the order in which
    /// they were made, which is that of the module's own memories. Other threads may instantiate at the same time.
    pub(crate) fn watch<R>(&self, instantiate: impl FnOnce() -> R) -> (R, Vec<Arc<GuestMemory>>) {
        let thread = thread::current().id();
        lock(&self.watched).insert(thread, Vec::new());
        let result = instantiate();
        let memories = lock(&self.watched).remove(&thread).unwrap_or_default();
        (result, memories)
    }

    /// Makes a memory, as wasmtime asks for it.
    pub(crate) fn create(
        &self,
        ty: &wasmtime::MemoryType,
        minimum: usize,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Arc<GuestMemory>, MemoryError> {
        if ty.is_64() {
            return Err(MemoryError::Unsupported { reason: "it is a 64-bit memory" });
        }
        if ty.is_shared() {
            return Err(MemoryError::Unsupported { reason: "it is shared between threads" });
        }
        if ty.page_size() != WASM_PAGE_BYTES as u64 {
            return Err(MemoryError::Unsupported { reason: "its pages are not 64 KiB" });
        }
        let Some(reserved) = reserved.filter(|reserved| *reserved >= minimum) else {
            return Err(MemoryError::Unsupported { reason: "the engine does not reserve its addresses" });
        };
        let memory = Arc::new(GuestMemory::create(self.tracker, minimum, reserved, guard)?);
        if let Some(memories) = lock(&self.watched).get_mut(&thread::current().id()) {
            memories.push(Arc::clone(&memory));
        }
        Ok(memory)
    }
}
