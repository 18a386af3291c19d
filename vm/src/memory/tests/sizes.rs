//! Growing, shrinking, and the edges of a memory.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wasmtime::{Config, Engine, Instance, Module, ResourceLimiter, Store, Trap};

use super::guest::{Guest, engine, trackers};
use super::in_a_process_of_its_own;
use crate::memory::{Made, MemoryError, Tracker, WASM_PAGE_BYTES};

fn assert_out_of_bounds<T: std::fmt::Debug>(result: wasmtime::Result<T>) {
    assert_eq!(result.unwrap_err().downcast_ref::<Trap>(), Some(&Trap::MemoryOutOfBounds));
}

#[test]
fn out_of_bounds_is_a_trap() {
    for tracker in trackers() {
        let mut guest = Guest::new(tracker);
        let end = 2 << 16;
        guest.poke(end - 1, 1).unwrap();
        assert_out_of_bounds(guest.poke(end, 1));
        assert_out_of_bounds(guest.peek(u32::MAX));
        assert_out_of_bounds(guest.fill(end - 1, 1, 2));
        let far = guest.instance.get_typed_func::<i32, i32>(&mut guest.store, "peek_far").unwrap();
        assert_out_of_bounds(far.call(&mut guest.store, -1));
        guest.grow(1).unwrap();
        guest.poke(end, 1).unwrap();
        assert_eq!(guest.dirty(), [31, 32]);
    }
}

#[test]
fn shrinking_takes_back_growth_and_keeps_the_rest() {
    for tracker in trackers() {
        let mut guest = Guest::new(tracker);
        guest.poke(100, 1).unwrap();
        guest.memory.clean().unwrap();
        guest.grow(3).unwrap();
        guest.poke(4 * 65536, 2).unwrap();
        guest.memory.shrink_to(2 * 65536).unwrap();
        guest.refresh();
        assert_eq!(guest.size(), 2);
        assert_out_of_bounds(guest.poke(4 * 65536, 2));
        assert_out_of_bounds(guest.fill(2 * 65536, 1, 1));
        assert_eq!(guest.dirty(), []);
        assert_eq!(guest.peek(100).unwrap(), 1);
        guest.grow(3).unwrap();
        assert_eq!(guest.peek(4 * 65536).unwrap(), 0);
    }
}

#[test]
fn resetting_makes_all_zero() {
    for tracker in trackers() {
        let mut guest = Guest::new(tracker);
        guest.grow(10).unwrap();
        guest.fill(0, 7, 12 * 65536).unwrap();
        guest.memory.reset(5 * 65536).unwrap();
        guest.refresh();
        assert_eq!(guest.size(), 5);
        assert_eq!(guest.dirty(), []);
        assert!(guest.memory.read(0..5 * 65536).iter().all(|byte| *byte == 0));
        guest.poke(9, 1).unwrap();
        assert!(guest.dirty().contains(&0));
    }
}

#[test]
fn memories_that_cannot_be_captured_are_refused() {
    for (memory, reason) in [("i64 1", "64-bit"), ("1 (pagesize 1)", "not 64 KiB")] {
        let bank = std::sync::Arc::new(crate::memory::MemoryBank::new(Tracker::Compare));
        let mut config = Config::new();
        config.with_host_memory(bank).memory_init_cow(false).wasm_memory64(true).wasm_custom_page_sizes(true);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, wat::parse_str(format!("(module (memory {memory}))")).unwrap()).unwrap();
        let error = Instance::new(&mut Store::new(&engine, ()), &module, &[]).unwrap_err();
        assert!(format!("{error:#}").contains(reason), "{error:#}");
    }
}

/// Passes on what the host could not do, and lets what the machine may not do be -1.
struct PassHostFaults;

impl ResourceLimiter for PassHostFaults {
    fn memory_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if error.is::<MemoryError>() { Err(error) } else { Ok(()) }
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

/// Were a host that is short of memory to answer -1, the machine would go another way than on a host that is not.
#[test]
fn growth_that_the_host_refuses_is_not_minus_one() {
    if !in_a_process_of_its_own("ABIDE_TEST_SHORT_OF_MEMORY") {
        return;
    }
    for tracker in trackers() {
        let (engine, bank) = engine(tracker);
        let wat =
            r#"(module (memory 1 16384) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;
        let module = Module::new(&engine, wat::parse_str(wat).unwrap()).unwrap();
        let mut store = Store::new(&engine, PassHostFaults);
        let (instance, Made { memories, .. }) = bank.watch(1, || Instance::new(&mut store, &module, &[]).unwrap());
        let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow").unwrap();

        let before = getrlimit(Resource::Data);
        setrlimit(Resource::Data, Rlimit { current: Some(256 << 20), ..before }).unwrap();
        let swallowed = grow.call(&mut store, 8192).unwrap();
        let remembered = memories[0].take_growth_failure();
        store.limiter(|limiter| limiter);
        let fault = grow.call(&mut store, 8192);
        setrlimit(Resource::Data, before).unwrap();

        // Without the limiter wasmtime swallows the error, and only the handle knows.
        assert_eq!(swallowed, -1);
        assert!(matches!(remembered, Some(MemoryError::Resize { .. })), "{remembered:?}");
        let fault = fault.unwrap_err();
        assert!(matches!(fault.downcast_ref(), Some(MemoryError::Resize { .. })), "{fault:?}");
        assert!(memories[0].take_growth_failure().is_some());
        assert_eq!(memories[0].byte_size(), WASM_PAGE_BYTES as u64);
        assert_eq!(grow.call(&mut store, 16384).unwrap(), -1, "the machine's own limit");
        assert_eq!(grow.call(&mut store, 8192).unwrap(), 1);
    }
}
