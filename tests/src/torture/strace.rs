//! `strace`, which ends a process at a system call of one's choice or makes the call fail.
//!
//! It counts the calls of each kind in each thread for itself: the third `pwrite64` is the third of whichever thread gets to a third one first.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::scenes::{Played, Scene, Stage};
use super::{Harm, Tally};
use crate::abide::PATIENCE;

const NAME: &str = "strace";

/// Why a row that needs it cannot run here, if it cannot.
pub(super) fn missing() -> Option<Tally> {
    let works = Command::new(NAME)
        .args(["-o", "/dev/null", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    (!works).then(|| Tally::not_run("strace is not installed or may not trace: apt-get install strace"))
}

/// A system call: the so-manyth of its kind in its thread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    /// Its name.
    pub(super) call: String,
    /// Counted from 1.
    pub(super) number: u64,
}

/// What is done at a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// The process is ended as by `kill -9`; the call does not happen.
    Kill,
    /// The call does not happen and fails so.
    Fail(&'static str),
    /// The same, and every call of its kind after it.
    FailFromThenOn(&'static str),
}

/// What is looked at, and what is done.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Kinds of calls.
    pub(super) calls: Vec<String>,
    /// Only calls on these files; on all if there are none.
    pub(super) files: Vec<PathBuf>,
    /// What to do, where.
    pub(super) deed: Option<(Deed, Point)>,
}

impl Plan {
    /// Looks, and does nothing.
    pub(super) fn look(calls: &[&str], files: Vec<PathBuf>) -> Self {
        Self { calls: calls.iter().map(|&call| call.to_owned()).collect(), files, deed: None }
    }

    /// Does something at a call.
    pub(super) fn deed(deed: Deed, point: &Point, files: Vec<PathBuf>) -> Self {
        Self { calls: vec![point.call.clone()], files, deed: Some((deed, point.clone())) }
    }

    fn options(&self) -> Vec<String> {
        let mut options = vec![format!("trace={}", self.calls.join(","))];
        if let Some((deed, Point { call, number })) = &self.deed {
            options.push(match deed {
                Deed::Kill => format!("inject={call}:signal=SIGKILL:when={number}"),
                Deed::Fail(error) => format!("inject={call}:error={error}:when={number}"),
                Deed::FailFromThenOn(error) => format!("inject={call}:error={error}:when={number}+"),
            });
        }
        options
    }

    /// Plays a scene in this folder under strace.
    ///
    /// # Errors
    /// If it says what is wrong.
    pub(super) fn play(&self, stage: &Stage, scene: Scene, place: &Path) -> Result<(Played, Trace), Harm> {
        stage.set(scene, place);
        let trace = place.join("trace");
        let played = stage.play(scene, place, |command| self.command(&command, &trace))?;
        Ok((played, read(&trace)))
    }

    /// The command under strace. Its process is the command's own: strace stands beside it.
    pub(super) fn command(&self, command: &Command, trace: &Path) -> Command {
        let mut traced = Command::new(NAME);
        traced.args(["-D", "-f", "-y", "-o"]).arg(trace);
        for option in self.options() {
            traced.args(["-e", &option]);
        }
        for file in &self.files {
            traced.arg("-P").arg(file);
        }
        traced.arg("--").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => traced.env(name, value),
                None => traced.env_remove(name),
            };
        }
        traced
    }

    /// What to type to see it again.
    pub(super) fn shown<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> String {
        let mut shown = "strace -f".to_owned();
        self.options().iter().for_each(|option| shown += &format!(" -e {option}"));
        self.files.iter().for_each(|file| shown += &format!(" -P {}", file.display()));
        shown += " abide";
        args.into_iter().for_each(|arg| shown += &format!(" '{}'", arg.as_ref().to_string_lossy()));
        shown
    }
}

/// What strace wrote, once every thread it saw has ended.
///
/// # Panics
/// If that takes too long.
fn read(trace: &Path) -> Trace {
    let begun = Instant::now();
    loop {
        let trace = Trace(String::from_utf8_lossy(&std::fs::read(trace).unwrap_or_default()).into_owned());
        if trace.is_whole() {
            return trace;
        }
        assert!(begun.elapsed() < PATIENCE, "strace does not end: {}", trace.0);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What strace wrote: a line for each call, which begins with the thread's number.
pub(super) struct Trace(String);

impl Trace {
    fn is_whole(&self) -> bool {
        let (mut seen, mut ended) = (BTreeSet::new(), BTreeSet::new());
        for (thread, what) in self.lines() {
            seen.insert(thread);
            if what.starts_with("+++ ") {
                ended.insert(thread);
            }
        }
        self.0.ends_with('\n') && !seen.is_empty() && seen == ended
    }

    fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().filter_map(|line| line.split_once(' ')).map(|(thread, what)| (thread, what.trim_start()))
    }

    /// Whether a process was killed.
    pub(super) fn has_killed(&self) -> bool {
        self.0.contains("+++ killed by SIGKILL +++")
    }

    /// Whether a call was made to fail.
    pub(super) fn has_failed_call(&self) -> bool {
        self.0.contains("(INJECTED)")
    }

    /// Every call: its place in its thread, and the line that tells of it.
    pub(super) fn calls(&self) -> impl Iterator<Item = (Point, &str)> {
        let mut counted: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        self.lines().filter_map(move |(thread, what)| {
            let (call, _) = what.split_once('(')?;
            let is_name = call.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            if !is_name || call.is_empty() {
                return None;
            }
            let number = counted.entry((thread, call)).or_default();
            *number += 1;
            Some((Point { call: call.to_owned(), number: *number }, what))
        })
    }
}
