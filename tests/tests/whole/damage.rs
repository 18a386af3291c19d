//! Promise 5: whatever is done to the files of a machine, every command works with right answers or ends with exit code 3 and says what is
//! broken (1 where a folder is no machine any more). Never a wrong answer, never a signal, never a panic.
//!
//! `ABIDE_DAMAGE=all` flips every byte and cuts at every length instead of a sample, and asks the two commands that read the most.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use serde_json::Value as Json;
use tempfile::TempDir;
use tests::abide::{Life, Ran, Talk, abide, boot, copy_folder, example, finish, place_in_memory};
use tests::not_run;
use tests::sim::random::Random;

const STORE: &str = "data.mdb";
pub(crate) const FILES: [&str; 5] = ["abide", STORE, "head", "lock", "lock.mdb"];
pub(crate) const PAGE: usize = 4096;
/// Test threads of their own would say nothing of which damage they looked at.
const THREADS: usize = 2;

/// A small machine that was killed with batches to recover, and what its commands say.
struct Patient {
    place: TempDir,
    answers: Answers,
}

/// What commands answer for the machine as it is.
struct Answers {
    status: Json,
    log: String,
    record: String,
    image: String,
    list: String,
    verified: Json,
}

impl Patient {
    fn new() -> Self {
        let place = place_in_memory();
        let machine = place.path().join("m");
        boot(&machine, &example("notes/notes.wasm"), &[]);
        let live = |lines: Range<u32>| {
            let mut life = Life::start(&machine);
            let mut talk = life.talk(&machine);
            for number in lines {
                assert_eq!(talk.ask(&format!("put note{number} text {number}")), "ok");
            }
            life
        };
        let _ = live(0..5).stop().0.ok();
        copy_folder(&machine, &place.path().join("older"));
        let _ = live(5..9).kill();
        copy_folder(&machine, &place.path().join("kept"));
        let answer = |args: &[&str]| command(&machine, args).ok();
        let json = |text: String| serde_json::from_str(&text).unwrap();
        let answers = Answers {
            status: facts(json(answer(&["status", "m", "--json"]))),
            log: answer(&["log", "m", "--json"]),
            record: answer(&["show", "m@3"]),
            image: answer(&["show", "m"]),
            verified: facts(json(answer(&["verify", "m", "--json"]))),
            list: answer(&["send", "m", "list"]),
        };
        assert_eq!(answers.list.lines().count(), 9);
        Self { place, answers }
    }

    fn kept(&self) -> PathBuf {
        self.place.path().join("kept")
    }
}

/// A command in the folder that holds the machine, so that its answers do not depend on where that is.
fn command(machine: &Path, args: &[&str]) -> Ran {
    let ran = finish(abide(args).current_dir(machine.parent().unwrap()));
    assert!(ran.status.code().is_some(), "ended by a signal: {ran}");
    ran
}

/// What `status` and `verify` say of the machine; not of the host, nor of how its store is laid out.
fn facts(json: Json) -> Json {
    let names =
        ["machine", "incarnation", "epoch", "end", "root", "batch", "time_ns", "checkpoint", "grants", "records"];
    names.iter().map(|name| json[*name].clone()).collect()
}

/// Something done to a folder.
#[derive(Debug, Clone)]
enum Damage {
    Flip {
        file: &'static str,
        at: usize,
        mask: u8,
    },
    Cut {
        file: &'static str,
        length: usize,
    },
    Extend {
        file: &'static str,
        by: usize,
    },
    Delete(Vec<&'static str>),
    /// A page of the store is zeros.
    Blank {
        page: usize,
    },
    /// A page of the store lies in another's place.
    Misplace {
        page: usize,
        over: usize,
    },
    /// A page of the store is as it was in another folder's.
    Stale {
        page: usize,
        from: PathBuf,
    },
    /// Another folder's file in the place of this one's.
    Replace {
        file: &'static str,
        from: PathBuf,
    },
}

fn span(page: usize) -> Range<usize> {
    page * PAGE..(page + 1) * PAGE
}

impl Damage {
    fn inflict(&self, machine: &Path) -> io::Result<()> {
        let change = |file: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = fs::read(machine.join(file))?;
            change(&mut bytes);
            fs::write(machine.join(file), bytes)
        };
        match self {
            Self::Flip { file, at, mask } => change(file, &|bytes| bytes[*at] ^= mask),
            Self::Cut { file, length } => change(file, &|bytes| bytes.truncate(*length)),
            Self::Extend { file, by } => change(file, &|bytes| bytes.resize(bytes.len() + by, 0x5a)),
            Self::Blank { page } => change(STORE, &|bytes| bytes[span(*page)].fill(0)),
            Self::Misplace { page, over } => change(STORE, &|bytes| bytes.copy_within(span(*page), over * PAGE)),
            Self::Stale { page, from } => {
                let stale = fs::read(from.join(STORE))?;
                change(STORE, &|bytes| bytes[span(*page)].copy_from_slice(&stale[span(*page)]))
            }
            Self::Delete(files) => files.iter().try_for_each(|file| fs::remove_file(machine.join(file))),
            Self::Replace { file, from } => fs::copy(from.join(file), machine.join(file)).map(drop),
        }
    }
}

/// How many commands worked, and how many refused for which reason.
#[derive(Default)]
struct Tally {
    worked: usize,
    refused: BTreeMap<String, usize>,
}

impl Tally {
    fn of(&self, part: &str) -> usize {
        self.refused.iter().filter(|(reason, _)| reason.contains(part)).map(|(_, count)| count).sum()
    }

    /// Judges a command. Whether it worked.
    fn judge(&mut self, damage: &Damage, ran: &Ran, is_right: impl FnOnce(&str) -> bool) -> bool {
        let out = String::from_utf8_lossy(&ran.out);
        let reason = reason(&ran.err);
        match ran.status.code() {
            Some(0) => {
                assert!(is_right(&out), "{damage:?}: a wrong answer: {ran}");
                self.worked += 1;
                return true;
            }
            Some(3) => assert!(!reason.is_empty(), "{damage:?}: no reason: {ran}"),
            Some(1) => {
                let said = ["is not a machine", "has format version", "the store has format"];
                assert!(said.iter().any(|said| reason.contains(said)), "{damage:?}: exit 1: {ran}");
            }
            _ => panic!("{damage:?}: {ran}"),
        }
        *self.refused.entry(general(&reason)).or_default() += 1;
        false
    }
}

/// The last cause of an error, as people and programs are told it; empty if there is no error.
fn reason(err: &str) -> String {
    if let Some(error) = err.lines().last().and_then(|line| serde_json::from_str::<Json>(line).ok()) {
        let last = error["causes"].as_array().and_then(|causes| causes.last()).unwrap_or(&error["error"]);
        return last.as_str().unwrap_or_default().to_owned();
    }
    let last = err.lines().rfind(|line| !line.contains("hint:"));
    last.filter(|_| err.starts_with("error: ")).unwrap_or_default().to_owned()
}

/// A reason without the numbers, ids and paths of this very case.
fn general(reason: &str) -> String {
    let word = |word: &str| match word {
        _ if word.contains('/') => word.rsplit('/').next().unwrap_or(word).to_owned(),
        _ if word.len() >= 8 && word.trim_end_matches(',').chars().all(|c| c.is_ascii_hexdigit()) => "ID".to_owned(),
        _ => word.chars().map(|c| if c.is_ascii_digit() { 'N' } else { c }).collect::<String>(),
    };
    reason.split_whitespace().map(word).collect::<Vec<_>>().join(" ").replace("NN", "N").replace("NN", "N")
}

/// Which commands are tried on a damaged machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Commands {
    /// The one that checks the most, and one that runs it.
    Two,
    /// Those that read the most, and what running it has made of it.
    Some,
    All,
}

/// Whether all damage of a kind is to be tried.
fn is_exhaustive() -> bool {
    std::env::var("ABIDE_DAMAGE").is_ok_and(|value| value == "all")
}

/// Tries commands on the machine with this damage.
fn examine(patient: &Patient, damage: &Damage, commands: Commands, tally: &mut Tally) {
    let place = place_in_memory();
    let machine = place.path().join("m");
    copy_folder(&patient.kept(), &machine);
    damage.inflict(&machine).unwrap();
    let right = &patient.answers;
    let mut attempt = |args: &[&str], is_right: &dyn Fn(&str) -> bool| {
        tally.judge(damage, &command(&machine, args), |out| is_right(out))
    };
    let same = |expected: &Json, out: &str| serde_json::from_str(out).is_ok_and(|found| facts(found) == *expected);
    if commands != Commands::Two {
        attempt(&["status", "m", "--json"], &|out| same(&right.status, out));
        attempt(&["log", "m", "--json"], &|out| out == right.log);
    }
    attempt(&["verify", "m", "--json"], &|out| same(&right.verified, out));
    if commands == Commands::All {
        attempt(&["show", "m"], &|out| out == right.image);
        attempt(&["show", "m@3"], &|out| out == right.record);
        attempt(&["verify", "m", "--depth", "fast", "--replay", "--json"], &|out| same(&right.verified, out));
        if attempt(&["copy", "m", "copy"], &|_| true) {
            attempt(&["send", "copy", "list"], &|out| out == right.list);
        }
        if attempt(&["save", "m.seed", "m"], &|_| true) && attempt(&["boot", "booted", "m.seed"], &|_| true) {
            attempt(&["send", "booted", "list"], &|out| out == right.list);
        }
        let mut life = Life::start(&machine);
        let listed = life.talk_unless_ended(&machine).map(|mut talk: Talk| talk.say("", "list"));
        if let Some(Ok(answer)) = listed {
            let expected = tests::abide::Answer::Said(right.list.trim_end().to_owned());
            assert_eq!(answer, expected, "{damage:?}: a wrong answer");
        }
        let ran = if life.is_running() { life.stop().0 } else { life.end().0 };
        assert!(ran.status.code().is_some(), "{damage:?}: ended by a signal: {ran}");
        tally.judge(damage, &ran, |_| true);
    }
    let mut attempt = |args: &[&str], is_right: &dyn Fn(&str) -> bool| {
        tally.judge(damage, &command(&machine, args), |out| is_right(out))
    };
    attempt(&["send", "m", "list"], &|out| out == right.list);
    // It has been written to: what was hidden may show now, and nothing else may be there.
    if commands != Commands::Two {
        attempt(&["verify", "m"], &|out| out.starts_with("m is whole"));
    }
}

/// Tries all of these; every `all_every`th with every command, every fiftieth where there are very many.
fn examine_all(patient: &Patient, damages: &[Damage], all_every: usize) -> Tally {
    let are_many = damages.len() > 10_000;
    let (usual, all_every) = if are_many { (Commands::Two, 50) } else { (Commands::Some, all_every) };
    let total = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for first in 0..THREADS {
            let total = &total;
            scope.spawn(move || {
                let mut tally = Tally::default();
                for (number, damage) in damages.iter().enumerate().skip(first).step_by(THREADS) {
                    let commands = if number % all_every == 0 { Commands::All } else { usual };
                    examine(patient, damage, commands, &mut tally);
                }
                let mut total = total.lock().unwrap();
                total.worked += tally.worked;
                tally
                    .refused
                    .into_iter()
                    .for_each(|(reason, count)| *total.refused.entry(reason).or_default() += count);
            });
        }
    });
    let tally = total.into_inner().unwrap();
    println!("{} kinds of damage: {} commands worked", damages.len(), tally.worked);
    tally.refused.iter().for_each(|(reason, count)| println!("{count:>7}  {reason}"));
    tally
}

#[test]
fn flipped_bits() {
    let patient = Patient::new();
    let mut random = Random::new(1);
    let mut damages = Vec::new();
    for file in FILES {
        let length = fs::read(patient.kept().join(file)).unwrap().len();
        for at in 0..length {
            // Of a page of the store its header says most, and what lies at its end; of everything else a sample does.
            let in_page = at % 4096;
            let weight = match file {
                "abide" => 1,
                "head" => 30,
                STORE if at < 8192 && in_page < 160 => 3,
                STORE if in_page < 24 => 12,
                STORE => 400,
                _ => 6000,
            };
            if is_exhaustive() && file != "lock.mdb" || random.one_in(weight) {
                let mask = if random.one_in(4) { 0xff } else { 1 << random.below(8) };
                damages.push(Damage::Flip { file, at, mask });
            }
        }
    }
    let tally = examine_all(&patient, &damages, 10);
    let (worked, refused) = (tally.worked, tally.of(""));
    assert!(worked > refused / 10, "a flipped bit in unused space harms nothing");
    assert!(refused > worked / 10, "flipped bits of what is used are noticed");
}

fn length(patient: &Patient, file: &str) -> usize {
    usize::try_from(fs::metadata(patient.kept().join(file)).unwrap().len()).unwrap()
}

#[test]
fn cut_and_lengthened_files() {
    let patient = Patient::new();
    let mut damages = Vec::new();
    for file in FILES {
        let whole = length(&patient, file);
        let step = match file {
            "lock.mdb" => 8192,
            _ if is_exhaustive() => 2,
            STORE => PAGE / 2,
            "head" => 128,
            _ => 4,
        };
        let lengths = (0..whole).step_by(step).flat_map(|at| [at, at + 1]).chain([whole.saturating_sub(1)]);
        damages.extend(lengths.filter(|length| *length < whole).map(|length| Damage::Cut { file, length }));
        damages.extend([1, 512, PAGE].map(|by| Damage::Extend { file, by }));
    }
    let tally = examine_all(&patient, &damages, 7);
    assert!(tally.of("data.mdb has N bytes and should have N") > 50);
}

#[test]
fn missing_and_half_copied_files() {
    let patient = Patient::new();
    let mut damages: Vec<Damage> = Vec::new();
    // Every set of files but the one that a copy that was broken off may lack, whichever order it had.
    for set in 1..(1 << FILES.len()) - 1 {
        let chosen = FILES.iter().enumerate().filter(|(number, _)| set >> number & 1 == 1);
        damages.push(Damage::Delete(chosen.map(|(_, file)| *file).collect()));
    }
    let tally = examine_all(&patient, &damages, 1);
    assert!(
        tally.of("is not a machine") >= 15 && tally.of("head is missing") > 0 && tally.of("data.mdb is missing") > 0
    );
}

#[test]
fn pages_that_are_blank_misplaced_or_stale() {
    let patient = Patient::new();
    let older = patient.place.path().join("older");
    let pages = length(&patient, STORE) / PAGE;
    let mut random = Random::new(3);
    let mut damages: Vec<Damage> = (0..pages).map(|page| Damage::Blank { page }).collect();
    let older_pages = fs::metadata(older.join(STORE)).unwrap().len() / PAGE as u64;
    for page in 0..pages {
        damages.push(Damage::Misplace { page, over: random.index(pages) });
        if (page as u64) < older_pages {
            damages.push(Damage::Stale { page, from: older.clone() });
        }
    }
    let tally = examine_all(&patient, &damages, 5);
    // Found by the meta pages, by the store's own check of the pages that it calculates with, and by the objects' hashes.
    assert!(
        tally.of("(transaction number)") > 0 && tally.of("has an impossible") > 0 && tally.of("hash to") > 0,
        "{:?}",
        tally.refused
    );
}

#[test]
fn a_store_or_a_head_of_another_time_or_another_machine() {
    let patient = Patient::new();
    let older = patient.place.path().join("older");
    let other = patient.place.path().join("other");
    boot(&other, &example("counter/counter.wat"), &[]);
    let replaced = |file: &'static str, from: &Path| [Damage::Replace { file, from: from.to_owned() }];
    let tally = examine_all(&patient, &replaced(STORE, &older), 1);
    assert_eq!(tally.worked, 0, "a store older than what was acknowledged");
    assert!(tally.of("ends at seq N, but seq N was acknowledged") > 5);
    // The head is written after the commit it names: an older one is what a crash leaves.
    let tally = examine_all(&patient, &replaced("head", &older), 1);
    assert!(tally.refused.is_empty());
    for file in [STORE, "head"] {
        let tally = examine_all(&patient, &replaced(file, &other), 1);
        assert_eq!(tally.worked, if file == "head" { tally.worked } else { 0 }, "another machine's {file}");
    }
}

/// Under a limit of memory the kernel killed the process that `verify` checks in, and `verify` said that the machine was damaged and should be
/// repaired. Only signals that damage sends are damage: any other says nothing about the machine.
#[test]
fn a_check_that_somebody_ends_is_no_damage() {
    let patient = Patient::new();
    let machine = patient.kept();
    // The first of the two opens no machine; the other is stopped where it opens its store.
    let mut verify = Command::new("strace");
    verify.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=mmap"]);
    verify.args(["-e", "inject=mmap:signal=SIGKILL:when=1", "-P"]).arg(machine.join(STORE));
    let ran = match verify
        .arg(abide(&[] as &[&str]).get_program())
        .args(["verify", "kept"])
        .current_dir(patient.place.path())
        .output()
    {
        Ok(output) => output,
        Err(error) => return not_run(&format!("ending a check: strace: {error}")),
    };
    let err = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{err}");
    assert!(err.starts_with("error: checking kept ended by signal 9\n  hint: somebody ended it"), "{err}");
}
