//! What a machine begins with, and what it does not begin with.

use kernel::{Genesis, Kernel, Source};
use lang::seedfile;
use lang::session::Session;
use seed::ReplyId;
use seed::message::{Input, Output};

use crate::common::*;

#[test]
fn a_program_boots_and_is_told_so() {
    let source = "(def start 5)
        (def (main self input)
          (case (idx 0 input)
            \"boot\" [(inc self) [[\"trace\" (idx 1 (idx 1 (idx 1 input)))]]]
            _ [self [[\"answer\" (idx 3 input) 0 (show-nat self)]]]))";
    let (mut kernel, outputs) = booted(&text(source));
    assert_eq!(rest(&mut kernel, outputs), [trace("console")]);
    assert_eq!(tell(&mut kernel, 0, 1, b"hello"), [answer(1, b"6")]);
}

#[test]
fn a_program_is_told_what_another_one_handed_over() {
    let source = "(def start 0) (def (main self input) [input []])";
    let mut kernel = Kernel::with_limits(limits());
    let genesis = text(source).encode();
    let outputs = give(&mut kernel, &Input::Boot { genesis, grants: grants(), handover: Some(b"bag".to_vec()) });
    rest(&mut kernel, outputs);
    assert_eq!(eval(&mut kernel, "[(idx 0 self) (idx 2 self)]"), "[\"boot\" \"bag\"]");
}

#[test]
fn files_that_are_imported_come_with_the_program() {
    let files = |other: &str| Genesis {
        program: Source::Text(vec![
            (
                "counter.abide".into(),
                "(import \"by\" step) (def start 1) (def (main self input) [(add step self) []])".into(),
            ),
            ("by".into(), other.to_owned()),
        ]),
        budget: 0,
    };
    let (mut kernel, outputs) = booted(&files("(def step 7) (assert-eq step 7)"));
    rest(&mut kernel, outputs);
    assert_eq!(eval(&mut kernel, "[self step]"), "[8 7]");
    let why = refusal(&files("(def step 7) (assert-eq step 8)"));
    assert!(why.contains("counter.abide:1:1: importing by failed") && why.contains("these are not equal"), "{why}");
}

#[test]
fn a_plan_seed_boots() {
    // It answers a message with the payload, and counts.
    let source = "(def (main self input)
        [(inc self) (if (eql (idx 0 input) \"message\") [[\"answer\" (idx 3 input) 0 (idx 4 input)]] [])]) main";
    let mut session = Session::new(limits(), Box::new(|_| Err(String::new()))).unwrap();
    let main = session.run(source).unwrap().values.pop().unwrap();
    let genesis = Genesis { program: Source::Plan(seedfile::write(&main).unwrap()), budget: 0 };
    let (mut kernel, outputs) = booted(&genesis);
    assert_eq!(rest(&mut kernel, outputs), []);
    assert_eq!(tell(&mut kernel, 0, 3, b"echo"), [answer(3, b"echo")]);
    assert_eq!(eval(&mut kernel, "self"), "2");

    let why = refusal(&Genesis { program: Source::Plan(b"no seed".to_vec()), budget: 0 });
    assert!(why.starts_with("the PLAN seed cannot be read"), "{why}");
}

#[test]
fn what_cannot_boot_is_refused_with_the_reason() {
    let why = |source: &str| refusal(&text(source));
    assert!(why("(def start 0").contains("program:1:1: this `(` is never closed"));
    assert!(why("(def start 0) (def (main a b) (nonsense a))").contains("nothing is named `nonsense`"));
    assert!(why("(def start 0)").contains("program defines no `main`"));
    assert!(why("(def (main self input) [self []])").contains("program defines no `start`"));
    assert!(why("(assert 0)").contains("this does not hold"));
    assert!(why("(def start self)").contains("nothing is named `self`"));
    assert!(why("(set! self 1)").contains("there is no machine here"));
    let crash = why("(def start 0) (def (main self input) [(inc (die \"why not\")) []])");
    assert_eq!(crash, "booting failed: it crashed: die \"why not\", in main");
    assert!(why("(def start 0) (def (main self input) 7)").contains("something other than a row"));

    let mut kernel = Kernel::with_limits(limits());
    let input = Input::Boot { genesis: b"nonsense".to_vec(), grants: grants(), handover: None };
    let outputs = give(&mut kernel, &input);
    assert!(matches!(&outputs[..], [Output::Refuse { reply: ReplyId::NONE, text, .. }] if text.contains("genesis")));
    // Nothing lives in it.
    assert_eq!(tell(&mut kernel, 0, 1, b"x"), []);
}

#[test]
fn a_boot_that_never_ends_is_ended() {
    let source = "(def (loop n) (loop (inc n))) (def start (loop 0)) (def (main self input) [self []])";
    let genesis = Genesis { budget: 1_000_000, ..text(source) };
    let mut kernel = Kernel::with_limits(limits());
    let outputs = give(&mut kernel, &boot_input(&genesis));
    let outputs = rest(&mut kernel, outputs);
    assert!(
        matches!(&outputs[..], [Output::Refuse { reply: ReplyId::NONE, text, .. }] if text.contains("1000000 steps")),
        "{outputs:?}"
    );
}
