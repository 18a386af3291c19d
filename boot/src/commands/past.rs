//! Machines set up as they stood, in memory, to be asked: they may run elsewhere meanwhile, and nothing changes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use persist::machine::Reading;
use persist::objects::load;
use seed::image::Image;
use seed::{Domain, LoadError, Seq};
use vm::body::SharedObjects;
use vm::engine::{Engine, Ticker};
use vm::past::Past;

use super::session;
use crate::driver::{RunError, exit_on_lost_page};
use crate::report::Failure;
use crate::terminal::Progress;

/// How often steps are looked at whether they have run for too long.
const TICK: Duration = Duration::from_millis(2);

/// Sets up the machine as it stood after the record with this seq, or as it stands, for `work` to ask it. `work` runs on a thread of its own, with the native
/// stack that guests want.
///
/// # Errors
/// If there is no such record, or the machine cannot be had.
pub(crate) fn with<T: Send>(
    path: &Path,
    at: Option<u64>,
    work: impl FnOnce(&mut Past) -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let reading = Reading::open(path)?;
    let branch = reading.branch();
    let end = match at {
        None => branch.end,
        Some(seq) if seq < branch.end.0 => Seq(seq + 1),
        Some(seq) => {
            let what = format!("{} has no record with seq {seq}; its last is {}", path.display(), branch.end.0 - 1);
            return Err(Failure::NotFound { what });
        }
    };
    let root = branch.checkpoint.root;
    let bytes = load(reading.store(), Domain::Object, &root)?;
    let image = Image::decode(&bytes).map_err(|source| LoadError::Malformed { id: root, source })?;
    let settings = session::settings()?;
    let objects: SharedObjects = Arc::new(reading.objects());
    let lost = exit_on_lost_page(path);
    let run = || {
        let progress = Progress::of(format!("setting up {}", path.display()));
        let past = Past::at(&settings, objects, reading.store(), branch, &lost, end);
        drop(progress);
        let mut past = past.map_err(|source| Failure::Replay { path: path.to_owned(), source })?;
        let _ticking = Ticking::start(past.body().engine().ticker())?;
        work(&mut past)
    };
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(Engine::thread_stack_bytes(&image.limits));
        let thread = builder.spawn_scoped(scope, run).map_err(Failure::Host)?;
        thread.join().map_err(|_| Failure::Run(RunError::Thread))?
    })
}

/// A thread that ticks until this is dropped.
struct Ticking {
    is_over: Arc<AtomicBool>,
}

impl Ticking {
    fn start(ticker: Ticker) -> Result<Self, Failure> {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let tick = move || {
            while !ends.load(Ordering::Relaxed) {
                ticker.tick();
                thread::sleep(TICK);
            }
        };
        thread::Builder::new().name("abide-tick".to_owned()).spawn(tick).map_err(Failure::Host)?;
        Ok(Self { is_over })
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
