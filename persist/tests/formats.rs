//! Stores of older formats: they are read as they are, and the first commit makes them ones of the present format, at once or not at all.
//!
//! The older stores are made here from docs/format.md, byte for byte, and not by the code that reads them.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside `#[test]` functions")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use persist::branch::Branch;
use persist::head::{Head, HeadFile};
use persist::journal::{AppendError, Commit, Journal, JournalError, Start, each_batch};
use persist::machine::{Machine, MachineError, Reading};
use persist::objects::Framer;
use persist::salvage::Salvage;
use persist::salvage::survey::Survey;
use persist::store::lmdb::{LmdbStore, Options};
use persist::store::model::{CommitFault, ModelDisk};
use persist::store::{CommitError, Reader, Store, Table, Writes};
use seed::record::{Batch, Epoch, OutputsHash, Record, Sealed};
use seed::{Domain, Id, Nanos, Seq};

/// Batches of one record each in an older store.
const BATCHES: u64 = 3;

fn batch(first: u64, previous: Option<Id>) -> Sealed {
    let image = Id::of(Domain::Object, b"no image");
    let epoch = Epoch {
        number: 0,
        machine: [1; 16],
        incarnation: [2; 16],
        engine: "none".to_owned(),
        preparation: 0,
        host: [3; 16],
        device: 4,
        inode: 5,
        image,
    };
    let step = Record::Step { input: vec![9; 10], cost: Nanos(1), key: vec![] };
    let records = vec![if first == 0 { Record::Epoch(epoch) } else { step }];
    let outputs = OutputsHash::default().finish();
    Batch { first: Seq(first), time: Nanos(first), records, outputs, root: image, previous }.seal()
}

/// Fills a new store with what a version that wrote format 1 left.
fn write_format_1(store: &dyn Store) -> Branch {
    let framer = Framer::new().unwrap();
    let mut branch: Option<Branch> = None;
    for first in 0..BATCHES {
        let batch = batch(first, branch.as_ref().map(|branch| branch.batch));
        let next = Branch::after(branch.as_ref(), &batch, batch.id(), first == 0).unwrap();
        let mut writes = Writes::new();
        if first == 0 {
            writes.put(Table::Meta, b"format".to_vec(), vec![1]);
        }
        let key = [&[0; 4][..], &first.to_be_bytes()].concat();
        writes.put(Table::Log, key, framer.frame(Domain::Object, batch.encoding()));
        writes.put(Table::Branches, b"main".to_vec(), next.encode());
        store.commit(&writes).unwrap();
        branch = Some(next);
    }
    branch.unwrap()
}

/// What says which format a store has: its number, whether the record of its branch is in the table of branches, whether it is the tip.
fn shape(reader: &dyn Reader) -> (Vec<u8>, bool, bool) {
    let format = reader.get(Table::Meta, b"format").unwrap().unwrap();
    let listed = reader.get(Table::Branches, b"main").unwrap().unwrap();
    (format, !listed.is_empty(), reader.tip().unwrap().is_some())
}

fn format_1() -> (Vec<u8>, bool, bool) {
    (vec![1], true, false)
}

fn format_2() -> (Vec<u8>, bool, bool) {
    (vec![2], false, true)
}

/// The next batch of a branch.
fn next(branch: &Branch) -> Commit {
    Commit { batch: batch(branch.end.0, Some(branch.batch)), checkpoint: None }
}

fn count_batches(reader: &dyn Reader, branch: &Branch) -> usize {
    let mut count = 0;
    let each = &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    };
    each_batch(reader, branch, Start::At(Seq(0)), each).unwrap();
    count
}

/// Reads a store of format 1, appends to it twice, and reads it again.
fn go_on(open: &mut dyn FnMut() -> Arc<dyn Store>) {
    let store = open();
    let branch = write_format_1(store.as_ref());
    drop(store);
    let mut journal = Journal::open(open()).unwrap();
    assert_eq!(journal.branch(), Some(&branch));
    assert_eq!(journal.since_checkpoint().unwrap().len(), 2);
    assert_eq!(shape(journal.store().as_ref()), format_1(), "nothing was written");
    let branch = journal.append(&next(&branch)).unwrap().clone();
    assert_eq!(shape(journal.store().as_ref()), format_2());
    let branch = journal.append(&next(&branch)).unwrap().clone();
    drop(journal);
    let journal = Journal::open(open()).unwrap();
    assert_eq!(journal.branch(), Some(&branch));
    assert_eq!(count_batches(journal.store().as_ref(), &branch), 5);
    assert_eq!(journal.store().usage().unwrap().entries, [1, 1, 5, 0]);
}

#[test]
fn a_store_of_format_1_is_read_as_it_is_and_goes_on_in_the_present_one() {
    let disk = ModelDisk::new(1);
    go_on(&mut || Arc::new(disk.open()));
    let folder = tempfile::tempdir().unwrap();
    drop(LmdbStore::create(folder.path(), &Options::default()).unwrap());
    go_on(&mut || Arc::new(LmdbStore::open(folder.path(), &Options::default()).unwrap()));
}

/// Every commit of a life that begins in format 1 fails in every way, and so does every read: what is there afterwards is of one format or of the other, whole.
#[test]
fn no_fault_leaves_a_store_between_two_formats() {
    let live = |disk: &ModelDisk| -> Result<(), Option<AppendError>> {
        let mut journal = Journal::open(Arc::new(disk.open())).map_err(|_| None)?;
        for _ in 0..3 {
            let commit = next(journal.branch().unwrap());
            journal.append(&commit)?;
        }
        Ok(())
    };
    let older = || {
        let disk = ModelDisk::new(1);
        write_format_1(&disk.open());
        disk
    };
    let disk = older();
    let before = disk.counts();
    live(&disk).unwrap();
    let after = disk.counts();
    assert_eq!(after.commits - before.commits, 3);
    for number in before.commits..after.commits {
        for fault in [CommitFault::NotDone, CommitFault::UnknownDone, CommitFault::UnknownNotDone] {
            let disk = older();
            disk.fail_commit(number, fault);
            let error = live(&disk).unwrap_err().unwrap();
            let AppendError::Commit { source, .. } = &error else { panic!("{error}") };
            assert_eq!(matches!(source, CommitError::NotDone { .. }), fault == CommitFault::NotDone);
            disk.cut_power();
            let done = number - before.commits + u64::from(fault == CommitFault::UnknownDone);
            let store = disk.open();
            assert_eq!(shape(&store), if done == 0 { format_1() } else { format_2() }, "{number} {fault:?}");
            let journal = Journal::open(Arc::new(store)).unwrap();
            let branch = journal.branch().unwrap();
            assert_eq!(branch.end, Seq(BATCHES + done));
            assert_eq!(count_batches(journal.store().as_ref(), branch) as u64, BATCHES + done);
            live(&disk).unwrap();
        }
    }
    for number in before.reads..after.reads {
        let disk = older();
        disk.fail_read(number);
        assert!(matches!(live(&disk), Err(None)), "read {number} is of the opening");
        assert_eq!(shape(&disk.open()), format_1());
        live(&disk).unwrap();
    }
}

/// A record where the format does not have it is damage, never an older or another machine: a flipped number of the format, a lost tip, or an old record that
/// has come back.
#[test]
fn a_record_that_is_not_where_its_format_has_it_is_damage() {
    let open = |disk: &ModelDisk| Journal::open(Arc::new(disk.open())).map(drop);
    let is_astray = |result: Result<(), JournalError>| match result {
        Err(error) => error.is_damage() && matches!(error, JournalError::Record { .. }),
        Ok(()) => false,
    };
    for format in [1, 2] {
        let disk = ModelDisk::new(1);
        let branch = write_format_1(&disk.open());
        if format == 2 {
            Journal::open(Arc::new(disk.open())).unwrap().append(&next(&branch)).unwrap();
        }
        open(&disk).unwrap();
        disk.overwrite(Table::Meta, b"format", &[3 - format]);
        assert!(is_astray(open(&disk)), "format {format} under the other's number");
        for unknown in [0, 3] {
            disk.overwrite(Table::Meta, b"format", &[unknown]);
            let newer = format!("the store has format {unknown}; this version reads formats up to 2");
            assert_eq!(open(&disk).unwrap_err().to_string(), newer);
        }
        disk.overwrite(Table::Meta, b"format", &[format, 0]);
        assert!(open(&disk).unwrap_err().is_damage(), "nothing comes after the number");
        disk.overwrite(Table::Meta, b"format", &[format]);
        open(&disk).unwrap();
        disk.overwrite(Table::Branches, b"main", if format == 1 { &[] } else { b"a record" });
        assert!(is_astray(open(&disk)));
        disk.overwrite(Table::Branches, b"main", if format == 1 { b"a record" } else { &[] });
        assert_eq!(open(&disk).is_ok(), format == 2);
        if format == 2 {
            assert!(disk.flip_tip_bit(100));
            assert!(matches!(open(&disk), Err(JournalError::Branch { .. })));
            assert!(disk.lose_tip());
            assert!(is_astray(open(&disk)));
        }
        assert!(disk.lose(Table::Branches, b"main"));
        assert!(matches!(open(&disk), Err(error) if error.is_damage()));
    }
}

/// A folder as a version left it that wrote format 1.
fn folder_1(place: &Path) -> Branch {
    fs::create_dir(place).unwrap();
    fs::write(place.join("abide"), "abide machine 1\n").unwrap();
    let store = LmdbStore::create(place, &Options::default()).unwrap();
    let branch = write_format_1(&store);
    let (batch, root) = (branch.batch.as_bytes().to_vec(), branch.root.as_bytes().to_vec());
    HeadFile::create(place, &Head { counter: branch.end.0, seq: branch.end.0, batch, root }).unwrap();
    branch
}

fn folder_version(machine: &Path) -> String {
    fs::read_to_string(machine.join("abide")).unwrap()
}

fn store_shape(machine: &Path) -> (Vec<u8>, bool, bool) {
    shape(&LmdbStore::open_read_only(machine, &Options::default()).unwrap())
}

#[test]
fn a_machine_of_format_1_stays_so_until_it_is_appended_to() {
    let place = tempfile::tempdir().unwrap();
    let (machine, copy) = (place.path().join("m"), place.path().join("copy"));
    let branch = folder_1(&machine);
    let reading = Reading::open(&machine).unwrap();
    assert_eq!(reading.branch(), &branch);
    reading.copy(&copy, 1).unwrap();
    drop(reading);
    let opened = Machine::open(&machine).unwrap();
    assert_eq!(opened.since_checkpoint().unwrap().len(), 2);
    drop(opened);
    assert_eq!((folder_version(&machine).as_str(), store_shape(&machine)), ("abide machine 1\n", format_1()));
    // A copy is a new folder, with the store as it is: the state between raising the folder and the first commit.
    assert_eq!((folder_version(&copy).as_str(), store_shape(&copy)), ("abide machine 2\n", format_1()));
    for machine in [&machine, &copy] {
        let mut opened = Machine::open(machine).unwrap();
        let end = opened.append(&next(&branch)).unwrap().end;
        drop(opened);
        assert_eq!((folder_version(machine).as_str(), store_shape(machine)), ("abide machine 2\n", format_2()));
        assert_eq!(Reading::open(machine).unwrap().branch().end, end);
        assert_eq!(Machine::open(machine).unwrap().branch().end, end);
    }
}

/// What cannot be raised is not written to: an older version of abide would take what it finds for damage.
#[test]
fn a_folder_that_cannot_be_raised_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let machine = place.path().join("m");
    let branch = folder_1(&machine);
    fs::create_dir(machine.join("abide.new")).unwrap();
    let mut opened = Machine::open(&machine).unwrap();
    let error = opened.append(&next(&branch)).unwrap_err();
    assert!(matches!(&error, AppendError::Folder(_)) && !error.is_damage());
    assert!(error.to_string().ends_with("to format version 2"), "{error}");
    drop(opened);
    assert_eq!((folder_version(&machine).as_str(), store_shape(&machine)), ("abide machine 1\n", format_1()));
    fs::remove_dir(machine.join("abide.new")).unwrap();
    Machine::open(&machine).unwrap().append(&next(&branch)).unwrap();
}

/// The head file still tells an older state from the present one when the record of the branch has moved.
#[test]
fn an_older_store_is_damage_in_either_format() {
    let place = tempfile::tempdir().unwrap();
    let machine = place.path().join("m");
    let mut branch = folder_1(&machine);
    let old = fs::read(machine.join("data.mdb")).unwrap();
    let mut states = vec![old];
    for _ in 0..2 {
        branch = Machine::open(&machine).unwrap().append(&next(&branch)).unwrap().clone();
        states.push(fs::read(machine.join("data.mdb")).unwrap());
    }
    for state in &states[..2] {
        fs::write(machine.join("data.mdb"), state).unwrap();
        assert!(matches!(Reading::open(&machine), Err(MachineError::Older { .. })));
        assert!(matches!(Machine::open(&machine), Err(MachineError::Older { .. })));
    }
    fs::write(machine.join("data.mdb"), &states[2]).unwrap();
    assert_eq!(Reading::open(&machine).unwrap().branch(), &branch);
}

/// What a repair starts from: where a machine stood is found by its record, in either format, also when the head file is gone.
#[test]
fn a_salvage_finds_the_record_in_either_format() {
    let place = tempfile::tempdir().unwrap();
    let machine = place.path().join("m");
    let mut branch = folder_1(&machine);
    for round in 0..3 {
        fs::rename(machine.join("head"), place.path().join("head")).unwrap();
        let survey = Survey::of(&mut Salvage::open(&machine, &mut |_, _| ()).unwrap());
        assert_eq!((survey.goal.unwrap().end, survey.history()), (branch.end, branch.end), "round {round}");
        fs::rename(place.path().join("head"), machine.join("head")).unwrap();
        branch = Machine::open(&machine).unwrap().append(&next(&branch)).unwrap().clone();
    }
}
