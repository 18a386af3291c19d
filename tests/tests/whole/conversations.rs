//! Talking to machines: send and repl with a machine that runs and one that does not, many at once, while it stops, and the console.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use tests::abide::{
    Answer, Life, OnTerminal, Talk, abide, boot, example, finish, log, place, run, run_with_input, send, status, verify,
};

fn notes(folder: &Path) -> PathBuf {
    let machine = folder.join("notes");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    machine
}

#[test]
fn repl_talks_to_a_machine_that_runs_and_to_one_that_does_not() {
    let place = place();
    let machine = notes(place.path());
    let talk = |input: &str| run_with_input(["repl".as_ref(), machine.as_os_str()], input.as_bytes());
    let ran = talk("put milk two\nput bread one\n\nwhat\nget milk\nlist");
    assert_eq!(ran.err, "refused: commands are: put KEY TEXT, get KEY, del KEY, list, count\n");
    assert_eq!(ran.ok(), "ok\nok\ntwo\nbread one\nmilk two\n");
    let mut life = Life::start(&machine);
    drop(life.talk(&machine));
    let ran = talk("count\ntest trap\ncount\n");
    assert_eq!(ran.err, "refused: wasm trap: wasm `unreachable` instruction executed (in abide_main)\n");
    assert_eq!(ran.ok(), "2\n2\n");
    assert_eq!(talk("").ok(), "");
    let _ = life.stop().0.ok();
}

#[test]
fn a_payload_comes_from_standard_input_as_it_is() {
    let place = place();
    let machine = notes(place.path());
    let args = ["send".as_ref(), machine.as_os_str(), "-".as_ref()];
    let long = "x".repeat(300_000);
    assert_eq!(run_with_input(args, format!("put long {long}\n").as_bytes()).ok(), "ok\n");
    assert_eq!(send(&machine, "get long"), long);
    let ran = run_with_input(args, b"\xff\x00\n");
    assert!(ran.fails(1).starts_with("error: the machine refused: code 64: "));
    let payloads: Vec<_> = log(&machine, 0).into_iter().map(|record| record["input"]["payload"].clone()).collect();
    assert!(payloads.iter().any(|payload| payload["hex"] == "ff000a"), "{payloads:?}");
}

#[test]
fn a_key_gets_the_recorded_outcome_whoever_runs_the_machine() {
    let place = place();
    let machine = notes(place.path());
    let keyed = |payload: &str| run(["send", "--key", "one", machine.to_str().unwrap(), payload]);
    assert_eq!(keyed("put milk two").ok(), "ok\n");
    // Another payload under the same key is not looked at.
    assert_eq!(keyed("put milk three").ok(), "ok\n");
    let mut life = Life::start(&machine);
    assert_eq!(life.talk(&machine).say("one", "put milk four").unwrap(), Answer::Said("ok".to_owned()));
    let _ = life.kill();
    assert_eq!(send(&machine, "list"), "milk two");
    let refused = |payload: &str| run(["send", "--key", "two", machine.to_str().unwrap(), payload]).fails(1);
    assert_eq!(refused("what"), refused("list"), "a refusal is an outcome, too");
}

/// A send that runs a stopped machine serves whoever comes meanwhile. It used to stop under them when it had its own answer: of ten sends at a
/// time one or two failed, not knowing what had become of their messages. Now a process that stops answers what it has taken and tells the
/// others that theirs was not, and they find or become the next one to run the machine.
#[test]
fn many_sends_at_once_to_a_stopped_machine_are_all_answered() {
    let place = place();
    let machine = notes(place.path());
    for round in 0..6 {
        thread::scope(|scope| {
            for number in 0..8 {
                let machine = &machine;
                scope.spawn(move || assert_eq!(send(machine, &format!("put {round}-{number} text")), "ok"));
            }
        });
        assert_eq!(send(&machine, "count"), (8 * (round + 1)).to_string());
    }
    let _ = verify(&machine);
}

/// The same while a machine is stopped by its owner, and with conversations of more than one message.
#[test]
fn conversations_outlive_the_process_that_runs_the_machine() {
    let place = place();
    let machine = notes(place.path());
    const ROUNDS: usize = 4;
    const LINES: usize = 200;
    for round in 0..ROUNDS {
        let mut life = Life::start(&machine);
        drop(life.talk(&machine));
        thread::scope(|scope| {
            for talker in 0..3 {
                let machine = &machine;
                scope.spawn(move || {
                    let lines = (0..LINES).map(|line| format!("put {round}-{talker}-{line} text\n"));
                    let ran =
                        run_with_input(["repl".as_ref(), machine.as_os_str()], lines.collect::<String>().as_bytes());
                    assert_eq!(ran.err, "");
                    assert_eq!(ran.ok(), "ok\n".repeat(LINES));
                });
            }
            thread::sleep(Duration::from_millis(10 + 20 * round as u64));
            let _ = life.stop().0.ok();
        });
    }
    assert_eq!(send(&machine, "count"), (ROUNDS * 3 * LINES).to_string());
    let entered = log(&machine, 0).iter().filter(|record| record["input"]["kind"] == "message").count();
    assert_eq!(entered, ROUNDS * 3 * LINES + 1, "each message once, and the count");
    assert!(log(&machine, 0).iter().all(|record| record["input"]["kind"] != "gone"), "nobody went away unanswered");
    let _ = verify(&machine);
}

#[test]
fn a_line_that_breaks_is_not_taken_for_an_answer() {
    let place = place();
    let machine = notes(place.path());
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    assert_eq!(talk.ask("put milk two"), "ok");
    let killer = life.killer();
    let spin = thread::spawn({
        let machine = machine.clone();
        move || run(["send".as_ref(), machine.as_os_str(), "test spin 60000".as_ref()])
    });
    thread::sleep(Duration::from_millis(300));
    killer.kill();
    let err = spin.join().unwrap().fails(1);
    assert!(err.starts_with("error: the machine stopped before it answered\n  hint: start the machine"), "{err}");
    assert!(talk.say("", "list").is_err());
    assert_eq!(send(&machine, "list"), "milk two");
}

/// A machine being recovered used to be unreachable, and whoever tried for five seconds was told that it was in use.
#[test]
fn whoever_comes_while_a_machine_starts_waits_for_it() {
    let place = place();
    let machine = notes(place.path());
    let hold = place.path().join("hold");
    let start = || {
        fs::write(&hold, "").unwrap();
        let mut command = abide(["start".as_ref(), machine.as_os_str()]);
        command.env("ABIDE_HOLD_START", &hold);
        let life = Life::of(command);
        while persist::folder::Lock::holder(&machine).unwrap().and_then(|holder| holder.pid) != Some(life.pid()) {
            thread::sleep(Duration::from_millis(1));
        }
        life
    };
    let sending = || {
        let machine = machine.clone();
        thread::spawn(move || run(["send".as_ref(), machine.as_os_str(), "put milk two".as_ref()]))
    };
    let waiting = format!("waiting for {}, which another process is starting\n", machine.display());

    let life = start();
    let (first, second) = (sending(), sending());
    thread::sleep(Duration::from_millis(1500));
    assert!(!first.is_finished() && !second.is_finished(), "they wait");
    assert_eq!(status(&machine)["starting"], true);
    fs::remove_file(&hold).unwrap();
    for sent in [first, second] {
        let ran = sent.join().unwrap();
        assert_eq!(ran.err, waiting);
        assert_eq!(ran.ok(), "ok\n");
    }
    assert_eq!(status(&machine)["starting"], false);
    let _ = life.kill();

    // Who is killed is followed by whoever waits.
    let life = start();
    let sent = sending();
    thread::sleep(Duration::from_millis(200));
    let _ = life.kill();
    assert_eq!(sent.join().unwrap().ok(), "ok\n");

    let life = start();
    let sent = sending();
    thread::sleep(Duration::from_millis(200));
    fs::write(&hold, "the test says so").unwrap();
    let expected = format!(
        "error: the process that was starting {} failed\n  caused by: setting up the host failed\n  caused by: the test says so\n",
        machine.display()
    );
    assert_eq!(sent.join().unwrap().fails(1), expected);
    assert!(life.end().0.fails(1).contains("the test says so"));
    assert_eq!(send(&machine, "count"), "1");
}

/// A repl that runs the machine itself ends it as `start` does, and keeps its prompt where the machine's lines cannot garble it.
#[test]
fn a_repl_of_ones_own_is_left_cleanly() {
    let place = place();
    let machine = place.path().join("counter");
    boot(&machine, &tests::abide::fast_counter(place.path()), &[]);
    let leave: [fn(&mut OnTerminal); 2] = [|repl| repl.press("\x04"), |repl| repl.interrupt()];
    for leave in leave {
        let mut command = abide(["repl", "counter"]);
        command.current_dir(place.path()).env("NO_COLOR", "1");
        let mut repl = OnTerminal::of(command);
        repl.see("a line is a message to counter; ^D leaves\r\n");
        // Each line of the counter comes above the prompt, which is drawn again.
        repl.see("\r\x1b[Kcounter is at ");
        repl.press("\r");
        let shown = repl.shown().len();
        while repl.shown()[shown..].matches("\r\n> ").count() < 3 {
            thread::sleep(Duration::from_millis(5));
        }
        leave(&mut repl);
        let (ended, shown) = repl.end();
        assert_eq!(ended.code(), Some(0), "{shown}");
        let stands = status(&machine);
        assert_eq!(stands["checkpoint"]["end"], stands["end"], "a clean stop");
        let seq = stands["end"].as_u64().unwrap() - 1;
        assert!(shown.ends_with(&format!("counter stopped at seq {seq}\r\n")), "{shown:?}");
    }
    let _ = verify(&machine);
}

/// A send that runs the machine itself is ended as `start` is, whatever the machine still owes it.
#[test]
fn a_send_that_is_interrupted_stops_its_machine() {
    let place = place();
    let (machine, seed) = (place.path().join("mute"), place.path().join("mute.wat"));
    fs::write(&seed, MUTE).unwrap();
    boot(&machine, &seed, &[]);
    let sending = Life::of(abide(["send".as_ref(), machine.as_os_str(), "anybody?".as_ref()]));
    while !log(&machine, 0).iter().any(|record| record["input"]["kind"] == "message") {
        thread::sleep(Duration::from_millis(5));
    }
    let err = sending.stop().0.fails(1);
    assert!(err.starts_with("error: the machine stopped before it answered\n"), "{err}");
    let stands = status(&machine);
    assert_eq!(stands["checkpoint"]["end"], stands["end"], "a clean stop");
    assert_eq!(stands["owed_replies"], 1);
}

/// A machine that never answers.
const MUTE: &str = r#"(module
    (memory (export "memory") 1)
    (data (i32.const 0) "\80")
    (func (export "abide_alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "abide_step") (param i32 i32) (result i64) (i64.const 1)))"#;

/// A machine that asks for names on the console, greets them, and counts them for whoever sends a message.
const GREETER: &str = r#"(module
    (memory (export "memory") 2)
    (global $greeted (mut i32) (i32.const 48))
    (data (i32.const 0) "\81\84\00\01\01\46name? ")             ;; [[0, 1, console, "name? "]]
    (data (i32.const 32) "\82\84\00\00\01")                     ;; [[0, 0, console, "hello ..."], the same request]
    (data (i32.const 256) "\84\00\01\01\46name? ")
    (data (i32.const 64) "\81\84\01\00\00\41\30")               ;; [[1, reply, 0, a digit]]
    (data (i32.const 80) "\81\84\00\00\01\44done")              ;; [[0, 0, console, "done"]]
    (data (i32.const 96) "hello ")
    (func (export "abide_alloc") (param i32) (result i32) (i32.const 65536))
    (func (export "abide_step") (param $in i32) (param $length i32) (result i64)
        (local $kind i32) (local $name i32) (local $out i32)
        (local.set $kind (i32.load8_u offset=1 (local.get $in)))
        (if (i32.eqz (local.get $kind)) (then (return (i64.const 12))))
        (if (i32.eq (local.get $kind) (i32.const 1)) (then
            (i32.store8 (i32.const 67) (i32.load8_u offset=4 (local.get $in)))
            (i32.store8 (i32.const 70) (global.get $greeted))
            (return (i64.const 0x4000000007))))
        (if (i32.eq (local.get $kind) (i32.const 3)) (then (return (i64.const 0x500000000a))))
        ;; [2, 1, 0, name]: names of less than 17 bytes, so that the lengths fit into the first bytes.
        (global.set $greeted (i32.add (global.get $greeted) (i32.const 1)))
        (local.set $name (i32.sub (local.get $length) (i32.const 5)))
        (i32.store8 (i32.const 37) (i32.add (i32.const 0x46) (local.get $name)))
        (memory.copy (i32.const 38) (i32.const 96) (i32.const 6))
        (memory.copy (i32.const 44) (i32.add (local.get $in) (i32.const 5)) (local.get $name))
        (local.set $out (i32.add (i32.const 44) (local.get $name)))
        (memory.copy (local.get $out) (i32.const 256) (i32.const 11))
        (i64.or (i64.const 0x2000000000) (i64.extend_i32_u (i32.sub (i32.add (local.get $out) (i32.const 11)) (i32.const 32))))))"#;

#[test]
fn a_console_request_is_answered_by_a_typed_line_and_asked_again_after_a_kill() {
    let place = place();
    let (machine, seed) = (place.path().join("greeter"), place.path().join("greeter.wat"));
    fs::write(&seed, GREETER).unwrap();
    boot(&machine, &seed, &[]);
    let start = || {
        let mut command = abide(["start".as_ref(), machine.as_os_str()]);
        command.stdin(Stdio::piped());
        Life::of(command)
    };
    let mut life = start();
    life.type_line("Ada");
    assert_eq!(life.line().as_deref(), Some("name? hello Ada"));
    life.type_line("Blaise");
    assert_eq!(life.line().as_deref(), Some("name? hello Blaise"));
    assert_eq!(life.talk(&machine).ask(""), "2");
    let _ = life.kill();

    // The request is open still: it is asked again, and the line that was shown last may be shown again.
    let mut life = start();
    life.type_line("Çelik");
    let line = life.line().unwrap();
    let line = if line.contains("Blaise") { life.line().unwrap() } else { line };
    assert!(line.ends_with("name? hello Çelik"), "{line}");
    let _ = life.talk(&machine);
    life.type_line("a name of more than seventeen bytes, which it cannot greet");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !log(&machine, 0).iter().any(|record| record["kind"] == "abort") {
        assert!(std::time::Instant::now() < deadline, "a malformed greeting is aborted");
        thread::sleep(Duration::from_millis(10));
    }
    // Its answer's step was aborted, so the request was broken, and nobody is asked any more.
    assert_eq!(life.line().as_deref(), Some("name? done"));
    let (ran, lines) = life.stop();
    let _ = ran.ok();
    assert!(lines.is_empty(), "{lines:?}");
    let _ = verify(&machine);
}

/// Reads a line of the console when it is told to, changes its mind, and tells what it has got.
const FICKLE: &str = r#"
(def start nil)
(def (main self input)
  (case input
    ["message" 0 _ reply "read"] [self (weld [(asks-line 1 "")] (replies reply ""))]
    ["message" 0 _ reply "cancel"] [self (weld [(cancels 1)] (replies reply ""))]
    ["message" 0 _ reply "again"] [self (weld [(cancels 1) (asks-line 1 "")] (replies reply ""))]
    ["answer" 1 _ line] [self [(prints ["read " line])]]
    _ [self []]))
"#;

/// A line went to whoever had asked first, cancelled or not: with each request that a machine had cancelled, one was lost.
#[test]
fn a_typed_line_is_for_a_request_that_is_not_cancelled() {
    let place = place();
    let (machine, program) = (place.path().join("fickle"), place.path().join("fickle.abide"));
    fs::write(&program, FICKLE).unwrap();
    boot(&machine, &program, &[]);
    let mut command = abide(["start".as_ref(), machine.as_os_str()]);
    command.stdin(Stdio::piped());
    let mut life = Life::of(command);
    let mut talk = life.talk(&machine);
    ["read", "again", "again"].iter().for_each(|order| assert_eq!(talk.ask(order), ""));
    life.type_line("Ada");
    assert_eq!(life.line().as_deref(), Some("read Ada"));
    // Typed when nobody wants it any more, it is for the next.
    ["read", "cancel"].iter().for_each(|order| assert_eq!(talk.ask(order), ""));
    life.type_line("Blaise");
    assert_eq!(talk.ask("read"), "");
    assert_eq!(life.line().as_deref(), Some("read Blaise"));
    drop(talk);
    let (ran, lines) = life.stop();
    let _ = ran.ok();
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn a_console_that_ends_breaks_the_request() {
    let place = place();
    let (machine, seed) = (place.path().join("greeter"), place.path().join("greeter.wat"));
    fs::write(&seed, GREETER).unwrap();
    boot(&machine, &seed, &[]);
    let mut life = Life::start(&machine);
    assert_eq!(life.line().as_deref(), Some("name? done"));
    let _ = life.stop().0.ok();
    let broken = log(&machine, 0).into_iter().find(|record| record["input"]["kind"] == "broken").unwrap();
    assert_eq!(
        (broken["input"]["code"].as_u64(), &broken["input"]["text"]),
        (Some(7), &"the console's input has ended".into())
    );
    let _ = verify(&machine);
}

/// A reader that goes away stops the machine, cleanly; nothing it was not shown counts as shown.
#[test]
fn a_console_that_nobody_reads_stops_the_machine_cleanly() {
    let place = place();
    let machine = place.path().join("counter");
    boot(&machine, &tests::abide::fast_counter(place.path()), &[]);
    let mut command = abide(["start".as_ref(), machine.as_os_str()]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    let ended = tests::abide::wait(&mut child).unwrap();
    assert_eq!(ended.code(), Some(0));
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(err, "nobody reads the machine's console any more: it is being stopped\n");
    let mut life = Life::start(&machine);
    assert_eq!(life.line().as_deref(), Some("counter is at 1"));
    let _ = life.stop().0.ok();
    let _ = verify(&machine);
}

#[test]
fn a_control_client_that_talks_nonsense_harms_nobody() {
    use std::io::Write;
    let place = place();
    let machine = notes(place.path());
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    let folder = persist::folder::Folder::open(&machine).unwrap();
    let path = boot::control::socket_path(&folder).unwrap();
    let frame = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat();
    let hello = frame(&[0x82, 0x00, 0x02]);
    let nonsense: [Vec<u8>; 7] = [
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        frame(&[0x82, 0x00, 0x07]),
        [hello.clone(), frame(b"")].concat(),
        [hello.clone(), frame(&[0x84, 0x01, 0x01, 0x40])].concat(),
        [hello.clone(), frame(&[0x84, 0x09, 0x01, 0x40, 0x40])].concat(),
        [hello.clone(), u32::MAX.to_le_bytes().to_vec()].concat(),
        [hello, frame(&[0x84, 0x01, 0x01, 0x40, 0x44, b'l', b'i', b's', b't'])[..7].to_vec()].concat(),
    ];
    for bytes in nonsense {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        let up = |length: u8| heard.get(7..11) == Some(&[length, 0, 0, 0]) && heard.len() == 11 + usize::from(length);
        let length = heard.get(7).copied().unwrap_or(0);
        assert!(heard.len() <= 7 || up(length), "it hears nothing but hello, and that the machine is up: {heard:?}");
        assert_eq!(talk.ask("count"), "0");
    }
    let _ = life.stop().0.ok();
    // Nobody listens where nobody runs.
    assert!(!path.exists());
    assert!(Talk::with(&machine).is_err());
    let _ = finish(&mut abide(["status".as_ref(), machine.as_os_str()])).ok();
}
