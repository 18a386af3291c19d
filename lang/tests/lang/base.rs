//! The base library: what it asserts holds by the rules.

use std::collections::{BTreeSet, HashMap};

use lang::base::FILES;

use crate::reference::{Base, Natively};

#[test]
fn choices_and_numbers_hold_by_the_rules_alone() {
    for (name, count) in assertions(&["core", "numbers"], Natively::None) {
        assert!(count > 20, "{name}");
    }
}

#[test]
fn the_rest_holds_with_numbers_done_natively() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/base");
    let files = std::fs::read_dir(folder).unwrap();
    let found: BTreeSet<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let names = FILES.map(|(name, _)| name);
    assert_eq!(found, names.map(str::to_owned).into(), "every file is one of the library's");
    for (name, count) in assertions(&names, Natively::Numbers) {
        assert!(count > 0, "{name} asserts nothing");
    }
}

/// The rules are followed by recursion.
fn assertions(names: &[&'static str], natively: Natively) -> Vec<(&'static str, usize)> {
    let names = names.to_vec();
    let run = move || {
        let mut base = Base(natively, HashMap::new());
        names.into_iter().map(|name| (name, base.file(name).assertions)).collect()
    };
    std::thread::Builder::new().stack_size(1 << 30).spawn(run).unwrap().join().unwrap()
}
