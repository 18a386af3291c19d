//! `abide start`: run until interrupted.

use std::process::ExitCode;

use persist::machine::Machine;

use super::hosted::{Host, Hosted, last};
use super::session;
use crate::cli::{RunFlags, Start};
use crate::ports::console::Target;
use crate::report::Failure;
use crate::terminal::{is_watched, say};

pub(crate) fn run(args: &Start) -> Result<ExitCode, Failure> {
    let host = Host::new()?;
    run_until_interrupted(host, Machine::open(&args.machine)?, args.run)
}

/// Runs a machine that is open until it is interrupted or halts.
pub(crate) fn start(machine: Machine, flags: RunFlags) -> Result<ExitCode, Failure> {
    run_until_interrupted(Host::new()?, machine, flags)
}

fn run_until_interrupted(host: Host, machine: Machine, flags: RunFlags) -> Result<ExitCode, Failure> {
    let shown = machine.folder().path().display().to_string();
    let seq = last(machine.branch().end);
    let hosted = Hosted::begin(host, machine, session::options(Some(flags), Target::Stdout)?, flags.scrub)?;
    if is_watched() {
        say(&format!("{shown} runs at seq {seq}; stop it with ^C; talk to it with: abide send {shown} ..."));
    }
    session::code(hosted.run()?)
}
