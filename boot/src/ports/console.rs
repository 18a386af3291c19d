//! **console**: lines out, lines in.
//!
//! An effect's payload is one line for the host's console; control characters in it are shown escaped, so that a machine cannot drive the
//! terminal. A request's payload is a prompt; its answer is the next line of standard input, without its end of line. At the end of
//! input requests are broken with `closed`. Resumed by asking again. A line that was read for a request that has been cancelled is for the next one.
//!
//! Writing happens on a thread of its own: a reader that does not read makes lines wait, not the machine. What waits is bounded: effects by the step loop,
//! prompts here.

use std::collections::VecDeque;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use seed::EffectId;
use seed::message::Code;
use vm::port::{Line, Port, Ticket};

use super::Known;
use crate::terminal::Above;

/// What prompts that are not shown yet may have together.
const PROMPT_BYTES_MAX: usize = 64 << 20;

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
    input: Arc<Input>,
    on_closed: Arc<dyn Fn(io::Error) + Send + Sync>,
}

struct ConsolePort {
    line: Line,
    input: Arc<Input>,
    writer: Sender<Shown>,
    prompts: Arc<AtomicUsize>,
}

/// A line, or a prompt.
type Shown = (Option<EffectId>, Vec<u8>);

impl Console {
    /// A console. `on_closed` is told when lines can no longer be written.
    pub fn new(target: Target, on_closed: impl Fn(io::Error) + Send + Sync + 'static) -> Self {
        Self { target, input: Arc::default(), on_closed: Arc::new(on_closed) }
    }

    /// The console as a port.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn port(&self, line: Line) -> io::Result<impl Port + use<>> {
        let (writer, lines) = channel();
        let prompts = Arc::new(AtomicUsize::new(0));
        let (target, on_closed) = (self.target, Arc::clone(&self.on_closed));
        let (reports, unshown) = (line.clone(), Arc::clone(&prompts));
        thread::Builder::new().spawn(move || {
            if let Err(error) = write_lines(target, &lines, &reports, &unshown) {
                on_closed(error);
            }
        })?;
        Ok(ConsolePort { line, input: Arc::clone(&self.input), writer, prompts })
    }
}

impl Port for ConsolePort {
    fn ask(&mut self, request: Ticket, payload: Vec<u8>, _resumed: bool) {
        let bytes = payload.len();
        if self.prompts.fetch_add(bytes, Ordering::Relaxed) + bytes > PROMPT_BYTES_MAX {
            self.prompts.fetch_sub(bytes, Ordering::Relaxed);
            return self.line.broken(request, Code::LIMIT, "too much is to be shown at a time");
        }
        if !payload.is_empty() {
            let _ = self.writer.send((None, payload));
        }
        if let Err(error) = self.input.want(request, self.line.clone()) {
            self.line.broken(request, Code::FAILED, format!("no thread can read the input: {error}"));
        }
    }

    fn effect(&mut self, effect: EffectId, payload: Vec<u8>) {
        let _ = self.writer.send((Some(effect), payload));
    }

    fn cancel(&mut self, request: Ticket) {
        self.input.readings().waiting.retain(|(waiting, _)| *waiting != request);
    }
}

/// Who wants the next lines of the host's input, in the order in which they asked.
#[derive(Default)]
struct Input {
    readings: Mutex<Readings>,
    more: Condvar,
}

#[derive(Default)]
struct Readings {
    waiting: VecDeque<(Ticket, Line)>,
    has_reader: bool,
}

impl Input {
    fn readings(&self) -> MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(self: &Arc<Self>, request: Ticket, line: Line) -> io::Result<()> {
        let mut readings = self.readings();
        if !readings.has_reader {
            let input = Arc::clone(self);
            thread::Builder::new().spawn(move || input.answer_with_lines())?;
            // It runs as long as the process.
            readings.has_reader = true;
        }
        readings.waiting.push_back((request, line));
        self.more.notify_one();
        Ok(())
    }

    /// Those who wait, once there are some.
    fn wanted(&self) -> MutexGuard<'_, Readings> {
        let is_unwanted = |readings: &mut Readings| readings.waiting.is_empty();
        self.more.wait_while(self.readings(), is_unwanted).unwrap_or_else(PoisonError::into_inner)
    }

    fn answer_with_lines(&self) {
        loop {
            // Nothing is read that nobody asks for.
            drop(self.wanted());
            let mut text = Vec::new();
            let read = io::stdin().lock().read_until(b'\n', &mut text);
            // Whoever wanted it may have cancelled that meanwhile; then it is for the next.
            let Some((request, line)) = self.wanted().waiting.pop_front() else { continue };
            match read {
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
}

fn write_lines(target: Target, lines: &Receiver<Shown>, line: &Line, prompts: &AtomicUsize) -> io::Result<()> {
    for (effect, text) in lines {
        // Not delivered where it fails: it will be shown when the machine is started again.
        match target {
            Target::Stdout => write_line(&mut io::stdout().lock(), effect.is_some(), &text),
            Target::Stderr => write_line(&mut Above, effect.is_some(), &text),
        }?;
        match effect {
            Some(effect) => line.delivered(effect),
            None => drop(prompts.fetch_sub(text.len(), Ordering::Relaxed)),
        }
    }
    Ok(())
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
