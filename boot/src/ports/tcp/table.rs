//! The connections of a port: their numbers, and the way from what a machine asks to the task that has the socket.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use seed::message::Code;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tracing::{debug, warn};
use vm::port::{Line, Ticket};

use super::payload::{Ask, READ_BYTES_MAX, encode_begun};
use super::talk::{Order, Standing, Talk, prepare};
use crate::clocks::MachineClock;

/// What answers may hold together, about: with many connections each has less, but not less than this.
const READ_BYTES_OF_ALL: usize = 64 << 20;
const READ_BYTES_LEAST: usize = 16 << 10;

/// The numbers of a machine's connections: each the time at which it was made, or the next that is free. So none is used twice, as a machine's time
/// never goes back, and one of an earlier run of the host is known by its number alone.
pub(super) struct Numbers {
    clock: Arc<MachineClock>,
    begun: u64,
    last: Mutex<u64>,
}

impl Numbers {
    /// The numbers of a run that begins.
    #[must_use]
    pub(super) fn new(clock: Arc<MachineClock>) -> Self {
        let begun = clock.now().0;
        Self { clock, begun, last: Mutex::new(begun) }
    }

    fn next(&self) -> u64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = self.clock.now().0.max(last.saturating_add(1));
        *last
    }

    fn is_of_an_earlier_run(&self, connection: u64) -> bool {
        connection <= self.begun
    }
}

/// The connections of one port. Dropped, they end.
pub(super) struct Connections {
    line: Line,
    numbers: Arc<Numbers>,
    unwritten: Arc<AtomicUsize>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<u64, Entry>,
    /// Which connection was last told, or is to be told of, by a request: what a cancellation can be about.
    told_by: HashMap<Ticket, u64>,
}

struct Entry {
    orders: UnboundedSender<Order>,
    standing: Arc<Standing>,
    /// The request that it was last told by, or is to be.
    request: Ticket,
}

impl Table {
    fn tell(&mut self, connection: u64, request: Ticket) {
        if let Some(entry) = self.entries.get_mut(&connection) {
            let before = std::mem::replace(&mut entry.request, request);
            if self.told_by.get(&before) == Some(&connection) {
                self.told_by.remove(&before);
            }
            self.told_by.insert(request, connection);
        }
    }
}

impl Connections {
    /// None yet. What is sent and not taken yet is counted in `unwritten`, of all of a machine's.
    pub(super) fn new(line: Line, numbers: Arc<Numbers>, unwritten: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self { line, numbers, unwritten, table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a connection, and tells the machine. To be called within the runtime.
    pub(super) fn begin(
        self: &Arc<Self>,
        request: Ticket,
        stream: TcpStream,
        other: SocketAddr,
        place: OwnedSemaphorePermit,
    ) {
        if let Err(error) = prepare(&stream) {
            // It has ended already; that will be said when it is read.
            debug!(%error, "setting up a TCP connection failed");
        }
        let connection = self.numbers.next();
        let standing = Arc::new(Standing::new(Arc::clone(&self.unwritten)));
        let (orders, ordered) = unbounded_channel();
        {
            let mut table = self.table();
            table.entries.insert(connection, Entry { orders, standing: Arc::clone(&standing), request });
            table.told_by.insert(request, connection);
        }
        let way = Way { connections: Arc::downgrade(self), connection };
        let talk = Talk::new(stream, self.line.clone(), standing, way, request);
        tokio::spawn(talk.run(ordered, place));
        self.line.answer(request, encode_begun(connection, &other.to_string()));
    }

    /// Takes what is asked of a connection. True if it is a connection that is asked for.
    pub(super) fn ask(&self, request: Ticket, payload: &[u8]) -> bool {
        let mut table = self.table();
        let (connection, order) = match Ask::decode(payload) {
            Ok(Ask::Begin) => return true,
            Ok(Ask::Read { connection, most }) => {
                let is_read = |entry: &Entry| entry.standing.is_read.swap(true, Ordering::Acquire);
                if table.entries.get(&connection).is_some_and(is_read) {
                    self.line.broken(request, Code::REFUSED, "this connection is being read");
                    return false;
                }
                table.tell(connection, request);
                (connection, Order::Read { request, most })
            }
            Ok(Ask::Write { connection, bytes }) => (connection, table.write(connection, Some(request), bytes)),
            Ok(Ask::Close { connection }) => (connection, Order::Close { request: Some(request) }),
            Err(error) => {
                let takes = "a TCP port takes [0], [1, connection, most], [2, connection, bytes] or [3, connection]";
                self.line.broken(request, Code::MALFORMED, format!("{takes}: {error}"));
                return false;
            }
        };
        if table.order(connection, order) {
            return false;
        }
        let (code, why) = if self.numbers.is_of_an_earlier_run(connection) {
            (Code::LOST, "this connection ended with the host's run that it was of")
        } else {
            (Code::CLOSED, "this connection is closed")
        };
        self.line.broken(request, code, why);
        false
    }

    /// Takes what nobody is to hear of. It is lost with its connection.
    pub(super) fn effect(&self, payload: &[u8]) {
        let mut table = self.table();
        match Ask::decode(payload) {
            Ok(Ask::Write { connection, bytes }) => {
                let order = table.write(connection, None, bytes);
                table.order(connection, order);
            }
            Ok(Ask::Close { connection }) => {
                table.order(connection, Order::Close { request: None });
            }
            Ok(Ask::Begin | Ask::Read { .. }) => warn!("a TCP port dropped an effect: nobody would hear its answer"),
            Err(error) => warn!("a TCP port dropped an effect: {error}"),
        }
    }

    /// The machine no longer wants what it asked for.
    pub(super) fn cancel(&self, request: Ticket) {
        let mut table = self.table();
        let Some(connection) = table.told_by.remove(&request) else { return };
        if let Some(entry) = table.entries.get(&connection) {
            entry.standing.is_read.store(false, Ordering::Release);
        }
        table.order(connection, Order::Cancel { request });
    }
}

impl Table {
    fn write(&self, connection: u64, request: Option<Ticket>, bytes: &[u8]) -> Order {
        match self.entries.get(&connection) {
            Some(entry) if !entry.standing.take(bytes.len()) => Order::Overflow { request },
            _ => Order::Write { request, bytes: bytes.to_vec() },
        }
    }

    /// False if there is no such connection.
    fn order(&mut self, connection: u64, order: Order) -> bool {
        self.entries.get(&connection).is_some_and(|entry| entry.orders.send(order).is_ok())
    }
}

/// From a connection's task back to the table.
pub(super) struct Way {
    connections: Weak<Connections>,
    connection: u64,
}

impl Way {
    /// The connection has ended: nothing can be ordered of it any more.
    pub(super) fn forget(&self) {
        let Some(connections) = self.connections.upgrade() else { return };
        let mut table = connections.table();
        if let Some(entry) = table.entries.remove(&self.connection)
            && table.told_by.get(&entry.request) == Some(&self.connection)
        {
            table.told_by.remove(&entry.request);
        }
    }

    /// How many bytes an answer may have: less where there are many connections.
    pub(super) fn read_bytes_max(&self) -> usize {
        let count = self.connections.upgrade().map_or(0, |connections| connections.table().entries.len());
        let most = usize::try_from(READ_BYTES_MAX).unwrap_or(usize::MAX);
        (READ_BYTES_OF_ALL / count.max(1)).clamp(READ_BYTES_LEAST, most)
    }
}
