;; The machine that the simulator drives: an interpreter of two-byte operations that arrive in its inputs. Whatever enters it ends up in one
;; running number, $acc, and every kind of state that a machine can have takes part in it: two memories, a table, globals of several types,
;; segments that can be dropped. ../src/sim/walker.rs says the same in Rust; the two must agree on every byte.
;;
;;   a message's payload   8 bytes to tell it from others, then operations
;;   an answer's payload   10 bytes that say which ask, run and part it belongs to, then operations
;;   a break's text        with code 8: 16 characters that say which ask, then operations; otherwise nothing
;;   a query's payload     as a message's; what it does is never kept
;;   grants                which numbers its ports have; one in eight such inputs is too much for it
;;
;; An operation is a letter and an argument from 0 to 127. ../src/sim/ops.rs lists them.

(module
  (type $number (func (result i64)))

  ;; Page 0: fixed text, output from $OUT on, the replies put off from $HELD on. Page 1: the input. From page 2 on: what operations write.
  (memory $main (export "memory") 3)
  (memory $side 1)
  (data (memory $main) (i32.const 1024) "walkers!")
  (data $phrase "a phrase to drop")

  (table $table 4 funcref)
  (elem (table $table) (i32.const 0) func $three $fourteen)
  (elem $spare func $twentyfive $three)

  (global $OUT i32 (i32.const 4096))
  (global $HELD i32 (i32.const 32768))
  (global $INPUT i32 (i32.const 65536))
  (global $REGION i32 (i32.const 131072))
  (global $UINT i32 (i32.const 0x00))
  (global $BYTES i32 (i32.const 0x40))
  (global $TEXT i32 (i32.const 0x60))
  (global $ARRAY i32 (i32.const 0x80))

  ;; What the machine remembers.
  (global $acc (mut i64) (i64.const 1))
  (global $nonce (mut i64) (i64.const 1))     ;; tells asks apart
  (global $open (mut i32) (i32.const 0))      ;; bit n: request n is open
  (global $held (mut i32) (i32.const 0))      ;; replies put off
  (global $slices (mut i32) (i32.const 0))    ;; times it wants to be called again
  (global $fuse (mut i32) (i32.const 0))      ;; the next such call traps
  (global $console (mut i64) (i64.const 1))   ;; ports, by the numbers that they had last
  (global $clock (mut i64) (i64.const 2))
  (global $random (mut i64) (i64.const 3))
  (global $float (mut f64) (f64.const 1))
  (global $function (mut funcref) (ref.null func))

  ;; Of use within a step only.
  (global $in (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 0))
  (global $count (mut i32) (i32.const 0))
  (global $reply (mut i64) (i64.const 0))     ;; the reply of the message at hand, while it is neither answered nor refused
  (global $spoil (mut i32) (i32.const 0))     ;; 1 malformed, 2 too long, 3 out of bounds

  (func $three (type $number) (i64.const 3))
  (func $fourteen (type $number) (i64.const 14))
  (func $twentyfive (type $number) (i64.const 25))

  (func (export "abide_alloc") (param i32) (result i32) (global.get $INPUT))

  (func (export "abide_step") (param $ptr i32) (param $len i32) (result i64)
    (local $at i32)
    (local $kind i64)
    (local $end i32)
    (local $request i64)
    (local $more i64)
    (global.set $out (i32.add (global.get $OUT) (i32.const 1)))
    (global.set $count (i32.const 0))
    (global.set $reply (i64.const 0))
    (global.set $spoil (i32.const 0))
    (local.set $at (local.get $ptr))
    (block $mixed
      (loop $next
        (br_if $mixed (i32.eq (local.get $at) (i32.add (local.get $ptr) (local.get $len))))
        (call $mix (i64.load8_u (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (global.set $in (local.get $ptr))
    (drop (call $read))
    (local.set $kind (call $read))
    (block $parsed
      (if (i64.eq (local.get $kind) (i64.const 0)) (then ;; [0, genesis, grants]
        (call $mix (i64.load (i32.const 1024)))
        (br $parsed)))
      (if (i64.eq (local.get $kind) (i64.const 1)) (then ;; [1, port, from, reply, payload]
        (drop (call $read))
        (call $skip)
        (global.set $reply (call $read))
        (local.set $end (i32.wrap_i64 (call $read)))
        (local.set $end (i32.add (local.get $end) (global.get $in)))
        (global.set $in (i32.add (global.get $in) (i32.const 8)))
        (call $operations (local.get $end))
        (br $parsed)))
      (if (i64.eq (local.get $kind) (i64.const 2)) (then ;; [2, request, more, payload]
        (local.set $request (call $read))
        (local.set $more (call $read))
        (if (i64.eqz (local.get $more)) (then (call $close (local.get $request))))
        (local.set $end (i32.wrap_i64 (call $read)))
        (local.set $end (i32.add (local.get $end) (global.get $in)))
        (global.set $in (i32.add (global.get $in) (i32.const 10)))
        (call $operations (local.get $end))
        (br $parsed)))
      (if (i64.eq (local.get $kind) (i64.const 3)) (then ;; [3, request, code, text]
        (call $close (call $read))
        (br_if $parsed (i64.ne (call $read) (i64.const 8)))
        (local.set $end (i32.wrap_i64 (call $read)))
        (local.set $end (i32.add (local.get $end) (global.get $in)))
        (global.set $in (i32.add (global.get $in) (i32.const 16)))
        (call $operations (local.get $end))
        (br $parsed)))
      (if (i64.eq (local.get $kind) (i64.const 4)) (then ;; [4, budget]
        (if (global.get $fuse) (then (call $scribble) (unreachable)))
        (global.set $slices (i32.sub (global.get $slices) (i32.const 1)))
        (call $write_cell (i64.extend_i32_u (global.get $slices)))
        (br $parsed)))
      (if (i64.eq (local.get $kind) (i64.const 5)) (then ;; [5, reply]
        (call $forget (call $read))
        (br $parsed)))
      (if (i64.eq (local.get $kind) (i64.const 6)) (then ;; [6, grants]
        (call $regrant)
        (br $parsed)))
      (if (i64.eq (local.get $kind) (i64.const 7)) (then ;; [7, port, payload]
        (drop (call $read))
        (local.set $end (i32.wrap_i64 (call $read)))
        (local.set $end (i32.add (local.get $end) (global.get $in)))
        (global.set $in (i32.add (global.get $in) (i32.const 8)))
        (call $operations (local.get $end))
        (br $parsed))))
    ;; A message that nobody has dealt with waits.
    (if (i64.ne (global.get $reply) (i64.const 0)) (then
      (i64.store (i32.add (global.get $HELD) (i32.shl (global.get $held) (i32.const 3))) (global.get $reply))
      (global.set $held (i32.add (global.get $held) (i32.const 1)))))
    (if (i32.or (global.get $slices) (global.get $fuse)) (then
      (call $item (i64.const 1))
      (call $write (global.get $UINT) (i64.const 4))))
    (i32.store8 (global.get $OUT) (i32.or (global.get $ARRAY) (global.get $count)))
    (if (i32.eq (global.get $spoil) (i32.const 1)) (then (i32.store8 (global.get $OUT) (i32.const 0xff))))
    (if (i32.eq (global.get $spoil) (i32.const 2)) (then (return (i64.const 0x100000100000))))
    (if (i32.eq (global.get $spoil) (i32.const 3)) (then (return (i64.const 0xfffffff000000040))))
    (i64.or
      (i64.shl (i64.extend_i32_u (global.get $OUT)) (i64.const 32))
      (i64.extend_i32_u (i32.sub (global.get $out) (global.get $OUT)))))

  ;; ---- Operations -------------------------------------------------------------------------------------------------------------

  (func $operations (param $end i32)
    (local $letter i32)
    (local $n i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (i32.add (global.get $in) (i32.const 1)) (local.get $end)))
        (local.set $letter (i32.load8_u (global.get $in)))
        (local.set $n (i32.load8_u offset=1 (global.get $in)))
        (global.set $in (i32.add (global.get $in) (i32.const 2)))
        (call $operation (local.get $letter) (local.get $n))
        (br $next))))

  (func $operation (param $letter i32) (param $n i32)
    (local $m i64)
    (local.set $m (i64.extend_i32_u (local.get $n)))
    (if (i32.eq (local.get $letter) (i32.const 0x77)) (then (return (call $write_cell (local.get $m)))))     ;; w
    (if (i32.eq (local.get $letter) (i32.const 0x57)) (then (return (call $write_again (local.get $m)))))    ;; W
    (if (i32.eq (local.get $letter) (i32.const 0x79)) (then (return (call $write_side (local.get $m)))))     ;; y
    (if (i32.eq (local.get $letter) (i32.const 0x7a)) (then (return (call $zero_page (local.get $m)))))      ;; z
    (if (i32.eq (local.get $letter) (i32.const 0x67)) (then                                                  ;; g
      (return (call $mix (i64.extend_i32_u (memory.grow $main (i32.const 1)))))))
    (if (i32.eq (local.get $letter) (i32.const 0x47)) (then                                                  ;; G
      (drop (memory.grow $main (i32.const 1)))
      (call $scribble)
      (unreachable)))
    (if (i32.eq (local.get $letter) (i32.const 0x74)) (then (return (call $set_slot (local.get $n)))))       ;; t
    (if (i32.eq (local.get $letter) (i32.const 0x54)) (then                                                  ;; T
      (return (call $mix (i64.extend_i32_u (table.grow $table (ref.null func) (i32.const 1)))))))
    (if (i32.eq (local.get $letter) (i32.const 0x63)) (then (return (call $call_slot (local.get $n)))))      ;; c
    (if (i32.eq (local.get $letter) (i32.const 0x66)) (then                                                  ;; f
      (global.set $function (table.get $table (i32.rem_u (local.get $n) (table.size $table))))
      (return)))
    (if (i32.eq (local.get $letter) (i32.const 0x46)) (then                                                  ;; F
      (table.set $table (i32.rem_u (local.get $n) (table.size $table)) (global.get $function))
      (return)))
    (if (i32.eq (local.get $letter) (i32.const 0x6d)) (then                                                  ;; m
      (memory.init $main $phrase (i32.add (global.get $REGION) (i32.shl (local.get $n) (i32.const 3))) (i32.const 4) (i32.const 8))
      (return (call $mix (i64.load (i32.add (global.get $REGION) (i32.shl (local.get $n) (i32.const 3))))))))
    (if (i32.eq (local.get $letter) (i32.const 0x64)) (then (data.drop $phrase) (return)))                   ;; d
    (if (i32.eq (local.get $letter) (i32.const 0x69)) (then                                                  ;; i
      (table.init $table $spare (i32.const 1) (i32.const 0) (i32.const 2))
      (return)))
    (if (i32.eq (local.get $letter) (i32.const 0x49)) (then (elem.drop $spare) (return)))                    ;; I
    (if (i32.eq (local.get $letter) (i32.const 0x44)) (then                                                  ;; D
      (data.drop $phrase)
      (elem.drop $spare)
      (table.set $table (i32.const 3) (ref.func $fourteen))
      (call $scribble)
      (unreachable)))
    (if (i32.eq (local.get $letter) (i32.const 0x75)) (then (return (call $reckon (local.get $m)))))         ;; u
    (if (i32.eq (local.get $letter) (i32.const 0x6e)) (then (return (call $loop (local.get $m)))))           ;; n
    (if (i32.eq (local.get $letter) (i32.const 0x65)) (then                                                  ;; e
      (return (call $ask (i64.const 0) (global.get $console) (global.get $acc) (local.get $n)))))
    (if (i32.eq (local.get $letter) (i32.const 0x45)) (then                                                  ;; E
      (return (call $ask (i64.const 0) (i64.const 1000) (global.get $acc) (local.get $n)))))
    (if (i32.eq (local.get $letter) (i32.const 0x71)) (then                                                  ;; q
      (return (call $ask_free
        (select (global.get $random) (global.get $clock) (i32.and (local.get $n) (i32.const 1)))
        (local.get $n)))))
    (if (i32.eq (local.get $letter) (i32.const 0x51)) (then                                                  ;; Q
      (return (call $ask_free (i64.const 1000) (local.get $n)))))
    (if (i32.eq (local.get $letter) (i32.const 0x78)) (then (return (call $cancel))))                        ;; x
    (if (i32.eq (local.get $letter) (i32.const 0x58)) (then (return (call $ask_anew (local.get $n)))))       ;; X
    (if (i32.eq (local.get $letter) (i32.const 0x62)) (then                                                  ;; b
      (if (global.get $open) (then (call $ask_number (call $lowest) (global.get $clock) (local.get $n))))
      (return)))
    (if (i32.eq (local.get $letter) (i32.const 0x72)) (then (return (call $answer (i64.const 0) (local.get $n))))) ;; r
    (if (i32.eq (local.get $letter) (i32.const 0x70)) (then (return (call $answer (i64.const 1) (local.get $n))))) ;; p
    (if (i32.eq (local.get $letter) (i32.const 0x4a)) (then (return (call $refuse (local.get $m)))))         ;; J
    (if (i32.eq (local.get $letter) (i32.const 0x6c)) (then (return (call $answer_held (i64.const 0) (local.get $n))))) ;; l
    (if (i32.eq (local.get $letter) (i32.const 0x4c)) (then (return (call $answer_held (i64.const 1) (local.get $n))))) ;; L
    (if (i32.eq (local.get $letter) (i32.const 0x6a)) (then (return (call $refuse_held (local.get $m)))))    ;; j
    (if (i32.eq (local.get $letter) (i32.const 0x6b)) (then                                                  ;; k
      (return (call $put_answer (i64.const 1000000) (i64.const 0) (local.get $n)))))
    (if (i32.eq (local.get $letter) (i32.const 0x61)) (then                                                  ;; a
      (global.set $slices (i32.add (i32.and (local.get $n) (i32.const 3)) (i32.const 1)))
      (return)))
    (if (i32.eq (local.get $letter) (i32.const 0x41)) (then (global.set $fuse (i32.const 1)) (return)))      ;; A
    (if (i32.eq (local.get $letter) (i32.const 0x76)) (then                                                  ;; v
      (call $item (i64.const 2))
      (call $write (global.get $UINT) (i64.const 6))
      (call $write (global.get $TEXT) (i64.const 1))
      (return (call $write_byte (i64.add (i64.const 97) (i64.rem_u (global.get $acc) (i64.const 26)))))))
    (if (i32.eq (local.get $letter) (i32.const 0x48)) (then                                                  ;; H
      (loop $next (call $scribble) (br $next))))
    (if (i32.eq (local.get $letter) (i32.const 0x5a)) (then (call $scribble) (unreachable)))                 ;; Z
    (if (i32.eq (local.get $letter) (i32.const 0x4d)) (then (global.set $spoil (i32.const 1)) (return)))     ;; M
    (if (i32.eq (local.get $letter) (i32.const 0x4f)) (then (global.set $spoil (i32.const 2)) (return)))     ;; O
    (if (i32.eq (local.get $letter) (i32.const 0x6f)) (then (global.set $spoil (i32.const 3)) (return)))     ;; o
    (if (i32.eq (local.get $letter) (i32.const 0x53)) (then (call $mix (call $deep (local.get $m)))))        ;; S
  )

  (func $mix (param $x i64)
    (global.set $acc (i64.rotl
      (i64.mul (i64.xor (global.get $acc) (local.get $x)) (i64.const 0x9e3779b97f4a7c15))
      (i64.const 29))))

  (func $region_bytes (result i64)
    (i64.sub (i64.shl (i64.extend_i32_u (memory.size $main)) (i64.const 16)) (i64.const 131072)))

  ;; The rest of [6, [[port, name]...]]: names are told apart by their second letter.
  (func $regrant
    (local $left i64)
    (local $port i64)
    (local $letter i32)
    (local.set $left (call $read))
    (block $done
      (loop $next
        (br_if $done (i64.eqz (local.get $left)))
        (local.set $left (i64.sub (local.get $left) (i64.const 1)))
        (drop (call $read))
        (local.set $port (call $read))
        (local.set $letter (i32.load8_u offset=2 (global.get $in)))
        (call $skip)
        (if (i32.eq (local.get $letter) (i32.const 0x6f)) (then (global.set $console (local.get $port))))
        (if (i32.eq (local.get $letter) (i32.const 0x6c)) (then (global.set $clock (local.get $port))))
        (if (i32.eq (local.get $letter) (i32.const 0x61)) (then (global.set $random (local.get $port))))
        (br $next)))
    (if (i64.eqz (i64.and (global.get $acc) (i64.const 7))) (then (call $scribble) (unreachable)))
    (call $ask_free (global.get $clock) (i32.const 0)))

  ;; A cell anywhere in the region: what it held is mixed in, and it gets the new number.
  (func $write_cell (param $n i64)
    (local $at i32)
    (local.set $at (i32.add (global.get $REGION) (i32.wrap_i64 (i64.and
      (i64.rem_u (i64.add (global.get $acc) (i64.mul (local.get $n) (i64.const 0x9e3779b9))) (call $region_bytes))
      (i64.const -8)))))
    (call $mix (i64.load (local.get $at)))
    (i64.store (local.get $at) (i64.add (global.get $acc) (local.get $n))))

  ;; One of 16 pages, and one of 8 values: pages come to hold again what they once held.
  (func $write_again (param $n i64)
    (i64.store
      (i32.add (global.get $REGION) (i32.shl (i32.wrap_i64 (i64.and (local.get $n) (i64.const 15))) (i32.const 12)))
      (i64.shr_u (local.get $n) (i64.const 4))))

  (func $write_side (param $n i64)
    (local $at i32)
    (local.set $at (i32.wrap_i64 (i64.and (i64.add (global.get $acc) (local.get $n)) (i64.const 0xfff8))))
    (call $mix (i64.load $side (local.get $at)))
    (i64.store $side (local.get $at) (global.get $acc)))

  (func $zero_page (param $n i64)
    (memory.fill $main
      (i32.add (global.get $REGION) (i32.shl (i32.wrap_i64 (i64.rem_u
        (i64.add (global.get $acc) (local.get $n))
        (i64.shr_u (call $region_bytes) (i64.const 12)))) (i32.const 12)))
      (i32.const 0)
      (i32.const 4096)))

  ;; Leaves marks all over the state, for a step that is about to fail.
  (func $scribble
    (local $at i32)
    (local.set $at (i32.sub (i32.shl (memory.size $main) (i32.const 16)) (i32.const 8)))
    (loop $next
      (i64.store (local.get $at) (i64.add (global.get $acc) (i64.extend_i32_u (local.get $at))))
      (local.set $at (i32.sub (local.get $at) (i32.const 4096)))
      (br_if $next (i32.gt_u (local.get $at) (global.get $REGION))))
    (i64.store $side (i32.const 4096) (i64.const -1))
    (i32.store8 (global.get $HELD) (i32.const 0x55))
    (global.set $nonce (i64.const 77))
    (global.set $float (f64.const 77))
    (global.set $open (i32.const -1))
    (global.set $held (i32.const 77))
    (global.set $function (ref.func $twentyfive))
    (table.set $table (i32.const 0) (ref.func $twentyfive)))

  (func $set_slot (param $n i32)
    (local $which i32)
    (local.set $n (i32.rem_u (local.get $n) (table.size $table)))
    (local.set $which (i32.and (i32.wrap_i64 (global.get $acc)) (i32.const 3)))
    (if (i32.eq (local.get $which) (i32.const 0)) (then (return (table.set $table (local.get $n) (ref.null func)))))
    (if (i32.eq (local.get $which) (i32.const 1)) (then (return (table.set $table (local.get $n) (ref.func $three)))))
    (if (i32.eq (local.get $which) (i32.const 2)) (then (return (table.set $table (local.get $n) (ref.func $fourteen)))))
    (table.set $table (local.get $n) (ref.func $twentyfive)))

  (func $call_slot (param $n i32)
    (local.set $n (i32.rem_u (local.get $n) (table.size $table)))
    (if (ref.is_null (table.get $table (local.get $n)))
      (then (call $mix (i64.const 7)))
      (else (call $mix (call_indirect $table (type $number) (local.get $n))))))

  (func $reckon (param $n i64)
    (global.set $float (f64.add
      (f64.div (global.get $float) (f64.const 3))
      (f64.convert_i64_u (i64.and (i64.add (global.get $acc) (local.get $n)) (i64.const 0xffff)))))
    (call $mix (i64.reinterpret_f64 (global.get $float))))

  (func $loop (param $n i64)
    (local.set $n (i64.shl (local.get $n) (i64.const 3)))
    (loop $next
      (call $mix (local.get $n))
      (local.set $n (i64.sub (local.get $n) (i64.const 1)))
      (br_if $next (i64.gt_s (local.get $n) (i64.const 0)))))

  (func $deep (param $n i64) (result i64)
    (i64.add (call $deep (i64.add (local.get $n) (i64.const 1))) (i64.const 1)))

  ;; ---- Requests and replies ---------------------------------------------------------------------------------------------------

  (func $bit (param $request i64) (result i32)
    (i32.shl (i32.const 1) (i32.wrap_i64 (local.get $request))))

  (func $close (param $request i64)
    (global.set $open (i32.and (global.get $open) (i32.xor (call $bit (local.get $request)) (i32.const -1)))))

  (func $lowest (result i64)
    (i64.extend_i32_u (i32.ctz (global.get $open))))

  ;; Under the least number that is free, of 1 to 6; small numbers are used again soon.
  (func $ask_free (param $port i64) (param $n i32)
    (local $request i64)
    (local.set $request (i64.extend_i32_u (i32.ctz (i32.xor (i32.or (global.get $open) (i32.const 1)) (i32.const -1)))))
    (if (i64.gt_u (local.get $request) (i64.const 6)) (then (return (call $mix (i64.const 1)))))
    (call $ask_number (local.get $request) (local.get $port) (local.get $n)))

  (func $ask_number (param $request i64) (param $port i64) (param $n i32)
    (global.set $open (i32.or (global.get $open) (call $bit (local.get $request))))
    (call $ask (local.get $request) (local.get $port) (global.get $nonce) (local.get $n))
    (global.set $nonce (i64.add (global.get $nonce) (i64.const 1)))
    (call $mix (local.get $request)))

  (func $cancel
    (local $request i64)
    (if (i32.eqz (global.get $open)) (then (return)))
    (local.set $request (call $lowest))
    (call $close (local.get $request))
    (call $item (i64.const 2))
    (call $write (global.get $UINT) (i64.const 3))
    (call $write (global.get $UINT) (local.get $request)))

  (func $ask_anew (param $n i32)
    (local $request i64)
    (if (i32.eqz (global.get $open)) (then (return)))
    (local.set $request (call $lowest))
    (call $cancel)
    (call $ask_number (local.get $request) (global.get $clock) (local.get $n)))

  ;; [0, request, port, << the number, and 8 * n bytes more >>]
  (func $ask (param $request i64) (param $port i64) (param $number i64) (param $n i32)
    (call $item (i64.const 4))
    (call $write (global.get $UINT) (i64.const 0))
    (call $write (global.get $UINT) (local.get $request))
    (call $write (global.get $UINT) (local.get $port))
    (call $payload (local.get $number) (local.get $n)))

  (func $answer (param $more i64) (param $n i32)
    (if (i64.eqz (global.get $reply)) (then (return)))
    (call $put_answer (global.get $reply) (local.get $more) (local.get $n))
    (if (i64.eqz (local.get $more)) (then (global.set $reply (i64.const 0)))))

  (func $refuse (param $n i64)
    (if (i64.eqz (global.get $reply)) (then (return)))
    (call $put_refusal (global.get $reply) (local.get $n))
    (global.set $reply (i64.const 0)))

  (func $answer_held (param $more i64) (param $n i32)
    (if (i32.eqz (global.get $held)) (then (return)))
    (call $put_answer (i64.load (global.get $HELD)) (local.get $more) (local.get $n))
    (if (i64.eqz (local.get $more)) (then (call $forget (i64.load (global.get $HELD))))))

  (func $refuse_held (param $n i64)
    (if (i32.eqz (global.get $held)) (then (return)))
    (call $put_refusal (i64.load (global.get $HELD)) (local.get $n))
    (call $forget (i64.load (global.get $HELD))))

  ;; Takes a reply out of those put off.
  (func $forget (param $reply i64)
    (local $at i32)
    (local $end i32)
    (local.set $at (global.get $HELD))
    (local.set $end (i32.add (global.get $HELD) (i32.shl (global.get $held) (i32.const 3))))
    (block $found
      (loop $next
        (if (i32.ge_u (local.get $at) (local.get $end)) (then (return)))
        (br_if $found (i64.eq (i64.load (local.get $at)) (local.get $reply)))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br $next)))
    (memory.copy $main $main
      (local.get $at)
      (i32.add (local.get $at) (i32.const 8))
      (i32.sub (local.get $end) (local.get $at)))
    (global.set $held (i32.sub (global.get $held) (i32.const 1))))

  (func $put_answer (param $reply i64) (param $more i64) (param $n i32)
    (call $item (i64.const 4))
    (call $write (global.get $UINT) (i64.const 1))
    (call $write (global.get $UINT) (local.get $reply))
    (call $write (global.get $UINT) (local.get $more))
    (call $payload (global.get $acc) (local.get $n)))

  (func $put_refusal (param $reply i64) (param $n i64)
    (call $item (i64.const 4))
    (call $write (global.get $UINT) (i64.const 2))
    (call $write (global.get $UINT) (local.get $reply))
    (call $write (global.get $UINT) (i64.add (i64.const 64) (local.get $n)))
    (call $write (global.get $TEXT) (i64.const 2))
    (call $write_byte (i64.const 0x6e))
    (call $write_byte (i64.const 0x6f)))

  (func $item (param $items i64)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (call $write (global.get $ARRAY) (local.get $items)))

  (func $payload (param $number i64) (param $n i32)
    (local $fill i32)
    (local.set $fill (i32.shl (local.get $n) (i32.const 3)))
    (call $write (global.get $BYTES) (i64.extend_i32_u (i32.add (local.get $fill) (i32.const 8))))
    (i64.store (global.get $out) (local.get $number))
    (memory.fill $main (i32.add (global.get $out) (i32.const 8)) (i32.const 0x5a) (local.get $fill))
    (global.set $out (i32.add (i32.add (global.get $out) (local.get $fill)) (i32.const 8))))

  ;; ---- CBOR, as in ../../examples/counter -------------------------------------------------------------------------------------

  (func $size (param $n i64) (result i64)
    (if (i64.lt_u (local.get $n) (i64.const 24)) (then (return (i64.const 1))))
    (if (i64.lt_u (local.get $n) (i64.const 0x100)) (then (return (i64.const 2))))
    (if (i64.lt_u (local.get $n) (i64.const 0x10000)) (then (return (i64.const 3))))
    (if (i64.lt_u (local.get $n) (i64.const 0x100000000)) (then (return (i64.const 5))))
    (i64.const 9))

  (func $write (param $what i32) (param $n i64)
    (local $bits i64)
    (if (i64.lt_u (local.get $n) (i64.const 24))
      (then
        (call $write_byte (i64.or (i64.extend_i32_u (local.get $what)) (local.get $n)))
        (return)))
    (local.set $bits (i64.mul (i64.const 8) (i64.sub (call $size (local.get $n)) (i64.const 1))))
    (call $write_byte (i64.or
      (i64.extend_i32_u (local.get $what))
      (i64.add (i64.const 21) (i64.ctz (local.get $bits)))))
    (loop $more
      (local.set $bits (i64.sub (local.get $bits) (i64.const 8)))
      (call $write_byte (i64.shr_u (local.get $n) (local.get $bits)))
      (br_if $more (i64.ne (local.get $bits) (i64.const 0)))))

  (func $write_byte (param $byte i64)
    (i64.store8 (global.get $out) (local.get $byte))
    (global.set $out (i32.add (global.get $out) (i32.const 1))))

  (func $read (result i64)
    (local $n i64)
    (local $left i64)
    (local.set $n (i64.and (call $read_byte) (i64.const 31)))
    (if (i64.lt_u (local.get $n) (i64.const 24)) (then (return (local.get $n))))
    (local.set $left (i64.shl (i64.const 1) (i64.sub (local.get $n) (i64.const 24))))
    (local.set $n (i64.const 0))
    (loop $more
      (local.set $n (i64.or (i64.shl (local.get $n) (i64.const 8)) (call $read_byte)))
      (local.set $left (i64.sub (local.get $left) (i64.const 1)))
      (br_if $more (i64.ne (local.get $left) (i64.const 0))))
    (local.get $n))

  (func $read_byte (result i64)
    (i64.load8_u (global.get $in))
    (global.set $in (i32.add (global.get $in) (i32.const 1))))

  (func $skip
    (local $len i32)
    (local.set $len (i32.wrap_i64 (call $read)))
    (global.set $in (i32.add (global.get $in) (local.get $len)))))
