//! The life that is cut, and the life after a cut: a notes machine with two writers, each of whose notes has a number and is put once.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::acknowledged::{Acknowledged, Expected, ExpectedMachine, Machine, Span, WRITERS};
use crate::abide::{Answer, Life, Talk, boot, example, log, run, verify};
use crate::sim::random::Random;
use crate::torture::Harm;
use crate::torture::blocklog::{Disk, Mounted};

const MACHINE: &str = "machine";
const COPY: &str = "copy";

/// How many messages each writer sends before the next thing happens.
const ROUND: usize = 12;

/// Boot, talk, a clean stop, sends that each run the machine, a copy while others write, a kill, a recovery, talk, a clean stop.
pub(super) fn a_life(mounted: &Mounted<'_>, seed: u64) -> Acknowledged {
    let (disk, place) = (mounted.disk(), mounted.path().join(MACHINE));
    let mut writers = WRITERS.map(|name| Writer { name, seed, number: 0, sent: Vec::new() });
    let made = booted(disk, &place);

    let mut life = Life::start(&place);
    drop(life.talk(&place));
    each(&mut writers, |writer| writer.talk(disk, &place, ROUND));
    let _ = life.stop().0.ok();

    for _ in 0..2 {
        writers[0].send(disk, |key, text| {
            let args = [OsStr::new("send"), "--key".as_ref(), key.as_ref(), place.as_os_str(), text.as_ref()];
            run(args).ok() == "ok\n"
        });
    }

    let mut life = Life::start(&place);
    drop(life.talk(&place));
    let copy = thread::scope(|scope| {
        let had = writers.each_ref().map(|writer| writer.sent.len());
        let copier = scope.spawn(|| copied(disk, &place, &mounted.path().join(COPY)));
        each(&mut writers, |writer| writer.talk(disk, &place, ROUND));
        let made = copier.join().expect("a copy can be made");
        let may_have = writers.each_ref().map(|writer| writer.begun_before(made.acknowledged));
        let had = std::array::from_fn(|writer| (had[writer], may_have[writer]));
        Machine { made, had, sent: Default::default() }
    });

    let killer = life.killer();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(10 + seed % 20));
            killer.kill();
        });
        each(&mut writers, |writer| writer.talk(disk, &place, usize::MAX));
    });
    life.see_dead();

    let mut life = Life::start(&place);
    drop(life.talk(&place));
    each(&mut writers, |writer| writer.talk(disk, &place, ROUND));
    let _ = life.stop().0.ok();

    let machine = Machine { made, had: Default::default(), sent: writers.map(|writer| writer.sent) };
    Acknowledged { machine, copy: Some(copy) }
}

/// Everything that must be there is there, is whole (as it is found, or when it has gone on) and goes on. What was acknowledged meanwhile.
pub(super) fn a_recovery(
    mounted: &Mounted<'_>,
    seed: u64,
    expected: &Expected,
    verify_first: bool,
) -> Result<Acknowledged, Harm> {
    let recovered = |name, expected| recovered(mounted, name, seed, expected, verify_first);
    let copy = match &expected.copy {
        Some(copy) => recovered(COPY, copy)?,
        None => None,
    };
    let machine = match recovered(MACHINE, &expected.machine)? {
        Some(machine) => machine,
        None => begun_again(mounted)?,
    };
    Ok(Acknowledged { machine, copy })
}

/// A boot that was cut off can be done again, and what the first has left is cleared away.
///
/// On btrfs it was not: the store had been synced and was still there, but the name of the lock beside it was gone, and without a lock nobody
/// can tell that a folder has been abandoned. It stayed for good, as large as its seed. The lock's name is now synced before anything else is made.
fn begun_again(mounted: &Mounted<'_>) -> Result<Machine, Harm> {
    let made = booted(mounted.disk(), &mounted.path().join(MACHINE));
    let names = std::fs::read_dir(mounted.path()).expect("a folder can be read");
    let names = names.map(|entry| entry.expect("a folder can be read").file_name());
    match names.into_iter().find(|name| name.to_string_lossy().starts_with(".abide-new-")) {
        Some(left) => Err(Harm::Wrong(format!("{} is left after a boot that was cut off", left.display()))),
        None => Ok(Machine { made, had: Default::default(), sent: Default::default() }),
    }
}

/// Finds a machine, compares it with what it must have, and sends it another message. None if it is not there and need not be.
fn recovered(
    mounted: &Mounted<'_>,
    name: &str,
    seed: u64,
    expected: &ExpectedMachine,
    verify_first: bool,
) -> Result<Option<Machine>, Harm> {
    let (disk, place) = (mounted.disk(), mounted.path().join(name));
    if !place.exists() {
        return if expected.must_be { Err(Harm::Lost(format!("the {name} is gone"))) } else { Ok(None) };
    }
    if verify_first {
        let _ = verify(&place);
    }
    let in_log = logged(&place);
    let mut life = Life::start(&place);
    let listed = listed(&life.talk(&place).ask("list"), seed);
    if in_log != listed {
        return Err(Harm::Wrong(format!("the {name} has {listed:?} messages, its log {in_log:?}")));
    }
    for ((writer, count), (least, most)) in WRITERS.iter().zip(listed).zip(expected.counts) {
        if count < least {
            return Err(Harm::Lost(format!("the {name} has {count} messages of {writer}, {least} were acknowledged")));
        }
        if count > most {
            return Err(Harm::Wrong(format!("the {name} has {count} messages of {writer}, {most} were sent")));
        }
    }
    let mut next = Writer { name: WRITERS[0], seed, number: listed[0], sent: Vec::new() };
    next.talk(disk, &place, 1);
    let _ = life.stop().0.ok();
    if !verify_first {
        let _ = verify(&place);
    }
    // What was found on the disk was on the disk, and so is for good.
    let had = listed.map(|count| (count, count));
    Ok(Some(Machine { made: Span { begun: 0, acknowledged: 0 }, had, sent: [next.sent, Vec::new()] }))
}

fn booted(disk: &Disk<'_>, place: &Path) -> Span {
    let begun = disk.position();
    boot(place, &example("notes/notes.wasm"), &[]);
    Span { begun, acknowledged: disk.position() }
}

fn copied(disk: &Disk<'_>, machine: &Path, place: &Path) -> Span {
    let begun = disk.position();
    let _ = run(["copy".as_ref(), machine.as_os_str(), place.as_os_str()]).ok();
    Span { begun, acknowledged: disk.position() }
}

/// How many messages of each writer are in the log, each once and in order.
fn logged(machine: &Path) -> [usize; WRITERS.len()] {
    let mut counts = [0; WRITERS.len()];
    for record in log(machine, 0) {
        let key = record["key"]["text"].as_str().unwrap_or_default();
        if let Some(writer) = WRITERS.iter().position(|name| key.starts_with(name)) {
            assert_eq!(key, key_of(WRITERS[writer], counts[writer]), "messages come once and in order");
            counts[writer] += 1;
        }
    }
    counts
}

/// How many notes of each writer a machine lists, from the first on and with the right texts.
fn listed(list: &str, seed: u64) -> [usize; WRITERS.len()] {
    let notes: BTreeMap<&str, &str> = list.lines().filter_map(|line| line.split_once(' ')).collect();
    let counts = WRITERS.map(|name| notes.keys().filter(|note| note.starts_with(name)).count());
    for (name, count) in WRITERS.iter().zip(counts) {
        for number in 0..count {
            let found = notes.get(note_of(name, number).as_str());
            assert_eq!(found.copied(), Some(text_of(name, number, seed).as_str()), "note {number} of {name}");
        }
    }
    assert_eq!(counts.iter().sum::<usize>(), notes.len(), "no other notes");
    counts
}

fn key_of(name: &str, number: usize) -> String {
    format!("{name} {number}")
}

fn note_of(name: &str, number: usize) -> String {
    format!("{name}-{number}")
}

/// Mostly short; now and then as long as several pages.
fn text_of(name: &str, number: usize, seed: u64) -> String {
    let mut random = Random::new(seed ^ (number as u64) << 8 ^ u64::from(name.as_bytes()[0]));
    let length = if random.one_in(8) { 20_000 } else { 200 };
    format!("{number}.").repeat(1 + random.index(length / 4))
}

/// Sends notes, and notes where the record stood.
struct Writer {
    name: &'static str,
    seed: u64,
    /// Of the first message in `sent`.
    number: usize,
    sent: Vec<Span>,
}

impl Writer {
    /// Sends so many messages, or until the machine dies. One that was not acknowledged is sent again first.
    fn talk(&mut self, disk: &Disk<'_>, machine: &Path, count: usize) {
        let mut talk = Talk::with(machine).expect("the machine runs");
        for _ in 0..count {
            let sent = self.send(disk, |key, text| match talk.say(key, text) {
                Ok(answer) => {
                    assert_eq!(answer, Answer::Said("ok".to_owned()), "{key}");
                    true
                }
                Err(_) => false,
            });
            if !sent {
                return;
            }
        }
    }

    fn send(&mut self, disk: &Disk<'_>, say: impl FnOnce(&str, &str) -> bool) -> bool {
        if self.sent.last().is_none_or(|last| last.acknowledged != usize::MAX) {
            self.sent.push(Span::begun(disk.position()));
        }
        let (place, number) = (self.sent.len() - 1, self.number + self.sent.len() - 1);
        let text = text_of(self.name, number, self.seed);
        let said = say(&key_of(self.name, number), &format!("put {} {text}", note_of(self.name, number)));
        if said {
            self.sent[place].acknowledged = disk.position();
        }
        said
    }

    fn begun_before(&self, position: usize) -> usize {
        self.sent.iter().filter(|span| span.begun < position).count()
    }
}

/// All writers at once.
fn each(writers: &mut [Writer], work: impl Fn(&mut Writer) + Sync) {
    thread::scope(|scope| {
        for writer in writers {
            scope.spawn(|| work(writer));
        }
    });
}
