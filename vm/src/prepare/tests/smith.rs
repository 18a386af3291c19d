//! Modules of any shape, as a generator for compilers' tests makes them: plain and prepared they do the same, on every target, and put down and taken
//! up again between their steps. `ABIDE_SMITH=2000..3000` tries other seeds than the usual ones.

use std::convert::Infallible;
use std::ops::Range;

use arbitrary::Unstructured;
use wasm_encoder::reencode::{self, Reencode, RoundtripReencoder};
use wasm_smith::Config;
use wasmparser::{Parser, Validator};
use wasmtime::Engine;

use super::random::settling_engine;
use super::support::{Guest, Image, TARGETS, engine};
use crate::prepare::{Prepared, prepare};

const SEEDS: Range<u64> = 0..250;
const STEPS: [(i32, i32); 4] = [(0, 0), (7, -1), (i32::MIN, 64), (-1, i32::MAX)];
/// Loop rounds and calls of an instance, after which it traps.
const FUEL: u32 = 1_000;

fn config() -> Config {
    let interface = r#"(module (memory (export "memory") 1 12)
        (func (export "abide_alloc") (param i32) (result i32) unreachable)
        (func (export "abide_step") (param i32 i32) (result i64) unreachable))"#;
    Config {
        exports: Some(wat::parse_str(interface).unwrap()),
        allow_start_export: true,
        bulk_memory_enabled: true,
        exceptions_enabled: false,
        extended_const_enabled: true,
        gc_enabled: false,
        max_imports: 0,
        max_instructions: 400,
        max_memories: 3,
        max_memory32_bytes: 12 << 16,
        max_table_elements: 200,
        max_tables: 3,
        memory64_enabled: false,
        memory_max_size_required: true,
        min_data_segments: 1,
        min_element_segments: 1,
        min_funcs: 3,
        min_globals: 2,
        multi_value_enabled: true,
        reference_types_enabled: true,
        relaxed_simd_enabled: false,
        simd_enabled: true,
        table_max_size_required: true,
        tail_call_enabled: true,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        custom_page_sizes_enabled: false,
        shared_everything_threads_enabled: false,
        // Most addresses within memory.
        memory_offset_choices: wasm_smith::MemoryOffsetChoices(90, 9, 1),
        ..Config::default()
    }
}

/// A module that ends; none where the seed's bytes make none.
fn module(seed: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    let mut module = wasm_smith::Module::new(config(), &mut Unstructured::new(&bytes)).ok()?;
    module.ensure_termination(FUEL).ok()?;
    let mut without = wasm_encoder::Module::new();
    OnlyFunctions.parse_core_module(&mut without, Parser::new(0), &module.to_bytes()).ok()?;
    let wasm = without.finish();
    Validator::new().validate_all(&wasm).is_ok().then_some(wasm)
}

/// Makes references to what is the host's, which cannot be captured, references to functions.
struct OnlyFunctions;

impl Reencode for OnlyFunctions {
    type Error = Infallible;

    fn abstract_heap_type(
        &mut self,
        ty: wasmparser::AbstractHeapType,
    ) -> Result<wasm_encoder::AbstractHeapType, reencode::Error> {
        match ty {
            wasmparser::AbstractHeapType::Extern => Ok(wasm_encoder::AbstractHeapType::Func),
            ty => RoundtripReencoder.abstract_heap_type(ty),
        }
    }
}

/// What a guest shows: of each step the outcome and the memory after it, up to the first trap that is not the program's own.
type Shown = Vec<(Result<i64, String>, Vec<u8>)>;

/// A trap that depends on the target and on what preparation adds.
fn is_stack(outcome: &Result<i64, String>) -> bool {
    outcome.as_ref().is_err_and(|trap| trap.contains("stack exhausted"))
}

fn straight(mut guest: Guest) -> Shown {
    STEPS.map(|(a, b)| (guest.step(a, b), guest.memory())).into()
}

/// The same with another instance for every step. The images between them, too.
fn restored(engine: &Engine, prepared: &Prepared, first: &mut Guest) -> (Shown, Vec<Image>) {
    let mut images = vec![first.capture(&prepared.state)];
    let mut shown = Vec::new();
    for (a, b) in STEPS {
        let mut guest = Guest::restore(engine, prepared, &images[images.len() - 1]);
        shown.push((guest.step(a, b), guest.memory()));
        images.push(guest.capture(&prepared.state));
    }
    (shown, images)
}

fn check(seed: u64, wasm: &[u8], prepared: &Prepared, engines: &[Engine], settling: &Engine) -> bool {
    let oracle = Guest::instantiate(settling, wasm).map(straight);
    if oracle.as_ref().is_ok_and(|shown| shown.iter().any(|(outcome, _)| is_stack(outcome))) {
        return false;
    }
    let mut known: Option<Vec<Image>> = None;
    for engine in engines {
        let first = Guest::boot(engine, prepared);
        match (&oracle, first) {
            (Err(expected), Err(found)) => assert_eq!(*expected, found, "seed {seed}: instantiation"),
            (Ok(expected), Ok(mut first)) => {
                let (shown, images) = restored(engine, prepared, &mut first);
                let found = straight(first);
                if found.iter().chain(&shown).any(|(outcome, _)| is_stack(outcome)) {
                    return false;
                }
                assert!(*expected == found, "seed {seed}: prepared");
                assert!(*expected == shown, "seed {seed}: restored before every step");
                assert!(*known.get_or_insert_with(|| images.clone()) == images, "seed {seed}: images");
            }
            (expected, found) => {
                panic!("seed {seed}: plain {:?}, prepared {:?}", expected.as_ref().err(), found.err())
            }
        }
    }
    true
}

fn seeds() -> Range<u64> {
    let Ok(range) = std::env::var("ABIDE_SMITH") else { return SEEDS };
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("ABIDE_SMITH={range} is no range"));
    range.split_once("..").map_or(SEEDS, |(from, to)| number(from)..number(to))
}

#[test]
fn whatever_can_be_prepared_does_what_it_did() {
    let (engines, settling) = (TARGETS.map(engine), settling_engine());
    let seeds = seeds();
    let tried = seeds.end - seeds.start;
    let mut compared = 0;
    for seed in seeds {
        let Some(wasm) = module(seed) else { continue };
        let prepared = prepare(&wasm).unwrap_or_else(|refusal| panic!("seed {seed}: {refusal}"));
        compared += u64::from(check(seed, &wasm, &prepared, &engines, &settling));
    }
    println!("{compared} of {tried} compared");
    assert!(compared > tried / 3, "{compared} of {tried}");
}
