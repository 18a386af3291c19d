//! What the fuzzer does with programs, without the fuzzer: every committed starting point, and small changes of them.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/evaluator_bodies.rs"]
#[allow(unreachable_pub, clippy::unwrap_used, reason = "the fuzzer's target includes it, too")]
mod evaluator_bodies;

#[test]
fn starting_points_and_what_is_near_them() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/evaluator"));
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 6);
    for name in names {
        let seed = fs::read(&name).unwrap();
        evaluator_bodies::evaluator(&seed);
        for at in (0..seed.len()).step_by(4) {
            let mut changed = seed.clone();
            changed[at] ^= 5;
            evaluator_bodies::evaluator(&changed);
        }
    }
}
