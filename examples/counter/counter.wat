;; A machine that counts seconds, written by hand: the machine interface of docs/abi.md with nothing in between.
;;
;;   boot                 asks the clock for the time, and from then on for every next second
;;   the clock's answer   counts, prints "counter is at N" on the console, asks for one second later
;;   a message, a query   is answered with the count, as decimal text
;;
;; The count is an ordinary global. Nothing here stores or loads it, and yet it survives kill -9.

(module
  ;; Page 0: fixed text, and the output from $OUTPUT on. Inputs go to page 1 and up: page 1 does for most, $alloc adds pages for long ones.
  (memory (export "memory") 2)
  (data (i32.const 0) "counter is at ")

  (global $OUTPUT i32 (i32.const 1024))
  (global $INPUT i32 (i32.const 65536))
  (global $SECOND i64 (i64.const 1000000000))

  ;; Kinds of CBOR item, as they stand in the upper three bits of an item's first byte.
  (global $UINT i32 (i32.const 0x00))
  (global $BYTES i32 (i32.const 0x40))
  (global $ARRAY i32 (i32.const 0x80))

  ;; Port numbers that every machine has, and the only request number this one uses: it never has two requests open.
  (global $CONSOLE i64 (i64.const 1))
  (global $CLOCK i64 (i64.const 2))
  (global $TICK i64 (i64.const 1))

  ;; All that this machine remembers.
  (global $count (mut i64) (i64.const 0))
  (global $due (mut i64) (i64.const 0))       ;; the time that was last asked for
  (global $no_clock (mut i32) (i32.const 0))  ;; the clock is not granted: ask again when the grants change

  ;; Where the next byte is read from and written to. Only of use within a step.
  (global $in (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 0))

  ;; ---- Exports ----------------------------------------------------------------------------------------------------------------

  ;; A buffer for the next input: always the same place, with the memory grown if the input needs it.
  (func (export "abide_alloc") (param $len i32) (result i32)
    (local $missing i64)
    (local.set $missing
      (i64.sub
        (i64.add (i64.extend_i32_u (global.get $INPUT)) (i64.extend_i32_u (local.get $len)))
        (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16))))
    (if (i64.gt_s (local.get $missing) (i64.const 0))
      (then
        (if (i32.eq
              (i32.const -1)
              (memory.grow (i32.wrap_i64 (i64.shr_u (i64.add (local.get $missing) (i64.const 65535)) (i64.const 16)))))
          (then unreachable))))
    (global.get $INPUT))

  (func (export "abide_step") (param $ptr i32) (param $len i32) (result i64)
    (global.set $in (local.get $ptr))
    (global.set $out (global.get $OUTPUT))
    (call $step)
    (i64.or
      (i64.shl (i64.extend_i32_u (global.get $OUTPUT)) (i64.const 32))
      (i64.extend_i32_u (i32.sub (global.get $out) (global.get $OUTPUT)))))

  ;; ---- One input, one output --------------------------------------------------------------------------------------------------

  ;; Every input is an array whose first item says what it is. This machine reads on only as far as it needs to.
  (func $step
    (local $kind i64)
    (drop (call $read))                                     ;; how many items: follows from the kind
    (local.set $kind (call $read))
    (if (i64.eq (local.get $kind) (i64.const 0)) (then (return (call $ask_clock))))        ;; [0, genesis, grants]
    (if (i64.eq (local.get $kind) (i64.const 1)) (then (return (call $message))))          ;; [1, port, from, reply, payload]
    (if (i64.eq (local.get $kind) (i64.const 2)) (then (return (call $tick))))             ;; [2, request, more, payload]
    (if (i64.eq (local.get $kind) (i64.const 3)) (then (return (call $broken))))           ;; [3, request, code, text]
    (if (i64.eq (local.get $kind) (i64.const 6)) (then (return (call $grants))))           ;; [6, grants]
    (if (i64.eq (local.get $kind) (i64.const 7)) (then (return (call $answer (i64.const 0))))) ;; [7, port, payload]
    (call $write (global.get $ARRAY) (i64.const 0)))        ;; anything else: an empty list

  ;; Whatever the message says, the answer is the count; unless no answer is wanted.
  (func $message
    (local $reply i64)
    (drop (call $read))                                     ;; port
    (call $skip_string)                                     ;; from
    (local.set $reply (call $read))
    (if (i64.eqz (local.get $reply))
      (then (call $write (global.get $ARRAY) (i64.const 0)))
      (else (call $answer (local.get $reply)))))

  ;; The clock has answered with the time: [2, request, more, << time >>].
  (func $tick
    (drop (call $read))                                     ;; request: there is only one
    (drop (call $read))                                     ;; more: never with this port
    (drop (call $read))                                     ;; the payload's length; its one item follows
    (global.set $due (i64.add (call $read) (global.get $SECOND)))
    (global.set $count (i64.add (global.get $count) (i64.const 1)))
    (call $write (global.get $ARRAY) (i64.const 2))         ;; two outputs:
    (call $print_count)
    (call $put_ask_clock))

  ;; The request is not open any more. Ask anew; but if there is no clock, asking at once would only be refused at once, for ever.
  (func $broken
    (drop (call $read))                                     ;; request
    (if (i64.eq (call $read) (i64.const 4))                 ;; not granted
      (then
        (global.set $no_clock (i32.const 1))
        (call $write (global.get $ARRAY) (i64.const 0)))
      (else (call $ask_clock))))

  ;; The grants have changed: perhaps there is a clock now. If not, this request is broken too, and all is as it was.
  (func $grants
    (if (global.get $no_clock)
      (then
        (global.set $no_clock (i32.const 0))
        (call $ask_clock))
      (else (call $write (global.get $ARRAY) (i64.const 0)))))

  ;; ---- Outputs ----------------------------------------------------------------------------------------------------------------

  ;; [[0, TICK, CLOCK, << [1, due] >>]]
  (func $ask_clock
    (call $write (global.get $ARRAY) (i64.const 1))
    (call $put_ask_clock))

  ;; At boot, `due` is 0: long past, so the clock answers at once.
  (func $put_ask_clock
    (call $write (global.get $ARRAY) (i64.const 4))
    (call $write (global.get $UINT) (i64.const 0))          ;; ask
    (call $write (global.get $UINT) (global.get $TICK))
    (call $write (global.get $UINT) (global.get $CLOCK))
    (call $write (global.get $BYTES) (i64.add (i64.const 2) (call $size (global.get $due))))
    (call $write (global.get $ARRAY) (i64.const 2))
    (call $write (global.get $UINT) (i64.const 1))          ;; wait until
    (call $write (global.get $UINT) (global.get $due)))

  ;; [0, 0, CONSOLE, "counter is at N"]: request 0 makes it an effect, which nobody answers.
  (func $print_count
    (call $write (global.get $ARRAY) (i64.const 4))
    (call $write (global.get $UINT) (i64.const 0))
    (call $write (global.get $UINT) (i64.const 0))
    (call $write (global.get $UINT) (global.get $CONSOLE))
    (call $write (global.get $BYTES) (i64.add (i64.const 14) (call $digits (global.get $count))))
    (memory.copy (global.get $out) (i32.const 0) (i32.const 14))
    (global.set $out (i32.add (global.get $out) (i32.const 14)))
    (call $write_decimal (global.get $count)))

  ;; [[1, reply, 0, "N"]]
  (func $answer (param $reply i64)
    (call $write (global.get $ARRAY) (i64.const 1))
    (call $write (global.get $ARRAY) (i64.const 4))
    (call $write (global.get $UINT) (i64.const 1))
    (call $write (global.get $UINT) (local.get $reply))
    (call $write (global.get $UINT) (i64.const 0))
    (call $write (global.get $BYTES) (call $digits (global.get $count)))
    (call $write_decimal (global.get $count)))

  ;; ---- Decimal numbers --------------------------------------------------------------------------------------------------------

  (func $digits (param $n i64) (result i64)
    (local $digits i64)
    (loop $more
      (local.set $digits (i64.add (local.get $digits) (i64.const 1)))
      (local.set $n (i64.div_u (local.get $n) (i64.const 10)))
      (br_if $more (i64.ne (local.get $n) (i64.const 0))))
    (local.get $digits))

  ;; From the last digit to the first.
  (func $write_decimal (param $n i64)
    (local $at i32)
    (global.set $out (i32.add (global.get $out) (i32.wrap_i64 (call $digits (local.get $n)))))
    (local.set $at (global.get $out))
    (loop $more
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i64.store8 (local.get $at) (i64.add (i64.const 48) (i64.rem_u (local.get $n) (i64.const 10))))
      (local.set $n (i64.div_u (local.get $n) (i64.const 10)))
      (br_if $more (i64.ne (local.get $n) (i64.const 0)))))

  ;; ---- CBOR -------------------------------------------------------------------------------------------------------------------

  ;; An item begins with a byte: three bits for what it is, five for a number. Up to 23 that is the number itself; 24, 25, 26 and 27 mean
  ;; that it follows in 1, 2, 4 or 8 bytes, most significant first. The shortest form is the only one allowed.

  ;; How many bytes the number `n` takes.
  (func $size (param $n i64) (result i64)
    (if (i64.lt_u (local.get $n) (i64.const 24)) (then (return (i64.const 1))))
    (if (i64.lt_u (local.get $n) (i64.const 0x100)) (then (return (i64.const 2))))
    (if (i64.lt_u (local.get $n) (i64.const 0x10000)) (then (return (i64.const 3))))
    (if (i64.lt_u (local.get $n) (i64.const 0x100000000)) (then (return (i64.const 5))))
    (i64.const 9))

  (func $write (param $what i32) (param $n i64)
    (local $bits i64) ;; of the number that are not yet written
    (if (i64.lt_u (local.get $n) (i64.const 24))
      (then
        (call $write_byte (i64.or (i64.extend_i32_u (local.get $what)) (local.get $n)))
        (return)))
    (local.set $bits (i64.mul (i64.const 8) (i64.sub (call $size (local.get $n)) (i64.const 1))))
    ;; 8, 16, 32 and 64 bits are 24, 25, 26 and 27: 21 and the number of trailing zeros.
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

  ;; Reads the head of the next item and returns its number: the value of an integer, the length of anything else.
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

  (func $skip_string
    (local $len i32)
    (local.set $len (i32.wrap_i64 (call $read)))
    (global.set $in (i32.add (global.get $in) (local.get $len)))))
