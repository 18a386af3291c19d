//! A few lines of notation for tests and measurements, so that programs can be read: no part of the language.
//!
//! `name a b = body`, one definition a line. A body is a slot's name, a number, an application `(f x y)`, a row `[x y]`, text
//! `"abc"` without spaces, the name of what is defined (its pinned law), or `(let x e body)`, at the top only.

use std::collections::HashMap;
use std::sync::OnceLock;

use lang::compile::{Environment, Host, run};
use lang::eval::{Depth, JetTable, Limits, Machine, Progress};
use lang::{Nat, Value};

/// What has been defined.
pub(crate) struct Library {
    /// Pinned laws, by name.
    pub(crate) defined: HashMap<String, Value>,
}

enum Form {
    Name(String),
    List(Vec<Form>),
    Row(Vec<Form>),
}

fn tokens(text: &str) -> Vec<String> {
    let spaced: String =
        text.chars().flat_map(|c| if "()[]".contains(c) { vec![' ', c, ' '] } else { vec![c] }).collect();
    spaced.split_whitespace().rev().map(str::to_owned).collect()
}

fn form(tokens: &mut Vec<String>) -> Form {
    let token = tokens.pop().expect("a form");
    let (list, end) = match token.as_str() {
        "(" => (true, ")"),
        "[" => (false, "]"),
        _ => return Form::Name(token),
    };
    let mut found = Vec::new();
    while tokens.last().expect("it ends") != end {
        found.push(form(tokens));
    }
    tokens.pop();
    if list { Form::List(found) } else { Form::Row(found) }
}

fn apply(function: Value, argument: Value) -> Value {
    Value::app(Value::word(0), vec![function, argument])
}

/// A constant in the body of a law.
pub(crate) fn constant(value: Value) -> Value {
    Value::app(Value::word(2), vec![value])
}

impl Library {
    /// Defines laws, each pinned.
    pub(crate) fn define(&mut self, text: &str) -> &mut Self {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(';')) {
            let (head, body) = line.split_once('=').expect("name arguments = body");
            let names: Vec<String> = head.split_whitespace().map(str::to_owned).collect();
            let law = self.law(&names, &form(&mut tokens(body)));
            self.defined.insert(names[0].clone(), Value::pin(law).expect("small"));
        }
        self
    }

    /// What a name was defined as.
    pub(crate) fn get(&self, name: &str) -> Value {
        self.defined.get(name).unwrap_or_else(|| panic!("{name} is not defined")).clone()
    }

    /// A law; the first name is its own.
    fn law(&self, names: &[String], body: &Form) -> Value {
        let arity = names.len() - 1;
        let (mut scope, mut lets, mut body) = (names.to_vec(), Vec::new(), body);
        while let Form::List(parts) = body
            && let [Form::Name(first), Form::Name(name), value, rest] = parts.as_slice()
            && first == "let"
        {
            scope.push(name.clone());
            lets.push(value);
            body = rest;
        }
        let mut value = self.expr(&scope, body);
        for bound in lets.into_iter().rev() {
            value = Value::app(Value::word(1), vec![self.expr(&scope, bound), value]);
        }
        Value::law(Nat::symbol(&names[0]), Nat::word(arity as u64), value).expect("it has arguments")
    }

    fn expr(&self, scope: &[String], body: &Form) -> Value {
        match body {
            Form::Name(name) => {
                if let Some(slot) = scope.iter().rposition(|other| other == name) {
                    Value::word(slot as u64)
                } else if let Ok(number) = name.parse() {
                    constant(Value::word(number))
                } else if let Some(text) = name.strip_prefix('"') {
                    constant(Value::bar(text.trim_end_matches('"').as_bytes()))
                } else {
                    constant(self.get(name))
                }
            }
            Form::List(parts) => {
                let mut parts = parts.iter().map(|part| self.expr(scope, part));
                let function = parts.next().expect("a function");
                parts.fold(function, apply)
            }
            Form::Row(parts) => {
                let cow = constant(Value::cow(parts.len() as u64));
                parts.iter().rev().map(|part| self.expr(scope, part)).fold(cow, apply)
            }
        }
    }
}

/// Runs the base library's files, binding jets as their laws get known.
struct Files {
    machine: Machine,
    done: HashMap<&'static str, Vec<(String, Value)>>,
}

impl Host for Files {
    fn evaluate(&mut self, redex: Value) -> Result<Value, String> {
        let root = self.machine.load(&redex);
        self.machine.start(root, Depth::Normal);
        self.machine.release(root);
        match self.machine.run(1_000_000_000) {
            Progress::Done(root) => {
                let value = self.machine.read(root).map_err(|error| error.to_string())?;
                self.machine.release(root);
                Ok(value)
            }
            other => Err(format!("{other:?}")),
        }
    }

    fn import(&mut self, file: &str) -> Result<Vec<(String, Value)>, String> {
        self.done.get(file).cloned().ok_or_else(|| file.to_owned())
    }
}

/// All that so many files of the base library define; how many of its assertions held.
pub(crate) fn base(jets: bool, count: usize) -> (HashMap<String, Value>, usize) {
    let machine = Machine::new(Limits::default(), JetTable::default()).expect("there is memory");
    let mut files = Files { machine, done: HashMap::new() };
    let (mut all, mut assertions) = (HashMap::new(), 0);
    for (name, text) in lang::base::FILES.into_iter().take(count) {
        let outcome =
            run(text, &mut Environment::default(), &mut files).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        for (name, value) in &outcome.definitions {
            if let (true, Value::Pin(pin)) = (jets, value) {
                files.machine.jets_mut().bind(name, pin.hash());
            }
        }
        assertions += outcome.assertions;
        all.extend(outcome.definitions.iter().cloned());
        files.done.insert(name, outcome.definitions);
    }
    (all, assertions)
}

impl Library {
    /// One that has the base library in it.
    pub(crate) fn new() -> Self {
        static BASE: OnceLock<HashMap<String, Value>> = OnceLock::new();
        Self { defined: BASE.get_or_init(|| base(true, usize::MAX).0).clone() }
    }
}
