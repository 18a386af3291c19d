//! What every [`Store`] does, in one suite that runs over all of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{CommitError, KEY_BYTES_MAX, Reader, Store, StoreError, TIP_BYTES_MAX, Table, VALUE_BYTES_AVOIDED, Writes};

/// Opens the same storage again each time it is called; the store it returned before is dropped by then.
type Opener = Box<dyn FnMut() -> Box<dyn Store>>;

/// Runs every check, each on storage of its own.
pub(super) fn check(fresh: &mut dyn FnMut() -> Opener) {
    for check in [
        values_are_put_got_overwritten_and_deleted,
        scans_are_ordered_start_anywhere_and_stop,
        at_or_before_finds_neighbours,
        values_of_every_size_come_back,
        the_tip_is_one_value_beside_the_tables,
        a_tip_that_is_too_long_is_an_error_and_changes_nothing,
        bad_keys_are_errors_and_change_nothing,
        many_small_entries_survive_reopening,
        snapshots_stay_while_commits_go_on,
        readers_see_whole_commits,
    ] {
        check(&mut fresh());
    }
    random_lives_match_a_map(fresh);
}

fn entries(reader: &dyn Reader, table: Table, from: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    reader
        .scan(table, from, &mut |key, value| {
            entries.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    entries
}

fn put(store: &dyn Store, table: Table, key: &[u8], value: &[u8]) {
    let mut writes = Writes::new();
    writes.put(table, key.to_vec(), value.to_vec());
    store.commit(&writes).unwrap();
}

fn values_are_put_got_overwritten_and_deleted(open: &mut Opener) {
    let store = open();
    store.commit(&Writes::new()).unwrap();
    for table in Table::ALL {
        assert_eq!(store.get(table, b"k").unwrap(), None);
        put(&*store, table, b"k", table.name().as_bytes());
    }
    for table in Table::ALL {
        assert_eq!(store.get(table, b"k").unwrap().unwrap(), table.name().as_bytes(), "tables are apart");
    }
    let mut writes = Writes::new();
    writes.delete(Table::Meta, b"k".to_vec());
    writes.delete(Table::Meta, b"was never there".to_vec());
    writes.put(Table::Log, b"k".to_vec(), b"longer than before".to_vec());
    store.commit(&writes).unwrap();
    drop(store);
    let store = open();
    assert_eq!(store.get(Table::Meta, b"k").unwrap(), None);
    assert!(!store.get_with(Table::Meta, b"k", &mut |_| panic!("nothing to see")).unwrap());
    let mut seen = Vec::new();
    assert!(store.get_with(Table::Log, b"k", &mut |value| seen.extend_from_slice(value)).unwrap());
    assert_eq!(seen, b"longer than before");
    assert_eq!(store.usage().unwrap().entries, [0, 1, 1, 1]);
}

fn scans_are_ordered_start_anywhere_and_stop(open: &mut Opener) {
    let store = open();
    assert!(entries(&*store, Table::Log, b"").is_empty());
    let keys: [&[u8]; 5] = [b"\0", b"\0\0", b"a", b"\xff", b"\xff\0"];
    for key in keys.iter().rev() {
        put(&*store, Table::Log, key, key);
    }
    let from = |from: &[u8]| entries(&*store, Table::Log, from).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(from(b""), keys);
    assert_eq!(from(b"\0"), keys);
    assert_eq!(from(b"\0\0"), keys[1..]);
    assert_eq!(from(b"\0\x01"), keys[2..]);
    assert_eq!(from(b"a"), keys[2..]);
    assert_eq!(from(b"b"), keys[3..]);
    assert_eq!(from(b"\xff\0"), keys[4..]);
    assert!(from(b"\xff\x01").is_empty());
    let mut count = 0;
    let stop = &mut |_: &[u8], _: &[u8]| {
        count += 1;
        if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.scan(Table::Log, b"", stop).unwrap();
    assert_eq!(count, 2);
}

fn at_or_before_finds_neighbours(open: &mut Opener) {
    let store = open();
    let at = |key: &[u8]| store.at_or_before(Table::Branches, key).unwrap().map(|(key, _)| key);
    assert_eq!(at(b"m"), None);
    put(&*store, Table::Branches, b"b", b"1");
    put(&*store, Table::Branches, b"d", b"2");
    put(&*store, Table::Branches, b"dd", b"");
    put(&*store, Table::Log, b"c", b"another table");
    for (key, found) in [
        ("a", None),
        ("b", Some("b")),
        ("c", Some("b")),
        ("czz", Some("b")),
        ("d", Some("d")),
        ("d\0", Some("d")),
        ("dd", Some("dd")),
        ("e", Some("dd")),
    ] {
        assert_eq!(at(key.as_bytes()).as_deref(), found.map(str::as_bytes), "{key:?}");
    }
    let longest = vec![b'd'; KEY_BYTES_MAX];
    assert_eq!(at(&longest).unwrap(), b"dd");
}

fn values_of_every_size_come_back(open: &mut Opener) {
    let sizes = [0usize, 1, 2, 511, 1000, 2022, 4080, 4097, 65_536, 1 << 20, 20 << 20];
    let value = |size: usize| (0..size).map(|at| (at ^ (at >> 8) ^ size).to_le_bytes()[0]).collect::<Vec<u8>>();
    let store = open();
    let mut writes = Writes::new();
    for size in sizes {
        writes.put(Table::Objects, size.to_be_bytes().to_vec(), value(size));
    }
    store.commit(&writes).unwrap();
    drop(store);
    let store = open();
    for size in sizes {
        assert!(store.get(Table::Objects, &size.to_be_bytes()).unwrap().unwrap() == value(size), "{size} bytes");
    }
}

fn the_tip_is_one_value_beside_the_tables(open: &mut Opener) {
    let store = open();
    assert_eq!(store.tip().unwrap(), None);
    let tip = |size: usize| vec![size.to_le_bytes()[0]; size];
    let mut writes = Writes::new();
    writes.set_tip(tip(9));
    store.commit(&writes).unwrap();
    assert_eq!(store.usage().unwrap().entries, [0; 4]);
    // Longer and shorter, alone and with other changes, under names that mean something to a store.
    for (number, size) in [0, TIP_BYTES_MAX, 1, 300, 301, 301, 2, TIP_BYTES_MAX - 1].into_iter().enumerate() {
        let mut writes = Writes::new();
        writes.set_tip(tip(size));
        if number % 2 == 0 {
            Table::ALL.into_iter().for_each(|table| writes.put(table, b".tip".to_vec(), table.name().into()));
            writes.put(Table::Meta, b"log".to_vec(), vec![3; size]);
        }
        store.commit(&writes).unwrap();
        assert_eq!(store.tip().unwrap(), Some(tip(size)));
    }
    put(&*store, Table::Log, b"other", b"changes leave it");
    drop(store);
    let store = open();
    assert_eq!(store.tip().unwrap().unwrap(), tip(TIP_BYTES_MAX - 1));
    assert_eq!(store.get(Table::Branches, b".tip").unwrap().unwrap(), b"branches");
    assert_eq!(store.usage().unwrap().entries, [2, 1, 2, 1]);
    assert_eq!(entries(&*store, Table::Objects, b"").len(), 1);
}

fn a_tip_that_is_too_long_is_an_error_and_changes_nothing(open: &mut Opener) {
    let store = open();
    let mut writes = Writes::new();
    writes.set_tip(vec![1; TIP_BYTES_MAX]);
    store.commit(&writes).unwrap();
    let mut writes = Writes::new();
    writes.put(Table::Log, b"good".to_vec(), b"".to_vec());
    writes.set_tip(vec![2; TIP_BYTES_MAX + 1]);
    let error = store.commit(&writes).unwrap_err();
    assert!(matches!(&error, CommitError::NotDone { source: StoreError::TipLength { bytes: 2001 } }));
    assert!(error.store_error().is_misuse());
    assert_eq!(store.get(Table::Log, b"good").unwrap(), None);
    assert_eq!(store.tip().unwrap().unwrap(), [1; TIP_BYTES_MAX]);
    put(&*store, Table::Log, b"good", b"misuse does not poison");
}

fn bad_keys_are_errors_and_change_nothing(open: &mut Opener) {
    let store = open();
    let longest = vec![1; KEY_BYTES_MAX];
    put(&*store, Table::Objects, &longest, b"fits");
    assert_eq!(store.get(Table::Objects, &longest).unwrap().unwrap(), b"fits");
    for bad in [vec![], vec![1; KEY_BYTES_MAX + 1], vec![1; 5000]] {
        let mut writes = Writes::new();
        writes.put(Table::Objects, b"good".to_vec(), b"".to_vec());
        writes.put(Table::Objects, bad.clone(), b"".to_vec());
        let error = store.commit(&writes).unwrap_err();
        assert!(
            matches!(&error, CommitError::NotDone { source: StoreError::KeyLength { bytes } } if *bytes == bad.len())
        );
        assert!(error.store_error().is_misuse());
        assert!(matches!(store.get(Table::Objects, &bad), Err(StoreError::KeyLength { .. })));
        assert!(matches!(store.at_or_before(Table::Objects, &bad), Err(StoreError::KeyLength { .. })));
    }
    assert_eq!(store.get(Table::Objects, b"good").unwrap(), None);
    put(&*store, Table::Objects, b"good", b"misuse does not poison");
}

fn many_small_entries_survive_reopening(open: &mut Opener) {
    let store = open();
    let key = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes().to_vec();
    for batch in 0..10 {
        let mut writes = Writes::new();
        for n in batch * 2000..(batch + 1) * 2000 {
            writes.put(Table::Log, key(n), n.to_be_bytes().to_vec());
        }
        store.commit(&writes).unwrap();
    }
    let mut writes = Writes::new();
    for n in (0..20_000).step_by(2) {
        writes.delete(Table::Log, key(n));
    }
    store.commit(&writes).unwrap();
    drop(store);
    let store = open();
    for n in 0..20_000u32 {
        let expected = (n % 2 == 1).then(|| n.to_be_bytes().to_vec());
        assert_eq!(store.get(Table::Log, &key(n)).unwrap(), expected);
    }
    let all = entries(&*store, Table::Log, b"");
    assert_eq!(all.len(), 10_000);
    assert!(all.is_sorted());
}

fn snapshots_stay_while_commits_go_on(open: &mut Opener) {
    let store = open();
    let mut writes = Writes::new();
    writes.put(Table::Meta, b"k".to_vec(), b"old".to_vec());
    writes.set_tip(b"old".to_vec());
    store.commit(&writes).unwrap();
    let snapshot = store.snapshot().unwrap();
    put(&*store, Table::Meta, b"k", b"new");
    put(&*store, Table::Meta, b"l", b"new");
    assert_eq!(snapshot.tip().unwrap().unwrap(), b"old");
    let mut writes = Writes::new();
    writes.set_tip(b"newer".to_vec());
    store.commit(&writes).unwrap();
    assert_eq!((snapshot.tip().unwrap().unwrap(), store.tip().unwrap().unwrap()), (b"old".to_vec(), b"newer".to_vec()));
    assert_eq!(snapshot.get(Table::Meta, b"k").unwrap().unwrap(), b"old");
    let moved = std::thread::spawn(move || {
        assert_eq!(entries(&*snapshot, Table::Meta, b""), [(b"k".to_vec(), b"old".to_vec())]);
        assert_eq!(snapshot.at_or_before(Table::Meta, b"z").unwrap().unwrap().0, b"k");
    });
    moved.join().unwrap();
    assert_eq!(store.get(Table::Meta, b"k").unwrap().unwrap(), b"new");
    // Reading inside a visitor is allowed.
    let nested = &mut |key: &[u8], value: &[u8]| {
        assert_eq!(store.get(Table::Meta, key).unwrap().unwrap(), value);
        ControlFlow::Continue(())
    };
    store.scan(Table::Meta, b"", nested).unwrap();
}

/// Each commit writes the same number under many keys and as the tip: no reader may ever see two different ones.
fn readers_see_whole_commits(open: &mut Opener) {
    let store = open();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let state = store.snapshot().unwrap();
                    let all = entries(&*state, Table::Log, b"");
                    let Some((_, first)) = all.first() else { continue };
                    assert_eq!((all.len(), state.tip().unwrap().as_ref()), (50, Some(first)));
                    assert!(all.iter().all(|(_, value)| value == first) && *first >= last);
                    last.clone_from(first);
                }
            });
        }
        for n in 0..200u64 {
            let mut writes = Writes::new();
            for key in 0..50u8 {
                writes.put(Table::Log, vec![key], n.to_be_bytes().to_vec());
            }
            writes.set_tip(n.to_be_bytes().to_vec());
            store.commit(&writes).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// One step of a random life.
#[derive(Clone, Debug)]
enum Deed {
    Commit(Vec<(Table, Vec<u8>, Option<Vec<u8>>)>, Option<Vec<u8>>),
    Reopen,
    Look(Table, Vec<u8>),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let table = || prop::sample::select(Table::ALL.to_vec());
    // Few and short keys meet often; some are long.
    let key = || prop_oneof![4 => vec(0..3u8, 1..4), 1 => vec(any::<u8>(), 1..KEY_BYTES_MAX)];
    let size = prop_oneof![8 => 0..64usize, 2 => 500..5000usize, 1 => 5000..60_000usize];
    let value = (size, any::<u8>()).prop_map(|(size, fill)| {
        let size = if VALUE_BYTES_AVOIDED.contains(&size) { 4097 } else { size };
        vec![fill; size]
    });
    let changes = vec((table(), key(), prop::option::weighted(0.7, value)), 0..40);
    let tip = prop::option::of(vec(any::<u8>(), 0..=TIP_BYTES_MAX));
    let commit = (changes, tip).prop_map(|(changes, tip)| Deed::Commit(changes, tip));
    let deed =
        prop_oneof![6 => commit, 1 => Just(Deed::Reopen), 4 => (table(), key()).prop_map(|(t, k)| Deed::Look(t, k))];
    vec(deed, 1..30)
}

fn random_lives_match_a_map(fresh: &mut dyn FnMut() -> Opener) {
    let fresh = std::cell::RefCell::new(fresh);
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let result = runner.run(&deeds(), |deeds| {
        let mut open = (fresh.borrow_mut())();
        live(&mut open, deeds);
        Ok(())
    });
    result.unwrap();
}

fn live(open: &mut Opener, deeds: Vec<Deed>) {
    let mut maps: [BTreeMap<Vec<u8>, Vec<u8>>; 4] = Default::default();
    let mut tip = None;
    let mut store = Some(open());
    for deed in deeds {
        let current = store.as_deref().unwrap();
        match deed {
            Deed::Commit(changes, new_tip) => {
                let mut writes = Writes::new();
                if let Some(new) = new_tip {
                    writes.set_tip(new.clone());
                    tip = Some(new);
                }
                for (table, key, value) in changes {
                    match value {
                        Some(value) => {
                            maps[table.index()].insert(key.clone(), value.clone());
                            writes.put(table, key, value);
                        }
                        None => {
                            maps[table.index()].remove(&key);
                            writes.delete(table, key);
                        }
                    }
                }
                current.commit(&writes).unwrap();
            }
            Deed::Reopen => {
                drop(store.take());
                store = Some(open());
            }
            Deed::Look(table, key) => {
                let map = &maps[table.index()];
                assert_eq!(current.tip().unwrap(), tip);
                assert_eq!(current.get(table, &key).unwrap().as_ref(), map.get(&key));
                let before = map.range(..=key.clone()).next_back().map(|(key, value)| (key.clone(), value.clone()));
                assert_eq!(current.at_or_before(table, &key).unwrap(), before);
                let after: Vec<_> = map.range(key.clone()..).map(|(key, value)| (key.clone(), value.clone())).collect();
                assert_eq!(entries(current, table, &key), after);
            }
        }
    }
    drop(store.take());
    let store = open();
    assert_eq!(store.tip().unwrap(), tip);
    for table in Table::ALL {
        let map = &maps[table.index()];
        assert_eq!(entries(&*store, table, b""), map.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(store.usage().unwrap().entries[table.index()], map.len() as u64);
    }
}
