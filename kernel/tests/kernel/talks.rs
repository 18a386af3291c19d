//! Evaluations and programs of the owner's that end before they are done, and what stays of them.

use kernel::{Command, Genesis, Kernel};
use seed::ReplyId;
use seed::cbor::Value;
use seed::message::{Input, Output};

use crate::common::*;

const SLOW: &str = "(def (fib n) (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2)))))
    (def (loop n) (loop (inc n)))
    (def start [0])
    (def (main self input)
      (case (idx 0 input)
        \"message\" (case (idx 1 input)
                     4 [self [[\"answer\" (idx 3 input) 0 \"old\"]]]
                     5 [self [[\"answer\" (idx 3 input) 0 (show-nat (fib 27))]]]
                     6 [self [[\"load\" \"key\" (idx 4 input)]]])
        _ [self []]))";

fn load(files: &[(&str, &str)]) -> Vec<u8> {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Command::Load { files: files.collect() }.encode()
}

fn eval_command(text: &str) -> Vec<u8> {
    Command::Eval { text: text.into(), width: 100, depth: 8 }.encode()
}

fn shown(kernel: &mut Kernel) -> String {
    match view(kernel, &Command::Show { depth: 3 }) {
        Value::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

/// What evaluations and loads came to, by their replies.
fn answers(outputs: &[Output]) -> Vec<(u64, Evaluated)> {
    let answers = outputs.iter().filter_map(|output| match output {
        Output::Answer { reply, payload, .. } => Some((reply.0, evaluated(payload))),
        _ => None,
    });
    answers.collect()
}

#[test]
fn an_asker_that_goes_does_not_touch_what_another_one_loads() {
    let mut kernel = kernel(SLOW);
    let program = "(def (fib n) (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2)))))
        (def a (fib 28)) (import \"b\") (def start 0) (def (main self input) [self []])";
    let first = give(&mut kernel, &message(0, 1, &load(&[("p", program), ("b", "(def c 1)")])));
    assert_eq!(first, [Output::Again]);
    give(&mut kernel, &message(0, 2, &eval_command("2")));
    let outputs = give(&mut kernel, &Input::Gone { reply: ReplyId(2) });
    let outputs = rest(&mut kernel, outputs);
    let names = ["fib", "a", "start", "main"].map(str::to_owned).to_vec();
    assert_eq!(answers(&outputs), [(1, Ok((vec![], names)))]);
    // Its files are those of the program from then on.
    assert_eq!(eval(&mut kernel, "(import \"b\") c"), "1");
}

#[test]
fn a_program_that_is_not_taken_leaves_no_files() {
    let mut kernel = kernel(SLOW);
    let has_stray = |kernel: &mut Kernel| eval(kernel, "(import \"other\") stray") == "1";
    for program in ["(def a 1) (die 0)", "(def", "(def a 1)", "(import \"other\") (die 0)", "(import \"nowhere\")"] {
        let files = [("p", program), ("other", "(def stray 1)")];
        let outputs = tell(&mut kernel, 0, 1, &load(&files));
        assert!(matches!(&answers(&outputs)[..], [(1, Err(_))]), "{program}: {outputs:?}");
        assert!(!has_stray(&mut kernel), "{program}");
    }
    // Nor does one whose asker goes.
    let program = "(import \"other\") (def (loop n) (loop (inc n))) (def x (loop 0))";
    let outputs = give(&mut kernel, &message(0, 1, &load(&[("p", program), ("other", "(def stray 1)")])));
    assert_eq!(outputs, [Output::Again]);
    assert_eq!(give(&mut kernel, &Input::Gone { reply: ReplyId(1) }), []);
    assert!(!has_stray(&mut kernel));
}

/// Whether a name, and another `main`, are defined in every way.
fn assert_defined(kernel: &mut Kernel, name: &str) {
    assert_eq!(eval(kernel, name), "5");
    let text = shown(kernel);
    assert!(text.contains(&format!("(def {name} 5)")) && text.contains("\"new\""), "{text}");
    // What was defined at the prompt stays when a program is loaded.
    let outputs = tell(kernel, 0, 9, &load(&[("p", SLOW)]));
    assert!(answers(&outputs)[0].1.is_ok());
    assert_eq!(eval(kernel, name), "5");
}

const DEFINES: &str = "(def x 5) (def (main self input) [self [[\"answer\" (idx 3 input) 0 \"new\"]]])";

#[test]
fn what_was_defined_before_the_asker_went_is_defined() {
    let mut kernel = kernel(SLOW);
    let text = format!("{DEFINES} (loop 0)");
    assert_eq!(give(&mut kernel, &message(0, 1, &eval_command(&text))), [Output::Again]);
    assert_eq!(give(&mut kernel, &Input::Gone { reply: ReplyId(1) }), []);
    assert_eq!(tell(&mut kernel, 4, 2, b""), [answer(2, b"new")]);
    assert_defined(&mut kernel, "x");
}

#[test]
fn what_was_defined_before_the_budget_ran_out_is_defined() {
    for end in ["(loop 0)", "(die 0)", "(nothing)"] {
        let (mut kernel, outputs) = booted(&Genesis { budget: 3_000_000, ..text(SLOW) });
        rest(&mut kernel, outputs);
        assert!(eval_with(&mut kernel, &format!("{DEFINES} {end}")).0.is_err());
        assert_eq!(tell(&mut kernel, 4, 2, b""), [answer(2, b"new")], "{end}");
        assert_defined(&mut kernel, "x");
    }
}

#[test]
fn a_program_that_failed_defines_nothing() {
    let mut kernel = kernel(SLOW);
    let outputs = tell(&mut kernel, 0, 1, &load(&[("p", &format!("{DEFINES} (die 0)"))]));
    assert!(answers(&outputs)[0].1.is_err());
    assert_eq!(tell(&mut kernel, 4, 2, b""), [answer(2, b"old")]);
    assert!(eval(&mut kernel, "x").contains("nothing is named `x`"));
}

#[test]
fn a_program_hears_first_that_it_was_loaded() {
    let mut kernel = kernel(SLOW);
    let new = "(def (fib n) (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2)))))
        (def z (fib 26)) (def start 0) (def (main self input) [self [[\"trace\" (idx 0 input)]]])";
    let mut outputs = give(&mut kernel, &message(5, 1, b""));
    outputs.extend(give(&mut kernel, &message(6, 0, new.as_bytes())));
    for reply in 2..9 {
        outputs.extend(give(&mut kernel, &message(5, reply, b"")));
    }
    outputs.extend(give(&mut kernel, &message(3, 0, b"")));
    let outputs = rest(&mut kernel, outputs);
    let traces = outputs.iter().filter_map(|output| match output {
        Output::Trace { text } => Some(text.as_str()),
        _ => None,
    });
    let traces: Vec<&str> = traces.collect();
    assert_eq!(traces[0], "loaded", "{outputs:?}");
    assert!(traces.len() > 2 && traces[1..].iter().all(|trace| *trace == "message"), "{traces:?}");
}
