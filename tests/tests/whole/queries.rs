//! `abide peek`: what a machine says now, and would have said after each of its records, and that asking leaves nothing behind: of one that runs, while it
//! goes on, and of one that does not.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tests::abide::{
    Answer, Life, Ran, Talk, abide, boot, example, log, place_in_memory, root, run, send, status, verify,
};
use tests::web::wait_until;

fn peek(machine: &Path, question: &str, more: &[&str]) -> Ran {
    let mut args = vec!["peek".as_ref(), machine.as_os_str(), question.as_ref()];
    args.extend(more.iter().map(OsStr::new));
    run(args)
}

#[test]
fn a_machine_is_asked_as_it_stood_after_each_record() {
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    send(&machine, "put a 0");
    // Several at once, so that there are batches of more than one record.
    let mut life = Life::start(&machine);
    drop(life.talk(&machine));
    thread::scope(|scope| {
        for writer in 0..6 {
            let mut talk = Talk::with(&machine).unwrap();
            scope.spawn(move || (0..6).for_each(|number| drop(talk.ask(&format!("put {writer} {number}")))));
        }
    });
    drop(life.stop());
    let records = log(&machine, 0);
    let batches = records.iter().filter(|record| record["root"].is_string()).count();
    assert!(batches < records.len(), "every record has a batch of its own");
    let before = (root(&machine), fs::read(machine.join("data.mdb")).unwrap());
    let mut notes = BTreeMap::new();
    for record in &records[1..] {
        if let Some(text) = record["input"]["payload"]["text"].as_str()
            && let Some((key, text)) = text.strip_prefix("put ").and_then(|note| note.split_once(' '))
        {
            notes.insert(key.to_owned(), text.to_owned());
        }
        let expected: Vec<String> = notes.iter().map(|(key, text)| format!("{key} {text}")).collect();
        let found = peek(&machine, "list", &["--at", &record["seq"].to_string()]).ok();
        assert_eq!(found.trim(), expected.join("\n"), "after {record}");
    }
    assert_eq!(notes.len(), 7);
    assert!(peek(&machine, "del a", &[]).fails(1).contains("a query changes nothing"));
    assert_eq!(peek(&machine, "count", &["--json"]).json()["parts"][0]["text"], "7");
    assert!((root(&machine), fs::read(machine.join("data.mdb")).unwrap()) == before, "asking has changed the machine");
    let unborn = peek(&machine, "list", &["--at", "0"]).fails(1);
    assert!(unborn.contains("at this point the machine has not booted"), "{unborn}");
    let none = peek(&machine, "list", &["--at", &records.len().to_string()]).fails(1);
    assert!(
        none.contains(&format!("no record with seq {0}; its last is {1}", records.len(), records.len() - 1)),
        "{none}"
    );
}

#[test]
fn a_running_machine_is_asked_beside_whoever_runs_it() {
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    for number in 0..5 {
        talk.ask(&format!("put milk {number}"));
        assert_eq!(peek(&machine, "get milk", &[]).ok().trim(), number.to_string());
    }
    assert!(peek(&machine, "put milk none", &[]).fails(1).contains("refused"));
    assert_eq!(talk.ask("get milk"), "4");
}

#[test]
fn whoever_has_seen_an_answer_finds_what_it_tells_of() {
    const READERS: usize = 4;
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("tally/tally.wasm"), &[]);
    let life = Life::up(&machine);
    let (answered, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let number = |said: Answer| match said {
        Answer::Said(number) => number.parse::<u64>().unwrap(),
        other => panic!("{other:?}"),
    };
    let asked: u64 = thread::scope(|scope| {
        let (machine, answered, is_over) = (&machine, &answered, &is_over);
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                scope.spawn(move || {
                    let (mut talk, mut last, mut count) = (Talk::with(machine).unwrap(), 0, 0);
                    while !is_over.load(Ordering::Acquire) {
                        let least = answered.load(Ordering::Acquire).max(last);
                        last = number(talk.peek("a").unwrap());
                        assert!(last >= least, "{least} was answered before, and a query finds {last}");
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let mut talk = Talk::with(machine).unwrap();
        for expected in 1..=400 {
            assert_eq!(number(talk.say("", "a").unwrap()), expected);
            answered.store(expected, Ordering::Release);
            if expected % 4 == 0 {
                assert_eq!(number(talk.peek("a").unwrap()), expected);
            }
            if expected % 100 == 0 {
                // Many pages at once, and memory that grows.
                (0..200).for_each(|other| drop(talk.say("", &format!("{expected} {other}")).unwrap()));
                assert_eq!(number(talk.peek(&format!("{expected} 199")).unwrap()), 1);
            }
        }
        is_over.store(true, Ordering::Release);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(asked > 100, "only {asked} queries beside 400 commits");
    let _ = life.stop();
    let steps = log(&machine, 0).iter().filter(|record| record["kind"] == "step").count();
    assert_eq!(steps, 1 + 400 + 800, "the boot, and what was sent: no query is in the log");
    verify(&machine);
}

/// Answers a message with a digit that counts them. A query counts, too, in memory, in a global and in a new page, and answers with what that makes; then, if
/// it is asked `x`, it traps, and if it is asked `l`, it never ends.
const WRITER: &str = r#"(module
  (memory (export "memory") 2)
  (global $count (mut i32) (i32.const 0x30))
  (table $table 1 funcref)
  (elem $some func $one)
  (data (i32.const 0) "\81\84\01\00\00\41\30")
  (func $one (result i32) (i32.const 1))
  (func (export "abide_alloc") (param i32) (result i32) (i32.const 65536))
  (func (export "abide_step") (param $at i32) (param i32) (result i64)
    (local $kind i32)
    (local $asked i32)
    (local.set $kind (i32.load8_u offset=1 (local.get $at)))
    (if (i32.eqz (local.get $kind)) (then (i32.store8 (i32.const 64) (i32.const 0x80)) (return (i64.const 0x4000000001))))
    (local.set $asked (i32.load8_u offset=4 (local.get $at)))
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store8 (i32.const 6) (i32.add (i32.load8_u (i32.const 6)) (i32.const 1)))
    (if (i32.ne (i32.load8_u (i32.const 6)) (global.get $count)) (then (unreachable)))
    (i32.store8 (i32.const 3) (i32.const 0))
    (if (i32.eq (local.get $kind) (i32.const 1))
      (then (i32.store8 (i32.const 3) (i32.load8_u offset=4 (local.get $at))))
      (else
        (if (i32.ne (memory.grow (i32.const 1)) (i32.const 2)) (then (unreachable)))
        (i32.store (i32.const 131072) (i32.const 7))
        (if (i32.ne (table.size $table) (i32.const 1)) (then (unreachable)))
        (if (i32.eq (local.get $asked) (i32.const 0x64))
          (then (table.init $table $some (i32.const 0) (i32.const 0) (i32.const 1)) (elem.drop $some)))
        (if (i32.eq (local.get $asked) (i32.const 0x74)) (then (drop (table.grow $table (ref.null func) (i32.const 1)))))
        (if (i32.eq (local.get $asked) (i32.const 0x78)) (then (unreachable)))
        (if (i32.eq (local.get $asked) (i32.const 0x6c)) (then (loop $ever (br $ever))))))
    (i32.store8 (i32.const 2) (i32.const 1))
    (i64.const 0x7)))"#;

#[test]
fn what_a_query_writes_is_gone_with_it() {
    let place = place_in_memory();
    let (machine, program) = (place.path().join("m"), place.path().join("writer.wat"));
    fs::write(&program, WRITER).unwrap();
    boot(&machine, &program, &[]);
    let life = Life::up(&machine);
    let mut talk = Talk::with(&machine).unwrap();
    let said = |text: &str| Answer::Said(text.to_owned());
    for count in 1..=3 {
        assert_eq!(talk.say("", "m").unwrap(), said(&count.to_string()));
        let before = (status(&machine)["end"].clone(), root(&machine));
        for asked in ["q", "x", "d", "t", "q", "d", "q"].iter().cycle().take(70) {
            match (*asked, talk.peek(asked).unwrap()) {
                ("x", Answer::Refused(code, text)) => {
                    assert!(code == 2 && text.contains("unreachable"), "{code} {text}");
                }
                (_, answer) => assert_eq!(answer, said(&(count + 1).to_string()), "{asked}"),
            }
        }
        assert_eq!((status(&machine)["end"].clone(), root(&machine)), before, "asking has changed the machine");
    }
    assert_eq!(talk.say("", "m").unwrap(), said("4"));
    let _ = life.stop();
    verify(&machine);
}

#[test]
fn a_query_that_never_ends_is_stopped_and_others_go_on() {
    let place = place_in_memory();
    let (machine, program) = (place.path().join("m"), place.path().join("writer.wat"));
    fs::write(&program, WRITER).unwrap();
    boot(&machine, &program, &[]);
    let life = Life::up(&machine);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let runaway = scope.spawn(|| {
            let answer = Talk::with(&machine).unwrap().peek("l").unwrap();
            is_over.store(true, Ordering::Release);
            answer
        });
        let mut talk = Talk::with(&machine).unwrap();
        let mut beside = 0;
        for count in 1..=8 {
            assert_eq!(talk.say("", "m").unwrap(), Answer::Said(count.to_string()));
            assert_eq!(talk.peek("q").unwrap(), Answer::Said((count + 1).to_string()));
            beside += u32::from(!is_over.load(Ordering::Acquire));
        }
        let has_cores = thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        assert!(beside > 0 || !has_cores, "everybody waited for the one that never ended");
        let Answer::Refused(code, text) = runaway.join().unwrap() else { panic!("it has ended") };
        assert!(code == 2 && text.contains("more than 1000 ms of CPU time"), "{code} {text}");
    });
    // A machine that is stopped does not wait for one that still runs.
    let mut talk = Talk::with(&machine).unwrap();
    assert_eq!(talk.peek("q").unwrap(), Answer::Said("9".to_owned()));
    let _ = life.stop();
    verify(&machine);
}

/// A memory that is too large to be restored as a whole: a reader gets its pages as they are touched, and those that change while it stands there.
#[test]
fn a_large_machine_is_asked_page_by_page() {
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let text = |version: u64, key: u64| format!("{version} {key} ").repeat(500);
    let mut life = Life::up(&machine);
    let mut talk = life.talk(&machine);
    (0..2000).for_each(|key| drop(talk.ask(&format!("put {key} {}", text(0, key)))));
    let _ = life.stop();
    for run in 1..=2_u64 {
        life = Life::up(&machine);
        talk = life.talk(&machine);
        let mut versions = vec![run - 1; 2000];
        for step in 0..300_u64 {
            let (written, read) = (step * 7919 % 2000, (step * 104_729 + run) % 2000);
            talk.ask(&format!("put {written} {}", text(run, written)));
            versions[usize::try_from(written).unwrap()] = run;
            for key in [written, read] {
                let expected = text(versions[usize::try_from(key).unwrap()], key);
                assert_eq!(talk.peek(&format!("get {key}")).unwrap(), Answer::Said(expected), "run {run}, step {step}");
            }
        }
        assert_eq!(talk.peek("count").unwrap(), Answer::Said("2000".to_owned()));
        // The others are written, too, for the next run to know what there is.
        (0..2000).for_each(|key| drop(talk.ask(&format!("put {key} {}", text(run, key)))));
        if run == 1 {
            let _ = life.kill();
        } else {
            let _ = life.stop();
        }
    }
    verify(&machine);
}

/// Becomes the program in a message, and answers queries with a letter.
fn letter(letter: char) -> String {
    let text = r#"(module
  (memory (export "memory") 100)
  (data (i32.const 0) "\81\84\01\00\00\41LETTER")
  (data (i32.const 16) "\80")
  (data (i32.const 32) "\81\83\05")
  (func (export "abide_alloc") (param i32) (result i32) (i32.const 65536))
  (func (export "abide_step") (param $at i32) (param $length i32) (result i64)
    (local $kind i32)
    (local.set $kind (i32.load8_u offset=1 (local.get $at)))
    (if (i32.eq (local.get $kind) (i32.const 7)) (then (return (i64.const 7))))
    (if (i32.ne (local.get $kind) (i32.const 1)) (then (return (i64.const 0x1000000001))))
    ;; Of [1, 0, "", reply, seed] the seed: [[5, seed, ""]].
    (memory.copy (i32.const 35) (i32.add (local.get $at) (i32.const 5)) (i32.sub (local.get $length) (i32.const 5)))
    (i32.store8 (i32.add (local.get $length) (i32.const 30)) (i32.const 0x40))
    (i64.or (i64.const 0x2000000000) (i64.extend_i32_u (i32.sub (local.get $length) (i32.const 1))))))"#;
    text.replace("LETTER", &letter.to_string())
}

#[test]
fn a_machine_that_becomes_another_answers_as_that() {
    let place = place_in_memory();
    let machine = place.path().join("m");
    let at = |name: &str| place.path().join(name);
    for name in ['A', 'B', 'C'] {
        let (program, seed) = (at(&format!("{name}.wat")), at(&format!("{name}.seed")));
        fs::write(&program, letter(name)).unwrap();
        let _ = run(["save".as_ref(), seed.as_os_str(), program.as_os_str()]).ok();
    }
    boot(&machine, &at("A.seed"), &[]);
    let life = Life::up(&machine);
    for (before, after) in [("A", "B"), ("B", "C"), ("C", "A")] {
        assert_eq!(peek(&machine, "", &[]).ok().trim(), before);
        let seed = fs::read(at(&format!("{after}.seed"))).unwrap();
        // Nobody is answered: what was asked is that it be another.
        let mut sending = abide(["send".as_ref(), machine.as_os_str(), "-".as_ref()]);
        let mut sending = sending.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sending.stdin.take().unwrap().write_all(&seed).unwrap();
        wait_until(|| peek(&machine, "", &[]).ok().trim() == after);
        sending.kill().unwrap();
        let _ = sending.wait();
    }
    let _ = life.stop();
    assert_eq!(peek(&machine, "", &[]).ok().trim(), "A");
    verify(&machine);
}

/// A machine that breaks the rule for queries: it answers a message, and to a query puts out what a query must not.
const UNRULY: &str = r#"(module
  (memory (export "memory") 2)
  (data (i32.const 0) "\80")
  ;; [[6, "no"]]
  (data (i32.const 16) "\81\82\06\62no")
  (func (export "abide_alloc") (param i32) (result i32) (i32.const 65536))
  (func (export "abide_step") (param $at i32) (param i32) (result i64)
    (if (i32.eq (i32.load8_u offset=1 (local.get $at)) (i32.const 7))
      (then (if (i32.eq (i32.load8_u offset=3 (local.get $at)) (i32.const 0x41)) (then unreachable))
            (return (i64.const 0x1000000006))))
    (i64.const 1)))"#;

#[test]
fn a_machine_that_does_not_answer_queries_is_told_apart() {
    let place = place_in_memory();
    let (machine, program) = (place.path().join("m"), place.path().join("unruly.wat"));
    fs::write(&program, UNRULY).unwrap();
    boot(&machine, &program, &[]);
    let told = peek(&machine, "", &[]).fails(1);
    assert!(told.contains("does not answer queries as docs/abi.md says: it puts out Trace"), "{told}");
    let told = peek(&machine, "x", &[]).fails(1);
    assert!(told.contains("it is aborted") && told.contains("unreachable"), "{told}");
}
