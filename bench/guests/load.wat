;; A machine that does as little as a machine can, with as much memory as it is told to have.
;;
;;   boot       genesis: 4 bytes, little-endian: how many pages of 64 KiB to have. Every 4 KiB of them gets 1.5 KiB of noise
;;   a message  its payload begins with 4 bytes: how many pages of 4 KiB to write to, at places that spread over all of them;
;;              the answer is the payload
;;
;; A message dirties those pages and page 0, where its input and the output are.

(module
  (memory (export "memory") 1)
  (global $INPUT i32 (i32.const 512))
  (global $OUTPUT i32 (i32.const 2048))

  (global $pages (mut i32) (i32.const 16))   ;; of 4 KiB
  (global $noise (mut i64) (i64.const 1))
  (global $in (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 0))

  (func (export "abide_alloc") (param $len i32) (result i32)
    (if (i32.gt_u (local.get $len) (i32.const 1024)) (then unreachable))
    (global.get $INPUT))

  (func (export "abide_step") (param $ptr i32) (param $len i32) (result i64)
    (local $kind i32)
    (global.set $in (local.get $ptr))
    (global.set $out (global.get $OUTPUT))
    (drop (call $read))
    (local.set $kind (i32.wrap_i64 (call $read)))
    (if (i32.eqz (local.get $kind)) (then (call $boot)))
    (if (i32.eq (local.get $kind) (i32.const 1))
      (then (call $message))
      (else (call $put (i32.const 0x80))))
    (i64.or
      (i64.shl (i64.extend_i32_u (global.get $OUTPUT)) (i64.const 32))
      (i64.extend_i32_u (i32.sub (global.get $out) (global.get $OUTPUT)))))

  (func $boot
    (local $page i32)
    (local $word i32)
    (drop (call $read))                                      ;; the length of the genesis data, which is 4
    (local.set $word (i32.load (global.get $in)))
    (drop (memory.grow (i32.sub (local.get $word) (memory.size))))
    (global.set $pages (i32.mul (memory.size) (i32.const 16)))
    (local.set $page (i32.const 1))
    (loop $pages
      (local.set $word (i32.const 0))
      (loop $words
        (i64.store
          (i32.add (i32.shl (local.get $page) (i32.const 12)) (i32.add (i32.const 1024) (local.get $word)))
          (call $random))
        (local.set $word (i32.add (local.get $word) (i32.const 8)))
        (br_if $words (i32.lt_u (local.get $word) (i32.const 1536))))
      (local.set $page (i32.add (local.get $page) (i32.const 1)))
      (br_if $pages (i32.lt_u (local.get $page) (global.get $pages)))))

  ;; [1, port, from, reply, payload] -> [[1, reply, 0, payload]]
  (func $message
    (local $reply i64)
    (local $bytes i32)
    (local $left i32)
    (drop (call $read))
    (global.set $in (i32.add (i32.wrap_i64 (call $read)) (global.get $in)))
    (local.set $reply (call $read))
    (local.set $bytes (i32.wrap_i64 (call $read)))
    (local.set $left (i32.load (global.get $in)))
    (if (local.get $left)
      (then
        (loop $pages
          (i64.store
            (i32.shl
              (i32.add
                (i32.const 1)
                (i32.rem_u (i32.wrap_i64 (i64.shr_u (call $random) (i64.const 33))) (i32.sub (global.get $pages) (i32.const 1))))
              (i32.const 12))
            (global.get $noise))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if $pages (local.get $left)))))
    (call $put (i32.const 0x81))
    (call $put (i32.const 0x84))
    (call $put (i32.const 1))
    (call $put_number (local.get $reply))
    (call $put (i32.const 0))
    (if (i32.lt_u (local.get $bytes) (i32.const 24))
      (then (call $put (i32.or (i32.const 0x40) (local.get $bytes))))
      (else
        (call $put (i32.const 0x58))                         ;; payloads here are shorter than 256 bytes
        (call $put (local.get $bytes))))
    (memory.copy (global.get $out) (global.get $in) (local.get $bytes))
    (global.set $out (i32.add (global.get $out) (local.get $bytes))))

  ;; A number in its shortest form.
  (func $put_number (param $n i64)
    (local $bits i64)
    (if (i64.lt_u (local.get $n) (i64.const 24)) (then (return (call $put (i32.wrap_i64 (local.get $n))))))
    (local.set $bits (i64.const 64))
    (if (i64.lt_u (local.get $n) (i64.const 0x100000000)) (then (local.set $bits (i64.const 32))))
    (if (i64.lt_u (local.get $n) (i64.const 0x10000)) (then (local.set $bits (i64.const 16))))
    (if (i64.lt_u (local.get $n) (i64.const 0x100)) (then (local.set $bits (i64.const 8))))
    (call $put (i32.add (i32.const 21) (i32.wrap_i64 (i64.ctz (local.get $bits)))))
    (loop $more
      (local.set $bits (i64.sub (local.get $bits) (i64.const 8)))
      (call $put (i32.wrap_i64 (i64.shr_u (local.get $n) (local.get $bits))))
      (br_if $more (i64.ne (local.get $bits) (i64.const 0)))))

  (func $put (param $byte i32)
    (i32.store8 (global.get $out) (local.get $byte))
    (global.set $out (i32.add (global.get $out) (i32.const 1))))

  ;; xorshift64
  (func $random (result i64)
    (global.set $noise (i64.xor (global.get $noise) (i64.shl (global.get $noise) (i64.const 13))))
    (global.set $noise (i64.xor (global.get $noise) (i64.shr_u (global.get $noise) (i64.const 7))))
    (global.set $noise (i64.xor (global.get $noise) (i64.shl (global.get $noise) (i64.const 17))))
    (global.get $noise))

  ;; The head of the next item: the value of a number, the length of anything else.
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
    (global.set $in (i32.add (global.get $in) (i32.const 1)))))
