//! The linear memory of a guest, owned by the host so that it can tell which pages a step wrote.
//!
//! * [`MemoryBank`] makes memories for wasmtime and remembers them for the host.
//! * [`StopMemory`] is no state, but where a running guest is made to stop.
//! * [`GuestMemory`] is the host's handle: collect what was written, read pages, restore pages, resize.
//! * [`Chunks`] says where to look for written pages, so that a collect does not look everywhere.
//! * [`Tracker`] is the mechanism that finds them there, chosen by a self-test.
//! * [`Pager`] brings pages of a large image in when they are touched.
//!
//! A page is 4 KiB here whatever the host's page is; on a host with larger pages, one written host page counts as all the pages
//! in it.
//!
//! # When to call what
//!
//! While guest code runs in a memory, the host calls nothing on its handle but [`GuestMemory::byte_size`],
//! [`GuestMemory::load_some`] and [`GuestMemory::loaded`]; the pager's own thread works at any time. Between calls into the guest
//! every function may be called from any thread, and such calls exclude each other.
//!
//! The host writes to a memory through its handle, or, on behalf of a call of the guest, from within it. wasmtime's own functions that write must not
//! be used otherwise: what they write to may be read-only, and nobody would handle the fault.
//!
//! # What an engine must be configured with
//!
//! `with_host_memory(bank)`, `memory_init_cow(false)` (with copy-on-write images wasmtime panics on a memory it did not map),
//! the on-demand allocator (the pooling one ignores the bank), no shared or 64-bit memories. `wasmtime::Memory::new` does not use the
//! bank; only memories that a module defines do.
//!
//! wasmtime turns every error of a memory into a `memory.grow` that returns -1, unless the store has a limiter whose
//! `memory_grow_failed` returns the error. For a machine, -1 because this host is short of memory would be a
//! divergence, so the limiter must pass [`MemoryError`] on (`error.is::<MemoryError>()`), and
//! [`GuestMemory::take_growth_failure`] tells afterwards, too.
//!
//! wasmtime keeps its own copy of a memory's size. After [`GuestMemory::reset`] or [`GuestMemory::shrink_to`] the host must call
//! `wasmtime::Memory::grow(store, 0)`, which makes it look again; without that, `memory.size` and bulk instructions go by the old size.

mod bank;
mod chunks;
pub(crate) mod kernel;
mod pager;
mod self_test;
mod stop;
mod tracker;

#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use self::bank::{Made, MemoryBank, NewMemory};
#[cfg(test)]
pub(crate) use self::pager::Loaded;
pub use self::pager::{Pager, PagerError};
pub(crate) use self::stop::StopMemory;
pub use self::tracker::Tracker;

use self::chunks::{Chunks, Grain};
use self::pager::LazyImage;
use self::tracker::Tracking;
use crate::raw::Mapping;

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Bytes of a WebAssembly page, the unit a memory grows by.
pub(crate) const WASM_PAGE_BYTES: usize = 65536;

const ZERO_PAGE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// What a guest memory could not do. All of these are the host's troubles, never the guest's.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The kind of memory cannot be captured.
    #[error("this memory cannot be made: {reason}")]
    Unsupported {
        /// What about it, for people.
        reason: &'static str,
    },
    /// No address space.
    #[error("could not reserve {reserved_bytes} bytes of addresses for a memory")]
    Reserve {
        /// The reservation, guard included.
        reserved_bytes: usize,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// The host has no memory for a growth that the machine's limits allow.
    #[error("could not give a memory {wanted_bytes} bytes")]
    Resize {
        /// The size wanted.
        wanted_bytes: usize,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// Giving pages back failed.
    #[error("could not clear a memory")]
    Clear(#[source] io::Error),
    /// Tracking could not be set up.
    #[error("could not start tracking writes to a memory ({tracker})")]
    Track {
        /// The mechanism.
        tracker: Tracker,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// Written pages could not be found. What was written is unknown, so the memory must not be used any more.
    #[error("could not find the written pages of a memory ({tracker})")]
    Collect {
        /// The mechanism.
        tracker: Tracker,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// A page could not be made read-only or writable.
    #[error("could not change the protection of page {page}")]
    Protect {
        /// The page.
        page: u32,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// Page-in could not be set up.
    #[error("could not start loading pages on demand")]
    Attach(#[source] io::Error),
    /// Page-in could not be ended.
    #[error("could not stop loading pages on demand")]
    Detach(#[source] io::Error),
    /// A page of the image could not be had.
    #[error(transparent)]
    Pager(#[from] PagerError),
}

/// The host's handle of one guest memory. wasmtime holds the other one.
pub(crate) struct GuestMemory {
    // Declared first, dropped first: the pager's thread must be gone before the memory is unmapped.
    image: Mutex<Option<LazyImage>>,
    /// Held while chunks are opened or shut, but not by the signal handler.
    tracking: Mutex<Tracking>,
    chunks: Chunks,
    growth_failure: Mutex<Option<MemoryError>>,
    /// Where the page is that [`Self::protect_for_report`] protects, or [`NOWHERE`].
    watched: AtomicUsize,
    bulk_write_seen: AtomicBool,
    mapping: Arc<Mapping>,
}

/// What becomes of a write that faulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultedWrite {
    /// It is made again, and will pass.
    Repeat,
    /// A bulk instruction wrote the page that is watched. It is made again, and the guest should be stopped soon after.
    RepeatAndStop,
    /// The engine may make a trap of it: the guest wrote the page that is watched, or this is none of ours.
    Trap,
}

const NOWHERE: usize = usize::MAX;

impl GuestMemory {
    fn create(
        tracker: Tracker,
        grain: Grain,
        bytes: usize,
        capacity: usize,
        guard: usize,
    ) -> Result<GuestMemory, MemoryError> {
        let mapping = Mapping::reserve(capacity, guard)
            .map_err(|source| MemoryError::Reserve { reserved_bytes: capacity.saturating_add(guard), source })?;
        let tracking = Tracking::start(tracker, &mapping).map_err(|source| MemoryError::Track { tracker, source })?;
        let memory = GuestMemory {
            image: Mutex::new(None),
            tracking: Mutex::new(tracking),
            chunks: Chunks::new(grain, capacity),
            growth_failure: Mutex::new(None),
            watched: AtomicUsize::new(NOWHERE),
            bulk_write_seen: AtomicBool::new(false),
            mapping: Arc::new(mapping),
        };
        memory.resize(bytes)?;
        Ok(memory)
    }

    /// Bytes accessible now.
    pub(crate) fn byte_size(&self) -> u64 {
        self.mapping.byte_size() as u64
    }

    /// Pages accessible now.
    pub(crate) fn page_count(&self) -> u32 {
        page_index(self.mapping.byte_size())
    }

    /// Replaces `out` by the pages that may have been written since the last collect or [`clean`](Self::clean), in ascending
    /// order, each once, and starts over. A page that was written is always among them; one that was not is rarely.
    pub(crate) fn collect_dirty(&self, out: &mut Vec<u32>) -> Result<(), MemoryError> {
        out.clear();
        let mut tracking = lock(&self.tracking);
        let tracker = tracking.tracker();
        tracking.collect(&self.mapping, &self.chunks, out).map_err(|source| MemoryError::Collect { tracker, source })
    }

    /// Replaces `out` by the same pages, which go on counting as written. So a page that is written again and again faults once.
    pub(crate) fn look_for_dirty(&self, out: &mut Vec<u32>) -> Result<(), MemoryError> {
        out.clear();
        let mut tracking = lock(&self.tracking);
        let tracker = tracking.tracker();
        tracking.look(&self.mapping, &self.chunks, out).map_err(|source| MemoryError::Collect { tracker, source })
    }

    /// Makes every page count as not written: what the memory holds now is what the host means it to hold.
    pub(crate) fn clean(&self) -> Result<(), MemoryError> {
        self.collect_dirty(&mut Vec::new())
    }

    /// The contents of one page.
    ///
    /// # Panics
    ///
    /// This and all functions that take a page or a range panic if it is outside the memory.
    #[cfg(test)]
    pub(crate) fn read_page(&self, index: u32) -> [u8; PAGE_BYTES] {
        let mut page = ZERO_PAGE;
        self.copy_page(index, &mut page);
        page
    }

    /// The bytes of open chunks.
    #[cfg(test)]
    pub(crate) fn open_ranges(&self) -> Vec<Range<usize>> {
        self.chunks.written_ranges(&self.mapping).collect()
    }

    /// Copies one page out.
    pub(crate) fn copy_page(&self, index: u32, out: &mut [u8; PAGE_BYTES]) {
        self.mapping.read(page_offset(index), out);
    }

    /// Copies a range of bytes out.
    pub(crate) fn read(&self, range: Range<u64>) -> Vec<u8> {
        assert!(range.start <= range.end && range.end <= self.byte_size(), "{range:?} is outside the memory");
        // Both ends are within the mapping, whose size is a usize.
        let (start, end) = (usize::try_from(range.start).unwrap_or(0), usize::try_from(range.end).unwrap_or(0));
        let mut bytes = vec![0; end - start];
        self.mapping.read(start, &mut bytes);
        bytes
    }

    /// Sets one page. It counts as written until [`clean`](Self::clean).
    pub(crate) fn write_page(&self, index: u32, page: &[u8; PAGE_BYTES]) -> Result<(), MemoryError> {
        self.write(page_offset(index), page)
    }

    /// Sets a range of bytes. Its pages count as written.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), MemoryError> {
        let _tracking = lock(&self.tracking);
        let opened = self.chunks.open(&self.mapping, offset..offset + bytes.len());
        opened.map_err(|source| MemoryError::Protect { page: page_index(offset), source })?;
        self.mapping.write(offset, bytes);
        Ok(())
    }

    /// Makes one page zero. It counts as written until [`clean`](Self::clean).
    #[cfg(test)]
    pub(crate) fn zero_page(&self, index: u32) -> Result<(), MemoryError> {
        self.write_page(index, &ZERO_PAGE)
    }

    /// Makes the memory all zero, of the given size, with nothing counting as written and no pager.
    pub(crate) fn reset(&self, byte_size: u64) -> Result<(), MemoryError> {
        let mut image = lock(&self.image);
        if let Some(image) = &mut *image {
            image.detach(&self.mapping).map_err(MemoryError::Detach)?;
        }
        *image = None;
        self.mapping.clear().map_err(MemoryError::Clear)?;
        self.resize(whole_pages(byte_size)?)?;
        lock(&self.tracking).cleared(&self.mapping).map_err(MemoryError::Clear)
    }

    /// Takes back growth: makes the memory smaller, leaving what is below as it is.
    ///
    /// # Panics
    ///
    /// If `byte_size` is above the present size.
    pub(crate) fn shrink_to(&self, byte_size: u64) -> Result<(), MemoryError> {
        assert!(byte_size <= self.byte_size(), "shrinking to {byte_size} bytes would grow the memory");
        let bytes = whole_pages(byte_size)?;
        if let Some(image) = &*lock(&self.image) {
            image.forget_beyond(bytes);
        }
        self.resize(bytes)?;
        lock(&self.tracking).shrunk(bytes);
        Ok(())
    }

    /// Makes one page read-only, so that the next guest store to it traps in the function that stores. On hosts with larger pages
    /// its neighbours are read-only, too. Only for finding out who writes.
    ///
    /// A bulk instruction (`memory.fill`, `memory.copy`, `memory.init`) writes from host code, where a fault ends the process, unless
    /// [`crate::raw::handle_faults`] was told of the memory.
    pub(crate) fn protect_for_report(&self, index: u32) -> Result<(), MemoryError> {
        self.bulk_write_seen.store(false, Ordering::Relaxed);
        let _tracking = lock(&self.tracking);
        let page = self.mapping.host_page_of(page_offset(index));
        // Opened first: another write in its chunk must not open the page, too.
        let opened = self.chunks.open(&self.mapping, page.clone());
        let protected = opened.and_then(|()| self.mapping.allow_writes(page.clone(), false));
        protected.map_err(|source| MemoryError::Protect { page: index, source })?;
        self.watched.store(page.start, Ordering::Relaxed);
        Ok(())
    }

    /// Undoes [`protect_for_report`](Self::protect_for_report).
    pub(crate) fn unprotect(&self, index: u32) -> Result<(), MemoryError> {
        self.watched.store(NOWHERE, Ordering::Relaxed);
        let page = self.mapping.host_page_of(page_offset(index));
        self.mapping.allow_writes(page, true).map_err(|source| MemoryError::Protect { page: index, source })
    }

    /// Whether a bulk instruction wrote to a page since it was protected. The page is writable again then. Such a write does not trap,
    /// but the guest is interrupted, so that whoever decides then can ask this and end the call near the instruction.
    pub(crate) fn bulk_write_seen(&self) -> bool {
        self.bulk_write_seen.load(Ordering::Relaxed)
    }

    /// From here on [`write_faulted`](Self::write_faulted) is called when a write to this memory faults, by whomever it is made on the
    /// guest's behalf. Until then every page is writable.
    pub(crate) fn allow_shutting(&self) {
        self.chunks.allow_shutting();
    }

    /// What becomes of a write at `offset`, within the memory, that faulted. Called in a signal handler, on the thread that writes: takes no lock
    /// and allocates nothing.
    pub(crate) fn write_faulted(&self, offset: usize, in_guest_code: bool) -> Result<FaultedWrite, MemoryError> {
        let page = self.mapping.host_page_of(offset);
        let protect = |source| MemoryError::Protect { page: page_index(offset), source };
        if self.watched.load(Ordering::Relaxed) == page.start {
            if in_guest_code {
                return Ok(FaultedWrite::Trap);
            }
            self.mapping.allow_writes(page, true).map_err(protect)?;
            self.watched.store(NOWHERE, Ordering::Relaxed);
            self.bulk_write_seen.store(true, Ordering::Relaxed);
            return Ok(FaultedWrite::RepeatAndStop);
        }
        if self.chunks.is_open(offset) {
            return Ok(FaultedWrite::Trap);
        }
        self.chunks.open(&self.mapping, page).map_err(protect)?;
        Ok(FaultedWrite::Repeat)
    }

    /// Makes the memory, at its present size, hold an image whose pages come from `pager` when they are first touched.
    /// `populated` says which pages the image has; the others are zero. Nothing counts as written afterwards.
    ///
    /// When a page cannot be had later on, `on_lost` is called on the pager's thread, and whoever touched the page stays stopped
    /// for good: it never sees wrong bytes. `on_lost` should end the process. With [`Tracker::Compare`] all pages are loaded before
    /// this returns, and a page that cannot be had is this function's error.
    pub(crate) fn attach_pager(
        &self,
        populated: &dyn Fn(u32) -> bool,
        mut pager: Box<dyn Pager>,
        on_lost: Box<dyn Fn(PagerError) + Send>,
    ) -> Result<(), MemoryError> {
        self.reset(self.byte_size())?;
        let Some(faults) = lock(&self.tracking).faults() else {
            let mut page = ZERO_PAGE;
            for index in (0..self.page_count()).filter(|index| populated(*index)) {
                page.fill(0);
                pager.load(index, &mut page)?;
                self.write_page(index, &page)?;
            }
            return self.clean();
        };
        let image = LazyImage::attach(faults, Arc::clone(&self.mapping), populated, pager, on_lost);
        *lock(&self.image) = Some(image.map_err(MemoryError::Attach)?);
        Ok(())
    }

    /// Loads up to about `page_count` pages that nobody has touched yet, and says how far it is. For finishing a page-in in
    /// the background, in slices; may run while the guest runs. A page that cannot be had is an error here, not `on_lost`.
    #[cfg(test)]
    pub(crate) fn load_some(&self, page_count: u32) -> Result<Loaded, PagerError> {
        let shared = lock(&self.image).as_ref().map(LazyImage::shared);
        shared.map_or(Ok(Loaded::default()), |shared| shared.load_some(page_count))
    }

    /// How far the page-in is. Without a pager there is nothing to load, which is zero of zero.
    #[cfg(test)]
    pub(crate) fn loaded(&self) -> Loaded {
        lock(&self.image).as_ref().map(|image| image.shared().loaded()).unwrap_or_default()
    }

    /// Why the last growth failed, if the host refused one since the last call. See the module's text.
    #[cfg(test)]
    pub(crate) fn take_growth_failure(&self) -> Option<MemoryError> {
        lock(&self.growth_failure).take()
    }

    /// Grows on behalf of the guest.
    pub(crate) fn grow_to(&self, bytes: usize) -> Result<(), MemoryError> {
        self.resize(bytes).inspect_err(|error| {
            // The error itself goes to wasmtime, which may swallow it.
            let MemoryError::Resize { wanted_bytes, source } = error else { return };
            let source = source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
            *lock(&self.growth_failure) = Some(MemoryError::Resize { wanted_bytes: *wanted_bytes, source });
        })
    }

    /// The memory's address range, for the parts of this crate that hand it to wasmtime.
    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    fn resize(&self, bytes: usize) -> Result<(), MemoryError> {
        let _tracking = lock(&self.tracking);
        let before = self.mapping.byte_size();
        let resized = if bytes > self.mapping.capacity() || !bytes.is_multiple_of(self.mapping.host_page()) {
            Err(io::ErrorKind::InvalidInput.into())
        } else {
            let opened = if bytes > before { self.chunks.growing(&self.mapping, before) } else { Ok(()) };
            opened.and_then(|()| self.mapping.resize(bytes))
        };
        self.chunks.resized(before, self.mapping.byte_size());
        resized.map_err(|source| MemoryError::Resize { wanted_bytes: bytes, source })
    }
}

fn page_offset(index: u32) -> usize {
    index as usize * PAGE_BYTES
}

/// The page that contains the byte at `offset`.
fn page_index(offset: usize) -> u32 {
    u32::try_from(offset / PAGE_BYTES).unwrap_or(u32::MAX)
}

/// A size that came from outside, checked to be a number of WebAssembly pages.
fn whole_pages(byte_size: u64) -> Result<usize, MemoryError> {
    usize::try_from(byte_size)
        .ok()
        .filter(|bytes| bytes.is_multiple_of(WASM_PAGE_BYTES))
        .ok_or(MemoryError::Unsupported { reason: "its size is not a number of 64 KiB pages" })
}

/// Locks a state that every holder leaves whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
