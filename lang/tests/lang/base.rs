//! The base library: what it asserts holds by the rules.

use crate::reference::{Base, Natively};

#[test]
fn choices_and_numbers_hold_by_the_rules_alone() {
    for name in ["core", "numbers"] {
        assert!(assertions(name, Natively::None) > 20, "{name}");
    }
}

#[test]
fn the_rest_holds_with_numbers_done_natively() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/base");
    let files = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    for name in names {
        assert!(assertions(&name, Natively::Numbers) > 0, "{name} asserts nothing");
    }
}

/// The rules are followed by recursion.
fn assertions(name: &str, natively: Natively) -> usize {
    let name = name.to_owned();
    let run = move || Base(natively).file(&name).assertions;
    std::thread::Builder::new().stack_size(1 << 30).spawn(run).unwrap().join().unwrap()
}
