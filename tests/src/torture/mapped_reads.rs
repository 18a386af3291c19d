//! A disk that cannot read some blocks of a machine's store, once or from then on. LMDB reads through a map, where that is no error but a signal: the
//! command goes on or ends with exit code 1 or 3 and names the machine, nothing wrong is said, and when the disk can read again everything is there.

use std::collections::BTreeSet;
use std::fs;
use std::iter;
use std::ops::Range;
use std::path::Path;

use super::blocklog::{Blocks, Disk, Disks, Mounted, Unreadable};
use super::rounds::{sweep, telling};
use super::scenes::{Scene, Stage, expect_ok};
use super::{Effort, Harm, Row, Tally};
use crate::abide::{Answer, Life, Ran, boot, example, verify};
use crate::sim::random::Random;

/// A round is each page of the store, in each scene of a life, once and from then on.
pub const ROW: Row =
    Row { name: "mapped-reads", fault: "pages of the store that cannot be read, once and from then on", in_ci: 1, run };

const SIZE: u64 = 64 << 20;
/// Its blocks are as large as the store's pages, so that one can be told from another.
const FORMAT: [&str; 7] =
    ["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"];
const PAGE: usize = 4096;

const SCENES: [Scene; 8] =
    [Scene::Send, Scene::Start, Scene::Count, Scene::Copy, Scene::Save, Scene::Verify, Scene::Log, Scene::Status];

/// The tests take one of so many.
const SAMPLE: u64 = 12;

/// What is on a disk before a scene, and the pages of the machine's store.
struct Prepared {
    /// None for a machine that runs by the time the disk fails, and is so large that most of it is read only when it is wanted.
    scene: Option<Scene>,
    blocks: Blocks,
    store: Vec<u8>,
    /// The notes of a large machine.
    listed: String,
}

#[derive(Clone)]
struct Fault<'a> {
    prepared: &'a Prepared,
    pages: Range<usize>,
    how: Unreadable,
}

/// A large machine: so many notes of this many digits, and so many pages that fail at a time.
const NOTES: usize = 30;
const DIGITS: usize = 30_000;
const PAGES_AT_ONCE: usize = 96;

fn run(effort: &Effort) -> Tally {
    let disks = match Disks::open() {
        Ok(disks) => disks,
        Err(why) => return Tally::not_run(why),
    };
    let stage = Stage::new();
    let scenes = SCENES.map(Some).into_iter().chain([None]);
    let prepared: Result<Vec<Prepared>, String> = scenes.map(|scene| prepare(&disks, &stage, scene)).collect();
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(why) => return Tally::not_run(why),
    };
    let mut random = Random::new(effort.seed);
    let mut faults: Vec<Fault<'_>> = prepared.iter().flat_map(faults_of).collect();
    faults.retain(|fault| effort.until.is_some() || fault.pages.len() > 1 || random.one_in(SAMPLE));
    sweep(effort, &faults, |fault| {
        let Fault { prepared: Prepared { scene, .. }, pages, how } = fault;
        let what = scene.map_or_else(|| "a machine that runs".to_owned(), |scene| format!("{scene:?}"));
        let outcome = telling(&format!("{what}, pages {pages:?} unreadable ({how:?})"), || {
            let disk = disks.disk(SIZE, fault.prepared.blocks.clone());
            let mounted = disk.mount("ext4").map_err(Harm::Wrong)?;
            match scene {
                Some(scene) => unreadable(&stage, *scene, fault, &mounted),
                None => unreadable_late(fault, &mounted),
            }
        });
        match outcome {
            Ok(0) => None,
            outcome => Some(outcome.map(drop)),
        }
    })
}

fn prepare(disks: &Disks, stage: &Stage, scene: Option<Scene>) -> Result<Prepared, String> {
    let disk = disks.disk(SIZE, Blocks::default());
    disk.treat(&FORMAT)?;
    let mounted = disk.mount("ext4")?;
    let place = mounted.path().join("place");
    fs::create_dir(&place).map_err(|error| error.to_string())?;
    let machine = place.join("m");
    let listed = match scene {
        Some(scene) => {
            stage.set(scene, &place);
            String::new()
        }
        None => make_large(&machine),
    };
    let store = fs::read(machine.join("data.mdb")).map_err(|error| error.to_string())?;
    // All of it reaches the disk, and nothing of it stays in memory.
    drop(mounted);
    Ok(Prepared { scene, blocks: disk.blocks(), store, listed })
}

fn make_large(machine: &Path) -> String {
    boot(machine, &example("notes/notes.wasm"), &[]);
    let mut life = Life::start(machine);
    let mut talk = life.talk(machine);
    let mut random = Random::new(1);
    for number in 0..NOTES {
        let text: String = (0..DIGITS / 16).map(|_| format!("{:016x}", random.number())).collect();
        assert_eq!(talk.ask(&format!("put early{number:03} {text}")), "ok");
    }
    let listed = talk.ask("list");
    let _ = life.stop().0.ok();
    listed
}

fn faults_of(prepared: &Prepared) -> Vec<Fault<'_>> {
    let count = prepared.store.len() / PAGE;
    let at_once = if prepared.scene.is_some() { 1 } else { PAGES_AT_ONCE };
    let ranges = (0..count).step_by(at_once).map(|first| first..count.min(first + at_once)).chain(iter::once(0..count));
    let each = |pages: Range<usize>| [Unreadable::Once, Unreadable::Always].map(|how| (pages.clone(), how));
    ranges.flat_map(each).map(|(pages, how)| Fault { prepared, pages, how }).collect()
}

impl Fault<'_> {
    fn inject(&self, disk: &Disk<'_>) {
        let pages: BTreeSet<&[u8]> =
            self.prepared.store.chunks(PAGE).skip(self.pages.start).take(self.pages.len()).collect();
        let pages: Vec<&[u8]> = pages.into_iter().filter(|page| page.iter().any(|byte| *byte != 0)).collect();
        let _ = disk.fail_to_read(&pages, self.how);
    }
}

/// Plays a scene with the fault in it. How many reads have failed.
fn unreadable(stage: &Stage, scene: Scene, fault: &Fault<'_>, mounted: &Mounted<'_>) -> Result<u64, Harm> {
    let place = mounted.path().join("place");
    fault.inject(mounted.disk());
    let played = stage.play(scene, &place, |command| command)?;
    let failed = mounted.disk().be_good();
    names_it(&played.ran, &place)?;
    played.judge(scene, &place)?;
    Ok(failed)
}

/// A machine that runs already, and is then asked for what is on those pages. How many reads have failed.
fn unreadable_late(fault: &Fault<'_>, mounted: &Mounted<'_>) -> Result<u64, Harm> {
    let machine = mounted.path().join("place/m");
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    fault.inject(mounted.disk());
    let mut expected: Vec<&str> = fault.prepared.listed.lines().collect();
    let late = [0, 1, 2].map(|number| format!("late{number} text"));
    let mut is_pending = false;
    for note in &late {
        match talk.say("", &format!("put {note}")) {
            Ok(Answer::Said(answer)) if answer == "ok" => expected.push(note),
            Ok(answer) => return Err(Harm::Wrong(format!("a wrong answer: {answer:?}"))),
            Err(_) => {
                is_pending = true;
                break;
            }
        }
        // Reads everything.
        match talk.say("", "list") {
            Ok(Answer::Said(listed)) if listed.lines().eq(expected.iter().copied()) => {}
            Ok(_) => return Err(Harm::Wrong("a list of what is not there".to_owned())),
            Err(_) => break,
        }
    }
    drop(talk);
    let ran = if life.is_running() { life.stop().0 } else { life.end().0 };
    let failed = mounted.disk().be_good();
    names_it(&ran, &machine)?;
    let listed = expect_ok(["send".as_ref(), machine.as_os_str(), "list".as_ref()])?;
    let listed: Vec<&str> = listed.lines().collect();
    if !listed.starts_with(&expected) {
        return Err(Harm::Lost(format!("not all that was acknowledged: {ran}")));
    }
    let pending = late.get(expected.len() - fault.prepared.listed.lines().count()).filter(|_| is_pending);
    if !listed[expected.len()..].iter().all(|line| pending.is_some_and(|pending| line == pending)) {
        return Err(Harm::Wrong(format!("more than was ever said: {ran}")));
    }
    let _ = verify(&machine);
    Ok(failed)
}

/// A command goes on, or says which machine it is that cannot be read and what to do.
fn names_it(ran: &Ran, place: &Path) -> Result<(), Harm> {
    let error = ran.err.split_once("error: ").map(|(_, error)| error);
    let is_named = |error: &str| error.contains(&*place.to_string_lossy()) && error.contains("hint: ");
    match (ran.status.code(), error) {
        (Some(0), None) => Ok(()),
        (Some(1 | 3), Some(error)) if is_named(error) => Ok(()),
        _ => Err(Harm::Wrong(format!("does not say what cannot be read: {ran}"))),
    }
}
