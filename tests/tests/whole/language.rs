//! The language at the command line: `abide eval`, and `abide repl` without a machine.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value as Json;
use tests::abide::{OnTerminal, Ran, abide, finish, place};

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
fn whatever_fails_at_a_prompt_fails_it_in_the_end() {
    for line in ["(die 1)", ":nonsense", ":depth x", ":steps x", ":source nothing"] {
        assert_eq!(typed(&["repl"], &format!("{line}\n")).0, Some(1), "{line}");
        assert_eq!(typed(&["repl"], &format!("{line}\n1\n")).1, "1\n", "{line}");
    }
}

/// With every line, all that was open was read again: ten thousand lines took minutes.
#[test]
fn a_long_text_is_not_read_again_with_each_of_its_lines() {
    let lines = "  [12 \"a line\"]\n".repeat(20_000);
    let (code, out, _) = typed(&["repl"], &format!("(def all [\n{lines}])\n(len all)\n"));
    assert_eq!((code, out.as_str()), (Some(0), "20000\n"));
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

#[test]
fn what_never_ends_ends_after_so_many_steps() {
    let endless = "(def (f n) (f n)) (f 1)";
    let (code, out, err) = typed(&["eval", "--steps", "100000", "-"], endless);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let expected = "error: evaluating standard input took 100000 steps, which is all it may\n  \
        hint: --steps 1000000 allows more, if it ever ends\n";
    assert_eq!(err, expected);
    let (code, ..) = typed(&["eval", "--steps", "100000", "-"], "(sum (range 1000))");
    assert_eq!(code, Some(0));
    let (code, out, err) = typed(&["repl"], ":steps 1_000\n(def (f n) (f n))\n(f 1)\n(inc 1)\n:steps x\n");
    assert_eq!((code, out.as_str()), (Some(1), "2\n"));
    let expected = "error: it took 1000 steps, which is all it may; :steps N allows more\n\
        error: how many? :steps 1_000_000, or :steps 0\n";
    assert_eq!(err, expected);
}

#[test]
fn values_are_told_by_their_shapes_and_looked_into_as_deep_as_is_wanted() {
    let lines = ":shape [1 \"ab\" {1 2} if]\n:shape (range 100)\n:shape #x\"ff00\"\n:shape #{}\n:shape (pin [1 2])\n\
        :shape (add 1)\n:depth 1\n[[[1]]]\n";
    let (code, out, err) = typed(&["repl"], lines);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let expected = "a row of 4: a number of 1 bit, text of 2 characters, a table of 1 entry: a number of 2 bits, \
        a function if of 3 arguments\n\
        a row of 100: a number of 0 bits, a number of 1 bit, a number of 2 bits, a number of 2 bits, a number of 3 bits, \
        a number of 3 bits, ...\n\
        bytes, 2 of them\na set of 0\na pin of a row of 2\na function add of 2 arguments that has 1 of them\n[[…]]\n";
    assert_eq!(out, expected);
}

/// A prompt on a terminal, which remembers what is typed in this folder.
fn prompt(state: &Path) -> OnTerminal {
    let mut command = abide(["repl"]);
    command.env("XDG_STATE_HOME", state).env("TERM", "xterm").env("NO_COLOR", "1");
    let terminal = OnTerminal::of(command);
    terminal.see("> ");
    terminal
}

#[test]
fn a_terminal_edits_completes_interrupts_and_remembers() {
    let place = place();
    let mut terminal = prompt(place.path());
    // A line that ends within brackets goes on in the next one.
    terminal.press("(def (forever n)\r(forever n))\r");
    terminal.see("forever is a function forever of 1 argument");
    // What never ends is interrupted, and what was defined is there.
    terminal.press("(forever 1)\r");
    let interrupted = "interrupted; what was defined before is still there";
    while !terminal.shown().contains(interrupted) {
        terminal.interrupt();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    terminal.press(":shape [forev\t]\r");
    terminal.see("a row of 1: a function forever of 1 argument");
    terminal.press("(mul 11 111)\r");
    terminal.see("1221");
    terminal.press("\x04");
    let (status, shown) = terminal.end();
    assert!(status.success(), "{shown}");

    let history = place.path().join("abide/history");
    assert_eq!(fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);
    // The last text again, by the key that goes up, with another number.
    let mut terminal = prompt(place.path());
    terminal.press("\x1b[A\x7f2)\r");
    terminal.see("12232");
    terminal.press("\x04");
    assert!(terminal.end().0.success());
    let typed = fs::read_to_string(&history).unwrap();
    assert!(typed.contains("(mul 11 111)\n(mul 11 1112)"), "{typed}");
}
