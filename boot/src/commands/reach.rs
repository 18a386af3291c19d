//! A machine reached: the process that runs it, or, where nobody does, the machine itself.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use persist::folder::{Folder, FolderError, LockError};
use persist::machine::{Machine, MachineError};
use tokio::runtime::Runtime;

use crate::control::{Client, ConnectError};
use crate::report::Failure;
use crate::terminal::Progress;

/// How long to wait for the process that has a machine to listen, and how long between two looks, at first and at most.
/// A machine that is being stopped makes a checkpoint first, and its disk may be slow.
const ATTACH_PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Who has a machine.
pub(crate) enum Reached {
    /// Another process, and this is a line to it.
    Running(Box<(Runtime, Client)>),
    /// This one, from here on.
    Stopped(Box<Machine>),
}

/// Attaches to the process that runs a machine, or opens the machine if nobody does.
pub(crate) fn reach(path: &Path) -> Result<Reached, Failure> {
    let mut begun = Instant::now();
    let mut pause = LOOK_AGAIN.0;
    let mut waiting = None;
    loop {
        let held = match Machine::open(path) {
            Ok(machine) => return Ok(Reached::Stopped(Box::new(machine))),
            Err(
                error @ (MachineError::Lock(LockError::Held { .. })
                | MachineError::Folder(FolderError::Lock(LockError::Held { .. }))),
            ) => error,
            Err(error) => return Err(error.into()),
        };
        let mut starting = || {
            begun = Instant::now();
            let wait =
                || Progress::waiting(format!("waiting for {}, which another process is starting", path.display()));
            waiting.get_or_insert_with(wait);
        };
        if let Some(line) = attach(path, &mut starting)? {
            return Ok(Reached::Running(Box::new(line)));
        }
        // It is just taking or giving back the lock, or does not listen: another version, or a copy in the making.
        if begun.elapsed() > ATTACH_PATIENCE {
            return Err(held.into());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LOOK_AGAIN.1);
    }
}

/// A line to the process that runs a machine; none if nobody does, or if that has just failed to start it.
pub(crate) fn running(path: &Path) -> Result<Option<(Runtime, Client)>, Failure> {
    match attach(path, &mut || ()) {
        Err(Failure::NotStarted { .. }) => Ok(None),
        attached => attached,
    }
}

/// A line to the process that runs a machine, if it listens; waits while it is starting.
fn attach(path: &Path, starting: &mut (dyn FnMut() + Send)) -> Result<Option<(Runtime, Client)>, Failure> {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
    let folder = Folder::open(path).map_err(|error| Failure::Machine(error.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Host)?;
    match runtime.block_on(Client::connect(&folder, starting)) {
        Ok(client) => Ok(Some((runtime, client))),
        Err(ConnectError::NotStarted(source)) => Err(Failure::NotStarted { path: path.to_owned(), source }),
        Err(ConnectError::Line(error)) => match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | NotFound | UnexpectedEof => Ok(None),
            _ => Err(Failure::Control(error)),
        },
    }
}
