//! What runs long or deep, is interrupted, or never ends.

use lang::eval::{CrashValue, Depth, Limit, Limits, Machine, Progress};
use lang::{Nat, Value};

use crate::basics::{evaluate, limits, machine};
use crate::programs::Dice;
use crate::reader::Library;

fn library(more: &str) -> Library {
    let mut library = Library::new();
    library.define(more);
    library
}

fn call(library: &Library, name: &str, args: &[u64]) -> Value {
    Value::app(library.get(name), args.iter().copied().map(Value::word).collect())
}

/// Runs to the end, and gives the value and the machine.
fn run(library: &Library, program: &Value, limits: Limits) -> (Value, Machine) {
    let mut machine = machine(library, true, limits);
    let value = evaluate(&mut machine, program, u64::MAX).unwrap().unwrap();
    (value, machine)
}

#[test]
fn a_million_deep() {
    let library = library(
        "
        count n = (if n (inc (count (dec n))) 0)
        list n = (if n [n (list (dec n))] 0)
        sum l = (if (is-app l) (add (idx 0 l) (sum (idx 1 l))) 0)
        both n = (sum (list n))
        nest n = (if n [(nest (dec n))] 7)
        add1 f x = (inc (f x))
        later n f = (if n (later (dec n) (add1 f)) (f 0))
        lazyadd n x = (if n (lazyadd (dec n) (id (inc x))) x)
        ",
    );
    assert_eq!(run(&library, &call(&library, "count", &[1_000_000]), limits()).0, Value::word(1_000_000));
    assert_eq!(run(&library, &call(&library, "both", &[1_000_000]), limits()).0, Value::word(500_000_500_000));
    // Thunks of thunks; functions of functions.
    assert_eq!(run(&library, &call(&library, "lazyadd", &[1_000_000, 5]), limits()).0, Value::word(1_000_005));
    let later = Value::app(library.get("later"), vec![Value::word(1_000_000), library.get("id")]);
    assert_eq!(run(&library, &later, limits()).0, Value::word(1_000_000));
    // A value of a million levels is normalised, given out, taken in again, and compared.
    let (deep, mut machine) = run(&library, &call(&library, "nest", &[1_000_000]), limits());
    let root = machine.load(&deep);
    assert_eq!(machine.read(root).unwrap(), deep);
}

#[test]
fn a_loop_of_ten_million_takes_no_room() {
    let library = library(
        "
        loop n acc = (if n (loop (sub n 1) (add acc n)) acc)
        pong f n = (f f (dec n))
        ping f n = (if n (pong f n) 0)
        state f n s = (if n (seq (len s) (f f (dec n) [(idx 1 s) n])) s)
        ",
    );
    let small = Limits { heap_words: 64 << 10, stack_words: 4 << 10, nursery_words: 4 << 10, stress: false };
    let (sum, machine) = run(&library, &call(&library, "loop", &[10_000_000, 0]), small.clone());
    assert_eq!(sum, Value::word(50_000_005_000_000));
    assert!(machine.usage().steps >= 30_000_000);
    let ping = Value::app(library.get("ping"), vec![library.get("ping"), Value::word(1_000_000)]);
    assert_eq!(run(&library, &ping, small.clone()).0, Value::word(0));
    let state = vec![library.get("state"), Value::word(300_000), Value::row(vec![Value::word(0), Value::word(1)])];
    let (row, _) = run(&library, &Value::app(library.get("state"), state), small);
    assert_eq!(row, Value::row(vec![Value::word(2), Value::word(1)]));
}

/// A list that is made while it is taken apart is never there as a whole.
#[test]
fn what_has_been_used_is_forgotten() {
    let library = library(
        "
        range a b = (if (lth a b) [a (range (inc a) b)] 0)
        sum acc l = (if (is-app l) (sum (add acc (idx 0 l)) (idx 1 l)) acc)
        main n = (inc (sum 0 (range 0 n)))
        shared n = (let l (range 0 n) (add (sum 0 l) 1))
        ",
    );
    let small = Limits { heap_words: 96 << 10, stack_words: 4 << 10, nursery_words: 4 << 10, stress: false };
    for name in ["main", "shared"] {
        let (sum, _) = run(&library, &call(&library, name, &[300_000]), small.clone());
        assert_eq!(sum, Value::word(44_999_850_001), "{name}");
    }
}

#[test]
fn circles() {
    let library = library(
        "
        ones n = (let l [n l] (idx 0 (idx 1 (idx 1 l))))
        even n = (let e [n o] (let o [(inc n) e] (idx 0 (idx 1 (idx 1 (idx 1 e))))))
        itself n = (let x (inc x) x)
        alias n = (let x y (let y x x))
        endless n = (let l [n l] l)
        many n = (if n (seq (ones n) (many (dec n))) 0)
        ",
    );
    assert_eq!(run(&library, &call(&library, "ones", &[5]), limits()).0, Value::word(5));
    assert_eq!(run(&library, &call(&library, "even", &[5]), limits()).0, Value::word(6));
    let mut machine = machine(&library, true, limits());
    let mut crash = |name| evaluate(&mut machine, &call(&library, name, &[5]), u64::MAX).unwrap().unwrap_err();
    assert_eq!(crash("itself"), CrashValue::NeedsItself);
    assert_eq!(crash("alias"), CrashValue::NeedsItself);
    assert_eq!(crash("endless"), CrashValue::ContainsItself);
    // Circles are garbage like any other.
    let small = Limits { heap_words: 32 << 10, stack_words: 4 << 10, nursery_words: 2 << 10, stress: false };
    assert_eq!(run(&library, &call(&library, "many", &[100_000]), small).0, Value::word(0));
}

#[test]
fn crashes() {
    let library = library(
        "
        boom x = (7 [x (inc x)])
        deep n = (if n (inc (deep (dec n))) (boom 3))
        twice x = (let b (boom x) [b b])
        ",
    );
    let mut machine = machine(&library, true, limits());
    let said = Value::row(vec![Value::word(3), Value::word(4)]);
    let root = machine.load(&call(&library, "deep", &[5]));
    machine.start(root, Depth::Normal);
    let Progress::Crashed(crashed) = machine.run(1_000_000) else { panic!("it crashes") };
    assert_eq!(crashed.crash, CrashValue::Operation(Nat::word(7), said.clone()));
    let names: Vec<String> = crashed.trace.iter().map(|name| String::from_utf8(name.to_bytes_le()).unwrap()).collect();
    assert_eq!(names, ["deep"; 5], "the innermost was left for boom, and that for its crash");
    // Evaluated again, it crashes again, whatever was under way.
    machine.start(root, Depth::Normal);
    let Progress::Crashed(again) = machine.run(1_000_000) else { panic!("it crashes") };
    assert_eq!(again.crash, crashed.crash);
    let twice = evaluate(&mut machine, &call(&library, "twice", &[3]), 1_000_000).unwrap();
    assert_eq!(twice, Err(CrashValue::Operation(Nat::word(7), said)));
    let big = Value::app(library.get("id"), vec![Value::word(0)]);
    assert_eq!(evaluate(&mut machine, &big, 10), Some(Ok(Value::word(0))));
}

/// A loop that is deeper than it may be is stopped and can go on with a deeper stack, as can one that needs more memory.
#[test]
fn limits_stop_and_leave_all_as_it_was() {
    let library = library(
        "
        count n = (if n (inc (count (dec n))) 0)
        forever n = (forever n)
        list n = (if n [n (list (dec n))] 0)
        hold n = (let l (list n) (seq (4 l) (idx 0 l)))
        ",
    );
    let tight = Limits { stack_words: 20_000, heap_words: 200_000, ..Limits::default() };
    let mut machine = machine(&library, true, tight);
    let deep = machine.load(&call(&library, "count", &[100_000]));
    machine.start(deep, Depth::Normal);
    assert!(matches!(machine.run(u64::MAX), Progress::Stopped(Limit::Stack, _)));
    let large = machine.load(&call(&library, "hold", &[1_000_000]));
    machine.start(large, Depth::Normal);
    let stopped = machine.run(u64::MAX);
    assert!(matches!(stopped, Progress::Stopped(Limit::Heap | Limit::Stack, _)), "{stopped:?}");
    // What is small is still evaluated, among it what was begun by what was stopped.
    let small = call(&library, "count", &[1000]);
    assert_eq!(evaluate(&mut machine, &small, u64::MAX), Some(Ok(Value::word(1000))));
    assert_eq!(evaluate(&mut machine, &call(&library, "forever", &[1]), 100_000), None);
    assert!(machine.is_busy());
    assert!(machine.pause().is_some());
    assert!(!machine.is_busy());
}

const MIXED: &str = "
    fib n = (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2))))
    list n = (if n [(fib n) (list (dec n))] 0)
    main n = (let l (list n) (let p (4 l) [p (eql l l) (map inc [1 (fib n)]) (add (fib n) (idx 0 l))]))
";

/// Stopped after every so many steps, it gives what it would have given.
#[test]
fn interrupted_at_every_step() {
    let library = library(MIXED);
    let program = call(&library, "main", &[6]);
    let (expected, whole) = run(&library, &program, limits());
    let total = whole.usage().steps;
    assert!(total > 300);
    for slice in [1, 2, 3, 7, 50] {
        let mut machine = machine(&library, true, Limits { stress: slice == 3, ..limits() });
        let root = machine.load(&program);
        machine.start(root, Depth::Normal);
        let mut slices = 0;
        let found = loop {
            slices += 1;
            match machine.run(slice) {
                Progress::Done(root) => break machine.read(root).unwrap(),
                Progress::OutOfSteps => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(found, expected);
        assert!(slices > total / (slice * 20), "{slices} slices of {slice}");
    }
}

/// Paused anywhere, and the machine used for something else that shares its parts, it gives what it would have given.
#[test]
fn paused_and_gone_on_with() {
    let library = library(MIXED);
    let program = call(&library, "main", &[6]);
    let (expected, whole) = run(&library, &program, limits());
    for at in (1..whole.usage().steps).step_by(3) {
        let mut machine = machine(&library, true, limits());
        let mut work = machine.load(&program);
        let original = machine.share(work);
        let mut turns = 0;
        let found = loop {
            machine.start(work, Depth::Normal);
            match machine.run(at) {
                Progress::Done(root) => break machine.read(root).unwrap(),
                Progress::OutOfSteps => {
                    let paused = machine.pause().unwrap();
                    machine.collect(turns % 2 == 0);
                    machine.release(work);
                    work = paused;
                    turns += 1;
                    assert!(turns < 10_000);
                }
                other => panic!("{other:?}"),
            }
            // The same thing, begun by somebody else, and left again.
            machine.start(original, Depth::Head);
            machine.run(2);
            if let Some(left) = machine.pause() {
                machine.release(left);
            }
        };
        assert_eq!(found, expected, "stopped every {at}");
    }
}

/// A million events, each of which changes one of a hundred thousand entries and a counter. What is alive stays what it is, and so
/// does the memory that is used.
#[test]
fn a_million_events_in_bounded_memory() {
    let library = library(
        "
        insert k v t = (9 k)
        at k t = (9 k)
        fill n t = (if n (fill (dec n) (insert n 0 t)) t)
        begin t = [0 (fill 100000 t)]
        step s k = (let n (inc (idx 0 s)) (let v (inc (at k (idx 1 s))) (seq n (seq v [n (insert k v (idx 1 s))]))))
        ",
    );
    let mut machine = machine(&library, true, Limits { heap_words: 8 << 20, ..limits() });
    let begin = machine.load(&Value::app(library.get("begin"), vec![Value::tab(vec![]).unwrap()]));
    let step = machine.load(&library.get("step"));
    let mut state = begin;
    let mut dice = Dice(9);
    let mut most = 0;
    for event in 0..1_000_000 {
        let key = machine.load(&Value::word(1 + dice.roll(100_000)));
        let next = machine.apply(step, &[state, key]);
        machine.release(key);
        machine.release(state);
        machine.start(next, Depth::Normal);
        machine.release(next);
        state = match machine.run(10_000_000) {
            Progress::Done(root) => root,
            other => panic!("event {event}: {other:?}"),
        };
        if event == 200_000 {
            most = machine.usage().heap_words;
        }
    }
    let end = machine.usage();
    assert!(end.heap_words <= most + most / 4, "{most} words after 200,000 events, then {}", end.heap_words);
    let Value::App(row) = machine.read(state).unwrap() else { panic!("a row") };
    assert_eq!(row.args()[1], Value::word(1_000_000));
}

/// Bodies that nobody writes: deep, wide, with long chains of lets, of many arguments.
#[test]
fn bodies_of_any_shape() {
    let library = library("");
    let apply = |f, x| Value::app(Value::word(0), vec![f, x]);
    let quote = crate::reader::constant;
    let law = |arity: u64, body| Value::law(Nat::ZERO, Nat::word(arity), body).unwrap();
    let (inc, add, pair) = (quote(library.get("inc")), quote(library.get("add")), quote(Value::cow(2)));
    let mut machine = machine(&library, true, limits());
    let mut run =
        |law: Value, args: Vec<Value>| evaluate(&mut machine, &Value::app(law, args), u64::MAX).unwrap().unwrap();
    let deep = 10_000;

    let strict = |deep| (0..deep).fold(Value::word(1), |body, _| apply(inc.clone(), body));
    assert_eq!(run(law(1, strict(deep)), vec![Value::word(5)]), Value::word(deep + 5));
    let sums = (0..deep).fold(Value::word(1), |body, _| apply(apply(add.clone(), body), Value::word(1)));
    assert_eq!(run(law(1, sums), vec![Value::word(2)]), Value::word(2 * deep + 2));
    let list = (0..deep).fold(Value::word(1), |body, _| apply(apply(pair.clone(), body), Value::word(1)));
    let list = run(law(1, list), vec![Value::word(7)]);
    assert_eq!(list.as_row().unwrap().get(0), Some(&Value::word(7)));
    // Each let is the one before and one more, the last one is asked for; and the other way round.
    for forward in [true, false] {
        let count = 5_000;
        let body = (0..count).rev().fold(Value::word(if forward { count + 1 } else { 2 }), |body, index| {
            let slot = if forward {
                index + 1
            } else if index + 1 == count {
                1
            } else {
                index + 3
            };
            Value::app(Value::word(1), vec![apply(inc.clone(), Value::word(slot)), body])
        });
        assert_eq!(run(law(1, body), vec![Value::word(1)]), Value::word(count + 1));
    }
    let wide = 5000;
    let sum = (2..=wide).fold(Value::word(1), |body, slot| apply(apply(add.clone(), body), Value::word(slot)));
    assert_eq!(run(law(wide, sum), (0..wide).map(|_| Value::word(3)).collect()), Value::word(3 * wide));
    let row = (1..=wide).fold(quote(Value::cow(wide)), |body, slot| apply(body, Value::word(slot)));
    assert_eq!(
        run(law(wide, row), (0..wide).map(Value::word).collect()),
        Value::row((0..wide).rev().map(Value::word).collect())
    );
    // A constructor of more elements than there are; a number larger than there may be.
    let cow = Value::cow(u64::MAX - 1);
    let held = Value::app(cow.clone(), vec![Value::word(1)]);
    assert_eq!(run(law(1, apply(quote(cow), Value::word(1))), vec![Value::word(1)]), held);
    let huge = Value::app(library.get("bex"), vec![Value::word(1 << 40)]);
    assert_eq!(evaluate(&mut machine, &huge, 100), Some(Err(CrashValue::NumberTooLarge)));
    let long = machine.load(&Value::app(law(1, strict(1_000_000)), vec![Value::word(1)]));
    machine.start(long, Depth::Normal);
    assert!(matches!(machine.run(100), Progress::Stopped(Limit::Law, _)));
    let many = Value::app(library.get("gen"), vec![Value::word(1 << 60), library.get("inc")]);
    let root = machine.load(&many);
    machine.start(root, Depth::Normal);
    assert!(matches!(machine.run(100), Progress::Stopped(Limit::Heap, _)));
}
