//! The parts of the kernel's interface that tracking and page-in use, from linux/userfaultfd.h and linux/fs.h.
//!
//! Numbers and layouts only; who calls what with them is in `raw.rs`.

use std::mem::size_of;

pub(crate) const UFFD_API: u64 = 0xAA;
/// Write protection, also of pages that are not there yet, resolved by the kernel itself.
pub(crate) const UFFD_FEATURES: u64 =
    UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC;
const UFFD_FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
const UFFD_FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
pub(crate) const UFFDIO_REGISTER_MODE_MISSING: u64 = 1 << 0;
pub(crate) const UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;
pub(crate) const UFFDIO_COPY_MODE_WP: u64 = 1 << 1;
pub(crate) const UFFD_EVENT_PAGEFAULT: u8 = 0x12;
pub(crate) const UFFD_MESSAGE_BYTES: usize = 32;

pub(crate) const UFFDIO_API: u64 = request(READ_WRITE, 0xAA, 0x3F, size_of::<UffdioApi>());
pub(crate) const UFFDIO_REGISTER: u64 = request(READ_WRITE, 0xAA, 0x00, size_of::<UffdioRegister>());
pub(crate) const UFFDIO_UNREGISTER: u64 = request(READ, 0xAA, 0x01, size_of::<UffdioRange>());
pub(crate) const UFFDIO_WAKE: u64 = request(READ, 0xAA, 0x02, size_of::<UffdioRange>());
pub(crate) const UFFDIO_COPY: u64 = request(READ_WRITE, 0xAA, 0x03, size_of::<UffdioCopy>());
pub(crate) const PAGEMAP_SCAN: u64 = request(READ_WRITE, b'f' as u64, 16, size_of::<PmScanArg>());

const PM_SCAN_WP_MATCHING: u64 = 1 << 0;
const PM_SCAN_CHECK_WPASYNC: u64 = 1 << 1;
const PAGE_IS_WRITTEN: u64 = 1 << 1;
pub(crate) const PAGE_IS_PRESENT: u64 = 1 << 3;
pub(crate) const PAGE_IS_SWAPPED: u64 = 1 << 4;
/// Runs of pages asked for in one call.
pub(crate) const SCAN_REGIONS: usize = 256;

const READ: u64 = 2;
const READ_WRITE: u64 = 3;

/// An ioctl number. Architectures that number differently fail the self-test and use the tracker that needs no kernel support.
const fn request(direction: u64, group: u64, number: u64, bytes: usize) -> u64 {
    direction << 30 | (bytes as u64) << 16 | group << 8 | number
}

/// What becomes of written pages that a scan finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// They are protected again: the next scan finds those that were written since.
    Taken,
    /// They stay written, and writing to them costs nothing.
    Left,
}

#[repr(C)]
pub(crate) struct UffdioApi {
    pub(crate) api: u64,
    pub(crate) features: u64,
    pub(crate) ioctls: u64,
}

#[repr(C)]
pub(crate) struct UffdioRange {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

#[repr(C)]
pub(crate) struct UffdioRegister {
    pub(crate) range: UffdioRange,
    pub(crate) mode: u64,
    pub(crate) ioctls: u64,
}

#[repr(C)]
pub(crate) struct UffdioCopy {
    pub(crate) dst: u64,
    pub(crate) src: u64,
    pub(crate) len: u64,
    pub(crate) mode: u64,
    pub(crate) copy: i64,
}

#[repr(C)]
pub(crate) struct PmScanArg {
    pub(crate) size: u64,
    pub(crate) flags: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) walk_end: u64,
    pub(crate) vec: u64,
    pub(crate) vec_len: u64,
    pub(crate) max_pages: u64,
    pub(crate) category_inverted: u64,
    pub(crate) category_mask: u64,
    pub(crate) category_anyof_mask: u64,
    pub(crate) return_mask: u64,
}

impl PmScanArg {
    /// Finds written pages between two addresses and, if they are to be taken, protects them again, telling nobody.
    pub(crate) fn written(start: usize, end: usize, found: Found) -> PmScanArg {
        let protects = if found == Found::Taken { PM_SCAN_WP_MATCHING } else { 0 };
        PmScanArg {
            size: size_of::<PmScanArg>() as u64,
            flags: protects | PM_SCAN_CHECK_WPASYNC,
            start: start as u64,
            end: end as u64,
            walk_end: 0,
            vec: 0,
            vec_len: 0,
            max_pages: 0,
            category_inverted: 0,
            category_mask: PAGE_IS_WRITTEN,
            category_anyof_mask: 0,
            return_mask: PAGE_IS_WRITTEN,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct PageRegion {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) categories: u64,
}

const _: () = assert!(size_of::<UffdioApi>() == 24);
const _: () = assert!(size_of::<UffdioRange>() == 16);
const _: () = assert!(size_of::<UffdioRegister>() == 32);
const _: () = assert!(size_of::<UffdioCopy>() == 40);
const _: () = assert!(size_of::<PmScanArg>() == 96);
const _: () = assert!(size_of::<PageRegion>() == 24);
