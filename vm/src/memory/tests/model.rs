//! Random use, against a model that is a vector of bytes and a set of written pages.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::guest::{Guest, WORDS, trackers};
use crate::memory::chunks::Grain;
use crate::memory::{PAGE_BYTES, Pager, PagerError, Tracker, WASM_PAGE_BYTES};

#[derive(Clone, Debug)]
enum Op {
    Poke { address: prop::sample::Index, byte: u8 },
    Fill { address: prop::sample::Index, byte: u8, len: u16 },
    Copy { to: prop::sample::Index, from: prop::sample::Index, len: u16 },
    Init { address: prop::sample::Index },
    Scribble { address: prop::sample::Index, byte: u8 },
    Peek { address: prop::sample::Index },
    Grow { pages: u32 },
    Collect,
    Rest,
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
        2 => (at(), at(), any::<u16>()).prop_map(|(to, from, len)| Op::Copy { to, from, len }),
        1 => at().prop_map(|address| Op::Init { address }),
        2 => (at(), any::<u8>()).prop_map(|(address, byte)| Op::Scribble { address, byte }),
        2 => at().prop_map(|address| Op::Peek { address }),
        2 => (0..6u32).prop_map(|pages| Op::Grow { pages }),
        6 => Just(Op::Collect),
        4 => Just(Op::Rest),
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
    /// Pages read while they had never been written: the kernel maps a page of zeros and may count it once, when its chunk is open.
    touched: BTreeSet<u32>,
    /// Bytes of a chunk, and the chunks that may be open.
    chunk: usize,
    open: BTreeSet<usize>,
}

impl Model {
    fn new(grain: Grain, wasm_pages: usize) -> Model {
        let mut model = Model { chunk: grain.chunk_bytes, ..Model::default() };
        model.resize(wasm_pages * WASM_PAGE_BYTES);
        model
    }

    fn write(&mut self, start: usize, bytes: &[u8]) {
        // Nothing is written, not even the page it would be in.
        if bytes.is_empty() {
            return;
        }
        let end = start + bytes.len();
        self.bytes[start..end].copy_from_slice(bytes);
        self.written.extend((start / PAGE_BYTES..end.div_ceil(PAGE_BYTES)).map(|page| u32::try_from(page).unwrap()));
        self.open.extend(start / self.chunk..end.div_ceil(self.chunk));
    }

    fn fill(&mut self, start: usize, len: usize, byte: u8) {
        self.write(start, &vec![byte; len]);
    }

    fn resize(&mut self, bytes: usize) {
        if bytes > self.bytes.len() {
            self.open.extend(self.bytes.len() / self.chunk..bytes.div_ceil(self.chunk));
        }
        self.bytes.resize(bytes, 0);
        self.collected.resize(bytes, 0);
        let pages = u32::try_from(bytes / PAGE_BYTES).unwrap();
        self.written.retain(|page| *page < pages);
        self.touched.retain(|page| *page < pages);
    }

    fn settle(&mut self) {
        self.collected = self.bytes.clone();
        self.written.clear();
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

fn run(tracker: Tracker, grain: Grain, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut guest = Guest::with_grain(tracker, grain);
    let mut model = Model::new(grain, 2);
    for op in ops {
        let size = model.bytes.len();
        let page_count = size / PAGE_BYTES;
        match op {
            Op::Poke { address, byte } => {
                let address = address.index(size);
                guest.poke(address.try_into().unwrap(), *byte).unwrap();
                model.fill(address, 1, *byte);
            }
            Op::Fill { address, byte, len } => {
                let address = address.index(size);
                let len = usize::from(*len).min(size - address);
                guest.fill(address.try_into().unwrap(), *byte, len.try_into().unwrap()).unwrap();
                model.fill(address, len, *byte);
            }
            Op::Copy { to, from, len } => {
                let (to, from) = (to.index(size), from.index(size));
                let len = usize::from(*len).min(size - to.max(from));
                guest.copy(to.try_into().unwrap(), from.try_into().unwrap(), len.try_into().unwrap()).unwrap();
                let bytes = model.bytes[from..from + len].to_vec();
                model.write(to, &bytes);
                // What was read may have been mapped by that.
                let read = from / PAGE_BYTES..(from + len).div_ceil(PAGE_BYTES);
                model.touched.extend(read.map(|page| u32::try_from(page).unwrap()));
            }
            Op::Init { address } => {
                let address = address.index(size - WORDS.len());
                guest.init(address.try_into().unwrap()).unwrap();
                model.write(address, WORDS);
            }
            Op::Scribble { address, byte } => {
                let address = address.index(size);
                guest.scribble(address.try_into().unwrap(), *byte).unwrap();
                model.fill(address, 1, *byte);
            }
            Op::Peek { address } => {
                let address = address.index(size);
                prop_assert_eq!(guest.peek(address.try_into().unwrap()).unwrap(), model.bytes[address]);
                model.touched.insert((address / PAGE_BYTES).try_into().unwrap());
            }
            Op::Grow { pages } => {
                let grown = guest.grow(*pages).unwrap();
                let wanted = size + *pages as usize * WASM_PAGE_BYTES;
                prop_assert_eq!(grown == -1, wanted > 4096 * WASM_PAGE_BYTES);
                if grown != -1 {
                    model.resize(wanted);
                }
            }
            Op::Collect => {
                let mut looked = Vec::new();
                guest.memory.look_for_dirty(&mut looked).unwrap();
                let found: BTreeSet<u32> = guest.dirty().into_iter().collect();
                prop_assert!(found.iter().eq(&looked), "a look finds {:?}, a collect {:?}", looked, found);
                let changed = model.changed();
                match tracker {
                    Tracker::Compare => prop_assert_eq!(&found, &changed),
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
                model.touched.retain(|page| !found.contains(page));
            }
            Op::Rest => {
                guest.rest();
                model.settle();
                if size > grain.whole_bytes {
                    model.open.clear();
                }
            }
            Op::Restore { page, byte } => {
                let page = page.index(page_count);
                guest.memory.write_page(page.try_into().unwrap(), &[*byte; PAGE_BYTES]).unwrap();
                model.fill(page * PAGE_BYTES, PAGE_BYTES, *byte);
            }
            Op::Zero { page } => {
                let page = page.index(page_count);
                guest.memory.zero_page(page.try_into().unwrap()).unwrap();
                model.fill(page * PAGE_BYTES, PAGE_BYTES, 0);
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
                let open = std::mem::take(&mut model.open);
                model = Model::new(grain, *pages as usize);
                // What is open stays open, though there is nothing to be found in it.
                model.open.extend(open);
            }
            Op::Attach { seed } => {
                let lost = Box::new(|error| panic!("{error:?}"));
                guest.memory.attach_pager(&Pattern::has, Box::new(Pattern(*seed)), lost).unwrap();
                for (page, bytes) in (0..).zip(model.bytes.chunks_mut(PAGE_BYTES)) {
                    bytes.fill(if Pattern::has(page) { Pattern(*seed).byte(page) } else { 0 });
                }
                model.settle();
                if tracker == Tracker::Compare {
                    model.open.extend(0..size.div_ceil(model.chunk));
                }
            }
            Op::LoadSome { pages } => {
                guest.memory.load_some(*pages).unwrap();
            }
        }
        let open = guest.memory.open_ranges().into_iter();
        let mut open = open.flat_map(|range| range.start / model.chunk..range.end.div_ceil(model.chunk));
        prop_assert!(
            open.all(|chunk| model.open.contains(&chunk)),
            "more is looked at than was touched: {:?}",
            model.open
        );
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
        // The middle one makes memories that are at times looked at in chunks and at times as a whole.
        for whole_bytes in [tracker.grain().whole_bytes, 1 << 20, 0] {
            let grain = Grain { whole_bytes, ..tracker.grain() };
            let cases = cases.clone();
            proptest!(cases, |(ops in prop::collection::vec(op(), 1..60))| run(tracker, grain, &ops)?);
        }
    }
}
