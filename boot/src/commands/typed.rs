//! Lines that a person types: edited, completed, and remembered where the person's own state is kept.
//!
//! What is typed ends with its last bracket: until then the end of a line is one more line. Without a terminal lines are read as they
//! are, and nothing is remembered.

use std::fs::DirBuilder;
use std::io::{self, BufRead};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use lang::text::read;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, Config, Context, Editor, Helper};

/// How many texts are remembered.
const HISTORY_MAX: usize = 1000;
/// What begins what is no form, but something to do.
pub(super) const COMMAND: char = ':';

/// Where typed texts come from.
pub(super) enum Typed {
    Lines(io::Lines<io::StdinLock<'static>>),
    Terminal(Box<Terminal>),
}

pub(super) struct Terminal {
    editor: Editor<Words, FileHistory>,
    history: Option<PathBuf>,
}

/// What came of waiting for something typed.
pub(super) enum Next {
    /// A line as it was read, or all of a text.
    Text(String),
    /// What was being typed is given up.
    Nothing,
    End,
}

impl Typed {
    pub(super) fn lines() -> Self {
        Self::Lines(io::stdin().lock().lines())
    }

    /// An editor at the terminal, or lines as they come if it cannot be had.
    pub(super) fn terminal() -> Self {
        let config = Config::builder().behavior(Behavior::PreferTerm).max_history_size(HISTORY_MAX);
        let editor = config.and_then(|config| Editor::with_config(config.auto_add_history(true).build()));
        let Ok(mut editor) = editor else { return Self::lines() };
        let history = history();
        if let Some(history) = &history {
            let _ = editor.load_history(history);
        }
        Self::Terminal(Box::new(Terminal { editor, history }))
    }

    /// The next text. A word of it can be completed by these names.
    pub(super) fn next(&mut self, prompt: &str, names: impl FnOnce() -> Vec<String>) -> io::Result<Next> {
        let terminal = match self {
            Self::Lines(lines) => return Ok(lines.next().transpose()?.map_or(Next::End, Next::Text)),
            Self::Terminal(terminal) => terminal,
        };
        terminal.editor.set_helper(Some(Words(names())));
        match terminal.editor.readline(prompt) {
            Ok(text) => Ok(Next::Text(text)),
            Err(ReadlineError::Eof) => Ok(Next::End),
            Err(ReadlineError::Io(error)) => Err(error),
            Err(ReadlineError::Errno(errno)) => Err(errno.into()),
            // Interrupted, or the window has another size.
            Err(_) => Ok(Next::Nothing),
        }
    }
}

impl Drop for Typed {
    /// What cannot be remembered is forgotten.
    fn drop(&mut self) {
        if let Self::Terminal(terminal) = self
            && let Some(history) = &terminal.history
        {
            let _ = terminal.editor.append_history(history);
        }
    }
}

/// The file of what was typed, in a folder of this user's.
fn history() -> Option<PathBuf> {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = given("XDG_STATE_HOME").or_else(|| Some(given("HOME")?.join(".local/state")))?;
    let folder = state.join("abide");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    Some(folder.join("history"))
}

/// Names to complete words with.
struct Words(Vec<String>);

impl Helper for Words {}
impl Highlighter for Words {}

impl Hinter for Words {
    type Hint = String;
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, place: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..place];
        let start = before.rfind(|c: char| c.is_whitespace() || "()[]{}\"';#".contains(c)).map_or(0, |at| at + 1);
        let begun = &before[start..];
        let fitting = self.0.iter().filter(|name| !begun.is_empty() && name.starts_with(begun));
        Ok((start, fitting.cloned().collect()))
    }
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        let is_open = !text.starts_with(COMMAND) && read(text).is_err_and(|error| error.problem.is_incomplete());
        Ok(if is_open { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}
