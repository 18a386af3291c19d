//! A tiny guest whose stores are real machine code, on a memory of ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::{Caller, Config, Engine, Extern, Func, Instance, Module, Store, TypedFunc};

use crate::memory::chunks::Grain;
use crate::memory::{GuestMemory, Made, MemoryBank, Tracker};
use crate::raw::{GuestFaults, handle_faults};

const WAT: &str = r#"
(module
  (import "host" "scribble" (func $scribble_import (param i32 i32)))
  (memory (export "memory") 2 4096)
  (data $words "written by memory.init")
  (func $poke (export "poke") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
  (func $peek (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func $peek_far (export "peek_far") (param i32) (result i32) (i32.load8_u offset=0xffffffff (local.get 0)))
  (func $fill (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
  (func $copy (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
  (func $init (export "init") (param i32) (memory.init $words (local.get 0) (i32.const 0) (i32.const 22)))
  (func $scribble (export "scribble") (param i32 i32) (call $scribble_import (local.get 0) (local.get 1)))
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
    /// Whether a bulk instruction has written to a watched page.
    pub(super) watched_write: Arc<AtomicBool>,
    poke: TypedFunc<(i32, i32), ()>,
    peek: TypedFunc<i32, i32>,
    grow: TypedFunc<i32, i32>,
    size: TypedFunc<(), i32>,
    fill: TypedFunc<(i32, i32, i32), ()>,
    copy: TypedFunc<(i32, i32, i32), ()>,
    init: TypedFunc<i32, ()>,
    scribble: TypedFunc<(i32, i32), ()>,
}

/// What `memory.init` writes.
pub(super) const WORDS: &[u8; 22] = b"written by memory.init";

/// A pure import that writes a byte to the guest's memory, as one that hashes would.
fn scribble(mut caller: Caller<'_, ()>, address: i32, byte: i32) {
    let memory = caller.get_export("memory").and_then(Extern::into_memory).unwrap();
    memory.data_mut(&mut caller)[address.cast_unsigned() as usize] = byte.to_le_bytes()[0];
}

/// An engine as the module's text demands, with its bank.
pub(super) fn engine(tracker: Tracker) -> (Engine, Arc<MemoryBank>) {
    engine_with_grain(tracker, tracker.grain())
}

fn engine_with_grain(tracker: Tracker, grain: Grain) -> (Engine, Arc<MemoryBank>) {
    let bank = Arc::new(MemoryBank::with_grain(tracker, grain));
    let mut config = Config::new();
    config.with_host_memory(bank.clone()).memory_init_cow(false);
    (Engine::new(&config).unwrap(), bank)
}

impl Guest {
    /// A fresh one, two WebAssembly pages of zeros.
    pub(super) fn new(tracker: Tracker) -> Guest {
        Guest::with_grain(tracker, tracker.grain())
    }

    /// One whose memory, however small, is looked at in chunks.
    pub(super) fn in_chunks(tracker: Tracker) -> Guest {
        Guest::with_grain(tracker, tracker.grain().always_in_chunks())
    }

    pub(super) fn with_grain(tracker: Tracker, grain: Grain) -> Guest {
        let (engine, bank) = engine_with_grain(tracker, grain);
        let module = Module::new(&engine, wat::parse_str(WAT).unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        let import = Func::wrap(&mut store, scribble).into();
        let (instance, Made { memories, .. }) =
            bank.watch(1, || Instance::new(&mut store, &module, &[import]).unwrap());
        let [memory] = memories.try_into().ok().expect("the guest has one memory");
        let watched_write = Arc::new(AtomicBool::new(false));
        let seeing = Arc::clone(&watched_write);
        let faults = GuestFaults {
            stop: None,
            memories: vec![Arc::clone(&memory)],
            watched_write: Box::new(move || seeing.store(true, Ordering::Relaxed)),
            stuck: Box::new(|error| panic!("{error}")),
        };
        handle_faults(&mut store, &module, faults);
        memory.allow_shutting();
        Guest {
            memory,
            instance,
            watched_write,
            poke: instance.get_typed_func(&mut store, "poke").unwrap(),
            peek: instance.get_typed_func(&mut store, "peek").unwrap(),
            grow: instance.get_typed_func(&mut store, "grow").unwrap(),
            size: instance.get_typed_func(&mut store, "size").unwrap(),
            fill: instance.get_typed_func(&mut store, "fill").unwrap(),
            copy: instance.get_typed_func(&mut store, "copy").unwrap(),
            init: instance.get_typed_func(&mut store, "init").unwrap(),
            scribble: instance.get_typed_func(&mut store, "scribble").unwrap(),
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

    /// Copies a range of bytes.
    pub(super) fn copy(&mut self, to: u32, from: u32, len: u32) -> wasmtime::Result<()> {
        self.copy.call(&mut self.store, (to.cast_signed(), from.cast_signed(), len.cast_signed()))
    }

    /// Stores [`WORDS`].
    pub(super) fn init(&mut self, address: u32) -> wasmtime::Result<()> {
        self.init.call(&mut self.store, address.cast_signed())
    }

    /// Has the host store a byte while the guest runs.
    pub(super) fn scribble(&mut self, address: u32, byte: u8) -> wasmtime::Result<()> {
        self.scribble.call(&mut self.store, (address.cast_signed(), byte.into()))
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

    /// Collects until all chunks that ever are have been shut.
    pub(super) fn rest(&self) {
        for _ in 0..20 {
            self.memory.clean().unwrap();
        }
    }

    /// The pages written since the last time.
    pub(super) fn dirty(&self) -> Vec<u32> {
        let mut out = vec![u32::MAX];
        self.memory.collect_dirty(&mut out).unwrap();
        out
    }
}
