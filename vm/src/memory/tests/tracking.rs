//! Written pages, one property at a time, and what finding them costs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wasmtime::{Instance, Module, Store, Trap, WasmBacktrace};

use super::guest::{Guest, engine, trackers};
use crate::memory::{Made, PAGE_BYTES, Tracker, WASM_PAGE_BYTES};

#[test]
fn selection_obeys_a_wish_and_says_why() {
    let (tracker, why) = Tracker::select(Some(Tracker::Compare));
    assert_eq!((tracker, why.as_str()), (Tracker::Compare, "asked for"));
    let (tracker, why) = Tracker::select(Some(Tracker::WriteProtect));
    eprintln!("{tracker}: {why}");
    assert_eq!(Tracker::select(None), (tracker, why));
}

#[test]
fn each_write_is_reported_once() {
    for tracker in trackers() {
        let mut guest = Guest::new(tracker);
        assert_eq!(guest.dirty(), []);
        guest.poke(5 * 4096 + 17, 1).unwrap();
        guest.poke(0, 1).unwrap();
        assert_eq!(guest.dirty(), [0, 5]);
        assert_eq!(guest.dirty(), []);
        guest.poke(5 * 4096, 2).unwrap();
        assert_eq!(guest.dirty(), [5]);
    }
}

/// The kernel reports more runs than one call has room for.
#[test]
fn thousands_of_scattered_pages_are_all_found() {
    for tracker in trackers() {
        let mut guest = Guest::new(tracker);
        guest.grow(62).unwrap();
        let odd: Vec<u32> = (0..1024).filter(|page| page % 2 == 1).collect();
        for page in &odd {
            guest.poke(page * 4096, 1).unwrap();
        }
        assert_eq!(guest.dirty(), odd);
        assert_eq!(guest.dirty(), []);
    }
}

#[test]
fn a_restored_page_is_clean_and_its_next_write_is_not() {
    for tracker in trackers() {
        let mut guest = Guest::new(tracker);
        guest.poke(4096, 1).unwrap();
        guest.memory.write_page(1, &[9; PAGE_BYTES]).unwrap();
        guest.memory.write_page(2, &[8; PAGE_BYTES]).unwrap();
        guest.memory.clean().unwrap();
        assert_eq!(guest.dirty(), []);
        assert_eq!(guest.peek(2 * 4096).unwrap(), 8);
        guest.poke(2 * 4096, 7).unwrap();
        assert_eq!(guest.dirty(), [2]);
        assert_eq!(guest.memory.read_page(2)[..2], [7, 8]);
    }
}

#[test]
fn memories_are_found_in_the_order_of_the_module() {
    for tracker in trackers() {
        let (engine, bank) = engine(tracker);
        let wat = "(module (memory 1) (memory 3) (data (memory 1) (i32.const 9) \"x\"))";
        let module = Module::new(&engine, wat::parse_str(wat).unwrap()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut store = Store::new(&engine, ());
                    let (_, Made { memories, .. }) = bank.watch(2, || Instance::new(&mut store, &module, &[]).unwrap());
                    let sizes: Vec<u64> = memories.iter().map(|memory| memory.byte_size()).collect();
                    assert_eq!(sizes, [WASM_PAGE_BYTES as u64, 3 * WASM_PAGE_BYTES as u64]);
                    assert_eq!(memories[1].read(8..11), *b"\0x\0");
                });
            }
        });
    }
}

#[test]
fn a_write_to_a_protected_page_names_the_function() {
    for tracker in trackers() {
        let mut guest = Guest::new(tracker);
        guest.poke(3 * 4096, 1).unwrap();
        assert_eq!(guest.dirty(), [3]);
        guest.memory.protect_for_report(3).unwrap();
        assert_eq!(guest.peek(3 * 4096).unwrap(), 1);
        guest.poke(20 * 4096, 1).unwrap();
        let error = guest.poke(3 * 4096 + 8, 2).unwrap_err();
        assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::MemoryOutOfBounds));
        let backtrace = error.downcast_ref::<WasmBacktrace>().unwrap();
        assert_eq!(backtrace.frames()[0].func_name(), Some("poke"));
        guest.memory.unprotect(3).unwrap();
        assert_eq!(guest.dirty(), [20]);
        guest.poke(3 * 4096 + 8, 2).unwrap();
        assert_eq!(guest.dirty(), [3]);
    }
}

/// `memory.fill` writes from host code: the fault is no trap, and ended the process before there was a handler for it.
#[test]
fn a_bulk_write_to_a_protected_page_is_noted_and_passes() {
    for tracker in trackers() {
        let mut guest = Guest::new(tracker);
        guest.fill(0, 1, 65536).unwrap();
        guest.memory.clean().unwrap();
        guest.memory.protect_for_report(3).unwrap();
        assert!(guest.poke(3 * 4096 + 8, 2).is_err(), "a plain store still traps");
        assert!(!guest.memory.bulk_write_seen());
        guest.fill(2 * 4096, 7, 3 * 4096).unwrap();
        assert!(guest.memory.bulk_write_seen() && guest.watched_write.load(Ordering::Relaxed));
        assert_eq!(guest.dirty(), [2, 3, 4]);
        guest.memory.protect_for_report(3).unwrap();
        assert!(!guest.memory.bulk_write_seen());
    }
}

/// Prints what finding written pages costs; compare with docs/decisions/0016 before changing the tracker or its grain.
#[test]
fn cost_of_a_collect() {
    for tracker in trackers() {
        for mib in [1, 16, 256] {
            let mut guest = Guest::new(tracker);
            guest.grow(mib * 16 - 2).unwrap();
            guest.fill(0, 1, mib << 20).unwrap();
            let pages = mib << 8;
            for (where_, stride) in [("the same two pages", 0), ("one page and one that wanders", 1021)] {
                let (mut writes, mut collects) = (Vec::new(), Vec::new());
                for round in 0..200 {
                    let start = Instant::now();
                    guest.poke(4096, 2).unwrap();
                    guest.poke((9 + round * stride) % pages * 4096, 2).unwrap();
                    let written = Instant::now();
                    let dirty = guest.dirty();
                    collects.push(written.elapsed());
                    writes.push(written - start);
                    assert!(dirty.len() <= 2 || round == 0, "{dirty:?}");
                }
                let [write, collect] = [writes, collects].map(|mut times| {
                    times.sort_unstable();
                    times[times.len() / 4]
                });
                eprintln!("{tracker}, {mib} MiB, {where_}: {write:?} to write, {collect:?} to collect");
            }
        }
    }
}

/// Prints what a memory costs to make and drop, which every query does.
#[test]
fn cost_of_a_memory() {
    for tracker in trackers() {
        let (engine, bank) = engine(tracker);
        let module = Module::new(&engine, wat::parse_str("(module (memory 16))").unwrap()).unwrap();
        let mut best = Duration::MAX;
        for _ in 0..200 {
            let start = Instant::now();
            let mut store = Store::new(&engine, ());
            let made = bank.watch(1, || Instance::new(&mut store, &module, &[]).unwrap());
            drop((made, store));
            best = best.min(start.elapsed());
        }
        eprintln!("{tracker}: an instance with one memory, made and dropped: {best:?}");
    }
}
