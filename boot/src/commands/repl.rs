//! `abide repl`: a line in, the answer out.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use vm::step_loop::AskerNews;

use super::send::Conversation;
use crate::cli::Repl;
use crate::report::{Failure, Paint};

pub(crate) fn run(args: &Repl) -> Result<ExitCode, Failure> {
    let mut line = Conversation::open(&args.machine)?;
    let talked = talk(&mut line);
    line.close()?;
    talked.map(|()| ExitCode::SUCCESS)
}

fn talk(line: &mut Conversation) -> Result<(), Failure> {
    let is_terminal = io::stdin().is_terminal();
    let paint = Paint::of(&io::stderr());
    let mut input = io::stdin().lock();
    loop {
        if is_terminal {
            eprint!("{}", paint.strong("> "));
            io::stderr().flush()?;
        }
        let mut text = Vec::new();
        if input.read_until(b'\n', &mut text)? == 0 {
            if is_terminal {
                eprintln!();
            }
            return Ok(());
        }
        if text.last() == Some(&b'\n') {
            text.pop();
        }
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
                    eprintln!("{} {}", paint.error("refused:"), if text.is_empty() { code.word() } else { &text });
                }
                AskerNews::Accepted => {}
            }
        }
        out.flush()?;
    }
}
