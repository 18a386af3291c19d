//! `abide query`: what a machine says now, and would have said after each of its records, and that asking leaves nothing behind.

use std::fs;

use tests::abide::{Life, boot, example, log, place_in_memory, root, run, send};

fn query(machine: &std::path::Path, question: &str, more: &[&str]) -> tests::abide::Ran {
    let mut args = vec!["query".as_ref(), machine.as_os_str(), question.as_ref()];
    args.extend(more.iter().map(|text| std::ffi::OsStr::new(*text)));
    run(args)
}

#[test]
fn a_machine_is_asked_as_it_stood_after_each_record() {
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("sqlite/sqlite.wasm"), &[]);
    send(&machine, "create table t (a)");
    for number in 1..4 {
        send(&machine, &format!("insert into t values ({number})"));
    }
    // Several records in one batch.
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    for number in 4..9 {
        talk.ask(&format!("insert into t values ({number})"));
    }
    drop(talk);
    drop(life.stop());
    let records = log(&machine, 0);
    let before = (root(&machine), fs::read(machine.join("data.mdb")).unwrap().len());
    let (mut inserted, mut is_made) = (0, false);
    for record in &records {
        let payload = record["input"]["payload"].to_string();
        is_made |= payload.contains("create");
        inserted += i32::from(payload.contains("insert"));
        let seq = record["seq"].to_string();
        let found = query(&machine, "select count(*) from t", &["--at", &seq]);
        if is_made {
            assert_eq!(found.ok().trim(), inserted.to_string(), "after seq {seq}");
        } else if record["seq"].as_u64() > Some(0) {
            assert!(found.fails(1).contains("no such table: t"), "after seq {seq}");
        }
    }
    assert_eq!(inserted, 8);
    assert!(query(&machine, "delete from t", &[]).fails(1).contains("a query changes nothing"));
    assert_eq!(query(&machine, "select count(*) from t", &["--json"]).json()["parts"][0]["text"], "8");
    assert_eq!(log(&machine, 0).len(), records.len());
    assert_eq!((root(&machine), fs::read(machine.join("data.mdb")).unwrap().len()), before);
    let none = query(&machine, "select 1", &["--at", &records.len().to_string()]).fails(1);
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
