//! Loading the pages of a large image when they are first touched.
//!
//! The memory's pages are missing at first. A touch of one stops the thread that touches it and wakes the pager's thread, which
//! loads the block around it and lets the toucher go on. Blocks are 64 KiB, loaded whole: a fault costs tens of microseconds, a page
//! in a block about one, and neighbours are usually wanted next. Loaded pages count as not written.
//!
//! Invariants:
//! * A page that cannot be loaded is never made up. The toucher stays stopped and the owner is told.
//! * Whether a block is missing is known here exactly: only this code fills blocks, and only it is told to forget them.

use std::error::Error;
use std::io::{self, PipeWriter};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::{PAGE_BYTES, WASM_PAGE_BYTES, lock};
use crate::raw::{Faults, Mapping, Watch};

/// Where the pages of an image come from.
pub trait Pager: Send {
    /// Fills `out`, which is zero, with a page that the image has, checked. Called once for each page at most, in no order.
    fn load(&mut self, page: u32, out: &mut [u8; PAGE_BYTES]) -> Result<(), PagerError>;
}

/// A page of an image that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PagerError {
    /// It could not be read, or what was read is not what the image says.
    #[error("could not load page {page} of the image")]
    Load {
        /// The page.
        page: u32,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Loading it panicked, which is a bug.
    #[error("loading page {page} of the image panicked")]
    Panicked {
        /// The page.
        page: u32,
    },
    /// The host has no memory for it.
    #[error("could not put page {page} of the image into memory")]
    Supply {
        /// The page, the first of a block.
        page: u32,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// Touches of missing pages are not reported any more.
    #[error("could not learn which page of the image is needed")]
    Watch(#[source] io::Error),
}

/// How far a page-in is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// Pages of the image in memory.
    pub(crate) page_count: u32,
    /// Pages that the image has.
    pub(crate) page_count_total: u32,
}

/// An image that is being paged in. Dropping it ends the thread, for a memory that goes away altogether.
pub(super) struct LazyImage {
    shared: Arc<Shared>,
    bytes: usize,
    // Closing this pipe ends the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl LazyImage {
    /// Starts paging into a mapping that was just cleared.
    pub(super) fn attach(
        faults: Arc<Faults>,
        mapping: Arc<Mapping>,
        populated: &dyn Fn(u32) -> bool,
        pager: Box<dyn Pager>,
        on_lost: Box<dyn Fn(PagerError) + Send>,
    ) -> io::Result<LazyImage> {
        let bytes = mapping.byte_size();
        let blocks = Blocks::new(bytes / BLOCK_BYTES, populated);
        let shared = Arc::new(Shared {
            faults,
            mapping,
            state: Mutex::new(State { blocks, pager }),
            lost: AtomicBool::new(false),
        });
        let (stopped, stop) = io::pipe()?;
        let served = Arc::clone(&shared);
        let serve = move || {
            if let Err(error) = served.serve(stopped.as_fd()) {
                served.lost.store(true, Ordering::Release);
                on_lost(error);
            }
        };
        let thread = thread::Builder::new().name("abide-pager".to_owned()).spawn(serve)?;
        let image = LazyImage { shared, bytes, stop: Some(stop), thread: Some(thread) };
        // Last, so that nothing can wait for a thread that could not be started.
        if bytes > 0 {
            image.shared.faults.watch(&image.shared.mapping, Some(bytes), Watch::WritesAndMissing)?;
        }
        Ok(image)
    }

    /// What the pager's thread works on, to work on it elsewhere.
    #[cfg(test)]
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Everything from `bytes` on is about to be given back, and is zero if it becomes accessible again.
    pub(super) fn forget_beyond(&self, bytes: usize) {
        lock(&self.shared.state).blocks.forget_beyond(bytes / BLOCK_BYTES);
    }

    /// Ends the page-in of a memory that is about to be cleared. Pages not loaded by now are zero, and writes are no longer
    /// tracked in the range of the image. Refused after a page was lost, because it would let the toucher of that page go on.
    pub(super) fn detach(&mut self, mapping: &Mapping) -> io::Result<()> {
        self.end_thread();
        if self.shared.lost.load(Ordering::Acquire) {
            return Err(io::Error::other("a page of the image was lost"));
        }
        if self.bytes == 0 {
            return Ok(());
        }
        self.shared.faults.unwatch(mapping, self.bytes)
    }

    fn end_thread(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic can only come from `on_lost`, whose owner has seen it by then.
            let _ = thread.join();
        }
    }
}

impl Drop for LazyImage {
    fn drop(&mut self) {
        self.end_thread();
    }
}

/// A page-in in progress, shared between the pager's thread and the host.
pub(super) struct Shared {
    faults: Arc<Faults>,
    mapping: Arc<Mapping>,
    state: Mutex<State>,
    /// Somebody may be waiting for a page that will never come.
    lost: AtomicBool,
}

struct State {
    blocks: Blocks,
    pager: Box<dyn Pager>,
}

impl Shared {
    /// Answers touches of missing pages until told to stop or a page is lost.
    fn serve(&self, stop: std::os::fd::BorrowedFd<'_>) -> Result<(), PagerError> {
        let mut buffer = vec![0; BLOCK_BYTES];
        while let Some(offset) = self.faults.next_missing(&self.mapping, stop).map_err(PagerError::Watch)? {
            self.bring(&mut lock(&self.state), offset / BLOCK_BYTES, &mut buffer)?;
        }
        Ok(())
    }

    /// Loads missing blocks of the image in order until `page_count` pages have come in.
    #[cfg(test)]
    pub(super) fn load_some(&self, page_count: u32) -> Result<Loaded, PagerError> {
        let mut buffer = vec![0; BLOCK_BYTES];
        let mut state = lock(&self.state);
        let goal = state.blocks.loaded.page_count.saturating_add(page_count);
        while state.blocks.loaded.page_count < goal {
            let Some(block) = state.blocks.next_populated() else { break };
            self.bring(&mut state, block, &mut buffer)?;
            // Let the pager's thread in: somebody may be waiting for another page.
            drop(state);
            state = lock(&self.state);
        }
        Ok(state.blocks.loaded)
    }

    /// How far it is.
    #[cfg(test)]
    pub(super) fn loaded(&self) -> Loaded {
        lock(&self.state).blocks.loaded
    }

    /// Makes sure that a block is in memory, and that whoever waits for it goes on.
    fn bring(&self, state: &mut State, block: usize, buffer: &mut [u8]) -> Result<(), PagerError> {
        let offset = block * BLOCK_BYTES;
        let first = first_page(block);
        let supply_failed = |source| PagerError::Supply { page: first, source };
        let Some(populated) = state.blocks.missing(block) else {
            return self.faults.wake(&self.mapping, offset, BLOCK_BYTES).map_err(supply_failed);
        };
        buffer.fill(0);
        let (pages, _) = buffer.as_chunks_mut::<PAGE_BYTES>();
        for (page, out) in (first..).zip(pages) {
            if populated & (1 << (page - first)) != 0 {
                load_checked(&mut *state.pager, page, out)?;
            }
        }
        self.faults.supply(&self.mapping, offset, buffer).map_err(supply_failed)?;
        state.blocks.arrived(block);
        Ok(())
    }
}

/// Loads a page; a panic must not unwind past a stopped thread unnoticed.
fn load_checked(pager: &mut dyn Pager, page: u32, out: &mut [u8; PAGE_BYTES]) -> Result<(), PagerError> {
    panic::catch_unwind(AssertUnwindSafe(|| pager.load(page, out))).unwrap_or(Err(PagerError::Panicked { page }))
}

/// What is still missing.
struct Blocks {
    blocks: Vec<Block>,
    loaded: Loaded,
}

#[derive(Clone, Copy)]
struct Block {
    missing: bool,
    /// A bit for each page that the image has.
    populated: u16,
}

/// Bytes brought in at once: a WebAssembly page, so that a memory is a whole number of blocks, and a multiple of any host page.
const BLOCK_BYTES: usize = WASM_PAGE_BYTES;
const BLOCK_PAGES: u32 = u16::BITS;
const _: () = assert!(BLOCK_PAGES as usize * PAGE_BYTES == BLOCK_BYTES);

impl Blocks {
    fn new(count: usize, populated: &dyn Fn(u32) -> bool) -> Blocks {
        let block = |block| {
            let first = first_page(block);
            let bits = (0..BLOCK_PAGES).filter(|page| populated(first + page)).fold(0, |bits, page| bits | 1 << page);
            Block { missing: true, populated: bits }
        };
        let blocks: Vec<Block> = (0..count).map(block).collect();
        let page_count_total = blocks.iter().map(|block| block.populated.count_ones()).sum();
        Blocks { blocks, loaded: Loaded { page_count: 0, page_count_total } }
    }

    /// The pages that a block has in the image, if it is missing.
    fn missing(&self, block: usize) -> Option<u16> {
        self.blocks.get(block).filter(|block| block.missing).map(|block| block.populated)
    }

    #[cfg(test)]
    fn next_populated(&self) -> Option<usize> {
        let wanted = |block: &Block| block.missing && block.populated != 0;
        self.blocks.iter().position(wanted)
    }

    fn arrived(&mut self, block: usize) {
        let block = &mut self.blocks[block];
        block.missing = false;
        self.loaded.page_count += block.populated.count_ones();
    }

    fn forget_beyond(&mut self, count: usize) {
        for block in self.blocks.iter_mut().skip(count) {
            let pages = block.populated.count_ones();
            self.loaded.page_count_total -= pages;
            if !block.missing {
                self.loaded.page_count -= pages;
            }
            *block = Block { missing: true, populated: 0 };
        }
    }
}

fn first_page(block: usize) -> u32 {
    u32::try_from(block).unwrap_or(u32::MAX / BLOCK_PAGES) * BLOCK_PAGES
}
