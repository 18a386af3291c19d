//! Host clocks that jump: by years, by a second, to before 1970, into another time zone, while a machine runs and while it does not, which is now and
//! then ended by `kill -9`. A machine's own time only ever goes on: every wait ends, once and not early, and the log executes again the same.
//!
//! The jumps are libfaketime's: what reads the host's clock is what reads it everywhere, and is told something else.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::rounds::{side_by_side, telling};
use super::scenes::{expect_ok, number_in};
use super::{Effort, Harm, Row, Tally};
use crate::abide::{Life, abide, boot, fast_counter, log, place_in_memory, verify};
use crate::sim::random::Random;

/// A round is one machine, whose host's clock jumps four times.
pub const ROW: Row =
    Row { name: "clocks", fault: "a host's clock that jumps, by a second or years, either way", in_ci: 20, run };

/// How far the host's clock is from the right time, in seconds.
const OFFSETS: [i64; 10] = [
    0,
    1,
    -1,
    3600,
    -3600,
    30 * 86_400,
    -30 * 86_400,
    10 * YEAR,
    -5 * YEAR,
    // Before 1970.
    -70 * YEAR,
];
const YEAR: i64 = 31_557_600;

const ZONES: [&str; 4] = ["UTC", "XYZ-14", "XYZ+12", "right/UTC"];

/// How long a fast counter waits.
const WAIT: Duration = Duration::from_millis(10);

fn run(effort: &Effort) -> Tally {
    let Some(library) = library() else {
        return Tally::not_run("libfaketime is not installed: apt-get install faketime");
    };
    remove_leftovers();
    let tally = side_by_side(effort, |round| {
        let seed = effort.seed.wrapping_add(round);
        let again = format!("torture --seed {seed} clocks: its first machine");
        Some(telling(&again, || survive(&library, &mut Random::new(seed))))
    });
    remove_leftovers();
    tally
}

/// The library, wherever the system keeps it.
fn library() -> Option<PathBuf> {
    let folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(Path::new);
    let below = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let candidates = below.map(|entry| entry.path()).chain(folders.map(Path::to_owned));
    candidates.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file())
}

/// What the library leaves in memory for processes that were killed.
fn remove_leftovers() {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let of = name.to_str().and_then(|name| {
            name.strip_prefix("faketime_shm_").or_else(|| name.strip_prefix("sem.faketime_sem_"))?.parse::<u32>().ok()
        });
        if of.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A host's clock that can be set.
struct HostClock<'a> {
    library: &'a Path,
    /// Where the library looks at each reading.
    file: PathBuf,
}

impl HostClock<'_> {
    fn set(&self, offset: i64) -> Result<(), Harm> {
        let new = self.file.with_extension("new");
        let set = fs::write(&new, format!("{offset:+}\n")).and_then(|()| fs::rename(&new, &self.file));
        set.map_err(|error| Harm::Wrong(format!("the clock cannot be set: {error}")))
    }

    fn start(&self, machine: &Path, zone: &str) -> Life {
        let mut command = abide(["start".as_ref(), machine.as_os_str()]);
        command
            .env("LD_PRELOAD", self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("TZ", zone);
        Life::of(command)
    }
}

fn survive(library: &Path, random: &mut Random) -> Result<(), Harm> {
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &fast_counter(place.path()), &[]);
    let clock = HostClock { library, file: place.path().join("offset") };
    let (mut shown, mut least) = (0, 0);
    let mut offsets = Vec::new();
    for _ in 0..2 {
        offsets.push(random.pick(&OFFSETS));
        clock.set(offsets[offsets.len() - 1])?;
        let mut life = clock.start(&machine, random.pick(&ZONES));
        shown = watch(&mut life, 1 + random.below(6), shown, true)?;
        least = least.max(host_time(offsets[offsets.len() - 1]));
        offsets.push(random.pick(&OFFSETS));
        clock.set(offsets[offsets.len() - 1])?;
        // One may have been on its way already; the others were waited for by the clock as it is now.
        shown = watch(&mut life, 3 + random.below(6), shown, false)?;
        least = least.max(host_time(offsets[offsets.len() - 1]).saturating_sub(3 * nanos(WAIT)));
        let rest = if random.one_in(2) { life.kill() } else { stop(life)? };
        shown = rest.iter().try_fold(shown, |shown, line| next(shown, line, false))?;
    }
    let told = |harm| match harm {
        Harm::Lost(what) => Harm::Lost(format!("clock set to {offsets:?}: {what}")),
        Harm::Wrong(what) => Harm::Wrong(format!("clock set to {offsets:?}: {what}")),
    };
    judge(&machine, shown, least).map_err(told)
}

fn stop(life: Life) -> Result<Vec<String>, Harm> {
    let (ran, lines) = life.stop();
    if ran.status.success() { Ok(lines) } else { Err(Harm::Wrong(ran.to_string())) }
}

/// The host's clock a minute ago, if it was set so then: at least that is what a machine must know whose line has just been read.
fn host_time(offset: i64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    u64::try_from(now.saturating_add(offset.saturating_mul(1_000_000_000))).unwrap_or(0).saturating_sub(60_000_000_000)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Waits for so many lines: a wait that never ends ends the test.
fn watch(life: &mut Life, lines: u64, shown: u64, is_new: bool) -> Result<u64, Harm> {
    (0..lines).try_fold(shown, |shown, number| {
        let line = life.line().ok_or_else(|| Harm::Wrong("the machine ended by itself".to_owned()))?;
        next(shown, &line, is_new && number == 0)
    })
}

/// The number shown next: the one after the last, or, by a process that has just begun, an earlier one again.
fn next(shown: u64, line: &str, is_first: bool) -> Result<u64, Harm> {
    match number_in(line) {
        Some(number) if number == shown + 1 || is_first && (1..=shown).contains(&number) => Ok(number),
        _ => Err(Harm::Wrong(format!("after {shown} was shown: {line:?}"))),
    }
}

/// What is in the log: as many answers as were counted, none before its time, no time before an earlier one.
fn judge(machine: &Path, shown: u64, least: u64) -> Result<(), Harm> {
    let answer = expect_ok(["send".as_ref(), machine.as_os_str(), OsStr::new("")])?;
    let count: u64 = answer.trim_end().parse().map_err(|_| Harm::Wrong(format!("a counter answers {answer:?}")))?;
    if count < shown {
        return Err(Harm::Lost(format!("{shown} was shown, the machine is at {count}")));
    }
    let (mut answers, mut last, mut closed) = (0, 0, 0);
    for record in log(machine, 0) {
        let time = record["time_ns"].as_u64().unwrap_or(0);
        if time < closed {
            return Err(Harm::Wrong(format!("a batch of {time} after one of {closed}")));
        }
        closed = time;
        match record["input"]["kind"].as_str() {
            Some("message") => break,
            Some("answer") => {
                let time = record["input"]["payload"]["cbor"].as_u64().unwrap_or(0);
                if answers > 0 && time < last + nanos(WAIT) {
                    return Err(Harm::Wrong(format!("answer {answers} is of {time}, {last} was the one before")));
                }
                (answers, last) = (answers + 1, time);
            }
            _ => {}
        }
    }
    if answers != count {
        return Err(Harm::Wrong(format!("{answers} waits have ended, {count} were counted")));
    }
    if last < least {
        return Err(Harm::Wrong(format!(
            "the host's clock was at {least}, the machine is at {last}: was it set at all?"
        )));
    }
    let _ = verify(machine);
    Ok(())
}
