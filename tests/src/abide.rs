//! The `abide` command under test: commands that run to their end, machines that run until they are stopped or killed, and clients that
//! talk to them.
//!
//! Whatever is run here must end in time, by itself (unless a test kills it) and without a panic; a test need not ask for that.

mod life;
mod talk;
mod terminal;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value as Json;
use tempfile::TempDir;

pub use life::{Killer, Life};
pub use talk::{Answer, Talk};
pub use terminal::OnTerminal;

/// How long anything may take. Generous: the machine that runs the tests may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

const NAME: &str = "abide-under-test";

/// The binary: given by cargo, or beside the test's own.
///
/// # Panics
/// If it was not built.
pub fn binary() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let this = std::env::current_exe().expect("a test knows its own path");
        let beside = || this.ancestors().skip(1).map(|folder| folder.join(NAME)).find(|path| path.is_file());
        let given = std::env::var_os(format!("CARGO_BIN_EXE_{NAME}")).map(PathBuf::from);
        given.or_else(beside).expect("cargo builds abide-under-test along with the tests")
    })
}

/// A file of the examples.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// The counter of the examples, counting every 10 ms instead of every second: a file in this folder.
///
/// # Panics
/// If the example is not what it was.
#[must_use]
pub fn fast_counter(folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(example("counter/counter.wat")).expect("the counter is there");
    let (slow, fast) = ("$SECOND i64 (i64.const 1000000000)", "$SECOND i64 (i64.const 10000000)");
    assert_eq!(text.matches(slow).count(), 1, "the counter's interval has moved");
    let path = folder.join("fast.wat");
    std::fs::write(&path, text.replace(slow, fast)).expect("a file can be written");
    path
}

/// A new folder, removed when this is dropped.
///
/// # Panics
/// If there is no room for one.
#[must_use]
pub fn place() -> TempDir {
    tempfile::Builder::new().prefix("abide-test-").tempdir().expect("a temporary folder can be made")
}

/// A new folder that need not be on a disk: for what is not about being durable.
///
/// # Panics
/// If there is no room for one.
#[must_use]
pub fn place_in_memory() -> TempDir {
    let memory = tempfile::Builder::new().prefix("abide-test-").tempdir_in("/dev/shm");
    memory.unwrap_or_else(|_| place())
}

/// The command `abide` with these arguments, ready to be changed and run. Native code is cached for all tests of this build together.
pub fn abide<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(binary());
    let cache = binary().with_file_name("abide-test-cache");
    command.arg0("abide").args(args).env("ABIDE_CACHE", cache).stdin(Stdio::null());
    for name in
        ["ABIDE_LOG", "ABIDE_TRACKER", "ABIDE_KILL_AT_COMMIT", "ABIDE_HOLD_START", "ABIDE_SCRUB_AT_ONCE", "NO_COLOR"]
    {
        command.env_remove(name);
    }
    command
}

/// Runs `abide` with these arguments to its end.
///
/// # Panics
/// If it does not end in time, ends by a signal or panics.
#[track_caller]
pub fn run<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Ran {
    let ran = finish(&mut abide(args));
    assert!(ran.status.signal().is_none(), "ended by a signal: {ran:?}");
    ran
}

/// Runs `abide` with these arguments and this on its standard input.
///
/// # Panics
/// As [`run`].
#[track_caller]
pub fn run_with_input<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>, input: &[u8]) -> Ran {
    let mut file = tempfile::tempfile().expect("a temporary file can be made");
    std::io::Write::write_all(&mut file, input).and_then(|()| file.rewind()).expect("a temporary file can be written");
    let ran = finish(abide(args).stdin(file));
    assert!(ran.status.signal().is_none(), "ended by a signal: {ran:?}");
    ran
}

/// Runs a command to its end, which may be a signal.
///
/// # Panics
/// If it does not end in time or panics.
#[track_caller]
pub fn finish(command: &mut Command) -> Ran {
    // Files and not pipes: a child that writes much never waits for its reader.
    let file = || tempfile::tempfile().expect("a temporary file can be made");
    let (out, err) = (file(), file());
    let share = |file: &File| file.try_clone().expect("a file can be shared");
    command.stdout(share(&out)).stderr(share(&err));
    let mut child = command.spawn().expect("abide can be run");
    let status = wait(&mut child);
    let ran = |status| Ran { what: format!("{command:?}"), status, out: contents(&out), err: text(&contents(&err)) };
    match status {
        Some(status) => ran(status).without_panic(),
        None => {
            let _ = child.kill();
            let status = child.wait().expect("a killed child ends");
            panic!("did not end within {PATIENCE:?}: {:?}", ran(status));
        }
    }
}

/// Waits for a child to end, but not for ever.
///
/// # Panics
/// If the system cannot wait.
pub fn wait(child: &mut Child) -> Option<ExitStatus> {
    if let Ok(Some(status)) = child.try_wait() {
        return Some(status);
    }
    let descriptor = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("a child can be waited for");
    let patience = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&patience)) {
            Ok(0) => return None,
            Ok(_) => return Some(child.wait().expect("a child that has ended can be waited for")),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("waiting for a child: {error}"),
        }
    }
}

/// What became of a command.
#[derive(Debug)]
pub struct Ran {
    /// The command.
    pub what: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub out: Vec<u8>,
    /// What it wrote to standard error.
    pub err: String,
}

impl Ran {
    /// Its standard output, if it succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> String {
        assert_eq!(self.status.code(), Some(0), "{self}");
        text(&self.out)
    }

    /// Its one JSON object, if it succeeded.
    ///
    /// # Panics
    /// If it did not, or it is none.
    #[track_caller]
    #[must_use]
    pub fn json(self) -> Json {
        let what = self.what.clone();
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what}: {error}: {text}"))
    }

    /// Its standard error, if it ended with this exit code.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    #[must_use]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self.err
    }

    #[track_caller]
    fn without_panic(self) -> Self {
        assert!(!self.err.contains("panicked at"), "{self}");
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}\n--- out\n{}\n--- err\n{}", self.what, self.status, text(&self.out), self.err)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn contents(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a temporary file can be read");
    bytes
}

/// Boots a machine.
///
/// # Panics
/// If that fails.
#[track_caller]
pub fn boot(machine: &Path, seed: &Path, more: &[&str]) {
    let args = [OsStr::new("boot"), machine.as_os_str(), seed.as_os_str()];
    let _ = run(args.into_iter().chain(more.iter().map(OsStr::new))).ok();
}

/// Sends a message, whoever runs the machine, and returns the answer.
///
/// # Panics
/// If it is refused or fails.
#[track_caller]
pub fn send(machine: &Path, payload: &str) -> String {
    let answer = run([OsStr::new("send"), machine.as_os_str(), OsStr::new(payload)]).ok();
    answer.strip_suffix('\n').unwrap_or(&answer).to_owned()
}

/// `abide status --json`.
///
/// # Panics
/// If it fails.
#[track_caller]
pub fn status(machine: &Path) -> Json {
    run([OsStr::new("status"), machine.as_os_str(), OsStr::new("--json")]).json()
}

/// The machine's root, as of its last durable batch.
///
/// # Panics
/// If it cannot be had.
#[track_caller]
pub fn root(machine: &Path) -> String {
    status(machine)["root"].as_str().expect("status has a root").to_owned()
}

/// `abide log --json` from a seq on.
///
/// # Panics
/// If it fails.
#[track_caller]
pub fn log(machine: &Path, since: u64) -> Vec<Json> {
    let since = since.to_string();
    let args =
        [OsStr::new("log"), machine.as_os_str(), OsStr::new("--json"), OsStr::new("--since"), OsStr::new(&since)];
    let text = run(args).ok();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of the log is JSON")).collect()
}

/// `abide verify --replay`: how many records were executed again.
///
/// # Panics
/// If the machine is not whole, or executes differently.
#[track_caller]
pub fn verify(machine: &Path) -> u64 {
    let args = [OsStr::new("verify"), machine.as_os_str(), OsStr::new("--replay"), OsStr::new("--json")];
    let verified = run(args).json();
    assert_eq!(verified["ok"], true);
    assert_eq!(verified["replayed"], verified["records"]);
    verified["replayed"].as_u64().expect("a number of records")
}

/// Machine folders and seeds as versions left them that wrote this format.
#[must_use]
pub fn fixtures(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(format.to_string())
}

/// Copies a folder as `cp -r` would.
///
/// # Panics
/// If a file cannot be copied.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("a folder can be read") {
        let entry = entry.expect("a folder can be read");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a file can be copied");
    }
}
