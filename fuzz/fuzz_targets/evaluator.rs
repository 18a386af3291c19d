#![no_main]

#[path = "../evaluator_bodies.rs"]
mod evaluator_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| evaluator_bodies::evaluator(data));
