//! Making memories for wasmtime, and finding the host's handle of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, ThreadId};

use super::chunks::Grain;
use super::stop::StopMemory;
use super::{GuestMemory, MemoryError, Tracker, WASM_PAGE_BYTES, lock};

/// Makes the memories of all instances of an engine. Give it to `Config::with_host_memory`.
pub(crate) struct MemoryBank {
    tracker: Tracker,
    grain: Grain,
    /// Memories made so far by each thread that is inside [`MemoryBank::watch`].
    watched: Mutex<HashMap<ThreadId, Watched>>,
    /// Every stop memory that is still in use.
    stops: Mutex<Vec<Weak<StopMemory>>>,
}

/// The memories of one instance.
#[derive(Default)]
pub(crate) struct Made {
    /// The program's own, in the order of its module.
    pub(crate) memories: Vec<Arc<GuestMemory>>,
    /// The one that preparation added.
    pub(crate) stop: Option<Arc<StopMemory>>,
}

struct Watched {
    /// How many memories the program has of its own.
    own: usize,
    made: Made,
}

/// A memory, as wasmtime is given it.
pub(crate) enum NewMemory {
    /// One of the program's own.
    Own(Arc<GuestMemory>),
    /// The one that preparation added.
    Stop(Arc<StopMemory>),
}

impl MemoryBank {
    /// A bank whose memories use the given tracker, which should come from [`Tracker::select`].
    pub(crate) fn new(tracker: Tracker) -> MemoryBank {
        MemoryBank::with_grain(tracker, tracker.grain())
    }

    /// One whose memories are divided otherwise than this tracker wants.
    pub(super) fn with_grain(tracker: Tracker, grain: Grain) -> MemoryBank {
        MemoryBank { tracker, grain, watched: Mutex::default(), stops: Mutex::default() }
    }

    /// Calls `instantiate`, and returns with its result the memories that it made on this thread: the `own` first ones of the module, and
    /// the stop memory if there is one more. Other threads may instantiate at the same time.
    pub(crate) fn watch<R>(&self, own: usize, instantiate: impl FnOnce() -> R) -> (R, Made) {
        let thread = thread::current().id();
        lock(&self.watched).insert(thread, Watched { own, made: Made::default() });
        let result = instantiate();
        let watched = lock(&self.watched).remove(&thread);
        (result, watched.map(|watched| watched.made).unwrap_or_default())
    }

    /// Closes every stop memory, so that each guest that runs faults soon. For any thread, and for signal handlers whose thread was
    /// interrupted outside of this value's functions.
    pub(crate) fn close_stops(&self) {
        for stop in lock(&self.stops).iter().filter_map(Weak::upgrade) {
            // The host may lack the means just now; whoever closes does so again and again.
            let _ = stop.close();
        }
    }

    /// Makes a memory, as wasmtime asks for it.
    pub(crate) fn create(
        &self,
        ty: &wasmtime::MemoryType,
        minimum: usize,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<NewMemory, MemoryError> {
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
        let thread = thread::current().id();
        let is_stop =
            lock(&self.watched).get(&thread).is_some_and(|watched| watched.made.memories.len() == watched.own);
        let memory = if is_stop {
            NewMemory::Stop(Arc::new(StopMemory::create(minimum, reserved, guard)?))
        } else {
            NewMemory::Own(Arc::new(GuestMemory::create(self.tracker, self.grain, minimum, reserved, guard)?))
        };
        if let NewMemory::Stop(stop) = &memory {
            let mut stops = lock(&self.stops);
            stops.retain(|stop| stop.strong_count() > 0);
            stops.push(Arc::downgrade(stop));
        }
        if let Some(Watched { made, .. }) = lock(&self.watched).get_mut(&thread) {
            match &memory {
                NewMemory::Own(memory) => made.memories.push(Arc::clone(memory)),
                NewMemory::Stop(stop) => made.stop = Some(Arc::clone(stop)),
            }
        }
        Ok(memory)
    }
}
