//! `abide log`: what entered a machine.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use persist::journal::{Start, each_batch};
use persist::machine::Reading;
use seed::Seq;

use crate::cli::Log;
use crate::report::{Failure, Paint};
use crate::shown;

/// How often the log of a running machine is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Log) -> Result<ExitCode, Failure> {
    let mut reading = Reading::open(&args.machine)?;
    let mut next = Seq(args.last.map_or(args.since, |last| reading.branch().end.0.saturating_sub(last)));
    loop {
        print_from(&reading, next, args.json)?;
        next = next.max(reading.branch().end);
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        while reading.refresh()?.end <= next {
            std::thread::sleep(FOLLOW_EVERY);
        }
    }
}

fn print_from(reading: &Reading, first: Seq, json: bool) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let paint = Paint::of(&io::stdout());
    let mut failed = None;
    each_batch(reading.store(), reading.branch(), Start::At(first), &mut |batch, _| {
        for (position, record) in batch.records.iter().enumerate() {
            let seq = Seq(batch.first.0 + position as u64);
            if seq < first {
                continue;
            }
            let written = if json {
                writeln!(out, "{}", shown::record_json(seq, &batch, record))
            } else {
                let time = paint.dim(&shown::time(batch.time.0));
                writeln!(out, "{:>8}  {time}  {}", seq.0, shown::record_line(record))
            };
            if let Err(error) = written {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(out.flush()?),
    }
}
