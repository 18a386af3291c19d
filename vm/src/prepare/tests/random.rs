//! Random programs about floats. The oracle is the engine's own option, which makes every NaN canonical where it is made and leaves
//! moves alone: slow, and what a prepared module must agree with to the bit, on every target.

use std::fmt::Write;

use proptest::prelude::*;
use wasmtime::{Config, Engine};

use super::support::{Guest, TARGETS, engine, module};
use crate::prepare::prepare;

const BINARY: &[&str] = &["add", "sub", "mul", "div", "min", "max"];
const UNARY: &[&str] = &["sqrt", "ceil", "floor", "trunc", "nearest", "neg", "neg", "abs"];
const TESTS: &[&str] = &["eq", "ne", "lt", "gt", "le", "ge"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ty {
    I32,
    F32,
    F64,
    V128,
}

impl Ty {
    fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
        }
    }

    /// Locals of the type: two parameters and two more.
    fn local(self, random: &mut Random) -> String {
        format!("${}{}", self.name(), random.below(4))
    }
}

/// Choices, from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn float(&mut self) -> Ty {
        self.pick(&[Ty::F32, Ty::F64])
    }

    fn any(&mut self) -> Ty {
        self.pick(&[Ty::F32, Ty::F64, Ty::F64, Ty::V128])
    }

    fn address(&mut self) -> String {
        format!("(i32.const {})", self.below(32) * 4)
    }

    /// An expression of a type.
    fn expression(&mut self, ty: Ty, depth: u32) -> String {
        if depth == 0 {
            return self.leaf(ty);
        }
        let depth = depth - 1;
        match self.below(9) {
            0 => self.leaf(ty),
            1 => {
                let (a, b, c) =
                    (self.expression(ty, depth), self.expression(ty, depth), self.expression(Ty::I32, depth));
                if ty == Ty::V128 && self.below(2) == 0 {
                    return format!("(v128.bitselect {a} {b} {})", self.expression(ty, depth));
                }
                format!("(select {a} {b} {c})")
            }
            2 => {
                let (test, a, b) =
                    (self.expression(Ty::I32, depth), self.expression(ty, depth), self.expression(ty, depth));
                let ty = ty.name();
                match self.below(3) {
                    0 => format!("(if (result {ty}) {test} (then {a}) (else {b}))"),
                    1 => format!("(block (result {ty}) (br_if 0 {a} {test}) (drop) {b})"),
                    _ => format!("(block (result {ty}) (block (result {ty}) (br_table 0 1 0 {a} {test})) (drop) {b})"),
                }
            }
            3 => format!("(local.tee {} {})", ty.local(self), self.expression(ty, depth)),
            4 => format!("(call $id_{} {})", ty.name(), self.expression(ty, depth)),
            5 if ty != Ty::I32 => {
                // Values that stay on the stack through a block, and become a loop's parameters.
                let (a, b) = (self.expression(ty, depth), self.expression(ty, depth));
                let (name, other) = (ty.name(), self.statement(1));
                let to = ty.local(self);
                format!(
                    "(loop (param {name}) (result {name}) (local.set {to}) {other} (local.get {to}) \
                     (br_if 0 (i32.and (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 20)) (i32.const 3))))"
                )
                .replacen("(loop", &format!("{a} (drop) {b} (loop"), 1)
            }
            _ => self.operation(ty, depth),
        }
    }

    fn leaf(&mut self, ty: Ty) -> String {
        let name = ty.name();
        match self.below(4) {
            0 => format!("({name}.load {})", self.address()),
            1 => match ty {
                Ty::I32 => self.pick(&["(i32.const 0)", "(i32.const 1)", "(i32.const 0x7fa00000)"]).to_owned(),
                Ty::F32 => self
                    .pick(&[
                        "(f32.const 0)",
                        "(f32.const nan:0x200001)",
                        "(f32.const -nan)",
                        "(f32.const -inf)",
                        "(f32.const 3)",
                    ])
                    .to_owned(),
                Ty::F64 => self
                    .pick(&[
                        "(f64.const 0)",
                        "(f64.const nan:0x4000000000001)",
                        "(f64.const -nan)",
                        "(f64.const inf)",
                        "(f64.const 7)",
                    ])
                    .to_owned(),
                Ty::V128 => self
                    .pick(&[
                        "(v128.const i64x2 0 0)",
                        "(v128.const f32x4 1 -nan nan:0x200001 0)",
                        "(v128.const f64x2 nan -1)",
                    ])
                    .to_owned(),
            },
            2 if ty != Ty::I32 => format!("(global.get $g_{name})"),
            _ => format!("(local.get {})", ty.local(self)),
        }
    }

    fn operation(&mut self, ty: Ty, depth: u32) -> String {
        let float = self.float();
        let lanes = if float == Ty::F32 { "f32x4" } else { "f64x2" };
        match (ty, self.below(6)) {
            (Ty::I32, 0) => format!("(i32.reinterpret_f32 {})", self.expression(Ty::F32, depth)),
            (Ty::I32, 1) => format!(
                "(i32.wrap_i64 (i64.shr_u (i64.reinterpret_f64 {}) (i64.const 40)))",
                self.expression(Ty::F64, depth)
            ),
            (Ty::I32, 2) => format!("(i32.trunc_sat_{}_s {})", float.name(), self.expression(float, depth)),
            (Ty::I32, 3) => format!("(i32x4.extract_lane 3 {})", self.expression(Ty::V128, depth)),
            (Ty::I32, _) => {
                let (a, b) = (self.expression(float, depth), self.expression(float, depth));
                format!("({}.{} {a} {b})", float.name(), self.pick(TESTS))
            }
            (Ty::F32, 0) => format!("(f32.demote_f64 {})", self.expression(Ty::F64, depth)),
            (Ty::F64, 0) => format!("(f64.promote_f32 {})", self.expression(Ty::F32, depth)),
            (Ty::F32, 1) => format!("(f32x4.extract_lane {} {})", self.below(4), self.expression(Ty::V128, depth)),
            (Ty::F64, 1) => format!("(f64x2.extract_lane {} {})", self.below(2), self.expression(Ty::V128, depth)),
            (Ty::F32, 2) => format!("(f32.reinterpret_i32 {})", self.expression(Ty::I32, depth)),
            (Ty::F64, 2) => format!("(f64.convert_i32_s {})", self.expression(Ty::I32, depth)),
            (Ty::F32 | Ty::F64, 3) => format!("({}.{} {})", ty.name(), self.pick(UNARY), self.expression(ty, depth)),
            (Ty::F32 | Ty::F64, 4) => {
                format!("({}.copysign {} {})", ty.name(), self.expression(ty, depth), self.expression(ty, depth))
            }
            (Ty::F32 | Ty::F64, _) => {
                let (a, b) = (self.expression(ty, depth), self.expression(ty, depth));
                format!("({}.{} {a} {b})", ty.name(), self.pick(BINARY))
            }
            (Ty::V128, 0) => format!("({lanes}.splat {})", self.expression(float, depth)),
            (Ty::V128, 1) => {
                let (lane, a, b) = (self.below(2), self.expression(ty, depth), self.expression(float, depth));
                format!("({lanes}.replace_lane {lane} {a} {b})")
            }
            (Ty::V128, 2) => format!("({lanes}.{} {})", self.pick(UNARY), self.expression(ty, depth)),
            (Ty::V128, 3) => {
                let operation = self.pick(&[
                    "i32x4.add",
                    "v128.xor",
                    "i8x16.min_u",
                    "f32x4.pmin",
                    "f64x2.pmax",
                    "i64x2.sub",
                    "v128.andnot",
                ]);
                format!("({operation} {} {})", self.expression(ty, depth), self.expression(ty, depth))
            }
            (Ty::V128, 4) => {
                let operation = self.pick(&[
                    "f32x4.demote_f64x2_zero",
                    "f64x2.promote_low_f32x4",
                    "f32x4.convert_i32x4_s",
                    "i32x4.trunc_sat_f32x4_s",
                ]);
                format!("({operation} {})", self.expression(ty, depth))
            }
            (Ty::V128, _) => {
                let (a, b) = (self.expression(ty, depth), self.expression(ty, depth));
                let operation = if self.below(4) == 0 { self.pick(TESTS) } else { self.pick(BINARY) };
                format!("({lanes}.{operation} {a} {b})")
            }
        }
    }

    fn statement(&mut self, depth: u32) -> String {
        let ty = self.any();
        match self.below(6) {
            0 => format!("({}.store {} {})", ty.name(), self.address(), self.expression(ty, depth)),
            1 => format!("(global.set $g_{} {})", ty.name(), self.expression(ty, depth)),
            2 if depth > 0 => {
                let (test, a, b) =
                    (self.expression(Ty::I32, depth), self.statement(depth - 1), self.statement(depth - 1));
                format!("(if {test} (then {a}) (else {b}))")
            }
            3 if depth > 0 => {
                let (a, b) = (self.statement(depth - 1), self.statement(depth - 1));
                format!(
                    "(block (loop {a} (br_if 1 {}) {b} (br_if 0 (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 20)))))",
                    self.expression(Ty::I32, depth - 1)
                )
            }
            _ => format!("(local.set {} {})", ty.local(self), self.expression(ty, depth)),
        }
    }

    fn function(&mut self, index: u64) -> String {
        let mut text = format!("(func $f{index} (param $i320 i32)");
        for ty in [Ty::F32, Ty::F64, Ty::V128] {
            let name = ty.name();
            let _ = write!(text, "(param ${name}0 {name}) (param ${name}1 {name})");
        }
        let result = self.any();
        let _ = write!(text, "(result {}) (local $count i32)", result.name());
        for ty in [Ty::I32, Ty::F32, Ty::F64, Ty::V128] {
            let name = ty.name();
            let first = if ty == Ty::I32 { 1 } else { 2 };
            for local in first..4 {
                let _ = write!(text, "(local ${name}{local} {name})");
            }
        }
        for _ in 0..3 + self.below(6) {
            text += &self.statement(3);
        }
        text += &self.expression(result, 3);
        text += ")";
        let _ = write!(
            text,
            "(func $run{index} ({name}.store (i32.const 160) (call $f{index} (i32.load (i32.const 4)) (f32.load (i32.const 8)) (f32.load (i32.const 12))
                (f64.load (i32.const 16)) (f64.load (i32.const 24)) (v128.load (i32.const 32)) (v128.load (i32.const 48)))))",
            name = result.name()
        );
        text
    }

    fn program(&mut self) -> String {
        let mut text = r#"(memory (export "memory") 1)
            (data (i32.const 0) "\00\00\80\7f\01\00\00\00\00\00\a0\ff\00\00\c0\3f\01\00\00\00\00\00\f0\ff\00\00\00\00\00\00\f8\7f")
            (data (i32.const 32) "\00\00\80\bf\01\00\a0\7f\00\00\c0\ff\00\00\80\7f\00\00\00\00\00\00\f0\bf\ff\ff\ff\ff\ff\ff\ff\ff")"#
            .to_owned();
        for ty in [Ty::I32, Ty::F32, Ty::F64, Ty::V128] {
            let name = ty.name();
            let zero = if ty == Ty::V128 { "i64x2 0 0" } else { "0" };
            let _ = write!(
                text,
                "(global $g_{name} (mut {name}) ({name}.const {zero})) (func $id_{name} (param {name}) (result {name}) (local.get 0))"
            );
        }
        let mut calls = String::new();
        for index in 0..4 {
            text += &self.function(index);
            let _ = write!(calls, "(call $run{index})");
        }
        text + r#"(func (export "abide_step") (param i32 i32) (result i64)"# + &calls + "(i64.load (i32.const 160)))"
    }
}

pub(super) fn settling_engine() -> Engine {
    let mut config = Config::new();
    config.memory_init_cow(false);
    config.cranelift_nan_canonicalization(true);
    Engine::new(&config).unwrap()
}

/// One program, three steps; what they leave.
fn check(seed: u64, engines: &[Engine], settling: &Engine) {
    let wasm = module(&Random(seed).program());
    let prepared = prepare(&wasm).unwrap_or_else(|refusal| panic!("seed {seed}: {refusal:?}"));
    let mut oracle = Guest::instantiate(settling, &wasm).unwrap();
    let steps = |guest: &mut Guest| (0..3).map(|_| (guest.step(0, 0), guest.memory())).collect::<Vec<_>>();
    let expected = steps(&mut oracle);
    let mut captured = None;
    for engine in engines {
        let mut guest = Guest::boot(engine, &prepared).unwrap();
        for (step, (expected, found)) in expected.iter().zip(steps(&mut guest)).enumerate() {
            assert_eq!(expected.0, found.0, "seed {seed}, step {step}");
            assert!(expected.1 == found.1, "seed {seed}, step {step}: memory");
        }
        let image = guest.capture(&prepared.state);
        assert!(*captured.get_or_insert_with(|| image.clone()) == image, "seed {seed}: globals");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn floats_agree_with_the_engine_that_settles_everything(seed in any::<u64>()) {
        check(seed, &TARGETS.map(engine), &settling_engine());
    }
}
