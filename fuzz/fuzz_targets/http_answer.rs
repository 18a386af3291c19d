#![no_main]

#[path = "../http.rs"]
#[allow(dead_code, reason = "each target uses a part of it")]
mod http;

libfuzzer_sys::fuzz_target!(|data: &[u8]| http::bodies::http_answer(data));
