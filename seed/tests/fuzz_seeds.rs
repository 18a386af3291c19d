//! What the fuzzer does, without the fuzzer: every body over every committed starting point, and over small changes of them. What a decoder
//! accepts must be what the value encodes to, and nothing may panic.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

#[path = "../../fuzz/bodies.rs"]
#[allow(unreachable_pub, missing_docs, reason = "it is the library of a crate of its own as well")]
mod bodies;

use std::fs;
use std::path::Path;

use bodies::{Body, TARGETS};
use proptest::prelude::*;
use proptest::sample::Index;

fn fuzz_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz"))
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> =
        fs::read_dir(fuzz_folder().join("seeds").join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_target_runs_its_seeds() {
    for (target, body) in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target} has no seeds");
        seeds.iter().for_each(|seed| body(seed));
        let source = fs::read_to_string(fuzz_folder().join("fuzz_targets").join(target).with_extension("rs")).unwrap();
        assert!(source.contains(&format!("bodies::{target}(data)")), "{target}");
    }
}

#[test]
fn every_target_runs_every_shortened_and_flipped_seed() {
    for (target, body) in TARGETS {
        for seed in seeds(target) {
            (0..seed.len()).for_each(|length| body(&seed[..length]));
            for position in 0..seed.len() {
                for bit in [0x01, 0x02, 0x20, 0x80] {
                    let mut altered = seed.clone();
                    altered[position] ^= bit;
                    body(&altered);
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let interesting = prop_oneof![any::<u8>(), prop::sample::select(vec![0, 0x17, 0x18, 0x40, 0x5f, 0x80, 0x9f, 0xff])];
    let change = prop_oneof![
        (any::<Index>(), interesting).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), 1_usize..40).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<Index>(), 1_usize..80).prop_map(|(at, count)| Change::Repeat(at, count)),
    ];
    prop::collection::vec(change, 1..4)
}

fn apply(change: &Change, bytes: &mut Vec<u8>) {
    let length = bytes.len();
    let position = |at: &Index| at.index(length + 1);
    let end = |start: usize, count: usize| (start + count).min(length);
    match change {
        Change::Set(at, byte) => bytes.get_mut(position(at)).into_iter().for_each(|there| *there = *byte),
        Change::Insert(at, new) => drop(bytes.splice(position(at)..position(at), new.iter().copied())),
        Change::Remove(at, count) => drop(bytes.drain(position(at)..end(position(at), *count))),
        Change::Repeat(at, count) => {
            let part = bytes[position(at)..end(position(at), *count)].to_vec();
            drop(bytes.splice(position(at)..position(at), part));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_target_runs_changed_seeds(target in prop::sample::select(TARGETS.to_vec()), seed in any::<Index>(), changes in changes()) {
        let (name, body): (&str, Body) = target;
        let seeds = seeds(name);
        let mut bytes = seed.get(&seeds).clone();
        changes.iter().for_each(|change| apply(change, &mut bytes));
        body(&bytes);
    }
}
