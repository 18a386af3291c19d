//! The newest state whose outputs have been let go, for readers beside the machine.
//!
//! The loop publishes a version with each batch, before anything that the batch caused leaves: whoever has seen an answer finds what it tells of. A
//! version is the memories of a durable checkpoint, and over them every page that was captured since, as captured. Pages stay for some while after
//! a checkpoint has them, so that a reader which stands at an older version gets by with what has changed; one for which too much is gone begins anew.
//!
//! While nobody reads, nothing is published, and nothing is kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seed::PageIndex;
use seed::image::Memory;
use seed::page::Page;

use crate::body::{Advance, Contents, Program, Registers};

/// Pages that are kept for readers that lag, though a checkpoint has them: 64 MiB.
const LAG_PAGES_MAX: usize = 16 << 10;

/// A page's place: which memory, and where in it.
pub(crate) type Place = (usize, PageIndex);

/// What readers stand on. Copies are of one.
#[derive(Clone)]
pub struct Released(Arc<Shared>);

struct Shared {
    lag_pages_max: usize,
    shown: Mutex<Shown>,
    changed: Condvar,
    /// That of what is shown. Above all earlier ones, also where nothing was shown meanwhile; never 0.
    version: AtomicU64,
    is_over: AtomicBool,
}

/// What there is to stand on.
#[derive(Default)]
enum Shown {
    #[default]
    Nothing,
    /// A program whose first step is yet to come.
    Unborn,
    Born(State),
}

/// A program that has booted, as it stands.
struct State {
    program: Arc<Program>,
    registers: Arc<Registers>,
    durable: Vec<Memory>,
    /// As of which version that is; none of these if 0.
    durable_at: u64,
    /// Everything that has changed after this version is among the pages.
    complete_from: u64,
    pages: BTreeMap<(u64, Place), Page>,
    /// Each page is there once.
    version_of: HashMap<Place, u64>,
}

/// How a reader comes to the newest version.
pub(crate) enum Way {
    /// There is nothing to stand on.
    None,
    /// From the one at which it stands.
    On(Step),
    /// From nothing.
    Anew(Whole),
}

/// What has changed.
pub(crate) struct Step {
    pub(crate) version: u64,
    pub(crate) registers: Arc<Registers>,
    pub(crate) durable: Vec<Memory>,
    /// Changed since, or asked for and not in the durable memories as it is.
    pub(crate) pages: Vec<(Place, Page)>,
}

/// All there is.
pub(crate) struct Whole {
    pub(crate) program: Arc<Program>,
    pub(crate) version: u64,
    pub(crate) registers: Arc<Registers>,
    pub(crate) durable: Vec<Memory>,
    pub(crate) over: Vec<(Place, Page)>,
}

impl Default for Released {
    fn default() -> Self {
        Self::keeping(LAG_PAGES_MAX)
    }
}

impl Released {
    /// One that keeps so many pages for readers that lag.
    #[must_use]
    pub fn keeping(lag_pages_max: usize) -> Self {
        Self(Arc::new(Shared {
            lag_pages_max,
            shown: Mutex::default(),
            changed: Condvar::new(),
            version: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }))
    }

    /// Ends it for good: readers stop what they do, and those that wait for something to stand on get nothing.
    pub fn end(&self) {
        self.0.is_over.store(true, Ordering::Release);
        self.close();
    }

    /// Whether that was done.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Acquire)
    }

    /// The newest version.
    pub(crate) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// The way of a reader that stands at version `from`, or nowhere (0), and needs these pages as they are in the newest one besides. Waits until
    /// something is shown, and for a program that is about to boot for so long.
    pub(crate) fn way(&self, from: u64, wanted: &[Place], patience: Duration) -> Way {
        let nothing = |shown: &mut Shown| matches!(shown, Shown::Nothing) && !self.is_over();
        let shown = self.0.changed.wait_while(self.shown(), nothing).unwrap_or_else(PoisonError::into_inner);
        let unborn = |shown: &mut Shown| matches!(shown, Shown::Unborn) && !self.is_over();
        let waited = self.0.changed.wait_timeout_while(shown, patience, unborn);
        let (shown, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.way_in(&shown, from, wanted)
    }

    /// The same, without waiting for anything.
    pub(crate) fn way_now(&self, from: u64, wanted: &[Place]) -> Way {
        self.way_in(&self.shown(), from, wanted)
    }

    fn way_in(&self, shown: &Shown, from: u64, wanted: &[Place]) -> Way {
        let Shown::Born(state) = shown else { return Way::None };
        let (version, registers, durable) = (self.version(), Arc::clone(&state.registers), state.durable.clone());
        if from < state.complete_from || from == 0 {
            let over = state.pages.iter().map(|((_, place), page)| (*place, Arc::clone(page))).collect();
            return Way::Anew(Whole { program: Arc::clone(&state.program), version, registers, durable, over });
        }
        let since = state.pages.range((from + 1, (0, PageIndex(0)))..);
        let mut pages: Vec<_> = since.map(|((_, place), page)| (*place, Arc::clone(page))).collect();
        let known = |place: &Place| Some((*place, state.version_of.get(place).copied().filter(|at| *at <= from)?));
        let wanted = wanted
            .iter()
            .filter_map(known)
            .filter_map(|(place, at)| Some((place, Arc::clone(state.pages.get(&(at, place))?))));
        pages.extend(wanted);
        Way::On(Step { version, registers, durable, pages })
    }

    /// From here on there is something to stand on.
    pub(crate) fn open(&self, contents: Contents) {
        let mut shown = self.shown();
        let version = self.next();
        *shown = match contents.registers {
            None => Shown::Unborn,
            Some(registers) => {
                let mut state = State::new(contents.program, registers, version);
                state.durable = contents.durable;
                contents.over.into_iter().for_each(|(place, page)| state.take(place, page, version));
                Shown::Born(state)
            }
        };
        self.tell(version);
    }

    /// A batch has been made durable. If it is a checkpoint, these are the memories of it.
    pub(crate) fn publish(&self, advance: Advance, checkpoint: Option<&[Memory]>) {
        let mut shown = self.shown();
        let version = self.next();
        let Advance { program, registers, pages } = advance;
        let Some(registers) = registers else {
            *shown = Shown::Unborn;
            return self.tell(version);
        };
        if let Shown::Born(state) = &mut *shown {
            state.registers = Arc::new(registers);
        } else {
            // Its pages are all that it has.
            *shown = Shown::Born(State::new(program, registers, version));
        }
        if let Shown::Born(state) = &mut *shown {
            pages.into_iter().for_each(|(memory, index, page)| state.take((memory, index), page, version));
            if let Some(durable) = checkpoint {
                state.durable = durable.to_vec();
                state.durable_at = version;
                state.forget(self.0.lag_pages_max);
            }
        }
        self.tell(version);
    }

    /// There is nothing any more.
    pub(crate) fn close(&self) {
        let mut shown = self.shown();
        *shown = Shown::Nothing;
        self.tell(self.next());
    }

    fn next(&self) -> u64 {
        self.version() + 1
    }

    fn tell(&self, version: u64) {
        self.0.version.store(version, Ordering::Release);
        self.0.changed.notify_all();
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// With no page but zeros.
    fn new(program: Program, registers: Registers, version: u64) -> Self {
        Self {
            program: Arc::new(program),
            registers: Arc::new(registers),
            durable: Vec::new(),
            durable_at: 0,
            complete_from: version,
            pages: BTreeMap::new(),
            version_of: HashMap::new(),
        }
    }

    fn take(&mut self, place: Place, page: Page, version: u64) {
        if let Some(before) = self.version_of.insert(place, version) {
            self.pages.remove(&(before, place));
        }
        self.pages.insert((version, place), page);
    }

    /// Lets go of the oldest pages, if a checkpoint has them and they are too many.
    fn forget(&mut self, pages_max: usize) {
        while self.pages.len() > pages_max
            && let Some(oldest) = self.pages.first_entry()
            && oldest.key().0 <= self.durable_at
        {
            let (version, place) = *oldest.key();
            oldest.remove();
            self.version_of.remove(&place);
            // There may be more of this version: they are not enough.
            self.complete_from = self.complete_from.max(version);
        }
    }
}
