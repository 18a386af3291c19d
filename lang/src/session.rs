//! Texts evaluated, one after another, with the base library at hand: what a file or a prompt needs.
//!
//! A text is an [`Evaluation`], which can stop after any number of steps and go on later, and others can go on in between. A host
//! that has the time runs one at one go: [`Session::run`].

mod evaluation;

use std::collections::HashMap;

use crate::compile::{Answer, Environment, Outcome};
use crate::eval::{CrashValue, Crashed, JetTable, Limit, Limits, Machine};
use crate::text::{Names, TextError, WIDTH, brief, symbol_of};
use crate::value::Value;

pub use evaluation::{Evaluation, Form, Turn};

/// Where files come from: their text by name, or why there is none.
pub type Files = Box<dyn FnMut(&str) -> Result<String, String>>;

/// What a file defines.
type Exports = Vec<(String, Value)>;

/// Definitions, and an evaluator for what is made of them.
pub struct Session {
    environment: Environment,
    machine: Machine,
    files: Files,
    /// What files define that have been run: those of the base library, and others.
    library: HashMap<String, Exports>,
    known: HashMap<String, Exports>,
    /// What the base library defines.
    base: Environment,
    /// What the program knows that was run last.
    program: Option<Environment>,
    /// How many parts a value may have that is given a name.
    parts_max: usize,
}

/// Steps between two looks at what goes on.
const SLICE: u64 = 1 << 20;

impl Session {
    /// A session that knows the base library, whose assertions have been held to.
    ///
    /// # Errors
    /// If the host lacks the memory for these limits.
    ///
    /// # Panics
    /// If the library does not keep what it asserts.
    pub fn new(limits: Limits, files: Files) -> Result<Self, Limit> {
        let mut session = Self::bare(limits, files)?;
        let mut library = session.begin_library();
        while !matches!(session.advance(&mut library, SLICE), Ok(Turn::Done(_))) {}
        Ok(session)
    }

    /// A session that knows nothing until [`Self::begin_library`] has been run.
    ///
    /// # Errors
    /// If the host lacks the memory for these limits.
    pub fn bare(limits: Limits, files: Files) -> Result<Self, Limit> {
        Ok(Self {
            environment: Environment::default(),
            machine: Machine::new(limits, JetTable::default())?,
            files,
            library: HashMap::new(),
            known: HashMap::new(),
            base: Environment::default(),
            program: None,
            parts_max: usize::MAX,
        })
    }

    /// From now on, values of more parts cannot be given names.
    pub fn limit_parts(&mut self, parts_max: usize) {
        self.parts_max = parts_max;
    }

    /// Other files, in place of those there were.
    pub fn set_files(&mut self, files: Files) {
        self.files = files;
        self.known.clear();
    }

    /// Runs a text. What it defines is there from then on, also if it fails further down.
    ///
    /// # Errors
    /// What is wrong with it, or what went wrong, and where.
    pub fn run(&mut self, source: &str) -> Result<Outcome, TextError> {
        let mut evaluation = self.begin(source, false)?;
        loop {
            match self.advance(&mut evaluation, SLICE) {
                Ok(Turn::More) => {}
                Ok(Turn::Done(outcome)) => return Ok(outcome),
                Ok(Turn::Form(Form::Value(value))) => evaluation.answer(Answer::Value(value)),
                Ok(Turn::Form(Form::Root(root)) | Turn::Set(_, root)) => {
                    let value = self.machine.read(root);
                    self.machine.release(root);
                    evaluation.answer(value.map_or_else(|error| Answer::Failed(error.to_string()), Answer::Value));
                }
                Ok(Turn::Name { .. }) => evaluation.answer(Answer::None),
                Err(error) => {
                    self.end(evaluation);
                    return Err(error);
                }
            }
        }
    }

    /// What names mean here.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What names mean here, to be changed.
    pub fn environment_mut(&mut self) -> &mut Environment {
        &mut self.environment
    }

    /// From now on names mean what they mean to the program that was run last, if one was.
    pub fn adopt(&mut self) {
        if let Some(environment) = self.program.take() {
            self.environment = environment;
        }
    }

    /// What names mean where nothing but the base library is known.
    #[must_use]
    pub fn base(&self) -> &Environment {
        &self.base
    }

    /// The evaluator.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The names to print values with.
    #[must_use]
    pub fn names(&self) -> Names {
        names(&self.environment, None)
    }

    /// The names to print with what this one means, and not just the name.
    #[must_use]
    pub fn names_but(&self, name: &str) -> Names {
        names(&self.environment, self.environment.get(name))
    }

    /// A crash in words: `die "why", in f, in g`.
    #[must_use]
    pub fn told(&self, crashed: &Crashed) -> String {
        told(crashed, &self.base)
    }
}

fn names(environment: &Environment, left_out: Option<&Value>) -> Names {
    let mut names = Names::default();
    let all = environment.iter().filter(|(_, value)| Some(*value) != left_out);
    all.for_each(|(name, value)| names.add(name, value));
    names
}

/// How many names of a trace are told.
const TRACE_MAX: usize = 12;
const SHOWN_DEPTH: usize = 4;

fn told(crashed: &Crashed, environment: &Environment) -> String {
    let mut words = match &crashed.crash {
        CrashValue::Operation(opcode, argument) => {
            let argument = brief(argument, &names(environment, None), WIDTH, SHOWN_DEPTH).text;
            let opcode = symbol_of(opcode).unwrap_or_else(|| opcode.to_string());
            format!("it crashed: {opcode} {argument}")
        }
        CrashValue::NeedsItself => "a value needs itself before it can be".to_owned(),
        CrashValue::ContainsItself => "a value contains itself, and all of it was asked for".to_owned(),
        CrashValue::NumberTooLarge => "a number would be too large, or take too long".to_owned(),
        CrashValue::HashTooLarge => "what is to be pinned is too large".to_owned(),
    };
    let names = crashed.trace.iter().filter_map(symbol_of);
    for name in names.take(TRACE_MAX) {
        words.push_str(", in ");
        words.push_str(&name);
    }
    words
}
