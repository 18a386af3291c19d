//! What the owner says to the kernel.

use kernel::Command;
use lang::session::Session;
use seed::ReplyId;
use seed::cbor::Value;
use seed::message::{Code, Output};

use crate::common::*;

/// A counter whose self is a table, without functions for tables.
fn counter() -> kernel::Kernel {
    kernel(
        "(def start {'count 41 'step 1})
         (def (values t) (app-last t))
         (def (main self input)
           (if (eql (idx 0 input) \"message\")
             (let (step (idx 0 (values self)) count (add step (idx 1 (values self))))
               [((0 1 2 ['step 'count]) [step count]) [[\"answer\" (idx 3 input) 0 (show-nat count)]]])
             [self []]))",
    )
}

#[test]
fn names_of_self_are_its_entries() {
    let mut kernel = counter();
    assert_eq!(eval(&mut kernel, "count"), "41");
    assert_eq!(eval(&mut kernel, "self"), "{1885697139 1 500069396323 41}");
    assert_eq!(tell(&mut kernel, 0, 1, b"x"), [answer(1, b"42")]);
    assert_eq!(eval(&mut kernel, "[count (add step count)]"), "[42 43]");
    assert_eq!(eval(&mut kernel, "(map (fn (x) (add x count)) [1 2])"), "[43 44]");
    assert_eq!(eval(&mut kernel, "(set! step 10) step"), "10");
    assert_eq!(eval(&mut kernel, "(set! count (mul count 2)) self"), "{1885697139 10 500069396323 84}");
    assert_eq!(tell(&mut kernel, 0, 2, b"x"), [answer(2, b"94")]);
    assert_eq!(eval(&mut kernel, "(set! 'x 1)"), "typed:1:7: this is no name\n1 | (set! 'x 1)\n  |       ^^\n");
    assert!(eval(&mut kernel, "(set! count)").contains("this is not how `set!` is written"));
    assert_eq!(eval(&mut kernel, "(set! new [1 2]) new"), "[1 2]");
    // What is defined is not what is in self.
    assert_eq!(eval(&mut kernel, "(def step 3) step"), "3");
    assert_eq!(eval(&mut kernel, "(set! self 5) self"), "5");
    assert!(eval(&mut kernel, "count").contains("nothing is named `count`"));
    assert!(eval(&mut kernel, "(set! count 1)").contains("self is no table that `count` could be an entry of"));
}

#[test]
fn definitions_persist_and_capture_what_there_is() {
    let mut kernel = counter();
    let (evaluated, _) = eval_with(&mut kernel, "(def a 1) (def (f x) (add x count)) (f a) (f 2)");
    assert_eq!(evaluated, Ok((vec!["42".into(), "43".into()], vec!["a".into(), "f".into()])));
    tell(&mut kernel, 0, 1, b"x");
    // A definition is of the value that there was.
    assert_eq!(eval(&mut kernel, "[(f 1) count]"), "[42 42]");
    let error = eval(&mut kernel, "(def b 2) (die \"oh\") (def c 3)");
    assert!(error.starts_with("typed:1:11: evaluating this failed: it crashed: die \"oh\""), "{error}");
    assert_eq!(eval(&mut kernel, "b"), "2");
    assert!(eval(&mut kernel, "c").contains("nothing is named `c`"));
    assert!(eval(&mut kernel, "(def").contains("never closed"));
}

#[test]
fn main_can_be_replaced() {
    let mut kernel = counter();
    eval(&mut kernel, "(def (main self input) [self [[\"answer\" (idx 3 input) 0 \"new\"]]])");
    assert_eq!(tell(&mut kernel, 0, 1, b"x"), [answer(1, b"new")]);
    assert_eq!(eval(&mut kernel, "count"), "41");

    let load = |files: &[(&str, &str)]| Command::Load {
        files: files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
    };
    let loaded = |outputs: Vec<Output>| match &outputs[..] {
        [Output::Answer { reply: ReplyId(5), payload, .. }] => evaluated(payload),
        other => panic!("{other:?}"),
    };
    eval(&mut kernel, "(def kept 1) (def word \"mine\")");
    let files = [
        ("v2", "(import \"words\" word) (def (main self input) [(app-last self) [[\"answer\" (idx 3 input) 0 word]]])"),
        ("words", "(def word \"theirs\")"),
    ];
    let outputs = tell(&mut kernel, 0, 5, &load(&files).encode());
    assert_eq!(loaded(outputs), Ok((vec![], vec!["main".into()])));
    assert_eq!(tell(&mut kernel, 0, 6, b""), [answer(6, b"theirs")]);
    assert_eq!(eval(&mut kernel, "[self kept]"), "[[1 41] 1]");

    let outputs = tell(&mut kernel, 0, 5, &load(&[("bad", "(def x 1)")]).encode());
    assert!(loaded(outputs).unwrap_err().contains("bad defines no `main`"));
    let outputs = tell(&mut kernel, 0, 5, &load(&[("bad", "(def (main a b) (nothing a))")]).encode());
    assert!(loaded(outputs).unwrap_err().starts_with("bad:1:18: nothing is named `nothing`"));
    assert_eq!(eval(&mut kernel, "[self kept]"), "[[1 41] 1]");
}

#[test]
fn what_can_be_looked_at() {
    let mut kernel = counter();
    let Value::Array(names) = view(&mut kernel, &Command::Names) else { panic!() };
    for name in ["main", "count", "step", "self", "map", "start"] {
        assert!(names.contains(&Value::Text(name.into())), "{name}");
    }
    let text = |value: Value| match value {
        Value::Text(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(text(view(&mut kernel, &Command::Source { name: "values".into() })), "(def (values a) (app-last a))\n");
    assert_eq!(text(view(&mut kernel, &Command::Source { name: "count".into() })), "41\n");
    assert_eq!(query(&mut kernel, &Command::Source { name: "nix".into() }.encode()), refuse(0, "nothing is named nix"));
    assert_eq!(text(view(&mut kernel, &Command::State { width: 80, depth: 5 })), "{1885697139 1 500069396323 41}");
    assert_eq!(view(&mut kernel, &Command::Jobs), Value::Array(vec![]));
    // A query evaluates, too, and leaves no trace in a machine.
    let command = Command::Eval { text: "(add count 1)".into(), width: 80, depth: 5 };
    let Output::Answer { payload, .. } = query(&mut kernel, &command.encode()) else { panic!() };
    assert_eq!(evaluated(&payload), Ok((vec!["42".into()], vec![])));
    // As a message, a view is answered as well.
    let outputs = tell(&mut kernel, 0, 8, &Command::Jobs.encode());
    assert_eq!(outputs, [answer(8, &[0x80])]);
    let outputs = tell(&mut kernel, 0, 8, &[0, 0xff]);
    assert!(matches!(&outputs[..], [Output::Refuse { reply: ReplyId(8), code: Code(6), .. }]), "{outputs:?}");
}

#[test]
fn the_whole_state_is_a_text_that_reads_back() {
    let mut kernel = counter();
    eval(
        &mut kernel,
        "(def (twice f) (fn (x) (f (f x)))) (def values (twice values)) (set! f (twice inc)) (def map 7)",
    );
    let Value::Text(shown) = view(&mut kernel, &Command::Show { depth: 0 }) else { panic!() };
    let mut session = Session::new(limits(), Box::new(|_| Err(String::new()))).unwrap();
    let outcome = session.run(&shown).unwrap_or_else(|error| panic!("{}\n{shown}", error.render("shown", &shown)));
    let names: Vec<&str> = outcome.definitions.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["start", "main", "twice", "values", "map", "self"] {
        assert!(names.contains(&name), "{name} in {shown}");
    }
    assert_eq!(names.last(), Some(&"self"));
    // It says of itself what it said before.
    let mut again = Session::new(limits(), Box::new(|_| Err(String::new()))).unwrap();
    let same = again.run(&shown).unwrap();
    assert_eq!(same.definitions, outcome.definitions);
    assert!(shown.contains("(def self"), "{shown}");

    let Value::Text(brief) = view(&mut kernel, &Command::Show { depth: 1 }) else { panic!() };
    assert!(brief.contains("(def self\n"), "{brief}");
}

#[test]
fn what_is_too_large_to_be_shown_is_shown_in_part() {
    let mut kernel = kernel("(def start 0) (def (main self input) [self []])");
    eval(&mut kernel, "(set! self (gen 300000 (fn (i) [i i])))");
    let shown = eval(&mut kernel, "self");
    assert!(shown.starts_with("[[0 0]\n [1 1]") && shown.ends_with("…]"), "{shown}");
    assert!(eval(&mut kernel, "(def all self)").contains("too large"), "captured");
    assert!(eval(&mut kernel, "(idx 299999 self)").contains("[299999 299999]"));
    let why = "self cannot be shown whole: the value is too large for this: take a part of it";
    assert_eq!(query(&mut kernel, &Command::Show { depth: 0 }.encode()), refuse(0, why));
}
