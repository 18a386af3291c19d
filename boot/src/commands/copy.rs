//! `abide copy`: the machine as of one moment, in another folder.

use std::io::{self, Write};
use std::process::ExitCode;

use persist::machine::Reading;

use super::hosted::last;
use crate::cli::Copy;
use crate::clocks::random;
use crate::report::{Failure, Paint};
use crate::shown;
use crate::terminal::{Progress, say};

pub(crate) fn run(args: &Copy) -> Result<ExitCode, Failure> {
    let reading = Reading::open(&args.machine)?;
    let progress = Progress::of(format!("copying {}", args.machine.display()));
    let branch = reading.copy(&args.to, u64::from_le_bytes(random()?))?;
    drop(progress);
    if args.json {
        writeln!(io::stdout(), "{}", shown::standing_json(&branch))?;
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint::of(&std::io::stderr());
    let to = args.to.display().to_string();
    say(&format!(
        "copied to {} at seq {}, root {}; next: abide start {to}",
        paint.strong(&to),
        last(branch.end),
        branch.root
    ));
    Ok(ExitCode::SUCCESS)
}
