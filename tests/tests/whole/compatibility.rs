//! Machine folders and seeds of every format version there was: they open, replay and go on. `ABIDE_BLESS=1` makes those of the present version anew,
//! which is only right as long as it has not been released.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use tests::abide::{
    Life, boot, copy_folder, example, fast_counter, fixtures, place_in_memory, run, send, status, verify,
};

/// The format that is written today.
const PRESENT: u32 = 2;
/// What a folder of a machine holds that has to be kept.
const KEPT: [&str; 3] = ["abide", "data.mdb", "head"];

/// Makes the fixtures of the present format, with every kind of record that there is.
fn bless() {
    let (place, to) = (place_in_memory(), fixtures(PRESENT));
    let _ = fs::remove_dir_all(&to);
    let (notes, counter) = (place.path().join("notes"), place.path().join("counter"));
    boot(&notes, &example("notes/notes.wasm"), &[]);
    send(&notes, "put stopped cleanly before");
    let mut life = Life::start(&notes);
    let mut talk = life.talk(&notes);
    for (number, message) in
        ["put a one", "put b two", "test trap", "del b", "get b", "test slices 3", "put c three"].iter().enumerate()
    {
        talk.say(&format!("key {number}"), message).unwrap();
    }
    let _ = life.kill();
    boot(&counter, &fast_counter(place.path()), &[]);
    let mut life = Life::start(&counter);
    assert_eq!((1..=20).filter_map(|_| life.line()).count(), 20);
    let _ = life.kill();
    let mut told = serde_json::Map::new();
    for name in ["notes", "counter"] {
        let (from, into) = (place.path().join(name), to.join(name));
        fs::create_dir_all(&into).unwrap();
        for file in KEPT {
            fs::copy(from.join(file), into.join(file)).unwrap();
        }
        let status = status(&from);
        told.insert(name.to_owned(), json!({ "end": status["end"], "root": status["root"] }));
    }
    let seed = |name: &str, source: &Path| {
        let _ = run(["save".as_ref(), to.join(name).as_os_str(), source.as_os_str()]).ok();
    };
    seed("program.seed", &example("notes/notes.wasm"));
    seed("machine.seed", &notes);
    fs::write(to.join("told.json"), serde_json::to_string_pretty(&told).unwrap() + "\n").unwrap();
}

/// What has to be kept of a machine, byte for byte.
fn kept(machine: &Path) -> Vec<Vec<u8>> {
    KEPT.iter().map(|file| fs::read(machine.join(file)).unwrap()).collect()
}

/// A copy of a fixture that a machine can be started from, and what was true of it when it was made.
fn revive(format: u32, name: &str, place: &Path) -> (PathBuf, Json) {
    let machine = place.join(name);
    copy_folder(&fixtures(format).join(name), &machine);
    let told: Json = serde_json::from_str(&fs::read_to_string(fixtures(format).join("told.json")).unwrap()).unwrap();
    (machine, told[name].clone())
}

#[test]
fn machines_of_every_format_open_replay_and_go_on() {
    if std::env::var_os("ABIDE_BLESS").is_some() {
        bless();
    }
    for format in 1..=PRESENT {
        let place = place_in_memory();
        let (notes, told) = revive(format, "notes", place.path());
        let before = kept(&notes);
        assert_eq!((&status(&notes)["end"], &status(&notes)["root"]), (&told["end"], &told["root"]), "format {format}");
        let records = verify(&notes);
        assert_eq!(Some(records), told["end"].as_u64(), "format {format}");
        let copy = place.path().join("copy");
        for args in [
            &["log".as_ref(), notes.as_os_str()][..],
            &["show".as_ref(), notes.as_os_str()],
            &["peek".as_ref(), notes.as_os_str(), "get a".as_ref()],
            &["copy".as_ref(), notes.as_os_str(), copy.as_os_str()],
        ] {
            let _ = run(args).ok();
        }
        assert!(kept(&notes) == before, "who only reads a machine of format {format} leaves it as it is");
        for notes in [&notes, &copy] {
            assert_eq!(send(notes, "get a"), "one", "format {format}");
            assert_eq!(fs::read_to_string(notes.join("abide")).unwrap(), format!("abide machine {PRESENT}\n"));
            assert_eq!(fs::read_dir(notes).unwrap().count(), 5, "abide, data.mdb, head, lock, lock.mdb");
        }
        for (note, text) in [("stopped", "cleanly before"), ("a", "one"), ("c", "three")] {
            assert_eq!(send(&notes, &format!("get {note}")), text, "format {format}");
        }
        assert_eq!(send(&notes, "put d four"), "ok");
        assert!(verify(&notes) > records, "format {format}");

        let (counter, told) = revive(format, "counter", place.path());
        assert_eq!(Some(verify(&counter)), told["end"].as_u64(), "format {format}");
        let mut life = Life::start(&counter);
        let line = life.line().unwrap();
        let number: u64 = line.strip_prefix("counter is at ").and_then(|number| number.parse().ok()).unwrap();
        assert!((1..=22).contains(&number), "format {format}: {line}");
        assert_eq!(life.line(), Some(format!("counter is at {}", number + 1)), "format {format}");
        let _ = life.stop();
        verify(&counter);
    }
}

#[test]
fn seeds_of_every_format_boot_and_go_on() {
    for format in 1..=PRESENT {
        let place = place_in_memory();
        let new = place.path().join("new");
        boot(&new, &fixtures(format).join("program.seed"), &[]);
        assert_eq!(send(&new, "put a one"), "ok");
        let saved = place.path().join("saved");
        boot(&saved, &fixtures(format).join("machine.seed"), &[]);
        assert_eq!(send(&saved, "get c"), "three", "format {format}");
        verify(&saved);
    }
}

/// Whoever has a newer machine is told which version it needs, and nothing of it is touched.
#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let place = place_in_memory();
    let (machine, _) = revive(PRESENT, "notes", place.path());
    fs::write(machine.join("abide"), format!("abide machine {}\n", PRESENT + 1)).unwrap();
    let before = kept(&machine);
    for command in ["start", "status", "log", "verify"] {
        let ran = run([command.as_ref(), machine.as_os_str()]);
        assert_ne!(ran.status.code(), Some(0), "{ran:?}");
        assert!(ran.err.contains("has format version 3, this version reads up to 2"), "{ran:?}");
    }
    assert!(kept(&machine) == before);
}
