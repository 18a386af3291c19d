//! Bytes meant to hurt: prepared or refused, in bounded time, never a panic.

use proptest::prelude::*;

use super::corpus::CORPUS;
use super::support::module;
use crate::prepare::prepare;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_modules_do_not_panic(
        which in 0..CORPUS.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut wasm = module(CORPUS[which].1);
        for (at, byte) in &edits {
            let at = at.index(wasm.len());
            wasm[at] = *byte;
        }
        let _ = prepare(&wasm);
        let cut = edits[0].0.index(wasm.len());
        let _ = prepare(&wasm[..cut]);
    }
}

/// A function that costs few bytes for each of very many values is settled wherever a NaN is made.
#[test]
fn a_function_too_large_to_analyse() {
    let results = "f64 ".repeat(900);
    let many = format!("(type $many (func (result {results})))");
    let made = "(f64.div (f64.const 0) (f64.const 0)) ".repeat(900);
    let branches = "(br_if 0 (i32.const 0)) ".repeat(20);
    let unit = format!("(block (br_if 0 (i32.const 1)) (block (type $many) (call $made) {branches}) (return)) ");
    let drops = "(drop) ".repeat(899);
    let large = format!("(drop (f64.sqrt (f64.const -1))) {} {made}", unit.repeat(300));
    let body = format!(
        r#"(memory (export "memory") 1) {many} (func $made (type $many) {made})
           (func $large (type $many) {large})
           (func (export "abide_step") (param i32 i32) (result i64) (local f64)
             (call $large) {drops} (local.set 2) (i64.reinterpret_f64 (f64.neg (f64.sqrt (local.get 2)))))"#
    );
    let prepared = prepare(&module(&body)).unwrap();
    // Compiling it takes engines half a minute; that even a NaN nobody looks at is settled shows in the bytes.
    let canonical = 0x7ff8_0000_0000_0000_u64.to_le_bytes();
    let settled = prepared.module.windows(8).filter(|window| **window == canonical).count();
    assert_eq!(settled, 900 + 900 + 1);
}

/// Blocks of three bytes with a thousand results each, one in the other.
#[test]
fn a_function_of_blocks_with_many_results() {
    let results = "i32 ".repeat(1000);
    let depth = 100_000;
    let body = format!(
        r#"(memory (export "memory") 1) (type $many (func (result {results})))
           (func (result f64) {} (unreachable) {} (unreachable) (f64.sqrt (f64.const -1)))
           (func (export "abide_step") (param i32 i32) (result i64) (i64.const 0))"#,
        "block (type $many) ".repeat(depth),
        "end ".repeat(depth),
    );
    prepare(&module(&body)).unwrap();
}
