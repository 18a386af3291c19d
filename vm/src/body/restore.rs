//! A guest brought to the state of a boundary: small memories whole, large ones page by page as they are touched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use seed::image::{Memory, State, Table};
use seed::object::{Objects, load_blob};
use seed::page::{self, Page, PageBytes};
use seed::tree::PageTree;
use seed::{Domain, Id, LoadError, PageIndex};

use super::{Body, BodyError, SharedObjects};
use crate::guest::{Guest, HostFault, Misfit, RestoreError};
use crate::memory::{Pager, PagerError};

/// Memories with more pages than this (4 MiB) are paged in as they are touched. A page takes some 10 us to load and check, so this is what opening may
/// cost: `cargo bench -- opening`.
pub const EAGER_PAGES_MAX: u64 = 1024;

impl Body {
    /// A new guest, brought to the state of the last boundary.
    pub(super) fn rebuild(&mut self, state: &State) -> Result<(), BodyError> {
        self.guest = None;
        let mut guest = Guest::new(&self.engine, &self.code)?;
        if state.memories.len() != guest.memories().len() {
            return Err(RestoreError::from(Misfit { what: "number of memories" }).into());
        }
        for (position, memory) in state.memories.iter().enumerate() {
            guest.grow_memory(position, memory.pages).map_err(RestoreError::from)?;
            let target = Arc::clone(&guest.memories()[position]);
            if memory.pages > EAGER_PAGES_MAX {
                // Which pages are zero would take a walk of the tree to tell; the pager finds out page by page.
                let (pager, lost) = (self.pager(position), Arc::clone(&self.lost));
                let on_lost = Box::new(move |error| lost(error));
                target.attach_pager(&|_| true, Box::new(pager), on_lost).map_err(HostFault::from)?;
                continue;
            }
            let mut pages = Vec::new();
            self.trees[position].for_each::<LoadError>(self.objects.as_ref(), &mut |index, _| {
                pages.push(index);
                Ok(())
            })?;
            for index in pages {
                let bytes = self.page(position, index)?;
                target.write_page(index.0, &bytes).map_err(HostFault::from)?;
            }
            target.clean().map_err(HostFault::from)?;
        }
        guest.restore(&state.globals, &self.tables)?;
        self.guest = Some(guest);
        Ok(())
    }

    /// Brings in the pages of a memory as of the last boundary: the last durable checkpoint, and over it what was captured since.
    fn pager(&self, memory: usize) -> StandingPages {
        let over = self.captured.all_of(memory).map(|(index, page)| (index, Arc::clone(page)));
        StandingPages::new(self.durable.get(memory).copied(), over.collect(), Arc::clone(&self.objects))
    }

    /// A page as of the last boundary.
    pub(super) fn page(&mut self, memory: usize, index: PageIndex) -> Result<PageBytes, LoadError> {
        let id = match self.trees.get_mut(memory) {
            Some(tree) => tree.get(index, self.objects.as_ref())?,
            None => None,
        };
        let Some(id) = id else { return Ok(page::ZERO) };
        if let Some(page) = self.captured.get(memory, index) {
            return Ok(**page);
        }
        load_page(self.objects.as_ref(), &id)
    }

    pub(super) fn load_table(&self, table: &Table) -> Result<Vec<u8>, BodyError> {
        let content = load_blob(self.objects.as_ref(), &table.content)?;
        if content.len() as u64 != table.elements * 4 {
            return Err(RestoreError::from(Misfit { what: "table" }).into());
        }
        Ok(content)
    }
}

/// The pages of a memory as of some boundary: those of a durable root, and over them those captured since.
pub(crate) struct StandingPages {
    tree: PageTree,
    over: BTreeMap<PageIndex, Page>,
    objects: SharedObjects,
}

impl StandingPages {
    /// With no durable root, `over` is all there is.
    pub(crate) fn new(durable: Option<Memory>, over: BTreeMap<PageIndex, Page>, objects: SharedObjects) -> Self {
        let durable = durable.unwrap_or(Memory { pages: 0, root: None });
        Self { tree: PageTree::stored(durable.pages, durable.root), over, objects }
    }

    /// Those that may be other than zero.
    pub(crate) fn indices(&self) -> Result<BTreeSet<PageIndex>, LoadError> {
        let mut indices: BTreeSet<PageIndex> = self.over.keys().copied().collect();
        self.tree.for_each::<LoadError>(self.objects.as_ref(), &mut |index, _| {
            indices.insert(index);
            Ok(())
        })?;
        Ok(indices)
    }

    /// One of them.
    pub(crate) fn get(&mut self, index: PageIndex) -> Result<PageBytes, LoadError> {
        if let Some(captured) = self.over.get(&index) {
            return Ok(**captured);
        }
        match self.tree.get(index, self.objects.as_ref())? {
            None => Ok(page::ZERO),
            Some(id) => load_page(self.objects.as_ref(), &id),
        }
    }
}

impl Pager for StandingPages {
    fn load(&mut self, page: u32, out: &mut PageBytes) -> Result<(), PagerError> {
        *out = self.get(PageIndex(page)).map_err(|error| PagerError::Load { page, source: Box::new(error) })?;
        Ok(())
    }
}

fn load_page(objects: &dyn Objects, id: &Id) -> Result<PageBytes, LoadError> {
    let bytes = objects.load(Domain::Page, id)?;
    // An object in the page domain that hashes to its id has the size of a page, or was never one.
    bytes.try_into().map_err(|_| LoadError::Missing { domain: Domain::Page, id: *id })
}
