//! The key-value server of the examples: what clients hear of it, `redis-cli` among them, and what stays when its host is killed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tests::abide::{Life, PATIENCE, boot, example, place, place_in_memory, run_with_input, send, verify};
use tests::web::{free_port, wait_until};

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Simple(String),
    Error(String),
    Integer(i64),
    Text(Vec<u8>),
    Nothing,
    Gone,
}

/// A client of a server of keys and values.
struct Client(BufReader<TcpStream>);

impl Client {
    fn of(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    fn hear(&mut self) -> io::Result<Said> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Ok(Said::Gone);
        }
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::InvalidData)?;
        let (kind, rest) = line.split_at(1);
        Ok(match kind {
            "+" => Said::Simple(rest.to_owned()),
            "-" => Said::Error(rest.to_owned()),
            ":" => Said::Integer(rest.parse().map_err(io::Error::other)?),
            "$" if rest == "-1" => Said::Nothing,
            "$" => {
                let length = rest.parse::<usize>().map_err(io::Error::other)?;
                let mut text = vec![0; length + 2];
                self.0.read_exact(&mut text)?;
                assert!(text.ends_with(b"\r\n"));
                text.truncate(text.len() - 2);
                Said::Text(text)
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }

    fn ask(&mut self, words: &[&str]) -> io::Result<Said> {
        self.send(&command(words))?;
        self.hear()
    }
}

/// A command as clients send it.
fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

fn ok() -> Said {
    Said::Simple("OK".to_owned())
}

fn text(text: &str) -> Said {
    Said::Text(text.as_bytes().to_vec())
}

fn booted(folder: &Path) -> (PathBuf, u16) {
    let (machine, port) = (folder.join("kv"), free_port());
    boot(&machine, &example("kv/kv.abide"), &["--grant", &format!("tcp-listen:{port}")]);
    (machine, port)
}

#[test]
fn commands_are_answered_in_their_order() {
    let place = place_in_memory();
    let (machine, port) = booted(place.path());
    let life = Life::up(&machine);
    let mut client = Client::of(port).unwrap();
    assert_eq!(client.ask(&["PING"]).unwrap(), Said::Simple("PONG".to_owned()));
    assert_eq!(client.ask(&["ping", "a\r\nb"]).unwrap(), text("a\r\nb"));
    assert_eq!(client.ask(&["GET", "a"]).unwrap(), Said::Nothing);
    assert_eq!(client.ask(&["SET", "a", "1"]).unwrap(), ok());
    assert_eq!(client.ask(&["INCR", "a"]).unwrap(), Said::Integer(2));
    assert_eq!(client.ask(&["GET", "a"]).unwrap(), text("2"));
    assert_eq!(client.ask(&["DEL", "a", "b", "a"]).unwrap(), Said::Integer(1));
    assert!(matches!(client.ask(&["FLY", "a"]).unwrap(), Said::Error(why) if why == "ERR unknown command 'FLY'"));
    // A thousand at once, byte by byte at first, and one that is typed.
    let many: Vec<u8> = (0..1000).flat_map(|_| command(&["INCR", "n"])).collect();
    for byte in &many[..60] {
        client.send(&[*byte]).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    client.send(&many[60..]).unwrap();
    client.send(b"get n\r\n").unwrap();
    for n in 1..=1000 {
        assert_eq!(client.hear().unwrap(), Said::Integer(n));
    }
    assert_eq!(client.hear().unwrap(), text("1000"));
    // What is long, and answers that are far longer than the commands.
    let long = "x".repeat(400_000);
    assert_eq!(client.ask(&["SET", "long", &long]).unwrap(), ok());
    client.send(&command(&["GET", "long"]).repeat(50)).unwrap();
    client.send(&command(&["PING"])).unwrap();
    for _ in 0..50 {
        assert_eq!(client.hear().unwrap(), text(&long));
    }
    assert_eq!(client.hear().unwrap(), Said::Simple("PONG".to_owned()));
    assert_eq!(client.ask(&["QUIT"]).unwrap(), ok());
    assert_eq!(client.hear().unwrap(), Said::Gone);
    let _ = life.stop().0.ok();
    assert_eq!(send(&machine, "GET n"), "$4\r\n1000\r");
    verify(&machine);
}

#[test]
fn who_speaks_no_protocol_is_told_so_and_others_are_served() {
    let place = place_in_memory();
    let (machine, port) = booted(place.path());
    let life = Life::up(&machine);
    let mut other = Client::of(port).unwrap();
    for (sent, why) in [
        ("*2\r\n$3\r\nGET\r\n$999999999\r\n", "invalid bulk length"),
        ("*1\r\n$99999999999999999999999999\r\n", "invalid bulk length"),
        ("*99999999999\r\n", "invalid multibulk length"),
        ("*-1\r\n", "invalid multibulk length"),
        ("*1\r\n:1\r\n", "invalid bulk length"),
        ("*1\r\n$1\r\nabcd", "a string is longer than it says"),
    ] {
        let mut client = Client::of(port).unwrap();
        client.send(sent.as_bytes()).unwrap();
        // Which is heard although more comes than anybody reads.
        let _ = client.send(&[b'x'; 100_000]);
        assert_eq!(client.hear().unwrap(), Said::Error(format!("ERR Protocol error: {why}")), "{sent:?}");
        assert!(matches!(client.hear(), Ok(Said::Gone) | Err(_)));
        assert_eq!(other.ask(&["PING"]).unwrap(), Said::Simple("PONG".to_owned()));
    }
    let mut client = Client::of(port).unwrap();
    let _ = client.send(&[b'x'; 100_000]);
    assert_eq!(client.hear().unwrap(), Said::Error("ERR Protocol error: too long a line".to_owned()));
    // A command that is too long in all, of strings that are not.
    let mut client = Client::of(port).unwrap();
    let _ = client
        .send(&[&b"*900\r\n"[..], &format!("$9000\r\n{}\r\n", "x".repeat(9000)).repeat(300).into_bytes()].concat());
    assert_eq!(client.hear().unwrap(), Said::Error("ERR Protocol error: too long a command".to_owned()));
    // Who goes in the middle of a command has not said it.
    Client::of(port).unwrap().send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n").unwrap();
    wait_until(|| at_prompt(&machine, "(table-len (at \"clients\" self))") == "1");
    assert_eq!(other.ask(&["GET", "a"]).unwrap(), Said::Nothing);
    let _ = life.stop().0.ok();
}

fn at_prompt(machine: &Path, line: &str) -> String {
    run_with_input(["repl".as_ref(), machine.as_os_str()], line.as_bytes()).ok().trim().to_owned()
}

#[test]
fn keys_go_when_their_time_has_come_also_if_that_was_while_nothing_ran() {
    let place = place_in_memory();
    let (machine, port) = booted(place.path());
    let mut life = Life::up(&machine);
    let mut client = Client::of(port).unwrap();
    // One after another, with what waits for the clock among them.
    let all: [&[&str]; 7] = [
        &["SET", "long", "1", "EX", "1000"],
        &["TTL", "long"],
        &["SET", "short", "1", "px", "50"],
        &["SET", "kept", "1"],
        &["TTL", "kept"],
        &["EXPIRE", "kept", "1000"],
        &["TTL", "none"],
    ];
    client.send(&all.iter().flat_map(|words| command(words)).collect::<Vec<u8>>()).unwrap();
    let lasting = Said::Integer(1000);
    for said in [ok(), lasting, ok(), ok(), Said::Integer(-1), Said::Integer(1), Said::Integer(-2)] {
        assert_eq!(client.hear().unwrap(), said);
    }
    wait_until(|| client.ask(&["GET", "short"]).unwrap() == Said::Nothing);
    // Set anew, a key lasts; INCR lets it last as long as it would have.
    assert_eq!(client.ask(&["SET", "kept", "5"]).unwrap(), ok());
    assert_eq!(client.ask(&["INCR", "long"]).unwrap(), Said::Integer(2));
    let Said::Integer(990..=1000) = client.ask(&["TTL", "long"]).unwrap() else { panic!("it lasts on") };
    assert_eq!(client.ask(&["SET", "gone", "1", "EX", "1"]).unwrap(), ok());
    let set = Instant::now();
    let _ = life.kill();
    thread::sleep(Duration::from_millis(1100).saturating_sub(set.elapsed()));
    life = Life::up(&machine);
    wait_until(|| at_prompt(&machine, "(keys (at \"keys\" self))") == "[\"long\" \"kept\"]");
    let _ = life.stop().0.ok();
    verify(&machine);
}

/// Clients set and count while the host is killed at any time: what was acknowledged is there, and nothing was counted twice.
#[test]
fn what_was_acknowledged_is_there_however_often_the_host_is_killed() {
    const CLIENTS: usize = 3;
    let place = place();
    let (machine, port) = booted(place.path());
    let mut life = Life::up(&machine);
    let (mut set, mut counted, mut unsure) = (Vec::new(), Vec::new(), 0);
    for round in 0..12 {
        let killer = life.killer();
        let lives: Vec<_> = thread::scope(|scope| {
            let clients: Vec<_> =
                (0..CLIENTS).map(|number| scope.spawn(move || until_killed(port, round, number))).collect();
            thread::sleep(Duration::from_millis(20 + 13 * round));
            killer.kill();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        life.see_dead();
        life = Life::up(&machine);
        for (keys, counts, asked) in lives {
            unsure += asked - counts.len();
            set.extend(keys);
            counted.extend(counts);
        }
    }
    let mut client = Client::of(port).unwrap();
    for key in &set {
        assert_eq!(client.ask(&["GET", key]).unwrap(), text(key));
    }
    let Said::Text(n) = client.ask(&["GET", "n"]).unwrap() else { panic!("nothing was counted") };
    let n: usize = String::from_utf8(n).unwrap().parse().unwrap();
    let count = counted.len();
    counted.sort_unstable();
    counted.dedup();
    assert_eq!(counted.len(), count, "two were told the same count");
    assert!((count..=count + unsure).contains(&n), "{count} were acknowledged and {unsure} not, and it counted {n}");
    println!("{} SETs and {count} INCRs acknowledged", set.len());
    assert!(count > 12);
    let _ = life.stop().0.ok();
    verify(&machine);
}

/// What was acknowledged: keys set, and counts; and how many counts were asked for.
fn until_killed(port: u16, round: u64, number: usize) -> (Vec<String>, Vec<i64>, usize) {
    let (mut keys, mut counts, mut asked) = (Vec::new(), Vec::new(), 0);
    let Ok(mut client) = Client::of(port) else { return (keys, counts, asked) };
    for at in 0.. {
        let key = format!("{round}-{number}-{at}");
        // Two at once, of which one may be answered and the other not.
        let both = [command(&["SET", &key, &key]), command(&["INCR", "n"])].concat();
        if client.send(&both).is_err() {
            break;
        }
        asked += 1;
        let Ok(Said::Simple(_)) = client.hear() else { break };
        keys.push(key);
        let Ok(Said::Integer(n)) = client.hear() else { break };
        counts.push(n);
    }
    (keys, counts, asked)
}

#[test]
fn redis_cli_can_talk_to_it() {
    let has = Command::new("redis-cli").arg("--version").stdout(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        return tests::not_run("kv::redis_cli_can_talk_to_it: redis-cli is not installed: apt-get install redis-tools");
    }
    let place = place_in_memory();
    let (machine, port) = booted(place.path());
    let mut life = Life::up(&machine);
    let said = |words: &[&str], typed: &[u8]| {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &port.to_string()]).args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(typed).unwrap();
        let ran = child.wait_with_output().unwrap();
        assert!(ran.status.success());
        String::from_utf8(ran.stdout).unwrap()
    };
    assert_eq!(said(&["PING"], b""), "PONG\n");
    assert_eq!(said(&["SET", "milk", "two litres"], b""), "OK\n");
    assert_eq!(said(&["--no-raw", "INCR", "eggs"], b""), "(integer) 1\n");
    assert_eq!(said(&["-x", "SET", "blob"], b"a\nb\0c"), "OK\n");
    let _ = life.kill();
    life = Life::up(&machine);
    let lines =
        b"GET milk\nINCR eggs\nEXPIRE eggs 100\nTTL eggs\nTTL milk\nTTL none\nDEL milk eggs none\nGET milk\nNONSENSE\n";
    assert_eq!(said(&[], lines), "two litres\n2\n1\n100\n-1\n-2\n2\n\nERR unknown command 'NONSENSE'\n\n");
    assert_eq!(said(&["--no-raw", "GET", "blob"], b""), "\"a\\nb\\x00c\"\n");
    // Ten thousand at once, and each answered.
    let many: Vec<u8> = (0..10_000).flat_map(|n| command(&["SET", &format!("key {n}"), &n.to_string()])).collect();
    assert!(said(&["--pipe"], &many).ends_with("errors: 0, replies: 10000\n"));
    let _ = life.stop().0.ok();
    assert_eq!(at_prompt(&machine, "(table-len (at \"keys\" self))"), "10001");
    verify(&machine);
}
