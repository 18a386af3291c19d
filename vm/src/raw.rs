//! Everything of this crate that the compiler cannot check: the address range of a linear memory, the kernel's
//! page tracking, and loading native code. Nothing else in the crate contains `unsafe`.
//!
//! * [`Mapping`] owns a reserved address range and is the only thing that dereferences into it.
//! * [`Faults`] is a userfaultfd: asynchronous write protection, and faults on missing pages.
//! * [`PageScan`] is `PAGEMAP_SCAN`: which pages were written, atomically protected again.
//! * Memories are handed to wasmtime here, because wasmtime's traits for that are unsafe to implement.
//! * [`handle_faults`] decides what a guest's page faults mean.
//! * [`load_native`] turns cached machine code into a module.
//!
//! Functions of this file are safe to call. They check ranges against the mapping they are given and panic on a range that
//! the caller should never have asked for.
//!
//! Invariant: while guest code runs in a mapping, the host calls nothing here that reads, writes or resizes it, except
//! [`Mapping::resize`] on behalf of the guest's own `memory.grow` and [`Faults::supply`], which only ever fills pages that
//! nobody has seen. Guest code is machine code, not Rust; what makes this an invariant of ours is that the instance is owned by
//! the one thread that both runs it and captures it.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read};
use std::mem::size_of;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, UserfaultfdFlags};

use crate::causes::chain;
use crate::memory::kernel::*;
use crate::memory::{FaultedWrite, GuestMemory, MemoryBank, MemoryError, NewMemory, StopMemory};

/// A reserved address range, accessible up to [`byte_size`](Mapping::byte_size), never moved, unmapped on drop.
///
/// Beyond `byte_size` every access faults, guard included. Bytes that become accessible are zero.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    /// Bytes the memory may grow to.
    capacity: usize,
    /// Bytes mapped: the capacity and the guard behind it.
    mapped: usize,
    host_page: usize,
    accessible: AtomicUsize,
    /// Held by every host access, so that no two of them race and none races with a change of size.
    host: Mutex<()>,
}

// SAFETY: the range belongs to this value alone and is not tied to a thread. All access by Rust code goes through the
// `host` lock; access by guest code obeys the invariant at the top of the file.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `capacity` bytes and `guard` bytes behind them, none accessible. Costs address space, not memory.
    pub(crate) fn reserve(capacity: usize, guard: usize) -> io::Result<Mapping> {
        let host_page = rustix::param::page_size();
        let mapped = capacity
            .checked_add(guard)
            .and_then(|bytes| bytes.checked_next_multiple_of(host_page))
            .ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                mapped,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Mapping { base, capacity, mapped, host_page, accessible: AtomicUsize::new(0), host: Mutex::new(()) })
    }

    /// Bytes accessible now.
    pub(crate) fn byte_size(&self) -> usize {
        self.accessible.load(Ordering::Acquire)
    }

    /// Bytes this mapping can grow to.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The host's page size, the granularity of protection and tracking.
    pub(crate) fn host_page(&self) -> usize {
        self.host_page
    }

    /// Makes exactly the first `bytes` accessible. What comes in is zero, what goes out is forgotten.
    ///
    /// Fails when the host cannot give the memory; the size is then unchanged, or the memory already shrunk.
    ///
    /// # Panics
    ///
    /// If `bytes` is above the capacity or not a multiple of the host's page size.
    pub(crate) fn resize(&self, bytes: usize) -> io::Result<()> {
        assert!(bytes <= self.capacity && bytes.is_multiple_of(self.host_page), "size {bytes} was not checked");
        let _host = self.lock();
        let now = self.byte_size();
        if bytes > now {
            self.protect(now, bytes - now, MprotectFlags::READ | MprotectFlags::WRITE)?;
            self.accessible.store(bytes, Ordering::Release);
        } else if bytes < now {
            self.protect(bytes, now - bytes, MprotectFlags::empty())?;
            self.accessible.store(bytes, Ordering::Release);
            self.forget(bytes, now - bytes)?;
        }
        Ok(())
    }

    /// Makes every accessible byte zero by giving the memory back to the host.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let _host = self.lock();
        self.forget(0, self.byte_size())
    }

    /// Asks for small pages only: a huge page would make one written byte look like 2 MiB of written pages.
    pub(crate) fn refuse_huge_pages(&self) {
        // A kernel without huge pages refuses the advice, which is as good.
        // SAFETY: the range is ours, and the advice changes no contents.
        let _ = unsafe { rustix::mm::madvise(self.base.as_ptr().cast(), self.mapped, Advice::LinuxNoHugepage) };
    }

    /// The range of the host page that a byte is in.
    pub(crate) fn host_page_of(&self, offset: usize) -> Range<usize> {
        let start = offset - offset % self.host_page;
        start..start + self.host_page
    }

    /// Allows or forbids writing to whole host pages. A forbidden write faults like one out of bounds, also when the host makes it. Takes no lock, so
    /// that a signal handler can call it.
    pub(crate) fn allow_writes(&self, range: Range<usize>, allowed: bool) -> io::Result<()> {
        self.check(range.start, range.len());
        let flags = if allowed { MprotectFlags::READ | MprotectFlags::WRITE } else { MprotectFlags::READ };
        self.protect(range.start, range.len(), flags)
    }

    /// Allows reads of everything accessible, or forbids all access. Takes no lock, so that a signal handler can call it: only for a memory
    /// whose size stays and that the host itself never touches.
    pub(crate) fn allow_reads(&self, allowed: bool) -> io::Result<()> {
        self.protect(0, self.byte_size(), if allowed { MprotectFlags::READ } else { MprotectFlags::empty() })
    }

    /// Copies bytes out of the memory.
    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) {
        let _host = self.lock();
        self.check(offset, out.len());
        // SAFETY: the source is accessible (checked, under the lock that resizing takes), the target is a live
        // exclusive slice outside the mapping, and nobody writes the source meanwhile (lock, invariant of the file).
        unsafe { ptr::copy_nonoverlapping(self.at(offset), out.as_mut_ptr(), out.len()) }
    }

    /// Copies bytes into the memory, which must be writable there: otherwise the process ends.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let _host = self.lock();
        self.check(offset, bytes.len());
        // SAFETY: as in `read`, with the roles exchanged.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(offset), bytes.len()) }
    }

    /// Whether the memory at `offset` differs from `bytes`.
    pub(crate) fn differs(&self, offset: usize, bytes: &[u8]) -> bool {
        let _host = self.lock();
        self.check(offset, bytes.len());
        // SAFETY: the range is accessible and initialised (anonymous memory starts as zero), and nobody writes it while the
        // slice lives: the lock keeps the host out, the invariant of the file the guest.
        let memory = unsafe { std::slice::from_raw_parts(self.at(offset), bytes.len()) };
        memory != bytes
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // The lock guards no data that a panic could leave half changed.
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, offset: usize, len: usize) {
        let end = offset.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.byte_size()), "{len} bytes at {offset} are outside the memory");
    }

    /// The address of `offset`, which must be within the mapping.
    fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.mapped);
        // SAFETY: at most one past the end of the mapping, which is one allocation.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// The offset of an address, if it is in the accessible part.
    fn offset_of(&self, address: usize) -> Option<usize> {
        address.checked_sub(self.base.as_ptr().addr()).filter(|offset| *offset < self.byte_size())
    }

    fn protect(&self, offset: usize, len: usize, flags: MprotectFlags) -> io::Result<()> {
        assert!(offset + len <= self.capacity);
        // SAFETY: the range is ours alone, and contents stay. An access that is not allowed any more is a fault, which is defined; no reference
        // into the range outlives the lock that those who resize hold.
        unsafe { rustix::mm::mprotect(self.at(offset).cast(), len, flags) }.map_err(Into::into)
    }

    fn forget(&self, offset: usize, len: usize) -> io::Result<()> {
        assert!(offset + len <= self.capacity);
        // SAFETY: as in `protect`. The range is private and anonymous, so what it forgets reads as zero.
        unsafe { rustix::mm::madvise(self.at(offset).cast(), len, Advice::LinuxDontNeed) }.map_err(Into::into)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `reserve` with this length, and whoever could use it holds a reference to this
        // value. It cannot fail for a whole mapping; if it did, address space would leak.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.mapped) };
    }
}

/// What a registered range reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Writes, asynchronously: the kernel lets them pass and remembers them for [`PageScan`].
    Writes,
    /// Writes as above, and touches of missing pages, which wait for [`Faults::supply`].
    WritesAndMissing,
}

/// A userfaultfd for faults of user-mode code.
pub(crate) struct Faults(File);

impl Faults {
    /// Opens one that can write-protect asynchronously, or says that this host cannot.
    pub(crate) fn open() -> io::Result<Faults> {
        const USER_MODE_ONLY: u32 = 1;
        let flags =
            UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK | UserfaultfdFlags::from_bits_retain(USER_MODE_ONLY);
        // SAFETY: the descriptor can only act on ranges registered with it, which `watch` limits to mappings of ours.
        let fd: OwnedFd = unsafe { rustix::mm::userfaultfd(flags) }?;
        let faults = Faults(File::from(fd));
        let mut api = UffdioApi { api: UFFD_API, features: UFFD_FEATURES, ioctls: 0 };
        // SAFETY: UFFDIO_API takes a `uffdio_api`.
        unsafe { ioctl(faults.0.as_raw_fd(), UFFDIO_API, &mut api) }?;
        Ok(faults)
    }

    /// Starts watching the first `bytes` of a mapping, or its whole capacity. Pages that later become accessible are covered.
    pub(crate) fn watch(&self, mapping: &Mapping, bytes: Option<usize>, watch: Watch) -> io::Result<()> {
        let mode = match watch {
            Watch::Writes => UFFDIO_REGISTER_MODE_WP,
            Watch::WritesAndMissing => UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING,
        };
        let range = whole_range(mapping, bytes);
        let mut register = UffdioRegister { range, mode, ioctls: 0 };
        // SAFETY: UFFDIO_REGISTER takes a `uffdio_register`. The range belongs to the mapping; asynchronous write protection
        // does not change what its memory contains, and a missing page stays unseen until it is supplied.
        unsafe { ioctl(self.0.as_raw_fd(), UFFDIO_REGISTER, &mut register) }?;
        Ok(())
    }

    /// Stops watching the first `bytes` of a mapping. Missing pages are zero again when touched, and all pages count as
    /// written.
    pub(crate) fn unwatch(&self, mapping: &Mapping, bytes: usize) -> io::Result<()> {
        let mut range = whole_range(mapping, Some(bytes));
        // SAFETY: UFFDIO_UNREGISTER takes a `uffdio_range`; see `watch`.
        unsafe { ioctl(self.0.as_raw_fd(), UFFDIO_UNREGISTER, &mut range) }?;
        Ok(())
    }

    /// Fills missing pages, which then count as not written, and wakes whoever waits for them. Pages that are there already
    /// keep their contents.
    pub(crate) fn supply(&self, mapping: &Mapping, offset: usize, bytes: &[u8]) -> io::Result<()> {
        mapping.check(offset, bytes.len());
        let mut done = 0;
        while done < bytes.len() {
            let mut copy = UffdioCopy {
                dst: mapping.at(offset + done).expose_provenance() as u64,
                src: bytes[done..].as_ptr().expose_provenance() as u64,
                len: (bytes.len() - done) as u64,
                mode: UFFDIO_COPY_MODE_WP,
                copy: 0,
            };
            // SAFETY: UFFDIO_COPY takes a `uffdio_copy`. The source is a live slice; the target is inside the mapping (checked),
            // and only pages that hold nothing yet are filled, so no reader or writer of them exists.
            let result = unsafe { ioctl(self.0.as_raw_fd(), UFFDIO_COPY, &mut copy) };
            done += usize::try_from(copy.copy).unwrap_or(0);
            match result {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                    self.wake(mapping, offset + done, mapping.host_page())?;
                    done += mapping.host_page();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Wakes whoever waits for these pages, so that they try again.
    pub(crate) fn wake(&self, mapping: &Mapping, offset: usize, len: usize) -> io::Result<()> {
        mapping.check(offset, len);
        let mut range = UffdioRange { start: mapping.at(offset).addr() as u64, len: len as u64 };
        // SAFETY: UFFDIO_WAKE takes a `uffdio_range` and changes no memory.
        unsafe { ioctl(self.0.as_raw_fd(), UFFDIO_WAKE, &mut range) }?;
        Ok(())
    }

    /// Waits for a touch of a missing page and says at which offset, or `None` once `stop` is readable or closed.
    pub(crate) fn next_missing(&self, mapping: &Mapping, stop: BorrowedFd<'_>) -> io::Result<Option<usize>> {
        loop {
            let wait = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let mut polled = [wait(self.0.as_fd()), wait(stop)];
            // SAFETY: the array is live and its length is passed.
            if unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) } < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            if polled[1].revents != 0 {
                return Ok(None);
            }
            let mut message = [0u8; UFFD_MESSAGE_BYTES];
            match (&self.0).read(&mut message) {
                Ok(UFFD_MESSAGE_BYTES) if message[0] == UFFD_EVENT_PAGEFAULT => {
                    let mut address = [0u8; 8];
                    address.copy_from_slice(&message[16..24]);
                    let address = usize::try_from(u64::from_ne_bytes(address)).unwrap_or(0);
                    let Some(offset) = mapping.offset_of(address) else {
                        return Err(io::Error::other("the kernel reported a fault outside the memory"));
                    };
                    return Ok(Some(offset));
                }
                Ok(_) => return Err(io::Error::other("the kernel reported an unknown fault event")),
                // The waiting thread was woken by somebody else in the meantime.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn whole_range(mapping: &Mapping, bytes: Option<usize>) -> UffdioRange {
    let len = bytes.unwrap_or(mapping.capacity);
    assert!(len <= mapping.capacity);
    UffdioRange { start: mapping.base.as_ptr().addr() as u64, len: len as u64 }
}

/// The process's page map, for finding written pages.
pub(crate) struct PageScan(File);

impl PageScan {
    /// Opens it.
    pub(crate) fn open() -> io::Result<PageScan> {
        File::open("/proc/self/pagemap").map(PageScan)
    }

    /// Calls `tell` with the byte range of each run of host pages of `range` written since a scan last took them, in ascending order unless
    /// the memory changes meanwhile. Taken, those pages are protected again: finding and protecting are one atomic act for each page.
    pub(crate) fn written(
        &self,
        mapping: &Mapping,
        range: Range<usize>,
        (untouched, found): (Untouched, Found),
        mut tell: impl FnMut(Range<usize>),
    ) -> io::Result<()> {
        mapping.check(range.start, range.len());
        let base = mapping.base.as_ptr().addr();
        let (mut start, end) = (base + range.start, base + range.end);
        let mut regions = [PageRegion::default(); SCAN_REGIONS];
        while start < end {
            let mut scan = PmScanArg {
                vec: regions.as_mut_ptr().expose_provenance() as u64,
                vec_len: SCAN_REGIONS as u64,
                category_anyof_mask: match untouched {
                    // A written page may have been swapped out, and an address that was never touched is neither.
                    Untouched::PassOver => PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                    Untouched::NoneThere => 0,
                },
                ..PmScanArg::written(start, end, found)
            };
            // SAFETY: PAGEMAP_SCAN takes a `pm_scan_arg`; it writes at most `vec_len` regions to `vec`, which is live. On
            // memory it only sets write-protect bits, in a range of the mapping, and contents stay.
            let count = unsafe { ioctl(self.0.as_raw_fd(), PAGEMAP_SCAN, &mut scan) }?;
            let count = usize::try_from(count).unwrap_or(0);
            for region in &regions[..count] {
                let offset = |address: u64| usize::try_from(address).unwrap_or(0).saturating_sub(base);
                tell(offset(region.start)..offset(region.end));
            }
            // The walk can seem to end early although the scan was complete; it is not only where there was no room for more.
            if count < SCAN_REGIONS {
                break;
            }
            start = usize::try_from(scan.walk_end).unwrap_or(end).max(start);
        }
        Ok(())
    }

    /// Protects all host pages of `range`, also those that nobody has touched: from now on [`Untouched::NoneThere`] is true of it, until it is cleared.
    pub(crate) fn protect(&self, mapping: &Mapping, range: Range<usize>) -> io::Result<()> {
        mapping.check(range.start, range.len());
        let base = mapping.base.as_ptr().addr();
        let mut scan = PmScanArg::written(base + range.start, base + range.end, Found::Taken);
        // SAFETY: as above, but that without `vec` nothing is told.
        unsafe { ioctl(self.0.as_raw_fd(), PAGEMAP_SCAN, &mut scan) }?;
        Ok(())
    }
}

/// What may be found in a range that is looked at for written pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untouched {
    /// Pages that were never touched, nor protected. They are no written ones.
    PassOver,
    /// Every page has been protected since it was last cleared, which makes the look three times as fast.
    NoneThere,
}

/// What wasmtime owns of a memory: the handle that grows it.
pub(crate) struct LinearMemory(pub(crate) NewMemory);

impl LinearMemory {
    fn mapping(&self) -> &Mapping {
        match &self.0 {
            NewMemory::Own(memory) => memory.mapping(),
            NewMemory::Stop(stop) => stop.mapping(),
        }
    }
}

// SAFETY: the base never moves, is aligned to pages, `byte_size` bytes behind it are accessible (to guest code only, in a stop memory, and
// where a fault is a trap), and the mapping reserves the guard that wasmtime asked for behind its capacity, inaccessible. It is unmapped
// when the last handle goes, and this is one.
unsafe impl wasmtime::LinearMemory for LinearMemory {
    fn byte_size(&self) -> usize {
        self.mapping().byte_size()
    }

    fn byte_capacity(&self) -> usize {
        self.mapping().capacity()
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        match &self.0 {
            NewMemory::Own(memory) => memory.grow_to(new_size).map_err(wasmtime::Error::new),
            NewMemory::Stop(_) => Err(wasmtime::format_err!("a stop memory has one size")),
        }
    }

    fn as_ptr(&self) -> *mut u8 {
        self.mapping().base.as_ptr()
    }
}

// SAFETY: memories are made by `create`, which gives each its own zero-filled mapping of the requested reservation and guard.
unsafe impl wasmtime::MemoryCreator for MemoryBank {
    fn new_memory(
        &self,
        ty: wasmtime::MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn wasmtime::LinearMemory>, String> {
        let memory = self.create(&ty, minimum, reserved_size_in_bytes, guard_size_in_bytes);
        memory
            .map(|memory| Box::new(LinearMemory(memory)) as Box<dyn wasmtime::LinearMemory>)
            .map_err(|error| chain(&error))
    }
}

/// What page faults of a running guest mean that are no traps. What is called here is called in a signal handler.
pub(crate) struct GuestFaults {
    /// The stop memory, and what is asked when the guest has come to it while it was closed: whether to go on, with the memory open again.
    pub(crate) stop: Option<(Arc<StopMemory>, Decide)>,
    /// The memories that say themselves what becomes of a write that faults.
    pub(crate) memories: Vec<Arc<GuestMemory>>,
    /// What is done when a bulk instruction has written to a page that [`GuestMemory::protect_for_report`] protects.
    pub(crate) watched_write: Box<dyn Fn() + Send + Sync>,
    /// What is done when a memory cannot be written to because the host fails. The guest ends there.
    pub(crate) stuck: Box<dyn Fn(MemoryError) + Send + Sync>,
}

type Decide = Box<dyn Fn() -> bool + Send + Sync>;

/// Handles faults of guests of this store, in place of what was handled before.
///
/// A guest that finds its stop memory closed goes on as if nothing had been, or traps. A write to a chunk that is shut opens it and is made again.
/// Bulk instructions and pure imports write from host code, where wasmtime does not turn a fault into a trap, so the process would
/// end: a watched page becomes writable instead, the memory notes it ([`GuestMemory::bulk_write_seen`]), and the given action sees
/// to it that the guest is interrupted soon after.
///
/// The host itself has to open what it writes: while no guest runs, nothing handles its faults.
pub(crate) fn handle_faults<T>(store: &mut wasmtime::Store<T>, module: &wasmtime::Module, faults: GuestFaults) {
    use wasmtime::unix::StoreExt;

    let code = module.image_range();
    let code = code.start.addr()..code.end.addr();
    let handler = move |signal: libc::c_int, info: *const libc::siginfo_t, context: *const libc::c_void| {
        if signal != libc::SIGSEGV {
            return false;
        }
        // SAFETY: the kernel passes a live `siginfo_t`, which for SIGSEGV has an address, and a context; wasmtime hands both on.
        let (address, counter) = unsafe { ((*info).si_addr().addr(), program_counter(context)) };
        if let Some((stop, goes_on)) = &faults.stop
            && stop.mapping().offset_of(address).is_some()
        {
            return goes_on();
        }
        let found = faults.memories.iter().find_map(|memory| Some((memory, memory.mapping().offset_of(address)?)));
        let Some((memory, offset)) = found else { return false };
        // All of the accessible part is readable, so this was a write.
        let in_guest_code = counter.is_none_or(|counter| code.contains(&counter));
        match memory.write_faulted(offset, in_guest_code) {
            Ok(FaultedWrite::Repeat) => true,
            Ok(FaultedWrite::RepeatAndStop) => {
                (faults.watched_write)();
                true
            }
            Ok(FaultedWrite::Trap) => false,
            Err(error) => {
                (faults.stuck)(error);
                false
            }
        }
    };
    // SAFETY: the signal is not one of those that come at any moment: the thread has made a poll or a store, which are code of the guest, or a copy
    // of bytes into a memory on behalf of a bulk instruction or a pure import. None of them is inside an allocator or holds a lock, so
    // what is called here finds them as any function called from there would. It runs on wasmtime's signal stack of 256 KiB. Its
    // assertions cannot fail: the offset is in the mapping.
    unsafe { store.set_signal_handler(handler) }
}

/// Where the interrupted thread was, on architectures where we know where to look.
///
/// # Safety
///
/// `context` must be what the kernel passed to a signal handler that was installed with SA_SIGINFO and has not returned.
unsafe fn program_counter(context: *const libc::c_void) -> Option<usize> {
    let context = context.cast::<libc::ucontext_t>();
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: it is a live `ucontext_t`, by this function's contract.
        let counter = unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] };
        usize::try_from(counter).ok()
    }
    #[cfg(target_arch = "aarch64")]
    {
        // SAFETY: as above.
        let counter = unsafe { (*context).uc_mcontext.pc };
        usize::try_from(counter).ok()
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = context;
        None
    }
}

/// Machine code that this program made, in this process or another, and that nobody else has touched: a checksum, then the code.
pub(crate) struct Native(Vec<u8>);

impl Native {
    /// What another process of this program sent over a pipe that nobody else has.
    pub(crate) fn from_own_process(sealed: Vec<u8>) -> wasmtime::Result<Native> {
        let sound = sealed
            .split_first_chunk::<NATIVE_CHECKSUM_BYTES>()
            .is_some_and(|(checksum, code)| blake3::hash(code) == *checksum);
        if !sound {
            wasmtime::bail!("the native code is cut short or damaged");
        }
        Ok(Native(sealed))
    }

    /// The contents of a cache file that [`load_native`] accepts.
    pub(crate) fn sealed(&self) -> &[u8] {
        &self.0
    }
}

/// Compiles a module.
pub(crate) fn compile_native(engine: &wasmtime::Engine, wasm: &[u8]) -> wasmtime::Result<Native> {
    let code = engine.precompile_module(wasm)?;
    let mut sealed = Vec::with_capacity(NATIVE_CHECKSUM_BYTES + code.len());
    sealed.extend_from_slice(blake3::hash(&code).as_bytes());
    sealed.extend_from_slice(&code);
    Ok(Native(sealed))
}

/// Turns machine code of our own into a module.
pub(crate) fn open_native(engine: &wasmtime::Engine, native: &Native) -> wasmtime::Result<wasmtime::Module> {
    // SAFETY: a `Native` is made of what the compiler returned, in this process or in another one of this program, which is as good as here;
    // its checksum excludes damage. wasmtime itself refuses code of another version, configuration or processor.
    unsafe { wasmtime::Module::deserialize(engine, &native.0[NATIVE_CHECKSUM_BYTES..]) }
}

/// Loads machine code that [`compile_native`] made from the user's cache folder.
///
/// Machine code cannot be checked for what it does, so it is believed because of where it lies: the folder must belong to
/// this user and be closed to all others (0700), the file must be a plain file of this user that nobody else may write, and its
/// checksum must match. Naming files by content and engine is the caller's part; code of another engine is refused here.
pub(crate) fn load_native(engine: &wasmtime::Engine, path: &Path) -> wasmtime::Result<wasmtime::Module> {
    let user = rustix::process::geteuid().as_raw();
    let folder = fs::symlink_metadata(path.parent().unwrap_or(Path::new(".")))?;
    if !folder.is_dir() || folder.uid() != user || folder.mode() & 0o077 != 0 {
        wasmtime::bail!("refusing native code from {}: its folder is open to other users", path.display());
    }
    let mut file = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.uid() != user || meta.mode() & 0o022 != 0 {
        wasmtime::bail!("refusing native code from {}: other users may write it", path.display());
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // What this program wrote: it lies in a folder that only this user can enter, in a file that only this user can write (checked on the open
    // file), and is in our own memory now, where it cannot change any more.
    open_native(engine, &Native::from_own_process(bytes)?)
}

/// Bytes of the checksum in front of cached machine code.
const NATIVE_CHECKSUM_BYTES: usize = 32;

const _: () = assert!(size_of::<usize>() == 8, "a memory reserves 4 GiB of addresses");

/// Calls an ioctl.
///
/// # Safety
///
/// `number` must be a request that takes a pointer to a `T`, and what it does to the process's memory must be sound.
unsafe fn ioctl<T>(fd: RawFd, number: u64, argument: &mut T) -> io::Result<libc::c_int> {
    loop {
        // SAFETY: the argument is a live exclusive reference to what the request takes, by this function's contract.
        let result = unsafe { libc::ioctl(fd, number as libc::Ioctl, ptr::from_mut(argument)) };
        if result >= 0 {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn native_code_is_believed_only_where_nobody_else_can_write() {
        let engine = wasmtime::Engine::default();
        let wasm = wat::parse_str("(module (func (export \"f\")))").unwrap();
        let sealed = compile_native(&engine, &wasm).unwrap().sealed().to_vec();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code");
        fs::write(&path, &sealed).unwrap();
        set_mode(folder.path(), 0o700);
        set_mode(&path, 0o600);
        let refusal = || load_native(&engine, &path).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(refusal(), "");

        set_mode(&path, 0o620);
        assert!(refusal().contains("other users may write it"), "{}", refusal());
        set_mode(&path, 0o600);
        set_mode(folder.path(), 0o755);
        assert!(refusal().contains("its folder is open to other users"), "{}", refusal());
        set_mode(folder.path(), 0o700);

        for at in [0, 40, sealed.len() - 1] {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(refusal().contains("damaged"), "{}", refusal());
        }
        fs::write(&path, &sealed[..9]).unwrap();
        assert!(refusal().contains("cut short"), "{}", refusal());

        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, &sealed).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(!refusal().is_empty(), "a link is followed");
    }
}
