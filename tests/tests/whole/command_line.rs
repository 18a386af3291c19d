//! What people and programs see of the command line: the text of errors, exit codes, colours, JSON, and where a machine is said to stand.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;
use tempfile::TempDir;
use tests::abide::{
    Life, OnTerminal, Ran, abide, boot, copy_folder, example, finish, log, place, root, send, status, wait,
};
use tests::not_run;

/// Runs `abide` in a folder, so that paths in what it says are short.
fn here(folder: &Path, args: &[&str]) -> Ran {
    finish(abide(args).current_dir(folder))
}

/// A folder with machines in every state that errors tell of.
struct Specimens {
    place: TempDir,
    /// Where the machine `n` ends, and where `older` ended before its store was exchanged for that of `n`.
    end: u64,
    newer_end: u64,
}

fn specimens() -> Specimens {
    let place = place();
    let at = |name: &str| place.path().join(name);
    boot(&at("n"), &example("notes/notes.wasm"), &[]);
    assert_eq!(send(&at("n"), "put milk two"), "ok");
    for name in ["damaged", "newer", "headless", "cut", "older"] {
        copy_folder(&at("n"), &at(name));
    }
    fs::write(at("damaged").join("abide"), "abide machin").unwrap();
    fs::write(at("newer").join("abide"), "abide machine 3\n").unwrap();
    fs::remove_file(at("headless").join("head")).unwrap();
    fs::File::options().write(true).open(at("cut").join("data.mdb")).unwrap().set_len(20_000).unwrap();
    assert_eq!(send(&at("older"), "put milk three"), "ok");
    let [end, newer_end] = ["n", "older"].map(|name| status(&at(name))["end"].as_u64().unwrap());
    fs::copy(at("n").join("data.mdb"), at("older").join("data.mdb")).unwrap();
    fs::write(at("text.txt"), "hello").unwrap();
    fs::write(at("clock.wat"), r#"(module (import "env" "now" (func)))"#).unwrap();
    fs::write(at("bad.wat"), "(module (func").unwrap();
    Specimens { place, end, newer_end }
}

#[test]
fn errors_say_what_was_attempted_why_it_failed_and_what_to_type_next() {
    let Specimens { place, end, newer_end } = specimens();
    let root = &root(&place.path().join("n"))[4..12];
    let older = format!("error: the store of older ends at seq {end}, but seq {newer_end} was acknowledged\n");
    let whole = fs::metadata(place.path().join("n/data.mdb")).unwrap().len();
    let damage = |machine: &str| {
        let verify = format!("abide verify {machine} says what still stands, abide repair {machine} saves it");
        format!("  hint: {verify}; nothing was changed\n")
    };
    let counter = example("counter/counter.wat");
    let commands = "commands are: put KEY TEXT, get KEY, del KEY, list, count";
    let cases: [(&[&str], i32, &str); 23] = [
        (&["status", "m"], 1, "error: there is no machine m\n  hint: abide boot m SEED makes a machine there\n"),
        (
            &["log", "text.txt"],
            1,
            "error: text.txt is not a machine\n  hint: a machine is a folder that abide boot made, or a copy of one\n",
        ),
        (
            &["boot", "m", "bad.wat"],
            1,
            "error: booting m failed\n  caused by: bad.wat is not WebAssembly text\n  caused by: expected `)`\n     --> bad.wat:1:14\n      |\n    1 | (module (func\n      |              ^\n",
        ),
        (
            &["boot", "m", "text.txt"],
            1,
            "error: booting m failed\n  caused by: text.txt is neither a seed, nor a text of the language, nor a WebAssembly module\n  hint: a seed is a .seed file, a PLAN seed, .abide text, a .wasm module or .wat text\n",
        ),
        (
            &["boot", "m", "clock.wat"],
            1,
            "error: booting m failed\n  caused by: the machine's program cannot be run\n  caused by: the module cannot be a machine\n  caused by: the module imports the function `now` from `env`, and a machine may import only the functions `blake3_256` from `abide`\n  hint: docs/abi.md says what a machine is\n",
        ),
        (&["copy", "n", "cut"], 1, "error: cut exists already\n  hint: abide start cut\n"),
        (
            &["save", "no/such/x.seed", "n"],
            1,
            "error: writing no/such/x.seed failed\n  caused by: No such file or directory (os error 2)\n  hint: mkdir -p no/such\n",
        ),
        (
            &["boot", "no/such/m", "bad.wat"],
            1,
            "error: booting no/such/m failed\n  caused by: bad.wat is not WebAssembly text\n  caused by: expected `)`\n     --> bad.wat:1:14\n      |\n    1 | (module (func\n      |              ^\n",
        ),
        (
            &["boot", "no/such/m", counter.to_str().unwrap()],
            1,
            "error: booting no/such/m failed\n  caused by: cannot create machine no/such/m\n  caused by: No such file or directory (os error 2)\n  hint: mkdir -p no/such\n",
        ),
        (
            &["status", "n@5"],
            1,
            "error: there is no machine n@5\n  hint: a point of n can be given to abide show only\n",
        ),
        (&["show", "n@99"], 1, &format!("error: n has no record with seq 99; its last is {}\n", end - 1)),
        (&["send", "n", "what"], 1, &format!("error: the machine refused: code 64: {commands}\n")),
        (
            &["send", "n", "test trap"],
            1,
            "error: the machine refused: aborted: wasm trap: wasm `unreachable` instruction executed (in abide_main)\n",
        ),
        (&["show", "n", "abcdef"], 1, "error: n has no object abcdef\n"),
        (&["show", "n", "1e"], 1, "error: 1e is the start of more than one object; give more digits\n"),
        (
            &["show", "text.txt"],
            1,
            "error: text.txt is neither a seed, nor a text of the language, nor a WebAssembly module\n  hint: a seed is a .seed file, a PLAN seed, .abide text, a .wasm module or .wat text\n",
        ),
        (&["start", "newer"], 1, "error: machine newer has format version 3, this version reads up to 2\n"),
        (&["start", "damaged"], 3, &format!("error: damaged/abide is damaged\n{}", damage("damaged"))),
        (
            &["verify", "headless"],
            3,
            &format!(
                "error: headless/head is missing\n  stands: the log is whole, up to seq {0}\n  stands: the newest whole image is the one at seq {0}, root {root}\n  stands: abide repair headless saves everything\n  hint: abide repair headless\n",
                end - 1
            ),
        ),
        (
            &["status", "cut"],
            3,
            &format!(
                "error: cannot open the store of cut\n  caused by: the store is damaged\n  caused by: data.mdb has 20000 bytes and should have {whole}\n{}",
                damage("cut")
            ),
        ),
        (&["send", "older", "list"], 3, &format!("{older}{}", damage("older"))),
        (&["repl", "older"], 3, &format!("{older}{}", damage("older"))),
        (&["save", "m.seed", "n", "--ask", "clock"], 1, "error: n has its own list of ports to ask for already\n"),
    ];
    for (args, code, expected) in cases {
        let ran = here(place.path(), args);
        assert!(ran.out.is_empty(), "{ran}");
        assert_eq!(ran.fails(code), expected, "{args:?}");
    }
    let mut life = Life::start(&place.path().join("n"));
    drop(life.talk(&place.path().join("n")));
    let err = here(place.path(), &["start", "n"]).fails(1);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let holder = format!("process {} on host {host}", life.pid());
    let expected = format!("error: machine n is in use by {holder}\n  hint: abide repl n talks to it while it runs\n");
    assert_eq!(err, expected);
}

#[test]
fn usage_errors_have_an_exit_code_of_their_own() {
    let place = place();
    let key = "k".repeat(64);
    let cases: [&[&str]; 8] = [
        &[],
        &["strat", "n"],
        &["send", "n"],
        &["status", "n", "--jsn"],
        &["log", "n", "--since", "soon"],
        &["send", "n", "x", "--key", &key],
        &["completions", "csh"],
        &["boot", "m", "x.wasm", "--limit", "speed=1"],
    ];
    for args in cases {
        let ran = here(place.path(), args);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{ran}");
        let _ = ran.fails(2);
    }
    for args in [["--version"], ["--help"]] {
        assert!(!here(place.path(), &args).ok().is_empty());
    }
}

/// What `abide` shows on a terminal.
fn on_a_terminal(folder: &Path, args: &[&str], no_color: bool) -> String {
    let mut command = abide(args);
    command.current_dir(folder);
    if no_color {
        command.env("NO_COLOR", "1");
    }
    OnTerminal::of(command).end().1
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let place = place();
    boot(&place.path().join("n"), &example("notes/notes.wasm"), &[]);
    for (args, painted) in [(["status", "n"], "\x1b[2mmachine"), (["status", "m"], "\x1b[1;31merror:\x1b[0m there is")]
    {
        let shown = on_a_terminal(place.path(), &args, false);
        assert!(shown.contains(painted), "{shown:?}");
        let plain = on_a_terminal(place.path(), &args, true);
        assert!(!plain.contains('\x1b') && !plain.is_empty(), "NO_COLOR: {plain:?}");
        let ran = here(place.path(), &args);
        assert!(!ran.out.contains(&0x1b) && !ran.err.contains('\x1b'), "not a terminal: {ran}");
    }
}

#[test]
fn json_lines_parse_and_carry_their_version() {
    let place = place();
    let machine = place.path().join("n");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let _ = here(place.path(), &["save", "n.seed", "n"]).ok();
    assert_eq!(send(&machine, "put milk two"), "ok");
    let object = here(place.path(), &["show", "n", "--json"]).json()["id"].as_str().unwrap()[..12].to_owned();
    let wat = example("counter/counter.wat");
    let commands: [&[&str]; 14] = [
        &["boot", "m", "n.seed"],
        &["copy", "n", "copy"],
        &["save", "n.seed", "n"],
        &["save", "m.seed", wat.to_str().unwrap()],
        &["show", wat.to_str().unwrap()],
        &["status", "n"],
        &["log", "n"],
        &["verify", "n", "--replay"],
        &["show", "n"],
        &["show", "n@1"],
        &["show", "n.seed"],
        &["show", "n", &object],
        &["send", "n", "list"],
        &["send", "n", "get milk", "--key", "k"],
    ];
    for args in commands {
        let text = here(place.path(), &[args, &["--json"]].concat()).ok();
        assert!(!text.is_empty() && text.ends_with('\n'), "{args:?}: {text}");
        for line in text.lines() {
            let json: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{args:?}: {error}: {line}"));
            assert_eq!(json["v"], 1, "{args:?}: {line}");
        }
    }
    let program = here(place.path(), &["show", "m.seed", "--json"]).json()["program"].clone();
    assert_eq!((&program["interface"], &program["limits"]["step_cpu_ms"]), (&1.into(), &10_000.into()));
    assert_eq!(program["asks"], Json::Array(Vec::new()));
    let shown = here(place.path(), &["show", wat.to_str().unwrap(), "--json"]).json();
    assert_eq!((&shown["program"], &shown["state"]["memories"][0]["bytes_min"]), (&program, &131_072.into()));
    let process = here(place.path(), &["show", "n", "--json"]).json()["image"]["processes"][0].clone();
    assert_eq!((&process["globals"][0]["type"], &process["requests"]), (&"i32".into(), &Json::Null));
    assert!(process["globals"][0]["bits"].as_str().is_some_and(|bits| bits.len() == 8), "{process}");
    let copied = here(place.path(), &["status", "copy", "--json"]).json();
    assert_eq!(copied["machine"], status(&machine)["machine"]);

    let failed = here(place.path(), &["boot", "m", "n.seed", "--json"]);
    assert!(failed.out.is_empty(), "{failed}");
    let error: Json = serde_json::from_str(&failed.fails(1)).unwrap();
    let expected = serde_json::json!({
        "v": 1, "error": "booting m failed", "causes": ["m exists already"], "hint": "abide start m", "exit": 1,
    });
    assert_eq!(error, expected);
    fs::remove_file(place.path().join("m/head")).unwrap();
    let error: Json = serde_json::from_str(&here(place.path(), &["verify", "m", "--json"]).fails(3)).unwrap();
    assert_eq!((&error["error"], &error["exit"]), (&"m/head is missing".into(), &3.into()));
    let answer = here(place.path(), &["send", "n", "list", "--json"]).json();
    assert_eq!((&answer["ok"], &answer["parts"][0]["text"]), (&Json::Bool(true), &"milk two".into()));
    let refused = here(place.path(), &["send", "n", "what", "--json"]);
    let json: Json = serde_json::from_slice(&refused.out).unwrap();
    assert_eq!((&json["v"], &json["ok"], &json["code"]), (&1.into(), &Json::Bool(false), &64.into()));
    let _ = refused.fails(1);
}

#[test]
fn a_log_can_be_read_from_a_seq_on_and_followed() {
    let place = place();
    let machine = place.path().join("n");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    assert_eq!(send(&machine, "put a one"), "ok");
    let whole = log(&machine, 0);
    let seqs: Vec<u64> = whole.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, Vec::from_iter(0..whole.len() as u64));
    for since in 0..=whole.len() + 1 {
        assert_eq!(log(&machine, since as u64), whole[since.min(whole.len())..]);
    }
    for last in 0..=whole.len() + 1 {
        let shown = here(place.path(), &["log", "n", "--last", &last.to_string()]).ok();
        assert_eq!(shown.lines().count(), last.min(whole.len()));
    }
    let lines = here(place.path(), &["log", "n"]).ok();
    assert_eq!(lines.lines().count(), whole.len());
    assert!(lines.contains("message on port 0 (reply 1): \"put a one\""), "{lines}");

    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    let since = whole.len().to_string();
    let mut following = Life::of(abide(["log", "--follow", "--json", "--since", &since, machine.to_str().unwrap()]));
    for number in 0..3 {
        assert_eq!(talk.ask(&format!("put note{number} text")), "ok");
        let record: Json = serde_json::from_str(&following.line().unwrap()).unwrap();
        assert_eq!(record["input"]["payload"]["text"], format!("put note{number} text"));
    }
    assert_eq!(following.line_within(Duration::from_millis(250)), None);
    let _ = following.kill();

    let mut following = unread(&machine, &["log", "--follow"]);
    assert_eq!(talk.ask("put last text"), "ok");
    assert_eq!(wait(&mut following).unwrap().code(), Some(0));
    assert_eq!(complaints(following), "");
    let _ = life.stop().0.ok();
}

/// Runs a command on a machine, and reads nothing of what it prints.
fn unread(machine: &Path, args: &[&str]) -> Child {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    abide(args).arg(machine).stdout(writer).stderr(Stdio::piped()).spawn().unwrap()
}

fn complaints(mut child: Child) -> String {
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    err
}

/// Whoever has read enough, as `head` has, ends a command without a complaint.
#[test]
fn what_nobody_reads_ends_quietly() {
    let place = place();
    let machine = place.path().join("n");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let commands: [&[&str]; 6] =
        [&["status"], &["status", "--json"], &["show"], &["verify"], &["verify", "--replay", "--json"], &["log"]];
    for args in commands {
        let mut child = unread(&machine, args);
        assert_eq!(wait(&mut child).unwrap().code(), Some(0), "{args:?}");
        assert_eq!(complaints(child), "", "{args:?}");
    }
}

/// `save` used to write over whatever was there: with its arguments exchanged, over the only copy of something.
#[test]
fn a_seed_is_written_over_nothing_but_a_seed() {
    let place = place();
    let at = |name: &str| place.path().join(name);
    boot(&at("n"), &example("notes/notes.wasm"), &[]);
    fs::write(at("thesis.tex"), "years").unwrap();
    let refused = |args: &[&str]| here(place.path(), args).fails(1);
    assert_eq!(
        refused(&["save", "thesis.tex", "n"]),
        "error: thesis.tex is there already and is no seed\n  hint: abide save --force thesis.tex n replaces it\n"
    );
    for source in ["new.seed", "thesis.tex"] {
        let expected = format!(
            "error: n is there already and is no seed\n  hint: the file to write comes first: abide save {source} n\n"
        );
        assert_eq!(refused(&["save", "n", source]), expected);
    }
    assert_eq!(fs::read(at("thesis.tex")).unwrap(), b"years");
    let _ = here(place.path(), &["save", "n.seed", "n"]).ok();
    let first = fs::read(at("n.seed")).unwrap();
    assert_eq!(send(&at("n"), "put milk two"), "ok");
    let _ = here(place.path(), &["save", "n.seed", "n"]).ok();
    assert_ne!(fs::read(at("n.seed")).unwrap(), first);
    let _ = here(place.path(), &["save", "--force", "thesis.tex", "n"]).ok();
    assert_eq!(fs::read(at("thesis.tex")).unwrap(), fs::read(at("n.seed")).unwrap());
}

/// `show` used to say of a module that it was neither a seed nor a module.
#[test]
fn show_takes_whatever_other_commands_print() {
    let place = place();
    let show = |args: &[&str]| here(place.path(), &[&["show"], args].concat());
    fs::copy(example("counter/counter.wat"), place.path().join("c.wat")).unwrap();
    let shown = show(&["c.wat"]).ok();
    assert!(shown.starts_with("c.wat: ") && shown.ends_with("\nnext: abide boot MACHINE c.wat\n"), "{shown}");
    for line in [
        "\n  memory 0  128 KiB\n",
        "\nas a seed: 3 objects, ",
        "\n  interface 1\n",
        "step_cpu_ms=10000",
        "  asks for  no further ports\n",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    fs::write(place.path().join("clock.wat"), r#"(module (import "env" "now" (func)))"#).unwrap();
    assert!(show(&["clock.wat"]).fails(1).ends_with("  hint: docs/abi.md says what a machine is\n"));

    // An id is taken as it is shown: short, whole, cut off, or in capitals.
    let ran = here(place.path(), &["boot", "c", "c.wat"]);
    let short = ran.err.split(" at root ").nth(1).unwrap()[..8].to_owned();
    let whole = root(&place.path().join("c"));
    let image = show(&["c", &short]).ok();
    assert!(image.starts_with(&format!("image {whole}\n")), "{image}");
    for id in [&whole, &whole[..12], &format!("{}..", &whole[..12]), &short.to_uppercase()] {
        assert_eq!(show(&["c", id]).ok(), image);
    }
    live_and_be_killed(&place.path().join("c"));
    let whole = root(&place.path().join("c"));
    let expected = "where c stands, which is executed again at its next start and not stored yet\n  hint: abide show c shows its last checkpoint, abide save FILE c saves where it stands\n";
    assert!(show(&["c", &whole]).fails(1).ends_with(expected));
}

#[test]
fn status_counts_and_measures_in_words() {
    let place = place();
    boot(&place.path().join("c"), &example("counter/counter.wat"), &[]);
    live_and_be_killed(&place.path().join("c"));
    let text = here(place.path(), &["status", "c"]).ok();
    let stands = status(&place.path().join("c"));
    let [end, checkpoint] = [&stands["end"], &stands["checkpoint"]["end"]].map(|end| end.as_u64().unwrap());
    let plural = if end - checkpoint == 1 { "" } else { "s" };
    let since = format!("; {} record{plural} since\n", end - checkpoint);
    let at = format!("checkpoint   seq {}, root ", checkpoint - 1);
    let open = "open         1 request, 0 replies owed, 0 effects undelivered (at the checkpoint)\n";
    for words in [at.as_str(), &since, open] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// Runs a counter until something has happened since its last checkpoint, and kills it.
fn live_and_be_killed(machine: &Path) {
    let life = Life::start(machine);
    while status(machine)["end"] == status(machine)["checkpoint"]["end"] {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = life.kill();
}

/// What takes long is shown on a terminal, and is gone when it is done.
#[test]
fn a_terminal_shows_what_takes_long() {
    let place = place();
    boot(&place.path().join("n"), &example("notes/notes.wasm"), &[]);
    let hold = place.path().join("hold");
    fs::write(&hold, "").unwrap();
    let mut command = abide(["send", "n", "count"]);
    command.current_dir(place.path()).env("ABIDE_HOLD_START", &hold).env("TERM", "xterm");
    let sent = OnTerminal::of(command);
    sent.see("starting n");
    fs::remove_file(&hold).unwrap();
    let (ended, shown) = sent.end();
    assert_eq!(ended.code(), Some(0), "{shown}");
    assert!(shown.ends_with("\x1b[2K0\r\n"), "{shown:?}");
    let verified = on_a_terminal(place.path(), &["verify", "n"], true);
    assert!(!verified.contains("checking"), "{verified:?}");
}

/// A machine that prints nothing is not taken for one that hangs.
#[test]
fn a_person_is_told_that_a_machine_runs_and_where_it_has_stopped() {
    let place = place();
    let machine = place.path().join("n");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let end = || status(&machine)["end"].as_u64().unwrap();
    let begun = end();
    let mut command = abide(["start", "n"]);
    command.current_dir(place.path());
    let started = OnTerminal::of(command);
    started.see(&format!("n runs at seq {}; stop it with ^C; talk to it with: abide send n ...\r\n", begun - 1));
    assert_eq!(send(&machine, "put milk two"), "ok");
    started.interrupt();
    let (ended, shown) = started.end();
    assert_eq!(ended.code(), Some(0), "{shown}");
    assert!(shown.ends_with(&format!("\rn stopped at seq {}\r\n", end() - 1)), "{shown:?}");
    let mut life = Life::start(&machine);
    drop(life.talk(&machine));
    let (ran, lines) = life.stop();
    assert!(ran.err.is_empty() && lines.is_empty(), "only on a terminal: {ran}");
}

/// `status` used to show the tracker that it would have used itself.
#[test]
fn status_shows_how_the_running_process_finds_written_pages() {
    let place = place();
    let machine = place.path().join("n");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let mut command = abide(["start".as_ref(), machine.as_os_str()]);
    command.env("ABIDE_TRACKER", "compare");
    let mut life = Life::of(command);
    drop(life.talk(&machine));
    let shown = status(&machine);
    assert_eq!((&shown["tracker"], &shown["tracker_why"]), (&"compare".into(), &"asked for".into()));
    let text = here(place.path(), &["status", "n"]).ok();
    assert!(text.ends_with("tracker      compare: asked for\n"), "{text}");
    let _ = life.stop().0.ok();
    let text = here(place.path(), &["status", "n"]).ok();
    let tracker = status(&machine)["tracker"].as_str().unwrap().to_owned();
    assert!(text.contains(&format!("tracker      {tracker}, if it is started here: ")), "{text}");
    let mut command = abide(["status", "n"]);
    let ran = finish(command.env("ABIDE_TRACKER", "fast").current_dir(place.path()));
    let expected =
        "error: ABIDE_TRACKER cannot be fast\n  hint: ABIDE_TRACKER is not set, or one of: write-protect, compare\n";
    assert_eq!(ran.fails(2), expected);
}

/// Whatever status has shown is in the log after a kill at that very moment, and each root it shows is one that was recorded.
#[test]
fn status_never_shows_what_is_not_durable() {
    let place = place();
    let machine = place.path().join("n");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let mut seen = Vec::new();
    for _ in 0..8 {
        let mut life = Life::start(&machine);
        let mut talk = life.talk(&machine);
        let sender = std::thread::spawn(move || {
            let mut sent = 0;
            while talk.say("", &format!("put note{} {sent}", sent % 9)).is_ok() {
                sent += 1;
            }
        });
        for _ in 0..5 {
            let shown = status(&machine);
            assert_eq!(shown["running"]["pid"], life.pid());
            seen.push((shown["end"].as_u64().unwrap(), shown["root"].clone()));
        }
        let _ = life.kill();
        sender.join().unwrap();
    }
    assert!(seen.is_sorted_by_key(|(end, _)| *end), "{seen:?}");
    assert!(seen.first().unwrap().0 + 50 < seen.last().unwrap().0, "too little has happened: {seen:?}");
    let records = log(&machine, 0);
    for (end, root) in seen {
        let last = &records[usize::try_from(end).unwrap() - 1];
        assert_eq!(last["root"], root, "status showed an end at {end} that is no end of a batch");
    }
    assert_eq!(records.last().unwrap()["root"], root(&machine));
}

/// Telling that a machine was made used to panic when standard error could not be written, which looked as if it had not been made.
#[test]
fn what_cannot_be_told_is_done_all_the_same() {
    let place = place();
    let notes = example("notes/notes.wasm");
    boot(&place.path().join("m"), &notes, &[]);
    let commands: [&[&str]; 3] = [&["boot", "n", notes.to_str().unwrap()], &["copy", "m", "copy"], &["save", "s", "m"]];
    for command in commands {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let status = abide(command).current_dir(place.path()).stderr(full).status().unwrap();
        assert!(status.success() && place.path().join(command[1]).exists(), "{command:?}: {status}");
    }
}

#[test]
fn completions_are_scripts_that_shells_take() {
    let place = place();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = here(place.path(), &["completions", shell]).ok();
        for word in ["abide", "boot", "--halt-on-abort", "verify"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell} does not complete {word}");
        }
        if !["bash", "zsh", "fish"].contains(&shell) {
            continue;
        }
        let file = place.path().join(shell);
        fs::write(&file, &script).unwrap();
        match Command::new(shell).arg("-n").arg(&file).output() {
            Ok(checked) => assert!(checked.status.success(), "{shell}: {}", String::from_utf8_lossy(&checked.stderr)),
            Err(_) => not_run(&format!("checking the completions by {shell} (no {shell})")),
        }
    }
}

#[test]
fn the_reference_is_what_the_command_line_says() {
    let place = place();
    let reference = here(place.path(), &["reference"]).ok();
    let kept = fs::read_to_string(example("../docs/cli.md")).unwrap();
    assert!(reference == kept, "docs/cli.md is stale: abide reference > docs/cli.md");
    assert!(here(place.path(), &["man"]).ok().starts_with(".ie "));
}
