//! Tests of the whole system, and what they are made of.
//!
//! The tests themselves are one binary, `tests/whole.rs`, a module for each area.

pub mod abide;
pub mod sim;
pub mod torture;
