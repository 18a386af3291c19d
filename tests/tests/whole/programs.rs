//! Machines whose program is a text, from the command line: booted, asked, changed at a prompt while they run, shown, saved, and as they once stood.

use std::fs;
use std::path::{Path, PathBuf};

use tests::abide::{Life, boot, example, log, place_in_memory, run, run_with_input, send};

fn words<'a>(words: &'a [&'a str], machine: &'a Path) -> Vec<&'a std::ffi::OsStr> {
    words.iter().map(|word| if *word == "MACHINE" { machine.as_os_str() } else { word.as_ref() }).collect()
}

/// A machine that adds up what it is sent.
const ADDER: &str = r#"; Adds up what it is sent.
(def start {"tally" 0 "step" 1})
(def (add-to n self) (insert "tally" (add (at "tally" self) (mul n (at "step" self))) self))
(def (main self input)
  (case input
    ["message" _ _ reply payload] (case (parse-nat payload)
                                    [n] (let (after (add-to n self)) [after (replies reply (text (at "tally" after)))])
                                    _ [self [(refuses reply 64 "no number")]])
    _ [self []]))
(assert-eq (at "tally" (add-to 5 start)) 5)
"#;

fn adder(folder: &Path) -> PathBuf {
    let (machine, program) = (folder.join("m"), folder.join("adder.abide"));
    fs::write(&program, ADDER).unwrap();
    boot(&machine, &program, &[]);
    machine
}

#[test]
fn a_running_machine_is_looked_at_and_changed_at_a_prompt_and_killed() {
    let place = place_in_memory();
    let machine = adder(place.path());
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    assert_eq!((talk.ask("2"), talk.ask("3")), ("2".to_owned(), "5".to_owned()));
    let typed =
        "tally\n(set! step 10)\n(def (twice x)\n  (add x x))\n(twice tally)\nself\n:source twice\n:self\n:jobs\n";
    let said = run_with_input(words(&["repl", "MACHINE"], &machine), typed.as_bytes()).ok();
    let self_now = "{\"tally\" 5 \"step\" 10}";
    let expected = format!("5\n10\n{self_now}\n(def (twice a) (add a a))\n{self_now}\n");
    assert_eq!(said, expected.replace(self_now, said.lines().nth(2).unwrap()));
    assert!(said.contains("\"step\" 10") && said.contains("\"tally\" 5"), "{said}");
    assert_eq!(talk.ask("1"), "15");
    // What was defined and set is there after a kill.
    life.kill();
    assert_eq!(send(&machine, "1"), "25");
    let said = run_with_input(words(&["repl", "MACHINE"], &machine), b"(twice tally)\n").ok();
    assert_eq!(said, "50\n");
    // So is another function, put in at the prompt.
    let typed = b"(def (main self input) [self (replies (idx 3 input) \"another\")])\n";
    let _ = run_with_input(words(&["repl", "MACHINE"], &machine), typed).ok();
    assert_eq!(send(&machine, "1"), "another");
    assert!(
        run(words(&["verify", "MACHINE", "--replay"], &machine))
            .ok()
            .contains("every output and every root is the same")
    );
}

#[test]
fn a_prompt_in_a_past_machine_leaves_nothing_behind() {
    let place = place_in_memory();
    let machine = adder(place.path());
    for number in ["1", "2", "3"] {
        send(&machine, number);
    }
    let records = log(&machine, 0);
    let sums: Vec<(u64, &str)> = records
        .iter()
        .filter(|record| record["input"]["kind"] == "message")
        .map(|record| record["seq"].as_u64().unwrap())
        .zip(["1", "3", "6"])
        .collect();
    assert_eq!(sums.len(), 3);
    for (seq, sum) in sums {
        let (at, typed) = (seq.to_string(), "tally\n(set! tally 100)\ntally\n(def one 1)\none\n");
        let said = run_with_input(words(&["repl", "MACHINE", "--at", &at], &machine), typed.as_bytes()).ok();
        assert_eq!(said, format!("{sum}\n100\n1\n"));
    }
    assert_eq!(log(&machine, 0).len(), records.len());
}

#[test]
fn what_is_wrong_at_a_prompt_is_shown_and_harms_nothing() {
    let place = place_in_memory();
    let machine = adder(place.path());
    let typed = "(foo)\n(add 1 \"\nfoo\n:source foo\n:nothing\n(die \"why\")\n";
    let told = run_with_input(words(&["repl", "MACHINE"], &machine), typed.as_bytes()).fails(1);
    for piece in ["a function is applied to something", "there is no :nothing"] {
        assert!(told.contains(piece), "{piece}: {told}");
    }
    assert_eq!(send(&machine, "7"), "7");
    assert!(run(words(&["send", "MACHINE", "seven"], &machine)).fails(1).contains("code 64: no number"));
}

/// The whole state as a text, which runs, and gives the same self.
#[test]
fn a_machine_is_shown_as_a_text_that_reads_back() {
    let place = place_in_memory();
    let machine = adder(place.path());
    send(&machine, "41");
    let _ = run_with_input(words(&["repl", "MACHINE"], &machine), b"(def (twice x) (add x x))\n").ok();
    let shown = run(words(&["show", "MACHINE"], &machine)).ok();
    assert!(shown.contains("(def (main a b)") && shown.contains("(def self {") && shown.contains("(def (twice a)"));
    let text = format!("{shown}\n(assert-eq self {{\"tally\" 41 \"step\" 1}})\n(assert-eq (twice 2) 4)\nself\n");
    let (file, again) = (place.path().join("shown.abide"), place.path().join("again"));
    fs::write(&file, text).unwrap();
    let _ = run(["eval".as_ref(), file.as_os_str()]).ok();
    // And a machine can be made of it.
    boot(&again, &file, &[]);
    assert_eq!(send(&again, "1"), "1");
    let image = run(words(&["show", "MACHINE", "--image"], &machine)).ok();
    assert!(image.contains("interface 1"), "{image}");
}

#[test]
fn a_program_goes_through_seeds_of_both_kinds() {
    let place = place_in_memory();
    let machine = adder(place.path());
    let program = place.path().join("adder.abide");
    for (format, name) in [("abide", "adder.seed"), ("plan", "adder.plan")] {
        let seed = place.path().join(name);
        let _ =
            run(["save".as_ref(), seed.as_os_str(), program.as_os_str(), "--format".as_ref(), format.as_ref()]).ok();
        let again = place.path().join(format);
        boot(&again, &seed, &[]);
        assert_eq!((send(&again, "2"), send(&again, "40")), ("2".to_owned(), "42".to_owned()), "{format}");
        let _ = run(["show".as_ref(), seed.as_os_str()]).ok();
    }
    // Byte for byte, whenever it is written.
    let (one, two) = (place.path().join("adder.plan"), place.path().join("adder2.plan"));
    let _ = run(["save".as_ref(), two.as_os_str(), one.as_os_str(), "--format".as_ref(), "plan".as_ref()]).ok();
    assert!(fs::read(one).unwrap() == fs::read(two).unwrap(), "a PLAN seed read and written is another one");
    // A machine as it stands is a seed as any other is.
    let seed = place.path().join("now.seed");
    send(&machine, "5");
    let _ = run(["save".as_ref(), seed.as_os_str(), machine.as_os_str()]).ok();
    let again = place.path().join("now");
    boot(&again, &seed, &[]);
    assert_eq!(send(&again, "1"), "6");
    let told = run(["show".as_ref(), program.as_os_str()]).ok();
    assert!(told.contains("1 assertion hold") && told.contains("defines   start add-to main"), "{told}");
}

#[test]
fn a_program_that_is_wrong_makes_no_machine() {
    let place = place_in_memory();
    let file = place.path().join("p.abide");
    let cases = [
        ("(def start 0)", "defines no `main`"),
        ("(def (main self input) [self []])", "defines no `start`"),
        ("(def start 0) (def (main self input) [self [)", "p.abide:1:"),
        ("(def start 0) (def (main self input) [self []]) (assert-eq 1 2)", "p.abide:1:"),
        ("(def start 0) (def (main self input) [self [(nothing 1)]])", "nothing is named `nothing`"),
        // It boots, and its first event fails.
        ("(def start 0) (def (main self input) (die \"not today\"))", "not today"),
        ("(import \"missing.abide\") (def start 0) (def (main self input) [self []])", "missing.abide"),
    ];
    for (text, why) in cases {
        fs::write(&file, text).unwrap();
        let machine = place.path().join("none");
        let ran = run(["boot".as_ref(), machine.as_os_str(), file.as_os_str()]);
        let told = if ran.status.code() == Some(4) { ran.fails(4) } else { ran.fails(1) };
        assert!(told.contains(why), "{text}: {told}");
        assert!(!machine.exists(), "{text}");
    }
    // Files that are imported go along.
    fs::write(place.path().join("more.abide"), "(def seven 7)").unwrap();
    fs::write(&file, "(import \"more.abide\") (def start seven) (def (main self input) (case input [\"message\" _ _ reply _] [self (replies reply (text self))] _ [self []]))").unwrap();
    let machine = place.path().join("m");
    boot(&machine, &file, &[]);
    fs::remove_file(place.path().join("more.abide")).unwrap();
    assert_eq!(send(&machine, ""), "7");
}

#[test]
fn the_counter_counts_from_a_text() {
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("counter/counter.abide"), &[]);
    let mut life = Life::start(&machine);
    for number in 1..3 {
        assert_eq!(life.line().unwrap(), format!("counter is at {number}"));
    }
    life.kill();
    let mut life = Life::start(&machine);
    let line = life.line().unwrap();
    assert!(["counter is at 2", "counter is at 3"].contains(&line.as_str()), "{line}");
}
