//! `abide peek`: a question that changes nothing.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use seed::PortId;
use vm::step_loop::AskerNews;

use super::{past, reach, send};
use crate::cli::Peek;
use crate::report::Failure;

pub(crate) fn run(args: &Peek) -> Result<ExitCode, Failure> {
    let payload = send::payload(&args.payload)?;
    let news = match args.at {
        None => ask_running(&args.machine, &payload)?,
        Some(_) => None,
    };
    let news = match news {
        Some(news) => news,
        None => past::with(&args.machine, args.at, |past| {
            past.query(payload).map_err(|source| Failure::Ask { path: args.machine.clone(), source })
        })?
        .into(),
    };
    send::tell(&[news], args.json)
}

/// Asks the process that runs a machine; no answer comes where nobody does, or not to its end.
fn ask_running(machine: &Path, payload: &[u8]) -> Result<Option<AskerNews>, Failure> {
    let Some((runtime, mut client)) = reach::running(machine)? else { return Ok(None) };
    match runtime.block_on(client.query(PortId::OWNER, payload)) {
        Ok(news) => Ok(Some(news)),
        // Asking again does no harm.
        Err(error) if has_ended(&error) => Ok(None),
        Err(error) => Err(Failure::Control(error)),
    }
}

/// Whether the line broke because the machine was stopped.
pub(crate) fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | UnexpectedEof)
}
