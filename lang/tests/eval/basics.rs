//! One thing at a time.

use lang::eval::{CrashValue, Depth, JetTable, Limits, Machine, Progress};
use lang::{Nat, Value};

use crate::reader::Library;

/// Small enough for many at once.
pub(crate) fn limits() -> Limits {
    Limits { heap_words: 64 << 20, stack_words: 32 << 20, ..Limits::default() }
}

/// A machine that knows the jets that a library has laws for.
pub(crate) fn machine(library: &Library, jets: bool, limits: Limits) -> Machine {
    let mut table = JetTable::default();
    if jets {
        let names: Vec<&str> = table.names().map(|(name, _)| name).collect();
        for name in names {
            if let Some(Value::Pin(pin)) = library.defined.get(name) {
                assert!(table.bind(name, pin.hash()));
            }
        }
    }
    Machine::new(limits, table).unwrap()
}

/// The normal form of a value, or how it crashed.
pub(crate) fn evaluate(machine: &mut Machine, value: &Value, steps: u64) -> Option<Result<Value, CrashValue>> {
    let root = machine.load(value);
    machine.start(root, Depth::Normal);
    machine.release(root);
    match machine.run(steps) {
        Progress::Done(root) => {
            let value = machine.read(root).unwrap();
            machine.release(root);
            Some(Ok(value))
        }
        Progress::Crashed(crashed) => Some(Err(crashed.crash)),
        Progress::OutOfSteps => None,
        Progress::Stopped(limit, _) => panic!("{limit}"),
    }
}

fn check(definitions: &str, call: &str, args: &[u64], expected: Value) {
    let mut library = Library::new();
    library.define(definitions);
    let value = Value::app(library.get(call), args.iter().copied().map(Value::word).collect());
    for (jets, stress) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut machine = machine(&library, jets, Limits { stress, ..limits() });
        let found = evaluate(&mut machine, &value, 100_000_000).unwrap();
        assert_eq!(found, Ok(expected.clone()), "{definitions} jets {jets} stress {stress}");
    }
}

#[test]
fn arithmetic() {
    check("main x = (mul (add x 4) (sub 10 3))", "main", &[2], Value::word(42));
    check("main x = (div (mul x x) 7)", "main", &[12], Value::word(20));
    check("fib n = (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2))))", "fib", &[12], Value::word(144));
}

#[test]
fn rows_and_lets() {
    check("main x = (let y (add x 1) [x y [y y]])", "main", &[2], {
        let three = Value::word(3);
        Value::row(vec![Value::word(2), three.clone(), Value::row(vec![three.clone(), three])])
    });
    check("pick2 f x = x\n pick r = (1 0 0 pick2 0 r)\n main x = (pick [x 5 6])", "main", &[9], Value::word(9));
}

#[test]
fn names() {
    assert_eq!(Nat::symbol("add").to_word(), Some(0x64_64_61));
}
