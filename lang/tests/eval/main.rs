//! The evaluator, seen from outside it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod reader;
mod reference;

mod basics;
mod jets;
mod long;
mod programs;
