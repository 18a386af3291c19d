//! Two processes that come upon one machine at the same moment, and holders that are killed: one runs it, the other is told who has it or talks to
//! that one, and the kernel gives the lock back.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use persist::folder::Lock;

use super::rounds::{side_by_side, telling};
use super::scenes::expect_ok;
use super::{Effort, Harm, Row, Tally};
use crate::abide::{Life, PATIENCE, Ran, abide, boot, example, place_in_memory};
use crate::sim::random::Random;

/// A round is one race, and one holder killed.
pub const ROW: Row = Row { name: "openers", fault: "two processes at once, holders killed", in_ci: 200, run };

/// How much later the second comes, at most.
const LATER_US: u64 = 30_000;

fn run(effort: &Effort) -> Tally {
    side_by_side(effort, |round| {
        let seed = effort.seed.wrapping_add(round);
        let again = format!("torture --seed {seed} openers: its first race");
        Some(telling(&again, || race(&mut Random::new(seed))))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opener {
    Starts,
    Sends(&'static str),
}

fn race(random: &mut Random) -> Result<(), Harm> {
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let openers = match random.below(3) {
        0 => [Opener::Starts, Opener::Starts],
        1 => [Opener::Starts, Opener::Sends("two")],
        _ => [Opener::Sends("one"), Opener::Sends("two")],
    };
    let later = Duration::from_micros(random.below(LATER_US));
    let kill_after = Duration::from_micros(random.below(LATER_US));
    let acknowledged = race_of(&machine, openers, later)?;

    // One that holds it is killed at a random moment; whoever comes next need not know.
    let mut life = Life::start(&machine);
    if random.one_in(2) {
        drop(life.talk(&machine));
    }
    thread::sleep(kill_after);
    let _ = life.kill();
    let listed = expect_ok([OsStr::new("send"), machine.as_os_str(), OsStr::new("list")])?;
    let there: BTreeSet<&str> = listed.lines().map(str::trim_end).collect();
    if there != acknowledged {
        return Err(Harm::Lost(format!("{acknowledged:?} were acknowledged, there is {listed:?}")));
    }
    expect_ok(["verify".as_ref(), "--replay".as_ref(), machine.as_os_str()]).map(drop)
}

/// Lets two processes race for a machine. The notes that were put in.
fn race_of(machine: &Path, openers: [Opener; 2], later: Duration) -> Result<BTreeSet<&'static str>, Harm> {
    let (mut starters, mut senders, mut pids) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (opener, pause) in openers.into_iter().zip([Duration::ZERO, later]) {
        thread::sleep(pause);
        match opener {
            Opener::Starts => {
                let life = Life::start(machine);
                pids.insert(life.pid());
                starters.push(life);
            }
            Opener::Sends(note) => {
                let mut command = abide(["send".as_ref(), machine.as_os_str(), format!("put {note} ").as_ref()]);
                let sender = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(wrong)?;
                pids.insert(sender.id());
                senders.push((note, sender));
            }
        }
    }
    let mut acknowledged = BTreeSet::new();
    for (note, sender) in senders {
        let ran = sender.wait_with_output().map_err(wrong)?;
        if ran.stdout != b"ok\n" || !ran.status.success() {
            return Err(Harm::Wrong(format!("a sender is not served: {ran:?}")));
        }
        acknowledged.insert(note);
    }
    let all_start = starters.len() == openers.len();
    let mut running = Vec::new();
    for starter in starters {
        match settle(starter, machine)? {
            Settled::Runs(life) => running.push(life),
            Settled::Refused(ran) => is_told_who(&ran, &pids)?,
        }
    }
    if running.len() > 1 || all_start && running.is_empty() {
        return Err(Harm::Wrong(format!("{} processes run the machine", running.len())));
    }
    for life in running {
        let (ran, _) = life.stop();
        if !ran.status.success() {
            return Err(Harm::Wrong(format!("whoever runs it does not end well: {ran}")));
        }
    }
    Ok(acknowledged)
}

enum Settled {
    Runs(Life),
    Refused(Ran),
}

/// Waits until a process either has the machine or has ended.
fn settle(mut starter: Life, machine: &Path) -> Result<Settled, Harm> {
    let begun = Instant::now();
    loop {
        let is_running = starter.is_running();
        let holder = Lock::holder(machine).map_err(wrong)?.and_then(|holder| holder.pid);
        match (is_running, holder) {
            (false, _) => return Ok(Settled::Refused(starter.end().0)),
            (true, Some(pid)) if pid == starter.pid() => return Ok(Settled::Runs(starter)),
            _ if begun.elapsed() > PATIENCE => {
                return Err(Harm::Wrong(format!("process {} neither has the machine nor ends", starter.pid())));
            }
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Whoever is refused is told by whom, but for the moment in which a holder has not signed yet.
fn is_told_who(ran: &Ran, pids: &BTreeSet<u32>) -> Result<(), Harm> {
    let holder = ran.err.split_once("is in use by ").map(|(_, holder)| holder);
    let pid = holder.and_then(|holder| holder.strip_prefix("process ")?.split(' ').next()?.parse().ok());
    let is_right = match pid {
        Some(pid) => pids.contains(&pid),
        None => holder.is_some_and(|holder| holder.starts_with("another process")),
    };
    let has_hint = ran.err.contains("hint: ");
    if ran.status.code() == Some(1) && is_right && has_hint {
        return Ok(());
    }
    Err(Harm::Wrong(format!("not told which of {pids:?} has it: {ran}")))
}

fn wrong(error: impl std::fmt::Display) -> Harm {
    Harm::Wrong(error.to_string())
}
