#![no_main]

#[path = "../kernel_bodies.rs"]
mod kernel_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| kernel_bodies::kernel(data));
