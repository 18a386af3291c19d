//! A machine's body: its guest, and its image as of the last boundary between batches.
//!
//! Between two boundaries the guest runs ahead of the image; [`Body::close`] captures what it dirtied and moves the boundary,
//! [`Body::rewind`] takes the guest back to it. Captured pages stay in memory until a checkpoint that holds them is durable, so going back never
//! waits for the disk.

mod advance;
mod become_program;
mod captured;
mod replay;
mod restore;

use std::sync::Arc;

use seed::image::{Grant, Image, Memory, State, Table};
use seed::message::{Input, Output};
use seed::object::{Link, Objects, decode_blob, encode_blob, load_blob};
use seed::page::{self, Page};
use seed::tree::PageTree;
use seed::{Domain, EffectId, Id, LoadError, PageIndex, PortId};
use thiserror::Error;

use persist::planted::{Bug, is_planted};

use crate::engine::{Code, CodeError, Engine, Mode, Settings};
use crate::guest::{Fault, Guest, HostFault, RestoreError};
use crate::ledger::{Ledger, Release, Revoked, Terms, Violation};
use crate::memory::PagerError;
use crate::step_loop::Written;
pub(crate) use advance::{Advance, Contents, Program, Registers};
use become_program::Unfit;
use captured::Captured;
pub use replay::{Difference, Divergence};
pub use restore::EAGER_PAGES_MAX;
pub(crate) use restore::StandingPages;

/// Objects that can be loaded from any thread.
pub type SharedObjects = Arc<dyn Objects + Send + Sync>;

/// A machine's body.
pub struct Body {
    engine: Engine,
    code: Code,
    objects: SharedObjects,
    /// As of the last boundary, but for the grants, which are those in force.
    image: Image,
    /// `None` before the first step.
    guest: Option<Guest>,
    ledger: Ledger,
    /// What the program before left for the first step of this one.
    handover: Option<Vec<u8>>,
    trees: Vec<PageTree>,
    tables: Arc<Vec<Vec<u8>>>,
    captured: Captured,
    /// The pages captured at the last boundary, while somebody wants to know of them.
    advanced: Option<Vec<(usize, PageIndex, Page)>>,
    /// The memories of the last durable checkpoint, and of the one that may be in flight.
    durable: Vec<Memory>,
    in_flight: Vec<Memory>,
    lost: OnLost,
    /// Blobs of tables and programs that no checkpoint holds.
    blobs: Vec<(Link, Vec<u8>)>,
    blobs_in_flight: Vec<(Link, Vec<u8>)>,
    /// What batches have changed of the memories, where somebody watches.
    written: Option<Vec<Written>>,
}

/// A body cannot go on.
#[derive(Debug, Error)]
pub enum BodyError {
    /// An object could not be had.
    #[error("loading the machine's state failed")]
    Load(#[from] LoadError),
    /// The program cannot be run by this version.
    #[error("the machine's program cannot be run")]
    Code(#[from] CodeError),
    /// The host failed.
    #[error("the host cannot run the machine")]
    Host(#[from] HostFault),
    /// The recorded state does not fit the program.
    #[error("restoring the machine's state failed")]
    Restore(#[from] RestoreError),
    /// The image is one that this version cannot run.
    #[error("the image {what}")]
    Image {
        /// What is unusual about it.
        what: &'static str,
    },
    /// Executing steps again gave something else than before.
    #[error("executing the log again diverged from what is recorded")]
    Diverged(#[from] Divergence),
}

impl Body {
    /// The body of the machine with this root, whose every object `objects` has.
    ///
    /// # Errors
    /// If its image is missing or damaged, or cannot be run here.
    pub fn restore(
        settings: &Settings,
        mode: Mode,
        objects: SharedObjects,
        root: &Id,
        lost: OnLost,
    ) -> Result<Self, BodyError> {
        let bytes = objects.load(Domain::Object, root)?;
        let image = Image::decode(&bytes).map_err(|source| LoadError::Malformed { id: *root, source })?;
        let process = match image.processes.as_slice() {
            [process] => process,
            _ => return Err(BodyError::Image { what: "has another number of processes than one" }),
        };
        if image.interface != seed::image::INTERFACE {
            return Err(BodyError::Image { what: "is for a machine interface that this version does not speak" });
        }
        let wasm = load_blob(objects.as_ref(), &image.code)?;
        let engine = Engine::new(settings, &image.limits, mode)?;
        let code = engine.load(&image.code, &wasm)?;
        let ledger = Ledger::stored(&process.ledger);
        let handover = process.handover.map(|id| load_blob(objects.as_ref(), &id)).transpose()?;
        let state = process.state.clone();
        let mut body = Self {
            engine,
            code,
            objects,
            image,
            guest: None,
            ledger,
            handover,
            trees: Vec::new(),
            tables: Arc::default(),
            captured: Captured::default(),
            advanced: None,
            durable: Vec::new(),
            in_flight: Vec::new(),
            lost,
            blobs: Vec::new(),
            blobs_in_flight: Vec::new(),
            written: None,
        };
        if let Some(state) = state {
            body.durable.clone_from(&state.memories);
            body.trees = state.memories.iter().map(|memory| PageTree::stored(memory.pages, memory.root)).collect();
            let tables = state.tables.iter().map(|table| body.load_table(table));
            body.tables = Arc::new(tables.collect::<Result<_, _>>()?);
            body.rebuild(&state)?;
        }
        Ok(body)
    }

    /// Puts the limits of a live machine in force, by moving the machine to an engine that has them.
    ///
    /// # Errors
    /// If the state cannot be restored there.
    pub fn go_live(&mut self, settings: &Settings) -> Result<(), BodyError> {
        if self.engine.mode == Mode::Live {
            return Ok(());
        }
        let wasm = load_blob(self.objects.as_ref(), &self.image.code)?;
        self.engine = Engine::new(settings, &self.image.limits, Mode::Live)?;
        self.code = self.engine.load(&self.image.code, &wasm)?;
        match self.image.processes[0].state.clone() {
            Some(state) => self.rebuild(&state),
            None => Ok(()),
        }
    }

    /// The image as of the last boundary, with the grants that are in force.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The machine's root as of the last boundary.
    #[must_use]
    pub fn root(&self) -> Id {
        self.image.root()
    }

    /// What the machine asked and owes, together with where its entries come from.
    pub fn ledger(&mut self) -> (&mut Ledger, &dyn Objects) {
        (&mut self.ledger, self.objects.as_ref())
    }

    /// Whether the machine's first step is yet to come.
    #[must_use]
    pub fn is_unborn(&self) -> bool {
        self.guest.is_none()
    }

    /// The input that boots the machine.
    ///
    /// # Errors
    /// If the genesis data is missing or damaged.
    pub fn boot_input(&self) -> Result<Input, LoadError> {
        let id = self.image.genesis;
        // A program that the machine has just become may not be in the store yet.
        let genesis = match self.blobs.iter().chain(&self.blobs_in_flight).find(|((_, known), _)| *known == id) {
            Some((_, blob)) => decode_blob(blob).map_err(|source| LoadError::Malformed { id, source })?.to_vec(),
            None => load_blob(self.objects.as_ref(), &id)?,
        };
        Ok(Input::Boot { genesis, grants: self.image.grants.clone(), handover: self.handover.clone() })
    }

    /// Bytes of pages held in memory until a checkpoint holds them.
    #[must_use]
    pub fn captured_bytes(&self) -> u64 {
        self.captured.fresh_bytes()
    }

    /// How dirty pages are found.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Runs one step of the guest and nothing else. `input` is encoded.
    ///
    /// # Errors
    /// If the step faults; the guest must then be taken back with [`Self::rewind`].
    pub fn execute(&mut self, input: &[u8], mode: Mode) -> Result<Vec<u8>, Fault> {
        if self.guest.is_none() {
            let mut guest = Guest::new(&self.engine, &self.code)?;
            guest.set_mode(mode);
            guest.initialize()?;
            self.guest = Some(guest);
        }
        match &mut self.guest {
            Some(guest) => {
                guest.set_mode(mode);
                guest.step(input)
            }
            None => Err(HostFault::Shape { what: "a guest".to_owned() }.into()),
        }
    }

    /// Carries out what a step put out. The inner error is a rule that the output breaks; nothing is changed then.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn accept(
        &mut self,
        input: &Input,
        key: &[u8],
        output: &[u8],
    ) -> Result<Result<Vec<Release>, Violation>, BodyError> {
        let outputs = match Output::decode_list(output) {
            Ok(outputs) => outputs,
            Err(error) => return Ok(Err(error.into())),
        };
        let next = match outputs.last() {
            Some(Output::Become { seed, handover }) => match self.read_program(seed) {
                Ok(next) => Some((next, handover.clone())),
                Err(Unfit::Program(why)) => return Ok(Err(Violation::Become(why))),
                Err(Unfit::Host(error)) => return Err(error),
            },
            _ => None,
        };
        let objects = self.objects.as_ref();
        let terms = Terms { grants: &self.image.grants, limits: &self.image.limits };
        if let Err(violation) = self.ledger.check(input, &outputs, terms, objects)? {
            return Ok(Err(violation));
        }
        let releases = self.ledger.apply(input, key, outputs, terms, objects)?;
        self.handover = None;
        if let Some((next, handover)) = next {
            self.become_program(next, handover);
        }
        Ok(Ok(releases))
    }

    /// Carries out an abort.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn abort(&mut self, input: &Input, key: &[u8], reason: &str) -> Result<Vec<Release>, BodyError> {
        Ok(self.ledger.abort(input, key, reason, &self.image.limits, self.objects.as_ref())?)
    }

    /// Logs effects as delivered.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn settle(&mut self, effects: &[EffectId]) -> Result<(), BodyError> {
        Ok(self.ledger.settle(effects, self.objects.as_ref())?)
    }

    /// Puts a whole new list of grants in force, at once.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn regrant(&mut self, grants: &[Grant], next_port: PortId) -> Result<Revoked, BodyError> {
        let stays = |port: PortId| grants.iter().any(|grant| grant.port == port);
        let ports = self.image.grants.iter().map(|grant| grant.port).filter(|port| !stays(*port)).collect();
        let revoked = self.ledger.revoke(ports, self.objects.as_ref())?;
        self.image.grants = grants.to_vec();
        self.image.next_port = next_port;
        Ok(revoked)
    }

    /// Captures what the guest has dirtied and moves the boundary here. The machine's root.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn close(&mut self) -> Result<Id, BodyError> {
        if let Some(advanced) = &mut self.advanced {
            advanced.clear();
        }
        let state = match &mut self.guest {
            None => None,
            Some(guest) => {
                let mut memories = Vec::with_capacity(guest.memories().len());
                let (mut dirty, mut bytes) = (Vec::new(), page::ZERO);
                for (position, memory) in guest.memories().iter().enumerate() {
                    let pages = u64::from(memory.page_count());
                    if self.trees.len() == position {
                        self.trees.push(PageTree::zero(pages));
                    }
                    let tree = &mut self.trees[position];
                    tree.grow(pages);
                    memory.collect_dirty(&mut dirty).map_err(HostFault::from)?;
                    for index in dirty.drain(..).map(PageIndex) {
                        memory.copy_page(index.0, &mut bytes);
                        let id = page::id(&bytes);
                        let known = tree.get(index, self.objects.as_ref())?;
                        if id == known {
                            continue;
                        }
                        tree.set(index, id, self.objects.as_ref())?;
                        let page = self.captured.take(position, index, &bytes);
                        if let Some(advanced) = &mut self.advanced {
                            advanced.push((position, index, Arc::clone(page)));
                        }
                        if let Some(written) = &mut self.written {
                            written.push(Written { memory: position, page: index, is_zero: id.is_none() });
                        }
                    }
                    memories.push(Memory { pages: tree.pages(), root: tree.root() });
                }
                let globals = guest.globals()?;
                let contents = guest.tables()?;
                let tables = contents.iter().map(|content| table_of(content)).collect::<Vec<_>>();
                for (position, content) in contents.iter().enumerate() {
                    if self.tables.get(position) != Some(content) {
                        self.blobs.push((tables[position].1, encode_blob(content)));
                    }
                }
                if *self.tables != contents {
                    self.tables = Arc::new(contents);
                }
                Some(State { memories, globals, tables: tables.into_iter().map(|(table, _)| table).collect() })
            }
        };
        let handover = self.handover.as_ref().map(|bytes| {
            let blob = encode_blob(bytes);
            let id = Id::of(Domain::Object, &blob);
            self.blobs.push(((Domain::Object, id), blob));
            id
        });
        let process = &mut self.image.processes[0];
        process.state = state;
        process.handover = handover;
        process.ledger = self.ledger.roots();
        Ok(self.image.root())
    }

    /// Every object that the root of the last boundary needs and no earlier checkpoint holds.
    #[must_use]
    pub fn checkpoint(&mut self) -> Vec<(Link, Vec<u8>)> {
        let mut objects = std::mem::take(&mut self.blobs);
        self.blobs_in_flight.clone_from(&objects);
        for (position, tree) in self.trees.iter_mut().enumerate() {
            objects.extend(tree.take_unsaved().into_iter().map(|(id, bytes)| ((Domain::Node, id), bytes)));
            let is_left_out = |page: PageIndex| is_planted(Bug::StaleCheckpoint) && page.0 % 2 == 1;
            let pages = self.captured.fresh_of(position).filter(|(index, _)| !is_left_out(*index));
            objects.extend(
                pages.filter_map(|(_, page)| Some(((Domain::Page, page::id(page)?), page.as_slice().to_vec()))),
            );
        }
        objects.extend(self.ledger.take_unsaved());
        let image = self.image.encode();
        objects.push(((Domain::Object, Id::of(Domain::Object, &image)), image));
        self.captured.checkpoint();
        self.in_flight = self.image.processes[0].state.as_ref().map_or_else(Vec::new, |state| state.memories.clone());
        objects
    }

    /// The last checkpoint is durable.
    pub fn checkpointed(&mut self) {
        self.captured.checkpointed();
        self.blobs_in_flight.clear();
        self.durable = std::mem::take(&mut self.in_flight);
        self.ledger.checkpointed();
    }

    /// Takes the guest back to the last boundary. What the ledger has accepted since stays.
    ///
    /// # Errors
    /// If the state cannot be restored.
    pub fn rewind(&mut self) -> Result<(), BodyError> {
        let Some(state) = self.image.processes[0].state.clone() else {
            self.guest = None;
            return Ok(());
        };
        let tables = state.tables.iter().map(|table| table.elements);
        let Some(mut guest) = self.guest.take().filter(|guest| guest.has_tables(tables)) else {
            return self.rebuild(&state);
        };
        if guest.has_dropped_since(&state.globals)? {
            return self.rebuild(&state);
        }
        let mut dirty = Vec::new();
        for (position, known) in state.memories.iter().enumerate() {
            if !is_planted(Bug::GrowthKept) {
                guest.shrink_memory(position, known.pages)?;
            }
            let memory = &guest.memories()[position];
            memory.collect_dirty(&mut dirty).map_err(HostFault::from)?;
            for index in dirty.drain(..).map(PageIndex) {
                let bytes = self.page(position, index)?;
                memory.write_page(index.0, &bytes).map_err(HostFault::from)?;
            }
            memory.clean().map_err(HostFault::from)?;
        }
        guest.restore(&state.globals, &self.tables)?;
        self.guest = Some(guest);
        Ok(())
    }

    /// The pages of each memory as of the last boundary, by index; zero pages are left out.
    ///
    /// # Errors
    /// If a tree cannot be read.
    pub fn page_ids(&self) -> Result<Vec<Vec<(PageIndex, Id)>>, LoadError> {
        let mut memories = Vec::with_capacity(self.trees.len());
        for tree in &self.trees {
            let mut pages = Vec::new();
            tree.for_each::<LoadError>(self.objects.as_ref(), &mut |index, id| {
                pages.push((index, id));
                Ok(())
            })?;
            memories.push(pages);
        }
        Ok(memories)
    }
}

impl Body {
    /// Begins to gather what batches change.
    pub(crate) fn watch(&mut self) {
        self.written = Some(Vec::new());
        self.ledger.watch();
    }

    /// The pages that were changed since this was last asked, if that is gathered.
    pub(crate) fn take_written(&mut self) -> Option<Vec<Written>> {
        self.written.as_mut().map(std::mem::take)
    }

    /// How many pages each memory has, and those that are not zero, as of the last boundary.
    pub(crate) fn pages_in_use(&self) -> Result<Vec<(u64, Vec<PageIndex>)>, LoadError> {
        let mut memories = Vec::with_capacity(self.trees.len());
        for tree in &self.trees {
            let mut pages = Vec::new();
            tree.for_each::<LoadError>(self.objects.as_ref(), &mut |index, _| {
                pages.push(index);
                Ok(())
            })?;
            memories.push((tree.pages(), pages));
        }
        Ok(memories)
    }
}

/// What to do when a page that the guest needs cannot be had: nothing may run on.
pub type OnLost = Arc<dyn Fn(PagerError) + Send + Sync>;

fn table_of(content: &[u8]) -> (Table, Link) {
    let blob = encode_blob(content);
    let id = Id::of(Domain::Object, &blob);
    (Table { elements: (content.len() / 4) as u64, content: id }, (Domain::Object, id))
}
