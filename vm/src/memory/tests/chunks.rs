//! Chunks that are shut: every kind of write opens them, nothing else does, and traps stay traps.

use std::slice;

use wasmtime::{Trap, WasmBacktrace};

use super::guest::{Guest, trackers};
use super::in_a_process_of_its_own;
use crate::memory::{GuestMemory, PAGE_BYTES, Tracker};

const CHUNK: u32 = 256 << 10;
const MIB: u32 = 1 << 20;

/// A guest of 4 MiB, which is 16 chunks, all resident and shut.
fn shut(tracker: Tracker) -> Guest {
    let mut guest = Guest::in_chunks(tracker);
    guest.grow(62).unwrap();
    guest.fill(0, 1, 4 * MIB).unwrap();
    guest.rest();
    assert_eq!(guest.memory.open_ranges(), []);
    guest
}

#[test]
fn whoever_writes_is_found() {
    for tracker in trackers() {
        let mut guest = shut(tracker);
        guest.poke(CHUNK, 2).unwrap();
        guest.fill(3 * CHUNK - 1, 3, 2).unwrap();
        guest.copy(6 * CHUNK, CHUNK, 1).unwrap();
        guest.init(8 * CHUNK).unwrap();
        guest.scribble(10 * CHUNK, 5).unwrap();
        guest.memory.write_page(12 * 64, &[6; PAGE_BYTES]).unwrap();
        assert_eq!(guest.dirty(), [64, 191, 192, 384, 512, 640, 768]);
        assert_eq!(guest.dirty(), []);
        assert_eq!(guest.peek(6 * CHUNK).unwrap(), 2);
        assert_eq!(guest.peek(10 * CHUNK).unwrap(), 5);
        guest.rest();
        guest.scribble(10 * CHUNK, 7).unwrap();
        assert_eq!(guest.dirty(), [640]);
    }
}

#[test]
fn only_what_was_touched_lately_is_looked_at() {
    for tracker in trackers() {
        let mut guest = shut(tracker);
        guest.peek(9 * CHUNK).unwrap();
        assert_eq!(guest.memory.open_ranges(), []);
        guest.poke(5 * CHUNK - 1, 2).unwrap();
        guest.poke(5 * CHUNK, 2).unwrap();
        let chunk = CHUNK as usize;
        assert_eq!(guest.memory.open_ranges().as_slice(), slice::from_ref(&(4 * chunk..6 * chunk)));
        for _ in 0..20 {
            guest.memory.clean().unwrap();
            guest.poke(5 * CHUNK, 2).unwrap();
        }
        if tracker == Tracker::WriteProtect {
            assert_eq!(guest.memory.open_ranges().as_slice(), slice::from_ref(&(5 * chunk..6 * chunk)));
        }
    }
}

#[test]
fn beyond_the_end_is_a_trap_still() {
    for tracker in trackers() {
        let mut guest = shut(tracker);
        for refused in [guest.poke(4 * MIB, 1), guest.fill(4 * MIB - 1, 1, 2)] {
            assert_eq!(refused.unwrap_err().downcast_ref::<Trap>(), Some(&Trap::MemoryOutOfBounds));
        }
        assert_eq!(guest.dirty(), []);
    }
}

#[test]
fn growth_and_shrinking_in_the_middle_of_a_chunk() {
    for tracker in trackers() {
        let mut guest = shut(tracker);
        guest.memory.shrink_to(u64::from(4 * MIB - CHUNK / 2)).unwrap();
        guest.refresh();
        guest.poke(15 * CHUNK, 2).unwrap();
        assert_eq!(guest.dirty(), [15 * 64]);
        guest.rest();
        guest.grow(6).unwrap();
        guest.memory.write_page(15 * 64 + 1, &[6; PAGE_BYTES]).unwrap();
        guest.poke(4 * MIB - 1, 2).unwrap();
        guest.poke(4 * MIB, 2).unwrap();
        assert_eq!(guest.dirty(), [15 * 64 + 1, 1023, 1024]);
    }
}

#[test]
fn a_watched_page_stays_watched_when_its_neighbours_are_written() {
    for tracker in trackers() {
        let mut guest = shut(tracker);
        guest.memory.protect_for_report(67).unwrap();
        guest.poke(66 * 4096, 2).unwrap();
        guest.poke(8 * CHUNK, 2).unwrap();
        let error = guest.poke(67 * 4096, 2).unwrap_err();
        assert_eq!(error.downcast_ref::<WasmBacktrace>().unwrap().frames()[0].func_name(), Some("poke"));
        guest.memory.unprotect(67).unwrap();
        assert_eq!(guest.dirty(), [66, 512]);
        guest.rest();
        guest.poke(67 * 4096, 3).unwrap();
        assert_eq!(guest.dirty(), [67]);
    }
}

/// The kernel limits the mappings of a process, and two neighbours that differ in protection are two.
#[test]
fn where_there_is_no_room_for_a_border_everything_is_opened() {
    if !in_a_process_of_its_own("ABIDE_TEST_NO_ROOM_FOR_BORDERS") {
        return;
    }
    for tracker in trackers() {
        let mut guest = shut(tracker);
        let greedy = GuestMemory::create(Tracker::Compare, Tracker::Compare.grain(), 512 << 20, 512 << 20, 0).unwrap();
        if (0..greedy.page_count()).step_by(2).all(|page| greedy.protect_for_report(page).is_ok()) {
            eprintln!("this kernel has room for more borders than are to be had here");
            return;
        }
        guest.poke(5 * CHUNK, 2).unwrap();
        assert_eq!(guest.memory.open_ranges().as_slice(), slice::from_ref(&(0..4 * MIB as usize)));
        guest.poke(9 * CHUNK, 2).unwrap();
        guest.memory.write_page(1, &[6; PAGE_BYTES]).unwrap();
        assert_eq!(guest.dirty(), [1, 5 * 64, 9 * 64]);
        drop(greedy);
        guest.rest();
        guest.poke(5 * CHUNK, 3).unwrap();
        assert_eq!(guest.memory.open_ranges().len(), 1);
        assert_eq!(guest.dirty(), [5 * 64]);
    }
}
