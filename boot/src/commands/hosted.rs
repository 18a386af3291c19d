//! A machine that this process runs: served to others from before it is up until after it takes nothing more.

use std::io;
use std::path::{Path, PathBuf};

use persist::folder::Folder;
use persist::machine::{Machine, Reading};
use seed::Seq;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::scrub::Scrubber;
use super::session;
use crate::control::Service;
use crate::driver::{Ended, Handle, Options, Running, host_runtime};
use crate::report::{Failure, causes};
use crate::terminal::{Progress, is_watched, say};

/// A runtime that has taken over the signals that end a run: from here on, a machine that is interrupted stops cleanly, even one that is still
/// recovering.
pub(crate) struct Host {
    runtime: Runtime,
    interrupted: watch::Receiver<bool>,
}

impl Host {
    pub(crate) fn new() -> Result<Self, Failure> {
        let runtime = host_runtime()?;
        let (tell, interrupted) = watch::channel(false);
        let signals = {
            let _entered = runtime.enter();
            signals().map_err(Failure::Host)?
        };
        runtime.spawn(async move {
            signals.await;
            let _ = tell.send(true);
        });
        Ok(Self { runtime, interrupted })
    }
}

/// Ends with the first signal that asks this process to end. Must be called within a runtime.
fn signals() -> io::Result<impl Future<Output = ()> + Send> {
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

async fn wait_for(mut interrupted: watch::Receiver<bool>) {
    // The sender lives until it has told.
    let _ = interrupted.wait_for(|is_interrupted| *is_interrupted).await;
}

/// A machine that this process runs.
pub(crate) struct Hosted {
    path: PathBuf,
    running: Running,
    service: Option<Service>,
    scrubber: Option<Scrubber>,
    host: Host,
}

impl Hosted {
    /// Recovers a machine and sets it in motion. Others can wait for it meanwhile, and are told if that fails. Everything that is stored is checked in
    /// the background, so many MiB a second, for as long as it runs.
    pub(crate) fn begin(host: Host, machine: Machine, options: Options, mib_per_s: u64) -> Result<Self, Failure> {
        let path = machine.folder().path().to_owned();
        let folder = Folder::open(&path).map_err(|error| Failure::Machine(error.into()))?;
        let progress = Progress::of(format!("starting {}", path.display()));
        let starting = Running::begin(host.runtime.handle(), machine, options)?;
        let service = serve(&host, starting.handle(), &folder);
        let running = starting.wait().map_err(Failure::from);
        drop(progress);
        match running {
            Ok(running) => {
                if let Some(service) = &service {
                    let (tracker, why) = session::tracker()?;
                    service.up(tracker.to_string(), why, mib_per_s);
                }
                let tell = service.as_ref().map_or_else(|| Box::new(|_| ()) as Box<_>, Service::scrub_teller);
                let scrubber = Scrubber::begin(host.runtime.handle(), &path, mib_per_s, tell);
                Ok(Self { path, running, service, scrubber, host })
            }
            Err(failure) => {
                if let Some(service) = service {
                    host.runtime.block_on(service.fail(failure.exit_code(), causes(&failure)));
                }
                Err(failure)
            }
        }
    }

    /// A way to talk to it.
    pub(crate) fn handle(&self) -> &Handle {
        self.running.handle()
    }

    /// Waits for something, or until this process is asked to end: then there is nothing.
    pub(crate) fn unless_interrupted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let interrupted = wait_for(self.host.interrupted.clone());
        self.host.runtime.block_on(async {
            tokio::select! {
                biased;
                () = interrupted => None,
                done = work => Some(done),
            }
        })
    }

    /// Runs until this process is asked to end, or the machine ends by itself.
    pub(crate) fn run(self) -> Result<Ended, Failure> {
        let Self { path, running, service, scrubber, host } = self;
        let handle = running.handle().clone();
        let (tell, told) = std::sync::mpsc::channel();
        host.runtime.spawn(async move {
            wait_for(host.interrupted).await;
            if let Some(service) = service {
                let _ = tell.send(service.end().await);
            }
            handle.stop();
        });
        let ended = running.wait();
        if let Ok(ending) = told.try_recv() {
            host.runtime.block_on(ending.end());
        }
        drop(scrubber);
        host.runtime.shutdown_background();
        let ended = ended?;
        tell_end(&path);
        Ok(ended)
    }

    /// Stops the machine. Whatever it has taken from others is answered first.
    pub(crate) fn stop(self) -> Result<Ended, Failure> {
        let _progress = Progress::of(format!("stopping {}", self.path.display()));
        let ending = self.service.map(|service| self.host.runtime.block_on(service.end()));
        self.running.handle().stop();
        let ended = self.running.wait();
        if let Some(ending) = ending {
            self.host.runtime.block_on(ending.end());
        }
        self.host.runtime.shutdown_background();
        Ok(ended?)
    }
}

/// Lets other processes talk to a machine that is run here.
fn serve(host: &Host, handle: &Handle, folder: &Folder) -> Option<Service> {
    let _entered = host.runtime.enter();
    match Service::begin(folder, handle.clone()) {
        Ok(service) => Some(service),
        // Without it the machine runs all the same; only nobody can talk to it.
        Err(error) => {
            tracing::warn!(%error, "no control socket: send and repl cannot reach this machine");
            None
        }
    }
}

/// Tells a person where a machine has come to stand.
pub(crate) fn tell_end(path: &Path) {
    if is_watched()
        && let Ok(reading) = Reading::open(path)
    {
        // Over the `^C` that the terminal has shown.
        say(&format!("\r{} stopped at seq {}", path.display(), last(reading.branch().end)));
    }
}

/// The seq of the last record before an end.
pub(crate) fn last(end: Seq) -> u64 {
    end.0.saturating_sub(1)
}
