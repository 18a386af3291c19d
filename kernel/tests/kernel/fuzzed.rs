//! What the fuzzer does, without the fuzzer: every committed starting point, and small changes of them.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/kernel_bodies.rs"]
#[allow(unreachable_pub, clippy::cast_possible_truncation, reason = "the fuzzer's target includes it, too")]
mod kernel_bodies;

#[test]
fn starting_points_and_what_is_near_them() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/kernel"));
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 9);
    for name in names {
        let seed = fs::read(&name).unwrap();
        kernel_bodies::kernel(&seed);
        for at in 0..seed.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = seed.clone();
                changed[at] ^= change;
                kernel_bodies::kernel(&changed);
            }
            kernel_bodies::kernel(&seed[..at]);
        }
    }
}
