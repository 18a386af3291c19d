//! Copies of a running machine's folder by `cp -r` and its like, while it is written to. What such a copy is, is up to chance: it works as of some
//! moment since the copying began, or is refused with exit code 3. It is never wrong.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::rounds::{side_by_side, telling};
use super::{Effort, Harm, Row, Tally};
use crate::abide::{Answer, Life, Ran, Talk, abide, boot, example, finish, place};
use crate::sim::random::Random;

/// A round is one copy.
pub const ROW: Row =
    Row { name: "live-copies", fault: "a running machine's folder copied as if it did not run", in_ci: 60, run };

/// After so many copies another machine is begun.
const COPIES_OF_ONE: u64 = 60;

fn run(effort: &Effort) -> Tally {
    let (mut tally, mut done) = (Tally::default(), 0);
    while effort.goes_on(done) && tally.is_clean() {
        let rounds = COPIES_OF_ONE.min(effort.rounds - done);
        let seed = effort.seed.wrapping_add(done);
        let copied = copy_often(&Effort { rounds, until: effort.until, seed });
        tally.injected += copied.injected;
        tally.survived += copied.survived;
        tally.lost.extend(copied.lost);
        tally.wrong.extend(copied.wrong);
        done += rounds;
    }
    tally
}

/// How far a machine's only client has got, who numbers its notes.
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    /// How many copies are in the making.
    copying: AtomicU64,
    is_over: AtomicBool,
}

fn copy_often(effort: &Effort) -> Tally {
    let place = place();
    let machine = place.path().join("m");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let mut life = Life::start(&machine);
    let talk = life.talk(&machine);
    let progress = Progress::default();
    let mut tally = thread::scope(|scope| {
        let client = scope.spawn(|| put_notes(talk, &progress, effort.seed));
        let mut tally = side_by_side(effort, |round| {
            let seed = effort.seed.wrapping_add(round);
            let again = format!("torture --seed {} live-copies: copy {round}", effort.seed);
            Some(telling(&again, || copy_once(&machine, &place.path().join(format!("copy{round}")), seed, &progress)))
        });
        progress.is_over.store(true, Ordering::SeqCst);
        if let Err(harm) = client.join().unwrap_or_else(|_| Err(Harm::Wrong("the client panicked".to_owned()))) {
            tally.count(Err(harm));
        }
        tally
    });
    // Being copied does nothing to the original.
    let (ran, _) = life.stop();
    let whole = ran.status.success().then(|| Copy { folder: &machine, least: progress.acknowledged.into_inner() });
    let whole = whole.map(|copy| copy.is_right(copy.least));
    if !matches!(whole, Some(Ok(true))) {
        tally.count(Err(Harm::Wrong(format!("the original is not well: {whole:?} {ran}"))));
    }
    tally
}

/// Puts one note after the other; slowly while nobody copies, so that the log does not get longer than it need be.
fn put_notes(mut talk: Talk, progress: &Progress, seed: u64) -> Result<(), Harm> {
    let mut random = Random::new(seed);
    while !progress.is_over.load(Ordering::SeqCst) {
        let number = progress.sent.fetch_add(1, Ordering::SeqCst);
        let text: String = (0..random.index(60)).map(|_| format!("{:016x}", random.number())).collect();
        match talk.say("", &format!("put {number:08} {text}")) {
            Ok(Answer::Said(answer)) if answer == "ok" => {}
            other => return Err(Harm::Wrong(format!("the original does not go on: {other:?}"))),
        }
        progress.acknowledged.fetch_add(1, Ordering::SeqCst);
        if progress.copying.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

fn copy_once(machine: &Path, folder: &Path, seed: u64, progress: &Progress) -> Result<(), Harm> {
    let copy = Copy { folder, least: progress.acknowledged.load(Ordering::SeqCst) };
    let mut random = Random::new(seed);
    progress.copying.fetch_add(1, Ordering::SeqCst);
    let copied = if random.one_in(2) { cp(machine, folder) } else { piece_by_piece(machine, folder, &mut random) };
    progress.copying.fetch_sub(1, Ordering::SeqCst);
    copied.map_err(|error| Harm::Wrong(format!("cannot be copied: {error}")))?;
    let most = progress.sent.load(Ordering::SeqCst);
    let _ = copy.is_right(most)?;
    let _ = fs::remove_dir_all(folder);
    Ok(())
}

fn cp(from: &Path, to: &Path) -> io::Result<()> {
    let ran = Command::new("cp").arg("-r").arg(from).arg(to).output()?;
    if ran.status.success() { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&ran.stderr).into_owned())) }
}

/// As a slower tool would: one file after the other in whatever order, a piece at a time.
fn piece_by_piece(from: &Path, to: &Path, random: &mut Random) -> io::Result<()> {
    fs::create_dir(to)?;
    let mut files = ["abide", "data.mdb", "head", "lock", "lock.mdb"];
    for last in (1..files.len()).rev() {
        files.swap(last, random.index(last + 1));
    }
    for name in files {
        let (mut source, mut target) = (fs::File::open(from.join(name))?, fs::File::create(to.join(name))?);
        let mut piece = vec![0; 4096 << random.below(4)];
        loop {
            let count = source.read(&mut piece)?;
            if count == 0 {
                break;
            }
            target.write_all(&piece[..count])?;
            if random.one_in(4) {
                thread::yield_now();
            }
        }
    }
    Ok(())
}

/// A copy, and how many notes it must have if it works.
struct Copy<'a> {
    folder: &'a Path,
    least: u64,
}

impl Copy<'_> {
    /// Whether it works; if so it holds the first so many notes, goes on, and is whole.
    fn is_right(&self, most: u64) -> Result<bool, Harm> {
        let folder = self.folder.as_os_str();
        let send = |payload: &str| worked(&finish(&mut abide(["send".as_ref(), folder, OsStr::new(payload)])));
        let Some(listed) = send("list")? else { return Ok(false) };
        let has = listed.lines().count() as u64;
        let is_prefix = listed.lines().zip(0_u64..).all(|(line, number)| line.starts_with(&format!("{number:08} ")));
        if !is_prefix || has > most {
            return Err(Harm::Wrong(format!("a state that never was, of {} to {most} notes:\n{listed}", self.least)));
        }
        if has < self.least {
            return Err(Harm::Lost(format!("the copy has {has} notes, {} were acknowledged before", self.least)));
        }
        let Some(answer) = send("put 99999999 x")? else { return Ok(false) };
        let Some(again) = send("list")? else { return Ok(false) };
        if answer != "ok\n" || again.strip_prefix(&listed).is_none_or(|new| new != "99999999 x\n") {
            return Err(Harm::Wrong(format!("the copy does not go on from what it was: {answer}{again}")));
        }
        let verify = [OsStr::new("verify"), OsStr::new("--replay"), folder];
        Ok(worked(&finish(&mut abide(verify)))?.is_some())
    }
}

/// What a command printed, or none if it refused to with the exit code of damage.
fn worked(ran: &Ran) -> Result<Option<String>, Harm> {
    match ran.status.code() {
        Some(0) => Ok(Some(String::from_utf8_lossy(&ran.out).into_owned())),
        Some(3) if ran.err.contains("error: ") => Ok(None),
        _ => Err(Harm::Wrong(format!("neither works nor is refused as damaged: {ran}"))),
    }
}
