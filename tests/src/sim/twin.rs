//! What is checked when a life is over: the log executed again from the beginning by fresh bodies, and everything in the store that the machine
//! needs.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use persist::objects::load;
use persist::store::Reader;
use seed::object::{Link, Objects, links};
use seed::record::Batch;
use seed::{Domain, Id, LoadError};
use vm::body::{Body, SharedObjects};
use vm::engine::{Mode, Settings};

use super::check::Checker;
use super::host::lost;
use super::{Failure, chain, ensure};

/// Objects of a disk, and over them those that a body handed out.
struct Overlay {
    below: SharedObjects,
    above: Mutex<HashMap<Link, Vec<u8>>>,
}

impl Objects for Overlay {
    fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
        let above = self.above.lock().unwrap_or_else(PoisonError::into_inner);
        match above.get(&(domain, *id)) {
            Some(bytes) => Ok(bytes.clone()),
            None => self.below.load(domain, id),
        }
    }
}

fn diverged(error: &dyn std::error::Error) -> Failure {
    Failure::new("the same log leads to the same roots", chain(error))
}

/// Executes the log from the image that the machine booted from. Every outputs' hash and every root is compared.
///
/// # Errors
/// If something comes out differently.
pub fn replay<'a>(
    settings: &Settings,
    objects: SharedObjects,
    root: &Id,
    mut log: impl Iterator<Item = &'a Batch>,
) -> Result<(), Failure> {
    let mut body = Body::restore(settings, Mode::Replay, objects, root, lost()).map_err(|error| diverged(&error))?;
    log.try_for_each(|batch| body.replay(batch)).map_err(|error| diverged(&error))
}

/// The same, with a body that is put down to objects and restored from them after every batch.
///
/// # Errors
/// If something comes out differently.
pub fn replay_restored<'a>(
    settings: &Settings,
    below: SharedObjects,
    root: &Id,
    log: impl Iterator<Item = &'a Batch>,
) -> Result<(), Failure> {
    let overlay = Arc::new(Overlay { below, above: Mutex::default() });
    let mut root = *root;
    for batch in log {
        let objects: SharedObjects = Arc::clone(&overlay) as SharedObjects;
        let mut body =
            Body::restore(settings, Mode::Replay, objects, &root, lost()).map_err(|error| diverged(&error))?;
        body.replay(batch).map_err(|error| diverged(&error))?;
        overlay.above.lock().unwrap_or_else(PoisonError::into_inner).extend(body.checkpoint());
        root = batch.root;
    }
    Ok(())
}

/// Everything that `roots` need is there and is what its name says. How many objects that are.
///
/// # Errors
/// If something is missing or damaged.
pub fn verify(store: &(impl Reader + ?Sized), roots: impl IntoIterator<Item = Id>) -> Result<usize, Failure> {
    let mut seen: HashSet<Link> = HashSet::new();
    let mut open: Vec<Link> = roots.into_iter().map(|root| (Domain::Object, root)).collect();
    while let Some((domain, id)) = open.pop() {
        if !seen.insert((domain, id)) {
            continue;
        }
        let damaged = |error: &dyn std::error::Error| Failure::new("a checkpoint is whole", chain(error));
        let bytes = load(store, domain, &id).map_err(|error| damaged(&error))?;
        open.extend(links(domain, &bytes).map_err(|error| damaged(&error))?);
    }
    Ok(seen.len())
}

/// The machine's own tables are those of the model.
///
/// # Errors
/// If they are not.
pub fn compare_ledger(body: &mut Body, checker: &Checker) -> Result<(), Failure> {
    const PROMISE: &str = "the ledger is the model's";
    let (grants, next_port) = (&body.image().grants, body.image().next_port);
    ensure(*grants == checker.books.grants && next_port == checker.books.next_port, PROMISE, || format!("{grants:?}"))?;
    let (ledger, objects) = body.ledger();
    let failed = |error: LoadError| Failure::new(PROMISE, chain(&error));
    let books = &checker.books;
    let requests = ledger.requests(objects).map_err(failed)?;
    let known = books
        .requests
        .iter()
        .map(|(request, asked)| (request, (&asked.port, &asked.payload, &asked.call, &asked.broken)));
    let same = known.eq(requests
        .iter()
        .map(|(request, asked)| (request, (&asked.port, &asked.payload, &asked.call, &asked.broken))));
    ensure(same, PROMISE, || format!("requests {requests:?} against {:?}", books.requests))?;
    let replies = ledger.replies(objects).map_err(failed)?;
    let same = books.replies.iter().eq(replies.iter().map(|(reply, owed)| (reply, &owed.key)));
    ensure(same, PROMISE, || format!("replies {replies:?} against {:?}", books.replies))?;
    let effects = ledger.effects(objects).map_err(failed)?;
    let known = books.effects.iter().map(|(effect, (port, payload))| (effect, (port, payload)));
    let same = known.eq(effects.iter().map(|(effect, owed)| (effect, (&owed.port, &owed.payload))));
    ensure(same, PROMISE, || format!("effects {effects:?} against {:?}", books.effects))?;
    for (key, remembered) in &books.outcomes {
        let outcome = ledger.outcome(key, objects).map_err(failed)?;
        let same = outcome.as_ref() == Some(&remembered.outcome);
        ensure(same, PROMISE, || format!("key {key:?}: {outcome:?} against {remembered:?}"))?;
    }
    ensure(ledger.wants_again() == books.again, PROMISE, || "again".to_owned())
}
