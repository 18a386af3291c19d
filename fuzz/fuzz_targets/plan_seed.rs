#![no_main]

#[path = "../lang_bodies.rs"]
#[allow(dead_code, reason = "it has the other targets as well")]
mod lang_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| lang_bodies::plan_seed(data));
