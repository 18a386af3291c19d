//! The bits of NaNs: the same everywhere where an operation made them, kept where they were only moved.

use super::support::{Guest, Image, TARGETS, Target, engine, module};
use crate::prepare::prepare;

/// Runs a few steps on every target, and gives their results, which must agree.
fn results(name: &str, body: &str, steps: &[(i32, i32)]) -> Vec<i64> {
    let prepared = prepare(&module(body)).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
    let runs: Vec<(Vec<i64>, Image)> = TARGETS
        .into_iter()
        .map(|target| {
            let mut guest = Guest::boot(&engine(target), &prepared).unwrap();
            let results = steps.iter().map(|(a, b)| guest.step(*a, *b).unwrap()).collect();
            (results, guest.capture(&prepared.state))
        })
        .collect();
    assert_eq!(runs[0], runs[1], "{name}");
    assert_eq!(runs[0], runs[2], "{name}");
    runs[0].0.clone()
}

/// The 64 bits an expression of type f64 has when stored; `$nan` is a quiet NaN of unusual bits, `$zero` is 0.
fn bits(expression: &str) -> u64 {
    let body = format!(
        r#"(memory (export "memory") 1) (global $g (mut f64) (f64.const 0)) (data (i32.const 8) "\01\02\03\04\05\06\ff\ff")
           (func $id (param f64) (result f64) (local.get 0))
           (func (export "abide_step") (param i32 i32) (result i64) (local $nan f64) (local $zero f64) (local $x f64) (local $y f64)
             (local.set $nan (f64.load (i32.const 8)))
             (f64.store (i32.const 0) {expression}) (i64.load (i32.const 0)))"#
    );
    results(expression, &body, &[(0, 0)])[0].cast_unsigned()
}

const CANONICAL: u64 = 0x7ff8_0000_0000_0000;
const NEGATIVE: u64 = 0xfff8_0000_0000_0000;
const ODD: u64 = 0xffff_0605_0403_0201;

#[test]
fn made_nans_are_canonical() {
    for operation in [
        "(f64.div (local.get $zero) (local.get $zero))",
        "(f64.add (local.get $nan) (f64.const 1))",
        "(f64.sqrt (f64.const -1))",
        "(f64.min (local.get $nan) (f64.const 1))",
        "(f64.nearest (local.get $nan))",
        "(f64.promote_f32 (f32.demote_f64 (local.get $nan)))",
        "(f64.abs (f64.div (local.get $zero) (local.get $zero)))",
        "(call $id (f64.mul (local.get $nan) (local.get $nan)))",
        "(f64.neg (f64.neg (f64.sqrt (f64.const -1))))",
        "(block (local.set $x (f64.div (local.get $zero) (local.get $zero)))) (local.get $x)",
        "(select (f64.sqrt (f64.const -2)) (local.get $nan) (i32.const 1))",
        "(if (result f64) (local.get 0) (then (local.get $nan)) (else (f64.sqrt (f64.const -2))))",
        "(f64x2.extract_lane 1 (f64x2.div (v128.const i64x2 0 0) (v128.const i64x2 0 0)))",
        "(f64x2.extract_lane 1 (i64x2.add (v128.const i64x2 0 0) (f64x2.mul (f64x2.splat (local.get $nan)) (v128.const i64x2 0 0))))",
        "(f64x2.extract_lane 0 (f64x2.pmin (f64x2.sqrt (f64x2.splat (f64.const -1))) (v128.const i64x2 0 0)))",
    ] {
        assert_eq!(bits(operation), CANONICAL, "{operation}");
    }
}

#[test]
fn a_value_and_its_negation_differ_in_sign() {
    for operation in [
        "(f64.neg (f64.div (local.get $zero) (local.get $zero)))",
        "(local.set $x (f64.sqrt (f64.const -1))) (local.set $y (local.get $x)) (f64.neg (local.get $y))",
        "(f64.copysign (f64.sqrt (f64.const -1)) (f64.const -3))",
        "(f64.copysign (local.get $nan) (f64.neg (f64.sqrt (f64.const -1))))",
        "(f64x2.extract_lane 0 (f64x2.neg (f64x2.sqrt (f64x2.splat (f64.const -1)))))",
        "(select (f64.neg (f64.sqrt (f64.const -2))) (f64.sqrt (f64.const -2)) (i32.const 1))",
    ] {
        let expected = if operation.contains("copysign (local.get $nan)") { ODD } else { NEGATIVE };
        assert_eq!(bits(operation), expected, "{operation}");
    }
}

#[test]
fn moved_nans_keep_their_bits() {
    for operation in [
        "(local.get $nan)",
        "(f64.neg (f64.neg (local.get $nan)))",
        "(call $id (local.get $nan))",
        "(global.set $g (local.get $nan)) (global.get $g)",
        "(f64.reinterpret_i64 (i64.reinterpret_f64 (local.get $nan)))",
        "(select (local.get $nan) (f64.sqrt (f64.const -2)) (i32.const 1))",
        "(if (result f64) (local.get 0) (then (f64.sqrt (f64.const -2))) (else (local.get $nan)))",
        "(block (result f64) (br_if 0 (local.get $nan) (i32.const 1)) (drop) (f64.div (local.get $zero) (local.get $zero)))",
        "(local.set $x (f64.sqrt (f64.const 2))) (if (i32.eqz (local.get 0)) (then (local.set $x (local.get $nan)))) (local.get $x)",
        "(loop (result f64) (local.set $x (f64.load (i32.const 8))) (local.tee $y (local.get $x)) (local.set $x (f64.add (local.get $x) (f64.const 1))) (br_if 0 (local.tee 0 (i32.eqz (local.tee 1 (i32.eqz (local.get 1)))))) )",
        "(f64x2.extract_lane 1 (f64x2.replace_lane 0 (f64x2.splat (local.get $nan)) (f64.sqrt (f64.const -1))))",
        "(f64x2.extract_lane 0 (f64x2.pmax (f64x2.splat (local.get $nan)) (v128.const i64x2 0 0)))",
        "(f64x2.extract_lane 0 (v128.load64_splat (i32.const 8)))",
    ] {
        assert_eq!(bits(operation), ODD, "{operation}");
    }
    assert_eq!(bits("(f64.abs (local.get $nan))"), ODD & !(1 << 63));
}

#[test]
fn vectors_of_one_shape_taken_as_the_other() {
    // A single's made NaN in the upper half of a double, and the other way round.
    let body = r#"(memory (export "memory") 1)
        (func $singles (result v128) (f32x4.div (v128.const i64x2 0 0) (v128.const i64x2 0 0)))
        (func (export "abide_step") (param i32 i32) (result i64) (local v128)
          (local.set 2 (f32x4.sqrt (f32x4.splat (f32.const -1))))
          (v128.store (i32.const 0) (f64x2.abs (local.get 2)))
          (v128.store (i32.const 16) (f64x2.neg (f32x4.neg (local.get 2))))
          (local.set 2 (f64x2.sqrt (f64x2.splat (f64.const -1))))
          (v128.store (i32.const 32) (f32x4.neg (local.get 2)))
          (v128.store (i32.const 48) (f32x4.add (local.get 2) (call $singles)))
          (f64.store (i32.const 64) (f64x2.extract_lane 1 (f32x4.sqrt (f32x4.splat (f32.const -1)))))
          (i64.load (local.get 0)))"#;
    let steps: Vec<(i32, i32)> = (0..9).map(|n| (n * 8, 0)).collect();
    let found: Vec<u64> = results("shapes", body, &steps).into_iter().map(i64::cast_unsigned).collect();
    let single = 0x7fc0_0000_7fc0_0000;
    let negated = 0x7fc0_0000_ffc0_0000;
    let double = 0xfff8_0000_8000_0000;
    // The upper half of f64's canonical NaN is a NaN of f32 too, the lower half is 0.
    let sum = 0x7fc0_0000_7fc0_0000;
    assert_eq!(found, [single, single, negated, negated, double, double, sum, sum, single]);
}

#[test]
fn plain_modules_are_not_deterministic() {
    // What this pass is for: if this ever fails, targets have become alike and the tests above show nothing.
    let wasm = module(
        r#"(memory (export "memory") 1) (func (export "abide_step") (param i32 i32) (result i64)
             (i64.reinterpret_f64 (f64.div (f64.convert_i32_s (local.get 0)) (f64.convert_i32_s (local.get 1)))))"#,
    );
    let result = |target| Guest::instantiate(&engine(target), &wasm).unwrap().step(0, 0).unwrap().cast_unsigned();
    if cfg!(target_arch = "x86_64") {
        assert_eq!(result(Target::Speed), NEGATIVE);
    }
}
