//! `abide repl` without a machine: forms in, values out, until the end of standard input. Nothing of it is kept.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use lang::session::Session;
use lang::text::{WIDTH, brief, show};

use super::bounded::{Bounds, Ended};
use super::prompt::{self, Answers, SHOWN_DEPTH, Teller};
use super::shape::shape;
use crate::report::Failure;
use crate::terminal::say;

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
}

pub(super) fn talk() -> Result<ExitCode, Failure> {
    let teller = Teller::new();
    let mut bounds = Bounds::of(None);
    if teller.is_asked {
        bounds.catch_interrupts().map_err(Failure::Host)?;
        say("nothing of this is kept: it is no machine's; :help helps, ^D leaves");
    }
    let session = super::eval::session(Path::new(""))?;
    prompt::run(&mut Scratch { session, bounds, depth: SHOWN_DEPTH }, teller)
}

impl Answers for Scratch {
    fn names(&self) -> Vec<String> {
        self.session.environment().iter().map(|(name, _)| name.to_owned()).collect()
    }

    fn commands(&self) -> &'static [&'static str] {
        &COMMANDS
    }

    fn answer(&mut self, typed: &str, is_end: bool, teller: &mut Teller) -> Result<bool, Failure> {
        match self.bounds.run(&mut self.session, typed) {
            Ok(outcome) => {
                let names = self.session.names();
                let mut out = io::stdout().lock();
                for value in &outcome.values {
                    writeln!(out, "{}", brief(value, &names, WIDTH, self.depth).text)?;
                }
                out.flush()?;
                if teller.is_asked {
                    outcome.definitions.iter().for_each(|(name, value)| say(&format!("{name} is {}", shape(value, 1))));
                }
            }
            Err(Ended::Text(error)) if error.problem.is_incomplete() && !is_end => return Ok(false),
            Err(ended) => teller.fail(&told(&ended, typed)),
        }
        Ok(true)
    }

    fn obey(&mut self, word: &str, rest: &str, teller: &mut Teller) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match (word, rest) {
            ("source", name) if !name.is_empty() => match self.session.environment().get(name) {
                Some(value) => write!(out, "{}", show(value, &self.session.names_but(name), WIDTH))?,
                None => teller.fail(&format!("nothing is named {name}")),
            },
            ("shape", form) if !form.is_empty() => match self.bounds.run(&mut self.session, form) {
                Ok(outcome) => {
                    for value in &outcome.values {
                        writeln!(out, "{}", shape(value, 3))?;
                    }
                }
                Err(ended) => teller.fail(&told(&ended, form)),
            },
            ("depth", number) => self.depth = teller.depth(number).unwrap_or(self.depth),
            ("steps", number) => match number.replace('_', "").parse() {
                Ok(steps) => self.bounds.steps = Some(steps).filter(|steps| *steps > 0),
                Err(_) => teller.fail("how many? :steps 1_000_000, or :steps 0"),
            },
            ("help", "") => say(HELP),
            _ => teller.unknown(word, rest),
        }
        Ok(())
    }
}

fn told(ended: &Ended, source: &str) -> String {
    match ended {
        Ended::Text(error) => error.render("typed", source),
        Ended::Steps(steps) => format!("it took {steps} steps, which is all it may; :steps N allows more"),
        Ended::Interrupted => "interrupted; what was defined before is still there".to_owned(),
    }
}
