//! A reader: an instance beside the machine that answers queries, at the newest version of what has been released.
//!
//! Whatever a query writes is taken back after it, and so is what an aborted one leaves: the pages that it wrote get their contents as of the
//! version at which the reader stands, or of a newer one. Nothing else knows of a query.
//!
//! Pages that queries write again and again, those of their input and their stack for instance, are not protected in between: each is put back after
//! each query, which costs a copy, and does not fault, which would cost ten.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use persist::planted::{Bug, is_planted};
use seed::image::{Global, Memory};
use seed::message::{Code, Input};
use seed::page::{Page, PageBytes};
use seed::{Id, LoadError, Nanos, PageIndex, PortId};

use crate::body::{BodyError, EAGER_PAGES_MAX, OnLost, Program, Registers, StandingPages};
use crate::causes::chain;
use crate::engine::{Engine, Mode};
use crate::guest::{Abort, Fault, Guest, HostFault, Misfit, RestoreError};
use crate::query::{Answer, read_answer};
use crate::released::{Place, Released, Step, Way, Whole};

/// Queries after which pages that are no longer written are protected again.
const QUERIES_A_LOOK: u32 = 64;
/// Written pages of a memory that are looked after without being protected: more cost more to put back than their faults would.
const WRITTEN_PAGES_MAX: usize = 32;
/// Changed pages that a query which is asked at once may have to bring in.
const CHANGED_PAGES_MAX: usize = 64;
/// Pages whose contents are kept at hand to put them back: 4 MiB.
const KNOWN_PAGES_MAX: usize = 1024;

/// The pages of each memory that are not zero, and the globals.
pub type Contents = (Vec<Vec<(PageIndex, Id)>>, Vec<Global>);

/// One that can be asked, by one thread.
pub struct Reader {
    released: Released,
    cpu: Nanos,
    /// How long a query waits for a program that is about to boot.
    patience: Duration,
    lost: OnLost,
    standing: Option<Standing>,
}

/// An instance at a version.
struct Standing {
    guest: Guest,
    /// Whether nothing of it is paged in.
    is_whole: bool,
    /// That a query may take.
    cpu_ms: u64,
    program: Arc<Program>,
    version: u64,
    registers: Arc<Registers>,
    durable: Vec<Memory>,
    /// The durable memories, as far as they were looked at.
    stored: HashMap<usize, StandingPages>,
    /// Contents at that version of pages that queries have written.
    known: HashMap<Place, Page>,
    /// Whether a query has left its traces.
    is_used: bool,
    queries: u32,
}

impl Reader {
    /// One that stands nowhere yet. A query may take so much CPU time, or as much as a step of the machine if that is less.
    #[must_use]
    pub fn new(released: Released, cpu: Nanos, patience: Duration, lost: OnLost) -> Self {
        Self { released, cpu, patience, lost, standing: None }
    }

    /// Asks what stands there now. Nothing that it does stays.
    pub fn query(&mut self, port: PortId, payload: Vec<u8>) -> Answer {
        let standing = match self.come() {
            Ok(Some(standing)) => standing,
            Ok(None) => return Err((Code::FAILED, "the machine has not booted yet".to_owned())),
            Err(error) => {
                self.standing = None;
                return Err((Code::FAILED, chain(&error)));
            }
        };
        standing.is_used = true;
        let stepped = standing.guest.step(&Input::Query { port, payload }.encode());
        if let Err(Fault::Host(_)) = &stepped {
            self.standing = None;
        }
        answer(stepped)
    }

    /// Asks at once what stands there now, with so much CPU time at most and nothing to wait for: no answer if that is not to be had, or does not do. For
    /// threads that others wait for.
    pub fn query_at_once(&mut self, port: PortId, payload: &[u8], cpu: Nanos) -> Option<Answer> {
        let newest = self.released.version();
        let standing = self.standing.as_mut().filter(|standing| standing.is_whole && !standing.is_used)?;
        if standing.version != newest {
            match self.released.way_now(standing.version, &[]) {
                Way::On(step) if step.pages.len() <= CHANGED_PAGES_MAX => {
                    if standing.step(step, &[], &[]).is_err() {
                        // Asked elsewhere it is made anew, or it is told why not.
                        self.standing = None;
                        return None;
                    }
                }
                _ => return None,
            }
        }
        let cpu_ms = cpu.0 / 1_000_000;
        if cpu_ms >= standing.cpu_ms {
            return None;
        }
        let input = Input::Query { port, payload: payload.to_vec() }.encode();
        standing.guest.allow_step_cpu(cpu_ms);
        standing.is_used = true;
        let stepped = standing.guest.step(&input);
        standing.guest.allow_step_cpu(standing.cpu_ms);
        match stepped {
            Err(Fault::Abort(Abort::Cpu { .. })) => None,
            Err(Fault::Host(_)) => {
                self.standing = None;
                None
            }
            stepped => Some(answer(stepped)),
        }
    }

    /// Takes back what the last query has left, which else the next one waits for. Waits for nothing itself.
    pub fn settle(&mut self) {
        let now = |released: &Released, from, wanted: &[Place]| match released.way_now(from, wanted) {
            // That is for the next query.
            Way::Anew(_) => Way::None,
            way => way,
        };
        if self.standing.is_some() && self.come_by(now).is_err() {
            // The next query finds out why.
            self.standing = None;
        }
    }

    /// What stands there now, for tests to compare; none where nothing does.
    ///
    /// # Errors
    /// If the host fails.
    pub fn contents(&mut self) -> Result<Option<Contents>, BodyError> {
        if let Err(error) = self.come() {
            self.standing = None;
            return Err(error);
        }
        let Some(standing) = &mut self.standing else { return Ok(None) };
        let mut memories = Vec::new();
        for memory in standing.guest.memories() {
            let mut bytes = seed::page::ZERO;
            let page = |index: u32| {
                memory.copy_page(index, &mut bytes);
                Some((PageIndex(index), seed::page::id(&bytes)?))
            };
            memories.push((0..memory.page_count()).filter_map(page).collect());
        }
        Ok(Some((memories, standing.guest.globals()?)))
    }

    /// Comes to the newest version; nothing stands where there is none.
    fn come(&mut self) -> Result<Option<&mut Standing>, BodyError> {
        let patience = self.patience;
        self.come_by(|released, from, wanted| released.way(from, wanted, patience))
    }

    fn come_by(
        &mut self,
        way: impl FnOnce(&Released, u64, &[Place]) -> Way,
    ) -> Result<Option<&mut Standing>, BodyError> {
        let mut written = Vec::new();
        if let Some(standing) = &mut self.standing
            && !standing.take_back(&mut written)?
        {
            self.standing = None;
        }
        let (mut from, mut wanted) = (0, Vec::new());
        if let Some(standing) = &mut self.standing {
            from = standing.version;
            wanted.extend(written.iter().filter(|place| !standing.known.contains_key(*place)).copied());
            if wanted.is_empty() && from == self.released.version() {
                standing.put_back(&written)?;
                return Ok(self.standing.as_mut());
            }
        }
        match way(&self.released, from, &wanted) {
            Way::None => self.standing = None,
            Way::Anew(whole) => {
                // Not two instances at a time.
                self.standing = None;
                self.standing = Some(Standing::new(whole, &self.released, self.cpu, &self.lost)?);
            }
            Way::On(step) => {
                if let Some(standing) = &mut self.standing {
                    standing.step(step, &written, &wanted)?;
                }
            }
        }
        Ok(self.standing.as_mut())
    }
}

impl Standing {
    fn new(whole: Whole, released: &Released, cpu: Nanos, lost: &OnLost) -> Result<Self, BodyError> {
        let Whole { program, version, registers, durable, over } = whole;
        let mut guest = Guest::new(&ending_with(released, &program.engine), &program.code)?;
        guest.set_mode(Mode::Live);
        let cpu_ms = program.engine.limits.step_cpu_ms.min(cpu.0 / 1_000_000);
        guest.allow_step_cpu(cpu_ms);
        if registers.sizes.len() != guest.memories().len() {
            return Err(RestoreError::from(Misfit { what: "number of memories" }).into());
        }
        let mut overs = vec![BTreeMap::new(); registers.sizes.len()];
        for ((memory, index), page) in over {
            if let Some(over) = overs.get_mut(memory) {
                over.insert(index, page);
            }
        }
        for (position, (size, over)) in registers.sizes.iter().zip(overs).enumerate() {
            guest.grow_memory(position, *size).map_err(RestoreError::from)?;
            let mut pages = StandingPages::new(durable.get(position).copied(), over, Arc::clone(&program.objects));
            let memory = &guest.memories()[position];
            if *size > EAGER_PAGES_MAX {
                let lost = Arc::clone(lost);
                let on_lost = Box::new(move |error| lost(error));
                memory.attach_pager(&|_| true, Box::new(pages), on_lost).map_err(HostFault::from)?;
                continue;
            }
            for index in pages.indices()? {
                memory.write_page(index.0, &pages.get(index)?).map_err(HostFault::from)?;
            }
            memory.clean().map_err(HostFault::from)?;
        }
        guest.restore(&registers.globals, &registers.tables)?;
        Ok(Self {
            guest,
            is_whole: registers.sizes.iter().all(|size| *size <= EAGER_PAGES_MAX),
            cpu_ms,
            program,
            version,
            registers,
            durable,
            stored: HashMap::new(),
            known: HashMap::new(),
            is_used: false,
            queries: 0,
        })
    }

    /// Takes back what a query has left, but for the contents of pages, which it notes. Whether that can be done: if not, another instance is needed.
    fn take_back(&mut self, written: &mut Vec<Place>) -> Result<bool, BodyError> {
        if !std::mem::take(&mut self.is_used) {
            return Ok(true);
        }
        self.queries = self.queries.wrapping_add(1);
        if !self.guest.take_back(&self.registers.globals, &self.registers.tables)? {
            return Ok(false);
        }
        let mut found = Vec::new();
        for (position, size) in self.registers.sizes.iter().enumerate() {
            self.guest.shrink_memory(position, *size)?;
            self.guest.memories()[position].look_for_dirty(&mut found).map_err(HostFault::from)?;
            written.extend(found.drain(..).map(|index| (position, PageIndex(index))));
        }
        Ok(true)
    }

    /// Puts the contents of written pages back, which are known.
    fn put_back(&mut self, written: &[Place]) -> Result<(), BodyError> {
        for place in written {
            if let Some(page) = self.known.get(place)
                && !is_planted(Bug::QueryKept)
            {
                self.guest.memories()[place.0].write_page(place.1.0, page).map_err(HostFault::from)?;
            }
        }
        if written.len() > WRITTEN_PAGES_MAX || self.queries.is_multiple_of(QUERIES_A_LOOK) {
            self.protect()?;
        }
        Ok(())
    }

    /// All pages count as not written, and fault when they are.
    fn protect(&mut self) -> Result<(), BodyError> {
        for memory in self.guest.memories() {
            memory.clean().map_err(HostFault::from)?;
        }
        if self.known.len() > KNOWN_PAGES_MAX {
            self.known.clear();
        }
        Ok(())
    }

    /// Goes on to a newer version. `wanted` of the written pages are not known.
    fn step(&mut self, step: Step, written: &[Place], wanted: &[Place]) -> Result<(), BodyError> {
        let Step { version, registers, durable, pages } = step;
        if self.durable != durable {
            self.durable = durable;
            self.stored.clear();
        }
        for (position, size) in registers.sizes.iter().enumerate() {
            self.guest.grow_memory(position, *size).map_err(RestoreError::from)?;
        }
        let has_changed = !pages.is_empty();
        for (place, page) in pages {
            if is_planted(Bug::PagesUntold) && place.1.0 % 2 == 1 {
                continue;
            }
            self.guest.memories()[place.0].write_page(place.1.0, &page).map_err(HostFault::from)?;
            if self.known.contains_key(&place) || wanted.contains(&place) {
                self.known.insert(place, page);
            }
        }
        for place in wanted {
            if !self.known.contains_key(place) {
                let page = Arc::new(self.stored(*place)?);
                self.known.insert(*place, page);
            }
        }
        self.put_back(written)?;
        if has_changed {
            // A tracker that compares would take a query's write for none where it brings back what was there before.
            self.protect()?;
        }
        if !Arc::ptr_eq(&self.registers, &registers) {
            if !self.guest.take_back(&registers.globals, &registers.tables)? {
                self.guest.restore(&registers.globals, &registers.tables)?;
            }
            self.registers = registers;
        }
        self.version = version;
        Ok(())
    }

    /// A page as the last checkpoint has it.
    fn stored(&mut self, (memory, index): Place) -> Result<PageBytes, LoadError> {
        let (durable, objects) = (self.durable.get(memory).copied(), &self.program.objects);
        let stored = self.stored.entry(memory);
        stored.or_insert_with(|| StandingPages::new(durable, BTreeMap::new(), Arc::clone(objects))).get(index)
    }
}

/// What a query's step comes to.
fn answer(stepped: Result<Vec<u8>, Fault>) -> Answer {
    match stepped {
        Ok(output) => read_answer(&output).unwrap_or_else(|what| {
            Err((Code::FAILED, format!("the machine does not answer queries as docs/abi.md says: {what}")))
        }),
        Err(Fault::Abort(abort)) => Err((Code::ABORTED, abort.to_string())),
        Err(Fault::Host(fault)) => Err((Code::FAILED, chain(&fault))),
    }
}

/// The same engine, whose guests run out of time when there is nothing to read any more.
fn ending_with(released: &Released, engine: &Engine) -> Engine {
    let (released, meter) = (released.clone(), Arc::clone(&engine.meter));
    let meter = move || if released.is_over() { Nanos(u64::MAX) } else { meter() };
    engine.with_meter(Arc::new(meter))
}
