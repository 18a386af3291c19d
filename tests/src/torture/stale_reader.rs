//! Readers of a running machine that do not go on: a log that nobody reads, one that is followed and not read, and a copy killed in its middle. LMDB keeps
//! every page that a reader could want, so one that stays makes the file grow with each commit. None of these stays.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::FdFlags;

use super::rounds::{side_by_side, telling};
use super::strace::{Deed, Plan, Point, missing};
use super::{Effort, Harm, Row, Tally};
use crate::abide::{Life, PATIENCE, abide, boot, example, finish, place_in_memory, verify};

/// A round is one reader, held during so many commits.
pub const ROW: Row =
    Row { name: "stale-reader", fault: "readers that stall or die while a machine runs on", in_ci: 9, run };

/// How many commits a reader is held for; in the tests, and where there is time.
const COMMITS: [u64; 2] = [1500, 100_000];

/// A machine's log grows by this at most for each of these commits, on average; with a reader that holds a state it would be ten times as much.
const BYTES_A_COMMIT: u64 = 2500;

/// What may be needed at once however few commits there are: pages freed while a reader that has died is not yet noticed.
const BYTES_ONCE: u64 = 4 << 20;

#[derive(Debug, Clone, Copy)]
enum Stale {
    /// `abide log` into a pipe that is full.
    Log,
    /// The same with `--follow`.
    Follow,
    /// `abide copy`, killed at one of its writes.
    DeadCopy(u64),
}

fn run(effort: &Effort) -> Tally {
    if let Some(not_run) = missing() {
        return not_run;
    }
    let commits = COMMITS[usize::from(effort.until.is_some())];
    side_by_side(effort, |round| {
        let stale = match round % 3 {
            0 => Stale::Log,
            1 => Stale::Follow,
            // Before these nothing of the store is copied yet.
            _ => Stale::DeadCopy(4 - round / 3 % 2),
        };
        Some(telling(&format!("{stale:?} during {commits} commits"), || held(stale, commits)))
    })
}

fn held(stale: Stale, commits: u64) -> Result<(), Harm> {
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    // More than a pipe holds.
    for number in 0..500 {
        let _ = talk.ask(&format!("put note {number} {}", "x".repeat(200)));
    }
    let reader = match stale {
        Stale::Log => Some(stalled(&["log", "--json"], &machine)?),
        Stale::Follow => Some(stalled(&["log", "--json", "--follow"], &machine)?),
        Stale::DeadCopy(number) => {
            killed_copy(&machine, place.path(), number)?;
            None
        }
    };
    let size = || fs::metadata(machine.join("data.mdb")).map_or(0, |data| data.len());
    let before = size();
    for number in 0..commits {
        if talk.ask(&format!("put note {number}")) != "ok" {
            return Err(Harm::Wrong("the machine does not go on".to_owned()));
        }
    }
    let grown = size().saturating_sub(before);
    if let Some(mut reader) = reader {
        let has_ended = reader.try_wait().map_err(wrong)?;
        let _ = reader.kill();
        let _ = reader.wait();
        if let Some(status) = has_ended {
            return Err(Harm::Wrong(format!("the reader did not stay: {status}")));
        }
    }
    if grown > BYTES_ONCE + commits * BYTES_A_COMMIT {
        return Err(Harm::Wrong(format!("the store has grown by {grown} bytes in {commits} commits")));
    }
    drop(talk);
    let _ = life.stop().0.ok();
    let listed = finish(&mut abide(["send".as_ref(), machine.as_os_str(), "list".as_ref()])).ok();
    if listed.trim_end() != format!("note {}", commits - 1) {
        return Err(Harm::Lost(format!("the last of {commits} notes is gone: {listed}")));
    }
    if commits == COMMITS[0] {
        let _ = verify(&machine);
    }
    Ok(())
}

/// A reader that has written as much as its pipe holds and waits for somebody to read it.
fn stalled(args: &[&str], machine: &Path) -> Result<Child, Harm> {
    let mut command = abide(args.iter().map(std::ffi::OsStr::new).chain([machine.as_os_str()]));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(wrong)?;
    let pipe = child.stdout.as_ref().ok_or_else(|| wrong("no pipe"))?;
    rustix::io::fcntl_setfd(pipe, FdFlags::CLOEXEC).map_err(wrong)?;
    let begun = Instant::now();
    let mut last = (0, Instant::now());
    // It has stalled when there is something in the pipe that has not become more for a while.
    while last.0 == 0 || last.1.elapsed() < Duration::from_millis(100) {
        let waiting = rustix::io::ioctl_fionread(pipe).map_err(wrong)?;
        if waiting != last.0 {
            last = (waiting, Instant::now());
        }
        if begun.elapsed() > PATIENCE {
            return Err(Harm::Wrong("a log that is not written".to_owned()));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(child)
}

fn killed_copy(machine: &Path, place: &Path, number: u64) -> Result<(), Harm> {
    let point = Point { call: "write".to_owned(), number };
    let args = ["copy".as_ref(), machine.as_os_str(), place.join("copy").as_os_str()].map(ToOwned::to_owned);
    let ran = finish(&mut Plan::deed(Deed::Kill, &point, Vec::new()).command(&abide(args), &place.join("trace")));
    match ran.status.success() {
        false => Ok(()),
        true => Err(Harm::Wrong(format!("a copy with fewer than {number} writes: {ran}"))),
    }
}

fn wrong(error: impl std::fmt::Display) -> Harm {
    Harm::Wrong(io::Error::other(error.to_string()).to_string())
}
