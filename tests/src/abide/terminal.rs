//! A command whose standard streams are a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{PATIENCE, wait};

/// A command on a terminal, and everything that the terminal has shown; killed when this is dropped.
pub struct OnTerminal {
    child: Child,
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl OnTerminal {
    /// Runs a command with a terminal as its input, output and error.
    ///
    /// # Panics
    /// If there is no terminal, or it cannot be run.
    #[track_caller]
    #[must_use]
    pub fn of(mut command: Command) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal can be had");
        grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("a terminal can be opened");
        let name = ptsname(&terminal, Vec::new()).expect("a terminal has a name").into_string().expect("and of text");
        let end = File::options().read(true).write(true).open(name).expect("a terminal can be opened");
        let share = || end.try_clone().expect("a file can be shared");
        command.stdin(share()).stdout(share()).stderr(share());
        let child = command.spawn().expect("abide can be run");
        let mut terminal = File::from(terminal);
        let keys = terminal.try_clone().expect("a file can be shared");
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let seen = Arc::clone(&shown);
        let read = move || {
            let mut chunk = [0; 4096];
            // A terminal whose other ends are closed reads as an error, after everything that was written.
            while let Ok(length @ 1..) = terminal.read(&mut chunk) {
                seen.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..length]);
            }
        };
        // The command and `end` are this side's last ends of the terminal: it reads as ended when the child has.
        Self { child, keys, shown, reader: Some(thread::spawn(read)) }
    }

    /// What has been shown so far.
    #[must_use]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until this is shown.
    ///
    /// # Panics
    /// If that takes too long.
    #[track_caller]
    pub fn see(&self, text: &str) {
        let begun = Instant::now();
        while !self.shown().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "{text:?} is not shown: {:?}", self.shown());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Types something, `\x04` for the end of input.
    ///
    /// # Panics
    /// If the terminal is gone.
    #[track_caller]
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("a terminal takes keys");
    }

    /// Asks the command to end as `^C` does.
    pub fn interrupt(&self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
    }

    /// Waits until the command ends. How it did, and all that was shown.
    ///
    /// # Panics
    /// If it does not end in time.
    #[track_caller]
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = wait(&mut self.child).unwrap_or_else(|| panic!("does not end: {:?}", self.shown()));
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        (status, self.shown())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
