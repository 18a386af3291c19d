//! A machine that runs in a process of its own, from `abide start` to its end.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::{PATIENCE, Ran, Talk, abide, contents, text, wait};

/// A process that runs a machine; killed when this is dropped.
pub struct Life {
    child: Child,
    what: String,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    err: File,
}

impl Life {
    /// `abide start MACHINE`.
    ///
    /// # Panics
    /// If it cannot be run.
    #[track_caller]
    #[must_use]
    pub fn start(machine: &Path) -> Self {
        Self::of(abide(["start".as_ref(), machine.as_os_str()]))
    }

    /// The same, once it is up: its servers listen.
    ///
    /// # Panics
    /// If it does not come up.
    #[track_caller]
    #[must_use]
    pub fn up(machine: &Path) -> Self {
        let mut life = Self::start(machine);
        drop(life.talk(machine));
        life
    }

    /// A command of ours that runs a machine. Its standard input is a pipe if [`Life::type_line`] is to be used.
    ///
    /// # Panics
    /// If it cannot be run.
    #[track_caller]
    #[must_use]
    pub fn of(mut command: Command) -> Self {
        let err = tempfile::tempfile().expect("a temporary file can be made");
        command.stdout(Stdio::piped()).stderr(err.try_clone().expect("a file can be shared"));
        let mut child = command.spawn().expect("abide can be run");
        let out = child.stdout.take().expect("its output is a pipe");
        let input = child.stdin.take();
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, what: format!("{command:?}"), input, lines, err }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints; none when it has ended.
    ///
    /// # Panics
    /// If there is none for too long.
    #[track_caller]
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} prints nothing for {PATIENCE:?}: {}", self.what, self.complaints())
            }
        }
    }

    /// The next line, if it comes within this time.
    pub fn line_within(&mut self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    /// Types a line on its standard input.
    ///
    /// # Panics
    /// If it has ended, or its input is no pipe.
    #[track_caller]
    pub fn type_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is a pipe");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("its input can be written");
    }

    /// Closes its standard input.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits until it can be talked to.
    ///
    /// # Panics
    /// If that takes too long, or it ends before.
    #[track_caller]
    pub fn talk(&mut self, machine: &Path) -> Talk {
        match self.talk_unless_ended(machine) {
            Some(talk) => talk,
            None => panic!("{} ended by itself: {}", self.what, self.complaints()),
        }
    }

    /// Waits until it can be talked to, or has ended.
    ///
    /// # Panics
    /// If that takes too long.
    #[track_caller]
    pub fn talk_unless_ended(&mut self, machine: &Path) -> Option<Talk> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(talk) = Talk::with(machine) {
                return Some(talk);
            }
            if !self.is_running() {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!("{} cannot be talked to: {}", self.what, self.complaints());
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// If the system cannot tell.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked after").is_none()
    }

    /// Something that kills it from another thread.
    ///
    /// # Panics
    /// If the system has no more descriptors.
    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer(pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).expect("a child has a descriptor"))
    }

    /// Ends it as `kill -9` does. What it had printed and was not read yet.
    ///
    /// # Panics
    /// If it had ended by itself.
    #[track_caller]
    pub fn kill(mut self) -> Vec<String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("{} ended by itself: {status}: {}", self.what, self.complaints());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.rest()
    }

    /// Waits until a process that is dying is dead, and so has given back its lock; its socket closes a moment earlier.
    pub fn see_dead(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it as `^C` does. What became of it, and the lines that were not read yet.
    ///
    /// # Panics
    /// If it does not end in time, or panics.
    #[track_caller]
    pub fn stop(self) -> (Ran, Vec<String>) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        self.end()
    }

    /// Waits until it ends by itself. What became of it, and the lines that were not read yet.
    ///
    /// # Panics
    /// If it does not end in time, or panics.
    #[track_caller]
    pub fn end(mut self) -> (Ran, Vec<String>) {
        let Some(status) = wait(&mut self.child) else {
            panic!("{} does not end: {}", self.what, self.complaints());
        };
        let lines = self.rest();
        let ran = Ran { what: self.what.clone(), status, out: Vec::new(), err: self.complaints() };
        (ran.without_panic(), lines)
    }

    fn rest(&self) -> Vec<String> {
        self.lines.iter().collect()
    }

    fn complaints(&self) -> String {
        text(&contents(&self.err))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills a process from another thread; one that has ended already stays ended.
#[derive(Debug)]
pub struct Killer(OwnedFd);

impl Killer {
    /// Ends it as `kill -9` does.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}
