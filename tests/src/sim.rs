//! A deterministic simulation of a machine's life: one number decides what arrives, what ports do, when the disk answers and how it fails,
//! when the process dies. The machine's step loop, body and journal are the real ones, the guest is real WebAssembly; disk, clock, CPU
//! time, ports and senders are simulated.
//!
//! Every life is checked against a model in plain Rust that knows nothing but the durable log, and at its end the log is executed
//! again by fresh bodies. A life that fails is made shorter before it is shown.

pub mod life;
pub mod plan;
pub mod sweep;

pub mod books;
pub mod check;
pub mod ops;
pub mod walker;

pub mod coverage;
pub mod cpu;
pub mod host;
pub mod ports;
pub mod random;
pub mod twin;

use std::fmt;

pub(crate) use vm::causes::chain;

/// What a life did wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The promise that was broken; failures of one kind have the same.
    pub promise: &'static str,
    /// How.
    pub detail: String,
}

impl Failure {
    /// A broken promise.
    pub fn new(promise: &'static str, detail: impl Into<String>) -> Self {
        Self { promise, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.detail)
    }
}

/// Fails with `promise` unless `holds`.
pub(crate) fn ensure(holds: bool, promise: &'static str, detail: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(promise, detail())) }
}
