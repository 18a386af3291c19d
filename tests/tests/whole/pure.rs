//! Routes that a machine has marked as pure: requests to read them are queries, for as long as it wants that, whatever becomes of its host.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tests::abide::{Life, boot, example, place_in_memory, run, run_with_input, send, status, verify};
use tests::web::{Client, ask, free_port, wait_until};

/// Numbers that count up; `/count/*` is pure.
fn tally(folder: &Path) -> (PathBuf, u16) {
    let (machine, seed, port) = (folder.join("m"), folder.join("tally.seed"), free_port());
    let program = example("tally/tally.wasm");
    let _ = run(["save".as_ref(), seed.as_os_str(), program.as_os_str(), "--ask".as_ref(), "http".as_ref()]).ok();
    boot(&machine, &seed, &["--grant", &format!("http:{port}")]);
    (machine, port)
}

/// Records in the log.
fn end(machine: &Path) -> u64 {
    status(machine)["end"].as_u64().unwrap()
}

/// How many records some requests make.
fn records_of(machine: &Path, requests: impl FnOnce()) -> u64 {
    let before = end(machine);
    requests();
    end(machine) - before
}

fn reads(port: u16, expected: &str) {
    let response = ask(port, "GET /count/a", "");
    assert_eq!((response.status, response.body.as_str()), (200, expected));
}

#[test]
fn reading_a_pure_route_enters_no_log_after_a_kill_as_before() {
    let place = place_in_memory();
    let (machine, port) = tally(place.path());
    let mut life = Life::up(&machine);
    for round in 1..=3 {
        assert_eq!(ask(port, "POST /count/a", "").body, round.to_string());
        reads(port, &round.to_string());
        // What was let out before, a start's first effects for instance, is logged by now.
        assert_eq!(send(&machine, "other"), round.to_string());
        let read = || {
            let mut client = Client::of(port);
            for _ in 0..20 {
                assert_eq!(client.ask("GET /count/a", "").body, round.to_string());
            }
            let mut keyed = Client::of(port);
            keyed.request("GET /count/a", "Idempotency-Key: one\r\n", "").unwrap();
            assert!(keyed.until("\r\n\r\n").unwrap().starts_with("HTTP/1.1 200"));
            let mut head = Client::of(port);
            head.request("HEAD /count/a", "", "").unwrap();
            let told = head.until("\r\n\r\n").unwrap();
            assert!(told.contains("content-length: 1\r\n") && told.contains("content-type: text/plain\r\n"), "{told}");
        };
        assert_eq!(records_of(&machine, read), 0, "a query is in the log");
        // Another path is a message, and so is one that is to be a websocket.
        assert_eq!(records_of(&machine, || assert_eq!(ask(port, "GET /count", "").status, 404)), 1);
        let _ = life.kill();
        life = Life::up(&machine);
    }
    reads(port, "3");
    let _ = life.stop();
    // Without its server the port keeps what it was asked: it is not broken.
    assert_eq!(send(&machine, "other"), "4");
    let life = Life::up(&machine);
    assert_eq!(records_of(&machine, || reads(port, "3")), 0);
    let _ = life.stop();
    verify(&machine);
}

#[test]
fn many_clients_see_at_least_what_others_were_answered() {
    let place = place_in_memory();
    let (machine, port) = tally(place.path());
    let life = Life::up(&machine);
    let (answered, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = Client::of(port);
                while !is_over.load(Ordering::Acquire) {
                    let least = answered.load(Ordering::Acquire);
                    let found: u64 = client.ask("GET /count/a", "").body.parse().unwrap();
                    assert!(found >= least, "{least} was answered before, and a query finds {found}");
                }
            });
        }
        let mut client = Client::of(port);
        for expected in 1..=300 {
            assert_eq!(client.ask("POST /count/a", "").body, expected.to_string());
            answered.store(expected, Ordering::Release);
        }
        is_over.store(true, Ordering::Release);
    });
    let _ = life.stop();
    verify(&machine);
}

#[test]
fn a_revoked_port_ends_and_a_new_one_is_marked_anew() {
    let place = place_in_memory();
    let (machine, port) = tally(place.path());
    let life = Life::up(&machine);
    assert_eq!(ask(port, "POST /count/a", "").body, "1");
    reads(port, "1");
    let _ = run(["revoke".as_ref(), machine.as_os_str(), format!("http:{port}").as_ref()]).ok();
    wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_err());
    let other = free_port();
    let _ = run(["grant".as_ref(), machine.as_os_str(), format!("http:{other}").as_ref()]).ok();
    reads(other, "1");
    assert_eq!(records_of(&machine, || reads(other, "1")), 0);
    let _ = life.stop();
    verify(&machine);
}

/// Marks routes as it is told by its owner, under the numbers 1, 2, 3 ...; `end 1` cancels.
const SITE: &str = r#"
(def ports ["http"])
(def start {"marks" 0 "broken" []})
(def (marks self routes)
  (let (number (inc (at "marks" self)))
    [(insert "marks" number self) [(asks number 4 (cbor [0 routes]))]]))
(def (page request)
  (case request
    [_ "/crash" _ _ _] (die 'oops)
    [_ "/bytes" _ _ _] "no response"
    _ (text-response 200 [(idx 0 request) " " (idx 1 request)])))
(def (main self input)
  (case input
    ["message" 0 _ reply "two"] (case (marks self ["/crash" "/bytes" "/a/*" "/slow"]) [next out] [next (weld out [(answers reply "")])])
    ["message" 0 _ reply "three"] (case (marks self ["/b"]) [next out] [next (weld out [(answers reply "")])])
    ["message" 0 _ reply "bad"] (case (marks self ["b"]) [next out] [next (weld out [(answers reply "")])])
    ["message" 0 _ reply "end"] [self [(cancels (at "marks" self)) (answers reply "")]]
    ["message" 0 _ reply "broken"] [self [(answers reply (text (at "broken" self)))]]
    ["message" port _ reply payload] [self [(answers reply (text-response 201 "a message"))]]
    ["query" 0 _] [self [(answers 0 "for the owner")]]
    ["query" port payload] [self [(answers 0 (page (read-request payload)))]]
    ["broken" request code _] [(insert "broken" [request " " code] self) []]
    _ [self []]))
"#;

#[test]
fn a_machine_of_the_language_marks_routes_and_ends_that() {
    let place = place_in_memory();
    let (machine, program, port) = (place.path().join("m"), place.path().join("site.abide"), free_port());
    fs::write(&program, SITE).unwrap();
    boot(&machine, &program, &["--grant", &format!("http:{port}")]);
    let life = Life::up(&machine);
    let get = |path: &str| {
        let response = ask(port, &format!("GET {path}"), "");
        (response.status, response.body)
    };
    let say = |text: &str| send(&machine, text);
    assert_eq!(get("/b"), (201, "a message".to_owned()), "nothing is pure unasked");
    say("two");
    say("three");
    assert_eq!(get("/b"), (200, "GET /b".to_owned()));
    assert_eq!(get("/a/b/c?d"), (200, "GET /a/b/c".to_owned()));
    assert_eq!(get("/a"), (201, "a message".to_owned()));
    assert_eq!(ask(port, "POST /b", "").status, 201);
    let (status, why) = get("/crash");
    assert!(status == 500 && why.contains("it crashed"), "{status} {why}");
    let (status, why) = get("/bytes");
    assert!(status == 502 && why.contains("no response"), "{status} {why}");
    say("end");
    assert_eq!((get("/b").0, get("/a/1").0), (201, 200), "the other request is still open");
    say("bad");
    wait_until(|| say("broken") == "3 6");
    assert_eq!(run(["peek".as_ref(), machine.as_os_str(), "".as_ref()]).ok().trim(), "for the owner");
    // What is only looked at at a prompt is a query, too.
    let before = end(&machine);
    let looked = run_with_input(["repl".as_ref(), machine.as_os_str()], b":source start\n").ok();
    assert!(looked.contains("marks") && end(&machine) == before, "{looked}");
    let _ = life.stop();
    verify(&machine);
}
