//! From the command to the counter's first line, as somebody at a terminal sees it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::machine::scratch;
use crate::report::{Report, Target, median};

const ROUNDS: usize = 20;

pub(crate) fn run(report: &mut Report) {
    let binary = build();
    let folder = scratch();
    let folder = folder.path();
    let counter = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/counter/counter.wat");
    let (mut floors, mut cold, mut warm, mut again) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let place = |kind: &str| folder.join(format!("{kind}-{round}")).display().to_string();
        floors.push(first_line(&binary, &folder.join("warm"), &["--version"]));
        cold.push(first_line(
            &binary,
            &folder.join(format!("cold-{round}")),
            &["boot", "--start", &place("a"), counter],
        ));
        warm.push(first_line(&binary, &folder.join("warm"), &["boot", "--start", &place("b"), counter]));
        again.push(first_line(&binary, &folder.join("warm"), &["start", &place("b")]));
    }
    let floor = Some(median(floors));
    let target = Target::AtMost(Duration::from_millis(50));
    report.cost("boot --start, first line, no native code cached", median(cold), floor, target);
    report.cost("boot --start, first line, native code cached", median(warm), floor, target);
    report.cost("start after kill -9, first line, native code cached", median(again), floor, Target::Reported);
    report.note("", "(the floor: the same binary until it has printed its version)");
}

/// The release binary, made by the same cargo as this bench.
pub(crate) fn build() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "boot", "--bin", "abide"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .expect("cargo can be run");
    assert!(built.success(), "the abide binary builds");
    let program = std::env::current_exe().expect("a running program has a path");
    // target/release/deps/speed-...
    program.ancestors().nth(2).expect("a bench is run from the build folder").join("abide")
}

/// From the start of the process to its first line. It is killed after that.
fn first_line(binary: &Path, cache: &Path, args: &[&str]) -> Duration {
    let start = Instant::now();
    let mut child = Command::new(binary)
        .args(args)
        .env("ABIDE_CACHE", cache)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the abide binary can be run");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("its output is a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("its output can be read");
    let time = start.elapsed();
    assert!(!line.is_empty(), "{args:?} prints a line");
    let _ = child.kill();
    child.wait().expect("the process ends");
    time
}
