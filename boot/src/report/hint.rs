//! What to type next, for each failure that a person can do something about.

use std::io;
use std::path::Path;

use persist::folder::{FolderError, LockError};
use persist::machine::MachineError;
use vm::body::BodyError;
use vm::engine::CodeError;

use super::Failure;
use crate::driver::{RegrantError, RunError};
use crate::ports;
use crate::shown::grants_line;

impl Failure {
    /// What to type next, of a command that was about a machine.
    #[must_use]
    pub fn hint(&self, machine: Option<&Path>) -> Option<String> {
        match self {
            _ if self.is_full() => {
                Some("nothing acknowledged is lost; make room on that disk, then do this again".to_owned())
            }
            _ if self.is_failing_disk() && !self.is_damage() => {
                Some("the disk failed (dmesg says how); nothing acknowledged is lost by that, do this again when it is sound".to_owned())
            }
            Self::ChildDied { .. } if !self.is_damage() => Some(
                "somebody ended it, as the kernel does where there is too little memory (dmesg says so); nothing was changed, do this again"
                    .to_owned(),
            ),
            Self::Boot { source, .. } => match source.as_ref() {
                Self::Halted(_) => Some("no machine was made; --limit NAME=VALUE gives its steps more".to_owned()),
                source if source.is_damage() => None,
                source => source.hint(machine),
            },
            Self::Machine(MachineError::Folder(FolderError::Exists { path })) => {
                Some(format!("abide start {}", path.display()))
            }
            Self::Machine(MachineError::Folder(FolderError::Missing { path })) => {
                Some(match path.to_str().and_then(|path| path.rsplit_once('@')) {
                    Some((machine, _)) if Path::new(machine).is_dir() => {
                        format!("a point of {machine} can be given to abide show only")
                    }
                    _ => format!("abide boot {} SEED makes a machine there", path.display()),
                })
            }
            Self::Machine(MachineError::Folder(FolderError::Create { path, source }))
            | Self::Write { path, source }
                if source.kind() == io::ErrorKind::NotFound =>
            {
                path.parent().map(|parent| format!("mkdir -p {}", parent.display()))
            }
            Self::Machine(MachineError::Folder(FolderError::NotAMachine { .. })) => {
                Some("a machine is a folder that abide boot made, or a copy of one".to_owned())
            }
            Self::Machine(MachineError::Lock(LockError::Held { path, .. }))
            | Self::Machine(MachineError::Folder(FolderError::Lock(LockError::Held { path, .. }))) => {
                Some(format!("abide repl {} talks to it while it runs", path.display()))
            }
            Self::WouldReplace { path, source_path } => Some(match source_path.exists() && !path.is_dir() {
                true => format!("abide save --force {} {} replaces it", path.display(), source_path.display()),
                false => {
                    format!("the file to write comes first: abide save {} {}", source_path.display(), path.display())
                }
            }),
            Self::Steps { steps, .. } => {
                Some(format!("--steps {} allows more, if it ever ends", steps.saturating_mul(10).max(1_000_000)))
            }
            Self::NotASeed { .. } => {
                Some("a seed is a .seed file, a PLAN seed, .abide text, a .wasm module or .wat text".to_owned())
            }
            Self::NoMain { name: "main", .. } => {
                Some("write (def (main self input) [self []]), and see docs/lang.md".to_owned())
            }
            Self::NoMain { .. } => Some("write (def start 0), or whatever the machine's first self is".to_owned()),
            Self::Body(BodyError::Code(CodeError::Refused(_))) => Some("docs/abi.md says what a machine is".to_owned()),
            Self::Run(RunError::Recover { engine, source: BodyError::Diverged(_) }) => {
                Some(format!("nothing was changed; the version that ran it used {engine} and can finish it"))
            }
            Self::Run(RunError::Commit(error)) if !error.is_damage() => {
                Some("nothing acknowledged is lost; see that the disk has room, then start it again".to_owned())
            }
            Self::Halted(_) => Some("its state is as before that input; abide log shows what came before".to_owned()),
            Self::NoAnswer => {
                Some("start the machine and send it again; with --key it cannot be done twice".to_owned())
            }
            Self::Environment { name, values, .. } => Some(format!("{name} is not set, or one of: {values}")),
            Self::Grant { .. } => Some(format!("ports of this version: {}", ports::forms())),
            Self::Regrant(RegrantError::NotGranted { grants, .. }) => Some(match grants.as_slice() {
                [] => "nothing is granted but the owner's port".to_owned(),
                grants => format!("granted are {}", grants_line(grants)),
            }),
            Self::NotRegranted { hint, .. } => hint.clone(),
            Self::GrantsUnknown { path } => Some(format!("abide status {} shows them", path.display())),
            Self::Run(RunError::Port { name, source }) if source.kind() == io::ErrorKind::AddrInUse => {
                let at = name.split_once(':').map_or(name.as_str(), |(_, at)| at);
                Some(format!("something else listens on {at}; stop it, then do this again"))
            }
            Self::Dashboard { address, source } if source.kind() == io::ErrorKind::AddrInUse => Some(format!(
                "something else listens on {}; --dashboard 0 takes a port that is free, and says which",
                address.port()
            )),
            Self::Run(RunError::Port { name, .. }) if let Some(path) = ports::path(name) => {
                let first = format!("see to it that {path} can be used, then do this again");
                Some(match machine {
                    Some(machine) => format!("{first}; abide revoke {} {name} does without it", machine.display()),
                    None => first,
                })
            }
            Self::Repair { source, .. } => match source.as_ref() {
                Self::Machine(MachineError::Lock(LockError::Held { .. })) => {
                    Some("a running machine is not repaired: stop it first".to_owned())
                }
                Self::Body(_) => {
                    Some("nothing was changed; the version that ran it can execute it, and repair it".to_owned())
                }
                source => source.hint(machine),
            },
            Self::Replay { .. } => Some("nothing was changed; what is stored is whole".to_owned()),
            Self::Unrepairable { path, .. } => Some(format!(
                "nothing was changed; abide repair {} --from OTHER takes what it lacks from another copy of it, or from a seed",
                path.display()
            )),
            Self::NoCopy { .. } => {
                Some("another copy is a machine's folder, damaged or not, or a seed file".to_owned())
            }
            Self::NotWhole { .. } => Some("nothing was changed; this should never happen: please report it".to_owned()),
            Self::Damaged { source, standing } => match machine {
                Some(machine) if standing.can_be_repaired => Some(format!("abide repair {}", machine.display())),
                Some(machine) => Some(format!("abide repair {} --from OTHER, another copy of it", machine.display())),
                None => source.hint(machine),
            },
            Self::Unsaved { path, .. } => Some(format!(
                "abide show {0} shows its last checkpoint, abide save FILE {0} saves where it stands",
                path.display()
            )),
            _ if self.is_damage() => {
                let first = machine.map(|machine| {
                    let machine = machine.display();
                    format!("abide verify {machine} says what still stands, abide repair {machine} saves it; ")
                });
                Some(first.unwrap_or_default() + "nothing was changed")
            }
            _ => None,
        }
    }
}
