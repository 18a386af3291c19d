//! `abide repl MACHINE`, where the machine's program is a text: forms are evaluated in the machine, beside what it does, and what they define and set stays there.
//!
//! What is typed reaches the machine as a message of its owner, and is in its log. What is only looked at is a query, and is not.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use kernel::Command;
use lang::text::{WIDTH, read};
use seed::cbor::{CborError, Reader};
use vm::step_loop::AskerNews;

use super::prompt::{self, Answers, SHOWN_DEPTH, Teller};
use super::repl::Line;
use super::send::refused;
use crate::programs::Program;
use crate::report::{Failure, causes};
use crate::terminal::say;

const HELP: &str = "\
a form is evaluated in the machine when its brackets are closed; (def name value) defines there
self           what the machine is now; a name that is a key of its table means the entry
(set! NAME FORM)   changes that entry, (set! self FORM) all of it
:source NAME   what a name means, as text that can be read back
:self          the machine's self, in brief
:jobs          what it is doing
:load FILE     another program in place of this one; self stays
:depth N       look N deep into values
:help          this
^D             leaves; the machine goes on if it is running. Tab completes a name";
const COMMANDS: [&str; 6] = [":source", ":self", ":jobs", ":load", ":depth", ":help"];

/// A conversation with a machine's kernel.
struct Inside<'a, 'b> {
    line: &'a mut Line<'b>,
    machine: &'a Path,
    depth: usize,
    names: Vec<String>,
}

pub(super) fn talk(line: &mut Line<'_>, machine: &Path) -> Result<ExitCode, Failure> {
    let mut teller = Teller::new();
    let mut inside = Inside { line, machine, depth: SHOWN_DEPTH, names: Vec::new() };
    if teller.is_asked {
        inside.names = inside.ask_names(&mut teller)?;
        say(&format!("in {}: {}; :help helps, ^D leaves", machine.display(), inside.line.what_is_kept()));
    }
    prompt::run(&mut inside, teller)
}

impl Answers for Inside<'_, '_> {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn commands(&self) -> &'static [&'static str] {
        &COMMANDS
    }

    fn answer(&mut self, typed: &str, is_end: bool, teller: &mut Teller) -> Result<bool, Failure> {
        // What is no text of the language is told here, and does not reach the machine.
        match read(typed) {
            Ok(_) => {
                self.evaluate(&Command::Eval { text: typed.to_owned(), width: WIDTH, depth: self.depth }, teller)?
            }
            Err(error) if error.problem.is_incomplete() && !is_end => return Ok(false),
            Err(error) => teller.fail(&error.render("typed", typed)),
        }
        Ok(true)
    }

    fn obey(&mut self, word: &str, rest: &str, teller: &mut Teller) -> Result<(), Failure> {
        match (word, rest) {
            ("source", name) if !name.is_empty() => self.look(&Command::Source { name: name.to_owned() }, teller)?,
            ("self", "") => self.look(&Command::State { width: WIDTH, depth: self.depth }, teller)?,
            ("jobs", "") => {
                let Some(answer) = self.ask(&Command::Jobs, teller)? else { return Ok(()) };
                let jobs = jobs(&answer).map_err(|_| self.no_kernel())?;
                if jobs.is_empty() {
                    say("nothing is under way");
                }
                jobs.iter().try_for_each(|job| writeln!(io::stdout(), "{job}"))?;
            }
            ("load", file) if !file.is_empty() => match Program::read(Path::new(file)) {
                Ok(program) => self.evaluate(&Command::Load { files: program.files }, teller)?,
                Err(failure) => teller.fail(&causes(&failure).join(": ")),
            },
            ("depth", number) => self.depth = teller.depth(number).unwrap_or(self.depth),
            ("help", "") => say(HELP),
            _ => teller.unknown(word, rest),
        }
        Ok(())
    }
}

impl Inside<'_, '_> {
    /// Has the machine run something, and shows what came of it.
    fn evaluate(&mut self, command: &Command, teller: &mut Teller) -> Result<(), Failure> {
        let answer = match self.line.say(command.encode())?.pop() {
            Some(AskerNews::Answer { payload, .. }) => payload,
            Some(AskerNews::Refused { code, text }) => {
                teller.fail(&refused(code, &text).to_string());
                return Ok(());
            }
            _ => return Err(self.no_kernel()),
        };
        match evaluated(&answer).map_err(|_| self.no_kernel())? {
            Ok((values, defined)) => {
                let mut out = io::stdout().lock();
                values.iter().try_for_each(|value| writeln!(out, "{}", value.trim_end()))?;
                out.flush()?;
                if teller.is_asked && !defined.is_empty() {
                    say(&format!("defined in the machine: {}", defined.join(", ")));
                }
                self.names.extend(defined);
                self.names.sort_unstable();
                self.names.dedup();
            }
            Err(why) => teller.fail(&why),
        }
        Ok(())
    }

    fn look(&mut self, command: &Command, teller: &mut Teller) -> Result<(), Failure> {
        let Some(answer) = self.ask(command, teller)? else { return Ok(()) };
        let text = Reader::new(&answer).text().map_err(|_| self.no_kernel())?.to_owned();
        writeln!(io::stdout(), "{}", text.trim_end())?;
        Ok(())
    }

    /// Asks for something that changes nothing. If there is no answer, that is told.
    fn ask(&mut self, command: &Command, teller: &mut Teller) -> Result<Option<Vec<u8>>, Failure> {
        let failed = |source| Failure::Ask { path: self.machine.to_owned(), source };
        let answer = match self.line {
            Line::Past(past) => past.query(command.encode()).map_err(failed)?,
            Line::Machine(conversation) => conversation.query(command.encode())?,
        };
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err((_, why)) => {
                teller.fail(&why);
                Ok(None)
            }
        }
    }

    fn ask_names(&mut self, teller: &mut Teller) -> Result<Vec<String>, Failure> {
        let Some(answer) = self.ask(&Command::Names, teller)? else { return Ok(Vec::new()) };
        let names = || {
            let mut reader = Reader::new(&answer);
            let count = reader.array()?;
            (0..count).map(|_| Ok(reader.text()?.to_owned())).collect::<Result<_, CborError>>()
        };
        names().map_err(|_| self.no_kernel())
    }

    fn no_kernel(&self) -> Failure {
        Failure::NoKernel { path: self.machine.to_owned() }
    }
}

type Evaluated = Result<(Vec<String>, Vec<String>), String>;

/// `[0, [value, ...], [name, ...]]` or `[1, why]`.
fn evaluated(answer: &[u8]) -> Result<Evaluated, CborError> {
    let mut reader = Reader::new(answer);
    reader.array()?;
    if reader.uint()? != 0 {
        let why = reader.text()?.to_owned();
        reader.end()?;
        return Ok(Err(why));
    }
    let mut texts = || {
        let count = reader.array()?;
        (0..count).map(|_| Ok(reader.text()?.to_owned())).collect::<Result<Vec<_>, CborError>>()
    };
    let (values, names) = (texts()?, texts()?);
    reader.end()?;
    Ok(Ok((values, names)))
}

/// `[[what, steps, budget], ...]`.
fn jobs(answer: &[u8]) -> Result<Vec<String>, CborError> {
    let mut reader = Reader::new(answer);
    let count = reader.array()?;
    let mut job = || {
        reader.array_of(3)?;
        Ok(format!("{}: {} of {} steps", reader.text()?.to_owned(), reader.uint()?, reader.uint()?))
    };
    let jobs = (0..count).map(|_| job()).collect::<Result<Vec<_>, CborError>>()?;
    reader.end()?;
    Ok(jobs)
}
