//! A machine's life in scenes: each is one command, played with a fault in it. What must hold afterwards is the same whatever the fault was.
//!
//! Every scene but the first finds a machine that was killed with batches to recover, in a folder of its own: notes, or a counter where it is about
//! what the machine says by itself. A model knows what was acknowledged and what was shown.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use persist::folder::Lock;
use tempfile::TempDir;

use super::Harm;
use crate::abide::{
    Answer, Life, PATIENCE, Ran, abide, boot, copy_folder, example, fast_counter, finish, fixtures, place_in_memory,
    status,
};

/// One command of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// Makes the machine.
    Boot,
    /// One message to a machine that nobody runs.
    Send,
    /// One message to a machine of the first format that nobody runs, which so becomes one of the present format.
    Raise,
    /// A running machine: several messages, aborts and slices among them, and a clean stop.
    Start,
    /// A running counter that shows how far it has got.
    Count,
    /// One message to a running machine; the fault is the sender's.
    Client,
    /// A copy.
    Copy,
    /// A seed file of a machine that must be recovered first.
    Save,
    /// Every byte checked and every record executed again.
    Verify,
    /// A damaged machine made whole; not among those that a failing disk is given, which it takes for damage.
    Repair,
    /// The log, read.
    Log,
    /// Where the machine stands, read.
    Status,
}

/// Notes by name: the model of what is in a machine.
type Notes = BTreeMap<String, String>;

/// What scenes begin with.
pub(super) struct Stage {
    place: TempDir,
    notes: Notes,
    /// The last number that the counter has shown.
    shown: u64,
}

impl Stage {
    /// Lives a short life and ends it by `kill -9`.
    ///
    /// # Panics
    /// If even that fails.
    pub(super) fn new() -> Self {
        let place = place_in_memory();
        let machine = place.path().join("kept");
        boot(&machine, &example("notes/notes.wasm"), &[]);
        let mut notes = Notes::new();
        let mut live = |numbers: std::ops::Range<u32>| {
            let mut life = Life::start(&machine);
            let mut talk = life.talk(&machine);
            for number in numbers {
                assert_eq!(talk.ask(&format!("put note{number} text {number}")), "ok");
                notes.insert(format!("note{number}"), format!("text {number}"));
            }
            life
        };
        let _ = live(0..5).stop().0.ok();
        let _ = live(5..9).kill();
        let damaged = place.path().join("damaged");
        copy_folder(&machine, &damaged);
        let mut store = fs::read(damaged.join("data.mdb")).expect("a file can be read");
        store[..4096].fill(0);
        fs::write(damaged.join("data.mdb"), store).expect("a file can be written");
        // Looked at once, as every machine has been that anybody uses: LMDB's table of readers is there.
        let older = place.path().join("older");
        copy_folder(&fixtures(1).join("notes"), &older);
        let _ = status(&older);
        let counter = place.path().join("counter");
        boot(&counter, &fast_counter(place.path()), &[]);
        let mut life = Life::start(&counter);
        let first = life.line().and_then(|line| number_in(&line)).expect("a counter counts");
        let shown = first + life.kill().len() as u64;
        Self { place, notes, shown }
    }

    /// Puts into this folder what a scene finds there.
    pub(super) fn set(&self, scene: Scene, place: &Path) {
        match scene {
            Scene::Boot => {}
            Scene::Count => copy_folder(&self.place.path().join("counter"), &place.join("m")),
            Scene::Repair => copy_folder(&self.place.path().join("damaged"), &place.join("m")),
            Scene::Raise => copy_folder(&self.place.path().join("older"), &place.join("m")),
            _ => copy_folder(&self.place.path().join("kept"), &place.join("m")),
        }
    }

    /// Plays a scene in this folder, its command made into another that runs it.
    ///
    /// # Errors
    /// If it says what is wrong.
    pub(super) fn play(
        &self,
        scene: Scene,
        place: &Path,
        made: impl FnOnce(Command) -> Command,
    ) -> Result<Played, Harm> {
        let machine = place.join("m");
        let command = made(abide(scene.args(place)));
        let mut told = Told { notes: self.notes.clone(), pending: None, shown: self.shown };
        let ran = match scene {
            Scene::Start => told.converse(command, &machine)?,
            Scene::Count => told.watch(command)?,
            Scene::Client => told.send_to_running(command, &machine)?,
            Scene::Send => told.send(command)?,
            Scene::Raise => {
                told.notes = Notes::from(IN_FIXTURE.map(|(name, text)| (name.to_owned(), text.to_owned())));
                told.send(command)?
            }
            Scene::Boot => {
                told.notes.clear();
                finish(&mut { command })
            }
            _ => finish(&mut { command }),
        };
        Ok(Played { ran, told })
    }
}

impl Scene {
    /// All of them.
    pub(super) const ALL: [Self; 11] = [
        Self::Boot,
        Self::Send,
        Self::Raise,
        Self::Start,
        Self::Count,
        Self::Client,
        Self::Copy,
        Self::Save,
        Self::Verify,
        Self::Log,
        Self::Status,
    ];

    /// The command's arguments, in this folder.
    pub(super) fn args(self, place: &Path) -> Vec<OsString> {
        let at = |name: &str| place.join(name).into_os_string();
        let args = |command: &str, rest: &[OsString]| {
            std::iter::once(OsString::from(command)).chain(rest.iter().cloned()).collect::<Vec<_>>()
        };
        match self {
            Self::Boot => args("boot", &[at("m"), example("notes/notes.wasm").into_os_string()]),
            Self::Send | Self::Raise | Self::Client => {
                args("send", &[at("m"), format!("put {}", SENT.join(" ")).into()])
            }
            Self::Start | Self::Count => args("start", &[at("m")]),
            Self::Copy => args("copy", &[at("m"), at("copy")]),
            Self::Save => args("save", &[at("m.seed"), at("m")]),
            Self::Verify => args("verify", &["--replay".into(), at("m")]),
            Self::Repair => args("repair", &[at("m")]),
            Self::Log => args("log", &[at("m")]),
            Self::Status => args("status", &[at("m")]),
        }
    }

    /// The files that it uses and that have a name before it begins. Empty where it makes its own.
    pub(super) fn files(self, place: &Path) -> Vec<PathBuf> {
        match self {
            Self::Boot | Self::Copy | Self::Save => Vec::new(),
            // The last is made by a raise alone.
            _ => ["", "abide", "data.mdb", "head", "lock", "abide.new"][..if self == Self::Raise { 6 } else { 5 }]
                .iter()
                .map(|file| place.join("m").join(file))
                .collect(),
        }
    }
}

/// The note that the senders send.
const SENT: [&str; 2] = ["sent", "by send"];

/// What the notes of the first format's fixture hold.
const IN_FIXTURE: [(&str, &str); 3] = [("stopped", "cleanly before"), ("a", "one"), ("c", "three")];

/// What the outside has been told, and what it may yet be told.
pub(super) struct Told {
    notes: Notes,
    /// A put whose answer never came.
    pending: Option<(String, String)>,
    /// The last number that was shown.
    shown: u64,
}

/// So many lines of a counter are waited for.
const LINES: usize = 4;

/// The number in a counter's line.
pub(super) fn number_in(line: &str) -> Option<u64> {
    line.strip_prefix("counter is at ")?.parse().ok()
}

impl Told {
    fn send(&mut self, mut command: Command) -> Result<Ran, Harm> {
        let [name, text] = SENT.map(str::to_owned);
        let ran = finish(&mut command);
        match (ran.out.as_slice(), ran.status.code()) {
            (b"ok\n", _) => drop(self.notes.insert(name, text)),
            (b"", Some(0)) => return Err(Harm::Wrong(format!("no answer and no error: {ran}"))),
            (b"", _) => self.pending = Some((name, text)),
            _ => return Err(Harm::Wrong(format!("a wrong answer: {ran}"))),
        }
        Ok(ran)
    }

    fn send_to_running(&mut self, command: Command, machine: &Path) -> Result<Ran, Harm> {
        let mut life = Life::start(machine);
        drop(life.talk(machine));
        let ran = self.send(command)?;
        let listed = life.talk(machine).ask("list");
        self.compare(&listed, &Notes::new())?;
        let _ = life.stop().0.ok();
        Ok(ran)
    }

    fn converse(&mut self, command: Command, machine: &Path) -> Result<Ran, Harm> {
        let said = |text: &str| Answer::Said(text.to_owned());
        let aborted = |answer: &Answer| matches!(answer, Answer::Refused(2, _));
        let mut life = Life::of(command);
        let mut talk = life.talk_unless_ended(machine);
        for (name, text) in [("one", "first"), ("test", "trap"), ("two", "second"), ("test", "slices 2"), ("note0", "")]
        {
            let Some(line) = &mut talk else { break };
            let payload = if name == "test" { format!("test {text}") } else { format!("put {name} {text}") };
            match line.say(&payload, &payload) {
                Ok(answer) if name != "test" && answer == said("ok") => {
                    self.notes.insert(name.to_owned(), text.to_owned());
                }
                Ok(answer) if text == "trap" && aborted(&answer) => {}
                Ok(answer) if text == "slices 2" && answer == said("done in 2 slices") => {}
                Ok(answer) => return Err(Harm::Wrong(format!("a wrong answer to {payload:?}: {answer:?}"))),
                Err(_) => {
                    self.pending = (name != "test").then(|| (name.to_owned(), text.to_owned()));
                    break;
                }
            }
        }
        drop(talk);
        Ok(if life.is_running() { life.stop().0 } else { life.end().0 })
    }

    fn watch(&mut self, command: Command) -> Result<Ran, Harm> {
        let mut life = Life::of(command);
        let mut lines: Vec<String> = std::iter::from_fn(|| life.line()).take(LINES).collect();
        let (ran, rest) = if life.is_running() { life.stop() } else { life.end() };
        lines.extend(rest);
        let numbers: Option<Vec<u64>> = lines.iter().map(|line| number_in(line)).collect();
        let is_right = |numbers: &Vec<u64>| {
            numbers.first().is_none_or(|first| (1..=self.shown + 1).contains(first))
                && numbers.windows(2).all(|two| two[0] + 1 == two[1])
        };
        match numbers.filter(is_right) {
            Some(numbers) => self.shown = numbers.into_iter().fold(self.shown, u64::max),
            None => return Err(Harm::Wrong(format!("after {} was shown: {lines:?}", self.shown))),
        }
        Ok(ran)
    }

    /// Whether a list holds what was acknowledged, what may have been, and what was put in since.
    fn compare(&self, listed: &str, since: &Notes) -> Result<(), Harm> {
        let listed: Notes = listed
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect();
        let mut acknowledged = self.notes.clone();
        acknowledged.extend(since.clone());
        let mut with_pending = acknowledged.clone();
        with_pending.extend(self.pending.clone());
        if listed == acknowledged || listed == with_pending {
            return Ok(());
        }
        let missing = acknowledged.iter().filter(|(name, _)| {
            let is_pending = self.pending.as_ref().is_some_and(|(pending, _)| pending == *name);
            !is_pending && !listed.contains_key(*name)
        });
        let text = format!("{acknowledged:?} was acknowledged, then {:?} sent; there is {listed:?}", self.pending);
        Err(if missing.count() > 0 { Harm::Lost(text) } else { Harm::Wrong(text) })
    }
}

/// What became of a scene.
pub(super) struct Played {
    /// Its command.
    pub(super) ran: Ran,
    /// What the outside knows.
    told: Told,
}

impl Played {
    /// Judges what a command has said: it did what it was to do, or it says what it attempted and why it failed, and ends with exit code 1 or 3.
    ///
    /// # Errors
    /// If it says less, or not what `says` looks for.
    pub(super) fn says_what_failed(&self, place: &Path, says: impl Fn(&str) -> bool) -> Result<(), Harm> {
        let error = self.ran.err.split_once("error: ").map(|(_, error)| error);
        let names_it = |error: &str| error.contains(&*place.to_string_lossy()) && error.contains("caused by: ");
        match (self.ran.status.code(), error) {
            (Some(0), None) => Ok(()),
            (Some(1 | 3), Some(error)) if names_it(error) && says(error) => Ok(()),
            _ => Err(Harm::Wrong(format!("does not say what failed: {}", self.ran))),
        }
    }

    /// Whether a fault that may only cost time has cost nothing else.
    ///
    /// # Errors
    /// If it has.
    pub(super) fn is_as_without_a_fault(&self) -> Result<(), Harm> {
        let is_well = self.ran.status.success() && self.told.pending.is_none() && !self.ran.err.contains("error: ");
        if is_well { Ok(()) } else { Err(Harm::Wrong(format!("fails for want of time: {}", self.ran))) }
    }

    /// Whether a command that has ended by itself has taken away what it was making.
    ///
    /// # Errors
    /// If not.
    pub(super) fn leaves_nothing_in_the_making(&self, place: &Path) -> Result<(), Harm> {
        let names = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let left: Vec<_> = names.filter(|name| name.as_encoded_bytes().starts_with(b".")).collect();
        if left.is_empty() { Ok(()) } else { Err(Harm::Wrong(format!("leaves {left:?} behind: {}", self.ran))) }
    }

    /// Judges what a scene has left behind, without a fault: everything that was acknowledged is there, nothing else is, and it goes on.
    ///
    /// # Errors
    /// If not.
    pub(super) fn judge(&self, scene: Scene, place: &Path) -> Result<(), Harm> {
        let machine = place.join("m");
        match scene {
            Scene::Boot => {
                self.made(&machine)?;
                if !machine.exists() {
                    let _ = expect_ok(scene.args(place))?;
                }
            }
            Scene::Copy => {
                let copy = place.join("copy");
                self.made(&copy)?;
                if copy.exists() {
                    self.is_whole(&copy)?;
                    fs::remove_dir_all(&copy).map_err(|error| Harm::Wrong(error.to_string()))?;
                }
                let _ = expect_ok(scene.args(place))?;
                self.is_whole(&copy)?;
            }
            Scene::Save => {
                let (seed, booted) = (place.join("m.seed"), place.join("booted"));
                self.made(&seed)?;
                if !seed.exists() {
                    let _ = expect_ok(scene.args(place))?;
                }
                let _ = expect_ok([OsStr::new("boot"), booted.as_os_str(), seed.as_os_str()])?;
                self.is_whole(&booted)?;
            }
            Scene::Count => return self.counts_on(&machine),
            Scene::Repair => {
                wait_until_free(&machine)?;
                let _ = expect_ok(scene.args(place))?;
                self.keeps_the_damaged(place)?;
            }
            _ => {}
        }
        self.is_whole(&machine)?;
        match scene {
            Scene::Boot | Scene::Copy | Scene::Save | Scene::Repair => nothing_left_over(place),
            _ => Ok(()),
        }
    }

    /// Who says that it has made something has.
    fn made(&self, what: &Path) -> Result<(), Harm> {
        if self.ran.status.success() && !what.exists() {
            return Err(Harm::Lost(format!("{} was made and is not there: {}", what.display(), self.ran)));
        }
        Ok(())
    }

    /// A machine starts without further ado, is what it should be, takes another message, and is whole.
    fn is_whole(&self, machine: &Path) -> Result<(), Harm> {
        let send = |payload: &str| expect_ok([OsStr::new("send"), machine.as_os_str(), OsStr::new(payload)]);
        let answer = send("put after the fault")?;
        if answer != "ok\n" {
            return Err(Harm::Wrong(format!("a machine that goes on answers {answer:?}")));
        }
        let since = Notes::from([("after".to_owned(), "the fault".to_owned())]);
        self.told.compare(&send("list")?, &since)?;
        verified(machine)
    }

    /// Beside a repaired machine the damaged one is there, once, as it was.
    fn keeps_the_damaged(&self, place: &Path) -> Result<(), Harm> {
        let is_damaged = |store: Vec<u8>| store.len() > 4096 && store[..4096].iter().all(|byte| *byte == 0);
        match fs::read(place.join("m.damaged").join("data.mdb")).map(is_damaged) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Harm::Wrong(format!("m.damaged is not the damaged machine: {}", self.ran))),
            Err(error) => Err(Harm::Lost(format!("the damaged machine is not kept: {error}: {}", self.ran))),
        }
    }

    /// A counter has counted at least as far as it has shown, and is whole.
    fn counts_on(&self, machine: &Path) -> Result<(), Harm> {
        let answer = expect_ok([OsStr::new("send"), machine.as_os_str(), OsStr::new("")])?;
        match answer.trim_end().parse::<u64>() {
            Ok(count) if count >= self.told.shown => verified(machine),
            Ok(count) => Err(Harm::Lost(format!("{} was shown, the machine is at {count}", self.told.shown))),
            Err(_) => Err(Harm::Wrong(format!("a counter answers {answer:?}"))),
        }
    }
}

/// Waits until nobody has a machine: a process that was killed while it was starting another has lent it its lock until that is another program.
fn wait_until_free(machine: &Path) -> Result<(), Harm> {
    let begun = Instant::now();
    while let Ok(Some(holder)) = Lock::holder(machine) {
        if begun.elapsed() > PATIENCE {
            return Err(Harm::Wrong(format!("{} is held by {holder}, which was killed", machine.display())));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Every byte checked, every record executed again.
fn verified(machine: &Path) -> Result<(), Harm> {
    let verify = ["verify", "--depth", "full", "--replay"].map(OsStr::new);
    expect_ok(verify.into_iter().chain([machine.as_os_str()])).map(drop)
}

/// What a command prints, if it succeeds.
pub(super) fn expect_ok<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Result<String, Harm> {
    let ran = finish(&mut abide(args));
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.out).into_owned());
    }
    Err(Harm::Wrong(format!("fails after the fault, without one: {ran}")))
}

/// What a killed command has left under names of its own is gone after the next one.
fn nothing_left_over(place: &Path) -> Result<(), Harm> {
    let again = place.join("again");
    let _ = expect_ok([OsStr::new("boot"), again.as_os_str(), example("notes/notes.wasm").as_os_str()])?;
    let names = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let known = ["m", "m.seed", "m.damaged", "copy", "booted", "again", "trace"].map(OsStr::new);
    let left: Vec<OsString> = names.filter(|name| !known.contains(&name.as_os_str())).collect();
    if left.is_empty() { Ok(()) } else { Err(Harm::Wrong(format!("left behind: {left:?}"))) }
}
