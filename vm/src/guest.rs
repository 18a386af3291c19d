//! A guest: one instance of a prepared module, run one step at a time, its state read and written between steps.
//!
//! A guest knows nothing of logs, images or stores. After a fault its state is undefined until it has been restored.

use std::collections::HashMap;
use std::sync::Arc;

use seed::image::{FUNCREF_NULL, Global, Limits};
use seed::page::PAGE_BYTES;
use seed::{Nanos, PageIndex};
use thiserror::Error;
use wasmtime::{
    Caller, Extern, Func, Instance, Linker, Ref, ResourceLimiter, Store, Trap, TypedFunc, UpdateDeadline, Val,
    WasmBacktrace,
};

use crate::engine::{Code, Engine, EngineError, Mode};
use crate::interrupt::{Overseer, Reach, Ticker, Verdict};
use crate::memory::{GuestMemory, Made, MemoryError, StopMemory, WASM_PAGE_BYTES};
use crate::prepare::{GlobalRole, INIT, REDROP, STOP, STOP_PAGES, StateMap, ValueType};
use crate::raw::{self, GuestFaults};

/// One instance.
pub struct Guest {
    store: Store<Host>,
    state: Arc<StateMap>,
    alloc: TypedFunc<u32, u32>,
    step: TypedFunc<(u32, u32), u64>,
    memories: Vec<Arc<GuestMemory>>,
    /// The one of them in which buffers are exchanged.
    exchange: Arc<GuestMemory>,
    globals: Vec<wasmtime::Global>,
    tables: Vec<wasmtime::Table>,
    functions: Vec<(u32, Func)>,
    function_of: HashMap<usize, u32>,
    instance: Instance,
    stop: Arc<StopMemory>,
    overseer: Arc<Overseer>,
    reach: Reach,
    mode: Mode,
    limits: Limits,
}

/// Why no step happened.
#[derive(Debug, Error)]
pub enum Fault {
    /// The guest's doing: an abort.
    #[error(transparent)]
    Abort(#[from] Abort),
    /// The host's doing: no step happened.
    #[error(transparent)]
    Host(#[from] HostFault),
}

/// How a guest brought its own step to an end. The text is logged and told to askers.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Abort {
    /// It trapped.
    #[error("{what}{}", in_function(.function))]
    Trap {
        /// What the trap says.
        what: String,
        /// The innermost function.
        function: Option<String>,
    },
    /// It ran too long.
    #[error("the step took more than {limit_ms} ms of CPU time{}", in_function(.function))]
    Cpu {
        /// The declared limit, in milliseconds.
        limit_ms: u64,
        /// The innermost function when it was stopped.
        function: Option<String>,
    },
    /// It recursed too deep.
    #[error("the step used more than {limit_bytes} bytes of stack{}", in_function(.function))]
    Stack {
        /// The declared limit, in bytes.
        limit_bytes: u64,
        /// The innermost function.
        function: Option<String>,
    },
    /// It gave no buffer for the input.
    #[error("abide_alloc({bytes}) returned {pointer:#x}, where there is no memory of that size")]
    InputBuffer {
        /// What was asked for, in bytes.
        bytes: u64,
        /// What it returned.
        pointer: u32,
    },
    /// Its output is not in its memory.
    #[error("the output of {bytes} bytes at {pointer:#x} is outside memory")]
    OutputBuffer {
        /// Its length in bytes.
        bytes: u32,
        /// Where it should be.
        pointer: u32,
    },
    /// Its output is too large.
    #[error("the output has {bytes} bytes, more than {limit}")]
    OutputBytes {
        /// Its length.
        bytes: u32,
        /// The declared limit.
        limit: u64,
    },
}

/// What the host could not do. Nothing is logged; the process stops.
#[derive(Debug, Error)]
pub enum HostFault {
    /// Memory within the declared limit could not be had.
    #[error("the host has no memory for the machine")]
    Memory(#[source] EngineError),
    /// A memory cannot be tracked, restored or resized.
    #[error("the host cannot handle the machine's memory")]
    Tracking(#[from] MemoryError),
    /// The native stack of a replay was not enough for what a live machine did.
    #[error("the native stack was exhausted while steps were executed again")]
    Stack,
    /// The instance could not be made.
    #[error("the module cannot be instantiated")]
    Instantiate(#[source] EngineError),
    /// The engine's own state is not what preparation promised.
    #[error("the prepared module lacks {what}")]
    Shape {
        /// What.
        what: String,
    },
}

/// An instance cannot be brought to a recorded state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the recorded {what} does not fit the module")]
pub struct Misfit {
    /// Of what.
    pub what: &'static str,
}

struct Host {
    limits: Limits,
    /// Those of the stop memory among them.
    memory_bytes: u64,
    table_elements: u64,
}

/// Bytes of the memory that preparation adds, which no limit is about.
const STOP_BYTES: u64 = STOP_PAGES as u64 * WASM_PAGE_BYTES as u64;

#[derive(Debug, Error)]
#[error("the guest was stopped")]
struct Stopped;

#[derive(Debug, Error)]
#[error("{0}")]
struct OutOfMemory(String);

impl Guest {
    /// An instance in the state that instantiation leaves: neither initialised nor restored.
    ///
    /// # Errors
    /// If it cannot be made; too large a minimum of memories or tables is among the reasons.
    pub fn new(engine: &Engine, code: &Code) -> Result<Self, HostFault> {
        let instantiate = |error: wasmtime::Error| HostFault::Instantiate(error.into());
        let limits = engine.limits;
        let mut store = Store::new(&engine.inner, Host { limits, memory_bytes: 0, table_elements: 0 });
        store.limiter(|host| host);
        // Instantiation is no step: nothing interrupts it.
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        let mut linker = Linker::new(&engine.inner);
        linker.func_wrap("abide", "blake3_256", blake3_256).map_err(instantiate)?;
        let state = Arc::clone(&code.state);
        let own = state.memories.len();
        let (instance, Made { memories, stop }) =
            engine.bank.watch(own, || linker.instantiate(&mut store, &code.module));
        let instance = instance.map_err(instantiate)?;
        let lack = |what: &str| HostFault::Shape { what: what.to_owned() };
        let alloc = instance.get_typed_func(&mut store, "abide_alloc").map_err(|_| lack("abide_alloc"))?;
        let step = instance.get_typed_func(&mut store, "abide_step").map_err(|_| lack("abide_step"))?;
        let globals = state
            .globals
            .iter()
            .map(|global| instance.get_global(&mut store, &global.export).ok_or_else(|| lack(&global.export)))
            .collect::<Result<Vec<_>, _>>()?;
        let tables = state
            .tables
            .iter()
            .map(|table| instance.get_table(&mut store, &table.export).ok_or_else(|| lack(&table.export)))
            .collect::<Result<Vec<_>, _>>()?;
        let functions = state
            .functions
            .iter()
            .map(|function| {
                let found = instance.get_func(&mut store, &function.export).ok_or_else(|| lack(&function.export))?;
                Ok((function.index, found))
            })
            .collect::<Result<Vec<_>, HostFault>>()?;
        let function_of = functions.iter().map(|(index, func)| (func.to_raw(&mut store) as usize, *index)).collect();
        if memories.len() != own {
            return Err(lack("a memory"));
        }
        let exchange = memories.get(state.exchange as usize).cloned().ok_or_else(|| lack("memory"))?;
        let stop = stop.ok_or_else(|| lack(STOP))?;
        let overseer = Arc::new(Overseer::new(Arc::clone(&engine.meter)));
        let mode = engine.mode;
        let mut guest = Self {
            store,
            state,
            alloc,
            step,
            memories,
            exchange,
            globals,
            tables,
            functions,
            function_of,
            instance,
            stop,
            overseer,
            reach: engine.reach.clone(),
            mode,
            limits,
        };
        guest.oversee(None);
        Ok(guest)
    }

    /// Has the overseer asked whenever the guest is interrupted. A memory that is watched is one more reason to interrupt it.
    fn oversee(&mut self, watched: Option<Arc<GuestMemory>>) {
        self.overseer.watch(watched);
        let overseer = Arc::clone(&self.overseer);
        let ticker = Ticker::new(self.reach.clone());
        let told = Arc::clone(&self.overseer);
        let mut faults = GuestFaults {
            stop: None,
            memories: self.memories.clone(),
            watched_write: Box::new(move || ticker.tick()),
            stuck: Box::new(move |error| told.is_stuck(error)),
        };
        match self.reach {
            Reach::Stops(_) => {
                let stop = Arc::clone(&self.stop);
                faults.stop = Some((Arc::clone(&stop), Box::new(move || overseer.has_stopped_at(&stop))));
            }
            Reach::Epochs(_) => self.store.epoch_deadline_callback(move |_| {
                if overseer.may_go_on() { Ok(UpdateDeadline::Continue(1)) } else { Err(Stopped.into()) }
            }),
        }
        let module = self.instance.module(&self.store).clone();
        raw::handle_faults(&mut self.store, &module, faults);
        // An engine of byte code has no signals handled.
        if let Reach::Stops(_) = self.reach {
            self.memories.iter().for_each(|memory| memory.allow_shutting());
        }
    }

    /// Runs what runs once in a machine's life: active segments, the start function, `_initialize`.
    ///
    /// # Errors
    /// If that faults.
    pub fn initialize(&mut self) -> Result<(), Fault> {
        self.start_clock();
        self.run_export(INIT)?;
        if self.state.initialize {
            self.run_export("_initialize")?;
        }
        Ok(())
    }

    /// One step: the input in, the output out.
    ///
    /// # Errors
    /// If it faults; the guest must then be restored.
    pub fn step(&mut self, input: &[u8]) -> Result<Vec<u8>, Fault> {
        self.step_with(input, None)
    }

    /// One step in which the guest's first write to a page traps, in the function that writes. For finding out who writes.
    ///
    /// # Errors
    /// If it writes the page, or faults otherwise. A page that the memory does not have yet is not watched.
    pub fn step_watching(&mut self, input: &[u8], memory: usize, page: PageIndex) -> Result<Vec<u8>, Fault> {
        let Some(memory) = self.memories.get(memory).cloned() else { return self.step(input) };
        self.oversee(Some(Arc::clone(&memory)));
        let stepped = self.step_with(input, Some((memory, page)));
        self.oversee(None);
        stepped
    }

    fn step_with(&mut self, input: &[u8], watched: Option<(Arc<GuestMemory>, PageIndex)>) -> Result<Vec<u8>, Fault> {
        self.start_clock();
        let bytes = input.len() as u64;
        let length = u32::try_from(bytes).map_err(|_| Abort::InputBuffer { bytes, pointer: 0 })?;
        let pointer = self.alloc.call(&mut self.store, length).map_err(|error| self.fault(error))?;
        if u64::from(pointer) + bytes > self.exchange.byte_size() {
            return Err(Abort::InputBuffer { bytes, pointer }.into());
        }
        self.exchange.write(pointer as usize, input).map_err(HostFault::from)?;
        // Only now: the host's own write of the input must not trap. A page that is yet to come cannot be watched in the step that brings it.
        let watched = watched.filter(|(memory, page)| page.0 < memory.page_count());
        if let Some((memory, page)) = &watched {
            memory.protect_for_report(page.0).map_err(HostFault::from)?;
        }
        let called = self.step.call(&mut self.store, (pointer, length));
        if let Some((memory, page)) = &watched {
            memory.unprotect(page.0).map_err(HostFault::from)?;
        }
        let packed = called.map_err(|error| self.fault(error))?;
        let (pointer, length) = ((packed >> 32) as u32, (packed & 0xffff_ffff) as u32);
        if u64::from(length) > self.limits.output_bytes {
            return Err(Abort::OutputBytes { bytes: length, limit: self.limits.output_bytes }.into());
        }
        let end = u64::from(pointer) + u64::from(length);
        if end > self.exchange.byte_size() {
            return Err(Abort::OutputBuffer { bytes: length, pointer }.into());
        }
        Ok(self.exchange.read(pointer.into()..end))
    }

    /// Puts the limits that only a live machine has in force, or out of it. The native stack stays as it is.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// The memories, in the order of the state map.
    #[must_use]
    pub(crate) fn memories(&self) -> &[Arc<GuestMemory>] {
        &self.memories
    }

    /// The values of the mutable globals.
    ///
    /// # Errors
    /// If one refers to a function that preparation did not foresee.
    pub fn globals(&mut self) -> Result<Vec<Global>, HostFault> {
        let globals = self.globals.clone();
        globals
            .iter()
            .map(|global| {
                Ok(match global.get(&mut self.store) {
                    Val::I32(value) => Global::I32(value.cast_unsigned()),
                    Val::I64(value) => Global::I64(value.cast_unsigned()),
                    Val::F32(bits) => Global::F32(bits),
                    Val::F64(bits) => Global::F64(bits),
                    Val::V128(bits) => Global::V128(bits.as_u128()),
                    Val::FuncRef(func) => Global::Funcref(self.index_of(func)?),
                    _ => return Err(HostFault::Shape { what: "a capturable global".to_owned() }),
                })
            })
            .collect()
    }

    /// The elements of the tables that can change, each as the bytes of its blob.
    ///
    /// # Errors
    /// If one refers to a function that preparation did not foresee.
    pub fn tables(&mut self) -> Result<Vec<Vec<u8>>, HostFault> {
        let tables = self.tables.clone();
        tables
            .iter()
            .map(|table| {
                let mut content = Vec::new();
                for element in 0..table.size(&self.store) {
                    let index = match table.get(&mut self.store, element) {
                        Some(Ref::Func(func)) => self.index_of(func)?,
                        _ => return Err(HostFault::Shape { what: "a capturable table".to_owned() }),
                    };
                    content.extend_from_slice(&index.to_le_bytes());
                }
                Ok(content)
            })
            .collect()
    }

    /// Whether tables have these sizes, in elements: only then can the guest be restored in place.
    #[must_use]
    pub fn has_tables(&self, elements: impl Iterator<Item = u64>) -> bool {
        self.tables.iter().map(|table| table.size(&self.store)).eq(elements)
    }

    /// Whether a segment has been dropped that was still there when the globals were these. No guest gets it back.
    ///
    /// # Errors
    /// If a global refers to a function that preparation did not foresee.
    pub fn has_dropped_since(&mut self, globals: &[Global]) -> Result<bool, HostFault> {
        let now = self.globals()?;
        let mut flags = self.state.globals.iter().zip(now.iter().zip(globals));
        Ok(flags.any(|(global, (now, then))| global.role != GlobalRole::Program && now != then))
    }

    /// Lets a step take so much CPU time, in milliseconds, instead of what the image declares.
    pub(crate) fn allow_step_cpu(&mut self, milliseconds: u64) {
        self.limits.step_cpu_ms = milliseconds;
    }

    /// Takes globals and tables back to what they were, all else being as it was. Whether that can be done: no guest gets a dropped segment back, nor a
    /// smaller table.
    ///
    /// # Errors
    /// If a global or a table refers to a function that preparation did not foresee.
    pub(crate) fn take_back(&mut self, globals: &[Global], tables: &[Vec<u8>]) -> Result<bool, RestoreError> {
        let now = self.globals()?;
        if now != globals {
            let mut roles = self.state.globals.iter().zip(now.iter().zip(globals));
            if roles.any(|(global, (now, then))| global.role != GlobalRole::Program && now != then) {
                return Ok(false);
            }
            for (position, (now, then)) in now.iter().zip(globals).enumerate() {
                if now != then {
                    self.set_global(position, then)?;
                }
            }
        }
        if self.tables.is_empty() {
            return Ok(true);
        }
        let now = self.tables()?;
        if !now.iter().map(Vec::len).eq(tables.iter().map(Vec::len)) {
            return Ok(false);
        }
        for (position, _) in now.iter().zip(tables).enumerate().filter(|(_, (now, then))| now != then) {
            self.set_table(position, &tables[position])?;
        }
        Ok(true)
    }

    /// Takes growth of memory `index` back to `pages` of 4 KiB.
    ///
    /// # Errors
    /// If the host fails.
    pub fn shrink_memory(&mut self, index: usize, pages: u64) -> Result<(), HostFault> {
        let lack = || HostFault::Shape { what: "a memory".to_owned() };
        let handle = self.memories.get(index).ok_or_else(lack)?;
        let (before, bytes) = (handle.byte_size(), pages * PAGE_BYTES as u64);
        if before <= bytes {
            return Ok(());
        }
        handle.shrink_to(bytes)?;
        let host = self.store.data_mut();
        host.memory_bytes = host.memory_bytes.saturating_sub(before - bytes);
        // The engine keeps its own copy of the size; growing by nothing makes it look again.
        let export = &self.state.memories[index].export;
        let memory = self.instance.get_memory(&mut self.store, export).ok_or_else(lack)?;
        memory.grow(&mut self.store, 0).map_err(|error| HostFault::Instantiate(error.into()))?;
        Ok(())
    }

    /// Grows memory `index` to `pages` of 4 KiB, as its program once did.
    ///
    /// # Errors
    /// If that is not a size it can have.
    pub fn grow_memory(&mut self, index: usize, pages: u64) -> Result<(), Misfit> {
        let misfit = Misfit { what: "memory size" };
        let state = self.state.memories.get(index).ok_or_else(|| misfit.clone())?;
        let memory = self.instance.get_memory(&mut self.store, &state.export).ok_or_else(|| misfit.clone())?;
        let wasm_pages = pages / seed::page::PAGES_PER_WASM_PAGE;
        let missing = wasm_pages.checked_sub(memory.size(&self.store)).ok_or_else(|| misfit.clone())?;
        if missing > 0 {
            memory.grow(&mut self.store, missing).map_err(|_| misfit.clone())?;
        }
        if self.memories[index].byte_size() == pages * PAGE_BYTES as u64 { Ok(()) } else { Err(misfit) }
    }

    /// Sets globals and tables, and drops again the segments that were dropped. Memories are restored through [`Self::memories`].
    ///
    /// # Errors
    /// If they do not fit the module.
    pub fn restore(&mut self, globals: &[Global], tables: &[Vec<u8>]) -> Result<(), RestoreError> {
        if globals.len() != self.globals.len() {
            return Err(Misfit { what: "number of globals" }.into());
        }
        for (position, value) in globals.iter().enumerate() {
            self.set_global(position, value)?;
        }
        if tables.len() != self.tables.len() {
            return Err(Misfit { what: "number of tables" }.into());
        }
        for (position, content) in tables.iter().enumerate() {
            self.set_table(position, content)?;
        }
        // The host's doing, on nobody's time.
        self.arm();
        self.overseer.begin(Nanos(u64::MAX));
        self.run_export(REDROP)?;
        Ok(())
    }

    fn set_global(&mut self, position: usize, value: &Global) -> Result<(), Misfit> {
        let value = match (self.state.globals[position].ty, value) {
            (ValueType::I32, Global::I32(bits)) => Val::I32(bits.cast_signed()),
            (ValueType::I64, Global::I64(bits)) => Val::I64(bits.cast_signed()),
            (ValueType::F32, Global::F32(bits)) => Val::F32(*bits),
            (ValueType::F64, Global::F64(bits)) => Val::F64(*bits),
            (ValueType::V128, Global::V128(bits)) => Val::V128((*bits).into()),
            (ValueType::FuncRef, Global::Funcref(index)) => Val::FuncRef(self.function(*index)?),
            _ => return Err(Misfit { what: "type of a global" }),
        };
        let global = self.globals[position];
        global.set(&mut self.store, value).map_err(|_| Misfit { what: "value of a global" })
    }

    fn set_table(&mut self, position: usize, content: &[u8]) -> Result<(), Misfit> {
        let table = self.tables[position];
        let misfit = Misfit { what: "table" };
        let elements = (content.len() / 4) as u64;
        let missing = elements.checked_sub(table.size(&self.store)).ok_or_else(|| misfit.clone())?;
        if missing > 0 {
            table.grow(&mut self.store, missing, Ref::Func(None)).map_err(|_| misfit.clone())?;
        }
        for (element, index) in content.chunks_exact(4).enumerate() {
            let index = u32::from_le_bytes([index[0], index[1], index[2], index[3]]);
            let value = Ref::Func(self.function(index)?);
            table.set(&mut self.store, element as u64, value).map_err(|_| misfit.clone())?;
        }
        Ok(())
    }

    /// The name of a function, if the module has one for it.
    #[must_use]
    pub fn function_name(&self, index: u32) -> Option<String> {
        self.state.function_name(index)
    }

    fn run_export(&mut self, name: &str) -> Result<(), Fault> {
        let function: TypedFunc<(), ()> = self
            .instance
            .get_typed_func(&mut self.store, name)
            .map_err(|_| HostFault::Shape { what: name.to_owned() })?;
        function.call(&mut self.store, ()).map_err(|error| self.fault(error))
    }

    fn start_clock(&mut self) {
        // Armed before the clock is read, so that no tick from here on is lost.
        self.arm();
        self.overseer.begin(match self.mode {
            Mode::Live => self.overseer.now().plus(self.limits.step_cpu()),
            Mode::Replay => Nanos(u64::MAX),
        });
    }

    /// Lets ticks from here on interrupt the guest. A stop memory that was closed before then does so once, for nothing.
    fn arm(&mut self) {
        if let Reach::Epochs(_) = self.reach {
            self.store.set_epoch_deadline(1);
        }
    }

    fn fault(&self, error: wasmtime::Error) -> Fault {
        let function = error.downcast_ref::<WasmBacktrace>().and_then(|trace| self.innermost(trace));
        match self.overseer.take_verdict() {
            Some(Verdict::OutOfTime) => return Abort::Cpu { limit_ms: self.limits.step_cpu_ms, function }.into(),
            Some(Verdict::WatchedWrite) => {
                let what = "a bulk instruction wrote the watched page".to_owned();
                return Abort::Trap { what, function }.into();
            }
            Some(Verdict::Stuck(error)) => return HostFault::from(error).into(),
            None => {}
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) if self.mode == Mode::Replay => HostFault::Stack.into(),
            Some(Trap::StackOverflow) => Abort::Stack { limit_bytes: self.limits.stack_bytes, function }.into(),
            Some(trap) => Abort::Trap { what: trap.to_string(), function }.into(),
            None if error.downcast_ref::<OutOfMemory>().is_some() => HostFault::Memory(error.into()).into(),
            None => Abort::Trap { what: error.root_cause().to_string(), function }.into(),
        }
    }

    fn innermost(&self, trace: &WasmBacktrace) -> Option<String> {
        let frame = trace.frames().first()?;
        let index = frame.func_index();
        Some(self.function_name(index).unwrap_or_else(|| format!("function {index}")))
    }

    fn index_of(&mut self, func: Option<Func>) -> Result<u32, HostFault> {
        let Some(func) = func else { return Ok(FUNCREF_NULL) };
        let raw = func.to_raw(&mut self.store) as usize;
        self.function_of.get(&raw).copied().ok_or_else(|| HostFault::Shape { what: "an escaped function".to_owned() })
    }

    fn function(&self, index: u32) -> Result<Option<Func>, Misfit> {
        if index == FUNCREF_NULL {
            return Ok(None);
        }
        match self.functions.iter().find(|(known, _)| *known == index) {
            Some((_, func)) => Ok(Some(*func)),
            None => Err(Misfit { what: "function reference" }),
        }
    }
}

/// Restoring failed.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The recorded state does not fit the module.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// Dropping segments again faulted.
    #[error("the module's segments cannot be dropped again")]
    Redrop(#[from] Fault),
    /// The state that is there cannot be read.
    #[error("the state of an instance cannot be read")]
    Host(#[from] HostFault),
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.memory_bytes.saturating_add(desired.saturating_sub(current) as u64);
        let addressable = desired as u64 <= 1 << 32;
        // The stop memory is the last to be made: until then the limit is too high by its size, and then it is not.
        let limit = self.limits.memory_bytes.saturating_add(STOP_BYTES);
        if grown > limit || !addressable || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.memory_bytes = grown;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Within the declared limit growth must succeed everywhere; where the host cannot, no step happened.
        Err(OutOfMemory(error.to_string()).into())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.table_elements.saturating_add(desired.saturating_sub(current) as u64);
        if grown > self.limits.table_elements || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.table_elements = grown;
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(OutOfMemory(error.to_string()).into())
    }
}

/// Pure import 1: BLAKE3-256 of guest memory into guest memory.
fn blake3_256(mut caller: Caller<'_, Host>, pointer: u32, length: u32, out: u32) -> wasmtime::Result<()> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { return Err(Trap::MemoryOutOfBounds.into()) };
    let data = memory.data_mut(&mut caller);
    let start = pointer as usize;
    let hash = match data.get(start..start.saturating_add(length as usize)) {
        Some(bytes) => blake3::hash(bytes),
        None => return Err(Trap::MemoryOutOfBounds.into()),
    };
    let out = out as usize;
    match data.get_mut(out..out.saturating_add(32)) {
        Some(slot) => slot.copy_from_slice(hash.as_bytes()),
        None => return Err(Trap::MemoryOutOfBounds.into()),
    }
    Ok(())
}

fn in_function(function: &Option<String>) -> String {
    function.as_ref().map_or_else(String::new, |name| format!(" (in {name})"))
}
