//! What cannot be a machine is refused in words that name it and say where it is.

use crate::causes::chain;
use crate::prepare::prepare;

/// Text, or `None` for what is accepted.
fn check(wasm: &[u8], expected: &str) {
    let refusal = prepare(wasm).expect_err(expected);
    let told = chain(&refusal);
    assert!(told.contains(expected), "expected: {expected}\n   found: {told}");
}

const STEP: &str = r#"(func (export "abide_step") (param i32 i32) (result i64) (i64.const 0))"#;
const ALLOC: &str = r#"(func (export "abide_alloc") (param i32) (result i32) (i32.const 0))"#;
const MEMORY: &str = r#"(memory (export "memory") 1)"#;

#[test]
fn bytes_that_are_no_module() {
    for (bytes, expected) in [
        (&b""[..], "there are no bytes"),
        (b"\x7fELF\x02", "it does not begin with `\\0asm`"),
        (b"\0as", "it does not begin with `\\0asm`"),
        (b"\0asm\x01", "it does not begin with"),
        (b"\0asm\x0d\0\x01\0", "it is a component"),
        (b"\0asm\x02\0\0\0", "its version is 0x2"),
        (b" ;; a comment\n(component)", "it is a component"),
        (b"(module (memory 1))", "it is the text form"),
        (b"\0asm\x01\0\0\0\x01", "not a valid WebAssembly module, at offset 0x9: unexpected end"),
    ] {
        check(bytes, expected);
    }
}

#[test]
fn constructs() {
    for (body, expected) in [
        ("(memory 1 1 shared)", "the module uses threads (atomics or shared memory), at offset"),
        (
            "(func $spin (drop (i32.atomic.load (i32.const 0))))",
            "threads (atomics or shared memory), at offset 0x5c in function 2 `spin`",
        ),
        ("(table 1 externref)", "garbage-collected references (externref"),
        ("(func (param externref))", "garbage-collected references (externref"),
        ("(type (struct))", "garbage-collected references"),
        ("(func (local anyref))", "garbage-collected references"),
        ("(func (local i31ref))", "garbage-collected references"),
        ("(type $f (func)) (func (param (ref $f)))", "typed function references"),
        ("(tag $t)", "exceptions (tags, throw"),
        ("(func (block (try_table (catch_all 0))))", "exceptions (tags, throw"),
        ("(func (local exnref))", "exceptions (tags, throw"),
        ("(memory i64 1)", "64-bit memories or tables (memory64)"),
        ("(table i64 1 funcref)", "64-bit memories or tables (memory64)"),
        (
            "(func (param v128) (result v128) (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0)))",
            "relaxed SIMD",
        ),
        ("(type $f (func)) (type $c (cont $f))", "stack switching"),
        ("(memory 1 (pagesize 1))", "custom page sizes"),
        ("(func (param i64 i64) (result i64 i64) (i64.mul_wide_s (local.get 0) (local.get 1)))", "wide arithmetic"),
        (
            "(global $a i32 (i32.const 1)) (global i32 (global.get $a))",
            "a constant expression that reads one of the module's own globals",
        ),
        (
            "(func $bad (result i32) (i64.const 1))",
            "not a valid WebAssembly module, at offset 0x5d in function 2 `bad`: type mismatch",
        ),
    ] {
        let wasm = wat::parse_str(format!("(module {MEMORY} {STEP} {ALLOC} {body})")).unwrap();
        check(&wasm, expected);
    }
}

#[test]
fn imports_and_exports() {
    let all = format!("{MEMORY} {STEP} {ALLOC}");
    for (fields, expected) in [
        (
            format!(r#"(import "env" "now" (func (result i64))) {all}"#),
            "imports the function `now` from `env`, and a machine may import only the functions `blake3_256`",
        ),
        (
            format!(r#"(import "wasi_snapshot_preview1" "fd_write" (func)) {all}"#),
            "the function `fd_write` from `wasi_snapshot_preview1`",
        ),
        (format!(r#"(import "abide" "blake2" (func)) {all}"#), "the function `blake2` from `abide`"),
        (format!(r#"(import "a\0ab" "c\1b" (memory 1)) {all}"#), r"the memory `c\u{1b}` from `a\nb`"),
        (format!(r#"(import "env" "t" (table 1 funcref)) {all}"#), "the table `t`"),
        (format!(r#"(import "env" "g" (global i32)) {all}"#), "the global `g`"),
        (
            format!(r#"(import "abide" "blake3_256" (func (param i32 i64))) {all}"#),
            "imports `blake3_256` from `abide` as a function (i32, i64) -> (), and its type is a function (i32, i32, i32) -> ()",
        ),
        (format!("{STEP} {ALLOC}"), "does not export `memory` (a memory)"),
        (format!("{MEMORY} {STEP}"), "does not export `abide_alloc` (a function (i32) -> (i32))"),
        (format!("{MEMORY} {ALLOC}"), "does not export `abide_step` (a function (i32, i32) -> (i64))"),
        (
            format!(r#"{STEP} {ALLOC} (func (export "memory"))"#),
            "exports `memory` as a function () -> (), and it must be a memory",
        ),
        (
            format!(r#"{MEMORY} {ALLOC} (func (export "abide_step") (param i64))"#),
            "exports `abide_step` as a function (i64) -> (), and it must be a function (i32, i32) -> (i64)",
        ),
        (
            format!(r#"{MEMORY} {STEP} (global (export "abide_alloc") i32 (i32.const 0))"#),
            "exports `abide_alloc` as a global",
        ),
        (
            format!(r#"{all} (func (export "_initialize") (param f32))"#),
            "exports `_initialize` as a function (f32) -> (), and it must be a function () -> ()",
        ),
        (
            format!(r#"{all} (func (export "abide:init"))"#),
            "exports `abide:init`, and names that begin with `abide:` are reserved",
        ),
    ] {
        let wasm = wat::parse_str(format!("(module {fields})")).unwrap();
        check(&wasm, expected);
    }
}

#[test]
fn sizes() {
    let mut large = b"\0asm\x01\0\0\0".to_vec();
    large.resize((64 << 20) + 1, 0);
    check(&large, "the module has 67108865 bytes, and at most 67108864 are accepted");
    // A scratch local is needed where the program has used all that there may be.
    let locals = "f64 ".repeat(50_000);
    let body = format!("(func (result f64) (local {locals}) (f64.add (local.get 0) (local.get 1)))");
    let wasm = wat::parse_str(format!("(module {MEMORY} {STEP} {ALLOC} {body})")).unwrap();
    check(
        &wasm,
        "the module has 50001 locals (with those that preparation needs), and at most 50000 are accepted in function 2",
    );
}
