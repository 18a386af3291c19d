//! Texts evaluated, one after another, with the base library at hand: what a file or a prompt needs.

use std::collections::HashMap;

use crate::base;
use crate::compile::{Environment, Host, Outcome, run};
use crate::eval::{CrashValue, Crashed, Depth, JetTable, Limit, Limits, Machine, Progress};
use crate::text::{Names, TextError, WIDTH, brief, symbol_of};
use crate::value::Value;

/// Where files come from: their text by name, or why there is none.
pub type Files = Box<dyn FnMut(&str) -> Result<String, String>>;

/// Definitions, and an evaluator for what is made of them.
pub struct Session {
    environment: Environment,
    evaluator: Evaluator,
}

impl Session {
    /// A session that knows the base library. Whether its assertions hold is looked at if `is_checked`.
    ///
    /// # Errors
    /// If the host lacks the memory for these limits.
    ///
    /// # Panics
    /// If the library does not keep what it asserts.
    pub fn new(limits: Limits, files: Files) -> Result<Self, Limit> {
        let machine = Machine::new(limits, JetTable::default())?;
        let mut evaluator = Evaluator { machine, files, known: HashMap::new(), opening: Vec::new(), base: None };
        let mut environment = Environment::default();
        for (name, source) in base::FILES {
            let mut own = Environment::default();
            let outcome = match run(source, &mut own, &mut evaluator) {
                Ok(outcome) => outcome,
                Err(error) => unreachable!("{}", error.render(name, source)),
            };
            for (name, value) in &outcome.definitions {
                if let Value::Pin(pin) = value {
                    evaluator.machine.jets_mut().bind(name, pin.hash());
                }
                environment.define(name, value.clone());
            }
            evaluator.known.insert(name.to_owned(), outcome.definitions);
        }
        environment.fix_core();
        evaluator.base = Some(environment.clone());
        Ok(Self { environment, evaluator })
    }

    /// Runs a text. What it defines is there from then on, also if it fails further down.
    ///
    /// # Errors
    /// What is wrong with it, or what went wrong, and where.
    pub fn run(&mut self, source: &str) -> Result<Outcome, TextError> {
        run(source, &mut self.environment, &mut self.evaluator)
    }

    /// What names mean here.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
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
}

fn names(environment: &Environment, left_out: Option<&Value>) -> Names {
    let mut names = Names::default();
    let all = environment.iter().filter(|(_, value)| Some(*value) != left_out);
    all.for_each(|(name, value)| names.add(name, value));
    names
}

/// Steps between two looks at what goes on.
const SLICE: u64 = 1 << 20;

struct Evaluator {
    machine: Machine,
    files: Files,
    /// What files define that have been run.
    known: HashMap<String, Vec<(String, Value)>>,
    /// Files that are being run, to notice that one imports itself.
    opening: Vec<String>,
    base: Option<Environment>,
}

impl Host for Evaluator {
    fn evaluate(&mut self, redex: Value) -> Result<Value, String> {
        let root = self.machine.load(&redex);
        self.machine.start(root, Depth::Normal);
        self.machine.release(root);
        loop {
            match self.machine.run(SLICE) {
                Progress::OutOfSteps => {}
                Progress::Done(root) => {
                    let value = self.machine.read(root);
                    self.machine.release(root);
                    return value.map_err(|error| error.to_string());
                }
                Progress::Crashed(crashed) => return Err(told(&crashed, self.base.as_ref())),
                Progress::Stopped(limit, root) => {
                    self.machine.release(root);
                    return Err(limit.to_string());
                }
            }
        }
    }

    fn import(&mut self, file: &str) -> Result<Vec<(String, Value)>, String> {
        if let Some(known) = self.known.get(file) {
            return Ok(known.clone());
        }
        if self.opening.iter().any(|opening| opening == file) {
            return Err("it imports itself".to_owned());
        }
        let source = (self.files)(file)?;
        self.opening.push(file.to_owned());
        let mut own = self.base.clone().unwrap_or_default();
        let outcome = run(&source, &mut own, self);
        self.opening.pop();
        let outcome = outcome.map_err(|error| format!("\n{}", error.render(file, &source)))?;
        self.known.insert(file.to_owned(), outcome.definitions.clone());
        Ok(outcome.definitions)
    }
}

/// How many names of a trace are told.
const TRACE_MAX: usize = 12;
const SHOWN_DEPTH: usize = 4;

/// A crash in words: `die "why", in f, in g`.
fn told(crashed: &Crashed, environment: Option<&Environment>) -> String {
    let mut words = match &crashed.crash {
        CrashValue::Operation(opcode, argument) => {
            let names = environment.map(|environment| names(environment, None)).unwrap_or_default();
            let shown = |value: &Value| brief(value, &names, WIDTH, SHOWN_DEPTH).text;
            let argument = shown(argument);
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
