//! Promise 10: `cp -r` of a stopped machine, `abide copy` of a running one and a saved machine all go on from the same root, under a new
//! incarnation, and come to equal roots from equal inputs.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value as Json;
use tests::abide::{
    Answer, Life, Talk, boot, copy_folder, example, fast_counter, log, place, place_in_memory, root, run, status,
    verify,
};
use tests::sim::random::Random;

use super::damage::{FILES, PAGE};

fn notes(folder: &Path) -> PathBuf {
    let machine = folder.join("notes");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    machine
}

/// Messages whose every one changes something, some of them aborted, some of them refused.
fn message(number: usize) -> String {
    match number % 7 {
        3 => format!("del note{}", number / 2),
        5 => "test trap".to_owned(),
        6 => format!("test slices {}", number % 4),
        _ => format!("put note{} {}", number % 50, "text ".repeat(number % 40)),
    }
}

/// Sends messages with these numbers, each under a key of its own.
fn converse(talk: &mut Talk, numbers: std::ops::Range<usize>) -> Vec<Answer> {
    numbers.map(|number| talk.say(&format!("message {number}"), &message(number)).unwrap()).collect()
}

/// Runs a machine for a while.
fn live(machine: &Path, numbers: std::ops::Range<usize>) -> Vec<Answer> {
    let mut life = Life::start(machine);
    let answers = converse(&mut life.talk(machine), numbers);
    let _ = life.stop().0.ok();
    answers
}

/// The same machine in another folder, not started yet.
#[track_caller]
fn assert_same_machine(original: &Path, copy: &Path) {
    let (original, copy) = (status(original), status(copy));
    for name in ["machine", "incarnation", "epoch", "end", "root", "batch", "checkpoint", "grants"] {
        assert_eq!(copy[name], original[name], "{name}");
    }
    assert_eq!((&original["copied"], &copy["copied"]), (&Json::Bool(false), &Json::Bool(true)));
}

/// Both have been started since: the same machine and root, the copy in an epoch and incarnation of its own.
#[track_caller]
fn assert_live_copy(original: &Path, copy: &Path, epochs: u64) {
    let (was, is) = (status(original), status(copy));
    assert_eq!((&is["machine"], &is["root"]), (&was["machine"], &was["root"]));
    assert_ne!(is["incarnation"], was["incarnation"]);
    assert_eq!(is["epoch"].as_u64(), was["epoch"].as_u64().map(|epoch| epoch + epochs));
    assert_eq!(is["copied"], false);
    for machine in [original, copy] {
        let _ = verify(machine);
    }
}

fn save(machine: &Path, name: &str) -> Vec<u8> {
    let file = machine.with_file_name(name);
    let _ = run(["save".as_ref(), file.as_os_str(), machine.as_os_str()]).ok();
    fs::read(file).unwrap()
}

#[test]
fn a_stopped_machine_copied_by_cp_goes_on_with_equal_roots() {
    let place = place();
    let machine = notes(place.path());
    live(&machine, 0..40);
    let copy = place.path().join("copy");
    copy_folder(&machine, &copy);
    assert_same_machine(&machine, &copy);
    assert_eq!(live(&machine, 40..90), live(&copy, 40..90));
    assert_live_copy(&machine, &copy, 1);
    // A copy of the copy, and the copy moved: an epoch is for another folder, not for another name.
    let (again, moved) = (place.path().join("again"), place.path().join("moved"));
    copy_folder(&copy, &again);
    fs::rename(&copy, &moved).unwrap();
    assert_eq!(live(&moved, 90..100), live(&again, 90..100));
    assert_live_copy(&moved, &again, 1);
}

#[test]
fn a_killed_machine_copied_by_cp_is_recovered_alike() {
    let place = place();
    let machine = notes(place.path());
    let mut life = Life::start(&machine);
    converse(&mut life.talk(&machine), 0..60);
    let _ = life.kill();
    let copy = place.path().join("copy");
    copy_folder(&machine, &copy);
    assert_same_machine(&machine, &copy);
    assert_ne!(status(&copy)["checkpoint"]["end"], status(&copy)["end"], "there is something to recover");
    assert_eq!(live(&machine, 60..80), live(&copy, 60..80));
    assert_live_copy(&machine, &copy, 1);
}

#[test]
fn a_running_machine_copied_goes_on_with_equal_roots() {
    let place = place();
    let machine = notes(place.path());
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    const MESSAGES: usize = 400;
    let copies: Vec<PathBuf> = (0..4).map(|number| place.path().join(format!("copy{number}"))).collect();
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for (copy, moment) in copies.iter().zip([0, 90, 200, 310]) {
                while sent.load(Ordering::Relaxed) < moment {
                    thread::yield_now();
                }
                let _ = run(["copy".as_ref(), machine.as_os_str(), copy.as_os_str()]).ok();
            }
        });
        for number in 0..MESSAGES {
            converse(&mut talk, number..number + 1);
            sent.store(number, Ordering::Relaxed);
        }
    });
    let _ = life.stop().0.ok();
    let (expected, shared) = (root(&machine), log(&machine, 0));
    let keyed = |record: &&Json| record["key"]["text"].as_str().is_some_and(|key| !key.is_empty());
    for copy in &copies {
        let entered = log(copy, 0);
        assert_eq!(entered, shared[..entered.len()], "a copy's log is the beginning of the original's");
        let has = entered.iter().filter(keyed).count();
        println!("copied after {has} messages");
        // The rest of the conversation, and what came before once more, which changes nothing.
        live(copy, has.saturating_sub(10)..MESSAGES);
        assert_eq!(root(copy), expected, "copied after {has} messages");
        assert_live_copy(&machine, copy, 1);
    }
}

#[test]
fn copies_that_run_at_once_are_told_apart() {
    let place = place();
    let machine = notes(place.path());
    live(&machine, 0..5);
    let copy = place.path().join("copy");
    let _ = run(["copy".as_ref(), machine.as_os_str(), copy.as_os_str()]).ok();
    let (mut one, mut two) = (Life::start(&machine), Life::start(&copy));
    let (mut to_one, mut to_two) = (one.talk(&machine), two.talk(&copy));
    assert_eq!(to_one.ask("put who original"), "ok");
    assert_eq!(to_two.ask("put who copy"), "ok");
    assert_eq!((to_one.ask("get who"), to_two.ask("get who")), ("original".to_owned(), "copy".to_owned()));
    assert_eq!(status(&machine)["running"]["pid"], one.pid());
    assert_eq!(status(&copy)["running"]["pid"], two.pid());
    assert_ne!(status(&machine)["incarnation"], status(&copy)["incarnation"]);
    for life in [one, two] {
        let _ = life.stop().0.ok();
    }
}

#[test]
fn a_copied_counter_counts_on() {
    let place = place();
    let machine = place.path().join("counter");
    boot(&machine, &fast_counter(place.path()), &[]);
    let mut life = Life::start(&machine);
    while life.line().unwrap() != "counter is at 10" {}
    let copy = place.path().join("copy");
    let _ = run(["copy".as_ref(), machine.as_os_str(), copy.as_os_str()]).ok();
    assert_eq!(life.stop().0.status.code(), Some(0));
    let records = log(&copy, 0);
    let counted = records.iter().filter(|record| record["input"]["kind"] == "answer").count();
    assert!(counted >= 10);
    // Lines of the last moments before the copy, which are not logged as shown, come again; a line and its effect have the same number.
    let shown = records.iter().filter_map(|record| record["effects"].as_array()).flatten();
    let shown = shown.filter_map(|effect| effect.as_u64()).max().unwrap_or(0);
    let mut life = Life::start(&copy);
    let first = life.line().unwrap();
    let _ = life.stop().0.ok();
    assert_eq!(first, format!("counter is at {}", shown + 1));
    let _ = verify(&copy);
}

#[test]
fn a_saved_machine_boots_to_the_same_state() {
    let place = place();
    let machine = notes(place.path());
    live(&machine, 0..30);
    // Of a stopped machine, of one that has to be recovered first, and of one that runs: the same state is the same bytes.
    let stopped = save(&machine, "stopped.seed");
    assert_eq!(save(&machine, "again.seed"), stopped);
    let mut life = Life::start(&machine);
    assert_eq!(save(&machine, "idle.seed"), stopped);
    converse(&mut life.talk(&machine), 30..50);
    let running = save(&machine, "running.seed");
    let _ = life.kill();
    let killed = save(&machine, "killed.seed");
    assert!(running == killed && running != stopped);
    let saved = root(&machine);
    assert!(
        fs::read_dir(place.path()).unwrap().all(|entry| !entry
            .unwrap()
            .file_name()
            .as_encoded_bytes()
            .starts_with(b"."))
    );

    let booted = place.path().join("booted");
    boot(&booted, &place.path().join("killed.seed"), &[]);
    assert_eq!(root(&booted), saved);
    let (was, is) = (status(&machine), status(&booted));
    assert_ne!(is["machine"], was["machine"], "a seed makes a machine of its own");
    assert_eq!(live(&machine, 50..70), live(&booted, 50..70));
    assert_eq!(root(&booted), root(&machine));
    assert!(save(&booted, "booted.seed") == save(&machine, "original.seed"));
    // Keys are part of what is saved: what was sent before is not done again.
    let before = root(&booted);
    live(&booted, 40..70);
    assert_eq!(root(&booted), before);
    for machine in [&machine, &booted] {
        let _ = verify(machine);
    }
}

#[test]
fn a_program_and_its_saved_seed_boot_alike() {
    let place = place();
    let (from_module, from_seed) = (place.path().join("from_module"), place.path().join("from_seed"));
    boot(&from_module, &example("notes/notes.wasm"), &[]);
    let (seed, module) = (place.path().join("notes.seed"), example("notes/notes.wasm"));
    let _ = run(["save".as_ref(), seed.as_os_str(), module.as_os_str()]).ok();
    boot(&from_seed, &seed, &[]);
    assert_eq!(root(&from_seed), root(&from_module));
    assert_eq!(live(&from_seed, 0..20), live(&from_module, 0..20));
    assert_eq!(root(&from_seed), root(&from_module));
}

#[test]
fn nothing_is_copied_over_something() {
    let place = place();
    let machine = notes(place.path());
    fs::create_dir(place.path().join("empty")).unwrap();
    for there in ["notes", "empty"] {
        let err = run(["copy".as_ref(), machine.as_os_str(), place.path().join(there).as_os_str()]).fails(1);
        assert!(err.contains(&format!("{there} exists already")), "{err}");
    }
    let err =
        run(["copy".as_ref(), place.path().join("none").as_os_str(), place.path().join("new").as_os_str()]).fails(1);
    assert!(err.starts_with("error: there is no machine "), "{err}");
    let err = run(["copy".as_ref(), machine.as_os_str(), place.path().join("no/such/folder").as_os_str()]).fails(1);
    assert!(err.starts_with("error: cannot create machine "), "{err}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
}

/// Promise 10 speaks of `abide copy` for a running machine, but people will use `cp -r`: what that gives works as of some moment, or is refused.
#[test]
fn a_running_machine_copied_by_cp_is_right_as_of_some_moment_or_refused() {
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    let mut random = Random::new(7);
    let mut sent = 0_u32;
    for number in 0..30 {
        let copy = place.path().join(format!("copy{number}"));
        fs::create_dir(&copy).unwrap();
        for file in FILES {
            // Slowly, as a large file is copied, while the machine goes on.
            let mut from = fs::File::open(machine.join(file)).unwrap();
            let mut to = fs::File::create(copy.join(file)).unwrap();
            while io::copy(&mut (&mut from).take(PAGE as u64), &mut to).unwrap() > 0 {
                if random.one_in(20) {
                    assert_eq!(talk.ask(&format!("put {sent:06} text")), "ok");
                    sent += 1;
                }
            }
        }
    }
    let _ = life.kill();
    let (mut right, mut refused) = (0, 0);
    for number in 0..30 {
        let copy = place.path().join(format!("copy{number}"));
        let commands: [&[&str]; 4] = [&["verify"], &["send", "list"], &["send", "list"], &["verify", "--replay"]];
        for command in commands {
            let args = [command[0].as_ref(), copy.as_os_str()].into_iter().chain(command[1..].iter().map(OsStr::new));
            let ran = run(args);
            match ran.status.code() {
                Some(0) => right += 1,
                Some(3) => {
                    refused += 1;
                    continue;
                }
                _ => panic!("{ran}"),
            }
            let out = String::from_utf8(ran.out).unwrap();
            let listed = out.lines().filter(|line| line.ends_with(" text"));
            let is_prefix = listed.zip(0_u32..).all(|(line, number)| line == format!("{number:06} text"));
            assert!(is_prefix, "not a state that ever was: {out}");
        }
    }
    println!("{sent} notes; of copies: {right} commands worked, {refused} refused");
    assert!(right > 10 && refused > 10);
}
