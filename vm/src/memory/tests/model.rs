//! Random use, against a model that is a vector of bytes and a set of written pages.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::guest::{Guest, trackers};
use crate::memory::{PAGE_BYTES, Pager, PagerError, Tracker, WASM_PAGE_BYTES};

#[derive(Clone, Debug)]
enum Op {
    Poke { address: prop::sample::Index, byte: u8 },
    Fill { address: prop::sample::Index, byte: u8, len: u16 },
    Peek { address: prop::sample::Index },
    Grow { pages: u32 },
    Collect,
    Restore { page: prop::sample::Index, byte: u8 },
    Zero { page: prop::sample::Index },
    Clean,
    Shrink { by: prop::sample::Index },
    Reset { pages: u32 },
    Attach { seed: u8 },
    LoadSome { pages: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        8 => (at(), any::<u8>()).prop_map(|(address, byte)| Op::Poke { address, byte }),
        3 => (at(), any::<u8>(), any::<u16>()).prop_map(|(address, byte, len)| Op::Fill { address, byte, len }),
        2 => at().prop_map(|address| Op::Peek { address }),
        2 => (0..6u32).prop_map(|pages| Op::Grow { pages }),
        6 => Just(Op::Collect),
        3 => (at(), any::<u8>()).prop_map(|(page, byte)| Op::Restore { page, byte }),
        1 => at().prop_map(|page| Op::Zero { page }),
        2 => Just(Op::Clean),
        1 => at().prop_map(|by| Op::Shrink { by }),
        1 => (2..20u32).prop_map(|pages| Op::Reset { pages }),
        2 => any::<u8>().prop_map(|seed| Op::Attach { seed }),
        1 => (0..40u32).prop_map(|pages| Op::LoadSome { pages }),
    ]
}

/// What the memory must hold, what it held when last collected, and what was written or merely touched since.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    collected: Vec<u8>,
    written: BTreeSet<u32>,
    /// Pages read while they had never been written: the kernel maps a page of zeros and may count it once.
    touched: BTreeSet<u32>,
}

impl Model {
    fn write(&mut self, start: usize, len: usize, byte: u8) {
        self.bytes[start..start + len].fill(byte);
        for page in start / PAGE_BYTES..(start + len).div_ceil(PAGE_BYTES) {
            self.written.insert(page.try_into().unwrap());
        }
    }

    fn resize(&mut self, bytes: usize) {
        self.bytes.resize(bytes, 0);
        self.collected.resize(bytes, 0);
        let pages = u32::try_from(bytes / PAGE_BYTES).unwrap();
        self.written.retain(|page| *page < pages);
        self.touched.retain(|page| *page < pages);
    }

    fn settle(&mut self) {
        self.collected = self.bytes.clone();
        self.written.clear();
        self.touched.clear();
    }

    fn changed(&self) -> BTreeSet<u32> {
        let pages = self.bytes.chunks(PAGE_BYTES).zip(self.collected.chunks(PAGE_BYTES));
        pages.zip(0..).filter(|((now, then), _)| now != then).map(|(_, page)| page).collect()
    }
}

/// Two pages of three are in the image, and their contents follow from a seed.
struct Pattern(u8);

impl Pattern {
    fn has(page: u32) -> bool {
        page % 3 != 1
    }

    fn byte(&self, page: u32) -> u8 {
        self.0.wrapping_add((page % 251) as u8) | 1
    }
}

impl Pager for Pattern {
    fn load(&mut self, page: u32, out: &mut [u8; PAGE_BYTES]) -> Result<(), PagerError> {
        assert!(Pattern::has(page), "page {page} is not in the image");
        out.fill(self.byte(page));
        Ok(())
    }
}

fn run(tracker: Tracker, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut guest = Guest::new(tracker);
    let mut model = Model::default();
    model.resize(2 * WASM_PAGE_BYTES);
    for op in ops {
        let size = model.bytes.len();
        let page_count = size / PAGE_BYTES;
        match op {
            Op::Poke { address, byte } => {
                let address = address.index(size);
                guest.poke(address.try_into().unwrap(), *byte).unwrap();
                model.write(address, 1, *byte);
            }
            Op::Fill { address, byte, len } => {
                let address = address.index(size);
                let len = usize::from(*len).min(size - address);
                guest.fill(address.try_into().unwrap(), *byte, len.try_into().unwrap()).unwrap();
                model.write(address, len, *byte);
            }
            Op::Peek { address } => {
                let address = address.index(size);
                prop_assert_eq!(guest.peek(address.try_into().unwrap()).unwrap(), model.bytes[address]);
                model.touched.insert((address / PAGE_BYTES).try_into().unwrap());
            }
            Op::Grow { pages } => {
                let grown = guest.grow(*pages).unwrap();
                let wanted = size + *pages as usize * WASM_PAGE_BYTES;
                prop_assert_eq!(grown == -1, wanted > 256 * WASM_PAGE_BYTES);
                if grown != -1 {
                    model.resize(wanted);
                }
            }
            Op::Collect => {
                let found: BTreeSet<u32> = guest.dirty().into_iter().collect();
                let changed = model.changed();
                match tracker {
                    Tracker::Compare => prop_assert_eq!(found, changed),
                    Tracker::WriteProtect => {
                        let host_page = rustix::param::page_size();
                        prop_assert!(
                            found.is_superset(&model.written),
                            "{:?} lacks some of {:?}",
                            found,
                            model.written
                        );
                        prop_assert!(changed.is_subset(&model.written));
                        let excused = |page: &u32| model.written.contains(page) || model.touched.contains(page);
                        prop_assert!(host_page > PAGE_BYTES || found.iter().all(excused), "{:?}: too many", found);
                    }
                }
                model.settle();
            }
            Op::Restore { page, byte } => {
                let page = page.index(page_count);
                guest.memory.write_page(page.try_into().unwrap(), &[*byte; PAGE_BYTES]);
                model.write(page * PAGE_BYTES, PAGE_BYTES, *byte);
            }
            Op::Zero { page } => {
                let page = page.index(page_count);
                guest.memory.zero_page(page.try_into().unwrap());
                model.write(page * PAGE_BYTES, PAGE_BYTES, 0);
            }
            Op::Clean => {
                guest.memory.clean().unwrap();
                model.settle();
            }
            Op::Shrink { by } => {
                let keep = 2 + by.index(size / WASM_PAGE_BYTES - 1);
                guest.memory.shrink_to((keep * WASM_PAGE_BYTES) as u64).unwrap();
                guest.refresh();
                model.resize(keep * WASM_PAGE_BYTES);
            }
            Op::Reset { pages } => {
                guest.memory.reset(u64::from(*pages) * WASM_PAGE_BYTES as u64).unwrap();
                guest.refresh();
                model = Model::default();
                model.resize(*pages as usize * WASM_PAGE_BYTES);
            }
            Op::Attach { seed } => {
                let lost = Box::new(|error| panic!("{error:?}"));
                guest.memory.attach_pager(&Pattern::has, Box::new(Pattern(*seed)), lost).unwrap();
                for (page, bytes) in (0..).zip(model.bytes.chunks_mut(PAGE_BYTES)) {
                    bytes.fill(if Pattern::has(page) { Pattern(*seed).byte(page) } else { 0 });
                }
                model.settle();
            }
            Op::LoadSome { pages } => {
                guest.memory.load_some(*pages).unwrap();
            }
        }
        prop_assert_eq!(guest.memory.byte_size(), model.bytes.len() as u64);
        prop_assert_eq!(usize::try_from(guest.size()), Ok(model.bytes.len() / WASM_PAGE_BYTES));
    }
    prop_assert!(guest.memory.read(0..guest.memory.byte_size()) == model.bytes, "contents differ");
    Ok(())
}

#[test]
fn random_use() {
    for tracker in trackers() {
        let cases = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(cases, |(ops in prop::collection::vec(op(), 1..60))| run(tracker, &ops)?);
    }
}
