//! A machine whose program is a text of the language: the evaluator, as the module of an ordinary machine.
//!
//! [`Kernel`] is what the module does, input by input; natively it is what tests run. `README.md` says how a program and its owner
//! see it. The module itself is [`MODULE`], built by `build.sh` from this crate and committed.
//!
//! Invariant: what an input does depends on the inputs before it and on nothing else: time is counted in steps of evaluation.
//! Invariant: no input makes it panic, and none of its evaluations can harm another one's.

mod kernel;

mod boot;
mod command;
mod event;
mod happening;
mod numbers;
mod owed;
mod pace;
mod size;
mod talk;
mod views;
mod waiting;

#[cfg(target_arch = "wasm32")]
mod raw;

pub use boot::{Genesis, Source};
pub use command::Command;
pub use kernel::Kernel;

/// The module, as a machine runs it.
#[cfg(not(target_arch = "wasm32"))]
pub const MODULE: &[u8] = include_bytes!("../kernel.wasm");
