//! `kill -9` at every system call of a life, one after the other: whatever was being done, everything acknowledged is there and the machine goes on.

use std::collections::BTreeSet;

use super::rounds::{sweep, telling};
use super::scenes::{Scene, Stage};
use super::strace::{Deed, Plan, Point, missing};
use super::{Effort, Harm, Row, Tally};
use crate::abide::place_in_memory;
use crate::sim::random::Random;

/// A round is a kill at each system call.
pub const ROW: Row = Row { name: "system-calls", fault: "kill -9 at every system call of a life", in_ci: 1, run };

/// Calls before and after which the disk, or what the outside knows, can differ.
const CHANGING: [&str; 24] = [
    "bind",
    "chmod",
    "clone3",
    "connect",
    "exit_group",
    "fdatasync",
    "fsync",
    "ftruncate",
    "linkat",
    "listen",
    "mkdir",
    "mmap",
    "msync",
    "munmap",
    "openat",
    "pwrite64",
    "rename",
    "renameat2",
    "rmdir",
    "sendto",
    "unlink",
    "unlinkat",
    "write",
    "writev",
];

/// Calls that tell a process something, and what it sets up and takes down with them. The tests take one of so many.
const OTHER: [&str; 12] = [
    "accept4",
    "close",
    "fcntl",
    "getdents64",
    "ioctl",
    "madvise",
    "newfstatat",
    "pread64",
    "read",
    "recvfrom",
    "socket",
    "statx",
];
const SAMPLE: u64 = 6;

const SCENES: [Scene; 10] = [
    Scene::Boot,
    Scene::Send,
    Scene::Raise,
    Scene::Start,
    Scene::Count,
    Scene::Client,
    Scene::Copy,
    Scene::Save,
    Scene::Verify,
    Scene::Repair,
];

/// Threads take turns differently each time: so often a scene is looked at for what there is to kill it at.
const LOOKS: usize = 3;

fn run(effort: &Effort) -> Tally {
    if let Some(not_run) = missing() {
        return not_run;
    }
    let stage = Stage::new();
    let scenes = SCENES.into_iter();
    let mut points: Vec<(Scene, Point)> =
        scenes.flat_map(|scene| points(&stage, scene).into_iter().map(move |point| (scene, point))).collect();
    if effort.until.is_none() {
        let mut random = Random::new(effort.seed);
        points.retain(|(_, point)| CHANGING.contains(&point.call.as_str()) || random.one_in(SAMPLE));
    }
    sweep(effort, &points, |(scene, point)| kill(&stage, *scene, point))
}

fn points(stage: &Stage, scene: Scene) -> BTreeSet<Point> {
    let mut points = BTreeSet::new();
    for _ in 0..LOOKS {
        let place = place_in_memory();
        let calls = [CHANGING.as_slice(), OTHER.as_slice()].concat();
        if let Ok((_, trace)) = Plan::look(&calls, Vec::new()).play(stage, scene, place.path()) {
            points.extend(trace.calls().map(|(point, _)| point));
        }
    }
    points
}

fn kill(stage: &Stage, scene: Scene, point: &Point) -> Option<Result<(), Harm>> {
    let place = place_in_memory();
    let plan = Plan::deed(Deed::Kill, point, Vec::new());
    let outcome = telling(&plan.shown(scene.args(place.path())), || {
        let (played, trace) = plan.play(stage, scene, place.path())?;
        played.judge(scene, place.path())?;
        Ok(trace.has_killed())
    });
    match outcome {
        Ok(false) => None,
        outcome => Some(outcome.map(drop)),
    }
}
