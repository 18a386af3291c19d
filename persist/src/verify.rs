//! Checking a whole machine: the log's chain from its first record, and everything the images need.
//!
//! *Fast* reads the whole log and follows every link from the images that must be there, reading nodes but only looking for pages. *Full*
//! also reads every object in the store, reachable or not, and walks the store's own trees. Nothing is changed.

use std::collections::HashSet;
use std::ops::ControlFlow;

use seed::image::Image;
use seed::object::{Link, links};
use seed::record::Record;
use seed::tree::PageTree;
use seed::trie::Trie;
use seed::{Domain, Id, LoadError, Objects, Seq};
use thiserror::Error;

use crate::journal::{JournalError, Start, each_batch};
use crate::machine::{MachineError, Reading};
use crate::objects::{domain_of, load, unframe};
use crate::part::Part;
use crate::store::{Reader, StoreError, Table};

/// How much to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The log's chain and that everything needed is there.
    Fast,
    /// Every byte.
    Full,
}

/// What was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Batches of the log.
    pub batches: u64,
    /// Records of the log.
    pub records: u64,
    /// Objects that the images need.
    pub reachable: u64,
    /// Objects read and hashed.
    pub objects: u64,
}

/// Something is wrong with a machine.
#[derive(Debug, Error)]
pub enum Finding {
    /// The folder or store as a whole.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The log.
    #[error("the log {}", verdict(.0.is_damage()))]
    Log(#[from] JournalError),
    /// The log does not start at seq 0.
    #[error("the log does not start with an epoch at seq 0")]
    LogStart,
    /// An object that an image needs.
    #[error("{}", lacking(needed_by, part, source.is_damage()))]
    Needed {
        /// Which image.
        needed_by: String,
        /// What the object is to it.
        part: Part,
        /// Which and how.
        source: LoadError,
    },
    /// An object in the store.
    #[error("object {id} in the store is damaged, which neither the checkpoint nor an epoch needs")]
    Object {
        /// Which.
        id: String,
        /// How it shows.
        why: String,
    },
    /// The store's own structure.
    #[error("the store's structure {}", verdict(.0.is_damage()))]
    Structure(#[from] StoreError),
}

fn lacking(needed_by: &str, part: &Part, is_damage: bool) -> String {
    if is_damage { format!("{needed_by} lacks {part}") } else { format!("{part} of {needed_by} cannot be read") }
}

fn verdict(is_damage: bool) -> &'static str {
    if is_damage { "is damaged" } else { "cannot be read" }
}

impl Finding {
    /// Whether it is damage, as against a store out of reach.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Machine(error) => error.is_damage(),
            Self::Log(error) => error.is_damage(),
            Self::Structure(error) => error.is_damage(),
            Self::Needed { source, .. } => source.is_damage(),
            Self::LogStart | Self::Object { .. } => true,
        }
    }
}

/// Checks a machine; ends with the first finding. `progress` hears of each object and batch.
///
/// # Errors
/// What is wrong.
pub fn verify(reading: &Reading, depth: Depth, progress: &mut dyn FnMut(Checked)) -> Result<Checked, Finding> {
    let mut checked = Checked::default();
    if depth == Depth::Full {
        reading.store().walk()?;
    }
    let roots = verify_log(reading, &mut checked, progress)?;
    verify_reachable(reading, roots, depth, &mut checked, progress)?;
    if depth == Depth::Full {
        verify_objects(reading, &mut checked, progress)?;
    }
    Ok(checked)
}

/// Every batch from seq 0; the images that must be there: those that epochs start from, and the checkpoint's.
fn verify_log(
    reading: &Reading,
    checked: &mut Checked,
    progress: &mut dyn FnMut(Checked),
) -> Result<Vec<(String, Id)>, Finding> {
    let branch = reading.branch();
    let mut roots = Vec::new();
    let mut starts_well = false;
    each_batch(reading.store(), branch, Start::At(Seq(0)), &mut |batch, _| {
        if batch.first == Seq(0) {
            starts_well = batch.previous.is_none() && matches!(batch.records.first(), Some(Record::Epoch(_)));
        }
        for (position, record) in batch.records.iter().enumerate() {
            if let Record::Epoch(epoch) = record {
                roots.push((format!("the epoch at seq {}", batch.first.0 + position as u64), epoch.image));
            }
        }
        checked.batches += 1;
        checked.records += batch.records.len() as u64;
        progress(*checked);
        ControlFlow::Continue(())
    })?;
    if !starts_well {
        return Err(Finding::LogStart);
    }
    roots.push((format!("the checkpoint before seq {}", branch.checkpoint.end), branch.checkpoint.root));
    Ok(roots)
}

fn verify_reachable(
    reading: &Reading,
    roots: Vec<(String, Id)>,
    depth: Depth,
    checked: &mut Checked,
    progress: &mut dyn FnMut(Checked),
) -> Result<(), Finding> {
    let store = reading.store();
    let mut seen: HashSet<Link> = HashSet::new();
    for (name, root) in roots {
        let mut open = vec![(Part::Image, (Domain::Object, root))];
        while let Some((part, (domain, id))) = open.pop() {
            if !seen.insert((domain, id)) {
                continue;
            }
            let needed = |source| Finding::Needed { needed_by: name.clone(), part, source };
            checked.reachable += 1;
            progress(*checked);
            if domain == Domain::Page && depth == Depth::Fast {
                let found = store.get_with(Table::Objects, id.as_bytes(), &mut |_| {})?;
                if !found {
                    return Err(needed(LoadError::Missing { domain, id }));
                }
                continue;
            }
            let bytes = load(store, domain, &id).map_err(needed)?;
            let children = part.needs(domain, &bytes).map_err(|source| needed(LoadError::Malformed { id, source }))?;
            open.extend(children);
        }
        // Everything is there: whether it is where it may be.
        let needed = |source| Finding::Needed { needed_by: name.clone(), part: Part::Image, source };
        let bytes = load(store, Domain::Object, &root).map_err(needed)?;
        let image = Image::decode(&bytes).map_err(|source| needed(LoadError::Malformed { id: root, source }))?;
        verify_shape(&reading.objects(), &image).map_err(needed)?;
    }
    Ok(())
}

/// What links alone do not show: that every node of an image's trees is where it may be.
pub(crate) fn verify_shape(objects: &dyn Objects, image: &Image) -> Result<(), LoadError> {
    for process in &image.processes {
        for memory in process.state.iter().flat_map(|state| &state.memories) {
            let tree = PageTree::stored(memory.pages, memory.root);
            tree.for_each::<LoadError>(objects, &mut |_, _| Ok(()))?;
        }
        let ledger = &process.ledger;
        for root in [ledger.requests, ledger.replies, ledger.effects, ledger.outcomes] {
            Trie::stored(root).entries(objects)?;
        }
    }
    Ok(())
}

/// Every object in the store, whether anything needs it or not.
fn verify_objects(reading: &Reading, checked: &mut Checked, progress: &mut dyn FnMut(Checked)) -> Result<(), Finding> {
    let mut finding = None;
    reading.store().scan(Table::Objects, &[], &mut |key, frame| {
        checked.objects += 1;
        progress(*checked);
        match verify_object(key, frame) {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => {
                let id = key.iter().map(|byte| format!("{byte:02x}")).collect();
                finding = Some(Finding::Object { id, why });
                ControlFlow::Break(())
            }
        }
    })?;
    finding.map_or(Ok(()), Err)
}

pub(crate) fn verify_object(key: &[u8], frame: &[u8]) -> Result<(), String> {
    let id = Id::from_bytes(key).ok_or("its key is not an id")?;
    let domain = domain_of(frame).ok_or("its frame has an unknown form")?;
    let bytes = unframe(domain, frame).map_err(|error| error.to_string())?;
    id.verify(domain, &bytes).map_err(|error| error.to_string())?;
    links(domain, &bytes).map_err(|error| error.to_string())?;
    Ok(())
}
