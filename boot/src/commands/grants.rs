//! `abide grant` and `abide revoke`: what a machine has of the world, changed by a person.
//!
//! A running machine is told through its control socket. One that is stopped is set in motion without ports, so that nothing leaves it, and stopped again.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use persist::machine::Machine;
use serde_json::json;

use super::reach::{Reached, reach};
use super::session;
use crate::cli::{Grant, Revoke};
use crate::driver::{Change, Options, Regranted, Running};
use crate::ports;
use crate::ports::console::Target;
use crate::report::{Failure, NO_SUCH_PORT};
use crate::shown;
use crate::terminal::{Progress, say};

pub(crate) fn grant(args: &Grant) -> Result<ExitCode, Failure> {
    let names = resolve(&args.ports)?;
    let regranted = regrant(&args.machine, &Change::Grant(names.clone()))?;
    if args.json {
        return print(&regranted);
    }
    for grant in regranted.grants.iter().filter(|grant| names.contains(&grant.name)) {
        if regranted.changed.contains(grant) {
            say(&format!("granted {}: port {}", grant.name, grant.port));
        } else {
            say(&format!("{} is granted already: port {}", grant.name, grant.port));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn revoke(args: &Revoke) -> Result<ExitCode, Failure> {
    let folder = std::env::current_dir().map_err(Failure::Host)?;
    // A folder is kept as it is from anywhere; what is not known any more is still called by its name.
    let kept = |name: &String| ports::resolve(name, &folder).unwrap_or_else(|| name.clone());
    let regranted = regrant(&args.machine, &Change::Revoke(args.ports.iter().map(kept).collect()))?;
    if args.json {
        return print(&regranted);
    }
    regranted.changed.iter().for_each(|grant| say(&format!("revoked {}, which was port {}", grant.name, grant.port)));
    Ok(ExitCode::SUCCESS)
}

/// Names of grants as machines keep them, of those that a person gives here.
pub(crate) fn resolve(names: &[String]) -> Result<Vec<String>, Failure> {
    let folder = std::env::current_dir().map_err(Failure::Host)?;
    let known = |name: &String| {
        ports::resolve(name, &folder).ok_or_else(|| Failure::Grant { name: name.clone(), why: NO_SUCH_PORT })
    };
    names.iter().map(known).collect()
}

fn print(regranted: &Regranted) -> Result<ExitCode, Failure> {
    let (changed, grants) = (shown::grants_json(&regranted.changed), shown::grants_json(&regranted.grants));
    writeln!(io::stdout(), "{}", json!({ "v": shown::JSON_VERSION, "changed": changed, "grants": grants }))?;
    Ok(ExitCode::SUCCESS)
}

fn regrant(path: &Path, change: &Change) -> Result<Regranted, Failure> {
    loop {
        let (runtime, mut client) = match reach(path)? {
            Reached::Running(line) => *line,
            Reached::Stopped(machine) => return regrant_stopped(*machine, change.clone()),
        };
        match runtime.block_on(client.regrant(change)) {
            Ok(outcome) => return outcome.map_err(Failure::from),
            Err(error) => match error.kind() {
                // Whoever ran it has stopped without taking the change.
                io::ErrorKind::ConnectionAborted => {}
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                    return Err(Failure::GrantsUnknown { path: path.to_owned() });
                }
                _ => return Err(Failure::Control(error)),
            },
        }
    }
}

fn regrant_stopped(machine: Machine, change: Change) -> Result<Regranted, Failure> {
    let path = machine.folder().path().to_owned();
    let _progress = Progress::of(format!("starting {}", path.display()));
    let running = Running::start(machine, Options { is_silent: true, ..session::options(None, Target::Stderr)? })?;
    let told = running.handle().regrant(change).blocking_recv();
    running.handle().stop();
    session::code(running.wait()?)?;
    Ok(told.map_err(|_| Failure::GrantsUnknown { path })??)
}
