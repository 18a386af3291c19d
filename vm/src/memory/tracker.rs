//! Finding the pages that were written, among those of open chunks.
//!
//! Write-protect costs about a microsecond for each page written and one or two for each open chunk and collect. Compare costs a read of the open
//! chunks for each collect and twice the memory, but works on any kernel and in any container.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::chunks::{Chunks, Grain};
use super::{PAGE_BYTES, ZERO_PAGE, page_index, page_offset, self_test};
use crate::raw::{Faults, Mapping, PageScan, Watch};

/// Which mechanism finds written pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracker {
    /// The kernel notes writes (userfaultfd, asynchronous write protection) and is asked for them (`PAGEMAP_SCAN`).
    WriteProtect,
    /// The host keeps a copy of the memory and compares. Needs no privileges.
    Compare,
}

impl Tracker {
    /// Chooses the tracker for this process: the wanted one, or the best that works, which is tried out rather than
    /// guessed from versions. The text says why, for people.
    pub fn select(wanted: Option<Tracker>) -> (Tracker, String) {
        if wanted == Some(Tracker::Compare) {
            return (Tracker::Compare, "asked for".to_owned());
        }
        match self_test::run() {
            Ok(()) => (Tracker::WriteProtect, "this kernel can track written pages".to_owned()),
            Err(failure) => (Tracker::Compare, format!("write protection does not work here: {failure}")),
        }
    }

    /// How memories are divided. Chosen by measurement: docs/decisions/0016.
    pub(super) fn grain(self) -> Grain {
        let patience = match self {
            Tracker::WriteProtect => 8,
            // Comparing a chunk costs as much as shutting and opening it.
            Tracker::Compare => 1,
        };
        Grain { chunk_bytes: 256 << 10, patience }
    }
}

impl fmt::Display for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tracker::WriteProtect => "write-protect",
            Tracker::Compare => "compare",
        })
    }
}

/// The state of a tracker for one memory.
pub(super) enum Tracking {
    WriteProtect { faults: Arc<Faults>, scan: &'static PageScan },
    Compare(Shadow),
}

impl Tracking {
    /// Starts tracking a mapping in which nothing is accessible yet.
    pub(super) fn start(tracker: Tracker, mapping: &Mapping) -> io::Result<Tracking> {
        Ok(match tracker {
            Tracker::WriteProtect => {
                mapping.refuse_huge_pages();
                let scan = process_scan()?;
                let faults = Faults::open()?;
                faults.watch(mapping, None, Watch::Writes)?;
                Tracking::WriteProtect { faults: Arc::new(faults), scan }
            }
            Tracker::Compare => Tracking::Compare(Shadow::default()),
        })
    }

    pub(super) fn tracker(&self) -> Tracker {
        match self {
            Tracking::WriteProtect { .. } => Tracker::WriteProtect,
            Tracking::Compare(_) => Tracker::Compare,
        }
    }

    /// What a pager needs to have touches of missing pages reported; `None` where that is not to be had.
    pub(super) fn faults(&self) -> Option<Arc<Faults>> {
        match self {
            Tracking::WriteProtect { faults, .. } => Some(Arc::clone(faults)),
            Tracking::Compare(_) => None,
        }
    }

    /// Appends the pages written since the last call to the empty `out`.
    pub(super) fn collect(&mut self, mapping: &Mapping, chunks: &Chunks, out: &mut Vec<u32>) -> io::Result<()> {
        for range in chunks.written_ranges(mapping) {
            match self {
                Tracking::WriteProtect { scan, .. } => {
                    scan.take_written(mapping, range, |run| out.extend(page_index(run.start)..page_index(run.end)))?;
                }
                Tracking::Compare(shadow) => shadow.collect(mapping, range, out),
            }
        }
        if !out.is_sorted_by(|a, b| a < b) {
            out.sort_unstable();
            out.dedup();
        }
        chunks.collected(mapping, out)
    }

    /// The memory was cleared and has its new size: all zero, nothing written.
    pub(super) fn cleared(&mut self, mapping: &Mapping) -> io::Result<()> {
        match self {
            // Nothing is present, and what is not present was not written. A pager may have replaced the registration.
            Tracking::WriteProtect { faults, .. } => faults.watch(mapping, None, Watch::Writes)?,
            Tracking::Compare(shadow) => shadow.pages.clear(),
        }
        Ok(())
    }

    /// The memory lost everything from `bytes` on.
    pub(super) fn shrunk(&mut self, bytes: usize) {
        if let Tracking::Compare(shadow) = self {
            shadow.pages.truncate(bytes / PAGE_BYTES);
        }
    }
}

/// The contents at the last collect. A page it does not have was zero.
#[derive(Default)]
pub(super) struct Shadow {
    pages: Vec<Option<Box<[u8; PAGE_BYTES]>>>,
}

impl Shadow {
    fn collect(&mut self, mapping: &Mapping, range: Range<usize>, out: &mut Vec<u32>) {
        let (first, end) = (page_index(range.start), page_index(range.end));
        if self.pages.len() < end as usize {
            self.pages.resize_with(end as usize, || None);
        }
        for (index, known) in (first..end).zip(&mut self.pages[first as usize..]) {
            let offset = page_offset(index);
            if !mapping.differs(offset, known.as_deref().unwrap_or(&ZERO_PAGE)) {
                continue;
            }
            let page = known.get_or_insert_with(|| Box::new(ZERO_PAGE));
            mapping.read(offset, page.as_mut_slice());
            out.push(index);
        }
    }
}

/// The page map of this process, opened once.
fn process_scan() -> io::Result<&'static PageScan> {
    static SCAN: OnceLock<PageScan> = OnceLock::new();
    if let Some(scan) = SCAN.get() {
        return Ok(scan);
    }
    let opened = PageScan::open()?;
    Ok(SCAN.get_or_init(|| opened))
}
