//! What preparation and interruption cost a guest: the same module, by the same engine at the same optimisation level, plain.
//!
//! The kernels (`kernels/*.c`) are called like machines but know nothing of the machine interface's encoding. The interpreter is examples/sqlite with a
//! fixed workload: a byte-code machine in C that works on a heap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seed::cbor::Reader;
use seed::image::Limits;
use seed::message::Input;
use seed::{Domain, Id, PortId, ReplyId};
use vm::engine::{Engine, Mode};
use vm::guest::Guest;

use crate::machine::{scratch, settings};
use crate::report::{Report, Target, in_turns, timed};

const ROUNDS: usize = 11;
/// How long one call of a kernel is to take.
const CALL: Duration = Duration::from_millis(20);
/// As often as production's driver.
const TICK: Duration = Duration::from_millis(5);

macro_rules! kernels {
    ($($kind:literal $name:literal),* $(,)?) => {
        [$(($kind, $name, include_bytes!(concat!("../kernels/", $name, ".wasm")).as_slice())),*]
    };
}

const KERNELS: [(&str, &str, &[u8]); 12] = kernels![
    "integer" "sha256", "integer" "crc32", "integer" "collatz",
    "memory" "sieve", "memory" "quicksort", "memory" "copy",
    "calls" "fib", "calls" "tak", "calls" "dispatch",
    "floats" "matmul", "floats" "nbody", "floats" "mandelbrot",
];

pub(crate) fn run(report: &mut Report) {
    let done = Arc::new(AtomicBool::new(false));
    let folder = scratch();
    let engine = Engine::new(&settings(folder.path()), &Limits::default(), Mode::Live).expect("the engine starts");
    let (ticker, ticking) = (engine.ticker(), Arc::clone(&done));
    let tick = std::thread::spawn(move || {
        while !ticking.load(Ordering::Relaxed) {
            ticker.tick();
            std::thread::sleep(TICK);
        }
    });
    let mut logarithms = 0.0;
    for (kind, name, wasm) in KERNELS {
        let (prepared, plain) = kernel(&engine, wasm);
        report.cost(&format!("{kind}: {name}"), prepared, Some(plain), Target::Reported);
        logarithms += (prepared.as_secs_f64() / plain.as_secs_f64()).ln();
    }
    let mean = (logarithms / KERNELS.len() as f64).exp();
    report.ratio("geometric mean of the kernels, prepared beside plain", mean, Target::TimesAtMost(1.15));
    let (prepared, plain) = interpreter(&engine);
    report.cost("interpreter: sqlite, 100,000 rows in and out", prepared, Some(plain), Target::Reported);
    done.store(true, Ordering::Relaxed);
    tick.join().expect("the ticker ends");
}

/// A call of a kernel, prepared and plain.
fn kernel(engine: &Engine, wasm: &[u8]) -> (Duration, Duration) {
    let (mut prepared, mut plain) = (prepared_guest(engine, wasm), Plain::new(wasm));
    let mut rounds: u32 = 1;
    while timed(|| drop(plain.step(&rounds.to_le_bytes()))) < CALL && rounds < 1 << 30 {
        rounds *= 2;
    }
    let input = rounds.to_le_bytes();
    // Kernels carry state from call to call, so both must have been called as often: twice for each power of two.
    let mut fresh = Plain::new(wasm);
    assert_eq!(prepared.step(&input).expect("a kernel runs"), fresh.step(&input), "both compute the same");
    in_turns(ROUNDS, || drop(prepared.step(&input).expect("a kernel runs")), || drop(plain.step(&input)))
}

fn prepared_guest(engine: &Engine, wasm: &[u8]) -> Guest {
    let code = engine.load(&Id::of(Domain::Object, wasm), wasm).expect("the module can be prepared");
    let mut guest = Guest::new(engine, &code).expect("a guest can be made");
    guest.initialize().expect("a guest can be initialised");
    guest
}

/// The module as it is, by an engine as it comes.
struct Plain {
    store: wasmtime::Store<()>,
    memory: wasmtime::Memory,
    alloc: wasmtime::TypedFunc<u32, u32>,
    step: wasmtime::TypedFunc<(u32, u32), u64>,
}

impl Plain {
    fn new(wasm: &[u8]) -> Self {
        let mut config = wasmtime::Config::new();
        // The one switch besides the defaults: the deepest recursions of the suite are to have the same stack.
        config.cranelift_opt_level(wasmtime::OptLevel::Speed).max_wasm_stack(1 << 20).async_stack_size(2 << 20);
        let engine = wasmtime::Engine::new(&config).expect("the engine starts");
        let module = wasmtime::Module::new(&engine, wasm).expect("the module compiles");
        let mut store = wasmtime::Store::new(&engine, ());
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).expect("the module has no imports");
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut store, "_initialize") {
            initialize.call(&mut store, ()).expect("the module initialises itself");
        }
        Self {
            memory: instance.get_memory(&mut store, "memory").expect("the module has a memory"),
            alloc: instance.get_typed_func(&mut store, "abide_alloc").expect("the module takes inputs"),
            step: instance.get_typed_func(&mut store, "abide_step").expect("the module steps"),
            store,
        }
    }

    fn step(&mut self, input: &[u8]) -> Vec<u8> {
        let length = u32::try_from(input.len()).expect("inputs are small");
        let pointer = self.alloc.call(&mut self.store, length).expect("there is a buffer");
        self.memory.write(&mut self.store, pointer as usize, input).expect("the buffer is in memory");
        let packed = self.step.call(&mut self.store, (pointer, length)).expect("the guest steps");
        let (start, length) = ((packed >> 32) as usize, (packed & 0xffff_ffff) as usize);
        self.memory.data(&self.store)[start..start + length].to_vec()
    }
}

/// SQLite with a workload, prepared and plain.
fn interpreter(engine: &Engine) -> (Duration, Duration) {
    let wasm = include_bytes!("../../examples/sqlite/sqlite.wasm");
    let (mut prepared, mut plain) = (prepared_guest(engine, wasm), Plain::new(wasm));
    // With genesis data it does not ask for randomness.
    let boot = Input::Boot { genesis: b"bench".to_vec(), grants: Vec::new(), handover: None }.encode();
    assert_eq!(prepared.step(&boot).expect("it boots"), plain.step(&boot));
    let work = [
        "create table t(a integer primary key, b text, c real)",
        "with recursive n(i) as (values(1) union all select i + 1 from n where i < 100000) \
         insert into t select i, 'row ' || (i * 7919 % 100000), i / 3.0 from n",
        "create index by_b on t(b)",
        "select count(*), sum(c), max(b), sum(length(b)) from t where b like '%99%'",
        "select x.a, y.b from t x join t y on y.b = x.b order by x.c desc limit 10",
        "update t set c = c * 1.5 where a % 3 = 0",
        "drop table t",
    ];
    let inputs: Vec<Vec<u8>> = work.iter().map(|sql| message(sql)).collect();
    let first = inputs.iter().map(|input| prepared.step(input).expect("it runs"));
    let answers: Vec<Vec<u8>> = first.collect();
    for (input, answer) in inputs.iter().zip(&answers) {
        assert_eq!(&plain.step(input), answer, "both answer the same");
        assert!(is_answer(answer), "{}", String::from_utf8_lossy(answer));
    }
    in_turns(
        ROUNDS,
        || inputs.iter().for_each(|input| drop(prepared.step(input).expect("it runs"))),
        || inputs.iter().for_each(|input| drop(plain.step(input))),
    )
}

fn message(sql: &str) -> Vec<u8> {
    Input::Message { port: PortId::OWNER, from: Vec::new(), reply: ReplyId(1), payload: sql.as_bytes().to_vec() }
        .encode()
}

/// Whether an output begins with an answer, `[[1, ...`, and not with a refusal.
fn is_answer(output: &[u8]) -> bool {
    let mut reader = Reader::new(output);
    let mut next = || Some((reader.array().ok()?, reader.array().ok()?, reader.uint().ok()?));
    matches!(next(), Some((1.., 4, 1)))
}
