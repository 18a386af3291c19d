//! A prompt: texts typed, one after another, and each answered, until the end of standard input.
//!
//! At a terminal what is typed is edited, completed and remembered, and nothing that is wrong with it is the prompt's failure. Otherwise lines are
//! read as they come, and one that fails makes the whole fail in the end.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use super::typed::{COMMAND, Next, Typed};
use crate::report::{FAILED, Failure, Paint};
use crate::terminal::{self, say};

/// How deep a prompt looks into a value, until it is told otherwise.
pub(super) const SHOWN_DEPTH: usize = 12;

/// Who answers what is typed.
pub(super) trait Answers {
    /// Names that a word can be completed with, besides those of the language.
    fn names(&self) -> Vec<String>;

    /// Things to do that are no forms, with the mark that they begin with.
    fn commands(&self) -> &'static [&'static str];

    /// Does one of them.
    fn obey(&mut self, word: &str, rest: &str, teller: &mut Teller) -> Result<(), Failure>;

    /// Answers forms. False if what was typed so far may go on; it may not at the end of what is typed.
    fn answer(&mut self, typed: &str, is_end: bool, teller: &mut Teller) -> Result<bool, Failure>;
}

/// What is said to whoever types.
pub(super) struct Teller {
    /// Whether somebody sits at a terminal.
    pub(super) is_asked: bool,
    paint: Paint,
    has_failed: bool,
}

impl Teller {
    pub(super) fn new() -> Self {
        let is_asked = io::stdin().is_terminal() && terminal::is_watched();
        Self { is_asked, paint: Paint::of(&io::stderr()), has_failed: false }
    }

    /// What was typed came to nothing.
    pub(super) fn fail(&mut self, words: &str) {
        self.has_failed = true;
        say(&format!("{} {}", self.paint.error("error:"), words.trim_end()));
    }

    /// There is no such command.
    pub(super) fn unknown(&mut self, word: &str, rest: &str) {
        let more = if rest.is_empty() { "" } else { " .." };
        self.fail(&format!("there is no :{word}{more}; :help says what there is"));
    }

    /// The depth that `:depth` is followed by.
    pub(super) fn depth(&mut self, number: &str) -> Option<usize> {
        let depth = number.parse().ok().filter(|depth| *depth > 0);
        if depth.is_none() {
            self.fail(&format!("how deep? :depth {SHOWN_DEPTH} is as at first"));
        }
        depth
    }
}

/// Below so many bytes a text is looked at with each line, whether it is whole.
const SHORT: usize = 8 << 10;

/// Has everything answered that is typed.
pub(super) fn run(answers: &mut impl Answers, mut teller: Teller) -> Result<ExitCode, Failure> {
    let mut typed = if teller.is_asked { Typed::terminal() } else { Typed::lines() };
    let mut text = String::new();
    // How long it must be to be looked at again: were that done with each line, long texts would take the square of their length.
    let mut due = 0;
    loop {
        let words = || {
            let others = lang::compile::KEYWORDS.into_iter().chain(answers.commands().iter().copied());
            answers.names().into_iter().chain(others.map(str::to_owned)).collect()
        };
        let next = typed.next("> ", words);
        let next = next.map_err(|source| Failure::Read { path: "standard input".into(), source })?;
        let is_end = matches!(next, Next::End);
        match next {
            Next::Text(line) => {
                text.push_str(&line);
                text.push('\n');
            }
            Next::Nothing => text.clear(),
            Next::End => {}
        }
        let is_done = if text.trim().is_empty() {
            true
        } else if let Some(command) = text.trim().strip_prefix(COMMAND) {
            let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
            answers.obey(word, rest.trim(), &mut teller)?;
            true
        } else if is_end || teller.is_asked || text.len() >= due {
            answers.answer(&text, is_end, &mut teller)?
        } else {
            false
        };
        if is_done {
            text.clear();
            due = 0;
        } else if text.len() >= due.max(SHORT) {
            due = 2 * text.len();
        }
        if is_end {
            let is_failure = teller.has_failed && !teller.is_asked;
            return Ok(if is_failure { ExitCode::from(FAILED) } else { ExitCode::SUCCESS });
        }
    }
}
