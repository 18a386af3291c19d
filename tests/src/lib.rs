//! Tests of the whole system, and what they are made of.
//!
//! The tests themselves are one binary, `tests/whole.rs`, a module for each area.

pub mod abide;
pub mod browser;
pub mod lone;
pub mod server;
pub mod sim;
pub mod torture;
pub mod web;

use std::io::Write;

/// Names a test, or a part of one, that this host lacks something for, where whoever runs the tests sees it: unlike what is printed, this is not
/// captured.
pub fn not_run(what: &str) {
    let _ = std::io::stderr().write_all(format!("NOT RUN: {what}\n").as_bytes());
}
