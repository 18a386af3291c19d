//! What a salvage finds in whole, damaged and nonsensical files. Whole machines are repaired in tests/tests/whole/repair.rs.

use std::path::Path;
use std::sync::Arc;

use seed::object::encode_blob;
use seed::page::PAGE_BYTES;
use seed::record::{Epoch, OutputsHash, Record};
use seed::{Nanos, Seq};

use super::survey::{Span, Survey};
use super::*;
use crate::journal::{Commit, Journal};
use crate::store::Store;
use crate::store::lmdb::{LmdbStore, Options};

const BATCHES: u64 = 40;

/// Noise that no compression makes smaller.
fn noise(state: &mut u64, length: usize) -> Vec<u8> {
    (0..length)
        .map(|_| {
            *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state.to_le_bytes()[7]
        })
        .collect()
}

fn batch(first: u64, previous: Option<Id>) -> Batch {
    let id = Id::of(Domain::Object, b"nothing");
    let epoch = Record::Epoch(Epoch {
        number: 0,
        machine: [1; 16],
        incarnation: [2; 16],
        engine: "none".to_owned(),
        preparation: 0,
        host: [3; 16],
        device: 4,
        inode: 5,
        image: id,
    });
    let step = Record::Step { input: vec![9; 100], cost: Nanos(1), key: vec![] };
    let records = if first == 0 { vec![epoch] } else { vec![step] };
    Batch {
        first: Seq(first),
        time: Nanos(first),
        records,
        outputs: OutputsHash::default().finish(),
        root: id,
        previous,
    }
}

/// A store with a log, and objects of every size. What they are.
fn sample(folder: &Path) -> Vec<Link> {
    let options = Options { map_bytes: 1 << 30, readers: 8 };
    let store: Arc<dyn Store> = Arc::new(LmdbStore::create(folder, &options).unwrap());
    let mut journal = Journal::open(store).unwrap();
    let (mut links, mut previous, mut state) = (Vec::new(), None, 1);
    for first in 0..BATCHES {
        let batch = batch(first, previous).seal();
        previous = Some(batch.id());
        let objects = [
            (Domain::Page, noise(&mut state, PAGE_BYTES)),
            (Domain::Object, encode_blob(&noise(&mut state, 30))),
            (Domain::Object, encode_blob(&noise(&mut state, 9000))),
            (Domain::Object, encode_blob(&[first.to_le_bytes()[0]; 9000])),
        ];
        let objects: Vec<_> =
            objects.into_iter().map(|(domain, bytes)| ((domain, Id::of(domain, &bytes)), bytes)).collect();
        links.extend(objects.iter().map(|(link, _)| *link));
        let commit = Commit { batch, checkpoint: Some(objects) };
        journal.append(&commit).unwrap();
    }
    links
}

fn open(folder: &Path) -> Salvage {
    Salvage::open(folder, &mut |_, _| ()).unwrap()
}

fn count(salvage: &Salvage, links: &[Link]) -> usize {
    let is_there = |link: &&Link| match salvage.load(link.0, &link.1) {
        Ok(bytes) => {
            assert_eq!(Id::of(link.0, &bytes), link.1, "nothing is given out that is not what it is called");
            true
        }
        Err(error) => {
            assert!(matches!(error, LoadError::Missing { .. }));
            false
        }
    };
    links.iter().filter(is_there).count()
}

#[test]
fn everything_of_a_whole_store_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let links = sample(folder.path());
    let mut salvage = open(folder.path());
    assert_eq!(count(&salvage, &links), links.len());
    assert!(salvage.unnamed.get().is_none(), "the slow way was not needed");
    let mut shown = 0;
    salvage
        .each_object(&mut |link, bytes| {
            shown += 1;
            assert_eq!(Id::of(link.0, &bytes), link.1);
            Ok::<(), ()>(())
        })
        .unwrap();
    assert_eq!(shown, links.len());
    let survey = Survey::of(&mut salvage);
    assert_eq!((survey.goal.unwrap().end, survey.history(), survey.holes.len()), (Seq(BATCHES), Seq(BATCHES), 0));
    assert!(survey.plan.is_none(), "there is no image");
}

#[test]
fn large_objects_are_found_without_the_leaves_that_lead_to_them_and_small_ones_under_damaged_keys() {
    let folder = tempfile::tempdir().unwrap();
    let links = sample(folder.path());
    let path = folder.path().join(DATA_FILE);
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    for page in bytes.chunks_exact_mut(4096).skip(2).filter(|page| page[10] == 2) {
        page.fill(0);
    }
    std::fs::write(&path, bytes).unwrap();
    let salvage = open(folder.path());
    let large = count(&salvage, &links);
    // Every object of 9000 bytes of noise, and every page.
    assert!(large >= 2 * usize::try_from(BATCHES).unwrap(), "{large} of {}", links.len());
    let mut bytes = whole;
    for link in &links {
        let id = link.1.as_bytes();
        let keys: Vec<usize> =
            bytes.windows(id.len()).enumerate().filter(|(_, found)| found == &id).map(|(at, _)| at).collect();
        keys.into_iter().for_each(|at| bytes[at + 20] ^= 1);
    }
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(count(&open(folder.path()), &links), links.len());
}

#[test]
fn a_log_with_holes_is_named_by_its_seqs() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    let path = folder.path().join(DATA_FILE);
    let mut previous = None;
    let names: Vec<Id> =
        (0..BATCHES).map(|seq| *previous.insert(Id::of(Domain::Object, &batch(seq, previous).encode()))).collect();
    // Until no copy of them is left anywhere. What is damaged here still decodes.
    loop {
        let salvage = open(folder.path());
        let is_lost = |at: &&BatchAt| [7, 8, 20].iter().any(|seq| start_of(names[*seq].as_bytes()) == at.start);
        let lost: Vec<_> = salvage.batches.iter().filter(is_lost).collect();
        if lost.is_empty() {
            assert!(salvage.batches.iter().any(|at| at.first == 8), "damaged, and still a batch");
            break;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        lost.into_iter().for_each(|at| bytes[usize::try_from(at.place.at()).unwrap() + 60] ^= 1);
        std::fs::write(&path, bytes).unwrap();
    }
    let survey = Survey::of(&mut open(folder.path()));
    let span = |from, to| Span { from: Seq(from), to: Seq(to) };
    // Damaged batches are not believed; what they say of the ones before them, which proves itself, is.
    assert_eq!(survey.holes, [span(20, 21), span(7, 9)]);
    assert_eq!((survey.history(), survey.goal.unwrap().end), (Seq(7), Seq(BATCHES)));
    assert_eq!(survey.holes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["seq 20", "seqs 7 to 8"]);
}

/// No bytes make it panic, run on or say what is not so.
#[test]
fn nonsense_is_passed_over() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let links = sample(folder.path());
    let path = folder.path().join(DATA_FILE);
    let whole = std::fs::read(&path).unwrap();
    let mut state = 7;
    for round in 0..60 {
        let mut random = |below: usize| {
            let bytes = noise(&mut state, 4);
            bytes.into_iter().fold(0, |number, byte| number << 8 | usize::from(byte)) % below
        };
        let mut bytes = whole.clone();
        for _ in 0..1 + random(40) {
            let at = random(bytes.len() - 4096);
            match random(4) {
                0 => bytes[at..at + 4096].fill(0),
                1 => bytes[at] ^= 1 << random(8),
                2 => {
                    let from = random(whole.len() - 4096) & !4095;
                    bytes[at & !4095..(at & !4095) + 4096].copy_from_slice(&whole[from..from + 4096]);
                }
                // Lengths, flags and numbers of pages.
                _ => (0..8).for_each(|byte| bytes[(at & !1) + byte] = 0xff),
            }
        }
        if round % 5 == 0 {
            bytes.truncate(random(whole.len()));
        }
        std::fs::write(&path, bytes).unwrap();
        let mut salvage = open(folder.path());
        count(&salvage, &links);
        let survey = Survey::of(&mut salvage);
        assert!(survey.history() <= Seq(BATCHES));
    }
    for empty in [&b""[..], &[0xff; 5000], &[0; 100]] {
        std::fs::write(&path, empty).unwrap();
        let mut salvage = open(folder.path());
        assert!(salvage.is_empty() && Survey::of(&mut salvage).goal.is_none());
    }
    std::fs::remove_file(&path).unwrap();
    assert!(open(folder.path()).is_empty());
}
