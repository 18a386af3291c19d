//! The kernel, natively: every input, every command, everything that goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod boots;
mod commands;
mod common;
mod events;
mod fuzzed;
mod limits;
mod module;
mod talks;
mod turns;
