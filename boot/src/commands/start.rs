//! `abide start`: run until interrupted.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use persist::machine::Machine;
use tokio::signal::unix::{SignalKind, signal};

use super::session;
use crate::cli::{RunFlags, Start};
use crate::control::Listener;
use crate::driver::{RunError, Running};
use crate::ports::console::Target;
use crate::report::Failure;

pub(crate) fn run(args: &Start) -> Result<ExitCode, Failure> {
    let interrupted = watch_signals()?;
    run_until(interrupted, Machine::open(&args.machine)?, Some(args.run))
}

/// Runs a machine that is open until it is interrupted or halts.
pub(crate) fn start(machine: Machine, flags: Option<RunFlags>) -> Result<ExitCode, Failure> {
    run_until(watch_signals()?, machine, flags)
}

fn run_until(interrupted: Receiver<()>, machine: Machine, flags: Option<RunFlags>) -> Result<ExitCode, Failure> {
    let running = run_with_control(machine, flags, Target::Stdout)?;
    let handle = running.handle().clone();
    thread::spawn(move || {
        if interrupted.recv().is_ok() {
            handle.stop();
        }
    });
    session::code(running.wait()?)
}

/// Takes over the signals that end a run, from here on: a machine that is still recovering when it is interrupted stops cleanly, too.
fn watch_signals() -> Result<Receiver<()>, Failure> {
    let (interrupt, interrupted) = channel();
    let (ready, watching) = channel();
    thread::Builder::new()
        .name("abide-signals".to_owned())
        .spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async {
                let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
                let [Ok(mut int), Ok(mut term), Ok(mut hup)] = signals else {
                    return drop(ready.send(Err(std::io::Error::other("signals cannot be watched"))));
                };
                let _ = ready.send(Ok(()));
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hup.recv() => {}
                }
                let _ = interrupt.send(());
            });
        })
        .map_err(Failure::Host)?;
    match watching.recv() {
        Ok(Ok(())) => Ok(interrupted),
        Ok(Err(error)) => Err(Failure::Host(error)),
        Err(_) => Err(Failure::Run(RunError::Thread)),
    }
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
