//! The background check of a running machine: a child process that reads everything over and over, slowly.
//!
//! It is a process of its own, at the lowest priority, because damage may end whoever reads it by a signal: that is then a finding, and not the
//! machine's end. It ends with the machine's process, which holds its standard input. What it finds is told once, by a line on standard
//! error and by `abide status`; the machine goes on.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use persist::machine::{MachineError, Reading};
use persist::scrub::{News, scrub};

use crate::cli::Scrub;
use crate::clocks::wall_clock;
use crate::control::Scrubbing;
use crate::injection::scrubs_at_once;
use crate::report::{DAMAGE_SIGNALS, Failure, INTEGRITY, causes};
use crate::terminal::say;

/// Lives that are shorter are not worth a process.
const FIRST_AFTER: Duration = Duration::from_secs(20);
/// Between two passes.
const PAUSE: Duration = Duration::from_secs(3600);
/// How many findings are kept, and how much of each.
const FINDINGS_MAX: usize = 16;
const FINDING_CHARS_MAX: usize = 300;
const NICE: i32 = 19;

/// A machine's background check. Ended when this is dropped.
pub(crate) struct Scrubber(Arc<Shared>);

struct Shared {
    machine: PathBuf,
    mib_per_s: u64,
    tell: Box<dyn Fn(Scrubbing) + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_over: bool,
    child: Option<Child>,
    known: Scrubbing,
}

impl Scrubber {
    /// Begins to check a machine, after a while. `tell` hears how it stands.
    pub(crate) fn begin(
        runtime: &tokio::runtime::Handle,
        machine: &Path,
        mib_per_s: u64,
        tell: Box<dyn Fn(Scrubbing) + Send + Sync>,
    ) -> Option<Self> {
        if mib_per_s == 0 {
            return None;
        }
        let known = Scrubbing { mib_per_s, ..Scrubbing::default() };
        let state = Mutex::new(State { known, ..State::default() });
        let shared = Arc::new(Shared { machine: machine.to_owned(), mib_per_s, tell, state });
        let begun = Arc::clone(&shared);
        let (first_after, pause) = match scrubs_at_once() {
            true => (Duration::ZERO, Duration::from_millis(100)),
            false => (FIRST_AFTER, PAUSE),
        };
        runtime.spawn(async move {
            tokio::time::sleep(first_after).await;
            // No thread before it is needed: most lives of a machine are shorter.
            let passes = move || {
                while begun.pass() {
                    thread::sleep(pause);
                }
            };
            let _ = thread::Builder::new().name("abide-scrub".to_owned()).spawn(passes);
        });
        Some(Self(shared))
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_over = true;
        if let Some(mut child) = state.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has everything checked once. Whether there is to be another pass.
    fn pass(&self) -> bool {
        let Some((out, err)) = self.spawn() else { return !self.state().is_over };
        let mut is_whole = false;
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            match line.split_once(' ') {
                Some(("at", rest)) => {
                    let mut numbers = rest.split(' ').filter_map(|number| number.parse().ok());
                    if let (Some(done), Some(total)) = (numbers.next(), numbers.next()) {
                        self.change(|known| (known.done, known.total) = (done, total));
                    }
                }
                Some(("found", what)) => self.found(what),
                _ => is_whole |= line == "done",
            }
        }
        let mut words = String::new();
        let _ = err.take(4096).read_to_string(&mut words);
        let child = self.state().child.take();
        // Whoever has taken the child has ended the machine.
        let Some(mut child) = child else { return false };
        match child.wait() {
            Ok(status) if status.success() && is_whole => self.change(|known| {
                (known.done, known.total) = (0, 0);
                known.passes += 1;
                known.last_pass = wall_clock().0;
            }),
            Ok(status) => self.ended(status, &words),
            Err(error) => tracing::warn!(%error, "the background check cannot be waited for"),
        }
        true
    }

    /// Starts a child, unless the machine has ended.
    fn spawn(&self) -> Option<(ChildStdout, ChildStderr)> {
        let mut state = self.state();
        if state.is_over {
            return None;
        }
        // Where this program was replaced meanwhile, the link still leads to it.
        let child = Command::new("/proc/self/exe")
            .args(["scrub", "--pace", &self.mib_per_s.to_string()])
            .arg(&self.machine)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        match child {
            Ok(mut child) => {
                let pipes = child.stdout.take().zip(child.stderr.take());
                state.child = Some(child);
                pipes
            }
            Err(error) => {
                tracing::warn!(%error, "there is no process for the background check");
                None
            }
        }
    }

    /// A child that did not come to its end says something of the machine if it died of it.
    fn ended(&self, status: ExitStatus, words: &str) {
        match (status.code(), status.signal()) {
            (_, Some(signal)) if DAMAGE_SIGNALS.contains(&signal) => {
                self.found(&format!("reading the store ended by signal {signal}"));
            }
            (Some(code), _) if code == i32::from(INTEGRITY) => {
                let lines = words
                    .lines()
                    .map(|line| line.trim().trim_start_matches("error: ").trim_start_matches("caused by: "));
                let said: Vec<&str> = lines.filter(|line| !line.starts_with("hint: ")).collect();
                self.found(&said.join(": "));
            }
            _ => tracing::debug!(%status, words, "a background check did not come to its end"),
        }
    }

    fn found(&self, what: &str) {
        let what: String = what.chars().filter(|c| !c.is_control()).take(FINDING_CHARS_MAX).collect();
        if self.state().known.findings.contains(&what) {
            return;
        }
        let machine = self.machine.display();
        say(&format!(
            "warning: {machine} is damaged: {what}\n  hint: the machine goes on; stop it soon, then: abide repair {machine}"
        ));
        self.change(|known| {
            if known.findings.len() < FINDINGS_MAX {
                known.findings.push(what);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Scrubbing)) {
        let known = {
            let mut state = self.state();
            change(&mut state.known);
            state.known.clone()
        };
        (self.tell)(known);
    }
}

/// `abide scrub`: one pass, told on standard output line by line.
pub(crate) fn run(args: &Scrub) -> Result<ExitCode, Failure> {
    let _ = rustix::process::nice(NICE);
    thread::spawn(|| {
        // Nothing comes; it ends with the process that runs the machine.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(0);
    });
    let reading = Reading::open(&args.machine)?;
    if reading.store().is_unlocked() {
        return Err(Failure::Host(io::Error::other("the store cannot be read beside a writer here")));
    }
    let mut out = io::stdout().lock();
    let mut is_told = true;
    let mut tell = |line: String| {
        is_told = writeln!(out, "{line}").and_then(|()| out.flush()).is_ok();
        if is_told { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let scrubbed = scrub(reading.store(), &mut |news| match news {
        News::Found(what) => tell(format!("found {what}")),
        News::Slice(pass) => {
            let flow = tell(format!("at {} {}", pass.done, pass.total));
            thread::sleep(Duration::from_micros(pass.bytes.saturating_mul(1_000_000) / (args.pace.max(1) << 20)));
            flow
        }
    });
    match scrubbed.map_err(|error| Failure::from(MachineError::from(error))) {
        Ok(()) => {
            let _ = tell("done".to_owned());
        }
        Err(failure) if failure.is_damage() => {
            let _ = tell(format!("found {}", causes(&failure).join(": ")));
            let _ = tell("done".to_owned());
        }
        Err(failure) => return Err(failure),
    }
    Ok(ExitCode::SUCCESS)
}
