//! One connection: what is ordered of it by the machine, and what its other end does.
//!
//! A task has the socket. Orders come through a queue and are carried out in their order: reads beside writes, a close after them. What has come in stays in
//! the system's buffers until the machine asks for more, so that a read whose answer is cancelled under way loses nothing, and a peer that floods only fills those.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown, sockopt};
use seed::message::Code;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;
use vm::port::{Line, Ticket};

use super::table::Way;

/// For the other end to take something of what is sent to it.
const PATIENCE: Duration = Duration::from_secs(30);
/// For the machine to do something with a connection that it was given: the step that was to hear of it may have been aborted.
const UNTOUCHED_MAX: Duration = Duration::from_secs(60);
/// For the other end to go once it has been told that this one does. A socket that is closed with something unread in it takes back what was sent last.
const LINGER: Duration = Duration::from_secs(2);
/// What is sent and not taken yet, of one connection, and of all of a machine's.
const UNWRITTEN_BYTES_MAX: usize = 4 << 20;
const UNWRITTEN_BYTES_OF_ALL_MAX: usize = 256 << 20;
/// An empty buffer of more than this is given back.
const BUFFER_BYTES_KEPT: usize = 16 << 10;
/// An other end that has vanished without a word is noticed after some two minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_COUNT: u32 = 4;

/// What a machine orders.
pub(super) enum Order {
    Read {
        request: Ticket,
        most: usize,
    },
    Write {
        request: Option<Ticket>,
        bytes: Vec<u8>,
    },
    /// More than may be waiting was to be written.
    Overflow {
        request: Option<Ticket>,
    },
    Close {
        request: Option<Ticket>,
    },
    /// The machine no longer wants what it asked for by this request, and does not know what came of it.
    Cancel {
        request: Ticket,
    },
}

/// What the port and the connection's task both know of it.
pub(super) struct Standing {
    pub(super) is_read: AtomicBool,
    unwritten: AtomicUsize,
    unwritten_of_all: Arc<AtomicUsize>,
}

impl Standing {
    pub(super) fn new(unwritten_of_all: Arc<AtomicUsize>) -> Self {
        Self { is_read: AtomicBool::new(false), unwritten: AtomicUsize::new(0), unwritten_of_all }
    }

    /// Takes room for so many bytes that wait to be written. False if there is none.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let own = self.unwritten.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.unwritten_of_all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let is_room = own <= UNWRITTEN_BYTES_MAX && all <= UNWRITTEN_BYTES_OF_ALL_MAX;
        if !is_room {
            self.give_back(bytes);
        }
        is_room
    }

    fn give_back(&self, bytes: usize) {
        self.unwritten.fetch_sub(bytes, Ordering::Relaxed);
        self.unwritten_of_all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.give_back(self.unwritten.load(Ordering::Relaxed));
    }
}

/// Sets up a socket for a connection.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_COUNT)?;
    Ok(())
}

/// What was last told to the machine, or is to be told.
enum Told {
    /// That there is this connection.
    Given,
    /// It is to be told of up to so many bytes.
    Reading(usize),
    /// It was told of so many bytes, which are still in the socket.
    Read(usize),
}

/// Why a connection has ended.
enum End {
    /// The machine has closed it, or was never told of it.
    Closed,
    /// The machine has ended.
    Dropped,
    /// With this for everything that is still asked.
    Broken(Code, String),
}

/// A connection, as its task has it.
pub(super) struct Talk {
    stream: TcpStream,
    line: Line,
    standing: Arc<Standing>,
    way: Way,
    told: Told,
    /// The request that it was told by.
    request: Ticket,
    unwritten: BytesMut,
    /// How many bytes were written since the beginning, and who is to be answered at how many.
    written: u64,
    writers: VecDeque<(u64, Ticket)>,
    /// Whether it is to end when all is written, and who is to be answered then.
    closing: Option<Option<Ticket>>,
    /// For the next thing that has to happen.
    deadline: Instant,
}

impl Talk {
    /// A connection that the machine is told of by the answer to `request`.
    pub(super) fn new(stream: TcpStream, line: Line, standing: Arc<Standing>, way: Way, request: Ticket) -> Self {
        Self {
            stream,
            line,
            standing,
            way,
            told: Told::Given,
            request,
            unwritten: BytesMut::new(),
            written: 0,
            writers: VecDeque::new(),
            closing: None,
            deadline: Instant::now() + UNTOUCHED_MAX,
        }
    }

    /// Carries out orders until the connection has ended, which then has no place any more.
    pub(super) async fn run(mut self, mut orders: UnboundedReceiver<Order>, place: OwnedSemaphorePermit) {
        let end = self.talk(&mut orders).await;
        self.way.forget();
        if !matches!(end, End::Dropped) {
            self.settle(&end);
            // No orders can come any more. Those that have come too late are told so.
            while let Ok(order) = orders.try_recv() {
                self.refuse(order);
            }
        }
        if matches!(end, End::Closed) {
            let _ = timeout(LINGER, self.see_off()).await;
        }
        drop(place);
    }

    async fn talk(&mut self, orders: &mut UnboundedReceiver<Order>) -> End {
        loop {
            let is_reading = matches!(self.told, Told::Reading(_));
            let is_writing = !self.unwritten.is_empty();
            let is_given = matches!(self.told, Told::Given);
            let end = tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.take(order),
                    None => Some(End::Dropped),
                },
                ready = self.stream.readable(), if is_reading => match ready {
                    Ok(()) => self.read(),
                    Err(error) => Some(failed(&error)),
                },
                ready = self.stream.writable(), if is_writing => match ready {
                    Ok(()) => self.write(),
                    Err(error) => Some(failed(&error)),
                },
                () = sleep_until(self.deadline), if is_writing || is_given => {
                    let text = format!("the other end took nothing for {} s", PATIENCE.as_secs());
                    Some(if is_writing { End::Broken(Code::FAILED, text) } else { End::Closed })
                }
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn take(&mut self, order: Order) -> Option<End> {
        if self.closing.is_some() {
            self.refuse(order);
            return None;
        }
        if matches!(self.told, Told::Given) && !matches!(order, Order::Cancel { .. }) {
            self.told = Told::Read(0);
        }
        match order {
            Order::Read { request, .. } if matches!(self.told, Told::Reading(_)) => {
                self.line.broken(request, Code::REFUSED, "this connection is being read");
                None
            }
            Order::Read { request, most } => {
                if let Told::Read(count) = self.told
                    && let Err(error) = self.pass_over(count)
                {
                    self.line.broken(request, Code::FAILED, error.to_string());
                    return Some(failed(&error));
                }
                (self.told, self.request) = (Told::Reading(most), request);
                self.read()
            }
            Order::Write { request, bytes } => {
                if self.unwritten.is_empty() {
                    self.deadline = Instant::now() + PATIENCE;
                }
                self.unwritten.extend_from_slice(&bytes);
                if let Some(request) = request {
                    self.writers.push_back((self.written + self.unwritten.len() as u64, request));
                }
                self.write()
            }
            Order::Overflow { request } => {
                let text = "too much waits to be written";
                if let Some(request) = request {
                    self.line.broken(request, Code::LIMIT, text);
                }
                Some(End::Broken(Code::LIMIT, text.to_owned()))
            }
            Order::Close { request } => {
                self.stop_reading(Code::CLOSED, "this connection was closed");
                self.closing = Some(request);
                self.is_done()
            }
            Order::Cancel { request } if request == self.request => match self.told {
                Told::Given => Some(End::Closed),
                Told::Reading(_) | Told::Read(_) => {
                    self.told = Told::Read(0);
                    None
                }
            },
            Order::Cancel { .. } => None,
        }
    }

    /// An order that comes too late.
    fn refuse(&self, order: Order) {
        let request = match order {
            Order::Read { request, .. } => {
                self.standing.is_read.store(false, Ordering::Release);
                Some(request)
            }
            Order::Write { request, .. } | Order::Overflow { request } | Order::Close { request } => request,
            Order::Cancel { .. } => None,
        };
        if let Some(request) = request {
            self.line.broken(request, Code::CLOSED, "this connection is closed");
        }
    }

    /// Tells the machine of what has come, if something has.
    fn read(&mut self) -> Option<End> {
        let Told::Reading(most) = self.told else { return None };
        let available = ioctl_fionread(&self.stream).map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX));
        let mut bytes = vec![0; available.clamp(1, most.min(self.way.read_bytes_max()))];
        let peek = || Ok(recv(&self.stream, &mut bytes[..], RecvFlags::PEEK)?.1);
        match self.stream.try_io(Interest::READABLE, peek) {
            Ok(count) => {
                bytes.truncate(count);
                self.told = Told::Read(count);
                self.standing.is_read.store(false, Ordering::Release);
                self.line.answer(self.request, bytes);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(failed(&error)),
        }
    }

    /// Takes out of the socket what the machine has been told of.
    fn pass_over(&self, mut count: usize) -> io::Result<()> {
        let mut passed = [0; 8 << 10];
        while count > 0 {
            let part = count.min(passed.len());
            match recv(&self.stream, &mut passed[..part], RecvFlags::empty())?.1 {
                0 => return Ok(()),
                read => count -= read,
            }
        }
        Ok(())
    }

    /// Hands to the system what it takes, and answers those who wait for that.
    fn write(&mut self) -> Option<End> {
        while !self.unwritten.is_empty() {
            match self.stream.try_write(&self.unwritten) {
                Ok(count) => {
                    self.unwritten.advance(count);
                    self.written += count as u64;
                    self.standing.give_back(count);
                    self.deadline = Instant::now() + PATIENCE;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Some(failed(&error)),
            }
        }
        while let Some((_, request)) = self.writers.pop_front_if(|(end, _)| *end <= self.written) {
            self.line.answer(request, Vec::new());
        }
        self.is_done()
    }

    fn is_done(&mut self) -> Option<End> {
        if !self.unwritten.is_empty() {
            return None;
        }
        if self.unwritten.capacity() > BUFFER_BYTES_KEPT {
            self.unwritten = BytesMut::new();
        }
        self.closing.map(|_| End::Closed)
    }

    fn stop_reading(&mut self, code: Code, text: &str) {
        if matches!(self.told, Told::Reading(_)) {
            self.told = Told::Read(0);
            self.standing.is_read.store(false, Ordering::Release);
            self.line.broken(self.request, code, text);
        }
    }

    /// Answers or breaks all that is still asked.
    fn settle(&mut self, end: &End) {
        let (code, text) = match end {
            End::Broken(code, text) => (*code, text.as_str()),
            End::Closed | End::Dropped => (Code::CLOSED, "this connection is closed"),
        };
        debug!(code = code.word(), text, "a TCP connection has ended");
        self.stop_reading(code, text);
        for (_, request) in self.writers.drain(..) {
            self.line.broken(request, code, text);
        }
        if let Some(Some(request)) = self.closing {
            match end {
                End::Closed => self.line.answer(request, Vec::new()),
                End::Dropped | End::Broken(..) => self.line.broken(request, code, text),
            }
        }
    }

    /// Says that nothing follows, and waits until the other end says so, too.
    async fn see_off(&mut self) {
        let _ = shutdown(&self.stream, Shutdown::Write);
        while self.stream.readable().await.is_ok() {
            match self.stream.try_read(&mut [0; 8 << 10]) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
            }
        }
    }
}

fn failed(error: &io::Error) -> End {
    End::Broken(Code::FAILED, error.to_string())
}
