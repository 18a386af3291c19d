//! Modules that use everything a machine may use. Each is run by steps `(a, b)`, with whatever meaning it gives them.

/// Name, module, steps.
pub(super) type Case = (&'static str, &'static str, &'static [(i32, i32)]);

pub(super) const CORPUS: &[Case] = &[
    (
        "counter",
        r#"(memory (export "memory") 1) (global $n (mut i64) (i64.const 40))
           (func (export "abide_step") (param i32 i32) (result i64)
             (global.set $n (i64.add (global.get $n) (i64.extend_i32_s (local.get 1)))) (global.get $n))"#,
        &[(0, 1), (0, 1), (0, -7)],
    ),
    (
        "active data and start",
        r#"(memory (export "memory") 1 4) (global $base i32 (i32.add (i32.const 90) (i32.const 10)))
           (data (i32.const 8) "hello") (data (offset (i32.add (i32.const 100) (i32.const 4))) "world") (data (i32.const 9) "E")
           (func $start (i32.store8 (i32.const 8) (i32.add (i32.load8_u (i32.const 9)) (i32.const 1))))
           (start $start)
           (func (export "_initialize") (i32.store8 (i32.const 12) (i32.const 33)))
           (func (export "abide_step") (param i32 i32) (result i64)
             (if (i32.eq (local.get 1) (i32.const 77)) (then (drop (memory.grow (i32.const 1)))))
             (i64.store (local.get 0) (i64.mul (i64.load (local.get 0)) (i64.const 3)))
             (i64.add (i64.load (i32.const 8)) (i64.extend_i32_u (memory.size))))"#,
        &[(8, 0), (104, 0), (8, 77), (131072, 5), (200000, 0), (8, 77), (104, 77), (8, 77)],
    ),
    (
        "table of constants",
        r#"(memory (export "memory") 1) (table $t 5 funcref) (type $f (func (param i32) (result i64)))
           (elem (i32.const 1) $a $b) (elem (table $t) (offset (i32.const 3)) funcref (ref.func $a) (ref.null func))
           (func $a (type $f) (i64.extend_i32_s (local.get 0)))
           (func $b (type $f) (i64.mul (i64.extend_i32_s (local.get 0)) (i64.const 10)))
           (func (export "abide_step") (param i32 i32) (result i64)
             (call_indirect (type $f) (local.get 1) (local.get 0)))"#,
        &[(0, 5), (1, 5), (2, 5), (3, 5), (4, 5), (5, 5)],
    ),
    (
        "table that changes",
        r#"(import "abide" "blake3_256" (func $blake (param i32 i32 i32)))
           (memory (export "memory") 1) (table $t (export "table") 5 20 funcref) (table $u 2 funcref) (type $f (func (param i32) (result i64)))
           (global $saved (mut funcref) (ref.null func)) (global $first (mut funcref) (ref.func $b))
           (elem (i32.const 1) $a $b $blake) (elem (table $u) (i32.const 0) func $b $a)
           (func $a (type $f) (i64.extend_i32_s (local.get 0)))
           (func $b (type $f) (i64.mul (i64.extend_i32_s (local.get 0)) (i64.const 10)))
           (elem declare func $c)
           (func $c (type $f) (i64.const 99))
           (func $pick (param i32) (result funcref)
             (select (result funcref) (ref.func $c) (table.get $t (local.get 0)) (i32.eq (local.get 0) (i32.const 4))))
           (func (export "abide_step") (param i32 i32) (result i64)
             (block $call (block $grow (block $save (block $load (block $copy (block $fill (block $hash
               (br_table $call $grow $save $load $copy $fill $hash (i32.shr_u (local.get 0) (i32.const 8)))) ;; hash
               (call_indirect $t (param i32 i32 i32) (i32.const 0) (i32.const 64) (local.get 1) (i32.const 3))
               (return (i64.load (local.get 1)))) ;; fill
               (table.fill $t (i32.and (local.get 0) (i32.const 255)) (global.get $first) (local.get 1)) (return (i64.const 0))) ;; copy
               (table.copy $t $u (i32.and (local.get 0) (i32.const 255)) (i32.const 0) (local.get 1)) (return (i64.const 0))) ;; load
               (table.set $t (i32.and (local.get 0) (i32.const 255)) (global.get $saved)) (return (i64.const 0))) ;; save
               (global.set $saved (call $pick (i32.and (local.get 0) (i32.const 255)))) (return (i64.const 0))) ;; grow
               (return (i64.extend_i32_s (table.grow $t (global.get $saved) (local.get 1))))) ;; call
             (call_indirect $t (type $f) (local.get 1) (i32.and (local.get 0) (i32.const 255))))"#,
        &[
            (1, 5),
            (2, 5),
            (0, 5),
            (0x204, 0),
            (0x300, 0),
            (0, 5),
            (0x201, 0),
            (0x100, 3),
            (7, 6),
            (0x302, 0),
            (2, 6),
            (3, 1),
            (0x603, 32),
            (0x406, 2),
            (6, 4),
            (7, 4),
            (0x501, 2),
            (1, 3),
            (0x100, 100),
            (0x407, 2),
            (0x500, 100),
        ],
    ),
    (
        "passive segments",
        r#"(memory (export "memory") 1) (table $t 8 funcref) (type $f (func (result i64)))
           (data $p "passive data") (data $a (i32.const 64) "active data") (data $never "never read")
           (elem $e func $x $y) (elem $ae (i32.const 4) func $y $x) (elem $d declare func $x)
           (func $x (result i64) (i64.const 11)) (func $y (result i64) (i64.const 22))
           (func (export "abide_step") (param i32 i32) (result i64)
             (block $e2 (block $e1 (block $e0 (block $d4 (block $d3 (block $d2 (block $d1 (block $d0
               (br_table $d0 $d1 $d2 $d3 $d4 $e0 $e1 $e2 (local.get 0)))
               (memory.init $p (i32.const 0) (i32.const 1) (local.get 1)) (return (i64.load (i32.const 0))))
               (data.drop $p) (return (i64.const 1)))
               (memory.init $a (i32.const 0) (i32.const 1) (local.get 1)) (return (i64.load (i32.const 0))))
               (data.drop $a) (data.drop $never) (return (i64.load (i32.const 64))))
               (table.init $t $ae (i32.const 0) (i32.const 0) (local.get 1)) (return (i64.const 4)))
               (table.init $t $e (i32.const 0) (i32.const 0) (local.get 1)) (return (i64.const 5)))
               (elem.drop $e) (return (i64.const 6)))
             (call_indirect $t (type $f) (local.get 1)))"#,
        &[
            (7, 4),
            (7, 5),
            (7, 0),
            (0, 5),
            (2, 0),
            (2, 1),
            (5, 2),
            (7, 0),
            (7, 1),
            (4, 0),
            (4, 1),
            (6, 0),
            (5, 1),
            (5, 0),
            (7, 1),
            (1, 0),
            (0, 1),
            (0, 0),
            (3, 0),
            (2, 1),
        ],
    ),
    (
        "multi-value, blocks with parameters, tail calls",
        r#"(memory (export "memory") 1) (type $two (func (param i64 f64) (result f64 i64)))
           (func $swap (type $two) (f64.div (local.get 1) (f64.const 3)) (local.get 0))
           (func $down (param i64 i64) (result i64)
             (if (result i64) (i64.eqz (local.get 0)) (then (local.get 1))
               (else (return_call $down (i64.sub (local.get 0) (i64.const 1)) (i64.add (local.get 0) (local.get 1))))))
           (table 1 funcref) (elem (i32.const 0) $down)
           (func (export "abide_step") (param i32 i32) (result i64) (local f64)
             (i64.extend_i32_s (local.get 1)) (f64.convert_i32_s (local.get 0))
             (block (type $two) (call $swap) (br_if 0 (local.get 0)) (drop) (i64.const 7))
             (loop (param f64 i64) (result i64 f64)
               (local.set 1 (i32.wrap_i64)) (local.tee 2) (i64.trunc_sat_f64_s) (local.get 2)
               (if (param i64 f64) (result i64 f64) (i32.gt_s (local.get 1) (i32.const 0))
                 (then (f64.mul (local.get 2)) (local.set 2) (drop) (f64.sqrt (local.get 2)) (i64.extend_i32_s (i32.sub (local.get 1) (i32.const 1))) (br 1))))
             (local.set 2) (i64.and (i64.xor (i64.reinterpret_f64 (local.get 2))) (i64.const 1023))
             (return_call_indirect (param i64 i64) (result i64) (i64.const 10) (i32.const 0)))"#,
        &[(0, 0), (5, 3), (-5, 9), (100, 100)],
    ),
    (
        "several memories",
        r#"(memory $a (export "memory") 1) (memory $b 1 3) (memory $c 0)
           (data (memory $b) (i32.const 10) "second") (data (i32.const 10) "first")
           (func (export "abide_step") (param i32 i32) (result i64)
             (drop (memory.grow $c (local.get 1)))
             (i64.store $c (local.get 0) (i64.load $b (i32.const 10)))
             (memory.copy $a $c (i32.const 100) (local.get 0) (i32.const 8))
             (memory.fill $b (i32.const 12) (local.get 0) (i32.const 2))
             (i64.add (i64.load $a (i32.const 100)) (i64.extend_i32_u (memory.size $c))))"#,
        &[(0, 0), (0, 1), (65528, 0), (65529, 0), (70000, 1)],
    ),
    (
        "vectors",
        r#"(memory (export "memory") 1) (global $v (mut v128) (v128.const i32x4 1 2 3 4)) (global $x (mut f32) (f32.const 1.5))
           (data (i32.const 0) "\00\00\80\3f\00\00\00\40\00\00\40\40\00\00\80\40")
           (func (export "abide_step") (param i32 i32) (result i64) (local v128)
             (local.set 2 (f32x4.mul (v128.load (i32.const 0)) (f32x4.splat (f32.convert_i32_s (local.get 0)))))
             (global.set $v (i32x4.add (global.get $v) (i32x4.trunc_sat_f32x4_s (local.get 2))))
             (global.set $x (f32.add (global.get $x) (f32x4.extract_lane 1 (f32x4.sqrt (f32x4.abs (local.get 2))))))
             (v128.store (i32.const 32) (f64x2.promote_low_f32x4 (f32x4.replace_lane 1 (local.get 2) (global.get $x))))
             (v128.store (i32.const 48) (v128.bitselect (local.get 2) (f32x4.neg (local.get 2)) (f32x4.lt (local.get 2) (v128.load (i32.const 0)))))
             (i64.add (i64x2.extract_lane 0 (global.get $v)) (i64.load (i32.const 40))))"#,
        &[(1, 0), (2, 0), (-3, 0), (1000, 0)],
    ),
    (
        "moving bits through floats",
        r#"(memory (export "memory") 1) (global $d (mut f64) (f64.const 0)) (global $s (mut f32) (f32.const nan:0x200001))
           (data (i32.const 0) "\01\02\03\04\05\06\f7\7f\01\00\80\7f\ff\ff\ff\ff\00\00\00\00\00\00\00\80")
           (func $id (param f64 f32) (result f32 f64) (local.get 1) (local.get 0))
           (func (export "abide_step") (param i32 i32) (result i64) (local $x f64) (local $y f32) (local $i i32)
             (loop
               (local.set $x (f64.load (local.get $i)))
               (local.set $y (f32.load (local.get $i)))
               (f64.store offset=64 (local.get $i) (local.get $x))
               (f32.store offset=128 (local.get $i) (f32.neg (local.get $y)))
               (call $id (local.get $x) (local.get $y)) (global.set $d) (global.set $s)
               (f64.store offset=192 (local.get $i) (select (global.get $d) (f64.abs (local.get $x)) (local.get 0)))
               (f32.store offset=256 (local.get $i) (f32.copysign (local.get $y) (f32.const -1)))
               (if (i32.gt_s (local.get 1) (i32.const 99)) (then (local.set $x (f64.add (local.get $x) (f64.const 1)))))
               (f64.store offset=320 (local.get $i) (if (result f64) (i32.eq (local.get 1) (i32.const 1000)) (then (f64.const 5)) (else (f64.load (local.get $i)))))
               (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 16))))
             (i64.xor (i64.reinterpret_f64 (global.get $d)) (i64.extend_i32_u (i32.reinterpret_f32 (global.get $s)))))"#,
        &[(0, 0), (1, 0), (1, 100), (1, 1000)],
    ),
    (
        "unreachable code",
        r#"(memory (export "memory") 1)
           (func (export "abide_step") (param i32 i32) (result i64) (local f64)
             (block (result f64)
               (if (local.get 0) (then (br 1 (f64.sqrt (f64.convert_i32_s (local.get 1)))) (f64.add) (local.set 2) (f64.store)))
               (if (local.get 1) (then (unreachable) (f64.mul (local.get 2)) (local.set 2) (block (param f64 f64) (result f64) (f64.div)) (br 1)))
               (block (loop (br 1)) (unreachable) (f64.store))
               (return (i64.const 5)) (select))
             (i64.reinterpret_f64))"#,
        &[(0, 0), (1, 9), (1, 0), (0, 1)],
    ),
    (
        "numbers",
        r#"(memory (export "memory") 1)
           (func $spin (param f64 f64) (result f64) (local $n i32)
             (loop $again (result f64)
               (local.set 0 (f64.nearest (f64.div (f64.sqrt (f64.abs (f64.mul (local.get 0) (local.get 1)))) (f64.const 0.001))))
               (drop (f64.min (local.get 0) (local.get 1)))
               (br_if $again (i32.lt_s (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10)))
               (f64.copysign (local.get 0) (local.get 1))))
           (func (export "abide_step") (param i32 i32) (result i64)
             (i64.add (i64.reinterpret_f64 (call $spin (f64.convert_i32_s (local.get 0)) (f64.convert_i32_s (local.get 1))))
                      (i64.extend_i32_s (i32.reinterpret_f32 (f32.demote_f64 (f64.ceil (f64.promote_f32 (f32.convert_i32_u (local.get 0)))))))))"#,
        &[(1, 2), (-5, 7), (1000000, -3), (0, 0)],
    ),
];
