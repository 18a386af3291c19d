//! `abide repl`: a line in, the answer out. Without a machine, forms of the language ([`super::scratch`]).

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;

use tokio::sync::mpsc::{Receiver, channel};
use vm::step_loop::AskerNews;

use super::send::Conversation;
use crate::cli::Repl;
use crate::report::{Failure, Paint};
use crate::terminal::{self, say};

pub(crate) fn run(args: &Repl) -> Result<ExitCode, Failure> {
    let Some(machine) = &args.machine else { return super::scratch::talk() };
    let mut line = Conversation::open(machine)?;
    let is_asked = io::stdin().is_terminal() && terminal::is_watched();
    if is_asked {
        say(&format!("a line is a message to {}; ^D leaves", machine.display()));
    }
    let talked = talk(&mut line, is_asked);
    if line.close()? && is_asked {
        super::hosted::tell_end(machine);
    }
    talked.map(|()| ExitCode::SUCCESS)
}

fn talk(line: &mut Conversation, is_asked: bool) -> Result<(), Failure> {
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
            return Ok(());
        };
        if text.is_empty() {
            continue;
        }
        let mut out = io::stdout().lock();
        for news in line.say(text, Vec::new())? {
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
