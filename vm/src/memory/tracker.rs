//! Finding the pages that were written, among those of open chunks.
//!
//! Write-protect costs about a microsecond for each page written and one or two for each open chunk and collect. Compare costs a read of the open
//! chunks for each collect and twice the memory, but works on any kernel and in any container.
//!
//! To the kernel a page that nobody has touched is neither protected nor written. Telling it from a written one makes a look at a page take 3 ns; where all
//! of a range has been protected once, touched or not, one bit tells, and a look takes 1 ns. So small memories are protected throughout.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::chunks::{Chunks, Grain};
use super::kernel::Found;
use super::{PAGE_BYTES, ZERO_PAGE, page_index, page_offset, self_test};
use crate::raw::{Faults, Mapping, PageScan, Untouched, Watch};

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
        let chunk_bytes = 256 << 10;
        match self {
            Tracker::WriteProtect => {
                let whole_bytes = if kernel_tells_by_one_bit() { 16 << 20 } else { 0 };
                Grain { chunk_bytes, patience: 8, whole_bytes }
            }
            // Comparing a chunk costs as much as shutting and opening it.
            Tracker::Compare => Grain { chunk_bytes, patience: 1, whole_bytes: 0 },
        }
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
    WriteProtect {
        faults: Arc<Faults>,
        scan: &'static PageScan,
        /// All pages below were protected once.
        protected: usize,
    },
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
                Tracking::WriteProtect { faults: Arc::new(faults), scan, protected: 0 }
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
        self.find(mapping, chunks, Found::Taken, out)?;
        if let Tracking::WriteProtect { scan, protected, .. } = self
            && chunks.are_looked_at_as_a_whole(mapping)
            && *protected < mapping.byte_size()
        {
            scan.protect(mapping, *protected..mapping.byte_size())?;
            *protected = mapping.byte_size();
        }
        chunks.collected(mapping, out)
    }

    /// Appends the same pages to the empty `out`, in ascending order, and lets them count as written.
    pub(super) fn look(&mut self, mapping: &Mapping, chunks: &Chunks, out: &mut Vec<u32>) -> io::Result<()> {
        self.find(mapping, chunks, Found::Left, out)
    }

    fn find(&mut self, mapping: &Mapping, chunks: &Chunks, found: Found, out: &mut Vec<u32>) -> io::Result<()> {
        match self {
            Tracking::WriteProtect { scan, protected, .. } => {
                let mut tell = |run: Range<usize>| out.extend(page_index(run.start)..page_index(run.end));
                if chunks.are_looked_at_as_a_whole(mapping) {
                    let whole = 0..mapping.byte_size();
                    let known = (*protected).min(whole.end);
                    scan.written(mapping, 0..known, (Untouched::NoneThere, found), &mut tell)?;
                    if known < whole.end {
                        scan.written(mapping, known..whole.end, (Untouched::PassOver, found), &mut tell)?;
                    }
                } else {
                    for range in chunks.written_ranges(mapping) {
                        scan.written(mapping, range, (Untouched::PassOver, found), &mut tell)?;
                    }
                }
            }
            Tracking::Compare(shadow) => {
                chunks.written_ranges(mapping).for_each(|range| shadow.compare(mapping, range, found, out));
            }
        }
        if !out.is_sorted_by(|a, b| a < b) {
            out.sort_unstable();
            out.dedup();
        }
        Ok(())
    }

    /// The memory was cleared and has its new size: all zero, nothing written.
    pub(super) fn cleared(&mut self, mapping: &Mapping) -> io::Result<()> {
        match self {
            // Nothing is present, and what is not present was not written. A pager may have replaced the registration.
            Tracking::WriteProtect { faults, protected, .. } => {
                *protected = 0;
                faults.watch(mapping, None, Watch::Writes)?;
            }
            Tracking::Compare(shadow) => shadow.pages.clear(),
        }
        Ok(())
    }

    /// The memory lost everything from `bytes` on.
    pub(super) fn shrunk(&mut self, bytes: usize) {
        match self {
            Tracking::WriteProtect { protected, .. } => *protected = (*protected).min(bytes),
            Tracking::Compare(shadow) => shadow.pages.truncate(bytes / PAGE_BYTES),
        }
    }
}

/// The contents at the last collect. A page it does not have was zero.
#[derive(Default)]
pub(super) struct Shadow {
    pages: Vec<Option<Box<[u8; PAGE_BYTES]>>>,
}

impl Shadow {
    fn compare(&mut self, mapping: &Mapping, range: Range<usize>, found: Found, out: &mut Vec<u32>) {
        let (first, end) = (page_index(range.start), page_index(range.end));
        if self.pages.len() < end as usize {
            self.pages.resize_with(end as usize, || None);
        }
        for (index, known) in (first..end).zip(&mut self.pages[first as usize..]) {
            let offset = page_offset(index);
            if !mapping.differs(offset, known.as_deref().unwrap_or(&ZERO_PAGE)) {
                continue;
            }
            if found == Found::Taken {
                mapping.read(offset, known.get_or_insert_with(|| Box::new(ZERO_PAGE)).as_mut_slice());
            }
            out.push(index);
        }
    }
}

/// Whether a scan for nothing but protection can be believed. Linux before 6.9 took a bit for it that means something else in a page that is swapped out
/// or being moved, and could pass over a written one (kernel commit "fix uffd_wp confusion in pagemap_scan_pmd_entry"). No trial can show that here,
/// so this goes by the version.
fn kernel_tells_by_one_bit() -> bool {
    static TELLS: OnceLock<bool> = OnceLock::new();
    *TELLS.get_or_init(|| {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        version(&release).is_some_and(|version| version >= (6, 9))
    })
}

/// Of a text like `6.12.3-generic`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
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
