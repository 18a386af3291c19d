//! The trees of `data.mdb`: whether their pages hang together, as far as whoever asks needs to know.
//!
//! What LMDB 0.9 does to memory while it writes depends on three things in its file: the records of the trees, every page it meets
//! on the way to a key, and the lists of free pages, which it reads from the oldest on until it has what it wants. So:
//!
//! * [`check_opening`]: the meta pages, the records, the upper levels and last leaf of each table, the free pages, within a budget.
//! * [`check_commit`], before each commit, in the same map that LMDB is about to use: the records, and the tip among them; every page from a root to a
//!   key that is written, the run of a value that is replaced; every page of the tree of free pages. Those of that tree that were
//!   already checked are known by their number, because LMDB writes a changed page elsewhere, with all pages above it. Removing a
//!   key lets LMDB merge and move nodes between pages near it, so before the first removal all of that table is checked, once.
//! * [`check_all`]: every page, used exactly once or free, in the numbers that the records say. This is `abide verify`.
//!
//! Guaranteed, for a file damaged in any way before it was opened, as long as each of its pages has one owner: whatever page a commit
//! makes LMDB follow has been checked, or LMDB has written it since from what was. No offset, size, count, depth or page number in
//! it leads out of the page, the file or LMDB's own memory.
//!
//! Not guaranteed, as a commit sees too few pages to know: that each page has one owner. A list of free pages that names a page in
//! use, or a child or a run that is a page of another owner, is found by [`check_all`]; by an opening only near the roots. A commit
//! may then overwrite the page, which shows as damage later, or LMDB meets a page it has just made where it expects the one that
//! was checked; its own assertion (exit 3) is what usually ends that. Nor are pages safe that change under a running machine after
//! they were checked. Keys, values and pages that are whole but not the ones that were meant are the business of the layers above,
//! which verify them. Readers do not write: a bad offset they meet ends in `crate::sys`.

#![forbid(unsafe_code)]

use std::collections::{HashSet, VecDeque};

use super::pages::{
    Content, FileSource, HEAD_BYTES, Page, Snapshot, Source, TIP_KEY, Tally, Tree, Value, check_run_head, flaw, need,
    run_pages, u64_at,
};
use crate::store::{Cause, Change, Flaw, KEY_BYTES_MAX, Table};

const LIST_OF_TABLES: &str = "the list of tables";
const LIST_OF_FREE_PAGES: &str = "the list of free pages";

/// How many pages of each table, and of the list of free pages, an opening looks at.
const OPENING_PAGES_TABLE: usize = 16;
const OPENING_PAGES_FREE: u64 = 256;

/// When this many pages, and twice as many as there are, are known they are forgotten and checked again.
const KNOWN_PAGES_MAX: usize = 1 << 16;

/// What has been checked since the file was opened, and need not be again.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Pages of the tree of free pages.
    pages: HashSet<u64>,
    /// Whether that tree has once been checked from end to end.
    free_pages: bool,
    /// Tables that have been.
    tables: [bool; Table::ALL.len()],
}

/// What a whole file consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) pages: u64,
    pub(super) free: u64,
    pub(super) entries: u64,
}

/// The records of the tables.
struct Tables {
    trees: Vec<(Option<Table>, Tree)>,
}

impl Tables {
    fn read(source: &dyn Source, snapshot: &Snapshot) -> Result<Tables, Cause> {
        let record = &snapshot.tables;
        let mut trees = Vec::new();
        // A new file has no tables yet. Afterwards, their few records and the tip fit into one page.
        if record.depth == 0 && snapshot.transaction == 0 {
            return Ok(Tables { trees });
        }
        need(record.depth == 1, snapshot.transaction % 2, "depth of a tree")?;
        let page = Page::check(source, record.root, true, Content::Tables)?;
        for slot in (0..page.count).filter(|slot| page.key(*slot) != TIP_KEY) {
            let table = Table::ALL.into_iter().find(|table| table.name().as_bytes() == page.key(slot));
            let Value::Here(bytes) = page.value(slot) else { return Err(flaw(record.root, "flags of a node")) };
            trees.push((table, Tree::of_entries(bytes, snapshot.last_page).map_err(|what| flaw(record.root, what))?));
        }
        check_tally(
            LIST_OF_TABLES,
            &record.tally,
            &Tally { leaves: 1, entries: page.count as u64, ..Tally::default() },
        )?;
        let tables = Tables { trees };
        Table::ALL.into_iter().try_for_each(|table| tables.tree(table).map(drop))?;
        Ok(tables)
    }

    fn tree(&self, table: Table) -> Result<&Tree, Cause> {
        let found = self.trees.iter().find(|(name, _)| *name == Some(table));
        found.map(|(_, tree)| tree).ok_or(Cause::Damage(Flaw::NoTable(table)))
    }

    fn pages(&self) -> u64 {
        self.trees.iter().map(|(_, tree)| tree.tally.pages()).fold(0, u64::saturating_add)
    }
}

/// Judges a file before it is opened, with an effort that does not grow with it.
pub(super) fn check_opening(source: &dyn Source) -> Result<Known, Cause> {
    let snapshot = Snapshot::read(source)?;
    let tables = Tables::read(source, &snapshot)?;
    let mut known = Known::default();
    let mut walk = Walk::new(source, &snapshot, Content::FreePages);
    walk.claims = Some(Claims::new(snapshot.last_page));
    walk.known = Some(&mut known.pages);
    walk.budget = OPENING_PAGES_FREE;
    walk.tree(&snapshot.free_pages)?;
    let (listed, found, finished) = (walk.listed, walk.tally, walk.budget > 0);
    let mut claims = walk.claims.unwrap_or_default();
    if finished {
        check_sum(&snapshot, &tables, listed, &found)?;
        known.free_pages = true;
    }
    if snapshot.tables.depth > 0 {
        claims.add(snapshot.tables.root)?;
    }
    for (_, tree) in &tables.trees {
        check_top(source, &snapshot, tree, &mut claims)?;
        Descent::new(source, &snapshot, *tree).check(&[0xff; KEY_BYTES_MAX])?;
    }
    Ok(known)
}

/// Judges what a commit of `changes`, sorted by table and key, will have LMDB calculate with; whether it sets a tip makes no difference.
pub(super) fn check_commit(source: &dyn Source, known: &mut Known, changes: &[&Change]) -> Result<(), Cause> {
    let snapshot = Snapshot::read(source)?;
    let tables = Tables::read(source, &snapshot)?;
    for changes in changes.chunk_by(|a, b| a.table == b.table) {
        let Some(table) = changes.first().map(|change| change.table) else { continue };
        let tree = *tables.tree(table)?;
        if changes.iter().any(|change| change.value.is_none()) && !known.tables[table.index()] {
            let mut walk = Walk::new(source, &snapshot, Content::Entries);
            walk.runs = false;
            walk.tree(&tree)?;
            known.tables[table.index()] = true;
        }
        let mut descent = Descent::new(source, &snapshot, tree);
        changes.iter().try_for_each(|change| descent.check(&change.key))?;
    }
    check_free_pages(source, known, &snapshot, &tables)
}

fn check_free_pages(source: &dyn Source, known: &mut Known, snapshot: &Snapshot, tables: &Tables) -> Result<(), Cause> {
    let pages = usize::try_from(snapshot.free_pages.tally.pages()).unwrap_or(usize::MAX);
    if known.pages.len() > pages.saturating_mul(2).max(KNOWN_PAGES_MAX) {
        known.pages.clear();
    }
    if known.free_pages {
        let mut walk = Walk::new(source, snapshot, Content::FreePages);
        walk.known = Some(&mut known.pages);
        return walk.tree(&snapshot.free_pages);
    }
    known.pages.clear();
    let mut walk = Walk::new(source, snapshot, Content::FreePages);
    walk.claims = Some(Claims::new(snapshot.last_page));
    walk.known = Some(&mut known.pages);
    walk.tree(&snapshot.free_pages)?;
    let (listed, found) = (walk.listed, walk.tally);
    check_sum(snapshot, tables, listed, &found)?;
    known.free_pages = true;
    Ok(())
}

/// Checks every page.
pub(super) fn check_all(source: &dyn Source) -> Result<Report, Cause> {
    let snapshot = Snapshot::read(source)?;
    let tables = Tables::read(source, &snapshot)?;
    let mut claims = Claims::new(snapshot.last_page);
    let mut report = Report { pages: snapshot.last_page + 1, free: 0, entries: 0 };
    let named = tables
        .trees
        .iter()
        .map(|(table, tree)| (table.map_or("an unknown table", Table::name), tree, Content::Entries));
    let own = [
        (LIST_OF_TABLES, &snapshot.tables, Content::Tables),
        (LIST_OF_FREE_PAGES, &snapshot.free_pages, Content::FreePages),
    ];
    for (name, tree, content) in named.chain(own) {
        let mut walk = Walk::new(source, &snapshot, content);
        walk.claims = Some(claims);
        walk.tree(tree)?;
        check_tally(name, &tree.tally, &walk.tally)?;
        report.free += walk.listed;
        report.entries += if content == Content::Entries { walk.tally.entries } else { 0 };
        claims = walk.claims.unwrap_or_default();
    }
    match claims.first_unclaimed(snapshot.last_page) {
        Some(page) => Err(Cause::Damage(Flaw::Unused { page })),
        None => Ok(report),
    }
}

/// Checks what a process beside this one may be writing, without holding on to it: whatever is wrong with a state that is the newest
/// before and after the check is damage, as no page of the newest state is ever written. Otherwise it is tried again.
pub(super) fn steady<T>(
    source: &FileSource<'_>,
    tries: u32,
    mut check: impl FnMut(&dyn Source) -> Result<T, Cause>,
) -> Result<T, Cause> {
    for _ in 1..tries {
        let before = Snapshot::read(source).ok();
        let checked = check(source);
        if checked.is_ok() || before == Snapshot::read(source).ok() {
            return checked;
        }
    }
    check(source)
}

fn check_tally(tree: &'static str, expected: &Tally, found: &Tally) -> Result<(), Cause> {
    for (what, expected, found) in [
        ("branch pages", expected.branches, found.branches),
        ("leaf pages", expected.leaves, found.leaves),
        ("pages of large values", expected.run_pages, found.run_pages),
        ("entries", expected.entries, found.entries),
    ] {
        if expected != found {
            return Err(Cause::Damage(Flaw::Tally { tree, what, expected, found }));
        }
    }
    Ok(())
}

/// Every page but the two meta pages is in a tree or in the list of free pages, which consists of what its record says.
fn check_sum(snapshot: &Snapshot, tables: &Tables, listed: u64, free_pages: &Tally) -> Result<(), Cause> {
    check_tally(LIST_OF_FREE_PAGES, &snapshot.free_pages.tally, free_pages)?;
    let own = snapshot.free_pages.tally.pages() + snapshot.tables.tally.pages();
    let found = own.saturating_add(tables.pages()).saturating_add(listed).saturating_add(2);
    let expected = snapshot.last_page + 1;
    if found == expected {
        return Ok(());
    }
    Err(Cause::Damage(Flaw::Tally { tree: "data.mdb", what: "pages", expected, found }))
}

/// The upper levels of a tree, as far as they are few pages, which nobody else may have.
fn check_top(source: &dyn Source, snapshot: &Snapshot, tree: &Tree, claims: &mut Claims) -> Result<(), Cause> {
    let mut open = VecDeque::from_iter((tree.depth > 0).then_some((tree.root, tree.depth)));
    for _ in 0..OPENING_PAGES_TABLE {
        let Some((number, depth)) = open.pop_front() else { break };
        claims.add(number)?;
        let page = Page::check(source, number, depth == 1, Content::Entries)?;
        for slot in 0..if depth > 1 { page.count } else { 0 } {
            let child = page.child(slot);
            need((2..=snapshot.last_page).contains(&child), number, "child")?;
            if open.len() < OPENING_PAGES_TABLE {
                open.push_back((child, depth - 1));
            }
        }
    }
    Ok(())
}

/// The ways from a root to keys in ascending order.
struct Descent<'s> {
    source: &'s dyn Source,
    last_page: u64,
    tree: Tree,
    /// The last way from the root on, with the slot it took in each page. Pages that the next way shares are not checked again.
    trail: Vec<(Page<'s>, usize)>,
}

impl<'s> Descent<'s> {
    fn new(source: &'s dyn Source, snapshot: &Snapshot, tree: Tree) -> Descent<'s> {
        Descent { source, last_page: snapshot.last_page, tree, trail: Vec::new() }
    }

    fn check(&mut self, key: &[u8]) -> Result<(), Cause> {
        let mut number = self.tree.root;
        for level in 0..usize::from(self.tree.depth) {
            let is_leaf = level + 1 == usize::from(self.tree.depth);
            if self.trail.get(level).is_none_or(|(page, _)| page.number != number) {
                self.trail.truncate(level);
                let page = Page::check(self.source, number, is_leaf, Content::Entries)?;
                self.check_place(&page)?;
                self.trail.push((page, 0));
            }
            let (page, slot) = &mut self.trail[level];
            if !is_leaf {
                *slot = page.towards(key);
                number = page.child(*slot);
                need((2..=self.last_page).contains(&number), page.number, "child")?;
            } else if let Some(Value::Run { first, bytes }) = page.find(key).map(|slot| page.value(slot)) {
                check_run(self.source, first, bytes, self.last_page)?;
            }
        }
        Ok(())
    }

    /// Whether the keys of a page are ones that the pages above it have there.
    fn check_place(&self, page: &Page<'_>) -> Result<(), Cause> {
        let above = || self.trail.iter().rev();
        let low = above().find_map(|(page, slot)| (*slot > 0).then(|| page.key(*slot)));
        let high = above().find_map(|(page, slot)| (slot + 1 < page.count).then(|| page.key(slot + 1)));
        page.check_between(low, high)
    }
}

/// Checks the run of a table's value: it has as many pages as the value needs. Returns how many.
fn check_run(source: &dyn Source, first: u64, bytes: usize, last_page: u64) -> Result<u64, Cause> {
    let pages = run_pages(bytes, source.page_bytes());
    check_run_place(first, pages, last_page)?;
    let said = check_run_head(&source.read(first, HEAD_BYTES)?, first)?;
    need(said == pages, first, "number of pages")?;
    Ok(pages)
}

fn check_run_place(first: u64, pages: u64, last_page: u64) -> Result<(), Cause> {
    let fits = first >= 2 && first.checked_add(pages - 1).is_some_and(|last| last <= last_page);
    need(fits, first, "number of pages")
}

/// A walk through a tree.
struct Walk<'w> {
    source: &'w dyn Source,
    last_page: u64,
    transaction: u64,
    content: Content,
    /// Whether runs of large values are checked too.
    runs: bool,
    /// Pages left to look at; a walk that has used them up is not finished.
    budget: u64,
    /// Who has which page, where each may have only one owner.
    claims: Option<Claims>,
    /// Pages that need not be checked again, with all that is below them.
    known: Option<&'w mut HashSet<u64>>,
    tally: Tally,
    /// Free pages found.
    listed: u64,
}

impl<'w> Walk<'w> {
    fn new(source: &'w dyn Source, snapshot: &Snapshot, content: Content) -> Walk<'w> {
        Walk {
            source,
            last_page: snapshot.last_page,
            transaction: snapshot.transaction,
            content,
            runs: true,
            budget: u64::MAX,
            claims: None,
            known: None,
            tally: Tally::default(),
            listed: 0,
        }
    }

    fn tree(&mut self, tree: &Tree) -> Result<(), Cause> {
        if tree.depth == 0 { Ok(()) } else { self.page(tree.root, tree.depth, None, None) }
    }

    fn page(&mut self, number: u64, depth: u16, low: Option<&[u8]>, high: Option<&[u8]>) -> Result<(), Cause> {
        if self.is_known(number) {
            return Ok(());
        }
        self.claim(number, 1)?;
        let page = Page::check(self.source, number, depth == 1, self.content)?;
        page.check_between(low, high)?;
        if depth == 1 {
            self.tally.leaves += 1;
            self.tally.entries += page.count as u64;
        } else {
            self.tally.branches += 1;
        }
        for slot in 0..page.count {
            if self.budget == 0 {
                return Ok(());
            }
            if depth == 1 {
                self.entry(&page, number, slot)?;
                continue;
            }
            let child = page.child(slot);
            need((2..=self.last_page).contains(&child), number, "child")?;
            let low = if slot == 0 { low } else { Some(page.key(slot)) };
            let high = if slot + 1 == page.count { high } else { Some(page.key(slot + 1)) };
            self.page(child, depth - 1, low, high)?;
        }
        if self.budget > 0 {
            self.know(number);
        }
        Ok(())
    }

    fn entry(&mut self, page: &Page<'_>, number: u64, slot: usize) -> Result<(), Cause> {
        let value = page.value(slot);
        if self.content == Content::FreePages {
            need((1..=self.transaction).contains(&u64_at(page.key(slot), 0)), number, "transaction number")?;
            return match value {
                Value::Here(list) => self.list(list, number),
                Value::Run { first, bytes } => self.list_in_run(first, bytes),
            };
        }
        if let (Value::Run { first, bytes }, true) = (value, self.runs) {
            let pages = check_run(self.source, first, bytes, self.last_page)?;
            self.tally.run_pages += pages;
            self.claim(first, pages)?;
        }
        Ok(())
    }

    fn list_in_run(&mut self, first: u64, bytes: usize) -> Result<(), Cause> {
        if self.is_known(first) {
            return Ok(());
        }
        let least = run_pages(bytes, self.source.page_bytes());
        check_run_place(first, least, self.last_page)?;
        let source = self.source;
        let run = source.read(first, HEAD_BYTES + bytes)?;
        // LMDB does not move a list that it makes shorter within one transaction.
        let pages = check_run_head(&run, first)?;
        need(pages >= least, first, "number of pages")?;
        check_run_place(first, pages, self.last_page)?;
        self.tally.run_pages += pages;
        self.claim(first, pages)?;
        self.list(&run[HEAD_BYTES..], first)?;
        self.know(first);
        Ok(())
    }

    /// A list of free pages: a count of at least 8 bytes, and as many descending numbers. It may have room for more.
    fn list(&mut self, list: &[u8], number: u64) -> Result<(), Cause> {
        let count = usize::try_from(u64_at(list, 0)).ok().filter(|count| *count < list.len() / 8);
        let count = count.ok_or_else(|| flaw(number, "number of free pages"))?;
        let mut last = self.last_page + 1;
        for page in list[8..8 + 8 * count].chunks_exact(8).map(|bytes| u64_at(bytes, 0)) {
            need((2..last).contains(&page), number, "free page")?;
            last = page;
            if let Some(claims) = &mut self.claims {
                claims.add(page)?;
            }
        }
        self.listed += count as u64;
        Ok(())
    }

    fn claim(&mut self, first: u64, pages: u64) -> Result<(), Cause> {
        self.budget = self.budget.saturating_sub(pages);
        match &mut self.claims {
            Some(claims) => (first..first + pages).try_for_each(|page| claims.add(page)),
            None => Ok(()),
        }
    }

    fn is_known(&self, page: u64) -> bool {
        self.known.as_ref().is_some_and(|known| known.contains(&page))
    }

    fn know(&mut self, page: u64) {
        if let Some(known) = &mut self.known {
            known.insert(page);
        }
    }
}

/// The pages that have an owner, a bit each.
#[derive(Default)]
struct Claims(Vec<u64>);

impl Claims {
    fn new(last_page: u64) -> Claims {
        let words = usize::try_from(last_page / 64 + 1).unwrap_or_default();
        let mut claims = Claims(vec![0; words]);
        claims.0[0] = 0b11;
        claims
    }

    fn add(&mut self, page: u64) -> Result<(), Cause> {
        let word = usize::try_from(page / 64).ok().and_then(|index| self.0.get_mut(index));
        let word = word.ok_or_else(|| flaw(page, "number"))?;
        if *word >> (page % 64) & 1 == 1 {
            return Err(Cause::Damage(Flaw::UsedTwice { page }));
        }
        *word |= 1 << (page % 64);
        Ok(())
    }

    fn first_unclaimed(&self, last_page: u64) -> Option<u64> {
        let (index, word) = self.0.iter().enumerate().find(|(_, word)| **word != u64::MAX)?;
        let page = index as u64 * 64 + u64::from(word.trailing_ones());
        (page <= last_page).then_some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pages::MapSource;
    use super::super::{DATA_FILE, LmdbStore, Options};
    use super::*;
    use crate::store::{Reader, Store, TIP_BYTES_MAX, Writes};

    const PAGE: usize = 4096;

    fn random(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        usize::try_from(*state >> 33).unwrap()
    }

    /// A map that need not grow, which would wait for readers.
    fn roomy() -> Options {
        Options { map_bytes: 1 << 30, readers: 8 }
    }

    fn check_file(folder: &std::path::Path) -> Report {
        let bytes = std::fs::read(folder.join(DATA_FILE)).unwrap();
        check_all(&MapSource { map: &bytes, page_bytes: PAGE }).unwrap()
    }

    /// Whatever LMDB writes is sound to every check: each commit is one, and after it every page is checked. Keys of all lengths,
    /// values of all sizes, large removals, and readers that make the list of free pages long.
    fn live(seed: u64, commits: usize) {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut store = LmdbStore::create(folder.path(), &roomy()).unwrap();
        let mut state = seed;
        let mut reader = None;
        let keys = 20 + random(&mut state) % 500;
        let key = |n: usize| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().repeat(1 + n % 63);
        for commit in 0..commits {
            let mut writes = Writes::new();
            let removing = random(&mut state).is_multiple_of(4);
            let table = Table::ALL[random(&mut state) % 4];
            for _ in 0..random(&mut state) % if commit % 10 == 0 { 200 } else { 8 } {
                let n = random(&mut state) % keys;
                if removing && !random(&mut state).is_multiple_of(5) {
                    writes.delete(table, key(n));
                    continue;
                }
                let bytes = [0, 30, 300, 1500, 2500, 4000, 9000, 40_000][random(&mut state) % 8];
                writes.put(Table::ALL[random(&mut state) % 4], key(n), vec![7; bytes + random(&mut state) % 40]);
            }
            if random(&mut state).is_multiple_of(2) {
                writes.set_tip(vec![8; random(&mut state) % (TIP_BYTES_MAX + 1)]);
            }
            store.commit(&writes).unwrap();
            match random(&mut state) % 30 {
                0 => reader = Some(store.snapshot().unwrap()),
                1..4 => drop(reader.take()),
                4 => {
                    drop((reader.take(), store));
                    store = LmdbStore::open(folder.path(), &roomy()).unwrap();
                }
                _ => {}
            }
            check_file(folder.path());
        }
        drop(reader);
        let copy = tempfile::tempdir_in(folder.path()).unwrap();
        store.compact_to(copy.path()).unwrap();
        let (whole, compact) = (check_file(folder.path()), check_file(copy.path()));
        assert_eq!((whole.entries, 0), (compact.entries, compact.free));
        let tip = store.tip().unwrap();
        assert!(tip.is_some() && tip == LmdbStore::open(copy.path(), &roomy()).unwrap().tip().unwrap());
    }

    #[test]
    fn what_lmdb_writes_is_sound() {
        let lives = std::env::var("ABIDE_TEST_LIVES").ok().map_or(3, |lives| lives.parse().unwrap());
        (0..lives).for_each(|seed| live(seed, 200));
    }

    /// A store with every kind of page, among them a table of two levels and a list of free pages in a run.
    fn sample() -> Vec<u8> {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store = LmdbStore::create(folder.path(), &roomy()).unwrap();
        let mut writes = Writes::new();
        for n in 0..60u8 {
            writes.put(Table::Objects, vec![n; 40], vec![n; [20, 200, 5000][usize::from(n % 3)]]);
        }
        writes.put(Table::Log, b"large".to_vec(), vec![1; 1_200_000]);
        writes.set_tip(vec![9; 309]);
        store.commit(&writes).unwrap();
        let mut writes = Writes::new();
        writes.delete(Table::Log, b"large".to_vec());
        store.commit(&writes).unwrap();
        store.get(Table::Objects, &[1; 40]).unwrap();
        std::fs::read(folder.path().join(DATA_FILE)).unwrap()
    }

    /// Of all that LMDB calculates with, every flipped bit is found, but for lengths of large values that take as many pages.
    #[test]
    fn every_flipped_bit_of_the_structure_is_found() {
        let mut whole = sample();
        let source = |bytes: &[u8]| check_all(&MapSource { map: bytes, page_bytes: PAGE });
        let report = source(&whole).unwrap();
        assert!(report.free > 290 && report.entries == 60, "{report:?}");
        let u16_of = |bytes: &[u8], at: usize| usize::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
        let u32_of = |bytes: &[u8], at: usize| u16_of(bytes, at) | u16_of(bytes, at + 2) << 16;
        // Which pages are in use: those whose number cannot be changed unnoticed.
        let mut used = Vec::new();
        for page in 2..whole.len() / PAGE {
            whole[page * PAGE] ^= 1;
            used.extend(source(&whole).is_err().then_some(page * PAGE));
            whole[page * PAGE] ^= 1;
        }
        let mut spans: Vec<(usize, usize)> = Vec::new();
        let mut kinds = HashSet::new();
        for page in used {
            let kind = u16_of(&whole, page + 10);
            kinds.insert(kind);
            spans.extend([(page, 8), (page + 10, 6)]);
            let nodes = if kind == 4 { 0 } else { (u16_of(&whole, page + 12) - 16) / 2 };
            for slot in 0..nodes {
                let pointer = page + 16 + 2 * slot;
                let node = page + u16_of(&whole, pointer);
                let in_run = kind == 2 && u16_of(&whole, node + 4) == 1;
                spans.extend([(pointer, 2), if in_run { (node + 4, 4) } else { (node, 8) }]);
                if in_run {
                    spans.push((node + 8 + u16_of(&whole, node + 6), 8));
                    let bytes = u32_of(&whole, node);
                    for bit in (0..32).filter(|bit| run_pages(bytes ^ 1 << bit, PAGE) != run_pages(bytes, PAGE)) {
                        whole[node + bit / 8] ^= 1 << (bit % 8);
                        assert!(source(&whole).is_err(), "length at {node}, bit {bit}");
                        whole[node + bit / 8] ^= 1 << (bit % 8);
                    }
                }
            }
        }
        assert_eq!(kinds, HashSet::from([1, 2, 4]));
        let mut quiet = Vec::new();
        for bit in spans.iter().flat_map(|(at, bytes)| at * 8..(at + bytes) * 8) {
            whole[bit / 8] ^= 1 << (bit % 8);
            quiet.extend(source(&whole).is_ok().then_some((bit / 8 / PAGE, bit / 8 % PAGE, bit % 8)));
            whole[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(quiet, []);
    }

    /// Besides the tip nothing is among the records of the tables: no value of another name, no tip that is a record, in a run or too long.
    #[test]
    fn nothing_but_the_tip_is_among_the_records_of_the_tables() {
        let whole = sample();
        let source = |bytes: &[u8]| check_all(&MapSource { map: bytes, page_bytes: PAGE }).map(drop);
        let found: Vec<usize> = (0..whole.len() - 6).filter(|at| whole[*at..].starts_with(b"\x04\0.tip\x09")).collect();
        let root = Snapshot::read(&MapSource { map: &whole, page_bytes: PAGE }).unwrap().tables.root;
        let node = found.into_iter().find(|at| (at / PAGE) as u64 == root).unwrap() - 6;
        let record = whole[node..][..8].to_vec();
        for (at, damaged) in [(node + 8, &b".tiq"[..]), (node + 4, &[1, 0]), (node + 4, &[2, 0]), (node, &[0xd1, 0x07])]
        {
            let mut bytes = whole.clone();
            bytes[at..at + damaged.len()].copy_from_slice(damaged);
            assert!(
                source(&bytes)
                    .is_err_and(|cause| matches!(cause, Cause::Damage(Flaw::Page { page, .. }) if page == root))
            );
        }
        assert_eq!(record, [0x35, 1, 0, 0, 0, 0, 4, 0]);
        assert!(source(&whole).is_ok());
    }

    /// No bytes make a check panic or run on.
    #[test]
    fn garbage_is_refused() {
        let whole = sample();
        let mut state = 1;
        for _ in 0..3000 {
            let mut bytes = whole.clone();
            for _ in 0..1 + random(&mut state) % 3 {
                let page = random(&mut state) % (whole.len() / PAGE) * PAGE;
                match random(&mut state) % 4 {
                    0 => {
                        // Another page, with the number of the one it replaces.
                        let from = random(&mut state) % (whole.len() / PAGE) * PAGE;
                        bytes.copy_within(from + 8..from + PAGE, page + 8);
                    }
                    1 => (0..64)
                        .for_each(|_| bytes[page + random(&mut state) % PAGE] = random(&mut state).to_le_bytes()[0]),
                    2 => bytes.truncate(page.max(PAGE)),
                    _ => (0..4)
                        .for_each(|_| bytes[page + 12 + random(&mut state) % 4] = random(&mut state).to_le_bytes()[0]),
                }
                bytes.resize(whole.len(), 0);
            }
            let source = MapSource { map: &bytes, page_bytes: PAGE };
            let _ = (check_all(&source), check_opening(&source));
            let mut writes = Writes::new();
            (0..60).for_each(|n| writes.put(Table::Objects, vec![n; 40], vec![]));
            let _ = check_commit(&source, &mut Known::default(), &writes.settled().unwrap().changes);
            writes.delete(Table::Objects, vec![1]);
            let _ = check_commit(&source, &mut Known::default(), &writes.settled().unwrap().changes);
        }
    }
}
