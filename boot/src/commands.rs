//! The commands, one file each.

mod boot;
pub(crate) mod bounded;
mod compile;
mod copy;
mod eval;
pub(crate) mod fmt;
mod grants;
mod hosted;
mod inside;
mod log;
mod past;
mod peek;
mod prompt;
mod reach;
mod reference;
mod repair;
mod repl;
mod save;
mod scratch;
mod scrub;
mod send;
mod session;
mod shape;
mod show;
pub(crate) mod standing;
mod start;
mod status;
mod typed;
mod verify;

use std::process::ExitCode;

use crate::cli::Command;
use crate::report::Failure;

/// Runs a command.
pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Boot(args) => boot::run(args),
        Command::Start(args) => start::run(args),
        Command::Send(args) => send::run(args),
        Command::Peek(args) => peek::run(args),
        Command::Repl(args) => repl::run(args),
        Command::Save(args) => save::run(args),
        Command::Show(args) => show::run(args),
        Command::Grant(args) => grants::grant(args),
        Command::Revoke(args) => grants::revoke(args),
        Command::Status(args) => status::run(args),
        Command::Log(args) => log::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Repair(args) => repair::run(args),
        Command::Copy(args) => copy::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Fmt(args) => fmt::run(args),
        Command::Completions { shell } => reference::completions(*shell),
        Command::Man => reference::man(),
        Command::Reference => reference::markdown(),
        Command::Compile => compile::run(),
        Command::Scrub(args) => scrub::run(args),
    }
}
