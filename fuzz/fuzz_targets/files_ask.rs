#![no_main]

#[path = "../ports.rs"]
#[allow(dead_code, reason = "each target uses a part of it")]
mod ports;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ports::bodies::files_ask(data));
