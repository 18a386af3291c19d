//! Faults by the thousand, for as long as one likes: one line for each kind, and exit code 1 if any did harm.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its lines are what it is for")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tests::torture::{Effort, ROWS, Row};

const HELP: &str = "\
Injects faults into machines and counts what becomes of them.

usage: torture [--time TIME] [--seed SEED] [ROW]...

  --time TIME   how long to go on, all rows together: 90s, 10m, 2h; without it, as often as the tests do
  --seed SEED   what decides everything that is random (0)
  ROW           only these rows

rows:
";

fn main() -> ExitCode {
    match plan(std::env::args().skip(1)) {
        Ok(Some(plan)) => run(&plan),
        Ok(None) => {
            print!("{HELP}");
            for Row { name, fault, in_ci, .. } in ROWS {
                println!("  {name:<13} {fault} ({in_ci} rounds in the tests)");
            }
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("error: {what}; see torture --help");
            ExitCode::from(2)
        }
    }
}

struct Plan {
    rows: Vec<&'static Row>,
    time: Option<Duration>,
    seed: u64,
}

fn plan(mut args: impl Iterator<Item = String>) -> Result<Option<Plan>, String> {
    let mut plan = Plan { rows: Vec::new(), time: None, seed: 0 };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "-h" | "--help" => return Ok(None),
            "--time" => plan.time = Some(duration(&value()?)?),
            "--seed" => plan.seed = value()?.parse().map_err(|_| "a seed is a number".to_owned())?,
            name => {
                plan.rows.push(ROWS.iter().find(|row| row.name == name).ok_or(format!("no row is called {name:?}"))?)
            }
        }
    }
    if plan.rows.is_empty() {
        plan.rows = ROWS.iter().collect();
    }
    Ok(Some(plan))
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    match number.parse::<u64>() {
        Ok(number) if seconds > 0 => Ok(Duration::from_secs(number * seconds)),
        _ => Err(format!("{text:?} is no time: 90s, 10m, 2h")),
    }
}

fn run(plan: &Plan) -> ExitCode {
    let mut harm = Vec::new();
    let end = plan.time.map(|time| Instant::now() + time);
    for (position, row) in plan.rows.iter().enumerate() {
        let start = Instant::now();
        // What earlier rows did not use is shared by those to come.
        let left = u32::try_from(plan.rows.len() - position).unwrap_or(1);
        let until = end.map(|end| start + end.saturating_duration_since(start) / left);
        let rounds = if until.is_some() { u64::MAX } else { row.in_ci };
        let tally = (row.run)(&Effort { rounds, until, seed: plan.seed });
        println!("{:<13} {tally} {:>7} s   {}", row.name, start.elapsed().as_secs(), row.fault);
        harm.extend(tally.lost.into_iter().chain(tally.wrong).map(|what| format!("{}: {what}", row.name)));
    }
    for what in &harm {
        println!("\n{what}");
    }
    if harm.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
