//! `abide start`: run until interrupted.

use std::process::ExitCode;

use persist::machine::Machine;
use tokio::signal::unix::{SignalKind, signal};

use super::session;
use crate::cli::{RunFlags, Start};
use crate::control::Listener;
use crate::driver::Running;
use crate::ports::console::Target;
use crate::report::Failure;

pub(crate) fn run(args: &Start) -> Result<ExitCode, Failure> {
    start(Machine::open(&args.machine)?, Some(args.run))
}

/// Runs a machine that is open until it is interrupted or halts.
pub(crate) fn start(machine: Machine, flags: Option<RunFlags>) -> Result<ExitCode, Failure> {
    let running = run_with_control(machine, flags, Target::Stdout)?;
    if let Some(runtime) = running.runtime() {
        let handle = running.handle().clone();
        let _entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Host)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Host)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(Failure::Host)?;
        runtime.spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            handle.stop();
        });
    }
    session::code(running.wait()?)
}

/// Sets a machine in motion, with its control socket.
pub(crate) fn run_with_control(machine: Machine, flags: Option<RunFlags>, console: Target) -> Result<Running, Failure> {
    let folder =
        persist::folder::Folder::open(machine.folder().path()).map_err(|error| Failure::Machine(error.into()))?;
    let running = Running::start(machine, session::options(flags, console))?;
    if let Some(runtime) = running.runtime() {
        let _entered = runtime.enter();
        match Listener::bind(&folder) {
            Ok(listener) => drop(runtime.spawn(listener.serve(running.handle().clone()))),
            // Without it the machine runs all the same; only nobody can talk to it.
            Err(error) => tracing::warn!(%error, "no control socket: send and repl cannot reach this machine"),
        }
    }
    Ok(running)
}
