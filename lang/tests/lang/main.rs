//! What the language crate promises, seen from outside it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod base;
mod common;
mod reference;

mod fuzzed;
mod hashes;
mod jets;
mod library;
mod machines;
mod printed;
mod programs;
mod random_programs;
mod seeds;
mod sessions;
mod texts;
mod values;
