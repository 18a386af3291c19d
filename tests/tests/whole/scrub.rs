//! The background check of a running machine: what is damaged is told, by a line and by `status`, and the machine goes on; the process that checks
//! ends with the machine's, and if it dies the machine does not.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use tests::abide::{Life, PATIENCE, abide, boot, example, place_in_memory, run, status};

fn start(machine: &Path, pace: &str, at_once: bool) -> Life {
    let mut command = abide(["start".as_ref(), machine.as_os_str(), "--scrub".as_ref(), pace.as_ref()]);
    if at_once {
        command.env("ABIDE_SCRUB_AT_ONCE", "1");
    }
    let mut life = Life::of(command);
    drop(life.talk(machine));
    life
}

/// Looks at what `status` says of the check until it is this.
#[track_caller]
fn scrub_until(machine: &Path, is_it: impl Fn(&Json) -> bool) -> Json {
    let begun = Instant::now();
    loop {
        let scrub = status(machine)["scrub"].clone();
        if is_it(&scrub) {
            return scrub;
        }
        assert!(begun.elapsed() < PATIENCE, "{scrub}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Processes that check this machine.
fn checkers(machine: &Path) -> Vec<Pid> {
    let name = machine.to_str().unwrap().as_bytes();
    let is_one = |line: &[u8]| {
        let mut words = line.split(|byte| *byte == 0);
        words.any(|word| word == b"scrub") && words.any(|word| word == name)
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let found = processes.filter(|process| fs::read(process.path().join("cmdline")).is_ok_and(|line| is_one(&line)));
    found.filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?)).collect()
}

/// Flips a byte of the machine's code where it is stored.
fn damage(machine: &Path) {
    let store = fs::File::options().read(true).write(true).open(machine.join("data.mdb")).unwrap();
    let bytes = fs::read(machine.join("data.mdb")).unwrap();
    // The first page of the largest run.
    let pages = |page: &[u8]| u32::from_ne_bytes([page[12], page[13], page[14], page[15]]);
    let runs = bytes
        .chunks_exact(4096)
        .enumerate()
        .skip(2)
        .filter(|(number, page)| page[10] == 4 && page[..8] == (*number as u64).to_ne_bytes() && page[11] == 0);
    let (number, page) = runs.max_by_key(|(_, page)| pages(page)).unwrap();
    store.write_all_at(&[page[2000] ^ 1], number as u64 * 4096 + 2000).unwrap();
}

#[test]
fn a_flipped_byte_of_a_running_machine_is_told_and_the_machine_goes_on() {
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let mut life = start(&machine, "4", true);
    assert_eq!(life.talk(&machine).ask("put milk two"), "ok");
    let scrub = scrub_until(&machine, |scrub| scrub["passes"].as_u64() >= Some(2));
    assert_eq!((&scrub["mib_per_s"], scrub["findings"].as_array().unwrap().len()), (&Json::from(4), 0));
    assert!(scrub["last_pass_ns"].as_u64() > Some(1 << 60));
    damage(&machine);
    let scrub = scrub_until(&machine, |scrub| scrub["findings"].as_array().is_some_and(|found| !found.is_empty()));
    let finding = scrub["findings"][0].as_str().unwrap().to_owned();
    assert!(finding.starts_with("object 1e20") && finding.contains(" is damaged: "), "{finding}");
    // It is told once, and goes on being looked for.
    let passes = scrub["passes"].as_u64().unwrap();
    let scrub = scrub_until(&machine, |scrub| scrub["passes"].as_u64() > Some(passes + 1));
    assert_eq!(scrub["findings"].as_array().unwrap().len(), 1);
    let shown = run(["status".as_ref(), machine.as_os_str()]).ok();
    assert!(shown.contains(&format!("damage       {finding}")) && shown.contains("abide repair "), "{shown}");
    assert_eq!(life.talk(&machine).ask("get milk"), "two");
    let (ran, _) = life.stop();
    assert_eq!(ran.err.matches("warning: ").count(), 1, "{ran}");
    assert!(ran.err.contains(&finding) && ran.err.contains("then: abide repair "), "{ran}");
    let _ = ran.ok();
    assert!(checkers(&machine).is_empty(), "it ends with the machine");
    let err = run(["verify".as_ref(), machine.as_os_str()]).fails(3);
    assert!(err.contains("lacks its code"), "{err}");
}

#[test]
fn the_checking_process_dies_with_the_machines_and_not_the_other_way() {
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let mut life = start(&machine, "1", true);
    // What ends a reader by a signal is damage that could not be told otherwise.
    let begun = Instant::now();
    let is_found = || !status(&machine)["scrub"]["findings"].as_array().unwrap().is_empty();
    while !is_found() {
        for pid in checkers(&machine) {
            let _ = kill_process(pid, Signal::SEGV);
        }
        assert!(begun.elapsed() < PATIENCE);
    }
    let findings = status(&machine)["scrub"]["findings"].clone();
    assert_eq!(findings, serde_json::json!(["reading the store ended by signal 11"]));
    assert_eq!(life.talk(&machine).ask("count"), "0");
    // A check that is stopped right where it is does not outlive the machine's process.
    let begun = Instant::now();
    while checkers(&machine).is_empty() {
        assert!(begun.elapsed() < PATIENCE);
    }
    let _ = life.kill();
    let begun = Instant::now();
    while !checkers(&machine).is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_check_can_be_switched_off_and_short_lives_have_none() {
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    assert_eq!(status(&machine)["scrub"], Json::Null, "nobody runs it");
    let life = start(&machine, "off", true);
    assert_eq!(status(&machine)["scrub"]["mib_per_s"], 0);
    assert!(run(["status".as_ref(), machine.as_os_str()]).ok().contains("scrub        off\n"));
    assert!(checkers(&machine).is_empty());
    let _ = life.stop().0.ok();
    let life = start(&machine, "4", false);
    let scrub = status(&machine)["scrub"].clone();
    assert_eq!((&scrub["mib_per_s"], &scrub["passes"], &scrub["of"]), (&4.into(), &0.into(), &0.into()));
    assert!(checkers(&machine).is_empty(), "not yet");
    let _ = life.stop().0.ok();
    for pace in ["0", "fast", "-1"] {
        let _ = run(["start".as_ref(), machine.as_os_str(), format!("--scrub={pace}").as_ref()]).fails(2);
    }
}
