//! The WebAssembly engine, switch by switch, and the native code it makes of a prepared module.
//!
//! | switch | value | why |
//! |---|---|---|
//! | host memory | [`MemoryBank`] | the host must see which pages were written |
//! | `memory_init_cow` | off | with it, a module with data panics under host memory |
//! | allocation | on demand | the pooling allocator ignores host memory |
//! | reservation, guard | 4 GiB, 32 MiB | bounds checks cost nothing |
//! | `epoch_interruption` | with Pulley only | native code polls a memory that the host takes away, at a fifth of the cost (`interrupt.rs`); both only make a step look at its CPU time, so they are never a source of differences |
//! | inlining | off | a compiler that sees two functions as one could take the polls of one for those of the other |
//! | `consume_fuel` | off | cost is measured, not metered; aborts are logged and not recomputed |
//! | `max_wasm_stack` | declared limit; four times that in replay | replay must not stop where the live machine did not |
//! | `cranelift_nan_canonicalization` | off | preparation does it where bits become observable, at a fraction of the cost |
//! | relaxed SIMD | refused | results differ between CPUs |
//! | threads, GC, exceptions | refused; features not built in | state that cannot be captured |
//! | optimisation level | speed | the others are for tests: results are the same |
//!
//! Native code is kept in the user's cache folder only, never in a machine or a seed.

use std::fs::{self, DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seed::image::Limits;
use seed::{Id, Nanos};
use thiserror::Error;
use tracing::debug;
use wasmtime::{Config, Inlining, InstanceAllocationStrategy, OptLevel};

use crate::interrupt::Reach;
pub use crate::interrupt::Ticker;
use crate::memory::{MemoryBank, Tracker};
use crate::prepare::{Memo, PREPARATION_VERSION, Refusal, StateMap};
use crate::raw;

/// The engine's name and version, as epochs record it.
pub const ENGINE: &str = "wasmtime 48.0.8";
const RESERVATION_BYTES: u64 = 4 << 30;
const GUARD_BYTES: u64 = 32 << 20;
/// Frames may be larger on another processor or at another optimisation level.
const REPLAY_STACK_FACTOR: u64 = 4;

/// Tells the CPU time of the calling thread. Clocks belong to the caller.
///
/// It is also called in the middle of a guest's run, in a signal handler, but never while the thread holds a lock or allocates: it may do whatever
/// needs no more than some 100 KiB of stack and does not panic.
pub type Meter = Arc<dyn Fn() -> Nanos + Send + Sync>;

/// Which code generator runs the guest. All give the same results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Optimised native code.
    Cranelift,
    /// Native code, not optimised.
    CraneliftPlain,
    /// Portable byte code, interpreted; runs on every processor.
    Pulley,
}

/// How guests are run, besides what their images declare.
#[derive(Clone)]
pub struct Settings {
    /// The code generator.
    pub backend: Backend,
    /// How dirty pages are found.
    pub tracker: Tracker,
    /// Where native code is kept between runs; nowhere if `None`.
    pub cache: Option<PathBuf>,
    /// The CPU clock.
    pub meter: Meter,
    /// Where modules are compiled; in this process if `None`.
    pub elsewhere: Option<Elsewhere>,
    /// Modules that are prepared already.
    pub prepared: Memo,
}

/// Has a job done by [`compile`] in another process, which can be limited and may die: a module can be made to cost a compiler any time and memory.
/// [`CodeError::Compile`] if it is the module's fault, [`CodeError::Engine`] if it is the host's.
pub type Elsewhere = Arc<dyn Fn(&[u8]) -> Result<Vec<u8>, CodeError> + Send + Sync>;

/// Whether the limits that only a live machine has are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// CPU time and native stack as declared.
    Live,
    /// What was logged as a step was within its limits: CPU time is free and the stack larger.
    Replay,
}

/// An engine for one machine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: wasmtime::Engine,
    pub(crate) bank: Arc<MemoryBank>,
    pub(crate) meter: Meter,
    pub(crate) reach: Reach,
    pub(crate) mode: Mode,
    pub(crate) limits: Limits,
    backend: Backend,
    cache: Option<PathBuf>,
    elsewhere: Option<Elsewhere>,
    prepared: Memo,
}

/// A module, ready to be instantiated.
#[derive(Clone)]
pub struct Code {
    pub(crate) module: wasmtime::Module,
    pub(crate) state: Arc<StateMap>,
}

/// A program cannot be run.
#[derive(Debug, Error)]
pub enum CodeError {
    /// It cannot be a machine.
    #[error("the module cannot be a machine")]
    Refused(#[from] Refusal),
    /// The engine cannot compile it, or not within the limits of whoever compiles.
    #[error("compiling the module failed")]
    Compile(#[source] EngineError),
    /// The engine cannot be set up.
    #[error("setting up the engine failed")]
    Engine(#[source] EngineError),
}

/// What the engine says.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct EngineError(String);

impl EngineError {
    /// In the words of whoever compiled elsewhere.
    #[must_use]
    pub fn new(words: String) -> Self {
        Self(words)
    }
}

impl From<wasmtime::Error> for EngineError {
    fn from(error: wasmtime::Error) -> Self {
        Self(format!("{error:#}"))
    }
}

impl Engine {
    /// An engine for a machine with these limits.
    ///
    /// # Errors
    /// If the engine does not accept the configuration on this host.
    pub fn new(settings: &Settings, limits: &Limits, mode: Mode) -> Result<Self, CodeError> {
        let bank = Arc::new(MemoryBank::new(settings.tracker));
        let mut config = config(settings.backend, stack_bytes(limits, mode))?;
        config.with_host_memory(Arc::clone(&bank) as Arc<dyn wasmtime::MemoryCreator>);
        let inner = wasmtime::Engine::new(&config).map_err(|error| CodeError::Engine(error.into()))?;
        let reach = match settings.backend {
            Backend::Cranelift | Backend::CraneliftPlain => Reach::Stops(Arc::clone(&bank)),
            Backend::Pulley => Reach::Epochs(inner.clone()),
        };
        Ok(Self {
            inner,
            bank,
            reach,
            meter: Arc::clone(&settings.meter),
            mode,
            limits: *limits,
            backend: settings.backend,
            cache: settings.cache.clone(),
            elsewhere: settings.elsewhere.clone(),
            prepared: settings.prepared.clone(),
        })
    }

    /// Prepares and compiles a module, or takes its native code from the cache. `id` is a hash of the module.
    ///
    /// # Errors
    /// If it cannot be a machine, or does not compile.
    pub fn load(&self, id: &Id, wasm: &[u8]) -> Result<Code, CodeError> {
        let prepared = self.prepared.prepare(id, wasm)?;
        let path = self.cache_path(id);
        let cached = path.as_ref().and_then(|path| raw::load_native(&self.inner, path).ok());
        let module = match cached {
            Some(module) => module,
            None => {
                let native = self.compile(&prepared.module)?;
                if let Some(path) = &path {
                    // A cache that cannot be written costs time, nothing else.
                    let kept = keep_native(path, &native);
                    debug!(path = %path.display(), ?kept, "native code");
                }
                raw::open_native(&self.inner, &native).map_err(|error| CodeError::Compile(error.into()))?
            }
        };
        Ok(Code { module, state: Arc::clone(&prepared.state) })
    }

    fn compile(&self, prepared: &[u8]) -> Result<raw::Native, CodeError> {
        let failed = |error: wasmtime::Error| CodeError::Compile(error.into());
        match &self.elsewhere {
            None => raw::compile_native(&self.inner, prepared).map_err(failed),
            Some(elsewhere) => {
                let stack = stack_bytes(&self.limits, self.mode) as u64;
                let job = [&[self.backend as u8], &stack.to_le_bytes()[..], prepared].concat();
                let sealed = elsewhere(&job)?;
                raw::Native::from_own_process(sealed).map_err(failed)
            }
        }
    }

    /// The same engine, for guests whose CPU time is told otherwise.
    pub(crate) fn with_meter(&self, meter: Meter) -> Self {
        Self { meter, ..self.clone() }
    }

    /// Makes running guests look at their CPU time. To be called every few milliseconds while a step runs.
    #[must_use]
    pub fn ticker(&self) -> Ticker {
        Ticker::new(self.reach.clone())
    }

    /// The native stack that a thread needs to run guests, in bytes.
    #[must_use]
    pub fn thread_stack_bytes(limits: &Limits) -> usize {
        stack_bytes(limits, Mode::Replay).saturating_add(2 << 20)
    }

    fn cache_path(&self, id: &Id) -> Option<PathBuf> {
        let mut key = Blake3Hasher(blake3::Hasher::new());
        self.inner.precompile_compatibility_hash().hash(&mut key);
        key.write(id.as_bytes());
        key.write_u32(PREPARATION_VERSION);
        Some(self.cache.as_ref()?.join(format!("{}.native", key.0.finalize().to_hex())))
    }
}

/// Compiles for [`Elsewhere`], in the process that it chose: what it was given, and what it is to return.
///
/// # Errors
/// If the job is malformed, or the module does not compile.
pub fn compile(job: &[u8]) -> Result<Vec<u8>, CodeError> {
    let malformed = || CodeError::Engine(EngineError("the job is malformed".to_owned()));
    let (&[backend], rest) = job.split_first_chunk().ok_or_else(malformed)?;
    let (stack, prepared) = rest.split_first_chunk().ok_or_else(malformed)?;
    let backend = [Backend::Cranelift, Backend::CraneliftPlain, Backend::Pulley]
        .into_iter()
        .find(|known| *known as u8 == backend)
        .ok_or_else(malformed)?;
    let stack = usize::try_from(u64::from_le_bytes(*stack)).map_err(|_| malformed())?;
    let engine = wasmtime::Engine::new(&config(backend, stack)?).map_err(|error| CodeError::Engine(error.into()))?;
    let native = raw::compile_native(&engine, prepared).map_err(|error| CodeError::Compile(error.into()))?;
    Ok(native.sealed().to_vec())
}

/// Everything about an engine that its code depends on, and more.
fn config(backend: Backend, stack_bytes: usize) -> Result<Config, CodeError> {
    let mut config = Config::new();
    config
        .memory_init_cow(false)
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .memory_reservation(RESERVATION_BYTES)
        .memory_guard_size(GUARD_BYTES)
        .epoch_interruption(backend == Backend::Pulley)
        .compiler_inlining(Inlining::No)
        .consume_fuel(false)
        .max_wasm_stack(stack_bytes)
        // Nothing runs asynchronously; the engine compares the two all the same.
        .async_stack_size(stack_bytes.saturating_add(1 << 20))
        .wasm_backtrace_max_frames(Some(std::num::NonZeroUsize::MIN.saturating_add(31)))
        .wasm_multi_memory(true)
        .wasm_tail_call(true)
        .wasm_extended_const(true)
        .wasm_relaxed_simd(false);
    match backend {
        Backend::Cranelift => config.cranelift_opt_level(OptLevel::Speed),
        Backend::CraneliftPlain => config.cranelift_opt_level(OptLevel::None),
        Backend::Pulley => config
            .target("pulley64")
            .map_err(|error| CodeError::Engine(error.into()))?
            .cranelift_opt_level(OptLevel::Speed),
    };
    Ok(config)
}

/// Writes native code where [`raw::load_native`] will believe it, whole or not at all.
fn keep_native(path: &Path, native: &raw::Native) -> Result<(), EngineError> {
    let failed = |error: std::io::Error| EngineError(error.to_string());
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
    file.write_all(native.sealed()).map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)
}

fn stack_bytes(limits: &Limits, mode: Mode) -> usize {
    let factor = if mode == Mode::Live { 1 } else { REPLAY_STACK_FACTOR };
    usize::try_from(limits.stack_bytes.saturating_mul(factor)).unwrap_or(usize::MAX / 2)
}

/// The engine describes what its code depends on through `Hash`; a cache key wants a hash that nobody can collide.
struct Blake3Hasher(blake3::Hasher);

impl Hasher for Blake3Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finalize().as_bytes()[..8].iter().fold(0, |hash, &byte| hash << 8 | u64::from(byte))
    }
}
