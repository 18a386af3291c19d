#![no_main]

#[path = "../tcp_bodies.rs"]
mod tcp_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcp_bodies::tcp_ask(data));
