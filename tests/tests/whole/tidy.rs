//! Rules of the repository that no compiler checks: who may know whom, where unsafe code and clocks may be, what every file says first.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file that is or could be committed, with its text if it is text.
fn tracked() -> BTreeMap<String, String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .expect("git lists the repository's files");
    let names = String::from_utf8_lossy(&listed.stdout);
    names
        .split('\0')
        .filter(|name| !name.is_empty())
        .filter_map(|name| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?)))
        .collect()
}

fn sources(files: &BTreeMap<String, String>, folder: &str) -> Vec<(String, String)> {
    let of = |name: &str| name.starts_with(folder) && name.ends_with(".rs");
    files.iter().filter(|(name, _)| of(name)).map(|(name, text)| (name.clone(), text.clone())).collect()
}

/// Code without comments, so that words about a thing are not the thing. Good enough for our own style.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect::<Vec<_>>().join("\n")
}

fn assert_none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn layers_know_only_what_is_below_them() {
    let allowed: [(&str, &[&str]); 6] = [
        ("seed", &[]),
        ("persist", &["seed"]),
        ("vm", &["seed", "persist"]),
        ("lang", &["seed"]),
        ("kernel", &["seed", "lang"]),
        ("boot", &["seed", "persist", "vm", "lang", "kernel"]),
    ];
    for (layer, below) in allowed {
        let manifest = fs::read_to_string(root().join(layer).join("Cargo.toml")).unwrap();
        let table = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        for other in ["seed", "persist", "vm", "boot", "lang", "kernel", "tests", "bench"] {
            let named = table.lines().any(|line| line.split(['.', ' ', '=']).next() == Some(other));
            assert!(!named || below.contains(&other), "{layer} must not know {other}");
        }
    }
}

#[test]
fn engines_stores_clocks_and_printing_stay_in_their_layer() {
    let files = tracked();
    let fences: [(&[&str], &[&str], &[&str]); 5] = [
        // (words, folders searched, files excepted)
        (&["wasmtime::"], &["seed/src", "persist/src", "lang/src", "kernel/src", "boot/src"], &[]),
        (
            &["lmdb::", "lmdb_sys"],
            &["seed/src", "persist/src", "vm/src", "lang/src", "kernel/src", "boot/src"],
            &["persist/src/sys.rs"],
        ),
        (
            &["SystemTime", "Instant::now", "getrandom", "std::env::"],
            &["seed/src", "persist/src", "vm/src", "lang/src", "kernel/src"],
            &[],
        ),
        (
            &["println!", "eprintln!", "print!(", "eprint!("],
            &["seed/src", "persist/src", "vm/src", "lang/src", "kernel/src"],
            &[],
        ),
        (&["std::fs", "std::net", "File::"], &["seed/src", "lang/src", "kernel/src"], &[]),
    ];
    for (words, folders, excepted) in fences {
        let mut found = Vec::new();
        for folder in folders {
            for (name, text) in sources(&files, folder) {
                let is_test = name.contains("test") || name.contains("conformance");
                if is_test || excepted.contains(&name.as_str()) {
                    continue;
                }
                let text = code(text.split("#[cfg(test)]\nmod tests {").next().unwrap());
                // Our own module has the crate's name.
                let text = text.replace("store::lmdb::", "");
                found.extend(words.iter().filter(|word| text.contains(**word)).map(|word| format!("{name}: {word}")));
            }
        }
        assert_none(found, "words outside their layer");
    }
}

#[test]
fn unsafe_code_has_one_address_a_crate() {
    let homes = ["vm/src/raw.rs", "persist/src/sys.rs", "kernel/src/raw.rs"];
    let files = tracked();
    let mut found = Vec::new();
    for folder in ["seed/", "persist/", "vm/", "boot/", "tests/", "bench/", "lang/", "kernel/"] {
        for (name, text) in sources(&files, folder) {
            let allows = text.contains("allow(unsafe_code)") || text.contains("expect(unsafe_code");
            let uses = code(&text).split_whitespace().any(|word| word == "unsafe");
            if (allows || uses) && !homes.contains(&name.as_str()) && !name.ends_with("tidy.rs") {
                found.push(name);
            }
        }
    }
    assert_none(found, "unsafe code outside raw.rs and sys.rs");
}

#[test]
fn every_module_opens_with_a_promise() {
    let files = tracked();
    // A fuzz target is one line after this attribute; what it runs is in fuzz/bodies.rs.
    let opens = |text: &str| text.starts_with("//!") || text.starts_with("#![no_main]");
    let silent = files
        .iter()
        .filter(|(name, text)| name.ends_with(".rs") && !opens(text))
        .map(|(name, _)| name.clone())
        .collect();
    assert_none(silent, "files that do not say what they promise");
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    // Written apart so that this file does not find itself.
    let marks = [
        "to".to_owned() + "do!(",
        "unimple".to_owned() + "mented!(",
        "FIX".to_owned() + "ME",
        "#[ig".to_owned() + "nore",
    ];
    let files = tracked();
    let mut found = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".rs")) {
        found.extend(marks.iter().filter(|mark| text.contains(mark.as_str())).map(|mark| format!("{name}: {mark}")));
    }
    assert_none(found, "unfinished marks");
}

#[test]
fn no_merge_is_half_done() {
    let marks = ["<", ">"].map(|mark| mark.repeat(7) + " ");
    let is_half_done = |text: &str| text.lines().any(|line| marks.iter().any(|mark| line.starts_with(mark)));
    let found = tracked().into_iter().filter(|(_, text)| is_half_done(text)).map(|(name, _)| name).collect();
    assert_none(found, "marks of a merge");
}

#[test]
fn no_path_of_a_machine_is_in_the_repository() {
    let paths = ["/wo".to_owned() + "rk/", "/ro".to_owned() + "ot/", "/ho".to_owned() + "me/"];
    let mut found = Vec::new();
    for (name, text) in tracked() {
        if name.ends_with(".lock") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            // A path starts a word; `boot/root/..` does not.
            let has = |path: &str| {
                line.match_indices(path).any(|(at, _)| {
                    !line[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || "._-}".contains(before))
                })
            };
            found.extend(paths.iter().filter(|path| has(path)).map(|path| format!("{name}:{}: {path}", number + 1)));
        }
    }
    assert_none(found, "paths of one machine");
}

#[test]
fn lmdb_is_linked_once() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"lmdb-rkv-sys\""));
    assert!(!lock.contains("name = \"lmdb-master-sys\""), "two LMDBs in one program link silently and mix");
    assert_eq!(lock.matches("name = \"wasmtime\"\n").count(), 1, "one engine");
}
