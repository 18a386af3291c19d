//! What the language crate promises, seen from outside it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod common;

mod hashes;
mod seeds;
mod texts;
mod values;
