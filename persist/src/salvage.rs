//! What can still be had from a damaged machine: objects, batches and branch records that prove themselves, wherever they lie in its files.
//!
//! A [`Salvage`] reads `data.mdb` and `head` as plain bytes, of one machine or of several copies of it, whole or damaged, and changes nothing. It
//! believes nothing but what proves itself: an object whose bytes hash to its id, a batch that decodes and is then named by its own hash, a
//! branch record with its own checksum. It keeps positions and not values, 16 bytes for each node that looks like an object and 56 for each
//! batch, and reads and proves a value again whenever it is used.
//!
//! * [`Salvage`]: the catalogue. * [`survey`]: what stands, and what can be made of it. * [`rebuild`]: a new store made of what stands.

pub mod rebuild;
pub mod survey;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use seed::object::{Link, encode_blob};
use seed::record::Batch;
use seed::{Domain, Id, LoadError, Objects};

use crate::branch::Branch;
use crate::head::{self, Head};
use crate::objects::{self, Shelf, domain_of, unframe};
use crate::store::lmdb::DATA_FILE;
use crate::store::lmdb::nodes::{Look, Nodes};

/// Places keep the number of their file in the high byte.
const FILES_MAX: usize = 16;
const FILE_SHIFT: u32 = 56;

/// Where a node is: in which file, at which offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u64);

impl Place {
    fn new(file: usize, at: u64) -> Place {
        Place((file as u64) << FILE_SHIFT | at & ((1 << FILE_SHIFT) - 1))
    }

    fn file(self) -> usize {
        usize::try_from(self.0 >> FILE_SHIFT).unwrap_or_default()
    }

    fn at(self) -> u64 {
        self.0 & ((1 << FILE_SHIFT) - 1)
    }
}

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// A node.
    Node,
    /// The value of a run, of which nothing says how long it is.
    Run,
    /// Nothing: the batch has been guessed, and has proven itself.
    Guess,
}

/// A batch that decodes. Only its id proves that it is one of the machine's as it was written: who takes it has that from something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct BatchAt {
    /// The start of its id.
    start: u64,
    /// Its first seq.
    first: u64,
    /// The seq after its last.
    end: u64,
    /// When it was closed.
    time: u64,
    /// The start of the id of the batch before it.
    previous: u64,
    place: Place,
    form: Form,
}

impl BatchAt {
    fn of((batch, id): &(Batch, Id), place: Place, form: Form) -> Self {
        let (first, end, time) = (batch.first.0, batch.end().0, batch.time.0);
        let previous = batch.previous.map_or(0, |previous| start_of(previous.as_bytes()));
        Self { start: start_of(id.as_bytes()), first, end, time, previous, place, form }
    }

    /// Whether it lies in the machine's own store, and not in that of a copy.
    fn is_own(&self) -> bool {
        self.place.file() == 0
    }
}

/// The catalogue of what can be had.
pub struct Salvage {
    files: Vec<Nodes>,
    /// The starts of ids, and where something is that claims to be such an object. Sorted.
    objects: Vec<(u64, Place)>,
    /// Sorted by the start of the id.
    batches: Vec<BatchAt>,
    /// Positions in `batches`, sorted by first seq.
    by_first: Vec<u32>,
    branches: Vec<Branch>,
    heads: Vec<Head>,
    /// Objects that are somewhere else, already proven: those of a seed.
    shelf: Option<Shelf>,
    /// Objects that follow from what was found.
    derived: HashMap<Link, Vec<u8>>,
    /// Where runs begin, whoever names them.
    runs: Vec<Place>,
    /// Objects whose key or node is damaged, and which are sound; sought when something is missing for the first time.
    unnamed: OnceLock<Vec<(u64, Place, Form)>>,
    /// Batches that follow from what was found; their places are positions here.
    guessed: Vec<Batch>,
    unreadable: u64,
}

/// Reading a machine's files as plain bytes failed.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// A file is there and cannot be opened.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More copies than places have room for.
    #[error("at most {FILES_MAX} copies of a machine can be read together")]
    TooMany,
}

impl Salvage {
    /// Reads the files of a machine's folder; those that are missing are missing. `progress` hears how many bytes have been read, and of how many.
    ///
    /// # Errors
    /// If a file is there and cannot be opened. What cannot be read in it is passed over.
    pub fn open(folder: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Salvage, SalvageError> {
        let mut salvage = Salvage {
            files: Vec::new(),
            objects: Vec::new(),
            batches: Vec::new(),
            by_first: Vec::new(),
            branches: Vec::new(),
            heads: head::believable(folder),
            shelf: None,
            derived: HashMap::new(),
            runs: Vec::new(),
            unnamed: OnceLock::new(),
            guessed: Vec::new(),
            unreadable: 0,
        };
        let empty = encode_blob(&[]);
        salvage.derive(Domain::Object, empty);
        salvage.add_store(folder, progress)?;
        Ok(salvage)
    }

    /// Adds the store of another copy of the machine. Its branch records and its head are not taken: the first machine says where it stood.
    ///
    /// # Errors
    /// As [`Salvage::open`].
    pub fn add_store(&mut self, folder: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), SalvageError> {
        let number = self.files.len();
        if number >= FILES_MAX {
            return Err(SalvageError::TooMany);
        }
        let path = folder.join(DATA_FILE);
        let nodes = match Nodes::open(&path) {
            Ok(nodes) => nodes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(SalvageError::Read { path, source }),
        };
        let total = nodes.bytes();
        let (mut log, mut branches) = (Vec::new(), Vec::new());
        let (objects, runs) = (&mut self.objects, &mut self.runs);
        self.unreadable += nodes.scan(&mut |read| progress(read, total), &mut |look, at, key| match look {
            Look::Object => objects.push((start_of(key), Place::new(number, at))),
            Look::Batch => log.push(at),
            Look::Branch => branches.push((at, key.len())),
            Look::Run => runs.push(Place::new(number, at)),
        });
        self.objects.sort_unstable();
        self.objects.shrink_to_fit();
        for at in log {
            let mut proven = None;
            nodes.value(at, LOG_KEY_BYTES, &mut |_, frame| {
                proven = prove_batch(frame);
                proven.is_some()
            });
            self.batches.extend(proven.map(|proven| BatchAt::of(&proven, Place::new(number, at), Form::Node)));
        }
        // The first machine says where it stood.
        for (at, key_bytes) in branches.into_iter().filter(|_| number == 0) {
            let known = &mut self.branches;
            nodes.value(at, key_bytes, &mut |_, bytes| {
                let branch = Branch::decode(bytes);
                known.extend(branch.iter().filter(|branch| !known.contains(branch)).cloned().collect::<Vec<_>>());
                branch.is_ok()
            });
        }
        self.sort_batches();
        self.branches.sort_by_key(|branch| std::cmp::Reverse((branch.end, branch.time)));
        self.files.push(nodes);
        Ok(())
    }

    fn sort_batches(&mut self) {
        self.batches.sort_unstable();
        // Of copies of one batch in one file, which commits leave behind, one is enough.
        self.batches.dedup_by_key(|batch| (batch.start, batch.first, batch.place.file()));
        let mut by_first: Vec<u32> = (0..u32::try_from(self.batches.len()).unwrap_or(u32::MAX)).collect();
        by_first.sort_by_key(|index| self.batches[*index as usize].first);
        self.by_first = by_first;
    }

    /// Adds a batch that nothing holds, and whose id is known to be right.
    fn add_guessed(&mut self, batch: Batch) {
        let id = batch.id();
        let at = BatchAt::of(&(batch.clone(), id), Place::new(0, self.guessed.len() as u64), Form::Guess);
        self.guessed.push(batch);
        self.batches.push(at);
        self.sort_batches();
    }

    /// Adds the batches whose nodes are gone and whose values, in runs, are not. Whether there are any.
    fn add_unnamed_batches(&mut self) -> bool {
        let before = self.batches.len();
        let found: Vec<BatchAt> = self
            .runs
            .iter()
            .filter_map(|run| Some(BatchAt::of(&prove_batch(&self.run(*run)?)?, *run, Form::Run)))
            .collect();
        self.batches.extend(found);
        self.sort_batches();
        self.batches.len() > before
    }

    /// The frame in a run, as long as what is in it says.
    fn run(&self, place: Place) -> Option<Vec<u8>> {
        let mut run = self.files.get(place.file())?.run(place.at())?;
        let length = objects::frame_bytes(&run)?;
        run.truncate(length);
        Some(run)
    }

    /// Adds objects that have been proven already.
    pub fn add_shelf(&mut self, shelf: Shelf) {
        self.shelf = Some(shelf);
    }

    /// Gives the added objects back: their store is about to be closed.
    pub fn drop_shelf(&mut self) {
        self.shelf = None;
    }

    /// How many batches have proven themselves.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// How many bytes could not be read from the disk.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Whether nothing at all was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.batches.is_empty() && self.branches.is_empty()
    }

    /// An object that follows from something else; whoever asks for it knows its id, so that nothing wrong can come of it.
    fn derive(&mut self, domain: Domain, bytes: Vec<u8>) {
        self.derived.insert((domain, Id::of(domain, &bytes)), bytes);
    }

    /// The batch with this id.
    fn batch(&self, id: &Id) -> Option<(BatchAt, Batch)> {
        let start = start_of(id.as_bytes());
        let first = self.batches.partition_point(|batch| batch.start < start);
        let known = self.batches[first..].iter().take_while(|batch| batch.start == start);
        known
            .copied()
            .find_map(|at| Some((at, self.read_batch(&at)?)))
            .filter(|(_, (_, found))| found == id)
            .map(|(at, (batch, _))| (at, batch))
    }

    /// A catalogued batch, read and proven again.
    fn read_batch(&self, at: &BatchAt) -> Option<(Batch, Id)> {
        let mut proven = None;
        let mut prove = |frame: &[u8]| {
            proven = prove_batch(frame).filter(|(_, id)| start_of(id.as_bytes()) == at.start);
            proven.is_some()
        };
        match at.form {
            Form::Guess => {
                let batch = self.guessed.get(usize::try_from(at.place.at()).ok()?)?;
                return Some((batch.clone(), batch.id()));
            }
            Form::Run => drop(prove(&self.run(at.place)?)),
            Form::Node => {
                let file = self.files.get(at.place.file())?;
                file.value(at.place.at(), LOG_KEY_BYTES, &mut |_, frame| prove(frame));
            }
        }
        proven
    }

    /// Shows the bytes of every object of the machine's own store that proves itself, in the order of their ids, each once.
    ///
    /// # Errors
    /// What `visit` says.
    pub fn each_object<E>(&self, visit: &mut dyn FnMut(Link, Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let mut at = 0;
        while at < self.objects.len() {
            let (start, _) = self.objects[at];
            let same = self.objects[at..].iter().take_while(|(other, _)| *other == start).count();
            let mut shown: Vec<Id> = Vec::new();
            for (_, place) in self.objects[at..at + same].iter().filter(|(_, place)| place.file() == 0) {
                if let Some((domain, id, bytes)) = self.prove_own(*place).filter(|(_, id, _)| !shown.contains(id)) {
                    shown.push(id);
                    visit((domain, id), bytes)?;
                }
            }
            at += same;
        }
        Ok(())
    }

    /// The object that lies at a place.
    fn prove_own(&self, place: Place) -> Option<(Domain, Id, Vec<u8>)> {
        let mut proven = None;
        let file = self.files.get(place.file())?;
        file.value(place.at(), ID_BYTES, &mut |key, frame| {
            proven = prove_object(frame).filter(|(_, id, _)| id.as_bytes() == key);
            proven.is_some()
        });
        proven
    }

    /// The object that lies under its own key.
    fn named(&self, domain: Domain, id: &Id) -> Option<Vec<u8>> {
        let start = start_of(id.as_bytes());
        let first = self.objects.partition_point(|(other, _)| *other < start);
        self.objects[first..].iter().take_while(|(other, _)| *other == start).find_map(|(_, place)| {
            let mut found = None;
            self.files.get(place.file())?.value(place.at(), ID_BYTES, &mut |key, frame| {
                if key == id.as_bytes() {
                    found = unframe(domain, frame).ok().filter(|bytes| id.verify(domain, bytes).is_ok());
                }
                found.is_some()
            });
            found
        })
    }

    /// The object that lies under another key, or under none.
    fn unnamed(&self, domain: Domain, id: &Id) -> Option<Vec<u8>> {
        let start = start_of(id.as_bytes());
        let unnamed = self.unnamed.get_or_init(|| self.seek_unnamed());
        let first = unnamed.partition_point(|(other, ..)| *other < start);
        unnamed[first..].iter().take_while(|(other, ..)| *other == start).find_map(|(_, place, form)| {
            let mut found = None;
            let mut prove = |frame: &[u8]| {
                found = unframe(domain, frame).ok().filter(|bytes| id.verify(domain, bytes).is_ok());
                found.is_some()
            };
            match form {
                Form::Run => drop(prove(&self.run(*place)?)),
                _ => drop(self.files.get(place.file())?.value(place.at(), ID_BYTES, &mut |_, frame| prove(frame))),
            }
            found
        })
    }

    fn seek_unnamed(&self) -> Vec<(u64, Place, Form)> {
        let mut unnamed = Vec::new();
        for (_, place) in &self.objects {
            let Some(file) = self.files.get(place.file()) else { continue };
            file.value(place.at(), ID_BYTES, &mut |key, frame| {
                let proven = prove_object(frame);
                if let Some((_, id, _)) = proven.as_ref().filter(|(_, id, _)| id.as_bytes() != key) {
                    unnamed.push((start_of(id.as_bytes()), *place, Form::Node));
                }
                proven.is_some()
            });
        }
        for place in &self.runs {
            if let Some((_, id, _)) = self.run(*place).and_then(|frame| prove_object(&frame)) {
                unnamed.push((start_of(id.as_bytes()), *place, Form::Run));
            }
        }
        unnamed.sort_unstable();
        unnamed
    }
}

/// An id of the one hash there is.
const ID_BYTES: usize = 34;
/// A branch's number and a seq.
const LOG_KEY_BYTES: usize = 12;

impl Objects for Salvage {
    fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
        let known = self.named(domain, id).or_else(|| self.derived.get(&(domain, *id)).cloned());
        let known = known.or_else(|| self.shelf.as_ref()?.load(domain, id).ok());
        known.or_else(|| self.unnamed(domain, id)).ok_or(LoadError::Missing { domain, id: *id })
    }
}

/// The first eight bytes of an id's digest.
fn start_of(id: &[u8]) -> u64 {
    id.get(2..10).map_or(0, |start| start.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn prove_batch(frame: &[u8]) -> Option<(Batch, Id)> {
    let encoding = unframe(Domain::Object, frame).ok()?;
    Some((Batch::decode(&encoding).ok()?, Id::of(Domain::Object, &encoding)))
}

fn prove_object(frame: &[u8]) -> Option<(Domain, Id, Vec<u8>)> {
    let domain = domain_of(frame)?;
    let bytes = unframe(domain, frame).ok()?;
    seed::object::links(domain, &bytes).ok()?;
    Some((domain, Id::of(domain, &bytes), bytes))
}

#[cfg(test)]
mod tests;
