//! What reached a disk, in order, and the disk as a power cut would have left it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::sim::random::Random;

/// What a disk is divided into here.
pub(super) const BLOCK: usize = 4096;
/// What a disk writes whole.
pub(super) const SECTOR: usize = 512;

/// What a disk holds. A copy costs little: blocks are shared until one is written.
#[derive(Debug, Clone, Default)]
pub struct Blocks(BTreeMap<u64, Arc<[u8; BLOCK]>>);

impl Blocks {
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        for (block, start, bytes) in pieces(at, bytes.len()).map(|(block, start, range)| (block, start, &bytes[range]))
        {
            let held = self.0.entry(block).or_insert_with(|| Arc::new([0; BLOCK]));
            Arc::make_mut(held)[start..start + bytes.len()].copy_from_slice(bytes);
        }
    }

    pub(super) fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for (block, start, range) in pieces(at, length) {
            if let Some(held) = self.0.get(&block) {
                let length = range.len();
                bytes[range].copy_from_slice(&held[start..start + length]);
            }
        }
        bytes
    }

    /// Where this block's worth of bytes lies, wherever it does.
    pub(super) fn places_of<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = u64> + 'a {
        self.0.iter().filter(move |(_, held)| held[..] == *bytes).map(|(block, _)| *block)
    }

    /// Writes a file of this size that can be mounted.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, path: &Path, size: u64) -> io::Result<()> {
        let file = File::create_new(path)?;
        file.set_len(size)?;
        self.0.iter().try_for_each(|(block, bytes)| file.write_all_at(&bytes[..], block * BLOCK as u64))
    }
}

/// The parts of a range of a disk: block, where in it, where in the range.
fn pieces(at: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let here = at + done as u64;
        let start = usize::try_from(here % BLOCK as u64).unwrap_or(0);
        let range = done..length.min(done + BLOCK - start);
        done = range.end;
        (!range.is_empty()).then_some((here / BLOCK as u64, start, range))
    })
}

#[derive(Debug, Clone)]
enum Event {
    Write { at: u64, bytes: Arc<[u8]> },
    Flush,
}

impl Event {
    fn written(&self) -> Option<(u64, &[u8])> {
        match self {
            Self::Write { at, bytes } => Some((*at, bytes)),
            Self::Flush => None,
        }
    }
}

/// What reached a disk, in order.
#[derive(Debug, Clone, Default)]
pub struct Record {
    start: Blocks,
    events: Vec<Event>,
}

impl Record {
    /// Nothing has reached a disk that holds this.
    pub(super) fn new(start: Blocks) -> Self {
        Self { start, events: Vec::new() }
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        self.events.push(Event::Write { at, bytes: bytes.into() });
    }

    pub(super) fn flush(&mut self) {
        self.events.push(Event::Flush);
    }

    /// The position after everything.
    #[must_use]
    pub fn end(&self) -> usize {
        self.events.len()
    }

    /// The positions just before each flush.
    #[must_use]
    pub fn flushes(&self) -> Vec<usize> {
        let is_flush = |position: &usize| matches!(self.events[*position], Event::Flush);
        (0..self.end()).filter(is_flush).collect()
    }

    /// The disk after a power cut.
    #[must_use]
    pub fn cut(&self, cut: Cut) -> Blocks {
        let events = &self.events[..cut.position];
        let is_flush = |event: &Event| matches!(event, Event::Flush);
        let mut flushes = (0..events.len()).rev().filter(|place| is_flush(&events[*place]));
        let last = flushes.next();
        let believed = if cut.is_lied_to { flushes.next() } else { last };
        let (durable, pending) = events.split_at(believed.map_or(0, |flush| flush + 1));
        let mut blocks = self.start.clone();
        for (at, bytes) in durable.iter().filter_map(Event::written) {
            blocks.write(at, bytes);
        }
        cut.keep.of(pending.iter().filter_map(Event::written).collect(), &mut blocks);
        blocks
    }
}

/// A power cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// After so much of the record.
    pub position: usize,
    /// What the disk keeps of the writes since its last flush.
    pub keep: Keep,
    /// Whether the disk only pretended to do its last flush.
    pub is_lied_to: bool,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cut at {}, {}", self.position, self.keep)
    }
}

/// What a disk keeps of the writes since its last flush. The numbers decide what is random.
#[derive(Debug, Clone, Copy)]
pub enum Keep {
    /// All, as if the machine had stopped and the disk had not.
    All,
    /// None.
    Nothing,
    /// Those before a random one.
    Prefix(u64),
    /// Each with an even chance.
    Half(u64),
    /// Each with an even chance, and of half of those some sectors only.
    Torn(u64),
}

impl Keep {
    /// One of them, and what it needs.
    #[must_use]
    pub fn random(random: &mut Random) -> Self {
        let number = random.number();
        let one = random.weighted(&[(1, 0), (2, 1), (3, 2), (4, 3), (4, 4)]);
        [Self::All, Self::Nothing, Self::Prefix(number), Self::Half(number), Self::Torn(number)][one]
    }

    fn of(self, pending: Vec<(u64, &[u8])>, blocks: &mut Blocks) {
        let (seed, count) = match self {
            Self::All => (0, pending.len()),
            Self::Nothing => (0, 0),
            Self::Prefix(seed) => (seed, Random::new(seed).index(pending.len() + 1)),
            Self::Half(seed) | Self::Torn(seed) => (seed, pending.len()),
        };
        let mut random = Random::new(seed);
        for (at, bytes) in pending.into_iter().take(count) {
            match self {
                Self::Half(_) | Self::Torn(_) if random.one_in(2) => {}
                Self::Torn(_) if random.one_in(2) => {
                    for (sector, bytes) in bytes.chunks(SECTOR).enumerate() {
                        if random.one_in(2) {
                            blocks.write(at + (sector * SECTOR) as u64, bytes);
                        }
                    }
                }
                _ => blocks.write(at, bytes),
            }
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all unflushed writes kept"),
            Self::Nothing => f.write_str("no unflushed write kept"),
            Self::Prefix(seed) => write!(f, "a prefix of the unflushed writes kept ({seed})"),
            Self::Half(seed) => write!(f, "half of the unflushed writes kept ({seed})"),
            Self::Torn(seed) => write!(f, "half of the unflushed writes kept, half of those torn ({seed})"),
        }
    }
}
