//! Standard error: words for people, and what stands on its last line meanwhile: a prompt, or progress.
//!
//! Whoever writes there while something stands on the last line writes above it: the machine's console, its traces, and whatever else this process
//! has to say. A standard error that is closed is nobody's loss.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What takes no longer is over before anybody could read of it.
const PROGRESS_AFTER: Duration = Duration::from_millis(250);
/// When a wait is spoken of where there is no terminal to show it on.
const WORDS_AFTER: Duration = Duration::from_secs(1);
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// Goes back to the start of a line and clears it.
const CLEAR_LINE: &[u8] = b"\r\x1b[K";

enum LastLine {
    Free,
    Prompt(String),
    Progress(ProgressBar),
}

static LAST_LINE: Mutex<LastLine> = Mutex::new(LastLine::Free);

fn last_line() -> MutexGuard<'static, LastLine> {
    LAST_LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a person reads standard error.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// One line of words.
pub(crate) fn say(text: &str) {
    let _ = write_above(format!("{text}\n").as_bytes());
}

/// Puts a prompt on the last line; it stays until [`answered`].
pub(crate) fn prompt(text: &str) {
    *last_line() = LastLine::Prompt(text.to_owned());
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The line at the prompt has been typed.
pub(crate) fn answered() {
    *last_line() = LastLine::Free;
}

/// Standard error, written above whatever stands on its last line.
pub(crate) struct Above;

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_above(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn write_above(bytes: &[u8]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    match &*last_line() {
        LastLine::Free => err.write_all(bytes),
        LastLine::Prompt(prompt) => {
            let end: &[u8] = if bytes.ends_with(b"\n") { b"" } else { b"\n" };
            err.write_all(&[CLEAR_LINE, bytes, end, prompt.as_bytes()].concat())
        }
        LastLine::Progress(bar) => bar.suspend(|| err.write_all(bytes)),
    }
}

/// Something that may take long. It is shown on a terminal once it has, and gone when this is dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    done: Option<Sender<()>>,
    shower: Option<JoinHandle<()>>,
}

impl Progress {
    /// Work of this process.
    pub(crate) fn of(what: String) -> Self {
        Self::begin(what, false)
    }

    /// A wait for somebody else, which is spoken of even where there is no terminal.
    pub(crate) fn waiting(what: String) -> Self {
        Self::begin(what, true)
    }

    fn begin(what: String, in_words: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_prefix(what.clone());
        let (done, is_done) = channel::<()>();
        let shown = bar.clone();
        let wait = move |time| is_done.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
        let show = move || {
            if is_watched() && wait(PROGRESS_AFTER) {
                *last_line() = LastLine::Progress(shown.clone());
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(REDRAW_EVERY);
            } else if in_words && wait(WORDS_AFTER) {
                say(&what);
            }
        };
        let shower = thread::Builder::new().name("abide-progress".to_owned()).spawn(show).ok();
        Self { bar, done: Some(done), shower }
    }

    /// How far it is.
    pub(crate) fn at(&self, text: String) {
        self.bar.set_message(text);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.done = None;
        if let Some(shower) = self.shower.take() {
            let _ = shower.join();
        }
        self.bar.finish_and_clear();
        let mut last = last_line();
        if matches!(&*last, LastLine::Progress(_)) {
            *last = LastLine::Free;
        }
    }
}
