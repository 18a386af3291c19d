//! Pages: the 4 KiB units in which memory is tracked, hashed and stored, whatever the host's own page size is.

use std::sync::Arc;

use crate::{Domain, Id};

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
/// Pages of this crate in one WebAssembly page.
pub const PAGES_PER_WASM_PAGE: u64 = 16;
/// A memory of 4 GiB, the most a memory32 can have, has this many pages.
pub const PAGE_COUNT_MAX: u64 = 1 << 20;

const _: () =
    assert!(PAGES_PER_WASM_PAGE * PAGE_BYTES as u64 == 1 << 16 && PAGE_COUNT_MAX * PAGE_BYTES as u64 == 1 << 32);

/// The bytes of one page.
pub type PageBytes = [u8; PAGE_BYTES];

/// A captured page: immutable and shared, so that the machine may go on writing its own copy.
pub type Page = Arc<PageBytes>;

/// The all-zero page, which is never stored.
pub static ZERO: PageBytes = [0; PAGE_BYTES];

/// Whether a page is all zero.
#[must_use]
pub fn is_zero(page: &PageBytes) -> bool {
    page == &ZERO
}

/// The id of a page; an all-zero page has none.
#[must_use]
pub fn id(page: &PageBytes) -> Option<Id> {
    (!is_zero(page)).then(|| Id::of(Domain::Page, page))
}
