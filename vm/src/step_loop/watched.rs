//! What batches change, for somebody who watches the machine. It is gathered only after [`StepLoop::watch`]; nothing the machine does depends on it.

use seed::image::Grant;
use seed::{Id, LoadError, PageIndex, PortId, RequestId};

use super::{Fatal, StepLoop};
use crate::ledger::Request;

/// What of a request's payload is kept for whoever watches, in bytes.
pub const WATCHED_BYTES_MAX: usize = 512;

/// A machine as it stands at a boundary between batches, for whoever begins to watch it.
#[derive(Debug, Clone, Default)]
pub struct Stand {
    /// How many pages each memory has, and those that are not zero.
    pub memories: Vec<(u64, Vec<PageIndex>)>,
    /// The open requests.
    pub requests: Vec<(RequestId, Asked)>,
    /// How much is open.
    pub open: Open,
    /// The grants.
    pub grants: Vec<Grant>,
}

/// What a batch has changed.
#[derive(Debug, Clone)]
pub struct Changes {
    /// How many pages each memory has now.
    pub memories: Vec<u64>,
    /// The pages that are others than before.
    pub pages: Vec<Written>,
    /// Requests that were opened or closed, in order.
    pub requests: Vec<(RequestId, Option<Asked>)>,
    /// How much is open.
    pub open: Open,
    /// The program's module.
    pub code: Id,
}

/// A page that is another than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Of which memory.
    pub memory: usize,
    /// Which.
    pub page: PageIndex,
    /// Whether there is nothing in it now.
    pub is_zero: bool,
}

/// An open request, as it is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whom it asks.
    pub port: PortId,
    /// What: at most [`WATCHED_BYTES_MAX`] bytes of it.
    pub payload: Vec<u8>,
    /// How many bytes there are.
    pub bytes: usize,
}

/// How much is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Open {
    /// Requests that were not answered.
    pub requests: u64,
    /// Replies owed.
    pub replies: u64,
    /// Effects undelivered.
    pub effects: u64,
}

impl Asked {
    pub(crate) fn of(request: &Request) -> Self {
        let payload = request.payload.get(..WATCHED_BYTES_MAX).unwrap_or(&request.payload);
        Self { port: request.port, payload: payload.to_vec(), bytes: request.payload.len() }
    }
}

impl StepLoop {
    /// Begins to gather what batches change; where the machine stands now. Walks all of the machine's tables and trees.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn watch(&mut self) -> Result<Stand, Fatal> {
        self.body.watch();
        let memories = self.body.pages_in_use()?;
        let (ledger, objects) = self.body.ledger();
        let requests = ledger.requests(objects)?;
        let requests = requests.iter().map(|(number, request)| (*number, Asked::of(request))).collect();
        Ok(Stand { memories, requests, open: self.open()?, grants: self.body.image().grants.clone() })
    }

    /// What the batch that was closed last has changed, if that is gathered: to be taken before anything else is run.
    ///
    /// # Errors
    /// If the tables cannot be read.
    pub fn take_changes(&mut self) -> Result<Option<Box<Changes>>, Fatal> {
        let Some(pages) = self.body.take_written() else { return Ok(None) };
        let open = self.open()?;
        let (ledger, _) = self.body.ledger();
        let requests = ledger.take_turned();
        let image = self.body.image();
        let state = image.processes.first().and_then(|process| process.state.as_ref());
        let memories = state.map_or_else(Vec::new, |state| state.memories.iter().map(|memory| memory.pages).collect());
        Ok(Some(Box::new(Changes { memories, pages, requests, open, code: image.code })))
    }

    fn open(&mut self) -> Result<Open, LoadError> {
        let (ledger, objects) = self.body.ledger();
        ledger.open(objects)
    }
}
