//! What the fuzzer does, without the fuzzer: over every committed starting point, and small changes of them.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

#[path = "../../../fuzz/lang_bodies.rs"]
#[allow(unreachable_pub, reason = "the fuzzer's targets include it, too")]
mod lang_bodies;

use lang_bodies::{plan_seed, text};

type Body = fn(&[u8]);

const TARGETS: [(&str, Body); 2] = [("plan_seed", plan_seed), ("text", text)];

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds")).join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_target_runs_its_seeds_shortened_and_flipped() {
    for (target, body) in TARGETS {
        assert!(!seeds(target).is_empty(), "{target} has no seeds");
        for seed in seeds(target) {
            (0..=seed.len()).for_each(|length| body(&seed[..length]));
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

proptest! {
    #[test]
    fn every_target_runs_changed_seeds(
        (name, body) in prop::sample::select(TARGETS.to_vec()),
        seeds_of in any::<[Index; 2]>(),
        cuts in any::<[Index; 2]>(),
        inserted in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let seeds = seeds(name);
        let [first, second] = seeds_of.map(|index| index.get(&seeds));
        let bytes = [&first[..cuts[0].index(first.len() + 1)], &inserted, &second[cuts[1].index(second.len() + 1)..]].concat();
        body(&bytes);
    }
}
