//! Queries, answered beside the machine by readers: each is a thread of its own, and there is at most one a core.
//!
//! A query that came in on a thread which others wait for is tried there first, at no cost of being handed on: with an instance that stands ready, and for a
//! moment only. One that takes longer is asked again by a reader: nothing of it has stayed.
//!
//! The first query brings the first reader, and the loop begins to publish what it releases; readers that have had nothing to do for a minute
//! go, and with the last of them what was kept for them.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use seed::image::Limits;
use seed::message::Code;
use seed::{Nanos, PortId};
use tokio::sync::oneshot;
use vm::body::OnLost;
use vm::engine::{Engine, Ticker};
use vm::query::Answer;
use vm::reader::Reader;
use vm::released::Released;

use super::{Event, TICK};

/// The CPU time that a query may take, unless a step of the machine may take less.
pub const QUERY_CPU: Nanos = Nanos::from_millis(1000);
/// Queries that wait for a reader, and their bytes: more are turned away.
const WAITING_MAX: usize = 1024;
const WAITING_BYTES_MAX: usize = 64 << 20;
/// On hosts with more cores some are left to others.
const READERS_MAX: usize = 32;
/// How long a reader waits for a query before it goes.
const IDLE: Duration = Duration::from_secs(60);
/// The CPU time of a query that is tried where it came in, and how many are not tried there after one that took longer.
const AT_ONCE_CPU: Nanos = Nanos::from_millis(2);
const NOT_AT_ONCE: usize = 256;
/// Native stack that threads which try have to spare.
const AT_ONCE_STACK_BYTES: u64 = 1 << 20;
/// How long a query waits for a program that is about to boot.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a machine is asked. Copies are of one.
#[derive(Clone)]
pub(super) struct Queries(Arc<Pool>);

struct Pool {
    desk: Mutex<Desk>,
    more: Condvar,
    released: Released,
    events: Sender<Event>,
    lost: OnLost,
    stack_bytes: usize,
    readers_max: usize,
    /// Instances that nobody has in hand.
    ready: Mutex<Vec<Reader>>,
    /// Read by whoever has one in hand that is no reader's.
    in_hand: RwLock<()>,
    /// Queries to come that are not tried at once.
    not_at_once: AtomicUsize,
    is_tried_at_once: bool,
    /// Whether a query was answered at once since a reader last looked.
    was_used: AtomicBool,
    ticker: OnceLock<Ticker>,
    tick: Tick,
}

#[derive(Default)]
struct Desk {
    waiting: VecDeque<Asked>,
    /// Of those payloads.
    bytes: usize,
    /// Readers that live.
    readers: usize,
    /// Those of them that wait, and those of these that have been woken.
    idle: usize,
    woken: usize,
    threads: Vec<JoinHandle<()>>,
    is_over: bool,
}

struct Asked {
    port: PortId,
    payload: Vec<u8>,
    tell: oneshot::Sender<Answer>,
}

/// Makes readers look at their CPU time, while one of them runs.
#[derive(Default)]
struct Tick {
    running: AtomicUsize,
    is_parked: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Queries {
    pub(super) fn new(events: Sender<Event>, lost: OnLost, limits: &Limits) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Pool {
            desk: Mutex::default(),
            more: Condvar::new(),
            released: Released::default(),
            events,
            lost,
            stack_bytes: Engine::thread_stack_bytes(limits),
            ready: Mutex::default(),
            in_hand: RwLock::new(()),
            not_at_once: AtomicUsize::new(0),
            is_tried_at_once: limits.stack_bytes <= AT_ONCE_STACK_BYTES,
            was_used: AtomicBool::new(false),
            readers_max: cores.min(READERS_MAX),
            ticker: OnceLock::new(),
            tick: Tick::default(),
        }))
    }

    /// The machine is recovered, and this makes its guests look at their CPU time.
    pub(super) fn begin(&self, ticker: Ticker) {
        let _ = self.0.ticker.set(ticker);
    }

    /// Where readers hear of what is released.
    pub(super) fn released(&self) -> &Released {
        &self.0.released
    }

    /// Asks. No answer comes if the machine ends before.
    pub(super) fn ask(&self, port: PortId, payload: Vec<u8>) -> oneshot::Receiver<Answer> {
        let (tell, told) = oneshot::channel();
        let mut desk = self.0.desk();
        if desk.is_over {
            return told;
        }
        if desk.waiting.len() >= WAITING_MAX || desk.bytes + payload.len() > WAITING_BYTES_MAX && desk.bytes > 0 {
            let _ = tell.send(Err((Code::LIMIT, "too many queries wait".to_owned())));
            return told;
        }
        desk.bytes += payload.len();
        desk.waiting.push_back(Asked { port, payload, tell });
        if desk.idle > desk.woken {
            desk.woken += 1;
            self.0.more.notify_one();
        } else if desk.readers < self.0.readers_max {
            self.0.hire(&mut desk);
        }
        told
    }

    /// Asks on this thread, if an instance stands ready and it takes but a moment. If nothing comes of it, nothing has happened.
    pub(super) fn ask_at_once(&self, port: PortId, payload: &[u8]) -> Option<Answer> {
        let pool = &self.0;
        if !pool.is_tried_at_once {
            return None;
        }
        let one_less = |left: usize| left.checked_sub(1);
        if pool.not_at_once.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return None;
        }
        // Whoever ends it waits for this.
        let _in_hand = pool.in_hand.read().unwrap_or_else(PoisonError::into_inner);
        let mut reader = pool.ready().pop()?;
        pool.tick.begin();
        let answer = reader.query_at_once(port, payload, AT_ONCE_CPU);
        pool.tick.end();
        if answer.is_none() {
            pool.not_at_once.store(NOT_AT_ONCE, Ordering::Relaxed);
        } else {
            pool.was_used.store(true, Ordering::Relaxed);
        }
        reader.settle();
        pool.give_back(reader);
        answer
    }

    /// Ends it: what runs is stopped, and whoever waits hears nothing. The store is not read from then on.
    pub(super) fn end(&self) {
        let threads = {
            let mut desk = self.0.desk();
            desk.is_over = true;
            desk.waiting.clear();
            std::mem::take(&mut desk.threads)
        };
        self.0.released.end();
        self.0.more.notify_all();
        for thread in threads {
            // It has told of its panic, and nobody waits for it.
            let _ = thread.join();
        }
        drop(self.0.in_hand.write().unwrap_or_else(PoisonError::into_inner));
        self.0.ready().clear();
        if let Some(thread) = self.0.tick.thread.get() {
            thread.unpark();
        }
    }
}

impl Pool {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more reader.
    fn hire(self: &Arc<Self>, desk: &mut Desk) {
        match self.tick.start(self).and_then(|()| self.start(desk)) {
            Ok(()) => {
                desk.readers += 1;
                if desk.readers == 1 {
                    // Under the lock: coming and going is heard in its order.
                    let _ = self.events.send(Event::Readers(true));
                }
            }
            // Whoever is there does it all.
            Err(_) if desk.readers > 0 => {}
            Err(error) => {
                desk.bytes = 0;
                for Asked { tell, .. } in desk.waiting.drain(..) {
                    let _ = tell.send(Err((Code::LIMIT, format!("the host has no thread for a query: {error}"))));
                }
            }
        }
    }

    fn start(self: &Arc<Self>, desk: &mut Desk) -> io::Result<()> {
        let pool = Arc::clone(self);
        let builder = thread::Builder::new().name("abide-reader".to_owned()).stack_size(self.stack_bytes);
        let thread = builder.spawn(move || pool.serve())?;
        desk.threads.retain(|thread| !thread.is_finished());
        desk.threads.push(thread);
        Ok(())
    }

    /// A reader's life.
    fn serve(self: Arc<Self>) {
        let _leaving = Leaving(&self);
        while let Some(Asked { port, payload, tell }) = self.next() {
            // Whoever has gone needs no answer.
            if tell.is_closed() {
                continue;
            }
            let new = || Reader::new(self.released.clone(), QUERY_CPU, PATIENCE, Arc::clone(&self.lost));
            let ready = self.ready().pop();
            let mut reader = ready.unwrap_or_else(new);
            self.tick.begin();
            let answer = reader.query(port, payload);
            self.tick.end();
            let _ = tell.send(answer);
            reader.settle();
            self.give_back(reader);
        }
    }

    fn ready(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an instance where the next query finds it.
    fn give_back(&self, reader: Reader) {
        let mut ready = self.ready();
        if ready.len() < self.readers_max && !self.released.is_over() {
            ready.push(reader);
        }
    }

    /// What is to be answered next; nothing if there was nothing for long.
    fn next(&self) -> Option<Asked> {
        let mut desk = self.desk();
        if desk.waiting.is_empty() {
            desk.idle += 1;
            let nothing = |desk: &mut Desk| desk.waiting.is_empty() && !desk.is_over;
            loop {
                let waited = self.more.wait_timeout_while(desk, IDLE, nothing);
                let (now, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
                desk = now;
                if !timed_out.timed_out() || !self.was_used.swap(false, Ordering::Relaxed) {
                    break;
                }
            }
            desk.idle -= 1;
            desk.woken = desk.woken.saturating_sub(1);
        }
        let asked = desk.waiting.pop_front()?;
        desk.bytes -= asked.payload.len();
        Some(asked)
    }
}

/// A reader's end, in whichever way.
struct Leaving<'a>(&'a Arc<Pool>);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut desk = self.0.desk();
        desk.readers -= 1;
        if desk.readers > 0 || desk.is_over {
            return;
        }
        self.0.ready().clear();
        let _ = self.0.events.send(Event::Readers(false));
        // What came when it had looked for the last time is not left alone.
        if !desk.waiting.is_empty() {
            self.0.hire(&mut desk);
        }
    }
}

impl Tick {
    /// Without it no query would be stopped, so that none is begun.
    fn start(&self, pool: &Arc<Pool>) -> io::Result<()> {
        if self.thread.get().is_some() {
            return Ok(());
        }
        let pool = Arc::downgrade(pool);
        let tick = move || {
            while let Some(pool) = pool.upgrade().filter(|pool| !pool.released.is_over()) {
                pool.tick.look(&pool);
            }
        };
        let thread = thread::Builder::new().name("abide-tick".to_owned()).spawn(tick)?;
        let _ = self.thread.set(thread.thread().clone());
        Ok(())
    }

    fn begin(&self) {
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.is_parked.load(Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn end(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits until a reader runs, and for a while more, and has those that run then look. So it is woken once in a while and not by each query.
    fn look(&self, pool: &Pool) {
        self.is_parked.store(true, Ordering::SeqCst);
        if self.running.load(Ordering::SeqCst) == 0 {
            thread::park();
        }
        self.is_parked.store(false, Ordering::SeqCst);
        thread::sleep(TICK);
        if self.running.load(Ordering::SeqCst) > 0
            && let Some(ticker) = pool.ticker.get()
        {
            ticker.tick();
        }
    }
}
