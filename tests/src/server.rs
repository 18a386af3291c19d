//! A small server of HTTP/1.1 and TLS, which can also do what no server should, and remembers what it was asked.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const PATIENCE: Duration = Duration::from_secs(60);

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET /path HTTP/1.1`
    pub line: String,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// As many bytes as the headers say.
    pub body: String,
}

impl Asked {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// What it does about a request.
#[derive(Debug, Clone)]
pub enum Said {
    /// Sends these bytes, and closes.
    Bytes(Vec<u8>),
    /// Sends these bytes, and nothing more until the client goes.
    Hold(Vec<u8>),
    /// Resets the connection.
    Reset,
}

/// A response with a body.
#[must_use]
pub fn response(status: u16, headers: &str, body: &str) -> Said {
    let length = body.len();
    Said::Bytes(format!("HTTP/1.1 {status} Said\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes())
}

/// A server on this host, until the tests end.
pub struct Server {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    asked: Mutex<Vec<Asked>>,
    changed: Condvar,
}

impl Server {
    /// One that says what `say` has it say.
    #[must_use]
    pub fn of(say: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        Self::new(None, say)
    }

    /// One of TLS.
    #[must_use]
    pub fn secure(config: ServerConfig, say: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        Self::new(Some(Arc::new(config)), say)
    }

    fn new(config: Option<Arc<ServerConfig>>, say: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let (seen, say) = (Arc::new(Seen::default()), Arc::new(say));
        let keeper = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, say, config) = (Arc::clone(&keeper), Arc::clone(&say), config.clone());
                thread::spawn(move || drop(serve(stream, config, &seen, say.as_ref())));
            }
        });
        Self { port, seen }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.seen.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it was asked so often.
    ///
    /// # Panics
    /// If that takes too long.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Asked> {
        let begun = Instant::now();
        let mut asked = self.seen.asked.lock().unwrap_or_else(PoisonError::into_inner);
        while asked.len() < count {
            assert!(begun.elapsed() < PATIENCE, "it was asked no more than this: {asked:?}");
            let waited = self.seen.changed.wait_timeout(asked, Duration::from_secs(1));
            asked = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        asked.clone()
    }
}

fn serve(
    stream: TcpStream,
    config: Option<Arc<ServerConfig>>,
    seen: &Seen,
    say: &dyn Fn(&Asked) -> Said,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let socket = stream.try_clone()?;
    let mut talk: Box<dyn ReadWrite> = match config {
        None => Box::new(stream),
        Some(config) => {
            let session = ServerConnection::new(config).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(session, stream))
        }
    };
    let asked = read_request(talk.as_mut())?;
    {
        seen.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        seen.changed.notify_all();
    }
    match say(&asked) {
        Said::Bytes(bytes) => {
            talk.write_all(&bytes)?;
            talk.flush()?;
            // Closing with something unread would be a reset.
            socket.shutdown(std::net::Shutdown::Write)?;
            let _ = io::copy(&mut talk, &mut io::sink());
        }
        Said::Hold(bytes) => {
            talk.write_all(&bytes)?;
            talk.flush()?;
            let _ = io::copy(&mut talk, &mut io::sink());
        }
        Said::Reset => set_socket_linger(&socket, Some(Duration::ZERO))?,
    }
    Ok(())
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn read_request(stream: &mut dyn ReadWrite) -> io::Result<Asked> {
    let mut bytes = Vec::new();
    let mut one = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut one)?;
        bytes.push(one[0]);
        if bytes == [0x16] {
            return Err(io::Error::other("this is TLS"));
        }
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.and_then(|(_, length)| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok(Asked { line, headers, body: String::from_utf8_lossy(&body).into_owned() })
}
