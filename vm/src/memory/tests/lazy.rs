//! Page-in on touch. With the compare tracker everything is loaded at once, and the same things hold.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::guest::{Guest, trackers, write_protect_works};
use crate::memory::{Loaded, PAGE_BYTES, Pager, PagerError, Tracker};

/// An image in which page `n` is filled with `n`, that counts loads and can have a bad page.
#[derive(Clone, Default)]
struct Image {
    loads: Arc<AtomicU32>,
    bad: Option<u32>,
    panics: bool,
}

fn byte_of(page: u32) -> u8 {
    page.to_le_bytes()[0]
}

impl Pager for Image {
    fn load(&mut self, page: u32, out: &mut [u8; PAGE_BYTES]) -> Result<(), PagerError> {
        if self.bad == Some(page) {
            assert!(!self.panics, "a bug in the pager");
            return Err(PagerError::Load { page, source: Box::new(io::Error::other("damaged")) });
        }
        self.loads.fetch_add(1, Ordering::Relaxed);
        out.fill(byte_of(page));
        Ok(())
    }
}

/// The image has all pages but every fifth, up to page 64.
fn populated(page: u32) -> bool {
    page < 64 && !page.is_multiple_of(5)
}

fn never_lost() -> Box<dyn Fn(PagerError) + Send> {
    Box::new(|error| panic!("{error:?}"))
}

/// A guest of eight WebAssembly pages, of which the first four are in the image.
fn attached(tracker: Tracker, image: Image) -> Guest {
    let mut guest = Guest::new(tracker);
    guest.grow(6).unwrap();
    guest.fill(0, 0xee, 8 << 16).unwrap();
    guest.memory.attach_pager(&populated, Box::new(image), never_lost()).unwrap();
    guest
}

#[test]
fn touched_pages_come_with_their_neighbours_and_are_clean() {
    for tracker in trackers() {
        let image = Image::default();
        let mut guest = attached(tracker, image.clone());
        assert_eq!(guest.peek(33 * 4096).unwrap(), 33);
        assert_eq!(guest.peek(35 * 4096).unwrap(), 0);
        assert_eq!(guest.peek(127 * 4096).unwrap(), 0);
        assert_eq!(guest.dirty(), []);
        if tracker == Tracker::WriteProtect {
            // Pages 32 to 47 without 35, 40, 45.
            assert_eq!(guest.memory.loaded(), Loaded { page_count: 13, page_count_total: 51 });
            assert_eq!(image.loads.load(Ordering::Relaxed), 13);
        }
    }
}

/// A write to a missing page is two faults: the page arrives protected, and only then the write is seen.
#[test]
fn a_write_to_a_missing_page_keeps_the_rest_of_it_and_is_dirty() {
    for tracker in trackers() {
        let mut guest = attached(tracker, Image::default());
        guest.poke(17 * 4096 + 1, 200).unwrap();
        guest.poke(20 * 4096, 201).unwrap();
        guest.poke(120 * 4096, 202).unwrap();
        assert_eq!(guest.dirty(), [17, 20, 120]);
        assert_eq!(guest.dirty(), []);
        assert_eq!(guest.memory.read_page(17)[..3], [17, 200, 17]);
        assert_eq!(guest.memory.read_page(20)[..2], [201, 0]);
        guest.poke(17 * 4096, 1).unwrap();
        assert_eq!(guest.dirty(), [17]);
    }
}

#[test]
fn bulk_instructions_and_the_host_touch_missing_pages_too() {
    for tracker in trackers() {
        let mut guest = attached(tracker, Image::default());
        guest.fill(15 * 4096 + 4095, 9, 2).unwrap();
        assert_eq!(guest.dirty(), [15, 16]);
        let bytes = guest.memory.read(47 * 4096..49 * 4096);
        assert_eq!((bytes[0], bytes[4095], bytes[4096]), (47, 47, 48));
        guest.memory.write_page(63, &[1; PAGE_BYTES]).unwrap();
        assert_eq!(guest.dirty(), [63]);
    }
}

#[test]
fn growth_beyond_the_image_is_zero() {
    for tracker in trackers() {
        let mut guest = attached(tracker, Image::default());
        guest.grow(2).unwrap();
        assert_eq!(guest.peek(9 << 16).unwrap(), 0);
        guest.memory.clean().unwrap();
        guest.poke(9 << 16, 1).unwrap();
        assert_eq!(guest.dirty(), [144]);
        // Below the image's own size, and back: what was given up does not come back from the image.
        guest.memory.shrink_to(2 << 16).unwrap();
        guest.refresh();
        guest.grow(2).unwrap();
        assert_eq!(guest.peek(33 * 4096).unwrap(), 0);
        assert_eq!(guest.peek(31 * 4096).unwrap(), 31);
    }
}

#[test]
fn the_rest_is_loaded_in_slices_while_the_guest_runs() {
    if !write_protect_works() {
        return;
    }
    let image = Image::default();
    let mut guest = attached(Tracker::WriteProtect, image.clone());
    let memory = Arc::clone(&guest.memory);
    let background = thread::spawn(move || {
        let mut loaded = memory.load_some(1).unwrap();
        while loaded.page_count < loaded.page_count_total {
            loaded = memory.load_some(5).unwrap();
        }
    });
    for page in (0..128).rev() {
        let expected = if populated(page) { byte_of(page) } else { 0 };
        assert_eq!(guest.peek(page * 4096 + 99).unwrap(), expected);
    }
    background.join().unwrap();
    assert_eq!(image.loads.load(Ordering::Relaxed), 51);
    assert_eq!(guest.memory.load_some(1).unwrap(), Loaded { page_count: 51, page_count_total: 51 });
    assert_eq!(guest.dirty(), []);
}

#[test]
fn resetting_ends_the_page_in() {
    for tracker in trackers() {
        let image = Image::default();
        let mut guest = attached(tracker, image.clone());
        guest.memory.reset(8 << 16).unwrap();
        let loads = image.loads.load(Ordering::Relaxed);
        assert_eq!(guest.peek(33 * 4096).unwrap(), 0);
        assert_eq!(image.loads.load(Ordering::Relaxed), loads);
        guest.memory.clean().unwrap();
        guest.poke(33 * 4096, 1).unwrap();
        assert_eq!(guest.dirty(), [33]);
        drop(guest);
        assert_eq!(Arc::strong_count(&image.loads), 1, "the thread and its pager are gone");
    }
}

#[test]
fn dropping_the_memory_ends_the_thread() {
    for tracker in trackers() {
        let image = Image::default();
        drop(attached(tracker, image.clone()));
        assert_eq!(Arc::strong_count(&image.loads), 1);
    }
}

/// The toucher of a page that cannot be loaded must never go on: any byte it saw would be wrong.
#[test]
fn a_lost_page_stops_its_toucher_for_good() {
    if !write_protect_works() {
        return;
    }
    for panics in [false, true] {
        let mut guest = attached(Tracker::WriteProtect, Image::default());
        let (lost, losses) = mpsc::channel();
        let image = Image { bad: Some(18), panics, ..Image::default() };
        let on_lost = Box::new(move |error| lost.send(error).unwrap());
        guest.memory.attach_pager(&populated, Box::new(image), on_lost).unwrap();
        assert_eq!(guest.peek(33 * 4096).unwrap(), 33);
        let memory = Arc::clone(&guest.memory);
        let (seen, sight) = mpsc::channel();
        // This thread never ends, and keeps its guest and with it the memory.
        thread::spawn(move || seen.send(guest.peek(18 * 4096)));
        let error = losses.recv_timeout(Duration::from_secs(10)).unwrap();
        match panics {
            false => assert!(matches!(error, PagerError::Load { page: 18, .. }), "{error:?}"),
            true => assert!(matches!(error, PagerError::Panicked { page: 18 }), "{error:?}"),
        }
        assert!(memory.reset(0).is_err(), "clearing the memory would show the toucher zeros");
        let waited = sight.recv_timeout(Duration::from_millis(300));
        assert_eq!(waited.unwrap_err(), mpsc::RecvTimeoutError::Timeout);
    }
}

#[test]
fn an_eager_load_returns_its_error() {
    let guest = attached(Tracker::Compare, Image::default());
    let image = Image { bad: Some(18), ..Image::default() };
    let error = guest.memory.attach_pager(&populated, Box::new(image), never_lost()).unwrap_err();
    assert_eq!(error.to_string(), "could not load page 18 of the image");
}

/// Prints what a first touch costs.
#[test]
fn cost_of_a_touch() {
    if !write_protect_works() {
        return;
    }
    let mut guest = Guest::new(Tracker::WriteProtect);
    guest.grow(62).unwrap();
    guest.memory.attach_pager(&|_| true, Box::new(Image::default()), never_lost()).unwrap();
    let start = std::time::Instant::now();
    for block in 0..64 {
        guest.peek(block << 16).unwrap();
    }
    eprintln!("first touch of a 64 KiB block: {:?}", start.elapsed() / 64);
}
