//! How commands end: exit codes, and errors as `error`, `caused by`, `hint`.

mod hint;
mod paint;

use std::error::Error as StdError;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use persist::machine::MachineError;
use persist::salvage::SalvageError;
use persist::salvage::rebuild::RebuildError;
use persist::store::Cause;
use persist::verify::Finding;
use rustix::process::Signal;
use seed::Id;
use serde_json::json;
use thiserror::Error;
use vm::body::BodyError;
use vm::step_loop::{Fatal, Halt};

pub use self::paint::Paint;
use crate::cli::Command;
use crate::commands::standing::Standing;
use crate::control::{Refused, Said};
use crate::driver::{RegrantError, RunError};
use crate::shown::JSON_VERSION;
use crate::terminal::say;

/// The exit code of most failures.
pub const FAILED: u8 = 1;
/// The exit code of a command that means nothing.
pub const USAGE: u8 = 2;
/// The exit code of a machine that is damaged or diverges.
pub const INTEGRITY: u8 = 3;
/// The exit code of a machine that halted.
pub const HALTED: u8 = 4;
/// The exit code of a repair that could not save everything.
pub const LOST: u8 = 5;

/// Signals that reading a damaged file may end by.
pub(crate) const DAMAGE_SIGNALS: [i32; 3] = [Signal::SEGV.as_raw(), Signal::BUS.as_raw(), Signal::ABORT.as_raw()];

/// Why a port of an unknown kind, or with an address that means nothing, cannot be granted.
pub(crate) const NO_SUCH_PORT: &str = "this version has no such port";

/// What another process has said.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Told(pub String);

/// A command failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// A file could not be read.
    #[error("reading {} failed", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("writing {} failed", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Text that is not WebAssembly text.
    #[error("{} is not WebAssembly text", path.display())]
    Wat {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: wat::Error,
    },
    /// No evaluator could be set up.
    #[error("setting up the evaluator failed: {why}")]
    Evaluator {
        /// Why.
        why: String,
    },
    /// An evaluation took all the steps that it may.
    #[error("evaluating {what} took {steps} steps, which is all it may")]
    Steps {
        /// Of what.
        what: String,
        /// How many.
        steps: u64,
    },
    /// Text that is not of the language.
    #[error("{}", rendered.trim_end())]
    Text {
        /// What is wrong with it, where, and what to write.
        rendered: String,
    },
    /// A machine that began with a text, and does not answer as the kernel does.
    #[error("{} does not answer as a machine whose program is a text", path.display())]
    NoKernel {
        /// Which.
        path: PathBuf,
    },
    /// A value that no PLAN seed can hold.
    #[error("{} cannot be written as a PLAN seed: {why}", path.display())]
    NoPlan {
        /// What it is of.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A text that lacks what a machine has.
    #[error("{} defines no `{name}`, so that no machine can be made of it", path.display())]
    NoMain {
        /// Which.
        path: PathBuf,
        /// What it lacks.
        name: &'static str,
    },
    /// A file that has no value.
    #[error("{} is neither a text of the language nor a PLAN seed", path.display())]
    NotOfTheLanguage {
        /// Which.
        path: PathBuf,
    },
    /// A file that is nothing a machine can start from.
    #[error("{} is neither a seed, nor a text of the language, nor a WebAssembly module", path.display())]
    NotASeed {
        /// Which.
        path: PathBuf,
    },
    /// A seed file that is whole, and holds something else.
    #[error("{} holds neither a program nor a machine", path.display())]
    SeedContent {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: seed::LoadError,
    },
    /// A seed file, or a machine, has had its terms since it was made.
    #[error("{} has its own {what} already", path.display())]
    Settled {
        /// Which.
        path: PathBuf,
        /// What cannot be given to it.
        what: &'static str,
    },
    /// Something other than a seed is where a seed was to be written.
    #[error("{} is there already and is no seed", path.display())]
    WouldReplace {
        /// Where.
        path: PathBuf,
        /// What was to be saved.
        source_path: PathBuf,
    },
    /// A machine could not be booted.
    #[error("booting {} failed", path.display())]
    Boot {
        /// Where it should have been.
        path: PathBuf,
        /// Why.
        source: Box<Failure>,
    },
    /// The machine's folder or store.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The machine's program or state.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Its dashboard cannot be opened.
    #[error("the dashboard cannot listen on {address}")]
    Dashboard {
        /// Where it should be.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Running it.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It halted.
    #[error(transparent)]
    Halted(#[from] Halt),
    /// Something is wrong with it.
    #[error("{}", if .0.is_damage() { "the machine is damaged" } else { "the machine cannot be checked" })]
    Finding(#[from] Finding),
    /// What the owner asked for is refused by the machine.
    #[error("the machine refused: {word}{}", if text.is_empty() { String::new() } else { format!(": {text}") })]
    Refused {
        /// The code's word.
        word: String,
        /// In the machine's words.
        text: String,
    },
    /// The line to the running machine broke before an answer came.
    #[error("the machine stopped before it answered")]
    NoAnswer,
    /// The control socket.
    #[error("talking to the running machine failed")]
    Control(#[source] io::Error),
    /// A grant that this version has no port for, or that the seed did not ask for.
    #[error("the port {name} cannot be granted: {why}")]
    Grant {
        /// Which.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// Grants cannot be changed so.
    #[error(transparent)]
    Regrant(RegrantError),
    /// The process that runs the machine has not changed its grants.
    #[error("{source}")]
    NotRegranted {
        /// Why.
        source: Said,
        /// What it would type next.
        hint: Option<String>,
    },
    /// The machine ended before its grants had changed, or before it said so.
    #[error("the machine stopped before it said whether its grants have changed")]
    GrantsUnknown {
        /// Which.
        path: PathBuf,
    },
    /// A limit out of range.
    #[error("the limit {name} cannot be {value}: it is from {min} to {max}")]
    Limit {
        /// Which.
        name: &'static str,
        /// What was asked for.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Something that was looked for is not there.
    #[error("{what}")]
    NotFound {
        /// What.
        what: String,
    },
    /// A root that is recorded, and of which nothing is stored but what leads to it.
    #[error("{root} is where {} stands, which is executed again at its next start and not stored yet", path.display())]
    Unsaved {
        /// The machine.
        path: PathBuf,
        /// The root.
        root: Id,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Random(#[from] getrandom::Error),
    /// Writing a seed.
    #[error("collecting the seed failed")]
    Pack(#[from] seed::pack::WriteError),
    /// Reading a seed.
    #[error("{} cannot be read as a seed", path.display())]
    Unpack {
        /// Which.
        path: PathBuf,
        /// Why.
        source: seed::pack::ReadError,
    },
    /// Reading the log.
    #[error(transparent)]
    Journal(#[from] persist::journal::JournalError),
    /// Loading an object.
    #[error(transparent)]
    Load(#[from] seed::LoadError),
    /// The process that had the machine could not start it.
    #[error("the process that was starting {} failed", path.display())]
    NotStarted {
        /// The machine.
        path: PathBuf,
        /// Why.
        source: Said,
    },
    /// An environment variable says something that means nothing.
    #[error("{name} cannot be {}", value.display())]
    Environment {
        /// Which.
        name: &'static str,
        /// What it says.
        value: OsString,
        /// What it may say.
        values: String,
    },
    /// Standard output was closed.
    #[error("writing to standard output failed")]
    Stdout(#[from] io::Error),
    /// Setting up the host.
    #[error("setting up the host failed")]
    Host(#[source] io::Error),
    /// A child that checks a machine died.
    #[error("checking {} ended by signal {signal}", path.display())]
    ChildDied {
        /// The machine.
        path: PathBuf,
        /// The signal.
        signal: i32,
    },
    /// A machine is damaged, and what still stands of it.
    #[error("{source}")]
    Damaged {
        /// What is damaged.
        source: Box<Failure>,
        /// What stands.
        standing: Box<Standing>,
    },
    /// A repair could not begin.
    #[error("repairing {} failed", path.display())]
    Repair {
        /// The machine.
        path: PathBuf,
        /// Why.
        source: Box<Failure>,
    },
    /// Too little of a machine stands.
    #[error("{} cannot be repaired{}", path.display(), if *is_with_other { ", not even with the other copy" } else { "" })]
    Unrepairable {
        /// The machine.
        path: PathBuf,
        /// What stands.
        standing: Box<Standing>,
        /// Whether another copy was given.
        is_with_other: bool,
    },
    /// What was to help a repair is nothing that can.
    #[error("{} is neither a machine nor a seed", path.display())]
    NoCopy {
        /// Which.
        path: PathBuf,
    },
    /// Reading what stands of a machine.
    #[error("reading what stands of {} failed", path.display())]
    Salvage {
        /// The machine.
        path: PathBuf,
        /// Why.
        source: SalvageError,
    },
    /// Making a new machine of what stands.
    #[error("making a machine of what stands failed")]
    Rebuild(#[from] RebuildError),
    /// A repaired machine is not whole: a bug.
    #[error("what was made of {} is not whole", path.display())]
    NotWhole {
        /// The machine.
        path: PathBuf,
        /// What its check has said.
        source: Told,
    },
    /// A machine set up in memory gave no answer.
    #[error("asking {} failed", path.display())]
    Ask {
        /// The machine.
        path: PathBuf,
        /// Why.
        source: vm::past::AskError,
    },
    /// Replaying came out differently.
    #[error("replaying {} diverged from its log", path.display())]
    Replay {
        /// The machine.
        path: PathBuf,
        /// What differs, and where.
        source: vm::replay::ReplayError,
    },
}

impl From<RegrantError> for Failure {
    fn from(error: RegrantError) -> Self {
        match error {
            RegrantError::Unknown { name } => Self::Grant { name, why: NO_SUCH_PORT },
            RegrantError::Port(error) => Self::Run(error),
            error => Self::Regrant(error),
        }
    }
}

impl From<Refused> for Failure {
    fn from(Refused { said, hint }: Refused) -> Self {
        Self::NotRegranted { source: said, hint }
    }
}

/// What the host has to do with a failure.
enum HostCause<'a> {
    Full,
    Io(&'a io::Error),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // What cannot be used is the seed: input, and not a machine that is damaged.
            Self::Boot { source, .. } if source.is_damage() => FAILED,
            Self::Boot { source, .. } => source.exit_code(),
            Self::Halted(_) => HALTED,
            Self::Unrepairable { .. } | Self::NotWhole { .. } => INTEGRITY,
            Self::Damaged { source, .. } | Self::Repair { source, .. } => source.exit_code(),
            Self::NotStarted { source, .. } | Self::NotRegranted { source, .. } => source.exit,
            Self::Environment { .. } => USAGE,
            _ if self.is_damage() => INTEGRITY,
            _ => FAILED,
        }
    }

    /// Whether nothing failed: whoever read standard output, as `head` does, has read enough.
    fn is_enough(&self) -> bool {
        matches!(self, Self::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether what is on disk is not what was written.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Machine(error) | Self::Run(RunError::Machine(error)) => error.is_damage(),
            Self::Body(error)
            | Self::Run(RunError::Recover { source: error, .. } | RunError::Fatal(Fatal::Body(error))) => {
                body_is_damage(error)
            }
            Self::Run(RunError::Fatal(Fatal::Load(error))) | Self::Load(error) => error.is_damage(),
            Self::Finding(finding) => finding.is_damage(),
            Self::Journal(error) => error.is_damage(),
            Self::Run(RunError::Commit(error)) => error.is_damage(),
            Self::Pack(seed::pack::WriteError::Load(error)) => error.is_damage(),
            Self::Replay { source, .. } => source.is_damage(),
            // Whoever ends it otherwise has said nothing about the machine.
            Self::ChildDied { signal, .. } => DAMAGE_SIGNALS.contains(signal),
            Self::Damaged { .. } => true,
            _ => false,
        }
    }

    /// Whether some disk has no room left.
    fn is_full(&self) -> bool {
        let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        self.has_cause(|cause| match cause {
            HostCause::Full => true,
            HostCause::Io(error) => kinds.contains(&error.kind()),
        })
    }

    /// Whether some disk cannot be read or written.
    fn is_failing_disk(&self) -> bool {
        let eio = rustix::io::Errno::IO.raw_os_error();
        self.has_cause(|cause| matches!(cause, HostCause::Io(error) if error.raw_os_error() == Some(eio)))
    }

    fn has_cause(&self, is: impl Fn(HostCause<'_>) -> bool) -> bool {
        let mut cause = self.source();
        while let Some(source) = cause {
            let found = match source.downcast_ref::<Cause>() {
                Some(Cause::Full { .. }) => is(HostCause::Full),
                Some(Cause::Io(error)) => is(HostCause::Io(error)),
                _ => source.downcast_ref::<io::Error>().is_some_and(|error| is(HostCause::Io(error))),
            };
            if found {
                return true;
            }
            cause = source.source();
        }
        false
    }

    /// Of an object that an image lacks: which image, what the object is to it, and its id.
    fn needed(&self) -> Option<(&str, String, String)> {
        match self {
            Self::Damaged { source, .. } => source.needed(),
            Self::Finding(Finding::Needed { needed_by, part, source }) => {
                Some((needed_by, part.to_string(), format!("{:x}", source.id())))
            }
            _ => None,
        }
    }

    /// Writes the failure of a command, for a person or a program, and gives the exit code.
    pub fn tell(&self, command: &Command) -> ExitCode {
        if self.is_enough() {
            return ExitCode::SUCCESS;
        }
        let hint = self.hint(command.machine());
        let standing = match self {
            Self::Damaged { standing, .. } | Self::Unrepairable { standing, .. } => Some(standing),
            _ => None,
        };
        if command.is_json() {
            let causes = causes(self);
            let mut json = json!({
                "v": JSON_VERSION, "error": causes[0], "causes": causes[1..], "hint": hint, "exit": self.exit_code(),
            });
            if let Some(standing) = standing {
                json["stands"] = standing.json.clone();
            }
            if let Some((needed_by, part, object)) = self.needed() {
                json["finding"] = json!({ "object": object, "part": part, "needed_by": needed_by });
            }
            say(&json.to_string());
            return ExitCode::from(self.exit_code());
        }
        let mut err = io::stderr().lock();
        let paint = Paint::of(&err);
        for (depth, text) in causes(self).into_iter().enumerate() {
            let _ = match depth {
                0 => writeln!(err, "{} {text}", paint.error("error:")),
                _ => writeln!(err, "  {} {text}", paint.dim("caused by:")),
            };
        }
        for line in standing.iter().flat_map(|standing| &standing.lines) {
            let _ = writeln!(err, "  {} {line}", paint.dim("stands:"));
        }
        if let Some(hint) = hint {
            let _ = writeln!(err, "  {} {hint}", paint.hint("hint:"));
        }
        ExitCode::from(self.exit_code())
    }
}

/// What an error says, and what each of its causes says that has more to say than the one before.
#[must_use]
pub fn causes(error: &dyn StdError) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(source) = cause {
        texts.push(source.to_string());
        cause = source.source();
    }
    texts.dedup();
    texts
}

fn body_is_damage(error: &BodyError) -> bool {
    match error {
        BodyError::Load(error) => error.is_damage(),
        BodyError::Diverged(_) | BodyError::Restore(_) => true,
        BodyError::Code(_) | BodyError::Host(_) | BodyError::Image { .. } => false,
    }
}

/// Ends the process with the exit code of damage: for threads that have nobody to return to.
pub fn fatal(path: &Path, error: &dyn StdError) -> ! {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "error: a page of {} cannot be had", path.display());
    let mut cause: Option<&dyn StdError> = Some(error);
    while let Some(source) = cause {
        let _ = writeln!(err, "  caused by: {source}");
        cause = source.source();
    }
    let _ = writeln!(err, "  hint: abide verify {}", path.display());
    drop(err);
    std::process::exit(i32::from(INTEGRITY))
}
