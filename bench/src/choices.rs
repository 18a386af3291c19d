//! The measurements behind numbers that are fixed in formats and code: fan-out of the page tree, compression of pages.

use std::time::Duration;

use persist::objects::{Framer, unframe};
use persist::store::lmdb::{LmdbStore, Options};
use persist::store::{Store, Table, Writes};
use seed::cbor::Writer;
use seed::{Domain, Id};

use crate::machine::scratch;
use crate::report::{Report, Target, in_turns, median, time, timed};

pub(crate) fn run(report: &mut Report) {
    fan_out(report);
    pages(report);
}

const MEMORIES: [(&str, usize); 2] = [("16 MiB", 1 << 12), ("4 GiB", 1 << 20)];
const DIRTY: usize = 2;

/// Two pages updated in a full tree: the nodes above them encoded and hashed, which every commit does, and stored, which every checkpoint does.
fn fan_out(report: &mut Report) {
    let page = vec![7; 4096];
    let floor = {
        let times = (0..101).map(|_| {
            timed(|| {
                (0..DIRTY).for_each(|_| {
                    std::hint::black_box(Id::of(Domain::Page, &page));
                })
            })
        });
        median(times.collect())
    };
    for (name, pages) in MEMORIES {
        for fan_out in [16, 32, 64, 128] {
            let mut tree = Tree::full(fan_out, pages);
            let mut bytes = 0;
            let mut noise = 1;
            let times = (0..501).map(|_| {
                let places: Vec<usize> = (0..DIRTY).map(|_| random(&mut noise) % pages).collect();
                timed(|| bytes = tree.update(&places))
            });
            let cost = median(times.collect());
            report.cost(
                &format!("fan-out {fan_out}: {DIRTY} pages updated in {name}"),
                cost,
                Some(floor),
                Target::Reported,
            );
            let levels = tree.levels.len() - 1;
            report.note("", &format!("{levels} levels, {bytes} bytes of nodes changed, {} nodes in all", tree.nodes()));
        }
    }
    report.note("", "(the floor: hashing the two pages)");
}

fn random(noise: &mut u64) -> usize {
    *noise ^= *noise << 13;
    *noise ^= *noise >> 7;
    *noise ^= *noise << 17;
    (*noise >> 20) as usize
}

/// A page tree in which every page is there, as `seed::tree` has it but for the fan-out. Level 0 are the ids of pages.
struct Tree {
    fan_out: usize,
    levels: Vec<Vec<Id>>,
}

impl Tree {
    fn full(fan_out: usize, pages: usize) -> Self {
        let page = Id::of(Domain::Page, &[7; 4096]);
        let mut tree = Self { fan_out, levels: vec![vec![page; pages]] };
        while tree.levels.last().is_none_or(|level| level.len() > 1) {
            let (below, count) = (tree.levels.len() - 1, tree.levels[tree.levels.len() - 1].len());
            // All nodes of a level are alike while all pages are.
            let id = Id::of(Domain::Node, &tree.encode(below, 0));
            tree.levels.push(vec![id; count.div_ceil(fan_out)]);
        }
        tree
    }

    /// Sets pages and computes the root; bytes of the nodes that changed.
    fn update(&mut self, places: &[usize]) -> usize {
        let mut changed: Vec<usize> = places.to_vec();
        for place in places {
            self.levels[0][*place] = Id::of(Domain::Object, &place.to_le_bytes());
        }
        let mut bytes = 0;
        for level in 1..self.levels.len() {
            changed.iter_mut().for_each(|place| *place /= self.fan_out);
            changed.sort_unstable();
            changed.dedup();
            for place in &changed {
                let encoding = self.encode(level - 1, *place);
                bytes += encoding.len();
                self.levels[level][*place] = Id::of(Domain::Node, &encoding);
            }
        }
        bytes
    }

    /// `[0, level, bitmap, id...]`; a bitmap of more than 64 bits would be a byte string.
    fn encode(&self, below: usize, place: usize) -> Vec<u8> {
        let kids = &self.levels[below];
        let kids = &kids[place * self.fan_out..kids.len().min((place + 1) * self.fan_out)];
        let mut writer = Writer::with_capacity(16 + kids.len() * 36);
        writer.array(3 + kids.len()).uint(0).uint(below as u64);
        if self.fan_out <= 64 {
            writer.uint(u64::MAX >> (64 - kids.len().min(64)));
        } else {
            writer.bytes(&u128::MAX.to_be_bytes());
        }
        kids.iter().for_each(|id| id.write(&mut writer));
        writer.finish()
    }

    fn nodes(&self) -> usize {
        self.levels.iter().skip(1).map(Vec::len).sum()
    }
}

/// Pages of a real program's memory, compressed in three ways and stored.
fn pages(report: &mut Report) {
    let pages = sqlite_pages();
    let folder = scratch();
    let (mut framed, mut stored) = (Vec::new(), Vec::new());
    for level in [0, 1, 3] {
        let mut compressor = zstd::bulk::Compressor::new(level.max(1)).expect("zstd has a compressor");
        let mut frames: Vec<(Id, Vec<u8>)> = Vec::new();
        let frame = timed(|| {
            frames = pages.iter().map(|(id, page)| (*id, frame(level, &mut compressor, page))).collect();
        });
        let name = format!("store-{level}");
        let place = folder.path().join(&name);
        std::fs::create_dir(&place).expect("a folder can be made");
        let store = LmdbStore::create(&place, &Options::default()).expect("a store can be made");
        let empty = store.usage().expect("a store has a size").used_bytes;
        let put = timed(|| {
            for some in frames.chunks(1000) {
                let mut writes = Writes::new();
                some.iter().for_each(|(id, frame)| writes.put(Table::Objects, id.as_bytes().to_vec(), frame.clone()));
                store.commit(&writes).expect("pages can be stored");
            }
        });
        let used = store.usage().expect("a store has a size").used_bytes - empty;
        let each = |time: Duration| time / pages.len() as u32;
        framed.push(each(frame));
        stored.push(each(put));
        let what = if level == 0 { "as they are".to_owned() } else { format!("zstd level {level}") };
        let bytes: usize = frames.iter().map(|(_, frame)| frame.len()).sum();
        report.note(
            &format!("{} pages of sqlite, {what}", pages.len()),
            &format!(
                "{:>9} to compress, {:>9} to store, {:>4} bytes, {:>4} in the file, each",
                time(each(frame)),
                time(each(put)),
                bytes / pages.len(),
                used / pages.len() as u64
            ),
        );
    }
    let framer = Framer::new().expect("zstd has a compressor");
    let frames: Vec<Vec<u8>> = pages.iter().map(|(_, page)| framer.frame(Domain::Page, page)).collect();
    let (unframing, hashing) = in_turns(
        5,
        || frames.iter().for_each(|frame| drop(unframe(Domain::Page, frame).expect("a frame reads back"))),
        || {
            pages.iter().for_each(|(_, page)| {
                std::hint::black_box(Id::of(Domain::Page, page));
            })
        },
    );
    let each = |time: Duration| time / pages.len() as u32;
    report.cost(
        "a page read back, decompressed; floor: hashed",
        each(unframing),
        Some(each(hashing)),
        Target::Reported,
    );
}

/// As [`Framer`] does, at another level.
fn frame(level: i32, compressor: &mut zstd::bulk::Compressor<'static>, page: &[u8]) -> Vec<u8> {
    if level > 0
        && let Ok(compressed) = compressor.compress(page)
        && compressed.len() < 4000
    {
        return compressed;
    }
    // One byte more than a page, so that it takes two pages of LMDB's and no more.
    [page, &[0]].concat()
}

/// Every page that is not zero of a machine with a database in it.
fn sqlite_pages() -> Vec<(Id, Vec<u8>)> {
    use crate::machine::{Life, make};
    let folder = scratch();
    let wasm = include_bytes!("../../examples/sqlite/sqlite.wasm");
    let place = make(folder.path(), "sqlite", wasm, b"bench");
    let mut life = Life::open(folder.path(), &place, vm::step_loop::Policy::default());
    life.send(b"create table t(a integer primary key, b text, c real)", 1);
    life.send(
        b"with recursive n(i) as (values(1) union all select i + 1 from n where i < 200000) \
          insert into t select i, 'row ' || (i * 7919 % 100000), i / 3.0 from n",
        1,
    );
    life.send(b"create index by_b on t(b)", 1);
    life.stop();
    let store = LmdbStore::open(&place, &Options::default()).expect("the store can be opened");
    let mut pages = Vec::new();
    use persist::store::Reader;
    store
        .scan(Table::Objects, &[], &mut |key, frame| {
            if let (Some(id), Ok(page)) = (Id::from_bytes(key), unframe(Domain::Page, frame)) {
                pages.push((id, page));
            }
            std::ops::ControlFlow::Continue(())
        })
        .expect("the store can be read");
    pages
}
