//! Machines that call others: every way in which a call can end, what is granted, and what others see of calls of a machine that is killed or copied.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tests::abide::{
    Answer, Life, Talk, abide, boot, copy_folder, example, finish, place_in_memory, run, send, status, verify,
};
use tests::server::{Asked, Said, Server, response};
use tests::web::{free_port, wait_until};

/// Makes the call that it is sent: a method, an address, how many milliseconds it may take, how many bytes may come. `all N URL` makes N of them;
/// `end` cancels all.
const CALLER: &str = r#"
(def ports ["http-client"])
(def start {"next" 1 "owed" {} "grants" []})
(def (call self method url ms most reply)
  (let (n (at "next" self))
    [(insert "next" (inc n) (insert "owed" (insert n reply (at "owed" self)) self))
     [(asks n (client-port url (at "grants" self))
        (http-call method url [["x-one" "1"]] (if (eql method "POST") "body" "")
          (or-else 0 (parse-nat ms)) (or-else 0 (parse-nat most))))]]))
(def (settled self n f)
  (let (reply (at n (at "owed" self)))
    [(insert "owed" (delete n (at "owed" self)) self) (if reply [(f reply)] [])]))
(def (main self input)
  (case input
    ["boot" grants] [(insert "grants" grants self) []]
    ["message" 0 _ reply line]
      (case (words line)
        [method url ms most] (call self method url ms most reply)
        ["all" n url] (case (fold (fn (made _)
                                    (case (call (idx 0 made) "GET" url "600000" "0" 0)
                                      [after asked] [after (weld (idx 1 made) asked)]))
                              [self []]
                              (range (or-else 0 (parse-nat n))))
                        [after asked] [after (snoc asked (answers reply "asked"))])
        ["end"] [(insert "owed" {} self)
                 (snoc (map cancels (rev (keys (at "owed" self)))) (answers reply "ended"))]
        _ [self [(answers reply (text (table-len (at "owed" self))))]])
    ["answer" n _ payload]
      (case (read-response payload)
        [status headers body url]
          (settled self n (fn (reply)
            (answers reply (text [status " " url " " (header-in "x-said" headers) "|" body])))))
    ["broken" n code why] (settled self n (fn (reply) (refuses reply (add 64 code) why)))
    _ [self []]))
"#;

/// Codes of broken requests, as that machine refuses with them.
const NOT_GRANTED: &str = "code 68: ";
const LOST: &str = "code 67: ";
const LIMIT: &str = "code 69: ";
const MALFORMED: &str = "code 70: ";
const FAILED: &str = "code 72: ";

fn caller(folder: &Path, grants: &[&str]) -> PathBuf {
    let (machine, program) = (folder.join("m"), folder.join("caller.abide"));
    fs::write(&program, CALLER).unwrap();
    let grants: Vec<String> = grants.iter().map(|grant| format!("http-client:{grant}")).collect();
    boot(&machine, &program, &grants.iter().flat_map(|grant| ["--grant", grant]).collect::<Vec<_>>());
    machine
}

/// What comes of a call by a machine that runs for it alone: what it answers, or `code N: why`.
fn call_with(machine: &Path, line: &str, change: impl FnOnce(&mut Command)) -> String {
    let mut command = abide(["send".as_ref(), machine.as_os_str(), line.as_ref()]);
    change(&mut command);
    let ran = finish(&mut command);
    match ran.status.code() {
        Some(0) => String::from_utf8_lossy(&ran.out).trim_end_matches('\n').to_owned(),
        _ => ran.err.trim_end().trim_start_matches("error: the machine refused: ").to_owned(),
    }
}

fn call(machine: &Path, line: &str) -> String {
    call_with(machine, line, |_| ())
}

/// Serves in every way that there is.
fn say(asked: &Asked) -> Said {
    let bytes = |text: &str| Said::Bytes(text.as_bytes().to_vec());
    match asked.target() {
        "/slow" => Said::Hold(Vec::new()),
        "/slow-body" => Said::Hold(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec()),
        "/reset" => Said::Reset,
        "/nothing" => bytes(""),
        "/short" => bytes("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"),
        "/long" => bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlonger than it says"),
        "/chunked" => bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        "/chunk-cut" => bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        "/chunk-bad" => bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"),
        "/to-the-end" => bytes("HTTP/1.1 200 OK\r\n\r\nuntil it closes"),
        "/early" => {
            bytes("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        }
        "/switch" => bytes("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        "/no-http" => bytes("SSH-2.0-OpenSSH_9.2\r\n"),
        "/no-status" => bytes("HTTP/1.1 abc OK\r\n\r\n"),
        "/two-lengths" => bytes("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        "/many-headers" => bytes(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200))),
        "/big-head" => bytes(&format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(100_000))),
        "/zipped" => response(200, "Content-Encoding: gzip\r\nX-Said: gzip\r\n", "not unpacked"),
        "/cookie" => response(200, "Set-Cookie: a=b\r\n", asked.header("cookie").unwrap_or("none")),
        "/big" => response(200, "", &"x".repeat(3 << 20)),
        "/endless" => Said::Hold([b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &[b'x'; 100_000]].concat()),
        "/missing" => response(404, "", "none"),
        "/deep/er/" => response(303, "Location: ../end?x#y\r\n", ""),
        "/empty" => bytes("HTTP/1.1 204 No Content\r\n\r\n"),
        path => match path.strip_prefix("/to/").and_then(|rest| rest.split_once('/')) {
            Some((status, location)) => {
                response(status.parse().unwrap(), &format!("Location: {location}\r\n"), "elsewhere")
            }
            None => {
                let shown = ["x-one", "accept-encoding", "user-agent", "connection", "content-length", "cookie"];
                let shown = shown.map(|name| asked.header(name).unwrap_or("-")).join(" ");
                response(
                    200,
                    "X-Said: this\r\nConnection: close\r\n",
                    &format!("{} {shown} {}", asked.line, asked.body),
                )
            }
        },
    }
}

#[test]
fn every_way_in_which_a_call_can_end() {
    let (place, server, dead) = (place_in_memory(), Server::of(say), free_port());
    let (origin, away) = (format!("http://127.0.0.1:{}", server.port()), format!("http://127.0.0.1:{dead}"));
    let machine = caller(place.path(), &["*"]);
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    let mut said = |line: &str| match talk.say("", line).unwrap() {
        Answer::Said(text) => text,
        Answer::Refused(code, text) => format!("code {code}: {text}"),
        Answer::Accepted => unreachable!("an answer is wanted"),
    };
    let host = "127.0.0.1";
    for (path, expected) in [
        ("/a?b=c#d", format!("200 {origin}/a?b=c this|GET /a?b=c HTTP/1.1 1 - - close - - ")),
        ("/x/../y/.", format!("200 {origin}/y/ this|GET /y/ HTTP/1.1 1 - - close - - ")),
        ("/missing", format!("404 {origin}/missing |none")),
        ("/empty", format!("204 {origin}/empty |")),
        ("/long", format!("200 {origin}/long |long")),
        ("/chunked", format!("200 {origin}/chunked |abcde")),
        ("/to-the-end", format!("200 {origin}/to-the-end |until it closes")),
        ("/early", format!("200 {origin}/early |ok")),
        ("/zipped", format!("200 {origin}/zipped gzip|not unpacked")),
        ("/cookie", format!("200 {origin}/cookie |none")),
        ("/cookie", format!("200 {origin}/cookie |none")),
        ("/reset", format!("{LOST}the connection to {host} broke: ")),
        ("/nothing", format!("{LOST}the answer of {host} ended too early")),
        ("/short", format!("{LOST}the answer of {host} ended too early")),
        ("/chunk-cut", format!("{LOST}the answer of {host} ended too early")),
        ("/chunk-bad", format!("{LOST}the connection to {host} broke: ")),
        ("/switch", format!("{LOST}{host} answered with the status 101")),
        ("/no-http", format!("{LOST}what {host} answered is no HTTP: ")),
        ("/no-status", format!("{LOST}what {host} answered is no HTTP: ")),
        ("/two-lengths", format!("{LOST}what {host} answered is no HTTP: ")),
        ("/many-headers", format!("{LIMIT}the answer of {host} has a head of more than 100 headers or 65536 bytes")),
        ("/big-head", format!("{LIMIT}the answer of {host} has a head of more than 100 headers or 65536 bytes")),
        ("/big", format!("{LIMIT}the answer of {host} has more than 65536 bytes")),
        ("/endless", format!("{LIMIT}the answer of {host} has more than 65536 bytes")),
    ] {
        let found = said(&format!("GET {origin}{path} 30000 65536"));
        assert!(found.starts_with(&expected) && (found.len() < expected.len() + 120), "{path}: {found}");
    }
    for path in ["/slow", "/slow-body"] {
        let expected = format!("{LOST}no answer came from {origin} within 200 ms");
        assert_eq!(said(&format!("GET {origin}{path} 200 65536")), expected, "{path}");
    }
    let posted = said(&format!("POST {origin}/p 30000 65536"));
    assert_eq!(posted, format!("200 {origin}/p this|POST /p HTTP/1.1 1 - - close 4 - body"));
    assert!(said(&format!("PUT {origin}/p 30000 65536")).ends_with("PUT /p HTTP/1.1 1 - - close 0 - "));
    assert_eq!(said(&format!("HEAD {origin}/big 30000 0")), format!("200 {origin}/big |"));
    assert_eq!(said(&format!("GET {origin}/missing 30000 4")), format!("404 {origin}/missing |none"));
    assert!(said(&format!("GET {origin}/missing 30000 3")).starts_with(LIMIT));
    assert!(
        said(&format!("GET {away}/ 30000 0"))
            .starts_with(&format!("{FAILED}{host} cannot be reached at {host}:{dead}: "))
    );
    assert!(
        said("GET http://nowhere.invalid/ 30000 0").starts_with(&format!("{FAILED}nowhere.invalid has no address: "))
    );
    for malformed in [
        "GET ftp://a/ 1 0",
        "GET http://a/ 0 0",
        "CONNECT http://a/ 1 0",
        "GET http://u:p@a/ 1 0",
        "GET http://a/ 1 9999999",
    ] {
        assert!(said(malformed).starts_with(MALFORMED), "{malformed}");
    }
    let _ = life.stop().0.ok();
    // By a machine that runs for one message alone, too.
    assert_eq!(call(&machine, &format!("GET {origin}/missing 30000 65536")), format!("404 {origin}/missing |none"));
    verify(&machine);
}

#[test]
fn redirects_are_followed_within_the_grant() {
    let (place, server, other) = (place_in_memory(), Server::of(say), Server::of(say));
    let (origin, elsewhere) =
        (format!("http://127.0.0.1:{}", server.port()), format!("http://127.0.0.1:{}", other.port()));
    let machine = caller(place.path(), &[&origin]);
    for (path, url, line) in [
        ("/to/302/next", "/to/302/next", "GET /to/302/next"),
        ("/to/301//end", "/end", "GET /end"),
        ("/deep/er/", "/deep/end?x", "GET /deep/end?x"),
    ] {
        let found = call(&machine, &format!("GET {origin}{path} 30000 65536"));
        if url == path {
            // Its own address, relative: it leads to itself.
            assert_eq!(found, format!("{LOST}it was redirected more than 10 times"), "{path}");
        } else {
            assert!(found.starts_with(&format!("200 {origin}{url} this|{line} HTTP/1.1")), "{path}: {found}");
        }
    }
    // What is sent is sent on, or not, by the status.
    for (status, line) in [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")] {
        let found = call(&machine, &format!("POST {origin}/to/{status}//end 30000 65536"));
        let body = if line == "POST" { "body" } else { "" };
        assert!(found.contains(&format!("|{line} /end HTTP/1.1")) && found.ends_with(body), "{status}: {found}");
    }
    // One that leads out of the grant, or nowhere, is the answer.
    for location in [format!("{elsewhere}/x"), "ftp://a/".to_owned(), "http://u@a/".to_owned()] {
        let found = call(&machine, &format!("GET {origin}/to/302/{location} 30000 65536"));
        assert_eq!(found, format!("302 {origin}/to/302/{location} |elsewhere"));
    }
    assert_eq!(other.asked().len(), 0);
    // All hops of a call have its key, and no other call has.
    let keys: Vec<String> =
        server.asked().iter().map(|asked| asked.header("idempotency-key").unwrap().to_owned()).collect();
    assert!(keys[..11].iter().all(|key| *key == keys[0]) && keys[11] == keys[12] && keys[11] != keys[0], "{keys:?}");
}

#[test]
fn what_is_not_granted_is_not_called() {
    let (place, server) = (place_in_memory(), Server::of(say));
    let origin = format!("http://127.0.0.1:{}", server.port());
    let machine = caller(place.path(), &[&format!("{origin}/api"), "https://example.org"]);
    let grants = status(&machine)["grants"].as_array().unwrap().clone();
    assert_eq!(grants[4]["name"], format!("http-client:{origin}/api"));
    assert_eq!(grants[5]["name"], "http-client:https://example.org");
    assert!(call(&machine, &format!("GET {origin}/api/x 30000 65536")).starts_with("200 "));
    assert!(call(&machine, &format!("GET {origin}/to/302//api 30000 65536")).starts_with(NOT_GRANTED));
    for path in ["/", "/apis", "/api/../x", "/api/%2e%2e/x", "/api/..%2fx"] {
        let found = call(&machine, &format!("GET {origin}{path} 30000 65536"));
        assert_eq!(found, format!("{NOT_GRANTED}{origin} is not granted"), "{path}");
    }
    let port = server.port() ^ 1;
    assert!(call(&machine, &format!("GET http://127.0.0.1:{port}/api 30000 0")).starts_with(NOT_GRANTED));
    assert_eq!(server.asked().len(), 1);
    // What a person may grant, to a seed that asks for one origin.
    let program = place.path().join("one.abide");
    fs::write(&program, CALLER.replace("\"http-client\"]", "\"http-client:https://example.org\"]")).unwrap();
    let try_grant = |grant: &str| {
        let folder = place.path().join("granted");
        let _ = fs::remove_dir_all(&folder);
        run(["boot", folder.to_str().unwrap(), program.to_str().unwrap(), "--grant", grant])
    };
    let _ = try_grant("http-client:https://example.org/api").ok();
    for more in ["http-client:*", "http-client:http://example.org", "http-client:https://example.org:8443"] {
        assert!(try_grant(more).fails(1).contains("the seed does not ask for it"), "{more}");
    }
    fs::write(&program, CALLER).unwrap();
    for none in
        ["http-client", "http-client:", "http-client:ftp://a", "http-client:https://a?b", "http-client:https://u@a"]
    {
        assert!(try_grant(none).fails(1).contains("this version has no such port"), "{none}");
    }
}

/// Nothing that was not granted comes from the environment.
#[test]
fn no_proxy_is_asked() {
    let (place, server) = (place_in_memory(), Server::of(say));
    let machine = caller(place.path(), &["*"]);
    let proxy = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let found = call_with(&machine, &format!("GET http://127.0.0.1:{}/missing 30000 9", server.port()), |command| {
        for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env(name, &address);
        }
    });
    assert!(found.starts_with("404 "), "{found}");
    proxy.set_nonblocking(true).unwrap();
    assert!(proxy.accept().is_err());
}

#[test]
fn calls_over_sixty_four_wait_and_cancelled_ones_end() {
    let (place, server) = (place_in_memory(), Server::of(say));
    let machine = caller(place.path(), &["*"]);
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    let url = format!("http://127.0.0.1:{}", server.port());
    assert_eq!(talk.ask(&format!("all 100 {url}/slow")), "asked");
    let _ = server.wait_for(64);
    thread::sleep(Duration::from_millis(300));
    assert_eq!((server.asked().len(), talk.ask("")), (64, "100".to_owned()));
    assert_eq!(talk.ask("end"), "ended");
    assert_eq!(talk.ask(""), "0");
    // There is room again, and none of those that waited is made.
    assert!(talk.ask(&format!("GET {url}/missing 30000 9")).starts_with("404 "));
    assert_eq!(server.asked().len(), 65);
    let _ = life.stop().0.ok();
    verify(&machine);
}

fn key(asked: &Asked) -> String {
    let key = asked.header("idempotency-key").expect("a call has a key");
    assert!(key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    key.to_owned()
}

/// A server that does not answer for the first so many times.
fn late(times: usize) -> Server {
    let count = AtomicUsize::new(0);
    Server::of(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        seen if seen < times => Said::Hold(Vec::new()),
        _ => response(200, "", "done"),
    })
}

/// A call that is under way when its machine is killed is made again, as the same call, and settles once.
#[test]
fn a_call_survives_kills_under_its_key() {
    const KILLS: usize = 5;
    let (place, server) = (place_in_memory(), late(KILLS));
    let machine = caller(place.path(), &["*"]);
    let line = format!("POST http://127.0.0.1:{}/order 600000 65536", server.port());
    let say = |machine: PathBuf, key: String, line: String| {
        move || Talk::with(&machine).and_then(|mut talk| talk.say(&key, &line))
    };
    for kill in 0..KILLS {
        let mut life = Life::start(&machine);
        let _ = life.talk(&machine);
        let asking = thread::spawn(say(machine.clone(), "order".to_owned(), line.clone()));
        let _ = server.wait_for(kill + 1);
        if kill == 2 {
            let _ = life.stop().0.ok();
        } else {
            let _ = life.kill();
        }
        assert!(asking.join().unwrap().is_err(), "nothing was answered");
    }
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    let done = format!("200 http://127.0.0.1:{}/order |done", server.port());
    assert_eq!(talk.say("order", &line).unwrap(), Answer::Said(done.clone()));
    let keys: Vec<String> = server.asked().iter().map(key).collect();
    assert_eq!(keys.len(), KILLS + 1);
    assert!(keys.iter().all(|known| *known == keys[0]), "{keys:?}");
    assert!(server.asked().iter().all(|asked| asked.body == "body"));
    // Settled, it is not made again; another that is equal in all but its number is another.
    let _ = life.kill();
    assert_eq!(send(&machine, ""), "0");
    assert_eq!(call(&machine, &line), done);
    assert_eq!(call(&machine, &line), done);
    let asked = server.wait_for(KILLS + 3);
    let others: Vec<String> = asked[KILLS..].iter().map(key).collect();
    assert!(others[0] != others[1] && others[1] != others[2] && others[0] != others[2], "{others:?}");
    verify(&machine);
}

/// Two live copies make the call that was under way when they parted as the same call, and each of their own as another, though number and
/// words are the same.
#[test]
fn copies_do_not_swallow_each_others_calls() {
    let (place, server) = (place_in_memory(), late(1));
    let machine = caller(place.path(), &["*"]);
    let line = format!("POST http://127.0.0.1:{}/order 600000 65536", server.port());
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    assert_eq!(talk.ask(&format!("all 1 http://127.0.0.1:{}/order", server.port())), "asked");
    let parted = key(&server.wait_for(1)[0]);
    let _ = life.kill();
    let (copy, saved, seed) = (place.path().join("copy"), place.path().join("saved"), place.path().join("m.seed"));
    copy_folder(&machine, &copy);
    let _ = run(["save".as_ref(), seed.as_os_str(), machine.as_os_str()]).ok();
    boot(&saved, &seed, &["--grant", "http-client:*"]);
    let mut keys = Vec::new();
    for one in [&machine, &copy, &saved] {
        let before = server.asked().len();
        let life = Life::start(one);
        let _ = server.wait_for(before + 1);
        wait_until(|| send(one, "") == "0");
        assert!(send(one, &line).ends_with("|done"));
        let _ = life.stop().0.ok();
        keys.push(server.asked()[before..].iter().map(key).collect::<Vec<_>>());
        verify(one);
    }
    assert!(keys.iter().all(|keys| keys.len() == 2), "{keys:?}");
    assert_eq!((&keys[0][0], &keys[1][0]), (&parted, &parted));
    assert!(keys[0][1] != keys[1][1], "each incarnation's call is its own");
    // A seed knows no log: what it makes again is a call of its own.
    assert!(keys[2][0] != parted && keys[2][1] != keys[2][0] && keys[2][1] != keys[0][1] && keys[2][1] != keys[1][1]);
}

/// The example: feeds that come late, change, lie, redirect and break, and a reader that is killed while it fetches.
#[test]
fn a_reader_of_feeds_goes_on_through_kills() {
    let place = place_in_memory();
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let server = Server::of(move |asked| {
        let item = |title: &str| format!("<item><title>{title}</title></item>");
        match asked.target() {
            "/rss" => response(200, "", &item("one")),
            "/moved" => response(301, "Location: /rss\r\n", ""),
            "/late" if is_broken.load(Ordering::SeqCst) => Said::Hold(Vec::new()),
            "/late" => response(200, "", &item("late")),
            _ => say(asked),
        }
    });
    let (machine, origin) = (place.path().join("feeds"), format!("http://127.0.0.1:{}", server.port()));
    boot(&machine, &example("feeds/feeds.abide"), &["--grant", &format!("http-client:{origin}")]);
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    assert_eq!(talk.ask("every 1"), "from the next time on");
    let paths = ["rss", "moved", "late", "short", "reset", "big", "missing"];
    for path in paths {
        assert_eq!(talk.ask(&format!("add {origin}/{path}")), "added");
    }
    assert_eq!(talk.ask("add http://127.0.0.1:1/feed"), "added");
    let mut printed: Vec<_> = (0..2).map_while(|_| life.line()).collect();
    printed.sort();
    assert_eq!(printed, [format!("{origin}/moved: one"), format!("{origin}/rss: one")]);
    let fetches =
        |path: &str| server.asked().iter().filter(|asked| asked.target() == path).map(key).collect::<Vec<_>>();
    wait_until(|| fetches("/late").len() == 1);
    let _ = life.kill();
    let mut life = Life::start(&machine);
    wait_until(|| fetches("/late").len() == 2);
    broken.store(false, Ordering::SeqCst);
    let _ = life.kill();
    life = Life::start(&machine);
    assert_eq!(life.line(), Some(format!("{origin}/late: late")), "and nothing that was printed before");
    let late = fetches("/late");
    assert!(late[0] == late[1] && late[1] == late[2] && late.get(3) != Some(&late[2]), "{late:?}");
    // They are fetched again and again, each time as another call.
    let before = fetches("/rss").len();
    wait_until(|| fetches("/rss").len() > before + 1);
    let mut talk = life.talk(&machine);
    let listed = talk.ask("list");
    for line in [
        "/rss (1 titles)\n  one\n",
        "/moved (1 titles)\n  one\n",
        "/late (1 titles)\n  late\n",
        "/missing (the server says 404)\n",
        "/short (the answer of 127.0.0.1 ended too early)\n",
        "/reset (the connection to 127.0.0.1 broke: ",
        "/big (the answer of 127.0.0.1 has more than 1048576 bytes)\n",
    ] {
        assert!(listed.contains(&format!("{origin}{line}")), "{line}: {listed}");
    }
    assert!(listed.contains("http://127.0.0.1:1/feed (http://127.0.0.1:1 is not granted)\n"), "{listed}");
    for path in paths {
        assert_eq!(talk.ask(&format!("drop {origin}/{path}")), "dropped");
    }
    let _ = life.stop().0.ok();
    verify(&machine);
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    /// A server whose certificate is for a name, until a year.
    fn server(&self, name: &str, year: i32) -> Server {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(year, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let builder = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Server::secure(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap(), say)
    }
}

#[test]
fn a_server_is_who_it_says_or_is_not_called() {
    let place = place_in_memory();
    let (known, unknown) = (Authority::new("known"), Authority::new("unknown"));
    let roots = place.path().join("roots.pem");
    fs::write(&roots, known.issuer.pem()).unwrap();
    let machine = caller(place.path(), &["*"]);
    let by = |server: &Server, host: &str| {
        call_with(&machine, &format!("GET https://{host}:{}/missing 30000 9", server.port()), |command| {
            command.env("SSL_CERT_FILE", &roots).env_remove("SSL_CERT_DIR");
        })
    };
    let good = known.server("localhost", 4000);
    assert_eq!(by(&good, "localhost"), format!("404 https://localhost:{}/missing |none", good.port()));
    let address = known.server("127.0.0.1", 4000);
    assert!(by(&address, "127.0.0.1").starts_with("404 "));
    for (server, host, why) in [
        (&unknown.server("localhost", 4000), "localhost", "UnknownIssuer"),
        (&known.server("localhost", 2001), "localhost", "expired"),
        (&good, "127.0.0.1", "not valid for name"),
        (&known.server("elsewhere.example", 4000), "localhost", "not valid for name"),
        (&Server::of(say), "localhost", ""),
    ] {
        let found = by(server, host);
        let expected = format!("{FAILED}TLS with {host} failed: ");
        assert!(found.starts_with(&expected) && found.contains(why), "{why}: {found}");
        assert!(server.asked().iter().all(|asked| !asked.target().contains("missing")) || host == "127.0.0.1");
    }
    // No roots at all.
    fs::write(&roots, "").unwrap();
    let found = by(&good, "localhost");
    assert!(found.contains("this host has no roots of trust") && found.contains("SSL_CERT_FILE"), "{found}");
    // From one that is secure to one that is not nothing is followed.
    fs::write(&roots, known.issuer.pem()).unwrap();
    let plain = Server::of(say);
    let to = format!("http://localhost:{}/end", plain.port());
    let found =
        call_with(&machine, &format!("GET https://localhost:{}/to/302/{to} 30000 99", good.port()), |command| {
            command.env("SSL_CERT_FILE", &roots);
        });
    assert!(found.starts_with("302 ") && plain.asked().is_empty(), "{found}");
}
