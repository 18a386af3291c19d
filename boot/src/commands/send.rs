//! `abide send`: one message in, its answer out.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use persist::folder::{Folder, FolderError, Lock, LockError};
use persist::machine::{Machine, MachineError};
use seed::message::Code;
use tokio::sync::mpsc;
use vm::step_loop::AskerNews;

use super::start::run_with_control;
use crate::cli::Send;
use crate::control::Client;
use crate::driver::{Ended, Running};
use crate::ports::console::Target;
use crate::report::Failure;
use crate::shown;

pub(crate) fn run(args: &Send) -> Result<ExitCode, Failure> {
    let payload = match args.payload.as_str() {
        "-" => {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes)?;
            bytes
        }
        text => text.as_bytes().to_vec(),
    };
    let key = args.key.clone().unwrap_or_default().into_bytes();
    let mut line = Conversation::open(&args.machine)?;
    let said = line.say(payload, key);
    let told = said.and_then(|news| tell(&news, args.json));
    line.close()?;
    told
}

/// Prints what came back.
fn tell(news: &[AskerNews], json: bool) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &shown::Answer::of(news)).map_err(io::Error::from)?;
        writeln!(out)?;
    }
    for one in news {
        match one {
            AskerNews::Answer { payload, .. } if !json => {
                out.write_all(payload)?;
                if payload.last().is_some_and(|last| *last != b'\n') {
                    writeln!(out)?;
                }
            }
            AskerNews::Refused { code, text } => {
                out.flush()?;
                return Err(refused(*code, text));
            }
            _ => {}
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A refusal as a failure.
pub(crate) fn refused(code: Code, text: &str) -> Failure {
    let word = if code.0 >= 64 { format!("code {}", code.0) } else { code.word().to_owned() };
    Failure::Refused { word, text: text.to_owned() }
}

/// A line to a machine: to the process that runs it, or to one that is run for the purpose.
pub(crate) enum Conversation {
    /// Another process runs it.
    Attached(tokio::runtime::Runtime, Client),
    /// This process does.
    Own(Running),
}

impl Conversation {
    /// Attaches to a machine, or sets it in motion if nobody runs it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        match Machine::open(path) {
            Ok(machine) => Ok(Self::Own(run_with_control(machine, None, Target::Stderr)?)),
            Err(
                MachineError::Lock(LockError::Held { .. })
                | MachineError::Folder(FolderError::Lock(LockError::Held { .. })),
            ) => Self::attach(path),
            Err(error) => Err(error.into()),
        }
    }

    fn attach(path: &Path) -> Result<Self, Failure> {
        let folder = Folder::open(path).map_err(|error| Failure::Machine(error.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Host)?;
        // A machine that is just starting has its lock before its socket.
        for _ in 0..100 {
            match runtime.block_on(Client::connect(&folder)) {
                Ok(client) => return Ok(Self::Attached(runtime, client)),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(Failure::Control(error)),
            }
            if Lock::holder(path).map_err(|error| Failure::Machine(error.into()))?.is_none() {
                return Self::open(path);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        // Held by somebody who does not listen: a copy or another version.
        match Machine::open(path) {
            Ok(machine) => Ok(Self::Own(run_with_control(machine, None, Target::Stderr)?)),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends one message; everything that came back for it.
    pub(crate) fn say(&mut self, payload: Vec<u8>, key: Vec<u8>) -> Result<Vec<AskerNews>, Failure> {
        let mut news = Vec::new();
        match self {
            Self::Attached(runtime, client) => {
                let sent = runtime.block_on(client.send(&key, &payload, &mut |one| news.push(one)));
                match sent {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Failure::NoAnswer),
                    other => other.map_err(Failure::Control)?,
                }
            }
            Self::Own(running) => {
                let (sender, mut receiver) = mpsc::unbounded_channel();
                running.handle().send(payload, key, sender);
                loop {
                    let one = receiver.blocking_recv();
                    let is_last = !matches!(one, Some(AskerNews::Answer { more: true, .. }));
                    match one {
                        Some(one) => news.push(one),
                        None => return Err(Failure::NoAnswer),
                    }
                    if is_last {
                        break;
                    }
                }
            }
        }
        Ok(news)
    }

    /// Ends the conversation; a machine that was run for it is stopped.
    pub(crate) fn close(self) -> Result<(), Failure> {
        match self {
            Self::Attached(..) => Ok(()),
            Self::Own(running) => {
                running.handle().stop();
                match running.wait()? {
                    Ended::Stopped => Ok(()),
                    Ended::Halted(halt) => Err(halt.into()),
                }
            }
        }
    }
}
