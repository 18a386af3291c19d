//! Machines that serve the web: what clients see of one that is killed, and what it sees of clients that go, wait, flood and lie.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use tests::abide::{Life, binary, boot, example, place, place_in_memory, run, run_with_input, send, status, verify};
use tests::web::{Client, ask, free_port, wait_until};

/// Answers in every way that there is.
const SITE: &str = r#"
(def ports ["http"])
(def start {"seen" 0 "gone" 0})
(def (main self input)
  (case input
    ["message" 0 _ reply _] [self (replies reply (text [(at "seen" self) " " (at "gone" self)]))]
    ["message" _ _ reply payload]
      (let (request (read-request payload)
            seen (alter (map-option inc) "seen" self)
            one (fn (output) [self [output]]))
        (case request
          [_ "/count" _ _ _] [seen [(answers reply (text-response 200 (at "seen" seen)))]]
          [_ "/never" _ _ _] [seen []]
          ["POST" "/echo" query _ body] (one (answers reply (text-response 200 [query "|" body])))
          [_ "/header" _ _ _] (one (answers reply (text-response 200 (header-of "x-one" request))))
          [_ "/bytes" _ _ _] (one (answers reply "no response"))
          [_ "/split" _ _ _] (one (answers reply (http-response 200 [["a" "b\r\nc: d"]] "")))
          [_ "/early" _ _ _] (one (answers reply (http-response 101 [] "")))
          [_ "/refuse" _ _ _] (one (refuses reply 64 "not today"))
          [_ "/crash" _ _ _] (die 'oops)
          [_ "/begun" _ _ _] (one (answers-part reply (http-response 200 [] "begun")))
          [_ "/flood" _ _ _] [seen (weld [(answers-part reply event-stream)]
                                     (replicate 140 (answers-part reply (sized-bytes 100000 0))))]
          _ (one (answers reply (text-response 404 "")))))
    ["gone" _] [(alter (map-option inc) "gone" self) []]
    _ [self []]))
"#;

fn site(folder: &Path) -> (PathBuf, u16) {
    let (machine, port) = (folder.join("m"), free_port());
    let program = folder.join("site.abide");
    fs::write(&program, SITE).unwrap();
    boot(&machine, &program, &["--grant", &format!("http:{port}")]);
    (machine, port)
}

fn notepad(folder: &Path) -> (PathBuf, u16) {
    let (machine, port) = (folder.join("notepad"), free_port());
    boot(&machine, &example("notepad/notepad.abide"), &["--grant", &format!("http:{port}")]);
    (machine, port)
}

#[test]
fn two_windows_of_a_notepad_see_each_other_through_kills() {
    let place = place();
    let (machine, port) = notepad(place.path());
    let mut life = Life::up(&machine);
    let window = || {
        let mut client = Client::of(port);
        client.request("GET /events", "Accept: text/event-stream\r\n", "").unwrap();
        assert!(client.until("\r\n\r\n").unwrap().contains("content-type: text/event-stream"));
        client
    };
    assert!(ask(port, "GET /", "").body.contains("new EventSource('/events')"));
    let mut writer = Client::of(port);
    for round in 1..=5 {
        let (mut one, mut other) = (window(), window());
        for part in ["a", "b"] {
            let version = 2 * round - u64::from(part == "a");
            let said = writer.ask("PUT /api/notes", &format!("{{\"text\":\"{round}{part}\"}}"));
            assert_eq!(
                (said.status, said.body),
                (200, format!("{{\"text\":\"{round}{part}\",\"version\":{version}}}"))
            );
            for window in [&mut one, &mut other] {
                let event = format!("data: {{\"text\":\"{round}{part}\",\"version\":{version}}}\n\n");
                assert!(window.until(&event).is_ok());
            }
        }
        let _ = life.kill();
        assert!(one.until("data").is_err(), "the host has died");
        life = Life::up(&machine);
        writer = Client::of(port);
        assert_eq!(
            ask(port, "GET /api/notes", "").body,
            format!("{{\"text\":\"{round}b\",\"version\":{}}}", 2 * round)
        );
        // Who watched before is not written to any more.
        wait_until(|| run_with_input(["repl".as_ref(), machine.as_os_str()], b"(len watchers)").ok() == "0\n");
    }
    let _ = life.stop().0.ok();
    verify(&machine);
}

/// Requests under keys by several clients, with the host killed at any time: each is made again until it is answered, and was done once.
#[test]
fn a_request_with_a_key_is_done_once_however_often_it_is_made() {
    let place = place_in_memory();
    let (machine, port) = site(place.path());
    let mut life = Life::up(&machine);
    let mut counts = Vec::new();
    for round in 0..8 {
        let killer = life.killer();
        let answered: Vec<u64> = thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|client| {
                    scope.spawn(move || {
                        let mut answered = Vec::new();
                        for number in 0..20 {
                            let key = format!("Idempotency-Key: {round}-{client}-{number}\r\n");
                            answered.push(until_answered(port, &key));
                        }
                        answered
                    })
                })
                .collect();
            thread::sleep(std::time::Duration::from_millis(3 + 7 * round));
            killer.kill();
            life.see_dead();
            life = Life::up(&machine);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        counts.extend(answered);
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=8 * 4 * 20).collect::<Vec<_>>(), "each was counted once");
    // The same key under another method or path is another request.
    let mut client = Client::of(port);
    client.request("GET /count?again", "Idempotency-Key: 0-0-0\r\n", "").unwrap();
    assert_eq!(client.response().unwrap().body, "641");
    client.request("POST /count", "Idempotency-Key: \r\n", "").unwrap();
    assert_eq!(client.response().unwrap().status, 400);
}

fn until_answered(port: u16, headers: &str) -> u64 {
    loop {
        let Ok(mut client) = std::panic::catch_unwind(|| Client::of(port)) else {
            thread::sleep(std::time::Duration::from_millis(5));
            continue;
        };
        let said = client.request("POST /count", headers, "").and_then(|()| client.response());
        match said {
            Ok(said) if said.status == 200 => return said.body.parse().unwrap(),
            Ok(said) => assert_eq!(said.status, 503, "{said:?}"),
            Err(_) => {}
        }
    }
}

#[test]
fn every_answer_of_a_machine_is_a_response() {
    let place = place_in_memory();
    let (machine, port) = site(place.path());
    let life = Life::up(&machine);
    let mut client = Client::of(port);
    let said = client.ask("POST /echo?a=b%20c", "bödy");
    assert_eq!((said.status, said.body.as_str()), (200, "a=b%20c|bödy"));
    for (path, status, body) in [
        ("/nothing", 404, ""),
        ("/bytes", 502, "the machine's answer is no response: "),
        ("/split", 502, "the machine's answer is no response: the value of its header a is none\n"),
        ("/early", 502, "the machine's answer is no response: its status is not from 200 to 599\n"),
        ("/refuse", 500, "machine's own code: not today\n"),
        ("/crash", 500, "machine's own code: "),
    ] {
        let said = client.ask(&format!("GET {path}"), "");
        assert!(said.status == status && said.body.starts_with(body), "{path}: {said:?}");
    }
    client.request("GET /header", "X-One: 1\r\nx-one: 2\r\n", "").unwrap();
    assert_eq!(client.response().unwrap().body, "1");
    client.request("HEAD /count", "", "").unwrap();
    let head = client.until("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 1\r\n"), "{head}");
    assert_eq!(client.ask("GET /count", "").body, "2", "no body came of the request before");
    let _ = life.stop().0.ok();
}

#[test]
fn what_is_no_request_or_too_much_of_one_does_not_reach_the_machine() {
    let place = place_in_memory();
    let (machine, port) = site(place.path());
    let life = Life::up(&machine);
    let said = |bytes: &[u8]| {
        let mut client = Client::of(port);
        // It may hang up before it has heard all.
        let _ = client.send(bytes);
        client.response().map(|said| said.status)
    };
    assert_eq!(said(b"what\r\n\r\n").unwrap(), 400);
    assert_eq!(said(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap(), 400);
    assert_eq!(said(b"GET /count HTTP/1.1\r\nContent-Length: x\r\n\r\n").unwrap(), 400);
    assert_eq!(said(b"GET /count HTTP/1.1\r\nA: b\x00c\r\n\r\n").unwrap(), 400);
    assert_eq!(said(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)).as_bytes()).unwrap() / 100, 4);
    assert_eq!(said(format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(200)).as_bytes()).unwrap(), 431);
    assert_eq!(said(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n").unwrap(), 413);
    // It is not clear who is asked for what.
    assert_eq!(said(b"GET /count HTTP/1.1\r\n\r\n").unwrap(), 400);
    assert_eq!(said(b"GET /count HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n").unwrap(), 400);
    assert_eq!(said(b"GET /count HTTP/1.1\r\nHost: a b\r\n\r\n").unwrap(), 400);
    assert_eq!(said(b"GET http://b/count HTTP/1.1\r\nHost: a\r\n\r\n").unwrap(), 400);
    assert_eq!(said(b"GET * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap(), 400);
    assert_eq!(said(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").unwrap(), 501);
    assert_eq!(said(b"GET http://a/nothing HTTP/1.1\r\nHost: a\r\n\r\n").unwrap(), 404);
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(1 << 20));
    let chunked = format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(9));
    assert_eq!(said(chunked.as_bytes()).unwrap(), 413);
    // A body that ends too early, and one that is none.
    drop(said(b"POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"));
    let mut client = Client::of(port);
    client.send(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345").unwrap();
    drop(client);
    assert_eq!(ask(port, "POST /echo", &"x".repeat(8_000_000)).body.len(), 8_000_001);
    assert_eq!(send(&machine, ""), "0 0", "the machine has seen none of these");
    let _ = life.stop().0.ok();
}

#[test]
fn clients_that_go_have_gone_for_the_machine() {
    let place = place_in_memory();
    let (machine, port) = site(place.path());
    let mut life = Life::up(&machine);
    let waiting = |count: usize| {
        let clients = (0..count).map(|_| {
            let mut client = Client::of(port);
            client.request("GET /never", "", "").unwrap();
            client
        });
        clients.collect::<Vec<_>>()
    };
    let clients = waiting(300);
    wait_until(|| send(&machine, "") == "300 0");
    drop(clients);
    wait_until(|| send(&machine, "") == "300 300");
    // Those that the host forsakes have gone, too.
    let clients = waiting(20);
    wait_until(|| send(&machine, "") == "320 300");
    let _ = life.kill();
    drop(clients);
    life = Life::up(&machine);
    wait_until(|| send(&machine, "") == "320 320");
    // And so have those that read nothing of what is sent to them.
    let mut slow = Client::slow(port);
    slow.request("GET /flood", "", "").unwrap();
    wait_until(|| send(&machine, "") == "321 321");
    assert_eq!(ask(port, "GET /count", "").body, "322", "others are served");
    drop(slow);
    // Nor is one waited for that has sent more than it was answered, and has hung up.
    let mut hasty = Client::of(port);
    for _ in 0..3 {
        hasty.request("GET /never", "", "").unwrap();
    }
    wait_until(|| send(&machine, "") == "323 321");
    drop(hasty);
    wait_until(|| send(&machine, "").ends_with(" 322"));
    let _ = life.stop().0.ok();
}

/// What has begun and not ended is never taken for a whole, and whoever waits hears that it is not known whether they were heard.
#[test]
fn a_stop_tells_clients_nothing_false() {
    let place = place_in_memory();
    let (machine, port) = site(place.path());
    let life = Life::up(&machine);
    let begun = |version: &str| {
        let mut client = Client::of(port);
        client.send(format!("GET /begun HTTP/{version}\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        client.until("begun").unwrap();
        client
    };
    let (mut old, mut new) = (begun("1.0"), begun("1.1"));
    let mut waiting = Client::of(port);
    waiting.request("GET /never", "", "").unwrap();
    let mut with_key = Client::of(port);
    with_key.request("GET /never", "Idempotency-Key: 1\r\n", "").unwrap();
    let mut idle = Client::of(port);
    assert_eq!(idle.ask("GET /nothing", "").status, 404);
    wait_until(|| send(&machine, "") == "2 0");
    let _ = life.stop().0.ok();
    let error = old.until("no more").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "an end in order would be the end of the body");
    let rest = new.to_the_end();
    assert!(!rest.contains("0\r\n\r\n"), "{rest:?} ends the body");
    let said = waiting.response().unwrap();
    assert_eq!((said.status, said.head.contains("retry-after")), (503, false), "{said:?}");
    assert!(said.body.contains("whether it did what was asked is not known"), "{said:?}");
    let said = with_key.response().unwrap();
    assert_eq!((said.status, said.head.contains("retry-after: 1")), (503, true), "{said:?}");
    assert_eq!(idle.to_the_end(), "");
}

/// Many that send slowly, or nothing at all, keep nobody from being heard.
#[test]
fn bodies_that_do_not_come_keep_no_room_from_others() {
    let place = place_in_memory();
    let (machine, port) = site(place.path());
    let life = Life::up(&machine);
    let idle: Vec<_> = (0..100)
        .map(|_| {
            let mut client = Client::of(port);
            client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\nx").unwrap();
            client
        })
        .collect();
    assert_eq!(ask(port, "POST /echo", &"x".repeat(8_000_000)).body.len(), 8_000_001);
    assert_eq!(ask(port, "POST /echo", "x").body, "|x");
    drop(idle);
    let _ = life.stop().0.ok();
}

#[test]
fn a_server_is_granted_and_has_its_address_alone() {
    let place = place_in_memory();
    let (machine, port) = site(place.path());
    let grant = format!("http:{port}");
    assert_eq!(status(&machine)["grants"].as_array().unwrap().last().unwrap()["name"], grant);
    // A message to a machine that is stopped opens no server.
    let other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert_eq!(send(&machine, ""), "0 0");
    let error = run(["start", machine.to_str().unwrap()]).fails(1);
    assert!(error.contains(&format!("the port {grant} cannot be opened")) && error.contains("in use"), "{error}");
    assert!(error.contains(&format!("something else listens on {port}")), "{error}");
    drop(other);
    let life = Life::up(&machine);
    assert_eq!(ask(port, "GET /count", "").body, "1");
    let (ran, _) = life.stop();
    assert!(ran.ok().is_empty());
    let refused = |seed: &Path, grant: &str| {
        let folder = place.path().join("none");
        let args = ["boot", folder.to_str().unwrap(), seed.to_str().unwrap(), "--grant", grant];
        let error = run(args).fails(1);
        assert!(!folder.exists());
        error
    };
    let program = place.path().join("site.abide");
    assert!(refused(&program, "http:localhost").contains("this version has no such port"));
    assert!(refused(&program, "https:1").contains("the seed does not ask for it"));
    assert!(refused(&example("counter/counter.abide"), "http:1").contains("the seed does not ask for it"));
    fs::write(&program, "(def ports [7]) (def start 0) (def (main self input) [self []])").unwrap();
    assert!(refused(&program, "http:1").contains("ports is no row of texts"));
}

/// Connections take no files that the machine needs: those that there is no room for wait.
#[test]
fn idle_connections_leave_the_machine_its_files() {
    let place = place_in_memory();
    let (machine, port) = site(place.path());
    let mut limited = Command::new("sh");
    limited.env("ABIDE_CACHE", binary().with_file_name("abide-test-cache"));
    limited.args(["-c", r#"ulimit -n 300; exec "$0" start "$1""#]).arg(binary()).arg(&machine);
    let mut life = Life::of(limited);
    drop(life.talk(&machine));
    assert_eq!(ask(port, "GET /count", "").body, "1");
    let idle: Vec<_> = (0..200).map(|_| Client::of(port)).collect();
    for _ in 0..100 {
        assert_eq!(send(&machine, ""), "1 0");
    }
    drop(idle);
    assert_eq!(ask(port, "GET /count", "").body, "2");
    let _ = life.stop().0.ok();
}
