//! The form of what comes out: names, exports, and the very bytes.

use super::corpus::CORPUS;
use super::support::module;
use crate::prepare::{GlobalRole, PREPARATION_VERSION, ValueType, prepare};

#[test]
fn prepared_bytes_are_pinned() {
    // Whoever changes these has changed what machines run. Raise PREPARATION_VERSION with them.
    let mut hasher = blake3::Hasher::new();
    for (_, body, _) in CORPUS {
        hasher.update(&prepare(&module(body)).unwrap().module);
    }
    assert_eq!(PREPARATION_VERSION, 2);
    assert_eq!(hasher.finalize().to_hex().as_str(), "6d978c48adaf0ff765901723d6ec06a4857fcad3f171d2e103fb6d4921f11eb7");
}

#[test]
fn preparing_twice_gives_the_same() {
    for (name, body, _) in CORPUS {
        let wasm = module(body);
        assert_eq!(prepare(&wasm).unwrap(), prepare(&wasm).unwrap(), "{name}");
    }
}

#[test]
fn only_what_can_change_is_state() {
    let body = r#"(memory (export "memory") 2 9) (memory 0)
        (table $constant (export "t") 3 funcref) (table $written 4 8 funcref)
        (elem (table $constant) (i32.const 0) func $f) (elem $used func $g) (data $unused "x")
        (global i32 (i32.const 1)) (global (mut v128) (v128.const i64x2 0 0)) (global (mut funcref) (ref.null func))
        (func $f (table.set $written (i32.const 0) (ref.func $f)) (data.drop $unused))
        (func $g (table.init $written $used (i32.const 0) (i32.const 0) (i32.const 1)))
        (func $h (export "abide_step") (param i32 i32) (result i64) (call $f) (i64.const 0))"#;
    let state = prepare(&module(body)).unwrap().state;
    let memories: Vec<_> = state.memories.iter().map(|m| (m.export.as_str(), m.pages_min, m.pages_max)).collect();
    assert_eq!(memories, [("abide:m0", 2, Some(9)), ("abide:m1", 0, None)]);
    let tables: Vec<_> = state.tables.iter().map(|t| (t.export.as_str(), t.elements_min, t.elements_max)).collect();
    assert_eq!(tables, [("abide:t1", 4, Some(8))]);
    let globals: Vec<_> = state.globals.iter().map(|g| (g.index, g.export.as_str(), g.ty, g.role)).collect();
    assert_eq!(
        globals,
        [
            (1, "abide:g1", ValueType::V128, GlobalRole::Program),
            (2, "abide:g2", ValueType::FuncRef, GlobalRole::Program),
            (3, "abide:e1", ValueType::I32, GlobalRole::ElementDropped(1)),
        ]
    );
    let functions: Vec<_> = state.functions.iter().map(|f| f.export.as_str()).collect();
    assert_eq!(functions, ["abide:f0", "abide:f1"]);
    assert_eq!((state.exchange, state.initialize), (0, false));
}

#[test]
fn a_module_without_references_as_state_exports_no_function_for_them() {
    let body = r#"(memory (export "memory") 1) (table 2 funcref) (elem (i32.const 0) $f $f) (func $f)
        (func (export "abide_step") (param i32 i32) (result i64) (call_indirect (local.get 0)) (i64.const 0))"#;
    let state = prepare(&module(body)).unwrap().state;
    assert_eq!((state.tables.len(), state.functions.len(), state.globals.len()), (0, 0, 0));
}

#[test]
fn names_are_kept_and_added() {
    let body = r#"(memory (export "memory") 1) (func $nice)
        (func $step (export "abide_step") (param $first i32) (param i32) (result i64) (i64.const 0))"#;
    let prepared = prepare(&module(body)).unwrap();
    let names: Vec<_> = (0..6).map(|index| prepared.state.function_name(index)).collect();
    let expected = [Some("nice"), Some("step"), None, Some("abide:init"), Some("abide:redrop"), None];
    assert_eq!(names, expected.map(|name| name.map(str::to_owned)));
    let text = String::from_utf8_lossy(&prepared.module).into_owned();
    assert!(text.contains("first"), "names of locals stay");
}

#[test]
fn a_damaged_name_section_is_no_obstacle() {
    let body = r#"(memory (export "memory") 1) (func $nice) (func $step (export "abide_step") (param i32 i32) (result i64) (i64.const 0))"#;
    let mut wasm = module(body);
    let at = wasm.windows(4).rposition(|window| window == b"nice").unwrap();
    wasm[at - 1] = 200;
    let prepared = prepare(&wasm).unwrap();
    assert_eq!(prepared.state.function_name(0), None);
    assert_eq!(prepared.state.function_name(3), Some("abide:init".to_owned()));
}
