//! **console**: lines out, lines in.
//!
//! An effect's payload is one line for the host's console; control characters in it are shown escaped, so that a machine cannot drive the
//! terminal. A request's payload is a prompt; its answer is the next line of standard input, without its end of line. At the end of
//! input requests are broken with `closed`. Resumed by asking again.
//!
//! Writing happens on a thread of its own: a reader that does not read makes lines wait, not the machine.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use seed::EffectId;
use seed::message::Code;
use vm::port::{Line, Port, Ticket};

use super::Known;
use crate::terminal::Above;

/// Understands the name of a grant.
pub fn parse(name: &str, _folder: &Path) -> Option<Known> {
    (name == "console").then(|| Known::new(name, |_, host| Ok(Some(Box::new(host.console.port(host.line.clone())?)))))
}

/// Where a console's lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Standard output: the machine's lines are the data.
    Stdout,
    /// Standard error: something else is.
    Stderr,
}

/// The host's console.
#[derive(Clone)]
pub struct Console {
    target: Target,
    reader: Arc<Mutex<Option<Sender<Reading>>>>,
    on_closed: Arc<dyn Fn(io::Error) + Send + Sync>,
}

/// Who wants the next line of input, and where to say so.
type Reading = (Ticket, Line);

struct ConsolePort {
    console: Console,
    line: Line,
    writer: Sender<(Option<EffectId>, Vec<u8>)>,
}

impl Console {
    /// A console. `on_closed` is told when lines can no longer be written.
    pub fn new(target: Target, on_closed: impl Fn(io::Error) + Send + Sync + 'static) -> Self {
        Self { target, reader: Arc::new(Mutex::new(None)), on_closed: Arc::new(on_closed) }
    }

    /// The console as a port.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn port(&self, line: Line) -> io::Result<impl Port + use<>> {
        let (writer, lines) = channel();
        let (console, reports) = (self.clone(), line.clone());
        thread::Builder::new().spawn(move || console.write_lines(&lines, &reports))?;
        Ok(ConsolePort { console: self.clone(), line, writer })
    }

    fn write_lines(&self, lines: &Receiver<(Option<EffectId>, Vec<u8>)>, line: &Line) {
        for (effect, text) in lines {
            let written = match self.target {
                Target::Stdout => write_line(&mut io::stdout().lock(), effect.is_some(), &text),
                Target::Stderr => write_line(&mut Above, effect.is_some(), &text),
            };
            match (written, effect) {
                (Ok(()), Some(effect)) => line.delivered(effect),
                (Ok(()), None) => {}
                // Not delivered: it will be shown when the machine is started again.
                (Err(error), _) => return (self.on_closed)(error),
            }
        }
    }

    /// Queues a request for the next line of input.
    fn read_line(&self, request: Ticket, line: Line) {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if reader.is_none() {
            let (sender, requests) = channel();
            if let Err(error) = thread::Builder::new().spawn(move || answer_with_lines(&requests)) {
                return line.broken(request, Code::FAILED, format!("no thread can read the input: {error}"));
            }
            *reader = Some(sender);
        }
        // The reader runs as long as the process.
        if let Some(sender) = &*reader {
            let _ = sender.send((request, line));
        }
    }
}

impl Port for ConsolePort {
    fn ask(&mut self, request: Ticket, payload: Vec<u8>, _resumed: bool) {
        if !payload.is_empty() {
            let _ = self.writer.send((None, payload));
        }
        self.console.read_line(request, self.line.clone());
    }

    fn effect(&mut self, effect: EffectId, payload: Vec<u8>) {
        let _ = self.writer.send((Some(effect), payload));
    }

    fn cancel(&mut self, _request: Ticket) {
        // The line that it would have got is dropped by the step loop.
    }
}

fn answer_with_lines(requests: &Receiver<Reading>) {
    let mut input = io::stdin().lock();
    for (request, line) in requests {
        let mut text = Vec::new();
        match input.read_until(b'\n', &mut text) {
            Ok(0) => line.broken(request, Code::CLOSED, "the console's input has ended"),
            Ok(_) => {
                if text.last() == Some(&b'\n') {
                    text.pop();
                }
                line.answer(request, text);
            }
            Err(error) => line.broken(request, Code::FAILED, format!("reading the console failed: {error}")),
        }
    }
}

fn write_line(out: &mut dyn Write, is_whole: bool, text: &[u8]) -> io::Result<()> {
    let end = if is_whole { "\n" } else { "" };
    out.write_all((printable(text) + end).as_bytes())?;
    out.flush()
}

/// Text with control characters, and bytes that are no text, escaped.
#[must_use]
pub fn printable(text: &[u8]) -> String {
    let mut shown = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() && character != '\t' {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_machine_cannot_drive_the_terminal() {
        assert_eq!(printable(b"plain \xc3\xa9\ttext"), "plain é\ttext");
        assert_eq!(printable(b"\x1b[2Jgone\r\n\xff"), "\\u{1b}[2Jgone\\r\\n\\xff");
    }
}
