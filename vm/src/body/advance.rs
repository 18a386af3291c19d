//! What a boundary is to those who stand beside the machine: the whole of it, and what has changed since the one before.

use std::collections::BTreeMap;
use std::sync::Arc;

use seed::PageIndex;
use seed::image::{Global, Memory};
use seed::page::Page;

use super::{Body, SharedObjects};
use crate::engine::{Code, Engine};

/// What runs.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) engine: Engine,
    pub(crate) code: Code,
    pub(crate) objects: SharedObjects,
}

/// All state but the pages.
pub(crate) struct Registers {
    /// Of each memory, in pages.
    pub(crate) sizes: Vec<u64>,
    pub(crate) globals: Vec<Global>,
    pub(crate) tables: Arc<Vec<Vec<u8>>>,
}

/// The state of one boundary. No registers: the program's first step is yet to come.
pub(crate) struct Contents {
    pub(crate) program: Program,
    pub(crate) registers: Option<Registers>,
    /// The memories of the last durable checkpoint.
    pub(crate) durable: Vec<Memory>,
    /// What was captured since.
    pub(crate) over: BTreeMap<(usize, PageIndex), Page>,
}

/// What the last boundary has that the one before had not.
pub(crate) struct Advance {
    pub(crate) program: Program,
    pub(crate) registers: Option<Registers>,
    pub(crate) pages: Vec<(usize, PageIndex, Page)>,
}

impl Body {
    fn program(&self) -> Program {
        let (engine, code) = (self.engine.clone(), self.code.clone());
        Program { engine, code, objects: Arc::clone(&self.objects) }
    }

    /// From here on each boundary is to be told of, or no longer.
    pub(crate) fn tell_advances(&mut self, wanted: bool) {
        self.advanced = wanted.then(Vec::new);
    }

    /// What the boundary that was just made has changed, if that is to be told.
    pub(crate) fn advance(&mut self) -> Option<Advance> {
        let pages = std::mem::take(self.advanced.as_mut()?);
        Some(Advance { program: self.program(), registers: self.registers(), pages })
    }

    /// The last boundary.
    pub(crate) fn contents(&self) -> Contents {
        let memories = 0..self.trees.len();
        let over = memories.flat_map(|memory| {
            self.captured.all_of(memory).map(move |(index, page)| ((memory, index), Arc::clone(page)))
        });
        let durable = self.durable.clone();
        Contents { program: self.program(), registers: self.registers(), durable, over: over.collect() }
    }

    /// The memories of the last durable checkpoint.
    pub(crate) fn durable(&self) -> &[Memory] {
        &self.durable
    }

    fn registers(&self) -> Option<Registers> {
        let state = self.image.processes[0].state.as_ref()?;
        let sizes = state.memories.iter().map(|memory| memory.pages).collect();
        Some(Registers { sizes, globals: state.globals.clone(), tables: Arc::clone(&self.tables) })
    }
}
