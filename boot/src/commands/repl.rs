//! `abide repl`: a line in, the answer out. Without a machine, forms of the language ([`super::scratch`]).

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use tokio::sync::mpsc::{Receiver, channel};
use vm::past::Past;
use vm::step_loop::AskerNews;

use super::send::Conversation;
use super::{inside, past};
use crate::cli::Repl;
use crate::programs;
use crate::report::{Failure, Paint};
use crate::terminal::{self, say};

pub(crate) fn run(args: &Repl) -> Result<ExitCode, Failure> {
    let Some(machine) = &args.machine else { return super::scratch::talk() };
    let is_kernel = programs::of_machine(machine)?.is_some();
    let talk = |line: &mut Line<'_>| if is_kernel { inside::talk(line, machine) } else { talk(line, machine) };
    if let Some(at) = args.at {
        return past::with(machine, Some(at), |past| talk(&mut Line::Past(past)));
    }
    let mut line = Line::Machine(Box::new(Conversation::open(machine)?));
    let talked = talk(&mut line);
    if let Line::Machine(conversation) = line
        && conversation.close()?
        && is_asked()
    {
        super::hosted::tell_end(machine);
    }
    talked
}

/// Whether somebody sits at a terminal.
fn is_asked() -> bool {
    io::stdin().is_terminal() && terminal::is_watched()
}

/// To whom is talked.
pub(super) enum Line<'a> {
    /// To a machine, wherever it runs.
    Machine(Box<Conversation>),
    /// To a copy in memory of what it once was.
    Past(&'a mut Past),
}

impl Line<'_> {
    /// Sends a message; everything that came back for it.
    pub(super) fn say(&mut self, payload: Vec<u8>) -> Result<Vec<AskerNews>, Failure> {
        match self {
            Self::Machine(conversation) => conversation.say(payload, Vec::new()),
            Self::Past(past) => past.say(payload).map_err(|source| Failure::Ask { path: "the machine".into(), source }),
        }
    }

    /// For a person.
    pub(super) fn what_is_kept(&self) -> &'static str {
        match self {
            Self::Machine(_) => "what is typed reaches the machine and stays",
            Self::Past(_) => "it is a copy as it once stood, and nothing of this is kept",
        }
    }

    fn unless_interrupted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self {
            Self::Machine(conversation) => conversation.unless_interrupted(work),
            Self::Past(_) => {
                let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
                Some(runtime.block_on(work))
            }
        }
    }
}

fn talk(line: &mut Line<'_>, machine: &Path) -> Result<ExitCode, Failure> {
    let is_asked = is_asked();
    if is_asked {
        let copy = if matches!(line, Line::Past(_)) { "a copy in memory of " } else { "" };
        say(&format!("a line is a message to {copy}{}; ^D leaves", machine.display()));
    }
    let paint = Paint::of(&io::stderr());
    let mut typed = typed_lines().map_err(Failure::Host)?;
    loop {
        if is_asked {
            terminal::prompt(&paint.strong("> "));
        }
        let text = line.unless_interrupted(typed.recv()).flatten().transpose()?;
        terminal::answered();
        let Some(text) = text else {
            if is_asked {
                say("");
            }
            return Ok(ExitCode::SUCCESS);
        };
        if text.is_empty() {
            continue;
        }
        let mut out = io::stdout().lock();
        for news in line.say(text)? {
            match news {
                AskerNews::Answer { payload, .. } => {
                    out.write_all(&payload)?;
                    if payload.last().is_some_and(|last| *last != b'\n') {
                        writeln!(out)?;
                    }
                }
                AskerNews::Refused { code, text } => {
                    out.flush()?;
                    say(&format!("{} {}", paint.error("refused:"), if text.is_empty() { code.word() } else { &text }));
                }
                AskerNews::Accepted => {}
            }
        }
        out.flush()?;
    }
}

/// The lines of standard input, read on a thread of their own: whoever waits for the next one can be interrupted.
fn typed_lines() -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, lines) = channel(1);
    let read = move || {
        for line in io::stdin().lock().split(b'\n') {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("abide-typed".to_owned()).spawn(read)?;
    Ok(lines)
}
