//! How fast the language is evaluated, and how long it takes to be there.

use std::hint::black_box;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lang::eval::Limits;
use lang::session::Session;

use crate::launch::build;
use crate::report::{Report, Target, median, timed};

#[path = "../../lang/examples/reductions/programs.rs"]
mod programs;

use programs::{PROGRAMS, Ran, cpu, run as run_program, session};

const ROUNDS: usize = 3;
const PROMPTS: usize = 20;
/// What is promised of the programs.
const REDUCTIONS_LEAST: f64 = 15e6;

pub(crate) fn run(report: &mut Report) {
    programs(report);
    let load = || {
        let session = Session::new(Limits::default(), Box::new(|_| Err("there are no files".to_owned())));
        drop(black_box(session.expect("there is memory")));
    };
    let loads = (0..PROMPTS).map(|_| timed(load)).collect();
    let target = Target::AtMost(Duration::from_secs(2));
    report.cost("the base library read and held to its assertions", median(loads), None, target);
    prompt(report);
}

fn programs(report: &mut Report) {
    let (mut logs, mut floors) = (0.0, 0.0);
    for (name, call, expected) in PROGRAMS {
        let (mut rates, mut natives) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut session = session();
            let Ran { time, reductions, value } = run_program(&mut session, call);
            assert_eq!(value, expected, "{name}");
            rates.push(per_second(reductions, time));
            natives.push(native());
        }
        let (rate, floor) = (middle(rates), middle(natives));
        logs += rate.ln();
        floors += floor.ln();
        report.rate(&format!("{name}, reductions"), rate, floor, Target::RateAtLeast(REDUCTIONS_LEAST));
    }
    let count = f64::from(u32::try_from(PROGRAMS.len()).expect("they are few"));
    let mean = |logs: f64| (logs / count).exp();
    report.rate("geometric mean", mean(logs), mean(floors), Target::RateAtLeast(REDUCTIONS_LEAST));
    report.note("", "(time on a processor; the floor: calls of the same fib in Rust)");
}

/// Calls a second of a function that the compiler must not see through.
fn native() -> f64 {
    fn fib(n: u64) -> u64 {
        let n = black_box(n);
        if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
    }
    let start = cpu();
    // Each call but the leaves makes two.
    let calls = 2 * fib(31) - 1;
    per_second(calls, cpu().saturating_sub(start))
}

#[allow(clippy::cast_precision_loss, reason = "counts of a bench are small")]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// From the command to what the first form typed comes to.
fn prompt(report: &mut Report) {
    let binary = build();
    let (mut prompts, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..PROMPTS {
        floors.push(answer(&binary, "--version", "", "abide 0.1.0\n"));
        prompts.push(answer(&binary, "repl", "(add 1 2)\n", "3\n"));
    }
    let target = Target::AtMost(Duration::from_millis(100));
    report.cost("abide repl, until the first form is answered", median(prompts), Some(median(floors)), target);
    report.note("", "(the floor: the same binary until it has printed its version)");
}

fn answer(binary: &Path, argument: &str, typed: &str, expected: &str) -> Duration {
    let start = Instant::now();
    let mut child = Command::new(binary)
        .arg(argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the abide binary can be run");
    // A command that asks for nothing may have ended already.
    let mut keys = child.stdin.take().expect("its input is a pipe");
    let _ = keys.write_all(typed.as_bytes());
    let mut shown = vec![0; expected.len()];
    child.stdout.as_mut().expect("its output is a pipe").read_exact(&mut shown).expect("it answers");
    let time = start.elapsed();
    assert_eq!(shown, expected.as_bytes());
    drop(keys);
    child.wait().expect("the process ends");
    time
}
