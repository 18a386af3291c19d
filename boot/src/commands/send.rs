//! `abide send`: one message in, its answer out.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use persist::folder::{Folder, FolderError, LockError};
use persist::machine::{Machine, MachineError};
use seed::message::Code;
use tokio::sync::mpsc;
use vm::step_loop::AskerNews;

use super::session;
use super::start::serve;
use crate::cli::Send;
use crate::control::{Client, Service};
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
pub(crate) struct Conversation {
    machine: PathBuf,
    line: Line,
}

enum Line {
    /// Another process runs it.
    Attached(tokio::runtime::Runtime, Client),
    /// This process does, and serves others meanwhile.
    Own(Running, Option<Service>),
}

impl Conversation {
    /// Attaches to a machine, or sets it in motion if nobody runs it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self { machine: path.to_owned(), line: Line::open(path)? })
    }

    /// Sends one message; everything that came back for it.
    pub(crate) fn say(&mut self, payload: Vec<u8>, key: Vec<u8>) -> Result<Vec<AskerNews>, Failure> {
        loop {
            match &mut self.line {
                Line::Own(running, _) => return ask(running, payload, key),
                Line::Attached(runtime, client) => {
                    let mut news = Vec::new();
                    let sent = runtime.block_on(client.send(&key, &payload, &mut |one| news.push(one)));
                    match sent.map_err(|error| (error.kind(), error)) {
                        Ok(()) => return Ok(news),
                        // Whoever ran it has stopped without taking the message: perhaps a send that had its answer.
                        Err((io::ErrorKind::ConnectionAborted, _)) => self.line = Line::open(&self.machine)?,
                        Err((io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset, _)) => {
                            return Err(Failure::NoAnswer);
                        }
                        Err((_, error)) => return Err(Failure::Control(error)),
                    }
                }
            }
        }
    }

    /// Ends the conversation; a machine that was run for it is stopped.
    pub(crate) fn close(self) -> Result<(), Failure> {
        let Line::Own(running, service) = self.line else { return Ok(()) };
        if let (Some(runtime), Some(service)) = (running.runtime(), service) {
            runtime.block_on(service.end());
        }
        running.handle().stop();
        match running.wait()? {
            Ended::Stopped => Ok(()),
            Ended::Halted(halt) => Err(halt.into()),
        }
    }
}

/// How long to wait for the process that has a machine to listen, and how long between two looks, at first and at most.
const ATTACH_PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

impl Line {
    fn open(path: &Path) -> Result<Self, Failure> {
        let begun = Instant::now();
        let mut pause = LOOK_AGAIN.0;
        loop {
            let held = match Machine::open(path) {
                Ok(machine) => return Self::own(machine),
                Err(
                    error @ (MachineError::Lock(LockError::Held { .. })
                    | MachineError::Folder(FolderError::Lock(LockError::Held { .. }))),
                ) => error,
                Err(error) => return Err(error.into()),
            };
            if let Some(attached) = Self::attach(path)? {
                return Ok(attached);
            }
            // It is only starting or just stopping, or does not listen: another version, or a copy in the making.
            if begun.elapsed() > ATTACH_PATIENCE {
                return Err(held.into());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LOOK_AGAIN.1);
        }
    }

    fn own(machine: Machine) -> Result<Self, Failure> {
        let folder = Folder::open(machine.folder().path()).map_err(|error| Failure::Machine(error.into()))?;
        let running = Running::start(machine, session::options(None, Target::Stderr))?;
        let service = serve(&running, &folder);
        Ok(Self::Own(running, service))
    }

    /// A line to the process that runs a machine, if it listens.
    fn attach(path: &Path) -> Result<Option<Self>, Failure> {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
        let folder = Folder::open(path).map_err(|error| Failure::Machine(error.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Host)?;
        match runtime.block_on(Client::connect(&folder)) {
            Ok(client) => Ok(Some(Self::Attached(runtime, client))),
            Err(error) => match error.kind() {
                BrokenPipe | ConnectionRefused | ConnectionReset | NotFound | UnexpectedEof => Ok(None),
                _ => Err(Failure::Control(error)),
            },
        }
    }
}

/// Sends a message to a machine that runs here.
fn ask(running: &Running, payload: Vec<u8>, key: Vec<u8>) -> Result<Vec<AskerNews>, Failure> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    running.handle().send(payload, key, sender);
    let mut news = Vec::new();
    loop {
        let one = receiver.blocking_recv().ok_or(Failure::NoAnswer)?;
        let is_last = !matches!(one, AskerNews::Answer { more: true, .. });
        news.push(one);
        if is_last {
            return Ok(news);
        }
    }
}
