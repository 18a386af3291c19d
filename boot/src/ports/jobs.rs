//! Jobs that a port does one after the other, in the order in which they came, on a blocking thread: what writes.
//!
//! Once [`Jobs::halt`] has returned nothing is under way and nothing more will be. Without that a job of a process that is ending could come after those
//! of the next one, which does what was not recorded again.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle as Runtime;

/// A job.
pub(super) trait Job: Send + 'static {
    /// What it keeps in memory, in bytes.
    fn bytes(&self) -> usize;
}

/// Jobs that wait, and what does them. Dropped, it does no more.
pub(super) struct Jobs<J: Job> {
    runtime: Runtime,
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    state: Mutex<State<J>>,
    /// Taken by whoever does jobs, of whom there is one at most.
    work: Mutex<Box<Work<J>>>,
    is_idle: Condvar,
    bytes_a_time: usize,
}

/// Does some jobs, in order.
type Work<J> = dyn FnMut(Vec<J>) + Send;

struct State<J> {
    waiting: VecDeque<J>,
    bytes: usize,
    is_working: bool,
    is_over: bool,
}

impl<J: Job> Jobs<J> {
    /// No jobs yet. `work` is given one at a time, or more that have no more than so many bytes.
    pub(super) fn new(runtime: &Runtime, bytes_a_time: usize, work: impl FnMut(Vec<J>) + Send + 'static) -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, is_working: false, is_over: false };
        let shared = Shared {
            state: Mutex::new(state),
            work: Mutex::new(Box::new(work)),
            is_idle: Condvar::new(),
            bytes_a_time,
        };
        Self { runtime: runtime.clone(), shared: Arc::new(shared) }
    }

    /// What waits, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.shared.state().bytes
    }

    /// One more, after all others.
    pub(super) fn push(&self, job: J) {
        let mut state = self.shared.state();
        if state.is_over {
            return;
        }
        state.bytes += job.bytes();
        state.waiting.push_back(job);
        let must_begin = !std::mem::replace(&mut state.is_working, true);
        // Given back first: where the runtime has ended, whoever was to work is dropped here, and says so.
        drop(state);
        if must_begin {
            let mut working = Working { shared: Arc::clone(&self.shared), is_done: false };
            // Not to be waited for here: `halt` does.
            drop(self.runtime.spawn_blocking(move || working.work()));
        }
    }

    /// Those that are so need not be done any more. One that has begun is done.
    pub(super) fn drop_if(&self, is_so: impl Fn(&J) -> bool) {
        let mut state = self.shared.state();
        state.waiting.retain(|job| !is_so(job));
        state.bytes = state.waiting.iter().map(Job::bytes).sum();
    }

    /// Waits for the end of what has begun; nothing else begins.
    pub(super) fn halt(&self) {
        let mut state = self.shared.state();
        state.is_over = true;
        state.waiting.clear();
        while state.is_working {
            state = self.shared.is_idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<J: Job> Drop for Jobs<J> {
    fn drop(&mut self) {
        self.halt();
    }
}

impl<J> Shared<J> {
    fn state(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody works, or will: until they are done, panic, or the runtime ends before they have begun.
struct Working<J> {
    shared: Arc<Shared<J>>,
    is_done: bool,
}

impl<J: Job> Working<J> {
    fn work(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut work = shared.work.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(jobs) = self.next() {
            work(jobs);
        }
    }

    /// The next jobs. Where there are none, nobody works any more.
    fn next(&mut self) -> Option<Vec<J>> {
        let mut state = self.shared.state();
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while let Some(job) = state.waiting.front() {
            bytes += job.bytes();
            if !jobs.is_empty() && bytes > self.shared.bytes_a_time {
                break;
            }
            state.bytes = state.bytes.saturating_sub(job.bytes());
            jobs.extend(state.waiting.pop_front());
        }
        if jobs.is_empty() {
            // Under the lock: a job that comes next finds that somebody has to begin.
            self.is_done = true;
            state.is_working = false;
            self.shared.is_idle.notify_all();
            return None;
        }
        Some(jobs)
    }
}

impl<J> Drop for Working<J> {
    fn drop(&mut self) {
        if !self.is_done {
            self.shared.state().is_working = false;
            self.shared.is_idle.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    impl Job for usize {
        fn bytes(&self) -> usize {
            *self
        }
    }

    #[test]
    fn jobs_are_done_in_order_as_many_at_a_time_as_there_is_room_for() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (done, seen) = channel();
        let (go, wait) = channel();
        let mut is_first = true;
        let jobs = Jobs::new(runtime.handle(), 5, move |some: Vec<usize>| {
            if std::mem::take(&mut is_first) {
                wait.recv().unwrap();
            }
            done.send(some).unwrap();
        });
        jobs.push(1);
        // The first has begun; the others wait for it.
        while jobs.bytes() > 0 {
            thread::yield_now();
        }
        [2, 3, 4, 9, 1, 1].into_iter().for_each(|job| jobs.push(job));
        jobs.drop_if(|job| *job == 4);
        assert_eq!(jobs.bytes(), 16);
        go.send(()).unwrap();
        let seen: Vec<Vec<usize>> = seen.iter().take(4).collect();
        assert_eq!(seen, [vec![1], vec![2, 3], vec![9], vec![1, 1]]);
    }

    #[test]
    fn without_a_runtime_nobody_is_waited_for() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let jobs = Jobs::new(runtime.handle(), 0, |_: Vec<usize>| {});
        drop(runtime);
        jobs.push(1);
        jobs.halt();
    }

    #[test]
    fn once_halted_nothing_is_under_way_and_nothing_begins() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (done, seen) = channel();
        let (begun, has_begun) = channel();
        let jobs = Jobs::new(runtime.handle(), 0, move |some: Vec<usize>| {
            begun.send(()).unwrap();
            thread::sleep(Duration::from_millis(50));
            done.send(some).unwrap();
        });
        [1, 2, 3].into_iter().for_each(|job| jobs.push(job));
        has_begun.recv().unwrap();
        jobs.halt();
        assert_eq!(seen.try_recv(), Ok(vec![1]), "what had begun was waited for");
        jobs.push(4);
        jobs.halt();
        thread::sleep(Duration::from_millis(100));
        assert!(seen.try_recv().is_err());
    }
}
