//! Guests that never end are stopped, whatever they do; others do not notice that they were asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use seed::image::Limits;
use seed::{Domain, Id, Nanos, PageIndex};
use vm::engine::{Backend, Engine, Meter, Mode, Settings, Ticker};
use vm::guest::{Abort, Fault, Guest};
use vm::memory::Tracker;
use vm::prepare::Memo;

const BACKENDS: [Backend; 3] = [Backend::Cranelift, Backend::CraneliftPlain, Backend::Pulley];
const LIMIT_MS: u64 = 100;

/// A clock that advances by a millisecond when it is read.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn meter(&self) -> Meter {
        let this = self.clone();
        Arc::new(move || Nanos((this.0.fetch_add(1, Ordering::Relaxed) + 1) * 1_000_000))
    }

    fn reads(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A thread that ticks, all the time or with a pause.
struct Ticking {
    is_done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticking {
    fn new(ticker: Ticker, pause: Duration) -> Self {
        let is_done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_done);
        let tick = move || {
            while !seen.load(Ordering::Relaxed) {
                ticker.tick();
                thread::sleep(pause);
            }
        };
        Self { is_done, thread: Some(thread::spawn(tick)) }
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn limits() -> Limits {
    Limits { step_cpu_ms: LIMIT_MS, ..Limits::default() }
}

fn settings(backend: Backend, meter: Meter) -> Settings {
    Settings { backend, tracker: Tracker::Compare, cache: None, meter, elsewhere: None, prepared: Memo::default() }
}

fn guest(engine: &Engine, wat: &str) -> Guest {
    let wasm = wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}\n{wat}"));
    let code = engine.load(&Id::of(Domain::Object, &wasm), &wasm).unwrap();
    Guest::new(engine, &code).unwrap()
}

/// A guest that is asked all the time; its clock.
fn asked(backend: Backend, limits: &Limits, mode: Mode, wat: &str) -> (Guest, Clock, Ticking) {
    let clock = Clock::default();
    let engine = Engine::new(&settings(backend, clock.meter()), limits, mode).unwrap();
    let ticking = Ticking::new(engine.ticker(), Duration::ZERO);
    (guest(&engine, wat), clock, ticking)
}

/// Runs a test on a thread that guests can run on, for at most a minute: what is tested here may well be endless.
fn within_a_minute(name: &str, test: impl FnOnce() + Send + 'static) {
    let (told, ended) = channel();
    let stack = Engine::thread_stack_bytes(&Limits::default());
    let run = move || {
        test();
        told.send(()).unwrap();
    };
    let thread = thread::Builder::new().stack_size(stack).spawn(run).unwrap();
    match ended.recv_timeout(Duration::from_secs(60)) {
        Ok(()) => {}
        Err(RecvTimeoutError::Timeout) => panic!("{name} goes on and on"),
        Err(RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
    }
}

/// A machine whose step calls `$endless`, which the test defines, unless it defines what else a machine has.
fn endless(definitions: &str) -> String {
    let unless = |export: &str, definition: &str| {
        if definitions.contains(export) { String::new() } else { definition.to_owned() }
    };
    let alloc = unless("\"abide_alloc\"", r#"(func (export "abide_alloc") (param i32) (result i32) (i32.const 64))"#);
    let step = unless(
        "\"abide_step\"",
        r#"(func $step (export "abide_step") (param i32 i32) (result i64) (call $endless) (i64.const 0))"#,
    );
    format!(r#"(module {definitions} (memory (export "memory") 1) {alloc} {step})"#)
}

/// What never ends (or not in this universe's time), and a function that is found running.
const ENDLESS: &[(&str, &str, &[&str])] = &[
    ("an empty loop", "(func $endless (loop (br 0)))", &["endless"]),
    (
        "an empty loop in the step itself",
        r#"(func $step (export "abide_step") (param i32 i32) (result i64) (loop (br 0)) (i64.const 0))"#,
        &["step"],
    ),
    (
        "an empty loop after a call: its poll must not be taken for that of the function's entry",
        "(func $leaf) (func $endless (call $leaf) (loop (br 0)))",
        &["endless"],
    ),
    (
        "an empty loop after another that ended",
        "(func $endless (local i32) (loop (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 3)))) (loop (br 0)))",
        &["endless"],
    ),
    (
        "a loop in a loop, and both are empty",
        "(func $endless (loop $outer (loop $inner (br_if $inner (i32.load (i32.const 0)))) (br $outer)))",
        &["endless"],
    ),
    (
        "an endless loop in one that begins once",
        "(func $endless (loop $outer (loop $inner (br $inner)) (br $outer)))",
        &["endless"],
    ),
    (
        "two loops that take turns",
        "(func $endless (local i32) (loop $a (loop $b (local.set 0 (i32.xor (local.get 0) (i32.const 1))) (br_if $b (local.get 0)) (br $a))))",
        &["endless"],
    ),
    ("a loop that waits for memory", "(func $endless (loop (br_if 0 (i32.eqz (i32.load (i32.const 8))))))", &["endless"]),
    (
        "a loop that writes memory",
        "(func $endless (loop (i32.store8 (i32.const 8) (i32.const 1)) (br 0)))",
        &["endless"],
    ),
    (
        "a loop that counts in a global",
        "(global $n (mut i64) (i64.const 0)) (func $endless (loop (global.set $n (i64.add (global.get $n) (i64.const 1))) (br 0)))",
        &["endless"],
    ),
    (
        "a loop with parameters",
        "(func $endless (i32.const 1) (f64.const 2) (loop (param i32 f64) (result i32) (f64.mul (f64.const 1.5)) (br 0)) (drop))",
        &["endless"],
    ),
    (
        "br_table",
        "(func $endless (local i32) (loop $l (block $b (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_table $l $b $l (i32.add (i32.shl (i32.and (local.get 0) (i32.const 1)) (i32.const 1)) (i32.const 0)))) (br $l)))",
        &["endless"],
    ),
    ("an if in a loop", "(func $endless (loop $l (if (i32.eqz (i32.load (i32.const 0))) (then (br $l)))))", &["endless"]),
    (
        "a loop that calls a leaf",
        "(func $leaf (param i32) (result i32) (i32.popcnt (local.get 0))) (func $endless (loop (drop (call $leaf (i32.const 5))) (br 0)))",
        // With epochs a leaf looks, too.
        &["endless", "leaf"],
    ),
    (
        "a loop of bulk instructions",
        "(func $endless (loop (memory.fill (i32.const 0) (i32.const 7) (i32.const 65536)) (br 0)))",
        &["endless"],
    ),
    (
        "a loop of growing by nothing",
        "(func $endless (loop (drop (memory.grow (i32.const 0))) (br 0)))",
        &["endless"],
    ),
    (
        "a loop of imported calls",
        r#"(import "abide" "blake3_256" (func $hash (param i32 i32 i32)))
           (func $endless (loop (call $hash (i32.const 0) (i32.const 32) (i32.const 0)) (br 0)))"#,
        &["endless"],
    ),
    (
        "recursion without loops",
        "(func $fib (param i64) (result i64)
           (if (result i64) (i64.lt_u (local.get 0) (i64.const 2)) (then (local.get 0))
             (else (i64.add (call $fib (i64.sub (local.get 0) (i64.const 1))) (call $fib (i64.sub (local.get 0) (i64.const 2)))))))
         (func $endless (drop (call $fib (i64.const 60))))",
        &["fib"],
    ),
    (
        "mutual recursion through a table",
        "(table funcref (elem $even $odd)) (type $t (func (param i32)))
         (func $even (type $t) (if (local.get 0) (then
           (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 1))
           (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 1)))))
         (func $odd (type $t) (if (local.get 0) (then
           (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))
           (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))))
         (func $endless (call_indirect (type $t) (i32.const 60) (i32.const 0)))",
        &["even", "odd"],
    ),
    ("a tail call to itself", "(func $endless (return_call $endless))", &["endless"]),
    ("tail calls in a ring", "(func $endless (return_call $other)) (func $other (return_call $endless))", &["endless", "other"]),
    (
        "tail calls through a table",
        "(table funcref (elem $endless $other)) (func $endless (return_call_indirect (i32.const 1))) (func $other (return_call_indirect (i32.const 0)))",
        &["endless", "other"],
    ),
    (
        "in abide_alloc",
        r#"(func $alloc (export "abide_alloc") (param i32) (result i32) (loop (br 0)) (i32.const 0)) (func $endless)"#,
        &["alloc"],
    ),
    ("in the start function", "(start $main) (func $main (loop (br 0))) (func $endless)", &["main"]),
    ("in _initialize", r#"(func $init (export "_initialize") (loop (br 0))) (func $endless)"#, &["init"]),
];

/// Each function calls the next one twice: no loop, no recursion, 2^60 calls.
fn cascade() -> String {
    let mut text = "(func $endless (call $f0)) (func $f60)".to_owned();
    for n in 0..60 {
        text.push_str(&format!("(func $f{n} (call $f{next}) (call $f{next}))", next = n + 1));
    }
    text
}

fn is_stopped(name: &str, definitions: &str, running: Option<&'static [&'static str]>) {
    for backend in BACKENDS {
        let (wat, shown) = (endless(definitions), format!("{name}, {backend:?}"));
        let case = shown.clone();
        within_a_minute(&shown, move || {
            let (mut guest, clock, _ticking) = asked(backend, &limits(), Mode::Live, &wat);
            let fault = guest.initialize().and_then(|()| guest.step(b"").map(drop)).unwrap_err();
            let Fault::Abort(Abort::Cpu { limit_ms, function: Some(function) }) = fault else {
                panic!("{case}: {fault:?}")
            };
            assert_eq!(limit_ms, LIMIT_MS, "{case}");
            assert!(running.is_none_or(|names| names.contains(&function.as_str())), "{case}: {function}");
            // Asked again and again, not once.
            assert!(clock.reads() > LIMIT_MS, "{case}");
        });
    }
}

#[test]
fn whatever_never_ends_is_stopped() {
    for (name, definitions, running) in ENDLESS {
        is_stopped(name, definitions, Some(running));
    }
    is_stopped("a cascade of calls", &cascade(), None);
}

/// Floats, vectors, locals and memory in use across polls of every kind, and an answer that depends on all of them.
const BUSY: &str = r#"(module (memory (export "memory") 1) (table funcref (elem $twist))
    (func (export "abide_alloc") (param i32) (result i32) (i32.const 64))
    (func $twist (param i64 f64) (result i64)
      (i64.xor (i64.rotl (local.get 0) (i64.const 7)) (i64.trunc_sat_f64_s (f64.mul (local.get 1) (f64.const 1.25)))))
    (func $depth (param i32) (result i64)
      (if (result i64) (i32.eqz (local.get 0)) (then (i64.const 3))
        (else (i64.add (i64.mul (call $depth (i32.sub (local.get 0) (i32.const 1))) (i64.const 31)) (i64.extend_i32_u (local.get 0))))))
    (func $step (export "abide_step") (param i32 i32) (result i64) (local $i i32) (local $sum i64) (local $x f64) (local $v v128)
      (local.set $x (f64.const 0.5)) (local.set $v (v128.const i32x4 1 2 3 4))
      (loop $l
        (local.set $sum (call_indirect (param i64 f64) (result i64) (local.get $sum) (local.get $x) (i32.const 0)))
        (local.set $sum (i64.add (local.get $sum) (call $depth (i32.and (local.get $i) (i32.const 15)))))
        (local.set $x (f64.add (f64.mul (local.get $x) (f64.const 1.0009765625)) (f64.const 0.25)))
        (local.set $v (i32x4.add (i32x4.mul (local.get $v) (local.get $v)) (i32x4.splat (local.get $i))))
        (i64.store (i32.and (local.get $i) (i32.const 0x7f8)) (local.get $sum))
        (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
      (i64.store (i32.const 4096) (local.get $sum)) (f64.store (i32.const 4104) (local.get $x)) (v128.store (i32.const 4112) (local.get $v))
      (i64.const 0x2000)
      (memory.copy (i32.const 6144) (i32.const 0) (i32.const 2048)) (drop)
      (i64.or (i64.shl (i64.const 4096) (i64.const 32)) (i64.const 4096))))"#;

#[test]
fn a_guest_that_may_go_on_notices_nothing() {
    within_a_minute("a thousand rounds", || {
        for backend in BACKENDS {
            for mode in [Mode::Live, Mode::Replay] {
                let limits = Limits { step_cpu_ms: u64::from(u32::MAX), ..Limits::default() };
                let (mut often, clock, _ticking) = asked(backend, &limits, mode, BUSY);
                let unasked: Meter = Arc::new(|| Nanos(0));
                let engine = Engine::new(&settings(backend, unasked), &limits, mode).unwrap();
                let mut never = guest(&engine, BUSY);
                often.initialize().unwrap();
                never.initialize().unwrap();
                let expected = never.step(b"x").unwrap();
                while clock.reads() < 1000 {
                    assert_eq!(often.step(b"x").unwrap(), expected, "{backend:?}");
                }
            }
        }
    });
}

/// Replay is not stopped, however long it takes by the clock.
#[test]
fn a_replay_has_no_deadline() {
    within_a_minute("a replay", || {
        for backend in BACKENDS {
            let (mut guest, _, _ticking) = asked(backend, &limits(), Mode::Replay, BUSY);
            guest.initialize().unwrap();
            guest.step(b"x").unwrap();
        }
    });
}

#[test]
fn a_trap_of_its_own_is_not_taken_for_a_stop() {
    let step = |code: &str| {
        endless(&format!(
            r#"(func $leaf) (func $step (export "abide_step") (param i32 i32) (result i64) (call $leaf) {code} (i64.const 0))"#
        ))
    };
    let cases = [
        ("(drop (i32.load (i32.const -1)))", "wasm trap: out of bounds memory access"),
        ("(i32.store8 offset=0xffffffff (i32.const -1) (i32.const 0))", "wasm trap: out of bounds memory access"),
        ("unreachable", "wasm trap: wasm `unreachable` instruction executed"),
    ];
    within_a_minute("a trap", move || {
        for (code, expected) in cases {
            for backend in BACKENDS {
                let (mut guest, _, _ticking) = asked(backend, &limits(), Mode::Live, &step(code));
                let fault = guest.step(b"").unwrap_err();
                let Fault::Abort(Abort::Trap { what, function }) = fault else { panic!("{code}: {fault:?}") };
                assert_eq!((what.as_str(), function.as_deref()), (expected, Some("step")), "{backend:?}");
            }
        }
    });
}

/// As in production: the thread's own CPU time, and another thread that ticks.
#[test]
fn a_real_clock_and_another_thread_stop_a_guest_in_time() {
    let cpu = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Nanos(u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap())
    };
    within_a_minute("an endless loop", move || {
        for backend in BACKENDS {
            // The first reading of a step, the last, and the one before.
            let readings: Arc<[AtomicU64; 3]> = Arc::default();
            let theirs = Arc::clone(&readings);
            let meter = move || {
                let [first, before, last] = &*theirs;
                let now = cpu();
                let _ = first.compare_exchange(0, now.0, Ordering::Relaxed, Ordering::Relaxed);
                before.store(last.swap(now.0, Ordering::Relaxed), Ordering::Relaxed);
                now
            };
            let engine = Engine::new(&settings(backend, Arc::new(meter)), &limits(), Mode::Live).unwrap();
            let _ticking = Ticking::new(engine.ticker(), Duration::from_millis(5));
            for _ in 0..3 {
                let mut guest = guest(&engine, &endless("(func $endless (loop (br 0)))"));
                readings.iter().for_each(|reading| reading.store(0, Ordering::Relaxed));
                let fault = guest.step(b"").unwrap_err();
                assert!(matches!(fault, Fault::Abort(Abort::Cpu { .. })), "{fault:?}");
                // When it looks depends on the host's load; that it stops at the first look after the limit does not.
                let [first, before, last] = [0, 1, 2].map(|reading| readings[reading].load(Ordering::Relaxed));
                let limit = first + LIMIT_MS * 1_000_000;
                assert!(before < limit && limit <= last, "{backend:?}: {before} {limit} {last}");
                // A guest of the same engine is none the worse for a stop that was not for it.
                let mut other = self::guest(&engine, BUSY);
                other.step(b"").unwrap();
            }
        }
    });
}

#[test]
fn what_preparation_adds_is_not_counted() {
    let wat = r#"(module (memory (export "memory") 3) (memory 1)
        (func (export "abide_alloc") (param i32) (result i32) (i32.const 64))
        (func (export "abide_step") (param i32 i32) (result i64)
          (i32.store (i32.const 0) (memory.grow 0 (i32.const 1)))
          (i32.store (i32.const 4) (memory.grow 1 (i32.const 1)))
          (i64.const 8)))"#;
    within_a_minute("two memories", move || {
        for backend in BACKENDS {
            for (limit_pages, expected) in [(4, [-1, -1]), (5, [3, -1]), (6, [3, 1])] {
                let limits = Limits { memory_bytes: limit_pages << 16, ..limits() };
                let (mut guest, _, _ticking) = asked(backend, &limits, Mode::Live, wat);
                let output = guest.step(b"").unwrap();
                let grown: Vec<i32> =
                    output.chunks_exact(4).map(|bytes| i32::from_le_bytes(bytes.try_into().unwrap())).collect();
                assert_eq!(grown, expected, "{backend:?}, {limit_pages} pages");
            }
            let limits = Limits { memory_bytes: 3 << 16, ..limits() };
            let engine = Engine::new(&settings(backend, Clock::default().meter()), &limits, Mode::Live).unwrap();
            let wasm = wat::parse_str(wat).unwrap();
            let code = engine.load(&Id::of(Domain::Object, &wasm), &wasm).unwrap();
            assert!(Guest::new(&engine, &code).is_err(), "{backend:?}");
        }
    });
}

/// A log may say of any page that it differs, of one that only the step itself brings in as well.
#[test]
fn a_page_that_is_yet_to_come_is_not_watched() {
    let wat = r#"(module (memory (export "memory") 1 3)
        (func (export "abide_alloc") (param i32) (result i32) (i32.const 64))
        (func (export "abide_step") (param i32 i32) (result i64)
          (drop (memory.grow (i32.const 1)))
          (i32.store (i32.const 65540) (i32.const 7))
          (i64.const 0)))"#;
    within_a_minute("a page to come", move || {
        for backend in BACKENDS {
            let (mut guest, _, _ticking) = asked(backend, &limits(), Mode::Replay, wat);
            let page = PageIndex(16);
            assert_eq!(guest.step_watching(b"x", 0, page).unwrap(), b"", "{backend:?}");
            // Byte code is stopped at its next look at the epoch, which this step does not have.
            let second = guest.step_watching(b"x", 0, page);
            let is_stopped = matches!(second, Err(Fault::Abort(Abort::Trap { .. })));
            assert_eq!(is_stopped, backend != Backend::Pulley, "{backend:?}: {second:?}");
        }
    });
}
