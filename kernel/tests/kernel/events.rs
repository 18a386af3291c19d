//! Events: what the program is told, what it may want, and what becomes of it when it fails.

use seed::message::{Code, Input, Output};
use seed::{PortId, ReplyId, RequestId};

use crate::common::*;

/// A program that keeps what it is told, and does what the payload of a message says, as forms of the test.
fn program(cases: &str) -> String {
    format!(
        "(def start [])
         (def (done self input outputs) [(snoc self input) outputs])
         (def (main self input)
           (let (kind (idx 0 input) reply (idx 3 input) payload (idx 4 input))
             (case kind
               \"message\" (case payload {cases} _ (done self input []))
               \"query\" [self [[\"answer\" 0 0 (show-nat (len self))]]]
               _ (done self input []))))"
    )
}

#[test]
fn every_input_is_a_row() {
    let mut kernel = kernel(&program("\"ask\" (done self input [[\"ask\" 5 2 \"when\"] [\"ask\" 6 2 \"x\"]])"));
    assert_eq!(tell(&mut kernel, 4, 0, b"ask"), [ask(5, 2, b"when"), ask(6, 2, b"x")]);
    give(&mut kernel, &Input::Answer { request: RequestId(5), more: true, payload: b"a".to_vec() });
    give(&mut kernel, &Input::Answer { request: RequestId(5), more: false, payload: b"b".to_vec() });
    give(&mut kernel, &Input::Broken { request: RequestId(6), code: Code(7), text: "closed".into() });
    tell(&mut kernel, 4, 9, b"wait");
    give(&mut kernel, &Input::Gone { reply: ReplyId(9) });
    give(&mut kernel, &Input::Grants { grants: vec![seed::image::Grant { port: PortId(9), name: "http".into() }] });
    let seen = eval(&mut kernel, "self");
    let seen = seen.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        seen,
        "[[\"boot\" [[0 \"owner\"] [1 \"console\"] [2 \"clock\"]]] [\"message\" 4 \"me\" 0 \"ask\"] [\"answer\" 5 1 \"a\"] \
         [\"answer\" 5 0 \"b\"] [\"broken\" 6 7 \"closed\"] [\"message\" 4 \"me\" 9 \"wait\"] [\"gone\" 9] \
         [\"grants\" [[9 \"http\"]]]]"
    );
    assert_eq!(query(&mut kernel, b"how many"), answer(0, b"8"));
}

#[test]
fn every_output() {
    let mut kernel = kernel(&program(
        "\"all\" (done self input [[\"ask\" 0 1 \"line\"] [\"ask\" 1 2 \"t\"] [\"answer\" reply 1 \"part\"] [\"answer\" reply 0 #x\"ff\"]
                 [\"cancel\" 1] [\"trace\" \"seen\"] [\"become\" \"seed\" \"bag\"]])
         \"no\" (done self input [[\"refuse\" reply 99 \"because\"]])",
    ));
    let part = Output::Answer { reply: ReplyId(3), more: true, payload: b"part".to_vec() };
    let r#become = Output::Become { seed: b"seed".to_vec(), handover: b"bag".to_vec() };
    let expected = [
        ask(0, 1, b"line"),
        ask(1, 2, b"t"),
        part,
        answer(3, b"\xff"),
        Output::Cancel { request: RequestId(1) },
        trace("seen"),
        r#become,
    ];
    assert_eq!(tell(&mut kernel, 0, 3, b"all"), expected);
    let refused = Output::Refuse { reply: ReplyId(4), code: Code(99), text: "because".into() };
    assert_eq!(tell(&mut kernel, 0, 4, b"no"), [refused]);
}

#[test]
fn an_event_that_fails_has_not_been() {
    let mut kernel = kernel(&program(
        "\"crash\" (let (worse (fn (day) (inc (die day)))) (inc (worse \"a bad day\")))
         \"late\" [(snoc self (die \"in self\")) [[\"answer\" reply 0 \"\"]]]
         \"half\" (done self input [[\"answer\" reply 0 \"fine\"] [\"trace\" (die 'x)]])
         \"unknown\" (done self input [[\"sing\" 1]])
         \"number\" (done self input [[\"ask\" \"one\" 2 \"\"]])
         \"payload\" (done self input [[\"answer\" reply 0 7]])
         \"text\" (done self input [[\"trace\" #x\"ff\"]])
         \"norow\" (done self input 7)
         \"nopair\" [1 2 3]
         \"twice\" (done self input [[\"answer\" reply 0 \"\"] [\"answer\" reply 0 \"\"]])
         \"theirs\" (done self input [[\"answer\" 1000 0 \"\"]])
         \"cancel\" (done self input [[\"cancel\" 1000]])
         \"open\" (done self input [[\"ask\" 1 2 \"\"] [\"ask\" 1 2 \"\"]])
         \"after\" (done self input [[\"become\" \"\" \"\"] [\"trace\" \"\"]])
         \"cycle\" (let (x [x]) [x []])
         \"deep\" (let (deep (fn deep (n) (inc (deep (inc n))))) (done self (deep 0) []))
         \"wide\" (let (wide (fn wide (n row) (wide (inc n) [n row row n n n]))) (done self (wide 0 0) []))",
    ));
    let expected = [
        ("crash", "it crashed: die \"a bad day\", in worse"),
        ("late", "it crashed: die \"in self\""),
        ("half", "it crashed: die 'x"),
        ("unknown", "output 0 of main is none of [\"ask\" request port payload]"),
        ("number", "part 1 of output 0 of main is not a number below 2^64"),
        ("payload", "part 3 of output 0 of main is not bytes"),
        ("text", "part 1 of output 0 of main is not text"),
        ("norow", "main gave outputs that are no row"),
        ("nopair", "main gave something other than a row of the new self and a row of outputs"),
        ("twice", "it answers the reply 20, which is not owed"),
        ("theirs", "it answers the reply 1000, which is not owed"),
        ("cancel", "it cancels the request 1000, which is not open"),
        ("open", "it asks under the number 1, which is that of an open request"),
        ("after", "main gave an output after a \"become\""),
        ("cycle", "a value contains itself"),
        ("deep", "the evaluation is deeper than it may be"),
        ("wide", "the values take more memory than they may"),
    ];
    for (payload, why) in expected {
        let outputs = tell(&mut kernel, 0, 20, payload.as_bytes());
        match &outputs[..] {
            [Output::Refuse { reply: ReplyId(20), code: Code(64), text }] => {
                let found = text.strip_prefix("dealing with a message failed: ").unwrap_or(text);
                let why = why.replace("die 'x", "die 120");
                assert!(
                    found.starts_with(&why) || found.starts_with(&why.replace("die 120", "die 'x")),
                    "{payload}: {text}"
                );
            }
            other => panic!("{payload}: {other:?}"),
        }
        // Without an asker, it is told all the same.
        let outputs = tell(&mut kernel, 0, 0, payload.as_bytes());
        if !["twice", "half", "payload"].contains(&payload) {
            assert!(matches!(&outputs[..], [Output::Trace { .. }]), "{payload}: {outputs:?}");
        }
        assert_eq!(query(&mut kernel, b""), answer(0, b"1"), "{payload}: the old self is there");
    }
}

#[test]
fn a_failed_answer_is_a_broken_request() {
    let source = "(def start [])
        (def (main self input)
          (case (idx 0 input)
            \"message\" [self [[\"ask\" 1 2 \"\"]]]
            \"answer\" (die 'answer)
            \"broken\" [(snoc self [(idx 1 input) (idx 2 input)]) []]
            _ [self []]))";
    let mut kernel = kernel(source);
    tell(&mut kernel, 0, 0, b"");
    let outputs = give(&mut kernel, &Input::Answer { request: RequestId(1), more: true, payload: vec![] });
    // The host would send more of it.
    assert_eq!(rest(&mut kernel, outputs), [Output::Cancel { request: RequestId(1) }]);
    assert_eq!(eval(&mut kernel, "self"), "[[1 2]]");
    tell(&mut kernel, 0, 0, b"");
    let outputs = give(&mut kernel, &Input::Answer { request: RequestId(1), more: false, payload: vec![] });
    assert_eq!(rest(&mut kernel, outputs), []);
    assert_eq!(eval(&mut kernel, "self"), "[[1 2] [1 2]]");
    // Answers to nothing are no events.
    let outputs = give(&mut kernel, &Input::Answer { request: RequestId(1), more: false, payload: vec![] });
    assert_eq!(outputs, []);
}

#[test]
fn a_query_changes_nothing_and_answers_once() {
    let source = "(def start 7)
        (def (main self input)
          (case (idx 0 input)
            \"query\" (case (idx 2 input)
                       \"self\" [100 [[\"answer\" 0 0 (show-nat self)]]]
                       \"no\" [0 [[\"refuse\" 0 70 \"no\"]]]
                       \"two\" [0 [[\"answer\" 0 0 \"\"] [\"answer\" 0 0 \"\"]]]
                       \"ask\" [0 [[\"ask\" 1 1 \"\"]]]
                       \"more\" [0 [[\"answer\" 0 1 \"\"]]]
                       _ [0 (inc (die (idx 2 input)))])
            _ [self []]))";
    let mut kernel = kernel(source);
    assert_eq!(query(&mut kernel, b"self"), answer(0, b"7"));
    assert_eq!(query(&mut kernel, b"no"), Output::Refuse { reply: ReplyId(0), code: Code(70), text: "no".into() });
    for payload in ["two", "ask", "more"] {
        let why = "answering a query failed: main gave something other than one [\"answer\" 0 0 payload]";
        assert_eq!(query(&mut kernel, payload.as_bytes()), refuse(0, why), "{payload}");
    }
    assert_eq!(query(&mut kernel, b"x"), refuse(0, "answering a query failed: it crashed: die \"x\", in main"));
    assert_eq!(query(&mut kernel, b"self"), answer(0, b"7"));
}
