//! A small client of HTTP/1.1, which can also do what no client should.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port that nothing listens on, nor will, unless it is told to: below those that connections are given.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    (0..10_000)
        .map(|_| 20_000 + (first + TAKEN.fetch_add(1, Ordering::Relaxed)) % 10_000)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a port is free")
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers, as they came.
    pub head: String,
    /// Its body, if that was asked for.
    pub body: String,
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    /// What was read and not used.
    rest: Vec<u8>,
}

impl Client {
    /// Connects to a server on this host.
    ///
    /// # Panics
    /// If nobody listens.
    #[must_use]
    pub fn of(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a patience");
        Self { stream, rest: Vec::new() }
    }

    /// Connects as one for whom the system keeps only a little that it has not read.
    ///
    /// # Panics
    /// If nobody listens.
    #[must_use]
    pub fn slow(port: u16) -> Self {
        let this = Self::of(port);
        rustix::net::sockopt::set_socket_recv_buffer_size(&this.stream, 4096).expect("a socket has a buffer");
        this
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the other side has gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// If the other side has gone.
    pub fn request(&mut self, line: &str, headers: &str, body: &str) -> io::Result<()> {
        self.send(
            format!("{line} HTTP/1.1\r\nHost: here\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
                .as_bytes(),
        )
    }

    /// Reads a response, and as much body as its length says.
    ///
    /// # Errors
    /// If the other side has gone before that.
    pub fn response(&mut self) -> io::Result<Response> {
        let head = self.until("\r\n\r\n")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let lower = head.to_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        while self.rest.len() < length {
            self.fill()?;
        }
        let body = self.rest.drain(..length).collect();
        Ok(Response { status, head, body: String::from_utf8(body).map_err(io::Error::other)? })
    }

    /// Reads until some text has come, and returns all up to there.
    ///
    /// # Errors
    /// If the other side has gone before that.
    pub fn until(&mut self, text: &str) -> io::Result<String> {
        loop {
            if let Some(at) = self.rest.windows(text.len()).position(|window| window == text.as_bytes()) {
                let read = self.rest.drain(..at + text.len()).collect();
                return String::from_utf8(read).map_err(io::Error::other);
            }
            self.fill()?;
        }
    }

    /// Reads whatever comes until the other side has gone.
    pub fn to_the_end(&mut self) -> String {
        while self.fill().is_ok() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned()
    }

    /// Asks and reads the answer.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn ask(&mut self, line: &str, body: &str) -> Response {
        self.request(line, "", body).and_then(|()| self.response()).expect("it is answered")
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 64 << 10];
        match self.stream.read(&mut bytes)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.rest.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }
}

/// Asks over a connection of its own.
///
/// # Panics
/// If there is no answer.
#[track_caller]
#[must_use]
pub fn ask(port: u16, line: &str, body: &str) -> Response {
    Client::of(port).ask(line, body)
}

/// Waits until something holds.
///
/// # Panics
/// If it does not for long.
#[track_caller]
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "it never held");
        std::thread::sleep(Duration::from_millis(10));
    }
}
