//! `abide repl` without a machine: forms in, values out, until the end of standard input. Nothing of it is kept.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use lang::session::Session;
use lang::text::{WIDTH, brief, show};

use super::bounded::{Bounds, Ended};
use super::shape::shape;
use super::typed::{COMMAND, Next, Typed};
use crate::report::{FAILED, Failure, Paint};
use crate::terminal::{self, say};

/// How deep a prompt looks into a value, until it is told otherwise.
const SHOWN_DEPTH: usize = 12;
const HELP: &str = "\
a form is evaluated when its brackets are closed; (def name value) defines
:source NAME   what a name means, as text that can be read back
:shape FORM    what kind of value it comes to, and of what parts
:depth N       look N deep into values
:steps N       what is typed may take N steps; 0: as many as it likes
:help          this
^C             ends what is evaluated, ^D leaves; tab completes a name";
const COMMANDS: [&str; 5] = [":source", ":shape", ":depth", ":steps", ":help"];

/// What is typed is evaluated here.
struct Scratch {
    session: Session,
    bounds: Bounds,
    depth: usize,
    is_asked: bool,
    paint: Paint,
    has_failed: bool,
}

pub(super) fn talk() -> Result<ExitCode, Failure> {
    let is_asked = io::stdin().is_terminal() && terminal::is_watched();
    let mut bounds = Bounds::of(None);
    let mut typed = if is_asked { Typed::terminal() } else { Typed::lines() };
    if is_asked {
        bounds.catch_interrupts().map_err(Failure::Host)?;
    }
    let session = super::eval::session(Path::new(""))?;
    let paint = Paint::of(&io::stderr());
    let mut scratch = Scratch { session, bounds, depth: SHOWN_DEPTH, is_asked, paint, has_failed: false };
    if is_asked {
        say("nothing of this is kept: it is no machine's; :help helps, ^D leaves");
    }
    let mut text = String::new();
    loop {
        let next = typed.next("> ", || scratch.words());
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
        if text.trim().is_empty() || scratch.answer(&text, is_end)? {
            text.clear();
        }
        if is_end {
            return Ok(if scratch.has_failed && !is_asked { ExitCode::from(FAILED) } else { ExitCode::SUCCESS });
        }
    }
}

impl Scratch {
    /// What a word can be completed with.
    fn words(&self) -> Vec<String> {
        let names = self.session.environment().iter().map(|(name, _)| name);
        names.chain(lang::compile::KEYWORDS).chain(COMMANDS).map(str::to_owned).collect()
    }

    /// Answers what was typed. False if it may go on.
    fn answer(&mut self, typed: &str, is_end: bool) -> Result<bool, Failure> {
        if let Some(command) = typed.trim().strip_prefix(COMMAND) {
            let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
            self.obey(word, rest.trim())?;
            return Ok(true);
        }
        match self.bounds.run(&mut self.session, typed) {
            Ok(outcome) => {
                let names = self.session.names();
                let mut out = io::stdout().lock();
                for value in &outcome.values {
                    writeln!(out, "{}", brief(value, &names, WIDTH, self.depth).text)?;
                }
                out.flush()?;
                if self.is_asked {
                    outcome.definitions.iter().for_each(|(name, value)| say(&format!("{name} is {}", shape(value, 1))));
                }
            }
            Err(Ended::Text(error)) if error.problem.is_incomplete() && !is_end => return Ok(false),
            Err(ended) => self.fail(&told(&ended, typed)),
        }
        Ok(true)
    }

    fn obey(&mut self, word: &str, rest: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match (word, rest) {
            ("source", name) if !name.is_empty() => match self.session.environment().get(name) {
                Some(value) => write!(out, "{}", show(value, &self.session.names_but(name), WIDTH))?,
                None => self.complain(&format!("nothing is named {name}")),
            },
            ("shape", form) if !form.is_empty() => match self.bounds.run(&mut self.session, form) {
                Ok(outcome) => {
                    for value in &outcome.values {
                        writeln!(out, "{}", shape(value, 3))?;
                    }
                }
                Err(ended) => self.fail(&told(&ended, form)),
            },
            ("depth", number) => match number.parse() {
                Ok(depth) if depth > 0 => self.depth = depth,
                _ => self.complain(&format!("how deep? :depth {SHOWN_DEPTH} is as at first")),
            },
            ("steps", number) => match number.replace('_', "").parse() {
                Ok(steps) => self.bounds.steps = Some(steps).filter(|steps| *steps > 0),
                Err(_) => self.complain("how many? :steps 1_000_000, or :steps 0"),
            },
            ("help", "") => say(HELP),
            _ => self.complain(&format!(
                "there is no :{word}{}; :help says what there is",
                if rest.is_empty() { "" } else { " .." }
            )),
        }
        Ok(())
    }

    fn complain(&self, words: &str) {
        say(&format!("{} {words}", self.paint.error("error:")));
    }

    fn fail(&mut self, words: &str) {
        self.has_failed = true;
        self.complain(words);
    }
}

fn told(ended: &Ended, source: &str) -> String {
    match ended {
        Ended::Text(error) => error.render("typed", source).trim_end().to_owned(),
        Ended::Steps(steps) => format!("it took {steps} steps, which is all it may; :steps N allows more"),
        Ended::Interrupted => "interrupted; what was defined before is still there".to_owned(),
    }
}
