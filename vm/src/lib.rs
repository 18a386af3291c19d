//! A machine in motion: preparing modules, running guests step by step, capturing what they dirty, and the loop that decides what
//! becomes durable and what may leave.
//!
//! Invariants: engine types stay within this crate; clocks, randomness, environment and printing are the caller's.

pub mod prepare;

pub mod memory;
mod raw;

pub mod engine;
pub mod guest;
mod interrupt;

pub mod body;
pub mod ledger;
pub mod past;
pub mod query;
pub mod reader;
pub mod recover;
pub mod released;
pub mod remake;
pub mod replay;
pub mod step_loop;

pub mod causes;
pub mod port;
