//! `abide query`: what a machine says now, and would have said after each of its records, and that asking leaves nothing behind.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::thread;

use tests::abide::{Life, Ran, Talk, boot, example, log, place_in_memory, root, run, send};

fn query(machine: &Path, question: &str, more: &[&str]) -> Ran {
    let mut args = vec!["query".as_ref(), machine.as_os_str(), question.as_ref()];
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
        let found = query(&machine, "list", &["--at", &record["seq"].to_string()]).ok();
        assert_eq!(found.trim(), expected.join("\n"), "after {record}");
    }
    assert_eq!(notes.len(), 7);
    assert!(query(&machine, "del a", &[]).fails(1).contains("a query changes nothing"));
    assert_eq!(query(&machine, "count", &["--json"]).json()["parts"][0]["text"], "7");
    assert!((root(&machine), fs::read(machine.join("data.mdb")).unwrap()) == before, "asking has changed the machine");
    let unborn = query(&machine, "list", &["--at", "0"]).fails(1);
    assert!(unborn.contains("at this point the machine has not booted"), "{unborn}");
    let none = query(&machine, "list", &["--at", &records.len().to_string()]).fails(1);
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
        assert_eq!(query(&machine, "get milk", &[]).ok().trim(), number.to_string());
    }
    assert!(query(&machine, "put milk none", &[]).fails(1).contains("refused"));
    assert_eq!(talk.ask("get milk"), "4");
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
    let told = query(&machine, "", &[]).fails(1);
    assert!(told.contains("does not answer queries as docs/abi.md says: it puts out Trace"), "{told}");
    let told = query(&machine, "x", &[]).fails(1);
    assert!(told.contains("it is aborted") && told.contains("unreachable"), "{told}");
}
