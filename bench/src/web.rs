//! What a machine on the web does beside servers that keep nothing, or keep it otherwise: wrk asks all of them, in turns, over 64 connections.
//!
//! The job is the board's (examples/board): `POST /notes` keeps a note of 64 bytes, and is answered when it is on disk.

mod idle;
mod peers;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use self::peers::Peer;
use crate::launch::build;
use crate::machine::scratch;
use crate::report::{Report, Target};

const ROUNDS: usize = 3;
const SECONDS: u64 = 4;
const CONNECTIONS: usize = 64;
const NOTE: &str = "milk, bread, and whatever the children have put on the list too.";

/// A server, and what wrk asks it for.
struct Asked {
    address: SocketAddr,
    script: PathBuf,
}

pub(crate) fn run(report: &mut Report) {
    if Command::new("wrk").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        report.note("NOT RUN", "wrk is missing: apt-get install wrk");
        return;
    }
    let binary = build();
    let folder = scratch();
    let folder = folder.path();
    let board_served = Served::boot(&binary, folder, "board", "board/board.wasm");
    let todo_served = Served::boot(&binary, folder, "todo", "todo/todo.abide");
    let bare_served = Peer::durable(folder);
    let node_served = Node::start(folder);
    let posts = |name: &str, path: &str, body: &str| {
        let script = folder.join(name);
        let text = format!("wrk.method = 'POST'\nwrk.path = '{path}'\nwrk.body = '{body}'\n");
        std::fs::write(&script, text).expect("a script can be written");
        script
    };
    let note = posts("note.lua", "/notes", NOTE);
    let thing = posts("thing.lua", "/todos", &format!("{{\"text\": \"{NOTE}\"}}"));
    let asked = |address, script: &PathBuf| Asked { address, script: script.clone() };
    let all = [
        Some(asked(board_served.address, &note)),
        Some(asked(todo_served.address, &thing)),
        Some(asked(bare_served.address(), &note)),
        node_served.as_ref().map(|node| asked(node.address, &note)),
    ];
    let [board, todo, bare, node] = rates(&all);
    let (board, todo, bare) = (board.unwrap_or(0.0), todo.unwrap_or(0.0), bare.unwrap_or(0.0));
    report.rate("durable writes over HTTP, a machine in C", board, bare, Target::ShareAtLeast(0.5));
    report.rate("durable writes over HTTP, a machine in the language", todo, bare, Target::Reported);
    report.note("", "(the floor: hyper, and one commit of LMDB for all that wait)");
    if let Some(node) = node {
        report.rate("the machine in C, beside Node and SQLite", board, node, Target::ShareAtLeast(3.0));
        report.note("", "(WAL, synchronous=FULL, a transaction for each note)");
    } else {
        report.note("NOT RUN", "no Node with node:sqlite: npm install node@24, and ABIDE_BENCH_NODE names it");
    }
    drop((board_served, todo_served, bare_served));
    queries(report, &binary, folder, node_served.as_ref());
    idle::run(report, &binary, folder);
}

/// Reading one note: of a machine as a query, in parallel and recorded nowhere.
fn queries(report: &mut Report, binary: &Path, folder: &Path, node: Option<&Node>) {
    let board = Served::boot(binary, folder, "read-board", "board/board.wasm");
    let todo = Served::boot(binary, folder, "read-todo", "todo/todo.abide");
    let bare = Peer::bare(NOTE);
    let gets = |name: &str, path: &str| {
        let script = folder.join(name);
        std::fs::write(&script, format!("wrk.path = '{path}'\n")).expect("a script can be written");
        script
    };
    post(board.address, "/notes", NOTE);
    post(todo.address, "/todos", &format!("{{\"text\": \"{NOTE}\"}}"));
    let (note, thing) = (gets("get-note.lua", "/notes/1"), gets("get-thing.lua", "/todos/1"));
    let asked = |address, script: &PathBuf| Some(Asked { address, script: script.clone() });
    let all = [
        asked(board.address, &note),
        asked(todo.address, &thing),
        asked(bare.address(), &note),
        node.and_then(|node| asked(node.address, &note)),
    ];
    let [board, todo, bare, node] = rates(&all);
    let (board, todo, bare) = (board.unwrap_or(0.0), todo.unwrap_or(0.0), bare.unwrap_or(0.0));
    report.rate("queries over HTTP, a machine in C", board, bare, Target::ShareAtLeast(0.5));
    report.rate("queries over HTTP, a machine in the language", todo, bare, Target::Reported);
    report.note("", "(the floor: hyper, which answers the same text)");
    if let Some(node) = node {
        report.rate("the machine in C, beside Node and SQLite", board, node, Target::Reported);
    }
}

/// Asks once, before anything is measured.
fn post(address: SocketAddr, path: &str, body: &str) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).expect("it can be asked");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("it answers");
    assert!(said.starts_with("HTTP/1.1 201"), "{said}");
}

/// What each is asked for in a second, in turns: the middle of the rounds.
fn rates<const N: usize>(all: &[Option<Asked>; N]) -> [Option<f64>; N] {
    let mut rates = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (rates, asked) in rates.iter_mut().zip(all) {
            rates.extend(asked.as_ref().map(|asked| wrk(asked.address, Some(&asked.script))));
        }
    }
    rates.map(middle)
}

/// The middle of some rates; none of none.
fn middle(mut rates: Vec<f64>) -> Option<f64> {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

/// Requests a second, as wrk counts them.
fn wrk(address: SocketAddr, script: Option<&Path>) -> f64 {
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{SECONDS}s")]);
    if let Some(script) = script {
        command.arg("-s").arg(script);
    }
    let output = command.arg(format!("http://{address}/")).output().expect("wrk can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !text.contains("Non-2xx"), "every request is answered: {text}");
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    rate.and_then(|rate| rate.trim().parse().ok()).unwrap_or_else(|| panic!("wrk says how many: {text}"))
}

/// A machine that serves, by the command that people use.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn boot(binary: &Path, folder: &Path, name: &str, example: &str) -> Self {
        let place = folder.join(name);
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(example);
        // A module asks for nothing by itself: its owner grants the port all the same.
        let address = free_address();
        for args in [&["boot"][..], &["grant"]] {
            let mut command = Command::new(binary);
            command.args(args).arg(&place).env("ABIDE_CACHE", folder.join("cache"));
            let last = if args == ["boot"] {
                program.as_os_str().to_owned()
            } else {
                format!("http:{}", address.port()).into()
            };
            let done = command.arg(last).stdout(Stdio::null()).output().expect("the abide binary can be run");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        let child = Command::new(binary)
            .arg("start")
            .arg(&place)
            .env("ABIDE_CACHE", folder.join("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the abide binary can be run");
        wait_for(address);
        Self { child, address }
    }
}

impl Served {
    /// Memory of its process that is its own.
    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).expect("it has memory")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Node with SQLite; see the file.
struct Node {
    child: Child,
    address: SocketAddr,
}

impl Node {
    /// None where there is no Node that has SQLite.
    fn start(folder: &Path) -> Option<Self> {
        let node = std::env::var_os("ABIDE_BENCH_NODE").map_or_else(|| PathBuf::from("node"), PathBuf::from);
        let has_it = Command::new(&node).args(["-e", "require('node:sqlite')"]).stderr(Stdio::null()).status();
        if !has_it.is_ok_and(|status| status.success()) {
            return None;
        }
        let address = free_address();
        let child = Command::new(&node)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/notes.js"))
            .arg(address.port().to_string())
            .arg(folder.join("notes.db"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("node can be run");
        wait_for(address);
        Some(Self { child, address })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// An address that nobody listens on now.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("an address is free");
    listener.local_addr().expect("it has an address")
}

fn wait_for(address: SocketAddr) {
    let end = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "nobody listens on {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
