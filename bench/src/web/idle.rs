//! What ten thousand open websockets cost a machine: its answers to others, and memory of its host.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::Served;
use crate::report::{Report, Target, median, time, timed};

const SOCKETS: usize = 10_000;
/// Connections that are made together.
const TOGETHER: usize = 100;
const ASKED: usize = 500;

const OPEN: &str = "GET /room HTTP/1.1\r\nHost: here\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub(super) fn run(report: &mut Report, binary: &Path, folder: &Path) {
    // Sockets of this process; the machine's host raises its own limit.
    if rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .is_some_and(|most| most < SOCKETS as u64 + 100)
    {
        report.note("NOT RUN", &format!("ten thousand sockets: ulimit -n {}", SOCKETS + 1000));
        return;
    }
    let room = Served::boot(binary, folder, "room", "talk/talk.abide");
    let before = answers(room.address);
    let small = room.resident_kib();
    let mut sockets = Vec::new();
    let opening = timed(|| {
        while sockets.len() < SOCKETS {
            let mut opened: Vec<TcpStream> = (0..TOGETHER).map(|_| asking(room.address, OPEN)).collect();
            opened.iter_mut().for_each(|socket| assert!(head(socket).starts_with("HTTP/1.1 101"), "it is agreed to"));
            sockets.append(&mut opened);
        }
    });
    let after = answers(room.address);
    let large = room.resident_kib();
    let [(median, worst), (idle_median, idle_worst)] = [before, after];
    report.cost("an answer on disk, 10,000 websockets open", idle_median, Some(median), Target::Reported);
    report.cost("the slowest of a hundred, 10,000 websockets open", idle_worst, Some(worst), Target::Reported);
    let each = large.saturating_sub(small) as f64 / SOCKETS as f64;
    report.note("", &format!("(the floor: the same machine before; 10,000 were opened in {})", time(opening)));
    report.note(
        "memory of the host",
        &format!("{} MiB, and {} MiB with them: {each:.1} KiB each", small >> 10, large >> 10),
    );
}

/// How long answers take that are on disk before they are given: the median, and the slowest of a hundred.
fn answers(address: SocketAddr) -> (Duration, Duration) {
    let mut connection = TcpStream::connect(address).expect("it listens");
    let _ = connection.set_nodelay(true);
    let mut times: Vec<Duration> = (0..ASKED)
        .map(|_| {
            timed(|| {
                connection.write_all(b"GET /none HTTP/1.1\r\nHost: here\r\n\r\n").expect("it can be asked");
                let head = head(&mut connection).to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.expect("it has a length")];
                connection.read_exact(&mut body).expect("it has a body");
            })
        })
        .collect();
    times.sort_unstable();
    let slow = times[ASKED - 1 - ASKED / 100];
    (median(times), slow)
}

fn asking(address: SocketAddr, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.write_all(text.as_bytes()).expect("it can be asked");
    socket
}

/// A response up to its body.
fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).expect("it answers");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("a head is text")
}
