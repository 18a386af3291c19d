//! A disk that fails: every read, write and sync of a life, once and from then on. The command says what failed and ends, nothing is acknowledged
//! after that, and on a sound disk everything is there again.

use std::collections::BTreeMap;

use super::rounds::{sweep, telling};
use super::scenes::{Scene, Stage};
use super::strace::{Deed, Plan, Point, missing};
use super::{Effort, Row, Tally};
use crate::abide::place_in_memory;
use crate::sim::random::Random;

/// A round is a failure at each call, once and from then on.
pub const ROW: Row =
    Row { name: "disk-errors", fault: "every read, write and sync fails, once and from then on", in_ci: 1, run };

const CALLS: [&str; 11] = [
    "fdatasync",
    "fsync",
    "ftruncate",
    "openat",
    "pread64",
    "pwrite64",
    "read",
    "rename",
    "renameat2",
    "write",
    "writev",
];

/// Most calls read. The tests take one of so many of these.
const READING: [&str; 3] = ["openat", "pread64", "read"];
const SAMPLE: u64 = 5;

fn run(effort: &Effort) -> Tally {
    fail_every_call(effort, "EIO", &CALLS, |_| true)
}

/// Plays every scene with every one of these calls failing so. What a failure must say besides what it always must, `says` looks for.
pub(super) fn fail_every_call(
    effort: &Effort,
    error: &'static str,
    calls: &[&str],
    says: impl Fn(&str) -> bool + Sync,
) -> Tally {
    if let Some(not_run) = missing() {
        return not_run;
    }
    let stage = Stage::new();
    let mut faults = Vec::new();
    for scene in Scene::ALL {
        for (point, are_all_ours) in points(&stage, scene, calls) {
            faults.push((scene, Deed::Fail(error), point.clone()));
            if are_all_ours {
                faults.push((scene, Deed::FailFromThenOn(error), point));
            }
        }
    }
    if effort.until.is_none() {
        let mut random = Random::new(effort.seed);
        faults.retain(|(_, _, point)| !READING.contains(&point.call.as_str()) || random.one_in(SAMPLE));
    }
    sweep(effort, &faults, |(scene, deed, point)| {
        let place = place_in_memory();
        let plan = Plan::deed(*deed, point, scene.files(place.path()));
        let outcome = telling(&plan.shown(scene.args(place.path())), || {
            let (played, trace) = plan.play(&stage, *scene, place.path())?;
            if !trace.has_failed_call() {
                return Ok(false);
            }
            played.says_what_failed(place.path(), &says)?;
            // What cannot be looked into cannot be taken away either, but for the next command.
            if point.call != "openat" {
                played.leaves_nothing_in_the_making(place.path())?;
            }
            played.judge(*scene, place.path())?;
            Ok(true)
        });
        match outcome {
            Ok(false) => None,
            outcome => Some(outcome.map(drop)),
        }
    })
}

/// The calls that are about the scene's files, and whether all later calls of their kind are, too: a disk does not make a terminal or a wake-up fail.
fn points(stage: &Stage, scene: Scene, calls: &[&str]) -> Vec<(Point, bool)> {
    let place = place_in_memory();
    let Ok((_, trace)) = Plan::look(calls, scene.files(place.path())).play(stage, scene, place.path()) else {
        return Vec::new();
    };
    let name = place.path().to_string_lossy();
    let mut ours: BTreeMap<Point, bool> = BTreeMap::new();
    for (point, line) in trace.calls() {
        // Of a call on a descriptor its file counts, not what is written.
        let of_file =
            line.split_once('(').is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()));
        let about = if of_file { line.split_once('>').map_or(line, |(file, _)| file) } else { line };
        let is_ours = about.contains(&*name);
        ours.entry(point).and_modify(|ours| *ours &= is_ours).or_insert(is_ours);
    }
    let are_all_ours = |point: &Point| {
        ours.iter().all(|(later, is_ours)| *is_ours || later.call != point.call || later.number < point.number)
    };
    ours.iter().filter(|(_, is_ours)| **is_ours).map(|(point, _)| (point.clone(), are_all_ours(point))).collect()
}
