//! `abide start`: run until interrupted.

use std::io;
use std::pin::Pin;
use std::process::ExitCode;

use persist::folder::Folder;
use persist::machine::Machine;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::session;
use crate::cli::{RunFlags, Start};
use crate::control::Service;
use crate::driver::{Running, host_runtime};
use crate::ports::console::Target;
use crate::report::Failure;

pub(crate) fn run(args: &Start) -> Result<ExitCode, Failure> {
    let host = Host::new()?;
    run_until_interrupted(host, Machine::open(&args.machine)?, args.run)
}

/// Runs a machine that is open until it is interrupted or halts.
pub(crate) fn start(machine: Machine, flags: RunFlags) -> Result<ExitCode, Failure> {
    run_until_interrupted(Host::new()?, machine, flags)
}

/// A runtime that has taken over the signals that end a run: from here on, a machine that is interrupted stops cleanly, even one that is still
/// recovering.
struct Host {
    runtime: Runtime,
    interrupted: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Host {
    fn new() -> Result<Self, Failure> {
        let runtime = host_runtime()?;
        let interrupted = {
            let _entered = runtime.enter();
            Box::pin(interrupted().map_err(Failure::Host)?)
        };
        Ok(Self { runtime, interrupted })
    }
}

/// Ends with the first signal that asks this process to end. Must be called within a runtime.
fn interrupted() -> io::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

fn run_until_interrupted(host: Host, machine: Machine, flags: RunFlags) -> Result<ExitCode, Failure> {
    let folder = Folder::open(machine.folder().path()).map_err(|error| Failure::Machine(error.into()))?;
    let running = Running::start_on(host.runtime, machine, session::options(Some(flags), Target::Stdout))?;
    let service = serve(&running, &folder);
    if let Some(runtime) = running.runtime() {
        let handle = running.handle().clone();
        runtime.spawn(async move {
            host.interrupted.await;
            if let Some(service) = service {
                service.end().await;
            }
            handle.stop();
        });
    }
    session::code(running.wait()?)
}

/// Lets other processes talk to a machine that runs here.
pub(crate) fn serve(running: &Running, folder: &Folder) -> Option<Service> {
    let _entered = running.runtime()?.enter();
    match Service::begin(folder, running.handle().clone()) {
        Ok(service) => Some(service),
        // Without it the machine runs all the same; only nobody can talk to it.
        Err(error) => {
            tracing::warn!(%error, "no control socket: send and repl cannot reach this machine");
            None
        }
    }
}
