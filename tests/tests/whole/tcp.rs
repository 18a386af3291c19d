//! Machines that speak TCP: what comes of connections when others go, flood, stall and lie, and when the host is killed.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use seed::cbor::{Reader, Writer};
use tests::abide::{Life, PATIENCE, Talk, abide, binary, boot, finish, place_in_memory, run, send, status, verify};
use tests::web::{free_port, wait_until};

/// Asks ports what it is told to ask, and tells what came of it: each line of a message is an output, `what` a question.
const PUPPET: &str = r#"
(def ports ["tcp-listen" "tcp-connect"])
(def start {})
(def (hex t) (or-else "" (parse-hex (bytes-drop 1 t))))
(def (nat-of t) (or-else 0 (parse-nat t)))
(def (output-of line)
  (case (words line)
    ["ask" request port payload] (asks (nat-of request) (nat-of port) (hex payload))
    ["tell" port payload] (tells (nat-of port) (hex payload))
    ["pour" port connection n] (tells (nat-of port) (cbor [2 (nat-of connection) (sized-bytes (nat-of n) 0)]))
    ["cancel" request] (cancels (nat-of request))))
(def (brief payload) (if (lth 200 (bytes-len payload)) (text (bytes-len payload)) (show-hex payload)))
(def (main self input)
  (case input
    ["message" 0 _ reply line]
      (case (words line)
        ["what" request] (let (key (nat-of request)) [(delete key self) (replies reply (text (at key self)))])
        _ [self (weld (map output-of (filter bytes-len (lines line))) (replies reply ""))])
    ["answer" request _ payload] [(insert request (text ["answer " (brief payload)]) self) []]
    ["broken" request code why] [(insert request (text ["broken " code " " why]) self) []]
    _ [self []]))
"#;

/// The number of the first port that is granted.
const PORT: u64 = 4;

struct Puppet {
    machine: PathBuf,
    life: Option<Life>,
    talk: Option<Talk>,
    requests: u64,
}

impl Puppet {
    fn booted(folder: &Path, grant: &str) -> Self {
        let (machine, program) = (folder.join("m"), folder.join("puppet.abide"));
        fs::write(&program, PUPPET).unwrap();
        boot(&machine, &program, &["--grant", grant]);
        Self { machine, life: None, talk: None, requests: 0 }
    }

    /// One that listens, and where.
    fn listening(folder: &Path) -> (Self, u16) {
        let port = free_port();
        let mut puppet = Self::booted(folder, &format!("tcp-listen:{port}"));
        puppet.start();
        (puppet, port)
    }

    fn start(&mut self) {
        self.run(abide(["start".as_ref(), self.machine.as_os_str()]));
    }

    fn run(&mut self, command: Command) {
        let mut life = Life::of(command);
        self.talk = Some(life.talk(&self.machine));
        self.life = Some(life);
    }

    fn kill(&mut self) {
        self.talk = None;
        let _ = self.life.take().unwrap().kill();
    }

    fn stop(mut self) {
        self.talk = None;
        let _ = self.life.take().unwrap().stop().0.ok();
        assert_eq!(status(&self.machine)["undelivered_effects"], 0);
        verify(&self.machine);
    }

    fn do_all(&mut self, lines: &[String]) {
        assert_eq!(self.talk.as_mut().unwrap().ask(&lines.join("\n")), "");
    }

    /// Asks, and does not wait for what comes of it.
    fn ask(&mut self, payload: &[u8]) -> u64 {
        self.requests += 1;
        self.do_all(&[format!("ask {} {PORT} {}", self.requests, hex(payload))]);
        self.requests
    }

    fn tell(&mut self, payload: &[u8]) {
        self.do_all(&[format!("tell {PORT} {}", hex(payload))]);
    }

    /// What has come of a request.
    fn what(&mut self, request: u64) -> Option<String> {
        let said = self.talk.as_mut().unwrap().ask(&format!("what {request}"));
        (said != "0").then_some(said)
    }

    fn outcome(&mut self, request: u64) -> String {
        let mut found = None;
        wait_until(|| {
            found = self.what(request);
            found.is_some()
        });
        found.unwrap()
    }

    #[track_caller]
    fn answer(&mut self, request: u64) -> Vec<u8> {
        let outcome = self.outcome(request);
        unhex(outcome.strip_prefix("answer ").unwrap_or_else(|| panic!("{outcome}")))
    }

    /// What comes of it if it is asked now.
    fn comes_of(&mut self, payload: &[u8]) -> String {
        let request = self.ask(payload);
        self.outcome(request)
    }

    /// Lets somebody in: the connection's number, and from where.
    fn begun(&mut self, request: u64) -> (u64, String) {
        let payload = self.answer(request);
        let mut reader = Reader::new(&payload);
        reader.array_of(2).unwrap();
        let begun = (reader.uint().unwrap(), String::from_utf8(reader.bytes().unwrap().to_vec()).unwrap());
        reader.end().unwrap();
        begun
    }

    fn accept(&mut self) -> u64 {
        let request = self.ask(&begin());
        self.begun(request).0
    }

    fn read(&mut self, connection: u64, most: u64) -> Vec<u8> {
        let request = self.ask(&read(connection, most));
        self.answer(request)
    }
}

/// As the puppet reads it: with an x before, so that nothing is a word, too.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn begin() -> Vec<u8> {
    vec![0x81, 0]
}

fn read(connection: u64, most: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(3).uint(1).uint(connection).uint(most);
    writer.finish()
}

fn write(connection: u64, bytes: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(3).uint(2).uint(connection).bytes(bytes);
    writer.finish()
}

fn close(connection: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(2).uint(3).uint(connection);
    writer.finish()
}

fn client(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// All that comes until the end.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Closes so that the other end sees it broken off.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

const CLOSED: &str = "broken 7 this connection is closed";
const LOST: &str = "broken 3 this connection ended with the host's run that it was of";

#[test]
fn connections_are_taken_read_written_and_closed() {
    let place = place_in_memory();
    let (mut puppet, port) = Puppet::listening(place.path());
    let accept = puppet.ask(&begin());
    assert_eq!(puppet.what(accept), None, "nobody has come yet");
    let mut one = client(port);
    let (connection, from) = puppet.begun(accept);
    assert_eq!(from, one.local_addr().unwrap().to_string());
    let waiting = puppet.ask(&read(connection, 100));
    assert_eq!(puppet.what(waiting), None, "nothing has come yet");
    assert_eq!(puppet.comes_of(&read(connection, 1)), "broken 1 this connection is being read");
    one.write_all(b"hello").unwrap();
    assert_eq!(puppet.answer(waiting), b"hello");
    one.write_all(b"abcdef").unwrap();
    assert_eq!(puppet.read(connection, 2), b"ab");
    assert_eq!(puppet.read(connection, 3), b"cde");
    assert_eq!(puppet.comes_of(&write(connection, b"one ")), "answer ");
    puppet.tell(&write(connection, b"two "));
    assert_eq!(puppet.comes_of(&write(connection, b"")), "answer ");
    // The other end has said all, and still listens.
    one.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(puppet.read(connection, 100), b"f");
    assert_eq!(puppet.read(connection, 100), b"");
    assert_eq!(puppet.read(connection, 100), b"");
    puppet.tell(&write(connection, b"three"));
    assert_eq!(puppet.comes_of(&close(connection)), "answer ");
    assert_eq!(rest(&one), b"one two three");
    for ask in [read(connection, 1), write(connection, b"x"), close(connection), close(u64::MAX)] {
        assert_eq!(puppet.comes_of(&ask), CLOSED);
    }
    assert_eq!(puppet.comes_of(&close(1)), LOST);
    // What was waited for ends with what it was waited for on.
    let other = client(port);
    let connection = puppet.accept();
    let waiting = puppet.ask(&read(connection, 1));
    puppet.tell(&close(connection));
    assert_eq!(puppet.outcome(waiting), "broken 7 this connection was closed");
    assert_eq!(rest(&other), b"");
    puppet.stop();
}

#[test]
fn what_is_no_request_is_malformed() {
    let place = place_in_memory();
    let (mut puppet, port) = Puppet::listening(place.path());
    let _one = client(port);
    let connection = puppet.accept();
    let golden = [read(connection, 9), write(connection, b"x"), close(connection), begin()];
    let mut wrong: Vec<Vec<u8>> = golden.iter().flat_map(|all| (0..all.len()).map(|end| all[..end].to_vec())).collect();
    wrong.extend(golden.iter().map(|all| [all, &[0][..]].concat()));
    wrong.extend([vec![0x81, 4], vec![0x82, 0, 0], vec![0x81, 0x18, 0], vec![0x9f, 0, 0xff]]);
    wrong.extend([read(connection, 0), read(connection, (1 << 20) + 1)]);
    for payload in wrong {
        let outcome = puppet.comes_of(&payload);
        assert!(outcome.starts_with("broken 6 a TCP port takes [0], [1, "), "{payload:x?}: {outcome}");
        puppet.tell(&payload);
    }
    // What nobody would hear of is not done.
    puppet.tell(&begin());
    puppet.tell(&read(connection, 9));
    let waiting = puppet.ask(&read(connection, 9));
    (&_one).write_all(b"there").unwrap();
    assert_eq!(puppet.answer(waiting), b"there");
    puppet.stop();
}

#[test]
fn connections_end_with_the_host_and_who_waits_for_one_still_does() {
    let place = place_in_memory();
    let (mut puppet, port) = Puppet::listening(place.path());
    let mut connections = Vec::new();
    for round in 0..6 {
        let one = client(port);
        connections.push(puppet.accept());
        let connection = connections[round];
        let (waiting, accept) = (puppet.ask(&read(connection, 1)), puppet.ask(&begin()));
        if round % 2 == 0 {
            puppet.kill();
        } else {
            puppet.talk = None;
            let _ = puppet.life.take().unwrap().stop().0.ok();
        }
        assert_eq!((&one).read(&mut [0]).map_err(|error| error.kind()).unwrap_or(0), 0);
        // A machine that runs for one message lets nobody in, and nothing is settled that could wait.
        assert_eq!(send(&puppet.machine, &format!("what {accept}")), "0");
        puppet.start();
        assert_eq!(puppet.outcome(waiting), LOST);
        puppet.tell(&write(connection, b"nobody is there"));
        puppet.tell(&close(connection));
        for ask in [read(connection, 1), write(connection, b"x"), close(connection)] {
            assert_eq!(puppet.comes_of(&ask), LOST);
        }
        let _other = client(port);
        connections.push(puppet.begun(accept).0);
        connections.swap_remove(round);
    }
    assert!(connections.is_sorted() && connections.windows(2).all(|pair| pair[0] < pair[1]), "{connections:?}");
    puppet.stop();
}

/// What was answered to a read that was cancelled meanwhile is there for the next; a connection that nobody was told of is closed.
#[test]
fn what_is_cancelled_has_not_been() {
    let place = place_in_memory();
    let (mut puppet, port) = Puppet::listening(place.path());
    let one = client(port);
    let connection = puppet.accept();
    for sent in 0..20 {
        (&one).write_all(&[sent, sent]).unwrap();
        // The answer is under way when the machine no longer wants it.
        puppet.requests += 1;
        let request = puppet.requests;
        puppet.do_all(&[format!("ask {request} {PORT} {}", hex(&read(connection, 100))), format!("cancel {request}")]);
        let mut heard = Vec::new();
        while heard.len() < 2 {
            heard.extend(puppet.read(connection, 100));
        }
        assert_eq!(heard, [sent, sent]);
    }
    // Nobody has come: whoever comes then is for the next.
    let accept = puppet.ask(&begin());
    puppet.do_all(&[format!("cancel {accept}")]);
    let _two = client(port);
    let next = puppet.accept();
    assert_ne!(next, connection);
    // Somebody has, and is given to a request that is cancelled at once: they are let in by the next one, or closed.
    for _ in 0..20 {
        let mut three = client(port);
        let accept = puppet.requests + 1;
        puppet.requests = accept;
        puppet.do_all(&[format!("ask {accept} {PORT} {}", hex(&begin())), format!("cancel {accept}")]);
        let next = puppet.ask(&begin());
        three.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        match three.read(&mut [0]) {
            Ok(0) => puppet.do_all(&[format!("cancel {next}")]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert_eq!(puppet.begun(next).1, three.local_addr().unwrap().to_string());
            }
            other => panic!("{other:?}"),
        }
    }
    puppet.stop();
}

#[test]
fn who_goes_without_a_word_has_failed() {
    let place = place_in_memory();
    let (mut puppet, port) = Puppet::listening(place.path());
    let one = client(port);
    let connection = puppet.accept();
    let waiting = puppet.ask(&read(connection, 1));
    reset(one);
    let outcome = puppet.outcome(waiting);
    assert!(outcome.starts_with("broken 8 Connection reset by peer"), "{outcome}");
    assert_eq!(puppet.comes_of(&write(connection, b"x")), CLOSED);
    // Also for whoever writes. What had come before can be read, as far as the system has it.
    let one = client(port);
    let connection = puppet.accept();
    reset(one);
    let mut outcome = String::new();
    wait_until(|| {
        outcome = puppet.comes_of(&write(connection, b"x"));
        outcome != "answer "
    });
    assert!(outcome.starts_with("broken 8 ") || outcome == CLOSED, "{outcome}");
    assert_eq!(puppet.comes_of(&read(connection, 1)), CLOSED);
    puppet.stop();
}

#[test]
fn floods_are_held_back_and_who_reads_nothing_is_cut_off() {
    let place = place_in_memory();
    let (mut puppet, port) = Puppet::listening(place.path());
    // What is not asked for stays with whoever sends it.
    let flood = client(port);
    let connection = puppet.accept();
    flood.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let chunk = vec![7; 1 << 20];
    let held = (0..64).find(|_| (&flood).write_all(&chunk).is_err());
    assert!(held.is_some(), "64 MiB went where nobody reads");
    let request = puppet.ask(&read(connection, 1 << 20));
    let outcome = puppet.outcome(request);
    let count: usize = outcome.strip_prefix("answer ").unwrap().parse().unwrap();
    assert!(count > 1000 && count <= 1 << 20, "{count}");
    // What is not taken is kept up to 4 MiB.
    let slow = client(port);
    let connection = puppet.accept();
    let waiting = puppet.ask(&read(connection, 1));
    let pour = format!("pour {PORT} {connection} 1000000");
    for _ in 0..20 {
        puppet.do_all(&vec![pour.clone(); 4]);
    }
    assert_eq!(puppet.outcome(waiting), "broken 5 too much waits to be written");
    assert_eq!(puppet.comes_of(&write(connection, b"x")), CLOSED);
    drop(slow);
    // Which is not what others wait for.
    let mut other = client(port);
    let connection = puppet.accept();
    assert_eq!(puppet.comes_of(&write(connection, b"x")), "answer ");
    other.read_exact(&mut [0]).unwrap();
    puppet.stop();
}

/// Takes half a minute, which is what it is about.
#[test]
fn who_takes_nothing_for_long_is_cut_off() {
    let place = place_in_memory();
    let (mut puppet, port) = Puppet::listening(place.path());
    let stalled = client(port);
    let connection = puppet.accept();
    let lines = vec![format!("pour {PORT} {connection} 1000000"); 3];
    // As much as the system takes, and some more.
    let written = loop {
        puppet.do_all(&lines);
        let written = puppet.ask(&write(connection, b"x"));
        thread::sleep(Duration::from_millis(100));
        if puppet.what(written).is_none() {
            break written;
        }
    };
    assert_eq!(puppet.outcome(written), "broken 8 the other end took nothing for 30 s");
    assert_eq!(puppet.comes_of(&close(connection)), CLOSED);
    drop(stalled);
    puppet.stop();
}

#[test]
fn connections_are_made_to_the_address_that_was_granted() {
    let place = place_in_memory();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut puppet = Puppet::booted(place.path(), &format!("tcp-connect:localhost:{}", address.port()));
    puppet.start();
    let accept = |listener: &TcpListener| listener.accept().unwrap().0;
    let request = puppet.ask(&begin());
    let mut other = accept(&listener);
    let (connection, shown) = puppet.begun(request);
    assert_eq!(shown.parse::<SocketAddr>().unwrap(), address);
    puppet.tell(&write(connection, b"hello"));
    let mut heard = [0; 5];
    other.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    other.write_all(b"yes").unwrap();
    assert_eq!(puppet.read(connection, 10), b"yes");
    let waiting = puppet.ask(&read(connection, 10));
    puppet.kill();
    assert_eq!(other.read(&mut [0]).unwrap_or(0), 0);
    puppet.start();
    assert_eq!(puppet.outcome(waiting), LOST);
    drop(listener);
    let outcome = puppet.comes_of(&begin());
    let expected = format!("broken 8 connecting to localhost:{} failed: Connection refused", address.port());
    assert!(outcome.starts_with(&expected), "{outcome}");
    // What was asked for and not answered when the host died is asked for again.
    puppet.talk = None;
    let _ = puppet.life.take().unwrap().stop().0.ok();
    let _ =
        finish(abide(["send".as_ref(), puppet.machine.as_os_str()]).arg(format!("ask 99 {PORT} {}", hex(&begin()))));
    let listener = TcpListener::bind(address).unwrap();
    puppet.start();
    puppet.requests = 99;
    if puppet.outcome(99).starts_with("broken 8") {
        // The lone send has tried it already.
        puppet.ask(&begin());
    }
    drop(accept(&listener));
    puppet.stop();
}

#[test]
fn a_listener_is_granted_and_has_its_address_alone() {
    let place = place_in_memory();
    let port = free_port();
    let grant = format!("tcp-listen:{port}");
    let puppet = Puppet::booted(place.path(), &grant);
    assert_eq!(status(&puppet.machine)["grants"].as_array().unwrap().last().unwrap()["name"], grant);
    let other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert_eq!(send(&puppet.machine, ""), "", "a message opens no listener");
    let error = run(["start", puppet.machine.to_str().unwrap()]).fails(1);
    assert!(error.contains(&format!("the port {grant} cannot be opened")) && error.contains("in use"), "{error}");
    assert!(error.contains(&format!("something else listens on {port}; stop it")), "{error}");
    drop(other);
    let refused = |grant: &str| {
        let folder = place.path().join("none");
        let program = place.path().join("puppet.abide");
        let args = ["boot", folder.to_str().unwrap(), program.to_str().unwrap(), "--grant", grant];
        let error = run(args).fails(1);
        assert!(!folder.exists());
        error
    };
    for none in ["tcp-listen:x", "tcp-listen:a:1", "tcp-connect:1", "tcp-connect:a b:1", "tcp-connect:a:0"] {
        assert!(refused(none).contains("this version has no such port"), "{none}");
    }
    assert!(refused("tcp-listens:1").contains("the seed does not ask for it"));
    assert!(refused("http:1").contains("the seed does not ask for it"));
}

/// Connections take no files that the machine needs: those that there is no room for wait.
#[test]
fn more_connections_than_there_are_files_for_wait() {
    let place = place_in_memory();
    let port = free_port();
    let mut puppet = Puppet::booted(place.path(), &format!("tcp-listen:{port}"));
    let mut limited = Command::new("sh");
    limited.env("ABIDE_CACHE", binary().with_file_name("abide-test-cache"));
    limited.args(["-c", r#"ulimit -n 300; exec "$0" start "$1""#]).arg(binary()).arg(&puppet.machine);
    puppet.run(limited);
    let clients: Vec<_> = (0..100).map(|_| client(port)).collect();
    let requests: Vec<u64> = (0..100).map(|_| puppet.ask(&begin())).collect();
    let begun: Vec<u64> = requests.iter().take(40).map(|request| puppet.begun(*request).0).collect();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(puppet.what(requests[99]), None);
    drop(clients);
    for connection in begun {
        puppet.tell(&close(connection));
    }
    let outcome = puppet.outcome(requests[80]);
    assert!(outcome.starts_with("answer "), "{outcome}");
    puppet.stop();
}
