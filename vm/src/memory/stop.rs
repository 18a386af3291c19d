//! The memory at whose doors a guest stops: [`crate::prepare::STOP`], which native code reads wherever it could go on for long.
//!
//! It holds nothing, and is neither tracked nor captured. Closed, it makes the next read fault.

use super::MemoryError;
use crate::raw::Mapping;

/// The host's handle of a stop memory. wasmtime holds the other one.
pub(crate) struct StopMemory {
    mapping: Mapping,
}

impl StopMemory {
    pub(super) fn create(bytes: usize, capacity: usize, guard: usize) -> Result<Self, MemoryError> {
        let mapping = Mapping::reserve(capacity, guard)
            .map_err(|source| MemoryError::Reserve { reserved_bytes: capacity.saturating_add(guard), source })?;
        mapping.resize(bytes).map_err(|source| MemoryError::Resize { wanted_bytes: bytes, source })?;
        Ok(Self { mapping })
    }

    /// Lets guests pass.
    pub(crate) fn open(&self) -> Result<(), MemoryError> {
        self.mapping.allow_reads(true).map_err(|source| MemoryError::Protect { page: 0, source })
    }

    /// Makes the guest fault at its next read. To be called from any thread, at any time.
    pub(crate) fn close(&self) -> Result<(), MemoryError> {
        self.mapping.allow_reads(false).map_err(|source| MemoryError::Protect { page: 0, source })
    }

    /// The memory's address range, for the parts of this crate that hand it to wasmtime.
    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }
}
