//! Compiling in a child process with limits: a program can be made to cost a compiler any time and memory, and that is not to be this process's.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use vm::engine::{CodeError, EngineError, compile};

use crate::report::Failure;

/// SQLite takes one second.
const CPU_SECONDS_MAX: u64 = 120;
const MEMORY_BYTES_MAX: u64 = 4 << 30;

/// Has a job done by a child.
pub(crate) fn in_a_child(job: &[u8]) -> Result<Vec<u8>, CodeError> {
    let failed = |error: io::Error| {
        CodeError::Engine(EngineError::new(format!("there is no process for the compiler: {error}")))
    };
    // Where this program was replaced meanwhile, the link still leads to it.
    let mut child = Command::new("/proc/self/exe")
        .arg("compile")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let input = child.stdin.take();
    let output = thread::scope(|scope| {
        // A child that dies early does not take all of it.
        let feed = move || input.map(|mut input| input.write_all(job));
        // Without a thread the input is closed, and the child ends at once.
        let feeding = thread::Builder::new().spawn_scoped(scope, feed);
        let output = child.wait_with_output();
        feeding.and(output)
    });
    let output = output.map_err(failed)?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(reason(output.status, &String::from_utf8_lossy(&output.stderr))),
    }
}

fn reason(status: ExitStatus, words: &str) -> CodeError {
    let too_much = |what: String| CodeError::Compile(EngineError::new(format!("it takes more {what} says)")));
    match status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU) => too_much(format!("CPU time than it may ({CPU_SECONDS_MAX} s, or what `ulimit -t`")),
        Some(Signal::ABORT) => {
            too_much(format!("memory than it may ({} GiB, or what `ulimit -v`", MEMORY_BYTES_MAX >> 30))
        }
        // Whoever did that, the module may be a good one.
        Some(signal) => {
            CodeError::Engine(EngineError::new(format!("the compiler was ended by signal {}", signal.as_raw())))
        }
        None => {
            let words = words.trim();
            CodeError::Compile(EngineError::new(words.strip_prefix("error: ").unwrap_or(words).to_owned()))
        }
    }
}

/// `abide compile`: a job on standard input, native code on standard output.
pub(crate) fn run() -> Result<ExitCode, Failure> {
    limit(Resource::Cpu, CPU_SECONDS_MAX)?;
    limit(Resource::As, MEMORY_BYTES_MAX)?;
    let mut job = Vec::new();
    io::stdin().lock().read_to_end(&mut job).map_err(Failure::Host)?;
    let native = match compile(&job) {
        Ok(native) => native,
        Err(error) => {
            // For the parent, which says what was attempted.
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            eprintln!("{why}");
            return Ok(ExitCode::FAILURE);
        }
    };
    io::stdout().lock().write_all(&native).map_err(Failure::Host)?;
    Ok(ExitCode::SUCCESS)
}

/// Lowers a limit of this process; one that is lower already stays. Only the soft one, so that a signal says that it was this limit.
fn limit(resource: Resource, most: u64) -> Result<(), Failure> {
    let known = getrlimit(resource);
    let current = Some(known.current.map_or(most, |known| known.min(most)));
    setrlimit(resource, Rlimit { current, maximum: known.maximum }).map_err(|error| Failure::Host(error.into()))
}
