//! `abide send`: one message in, its answer out.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use seed::PortId;
use seed::message::Code;
use tokio::sync::mpsc;
use vm::query::Answer;
use vm::step_loop::AskerNews;

use super::hosted::{Host, Hosted};
use super::reach::{Reached, reach};
use super::{peek, session};
use crate::cli::Send;
use crate::control::Client;
use crate::ports::console::Target;
use crate::report::Failure;
use crate::shown;

pub(crate) fn run(args: &Send) -> Result<ExitCode, Failure> {
    let payload = payload(&args.payload)?;
    let key = args.key.clone().unwrap_or_default().into_bytes();
    let mut line = Conversation::open(&args.machine)?;
    let said = line.say(payload, key);
    let told = said.and_then(|news| tell(&news, args.json));
    line.close()?;
    told
}

/// What is to be sent: the text, or standard input where that is `-`.
pub(crate) fn payload(text: &str) -> Result<Vec<u8>, Failure> {
    if text != "-" {
        return Ok(text.as_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Prints what came back.
pub(crate) fn tell(news: &[AskerNews], json: bool) -> Result<ExitCode, Failure> {
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
    Own(Hosted),
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
                Line::Own(hosted) => return ask(hosted, payload, key),
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

    /// Asks something that changes nothing.
    pub(crate) fn query(&mut self, payload: Vec<u8>) -> Result<Answer, Failure> {
        loop {
            let (runtime, client) = match &mut self.line {
                Line::Own(hosted) => {
                    let told = hosted.handle().query(PortId::OWNER, payload);
                    return hosted.unless_interrupted(told).and_then(Result::ok).ok_or(Failure::NoAnswer);
                }
                Line::Attached(runtime, client) => (runtime, client),
            };
            match runtime.block_on(client.query(PortId::OWNER, &payload)) {
                Ok(AskerNews::Answer { payload, .. }) => return Ok(Ok(payload)),
                Ok(AskerNews::Refused { code, text }) => return Ok(Err((code, text))),
                Ok(AskerNews::Accepted) => return Err(Failure::NoAnswer),
                // Asking again does no harm.
                Err(error) if peek::has_ended(&error) => self.line = Line::open(&self.machine)?,
                Err(error) => return Err(Failure::Control(error)),
            }
        }
    }

    /// Waits for something. Nothing comes of it if this process runs the machine and is asked to end.
    pub(crate) fn unless_interrupted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match &self.line {
            Line::Own(hosted) => hosted.unless_interrupted(work),
            Line::Attached(runtime, _) => Some(runtime.block_on(work)),
        }
    }

    /// Ends the conversation; a machine that was run for it is stopped. Whether there was one.
    pub(crate) fn close(self) -> Result<bool, Failure> {
        match self.line {
            Line::Own(hosted) => session::code(hosted.stop()?).map(|_| true),
            Line::Attached(..) => Ok(false),
        }
    }
}

impl Line {
    fn open(path: &Path) -> Result<Self, Failure> {
        Ok(match reach(path)? {
            Reached::Running(line) => {
                let (runtime, client) = *line;
                Self::Attached(runtime, client)
            }
            Reached::Stopped(machine) => {
                Self::Own(Hosted::begin(Host::new()?, *machine, session::options(None, Target::Stderr)?, 0)?)
            }
        })
    }
}

/// Sends a message to a machine that runs here.
fn ask(hosted: &Hosted, payload: Vec<u8>, key: Vec<u8>) -> Result<Vec<AskerNews>, Failure> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut asking = hosted.handle().send(payload, key, sender);
    let mut news = Vec::new();
    loop {
        let Some(one) = hosted.unless_interrupted(receiver.recv()).flatten() else {
            // The machine stops with it, as it stands: it hears that nobody waits when it is started again.
            asking.is_settled();
            return Err(Failure::NoAnswer);
        };
        let is_last = !matches!(one, AskerNews::Answer { more: true, .. });
        news.push(one);
        if is_last {
            asking.is_settled();
            return Ok(news);
        }
    }
}
