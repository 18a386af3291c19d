//! The evaluator, seen from outside it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]
#![allow(clippy::duplicate_mod, reason = "what the fuzzer does has its own reference")]

mod reader;
mod reference;

mod basics;
mod fuzzed;
mod jets;
mod long;
mod programs;
