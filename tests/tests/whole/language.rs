//! The language at the command line: `abide eval`, and `abide repl` without a machine.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value as Json;
use tests::abide::{Ran, abide, finish, place};

fn here(folder: &Path, args: &[&str]) -> Ran {
    finish(abide(args).current_dir(folder))
}

/// What comes of lines that are typed, or piped, into a command.
fn typed(args: &[&str], lines: &str) -> (Option<i32>, String, String) {
    let mut child = abide(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let ran = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}

#[test]
fn a_prompt_without_a_machine() {
    let fib = "(def (fib n)\n  (if (lth n 2)\n    n (add (fib (sub n 1)) (fib (sub n 2)))))\n";
    let (code, out, err) =
        typed(&["repl"], &format!("(add 2 (mul 3 100000000000000000000))\n{fib}(fib 20)\n\n[\"a\" fib]\n"));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, "300000000000000000002\n6765\n[\"a\" fib]\n");
}

#[test]
fn a_prompt_goes_on_after_an_error_and_says_what_it_was() {
    let (code, out, err) = typed(&["repl"], "(ad 1 2)\n(die \"no\")\n:nonsense\n(inc 1)\n(inc\n");
    assert_eq!((code, out.as_str()), (Some(1), "2\n"));
    let expected = "error: typed:1:2: nothing is named `ad`\n1 | (ad 1 2)\n  |  ^^\n  = hint: did you mean `add`?\n\
        error: typed:1:1: evaluating this failed: it crashed: die \"no\"\n1 | (die \"no\")\n  | ^^^^^^^^^^\n\
        error: there is no :nonsense; :help says what there is\n\
        error: typed:1:1: this `(` is never closed\n1 | (inc\n  | ^\n  \
        = hint: the closing bracket belongs after the last form that is to be inside\n";
    assert_eq!(err, expected);
}

#[test]
fn the_source_of_a_name_can_be_read_back() {
    let define = "(def (twice f x) (f (f x)))\n(def (four n) (twice (mul 2) n))\n";
    let (_, source, _) = typed(&["repl"], &format!("{define}:source four\n"));
    assert_eq!(source, "(def (four a) (twice (mul 2) a))\nfour\n");
    // In a session of its own, where only the base library has names, everything it is made of comes along.
    let (_, source, _) = typed(&["repl"], "(def (three n) (add 3 n))\n:source three\n");
    let (code, out, _) = typed(&["eval", "-"], &format!("{source}(three 4)"));
    assert_eq!((code, out.as_str()), (Some(0), "three\n7\n"));
}

#[test]
fn a_file_is_held_to_its_assertions() {
    let place = place();
    let write = |name: &str, text: &str| fs::write(place.path().join(name), text).unwrap();
    write("double.abide", "(def (double n) (mul 2 n))\n(assert-eq (double 4) 8)\n");
    write(
        "good.abide",
        "(import \"double.abide\")\n(assert-eq (double 2) 4)\n(assert 1)\n[(double 21) \"a\"]\n{1 (inc 1)}\n",
    );
    write("bad.abide", "(def x 3)\n(assert-eq (inc x) 5)\n");
    let ran = here(place.path(), &["eval", "good.abide"]);
    assert_eq!((ran.status.code(), ran.err.as_str()), (Some(0), "2 assertions hold\n"), "{ran}");
    assert_eq!(ran.out, b"[42 \"a\"]\n{1 2}\n");
    let json: Json = serde_json::from_str(&here(place.path(), &["eval", "--json", "good.abide"]).ok()).unwrap();
    assert_eq!(json["assertions"], 2);
    assert_eq!(json["values"][0], "[42 \"a\"]");
    let ran = here(place.path(), &["eval", "bad.abide"]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.err.starts_with("error: bad.abide:2:1: these are not equal\n"), "{ran}");
    let ran = here(place.path(), &["eval", "none.abide"]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.err.starts_with("error: reading none.abide failed\n"), "{ran}");
}

#[test]
fn what_never_ends_in_memory_is_stopped() {
    for endless in ["(def (f n) (inc (f n))) (f 0)", "(def (f n m) (f (inc n) [n m])) (f 0 0)"] {
        let (code, _, err) = typed(&["eval", "-"], endless);
        assert_eq!(code, Some(1));
        assert!(err.contains("than it may be") || err.contains("than they may"), "{err}");
    }
}
