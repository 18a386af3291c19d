//! What a machine begins with, and what it does not begin with.

use kernel::{Genesis, Kernel, Source};
use lang::seedfile;
use lang::session::Session;
use seed::message::{Input, Output};
use seed::{ReplyId, RequestId};

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

/// What is asked at a port of the kernel's tests, said by a program that was another one before.
fn another() -> Kernel {
    let source = "(def start [])
        (def (main self input)
          (case (idx 0 input)
            \"boot\" [self [[\"answer\" 1 1 (idx 2 input)] [\"ask\" 50 2 \"\"]]]
            \"message\" (case (idx 4 input)
                         \"twice\" [self [[\"answer\" 1 0 \"\"] [\"answer\" 1 0 \"\"]]]
                         \"late\" [self [[\"answer\" 1 0 \"late\"]]]
                         \"cancel\" [self [[\"cancel\" 7]]]
                         \"none\" [self [[\"answer\" 0 0 \"\"]]]
                         \"talk\" [self [[\"answer\" 5 0 \"\"]]]
                         _ [self [[\"answer\" (idx 3 input) 0 \"own\"]]])
            \"answer\" (case (idx 3 input) \"bad\" (inc (die \"bad\")) _ [(snoc self input) []])
            _ [(snoc self input) []]))";
    let mut kernel = Kernel::with_limits(limits());
    let genesis = text(source).encode();
    let outputs = give(&mut kernel, &Input::Boot { genesis, grants: grants(), handover: Some(b"bag".to_vec()) });
    let part = Output::Answer { reply: ReplyId(1), more: true, payload: b"bag".to_vec() };
    assert_eq!(rest(&mut kernel, outputs), [part, ask(50, 2, b"")]);
    kernel
}

#[test]
fn what_was_owed_before_a_become_can_be_answered() {
    let mut kernel = another();
    let not_owed = |reply: u64, owed: u64| {
        refuse(reply, &format!("dealing with a message failed: it answers the reply {owed}, which is not owed"))
    };
    assert_eq!(tell(&mut kernel, 4, 2, b"twice"), [not_owed(2, 1)], "once at most");
    assert_eq!(tell(&mut kernel, 4, 0, b"late"), [answer(1, b"late")]);
    assert_eq!(tell(&mut kernel, 4, 3, b"late"), [not_owed(3, 1)]);
    assert_eq!(tell(&mut kernel, 4, 4, b"own"), [answer(4, b"own")]);
    // What the owner has asked of the kernel is not the program's to answer.
    let text = "(def (loop n) (loop (inc n))) (loop 0)".into();
    let looping = kernel::Command::Eval { text, width: 80, depth: 3 };
    assert_eq!(give(&mut kernel, &message(0, 5, &looping.encode())), [Output::Again]);
    assert_eq!(give(&mut kernel, &message(4, 6, b"talk"))[0], not_owed(6, 5));
    assert_eq!(give(&mut kernel, &Input::Gone { reply: ReplyId(5) }), []);
    assert_eq!(tell(&mut kernel, 4, 7, b"none"), [not_owed(7, 0)]);
    // Who has gone is told of, and has gone.
    assert_eq!(give(&mut kernel, &Input::Gone { reply: ReplyId(30) }), []);
    assert_eq!(give(&mut kernel, &Input::Gone { reply: ReplyId(1) }), []);
    assert_eq!(eval(&mut kernel, "self"), "[[\"gone\" 30]]");
}

#[test]
fn what_was_asked_before_a_become_is_heard_of() {
    let mut kernel = another();
    let answered =
        |request, more, payload: &[u8]| Input::Answer { request: RequestId(request), more, payload: payload.to_vec() };
    assert_eq!(give(&mut kernel, &answered(8, true, b"a")), []);
    assert_eq!(give(&mut kernel, &answered(8, false, b"b")), []);
    assert_eq!(give(&mut kernel, &answered(8, false, b"c")), [], "it was over");
    let cancel = |request| Output::Cancel { request: RequestId(request) };
    assert_eq!(give(&mut kernel, &answered(9, true, b"bad")), [cancel(9)], "as of any stream");
    assert_eq!(tell(&mut kernel, 4, 0, b"cancel"), [cancel(7)]);
    let why = "dealing with a message failed: it cancels the request 7, which is not open";
    assert_eq!(tell(&mut kernel, 4, 2, b"cancel"), [refuse(2, why)]);
    assert_eq!(give(&mut kernel, &answered(7, false, b"d")), []);
    let seen = eval(&mut kernel, "(map (fn (input) [(idx 0 input) (idx 1 input)]) self)");
    assert_eq!(seen, "[[\"answer\" 8] [\"answer\" 8] [\"broken\" 9]]");
    // A program that took no other one's place hears of nothing that it has not asked for.
    let mut kernel = self::kernel("(def start 0) (def (main self input) [(inc self) []])");
    give(&mut kernel, &answered(8, false, b"a"));
    assert_eq!(eval(&mut kernel, "self"), "1");
}
