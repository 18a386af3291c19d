//! `abide repair`: whatever has become of a machine's files, either there is a machine again that verifies and is what it was, or it is said exactly
//! what is lost; and the damaged one is kept as it was, whenever the repair is killed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use persist::machine::Reading;
use persist::objects::load;
use persist::part::Part;
use seed::object::Link;
use seed::{Domain, Seq};
use serde_json::Value as Json;
use tempfile::TempDir;
use tests::abide::{
    Life, Ran, abide, binary, boot, copy_folder, example, finish, log, place_in_memory, root, run, send, status, verify,
};
use tests::sim::random::Random;

use super::damage::PAGE;

const STORE: &str = "data.mdb";

/// A small machine that was stopped and killed a few times, and copies of it.
struct Patient {
    place: TempDir,
    root: String,
    end: u64,
    list: String,
    /// Which note each seq has brought.
    notes: Vec<(u64, String)>,
}

impl Patient {
    fn new() -> Self {
        let place = place_in_memory();
        let machine = place.path().join("kept");
        boot(&machine, &example("notes/notes.wasm"), &[]);
        let live = |lines: std::ops::Range<u32>| {
            let mut life = Life::start(&machine);
            let mut talk = life.talk(&machine);
            for number in lines {
                assert_eq!(talk.ask(&format!("put note{number} text {number}")), "ok");
            }
            life
        };
        let _ = live(0..4).stop().0.ok();
        let _ = live(4..7).stop().0.ok();
        copy_folder(&machine, &place.path().join("older"));
        let _ = live(7..10).stop().0.ok();
        let _ = live(10..13).kill();
        let status = status(&machine);
        let records = log(&machine, 0);
        let notes = records.iter().filter_map(|record| {
            let text = record["input"]["payload"]["text"].as_str()?;
            Some((record["seq"].as_u64()?, text.strip_prefix("put ")?.to_owned()))
        });
        let notes: Vec<_> = notes.collect();
        assert_eq!(notes.len(), 13);
        let list = {
            copy_folder(&machine, &place.path().join("asked"));
            send(&place.path().join("asked"), "list")
        };
        Self { root: root(&machine), end: status["end"].as_u64().unwrap(), list, notes, place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A copy to be damaged, in a folder of its own.
    fn copy(&self) -> (TempDir, PathBuf) {
        let place = place_in_memory();
        let machine = place.path().join("m");
        copy_folder(&self.path("kept"), &machine);
        (place, machine)
    }

    /// What the machine holds that stands before this seq.
    fn list_before(&self, end: u64) -> String {
        let before = self.notes.iter().filter(|(seq, _)| *seq < end);
        let mut lines: Vec<&str> = before.map(|(_, note)| note.as_str()).collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    /// Repairs a machine and judges what came of it. What it has said.
    fn judge(&self, machine: &Path, more: &[&OsStr]) -> (i32, Json) {
        let before = contents(machine);
        let ran = repair(machine, more);
        let code = ran.status.code().unwrap();
        let told = ran.err.lines().last().unwrap_or_default();
        let out = String::from_utf8(ran.out.clone()).unwrap();
        let said: Json = serde_json::from_str(if code == 3 { told } else { &out }).unwrap_or_else(|_| panic!("{ran}"));
        match code {
            3 => {
                assert!(said["stands"].is_object() && said["hint"].is_string(), "{ran}");
                assert_eq!(contents(machine), before, "nothing is changed: {ran}");
                assert_eq!(fs::read_dir(machine.parent().unwrap()).unwrap().count(), 1, "nothing is left: {ran}");
            }
            0 if said["whole"] == true => {}
            0 | 5 if said["repaired"] == false => assert_eq!(contents(machine), before, "only said: {ran}"),
            0 | 5 => {
                let damaged = PathBuf::from(said["damaged"].as_str().unwrap());
                assert_eq!(contents(&damaged), before, "the damaged machine is kept: {ran}");
                let _ = run(["verify".as_ref(), machine.as_os_str()]).ok();
                let end = said["end"].as_u64().unwrap();
                assert_eq!(said["root"], root(machine), "{ran}");
                assert_eq!(send(machine, "list"), self.list_before(end), "{ran}");
                let lost = (said["lost_seqs"].clone(), said["lost_history"].clone());
                assert_eq!(code == 5, lost != (Json::Null, Json::Null) || said["unknown_head"].is_u64(), "{ran}");
                if lost.0.is_null() {
                    assert_eq!((end, &*self.root), (self.end, said["root"].as_str().unwrap()), "{ran}");
                } else {
                    assert_eq!(lost.0, serde_json::json!([end, self.end - 1]), "{ran}");
                }
                if lost.1.is_null() {
                    let _ = verify(machine);
                }
            }
            _ => panic!("{ran}"),
        }
        (code, said)
    }
}

fn repair(machine: &Path, more: &[&OsStr]) -> Ran {
    let args = [OsStr::new("repair"), machine.as_os_str(), OsStr::new("--json")];
    finish(&mut abide(args.into_iter().chain(more.iter().copied())))
}

/// What is in a folder, but for locks.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut contents: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with("lock"))
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    contents.sort();
    contents
}

fn change(machine: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = machine.join(STORE);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Destroys every value that lies under a key, live or left behind.
fn destroy(machine: &Path, key: &[u8]) {
    change(machine, |bytes| {
        let number = |bytes: &[u8], at: usize, length: usize| {
            bytes[at..at + length].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
        };
        let nodes = (8..bytes.len() - key.len()).filter(|at| bytes[*at..].starts_with(key));
        let nodes: Vec<usize> = nodes.filter(|at| number(bytes, at - 2, 2) == key.len()).collect();
        assert!(!nodes.is_empty());
        for at in nodes {
            let (length, is_run) = (number(bytes, at - 8, 4), number(bytes, at - 4, 2) == 1);
            let value = if is_run { number(bytes, at + key.len(), 8) * PAGE + 16 } else { at + key.len() };
            if let Some(value) = bytes.get_mut(value..value + length) {
                // All of it: half a value must not be mistaken for a whole one.
                value.iter_mut().for_each(|byte| *byte ^= 0x55);
            }
        }
    });
}

/// Everything that the last checkpoint needs, with what it is.
fn needed(machine: &Path) -> Vec<(Part, Link)> {
    let reading = Reading::open(machine).unwrap();
    let mut needed = vec![(Part::Image, (Domain::Object, reading.branch().checkpoint.root))];
    let mut at = 0;
    while let Some((part, link)) = needed.get(at).copied() {
        let bytes = load(reading.store(), link.0, &link.1).unwrap();
        for more in part.needs(link.0, &bytes).unwrap() {
            if needed.iter().all(|(_, known)| *known != more.1) {
                needed.push(more);
            }
        }
        at += 1;
    }
    needed
}

fn log_key(first: u64) -> Vec<u8> {
    [&[0; 4][..], &first.to_be_bytes()].concat()
}

/// Seqs that batches begin with.
fn firsts(machine: &Path) -> Vec<u64> {
    let reading = Reading::open(machine).unwrap();
    let mut firsts = Vec::new();
    persist::journal::each_batch(
        reading.store(),
        reading.branch(),
        persist::journal::Start::At(Seq(0)),
        &mut |batch, _| {
            firsts.push(batch.first.0);
            std::ops::ControlFlow::Continue(())
        },
    )
    .unwrap();
    firsts
}

#[test]
fn every_page_blank_every_region_flipped_and_every_cut() {
    let patient = Patient::new();
    let whole = fs::read(patient.path("kept").join(STORE)).unwrap();
    let mut random = Random::new(5);
    let mut outcomes = std::collections::BTreeMap::<(&str, i32), usize>::new();
    let mut judge = |kind: &'static str, inflict: &dyn Fn(&mut Vec<u8>)| {
        let (_place, machine) = patient.copy();
        change(&machine, inflict);
        let (code, _) = patient.judge(&machine, &[]);
        *outcomes.entry((kind, code)).or_default() += 1;
    };
    for page in 0..whole.len() / PAGE {
        judge("blank", &|bytes| bytes[page * PAGE..(page + 1) * PAGE].fill(0));
        for _ in 0..2 {
            let (at, mask) = (page * PAGE + random.index(PAGE), 1 << random.below(8));
            judge("flip", &|bytes| bytes[at] ^= mask);
        }
        let at = page * PAGE + random.index(24);
        judge("flip", &|bytes| bytes[at] ^= 0x80);
        judge("cut", &|bytes| bytes.truncate(page * PAGE + PAGE / 3));
    }
    println!("{outcomes:?}");
    let of = |kind, code| outcomes.get(&(kind, code)).copied().unwrap_or_default();
    let pages = whole.len() / PAGE;
    assert!(of("blank", 0) > pages / 2 && of("flip", 0) > 2 * pages, "most damage costs nothing");
    assert!(of("flip", 3) < of("flip", 0) / 4, "but for the code, and what every image shares");
    assert!(of("cut", 3) > 0 && of("cut", 0) + of("cut", 5) > 0);
}

#[test]
fn every_object_of_the_checkpoint_comes_again_from_an_older_image_or_another_copy() {
    let patient = Patient::new();
    let older = patient.path("older");
    let shared: Vec<Link> = needed(&older).into_iter().map(|(_, link)| link).collect();
    let (mut again, mut brought) = (0, 0);
    for (part, link) in needed(&patient.path("kept")) {
        let (_place, machine) = patient.copy();
        destroy(&machine, link.1.as_bytes());
        let err = run(["verify".as_ref(), machine.as_os_str(), "--json".as_ref()]).fails(3);
        let finding = serde_json::from_str::<Json>(err.lines().last().unwrap()).unwrap();
        assert_eq!(finding["finding"]["object"], format!("{:x}", link.1), "{part}: {finding}");
        assert!(finding["finding"]["needed_by"].is_string() && finding["stands"]["end"] == patient.end, "{finding}");
        let (code, said) = patient.judge(&machine, &[]);
        match code {
            0 => {
                assert!(said["executed"].as_u64().unwrap() > 0 || part == Part::Genesis, "{part}");
                again += 1;
            }
            // What no older image does without only another copy has.
            3 => {
                assert!(shared.contains(&link), "{part} could be made again: {said}");
                let named = said["stands"]["missing_objects"].as_array().unwrap();
                let is_it =
                    |named: &Json| named["object"] == format!("{:x}", link.1) && named["part"] == part.to_string();
                assert!(named.iter().any(is_it), "{part} is named: {said}");
                let (code, said) = patient.judge(&machine, &["--from".as_ref(), older.as_os_str()]);
                assert_eq!(code, 0, "{part}: {said}");
                brought += 1;
            }
            code => panic!("{part}: {code} {said}"),
        }
    }
    println!("{again} made again, {brought} brought from a copy");
    assert!(again >= 4 && brought >= 1);
}

#[test]
fn a_lost_batch_is_brought_by_a_copy_or_costs_the_history_and_never_the_state() {
    let patient = Patient::new();
    let (older, firsts) = (patient.path("older"), firsts(&patient.path("kept")));
    let older_end = status(&older)["end"].as_u64().unwrap();
    for (position, first) in firsts.iter().copied().enumerate() {
        let (_place, machine) = patient.copy();
        destroy(&machine, &log_key(first));
        let next = firsts.get(position + 1).copied().unwrap_or(patient.end);
        let text = finish(&mut abide(["verify".as_ref(), machine.as_os_str()])).fails(3);
        let planned = repair(&machine, &["--dry-run".as_ref()]);
        let (code, planned) = (planned.status.code(), planned.json_of(&[0, 5]));
        if first < older_end && code != Some(0) {
            let (_place, second) = patient.copy();
            destroy(&second, &log_key(first));
            let (code, said) = patient.judge(&second, &["--from".as_ref(), older.as_os_str()]);
            assert_eq!((code, &said["keeps_history"]), (0, &Json::Bool(true)), "seq {first}: {said}");
        }
        let (code, said) = patient.judge(&machine, &[]);
        for key in ["end", "root", "lost_seqs", "lost_history"] {
            assert_eq!(said[key], planned[key], "a dry run says what is then done: {key}");
        }
        if code == 0 {
            continue;
        }
        // The one before is named by the lost one alone, and cannot be told from one that is damaged and still decodes.
        let before = position.checked_sub(1).map_or(first, |before| firsts[before]);
        let told = &said["stands"]["missing_seqs"];
        let from = if *told == serde_json::json!([[first, next - 1]]) { first } else { before };
        assert_eq!(*told, serde_json::json!([[from, next - 1]]), "exactly what is lost");
        assert!(text.contains(&format!("{} cannot be had", span(from, next))), "{text}");
        let is_tail = said["lost_seqs"].is_array();
        assert_eq!(is_tail, said["keeps_history"] == true, "{said}");
    }
}

fn span(from: u64, to: u64) -> String {
    if to - from == 1 { format!("seq {from}") } else { format!("seqs {from} to {}", to - 1) }
}

trait JsonOf {
    fn json_of(&self, codes: &[i32]) -> Json;
}

impl JsonOf for Ran {
    fn json_of(&self, codes: &[i32]) -> Json {
        assert!(self.status.code().is_some_and(|code| codes.contains(&code)), "{self}");
        serde_json::from_slice(&self.out).unwrap()
    }
}

#[test]
fn two_damaged_copies_make_a_whole() {
    let patient = Patient::new();
    let parts = needed(&patient.path("kept"));
    let code = parts.iter().find(|(part, _)| *part == Part::Code).unwrap().1;
    let (_one_place, one) = patient.copy();
    let (_two_place, two) = patient.copy();
    destroy(&one, code.1.as_bytes());
    destroy(&two, &log_key(3));
    destroy(&two, &log_key(8));
    // Nor are the other's head and format of use.
    fs::remove_file(two.join("head")).unwrap();
    fs::write(two.join("abide"), "garbage").unwrap();
    assert_eq!(patient.judge(&one, &[]).0, 3);
    let (told, _) = patient.judge(&one, &["--from".as_ref(), two.as_os_str()]);
    assert_eq!(told, 0);
}

#[test]
fn a_seed_brings_lost_code() {
    let patient = Patient::new();
    let code = needed(&patient.path("kept")).into_iter().find(|(part, _)| *part == Part::Code).unwrap().1;
    let (place, machine) = patient.copy();
    destroy(&machine, code.1.as_bytes());
    assert_eq!(patient.judge(&machine, &[]).0, 3);
    let seed = patient.path("notes.seed");
    let _ = run(["save".as_ref(), seed.as_os_str(), example("notes/notes.wasm").as_os_str()]).ok();
    assert_eq!(patient.judge(&machine, &["--from".as_ref(), seed.as_os_str()]).0, 0);
    drop(place);
    // Another program's does not.
    let (_place, machine) = patient.copy();
    destroy(&machine, code.1.as_bytes());
    let other = patient.path("counter.seed");
    let _ = run(["save".as_ref(), other.as_os_str(), example("counter/counter.wat").as_os_str()]).ok();
    let err = repair(&machine, &["--from".as_ref(), other.as_os_str()]).fails(3);
    assert!(err.contains("not even with the other copy"), "{err}");
    let err = repair(&machine, &["--from".as_ref(), example("notes/notes.c").as_os_str()]).fails(1);
    assert!(err.contains("is neither a machine nor a seed"), "{err}");
}

#[test]
fn lost_small_files_cost_nothing_and_a_lost_store_is_brought_by_a_copy() {
    let patient = Patient::new();
    for files in [&["abide"][..], &["head"], &["lock", "lock.mdb"], &["abide", "head", "lock", "lock.mdb"]] {
        let (_place, machine) = patient.copy();
        files.iter().for_each(|file| fs::remove_file(machine.join(file)).unwrap());
        let (code, said) = patient.judge(&machine, &[]);
        assert_eq!(code, 0, "{files:?}: {said}");
        let (_place, machine) = patient.copy();
        files.iter().for_each(|file| fs::write(machine.join(file), [0x5a; 100]).unwrap());
        let (code, said) = patient.judge(&machine, &[]);
        assert_eq!(code, 0, "{files:?}: {said}");
    }
    let (_place, machine) = patient.copy();
    fs::remove_file(machine.join(STORE)).unwrap();
    assert_eq!(patient.judge(&machine, &[]).0, 3);
    // The older copy is older than what the head acknowledges.
    let (code, said) = patient.judge(&machine, &["--from".as_ref(), patient.path("older").as_os_str()]);
    let older_end = status(&patient.path("older"))["end"].as_u64().unwrap();
    assert_eq!((code, &said["lost_seqs"]), (5, &serde_json::json!([older_end, patient.end - 1])));
    assert_eq!(said["keeps_history"], true);
}

/// A copy that has gone on by itself has another life: what it did since is not taken for what this machine did.
#[test]
fn another_life_is_not_mixed_into_this_one() {
    let patient = Patient::new();
    let (other_place, other) = patient.copy();
    for number in 0..5 {
        assert_eq!(send(&other, &format!("put other{number} life")), "ok");
    }
    let (_place, machine) = patient.copy();
    let last = firsts(&machine).into_iter().max().unwrap();
    destroy(&machine, &log_key(last));
    // The batch was there when they parted.
    let (code, said) = patient.judge(&machine, &["--from".as_ref(), other.as_os_str()]);
    assert_eq!((code, &said["lost_seqs"]), (0, &Json::Null), "{said}");
    drop(other_place);
    // An older copy that went on never had it.
    let (_place, machine) = patient.copy();
    let other = patient.path("went-on");
    copy_folder(&patient.path("older"), &other);
    for number in 0..9 {
        assert_eq!(send(&other, &format!("put other{number} life")), "ok");
    }
    destroy(&machine, &log_key(last));
    let (code, said) = patient.judge(&machine, &["--from".as_ref(), other.as_os_str()]);
    assert_eq!((code, &said["lost_seqs"]), (5, &serde_json::json!([last, patient.end - 1])), "{said}");
}

#[test]
fn what_is_running_or_whole_or_nothing_is_left_alone() {
    let patient = Patient::new();
    let (place, machine) = patient.copy();
    let mut life = Life::start(&machine);
    drop(life.talk(&machine));
    for more in [&[][..], &["--dry-run".as_ref()]] {
        let err = repair(&machine, more).fails(1);
        assert!(err.contains("is in use by process") && err.contains("stop it first"), "{err}");
    }
    let _ = life.stop().0.ok();
    let said = repair(&machine, &[]).json();
    assert_eq!((&said["whole"], &said["repaired"]), (&Json::Bool(true), &Json::Bool(false)));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    let err = repair(&place.path().join("none"), &[]).fails(1);
    assert!(err.contains("there is no machine"), "{err}");
    let empty = place.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let err = repair(&empty, &[]).fails(1);
    assert!(err.contains("is not a machine"), "{err}");
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "not even a lock is left there");
    fs::write(machine.join("abide"), "abide machine 3\n").unwrap();
    let err = repair(&machine, &[]).fails(1);
    assert!(err.contains("has format version 3"), "{err}");
}

#[test]
fn damaged_machines_are_kept_one_beside_the_other() {
    let patient = Patient::new();
    let (place, machine) = patient.copy();
    for name in ["m.damaged", "m.damaged-2", "m.damaged-3"] {
        change(&machine, |bytes| bytes[..PAGE].fill(0));
        let before = contents(&machine);
        let said = repair(&machine, &[]).json();
        assert_eq!(said["damaged"], place.path().join(name).display().to_string());
        assert_eq!(contents(&place.path().join(name)), before);
    }
    assert_eq!(send(&machine, "list"), patient.list);
    let _ = verify(&machine);
}

/// Where two folders cannot be exchanged in one step, two renames do it.
#[test]
fn a_file_system_that_cannot_exchange_does_no_harm() {
    let patient = Patient::new();
    let (place, machine) = patient.copy();
    change(&machine, |bytes| bytes[..PAGE].fill(0));
    let before = contents(&machine);
    let strace = |inject: &str| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2", "-e", inject, "--"]).arg(binary());
        command.args(["repair".as_ref(), machine.as_os_str()]).env("ABIDE_CACHE", "");
        command
    };
    if !Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success()) {
        return tests::not_run("strace is not installed or may not trace");
    }
    let ran = finish(&mut strace("inject=renameat2:error=EINVAL"));
    assert_eq!(ran.status.code(), Some(0), "{ran}");
    assert_eq!(send(&machine, "list"), patient.list);
    assert_eq!(contents(&place.path().join("m.damaged-2")), before);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
}

/// The image that an epoch starts from must be there for its log to be executed again from there on.
#[test]
fn the_image_of_an_epoch_is_made_again() {
    let patient = Patient::new();
    let (place, moved) = patient.copy();
    // In another folder each start begins an epoch, whose image is the root before it.
    for number in 0..2 {
        let copy = place.path().join(format!("copy{number}"));
        let _ = run(["copy".as_ref(), moved.as_os_str(), copy.as_os_str()]).ok();
        fs::remove_dir_all(&moved).unwrap();
        fs::rename(&copy, &moved).unwrap();
        assert_eq!(send(&moved, &format!("put moved{number} here")), "ok");
    }
    let list = send(&moved, "list");
    let expected = root(&moved);
    let images: Vec<Link> = {
        let reading = Reading::open(&moved).unwrap();
        let mut images = Vec::new();
        let start = persist::journal::Start::At(Seq(0));
        persist::journal::each_batch(reading.store(), reading.branch(), start, &mut |batch, _| {
            images.extend(batch.records.iter().filter_map(|record| match record {
                seed::record::Record::Epoch(epoch) => Some((Domain::Object, epoch.image)),
                _ => None,
            }));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        images
    };
    assert_eq!((images.len(), root(&moved)), (3, expected));
    for image in images {
        let place = place_in_memory();
        let machine = place.path().join("m");
        copy_folder(&moved, &machine);
        destroy(&machine, image.1.as_bytes());
        let err = run(["verify".as_ref(), machine.as_os_str()]).fails(3);
        assert!(err.contains("abide repair"), "{err}");
        let said = repair(&machine, &[]).json();
        assert_eq!((&said["keeps_history"], &said["lost_seqs"]), (&Json::Bool(true), &Json::Null), "{said}");
        assert_eq!(root(&machine), root(&moved));
        let _ = verify(&machine);
        assert_eq!(send(&machine, "list"), list);
    }
}

#[test]
fn a_store_of_another_time_and_a_head_of_another_machine_are_told() {
    let patient = Patient::new();
    let older = patient.path("older");
    let older_end = status(&older)["end"].as_u64().unwrap();
    let (_place, machine) = patient.copy();
    fs::copy(older.join(STORE), machine.join(STORE)).unwrap();
    let (code, said) = patient.judge(&machine, &["--dry-run".as_ref()]);
    assert_eq!((code, &said["repaired"]), (5, &Json::Bool(false)));
    let (code, said) = patient.judge(&machine, &["--from".as_ref(), patient.path("kept").as_os_str()]);
    assert_eq!((code, &said["lost_seqs"]), (0, &Json::Null), "{said}");
    let (_place, machine) = patient.copy();
    fs::copy(older.join(STORE), machine.join(STORE)).unwrap();
    let (code, said) = patient.judge(&machine, &[]);
    assert_eq!((code, &said["lost_seqs"]), (5, &serde_json::json!([older_end, patient.end - 1])));
    // A head that names what no log has.
    let other = patient.path("counter");
    boot(&other, &example("counter/counter.wat"), &[]);
    let (_place, machine) = patient.copy();
    fs::copy(other.join("head"), machine.join("head")).unwrap();
    change(&machine, |bytes| bytes[..PAGE].fill(0));
    let (code, said) = patient.judge(&machine, &[]);
    assert_eq!((code, &said["lost_seqs"], said["unknown_head"].is_u64()), (5, &Json::Null, true), "{said}");
}
