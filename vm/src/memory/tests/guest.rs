//! A tiny guest whose stores are real machine code, on a memory of ours.

use std::sync::Arc;

use wasmtime::{Config, Engine, Instance, Module, Store, TypedFunc};

use crate::memory::{GuestMemory, Made, MemoryBank, Tracker};

const WAT: &str = r#"
(module
  (memory (export "memory") 2 256)
  (func $poke (export "poke") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
  (func $peek (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func $peek_far (export "peek_far") (param i32) (result i32) (i32.load8_u offset=0xffffffff (local.get 0)))
  (func $fill (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
  (func $grow (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func $size (export "size") (result i32) (memory.size)))
"#;

/// The trackers that work here. Says so when one does not.
pub(super) fn trackers() -> Vec<Tracker> {
    let (best, why) = Tracker::select(None);
    if best == Tracker::WriteProtect {
        return vec![Tracker::Compare, Tracker::WriteProtect];
    }
    eprintln!("not run with write protection: {why}");
    vec![Tracker::Compare]
}

/// Whether write protection works here. Says so when it does not.
pub(super) fn write_protect_works() -> bool {
    trackers().contains(&Tracker::WriteProtect)
}

/// An instance of the guest, its memory, and the memory's handle.
pub(super) struct Guest {
    pub(super) store: Store<()>,
    pub(super) memory: Arc<GuestMemory>,
    pub(super) instance: Instance,
    poke: TypedFunc<(i32, i32), ()>,
    peek: TypedFunc<i32, i32>,
    grow: TypedFunc<i32, i32>,
    size: TypedFunc<(), i32>,
    fill: TypedFunc<(i32, i32, i32), ()>,
}

/// An engine as the module's text demands, with its bank.
pub(super) fn engine(tracker: Tracker) -> (Engine, Arc<MemoryBank>) {
    let bank = Arc::new(MemoryBank::new(tracker));
    let mut config = Config::new();
    config.with_host_memory(bank.clone()).memory_init_cow(false);
    (Engine::new(&config).unwrap(), bank)
}

impl Guest {
    /// A fresh one, two WebAssembly pages of zeros.
    pub(super) fn new(tracker: Tracker) -> Guest {
        let (engine, bank) = engine(tracker);
        let module = Module::new(&engine, wat::parse_str(WAT).unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        let (instance, Made { memories, .. }) = bank.watch(1, || Instance::new(&mut store, &module, &[]).unwrap());
        let [memory] = memories.try_into().ok().expect("the guest has one memory");
        Guest {
            memory,
            instance,
            poke: instance.get_typed_func(&mut store, "poke").unwrap(),
            peek: instance.get_typed_func(&mut store, "peek").unwrap(),
            grow: instance.get_typed_func(&mut store, "grow").unwrap(),
            size: instance.get_typed_func(&mut store, "size").unwrap(),
            fill: instance.get_typed_func(&mut store, "fill").unwrap(),
            store,
        }
    }

    /// Stores a byte.
    pub(super) fn poke(&mut self, address: u32, byte: u8) -> wasmtime::Result<()> {
        self.poke.call(&mut self.store, (address.cast_signed(), byte.into()))
    }

    /// Loads a byte.
    pub(super) fn peek(&mut self, address: u32) -> wasmtime::Result<u8> {
        self.peek.call(&mut self.store, address.cast_signed()).map(|byte| u8::try_from(byte).unwrap())
    }

    /// Sets a range of bytes.
    pub(super) fn fill(&mut self, address: u32, byte: u8, len: u32) -> wasmtime::Result<()> {
        self.fill.call(&mut self.store, (address.cast_signed(), byte.into(), len.cast_signed()))
    }

    /// `memory.grow`.
    pub(super) fn grow(&mut self, pages: u32) -> wasmtime::Result<i32> {
        self.grow.call(&mut self.store, pages.cast_signed())
    }

    /// `memory.size`.
    pub(super) fn size(&mut self) -> i32 {
        self.size.call(&mut self.store, ()).unwrap()
    }

    /// Makes wasmtime look at the memory's size again.
    pub(super) fn refresh(&mut self) {
        let memory = self.instance.get_memory(&mut self.store, "memory").unwrap();
        memory.grow(&mut self.store, 0).unwrap();
    }

    /// The pages written since the last time.
    pub(super) fn dirty(&self) -> Vec<u32> {
        let mut out = vec![u32::MAX];
        self.memory.collect_dirty(&mut out).unwrap();
        out
    }
}
