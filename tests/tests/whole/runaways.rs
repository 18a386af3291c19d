//! Guests that run away, trap or talk nonsense while they run: the step is aborted and logged, its asker is refused, and the machine goes on as it
//! was; it halts, with exit code 4, only where nobody is left to tell. And one writer: a second one is told who the first is.

use std::path::{Path, PathBuf};
use std::thread;

use tests::abide::{Answer, Life, Talk, abide, boot, example, log, place, root, run, send, status, verify};

/// Commands of the notes that misbehave, and what the log says of them.
const RUNAWAYS: [(&str, &str); 5] = [
    ("test trap", "wasm trap: wasm `unreachable` instruction executed (in abide_main)"),
    ("test loop", "the step took more than 300 ms of CPU time (in abide_main)"),
    ("test recurse", "wasm trap: out of bounds memory access (in recurse)"),
    ("test malformed", "malformed output: byte "),
    ("test flood 200000", "the output has 20001"),
];

fn notes(folder: &Path) -> PathBuf {
    let machine = folder.join("notes");
    let limits = ["step_cpu_ms=300", "output_bytes=100000", "memory_bytes=8388608"];
    let flags: Vec<&str> = limits.iter().flat_map(|limit| ["--limit", limit]).collect();
    boot(&machine, &example("notes/notes.wasm"), &flags);
    machine
}

/// The reasons of all aborts in a machine's log.
fn aborts(machine: &Path) -> Vec<String> {
    let records = log(machine, 0).into_iter().filter(|record| record["kind"] == "abort");
    records.map(|record| record["reason"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_runaway_step_is_aborted_logged_and_without_effect() {
    let place = place();
    let machine = notes(place.path());
    assert_eq!(send(&machine, "put milk two"), "ok");
    // Stopped: each message has a run of its own. Then running, and killed where it is, so that aborts are recovered from the log.
    for (command, reason) in RUNAWAYS {
        let err = run(["send".as_ref(), machine.as_os_str(), command.as_ref()]).fails(1);
        assert!(err.starts_with(&format!("error: the machine refused: aborted: {reason}")), "{command}: {err}");
        assert_eq!(send(&machine, "list"), "milk two");
    }
    for _ in 0..2 {
        let mut life = Life::start(&machine);
        let mut talk = life.talk(&machine);
        for (command, reason) in RUNAWAYS {
            match talk.say("", command).unwrap() {
                Answer::Refused(2, text) => assert!(text.starts_with(reason), "{command}: {text}"),
                other => panic!("{command}: {other:?}"),
            }
            assert_eq!(talk.ask("list"), "milk two");
        }
        // A bomb is no runaway: memory.grow answers -1 at the declared limit, and the program goes on.
        assert_eq!(talk.ask("test bomb"), "7 MiB, then no more");
        assert_eq!(talk.ask("count"), "1");
        let _ = life.kill();
    }
    let found = aborts(&machine);
    assert_eq!(found.len(), 3 * RUNAWAYS.len());
    for (found, (_, expected)) in found.iter().zip(RUNAWAYS.iter().cycle()) {
        assert!(found.starts_with(expected), "{found} is not {expected}");
    }
    assert_eq!(send(&machine, "list"), "milk two");
    let _ = verify(&machine);
}

/// What was accepted before it in the same batch stays, what comes after it goes on.
#[test]
fn an_abort_amid_the_messages_of_others_is_nobody_elses() {
    let place = place();
    let machine = notes(place.path());
    let mut life = Life::start(&machine);
    drop(life.talk(&machine));
    thread::scope(|scope| {
        for client in 0..8 {
            let machine = &machine;
            scope.spawn(move || {
                let mut talk = Talk::with(machine).unwrap();
                for number in 0..40 {
                    assert_eq!(talk.ask(&format!("put {client}-{number} text")), "ok");
                    if (number + client) % 8 == 0 {
                        let refused = talk.say("", "test trap").unwrap();
                        assert!(matches!(refused, Answer::Refused(2, _)), "{refused:?}");
                    }
                }
            });
        }
    });
    assert_eq!(life.talk(&machine).ask("count"), "320");
    let _ = life.kill();
    assert_eq!(send(&machine, "count"), "320");
    assert_eq!(aborts(&machine).len(), 40);
    let _ = verify(&machine);
}

/// A guest in WAT: what it does with inputs of each kind, given as instructions that leave the place and length of an output.
fn guest(folder: &Path, kinds: &[(u8, &str)]) -> PathBuf {
    let cases: String = kinds
        .iter()
        .map(|(kind, body)| format!("(if (i32.eq (local.get $kind) (i32.const {kind})) (then (return {body})))\n"))
        .collect();
    let text = format!(
        r#"(module
            (memory (export "memory") 2)
            (global $answered (mut i32) (i32.const 48))
            (data (i32.const 0) "\80")
            (data (i32.const 16) "\81\84\00\01\02\42\81\00")            ;; [[0, 1, clock, [0]]]
            (data (i32.const 32) "\81\84\00\00\01\46broken")            ;; [[0, 0, console, "broken"]]
            (data (i32.const 48) "\81\84\00\01\09\40")                  ;; [[0, 1, a port that is not granted, ""]]
            (data (i32.const 64) "\81\81\04")                           ;; [[4]]
            (data (i32.const 80) "\81\84\01\00\00\41\30")               ;; [[1, reply, 0, a digit]]
            (func (export "abide_alloc") (param i32) (result i32) (i32.const 65536))
            (func $out (param $at i64) (param $length i64) (result i64)
                (i64.or (i64.shl (local.get $at) (i64.const 32)) (local.get $length)))
            (func $answer (param $input i32) (result i64)
                (global.set $answered (i32.add (global.get $answered) (i32.const 1)))
                (i32.store8 (i32.const 83) (i32.load8_u offset=4 (local.get $input)))
                (i32.store8 (i32.const 86) (global.get $answered))
                (call $out (i64.const 80) (i64.const 7)))
            (func (export "abide_step") (param $input i32) (param i32) (result i64)
                (local $kind i32)
                (local.set $kind (i32.load8_u offset=1 (local.get $input)))
                {cases}
                (call $out (i64.const 0) (i64.const 1))))"#
    );
    let path = folder.join("guest.wat");
    std::fs::write(&path, text).unwrap();
    path
}

const ASK_CLOCK: &str = "(call $out (i64.const 16) (i64.const 8))";
const SAY_BROKEN: &str = "(call $out (i64.const 32) (i64.const 12))";
const ASK_NOBODY: &str = "(call $out (i64.const 48) (i64.const 6))";
const AGAIN: &str = "(call $out (i64.const 64) (i64.const 3))";
const ANSWER: &str = "(call $answer (local.get $input))";

#[test]
fn an_answer_whose_step_aborts_comes_back_as_a_broken_request() {
    let place = place();
    let machine = place.path().join("m");
    boot(&machine, &guest(place.path(), &[(0, ASK_CLOCK), (1, ANSWER), (2, "(unreachable)"), (3, SAY_BROKEN)]), &[]);
    let mut life = Life::start(&machine);
    assert_eq!(life.line().as_deref(), Some("broken"));
    assert_eq!(life.talk(&machine).ask(""), "1");
    let _ = life.stop().0.ok();
    assert_eq!(aborts(&machine), ["wasm trap: wasm `unreachable` instruction executed (in function 3)"]);
    let broken: Vec<_> = log(&machine, 0).into_iter().filter(|record| record["input"]["kind"] == "broken").collect();
    assert_eq!(broken.len(), 1);
    assert_eq!((&broken[0]["kind"], &broken[0]["input"]["code"]), (&"step".into(), &2.into()));
    let _ = verify(&machine);
}

/// Starts a machine that halts. It says why, ends with exit code 4, and stands as before.
#[track_caller]
fn halts(machine: &Path, why: &str) {
    let (ran, lines) = Life::start(machine).end();
    assert!(lines.is_empty(), "{lines:?}");
    let err = ran.fails(4);
    assert!(err.starts_with(&format!("error: the machine halted: {why} was aborted: wasm trap: ")), "{err}");
}

#[test]
fn a_machine_that_cannot_be_told_halts_as_it_was_and_again_after_a_restart() {
    const UNREACHABLE: &str = "(unreachable)";
    let broken = "the news of a broken request";
    type Case = (&'static str, &'static [(u8, &'static str)], &'static str, usize);
    let cases: [Case; 3] = [
        ("answer", &[(1, ASK_CLOCK), (2, UNREACHABLE), (3, UNREACHABLE)], broken, 1),
        ("not granted", &[(1, ASK_NOBODY), (3, UNREACHABLE)], broken, 0),
        ("again", &[(1, AGAIN), (4, UNREACHABLE)], "the computation it had put off", 0),
    ];
    for (name, kinds, why, aborted) in cases {
        let place = place();
        let machine = place.path().join("m");
        boot(&machine, &guest(place.path(), kinds), &[]);
        let err = run(["send".as_ref(), machine.as_os_str(), "".as_ref()]).fails(4);
        assert!(err.starts_with(&format!("error: the machine halted: {why}")), "{name}: {err}");
        // The first start may have to tell it that the asker has gone.
        halts(&machine, why);
        let (before, end) = (root(&machine), status(&machine)["end"].clone());
        assert_eq!(aborts(&machine).len(), aborted, "{name}");
        halts(&machine, why);
        assert_eq!((root(&machine), &status(&machine)["end"]), (before, &end), "{name}: a halt changes nothing");
        let _ = verify(&machine);
    }
}

/// What follows from the first step at once belongs to the boot: there is no machine before it is done.
#[test]
fn a_machine_that_halts_right_after_its_first_step_is_not_made() {
    for first in [ASK_NOBODY, AGAIN] {
        let place = place();
        let machine = place.path().join("m");
        let seed = guest(place.path(), &[(0, first), (3, "(unreachable)"), (4, "(unreachable)")]);
        let err = run(["boot".as_ref(), machine.as_os_str(), seed.as_os_str()]).fails(4);
        assert!(err.contains("\n  caused by: the machine halted: the "), "{err}");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "only the seed is there");
    }
}

#[test]
fn halt_on_abort_stops_at_the_first() {
    let place = place();
    let machine = notes(place.path());
    assert_eq!(send(&machine, "put milk two"), "ok");
    let args = ["start", "--halt-on-abort", machine.to_str().unwrap()];
    let mut life = Life::of(abide(args));
    let mut talk = life.talk(&machine);
    assert_eq!(talk.ask("put bread one"), "ok");
    let refused = talk.say("", "test trap");
    assert!(matches!(refused, Ok(Answer::Refused(2, _)) | Err(_)), "{refused:?}");
    let err = life.end().0.fails(4);
    assert!(err.starts_with("error: the machine halted: an input was aborted: wasm trap: "), "{err}");
    assert_eq!(aborts(&machine).len(), 1);
    // The input is used up: the next start goes on.
    let mut life = Life::of(abide(args));
    assert_eq!(life.talk(&machine).ask("list"), "bread one\nmilk two");
    let _ = life.stop().0.ok();
    let _ = verify(&machine);
}

#[test]
fn a_second_start_is_told_who_has_the_machine() {
    let place = place();
    let machine = notes(place.path());
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    for _ in 0..3 {
        let err = run(["start".as_ref(), machine.as_os_str()]).fails(1);
        let held = format!("error: machine {} is in use by process {} on host ", machine.display(), life.pid());
        assert!(err.starts_with(&held), "{err}");
        assert_eq!(talk.ask("put milk two"), "ok");
    }
    assert_eq!(status(&machine)["running"]["pid"], life.pid());
    let _ = life.kill();
    // A lock dies with its holder, whatever its file says.
    assert_eq!(status(&machine)["running"], serde_json::Value::Null);
    let mut life = Life::start(&machine);
    assert_eq!(life.talk(&machine).ask("list"), "milk two");
    let _ = life.stop().0.ok();
}
