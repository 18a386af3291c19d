//! Too little memory: scenes of a life under limits from far too small to enough, of addresses, of data and of a control group, and guests that take all
//! they can. What cannot go on ends, as by `kill -9` or with an error, and whatever was acknowledged is there when there is memory again.

mod group;

use std::process::Command;

use rustix::process::Signal;

use super::rounds::{sweep, telling};
use super::scenes::{Scene, Stage};
use super::{Effort, Harm, Row, Tally};
use crate::abide::{Answer, Life, Ran, abide, boot, example, place, place_in_memory};
use crate::sim::random::Random;
use group::Group;

/// A round is each scene under each limit, and guests that take all they can.
pub const ROW: Row = Row { name: "memory-limits", fault: "too little memory, of each kind", in_ci: 1, run };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// `RLIMIT_AS`, in KiB. A store's map alone is 64 GiB, of which next to nothing is used.
    Addresses(u64),
    /// `RLIMIT_DATA`, in KiB.
    Data(u64),
    /// A control group's, in KiB.
    Group(u64),
}

const MIB: u64 = 1 << 10;
const GIB: u64 = 1 << 20;

/// From where a program can be begun at all: with less the kernel ends it, with whatever signal.
const ADDRESSES: [u64; 11] =
    [64 * MIB, 128 * MIB, 512 * MIB, 4 * GIB, 64 * GIB, 65 * GIB, 66 * GIB, 68 * GIB, 72 * GIB, 80 * GIB, 128 * GIB];
const DATA: [u64; 13] = [
    MIB,
    2 * MIB,
    3 * MIB,
    4 * MIB,
    6 * MIB,
    8 * MIB,
    12 * MIB,
    16 * MIB,
    24 * MIB,
    48 * MIB,
    128 * MIB,
    512 * MIB,
    4 * GIB,
];
const GROUP: [u64; 8] = [512, 2 * MIB, 4 * MIB, 6 * MIB, 10 * MIB, 16 * MIB, 32 * MIB, 256 * MIB];

/// What a group has that guests take all they can in, and what a machine that has declared less must make do with.
const BOMBED: u64 = 256 * MIB;
const DECLARED: [&str; 3] = ["1073741824", "402653184", "67108864"];

/// What a guest is given to keep.
const NOTES: usize = 48;
const NOTE_BYTES: usize = 6 << 20;

/// The tests take one of so many.
const SAMPLE: u64 = 4;

#[derive(Debug, Clone, Copy)]
enum Play {
    Scene(Scene, Limit),
    /// A guest that takes all it has declared, in a group.
    Bomb(&'static str),
}

fn run(effort: &Effort) -> Tally {
    let stage = Stage::new();
    let missing = Group::new(BOMBED).err();
    let addresses = ADDRESSES.map(Limit::Addresses);
    let limits = addresses.into_iter().chain(DATA.map(Limit::Data)).chain(GROUP.map(Limit::Group));
    let scenes = limits.flat_map(|limit| Scene::ALL.map(|scene| Play::Scene(scene, limit)));
    let mut plays: Vec<Play> = scenes.chain(DECLARED.map(Play::Bomb)).collect();
    plays.retain(|play| missing.is_none() || !matches!(play, Play::Bomb(_) | Play::Scene(_, Limit::Group(_))));
    if effort.until.is_none() {
        let mut random = Random::new(effort.seed);
        plays.retain(|play| matches!(play, Play::Bomb(_)) || random.one_in(SAMPLE));
    }
    // The kernel ends by a signal what has not even room for its own static data: nothing of ours has begun then.
    plays.retain(|play| match play {
        Play::Scene(_, Limit::Data(kib)) => {
            after(&format!("ulimit -d {kib}"), &abide(["--version"])).output().is_ok_and(|ran| ran.status.success())
        }
        _ => true,
    });
    let mut tally = sweep(effort, &plays, |play| {
        let outcome = telling(&format!("{play:?}, in KiB"), || match play {
            Play::Scene(scene, limit) => limited(&stage, *scene, *limit),
            Play::Bomb(declared) => bombed(declared),
        });
        Some(outcome)
    });
    tally.left_out.extend(missing);
    tally
}

fn limited(stage: &Stage, scene: Scene, limit: Limit) -> Result<(), Harm> {
    let place = place_in_memory();
    stage.set(scene, place.path());
    let group = match limit {
        Limit::Group(kib) => Some(Group::new(kib).map_err(Harm::Wrong)?),
        _ => None,
    };
    let before = match (limit, &group) {
        (Limit::Addresses(kib), _) => format!("ulimit -v {kib}"),
        (Limit::Data(kib), _) => format!("ulimit -d {kib}"),
        (Limit::Group(_), group) => group.as_ref().map(Group::join).unwrap_or_default(),
    };
    let played = stage.play(scene, place.path(), |command| after(&before, &command))?;
    drop(group);
    ends_for_want_of_memory(&played.ran)?;
    played.judge(scene, place.path())
}

/// The same command, by a shell that does something before.
fn after(before: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{before} && exec \"$0\" \"$@\"")).arg(command.get_program()).args(command.get_args());
    // Without memory it is the standard library that hangs in the making of a backtrace.
    shell.env("RUST_BACKTRACE", "0");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// A command does what it is to do, says what it lacks, or is ended; but it is nobody's fault, and the machine is not damaged.
fn ends_for_want_of_memory(ran: &Ran) -> Result<(), Harm> {
    use std::os::unix::process::ExitStatusExt;
    let is_right = match (ran.status.code(), ran.status.signal().and_then(Signal::from_named_raw)) {
        (Some(0), _) => true,
        // The shell or the dynamic linker, which come before us, have no other code for it.
        (Some(126 | 127 | 2), _) => true,
        (Some(1), _) => ran.err.contains("error: ") || ran.err.contains("emory"),
        (_, Some(Signal::KILL)) => true,
        (_, Some(Signal::ABORT)) => ran.err.contains("emory"),
        _ => false,
    };
    if is_right { Ok(()) } else { Err(Harm::Wrong(format!("does not say that it lacks memory: {ran}"))) }
}

/// A guest is given ever more to keep, with more or less memory declared than there is.
fn bombed(declared: &str) -> Result<(), Harm> {
    // On a disk: what is in memory belongs to whoever wrote it.
    let place = place();
    let machine = place.path().join("m");
    boot(&machine, &example("notes/notes.wasm"), &["--limit", &format!("memory_bytes={declared}")]);
    let group = Group::new(BOMBED).map_err(Harm::Wrong)?;
    let mut life = Life::of(after(&group.join(), &abide(["start".as_ref(), machine.as_os_str()])));
    let mut talk = life.talk(&machine);
    let (mut kept, mut is_refused) = (0, false);
    let text = |number| format!("{number:08}").repeat(NOTE_BYTES / 8);
    for number in 0..NOTES {
        match talk.say("", &format!("put note{number} {}", text(number))) {
            Ok(Answer::Said(answer)) if answer == "ok" => kept += 1,
            // Its own answer, or the end of the step that could not have more.
            Ok(_) => {
                is_refused = true;
                break;
            }
            Err(_) => break,
        }
    }
    drop(talk);
    let is_alive = life.is_running();
    let used = group.most_used();
    let ran = if is_alive { life.stop().0 } else { life.end().0 };
    drop(group);
    ends_for_want_of_memory(&ran)?;
    let fits = declared.parse::<u64>().is_ok_and(|bytes| bytes >> 10 < BOMBED / 2);
    if fits && !(is_refused && ran.status.success()) {
        return Err(Harm::Wrong(format!("a guest within its limits is ended, {used:?} KiB used: {ran}")));
    }
    if !fits && (ran.status.success() || kept == 0) {
        return Err(Harm::Wrong(format!(
            "{kept} notes of {NOTE_BYTES} bytes in {BOMBED} KiB: is there a limit? {ran}"
        )));
    }
    if used.is_some_and(|used| used > BOMBED) {
        return Err(Harm::Wrong(format!("{used:?} KiB used of {BOMBED}")));
    }
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    // One that has filled all it has declared has no room for an answer of this size.
    for number in if fits { 0..0 } else { 0..kept } {
        if talk.ask(&format!("get note{number}")) != text(number) {
            return Err(Harm::Lost(format!("note {number} of {kept} was acknowledged and is not there")));
        }
    }
    let count = talk.ask("count");
    drop(talk);
    let _ = life.stop().0.ok();
    if count != kept.to_string() && count != (kept + 1).to_string() {
        return Err(Harm::Wrong(format!("{kept} notes were acknowledged, there are {count}")));
    }
    Ok(())
}
