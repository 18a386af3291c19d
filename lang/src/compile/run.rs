//! A file, form by form: names get their meanings, assertions are held to.
//!
//! A [`Run`] says what it needs and is given it, and evaluates and reads nothing itself. Whoever runs it can stop between any two
//! of its needs, and go on whenever that is.

use std::collections::{HashSet, VecDeque};

use super::environment::{Environment, nearest};
use super::item::{Around, Code, Item, compile};
use crate::hash::PinHash;
use crate::text::{FormId, Forms, Kind, Names, Problem, Span, TextError, WIDTH, brief, read};
use crate::value::Value;

/// What a run needs before it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Nothing: a form of so many bytes is done, and it goes on with [`Answer::None`].
    Turn(usize),
    /// The value of this, as [`Answer::Value`].
    Value(Code),
    /// The value of a form, as [`Answer::Value`], or that it is taken by somebody else, as [`Answer::None`].
    Form(Code),
    /// That the machine's self, or an entry of it, becomes this, as [`Answer::None`].
    Set(String, Code),
    /// What a file defines, as [`Answer::Exports`].
    Import(String),
    /// What a name means that is not defined: [`Answer::Given`], or [`Answer::Value`] if its value is to become part of
    /// a definition, or [`Answer::None`].
    Name {
        /// The name.
        name: String,
        /// Whether its value becomes part of a definition.
        is_captured: bool,
    },
    /// Nothing more: it is done.
    End,
}

/// What a run is given.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Nothing.
    None,
    /// A value.
    Value(Value),
    /// The name stands for something that is given when the form is evaluated.
    Given,
    /// What a file defines.
    Exports(Vec<(String, Value)>),
    /// What was asked for cannot be had.
    Failed(String),
}

/// What came of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What it defines, in order.
    pub definitions: Vec<(String, Value)>,
    /// The values of the forms that are there for their value.
    pub values: Vec<Value>,
    /// How many assertions held.
    pub assertions: usize,
}

/// What the form at hand is waiting for values for.
#[derive(Debug)]
enum Purpose {
    Define(String),
    Pin(PinHash),
    Assert,
    AssertEqual,
}

#[derive(Debug)]
enum Stage {
    /// Between two forms.
    Between,
    /// Values are missing; those that are there are in `values`.
    Values(Purpose, VecDeque<Code>),
    /// Somebody takes the value of the form.
    Taken,
    Import(String, Vec<(String, Span)>),
    /// A name may have a meaning.
    Name(TextError, String),
}

/// How much of a value an error shows.
const SHOWN_DEPTH: usize = 6;

/// A file that is being run.
#[derive(Debug)]
pub struct Run {
    forms: Forms,
    has_self: bool,
    /// The form at hand, by its place.
    at: usize,
    stage: Stage,
    values: Vec<Value>,
    /// Names that values are given for when this form is evaluated, or that have become part of it.
    given: Vec<String>,
    captured: Vec<(String, Value)>,
    later: HashSet<String>,
    own: HashSet<String>,
    outcome: Outcome,
}

impl Run {
    /// Begins to run a text. If it runs within a machine, it may look at its self and set it.
    ///
    /// # Errors
    /// If it does not consist of forms.
    pub fn new(source: &str, has_self: bool) -> Result<Self, TextError> {
        let forms = read(source)?;
        let later = forms.top().iter().filter_map(|id| defined(&forms, *id)).map(str::to_owned).collect();
        Ok(Self {
            forms,
            has_self,
            at: 0,
            stage: Stage::Between,
            values: Vec::new(),
            given: Vec::new(),
            captured: Vec::new(),
            later,
            own: HashSet::new(),
            outcome: Outcome::default(),
        })
    }

    /// What it runs.
    #[must_use]
    pub fn source(&self) -> &str {
        self.forms.source()
    }

    /// Names that values are to be given for, for the code that was asked for last.
    #[must_use]
    pub fn given(&self) -> &[String] {
        &self.given
    }

    /// What came of it so far.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// What has come of it.
    #[must_use]
    pub fn into_outcome(self) -> Outcome {
        self.outcome
    }

    fn span(&self) -> Span {
        self.forms.top().get(self.at).map_or_else(Span::default, |id| self.forms.span(*id))
    }

    fn fail<T>(&self, problem: Problem) -> Result<T, TextError> {
        Err(TextError { span: self.span(), problem })
    }

    /// Goes on with what it needed, as far as the next need. Definitions and imports go into the environment as they come.
    ///
    /// # Errors
    /// What is wrong with the form at hand, or what went wrong. It cannot go on then.
    pub fn go_on(&mut self, environment: &mut Environment, answer: Answer) -> Result<Need, TextError> {
        match (std::mem::replace(&mut self.stage, Stage::Between), answer) {
            (Stage::Name(error, _), Answer::None) => Err(error),
            (Stage::Import(file, _), Answer::Failed(why)) => self.fail(Problem::Import { file, why }),
            (_, Answer::Failed(why)) => self.fail(Problem::Evaluation(why)),
            (Stage::Between, _) => self.begin(environment),
            (Stage::Name(_, name), answer) => {
                match answer {
                    Answer::Value(value) => self.captured.push((name, value)),
                    _ => self.given.push(name),
                }
                self.begin(environment)
            }
            (Stage::Values(purpose, left), Answer::Value(value)) => {
                self.values.push(value);
                self.collect(environment, purpose, left)
            }
            (Stage::Import(_, names), Answer::Exports(exports)) => {
                for (name, value) in chosen(exports, names)? {
                    if !self.own.insert(name.clone()) {
                        return self.fail(Problem::Duplicate(name));
                    }
                    environment.define(&name, value);
                }
                Ok(self.end())
            }
            (Stage::Taken, Answer::Value(value)) => {
                self.outcome.values.push(value);
                Ok(self.end())
            }
            // Whatever else is given is as good as nothing.
            (Stage::Taken | Stage::Values(..) | Stage::Import(..), _) => Ok(self.end()),
        }
    }

    fn end(&mut self) -> Need {
        let span = self.span();
        self.at += 1;
        self.given.clear();
        self.captured.clear();
        self.values.clear();
        Need::Turn((span.end - span.start) as usize)
    }

    fn begin(&mut self, environment: &mut Environment) -> Result<Need, TextError> {
        let Some(id) = self.forms.top().get(self.at).copied() else { return Ok(Need::End) };
        let around = Around { given: &self.given, has_self: self.has_self };
        let compiled = if self.captured.is_empty() {
            compile(&self.forms, id, environment, &self.later, around)
        } else {
            let mut within = environment.clone();
            self.captured.iter().for_each(|(name, value)| within.define(name, value.clone()));
            compile(&self.forms, id, &within, &self.later, around)
        };
        let item = match compiled {
            Err(TextError { problem: Problem::Unbound { name, is_later: false, nearest }, span }) if self.has_self => {
                let problem = Problem::Unbound { name: name.clone(), is_later: false, nearest };
                self.stage = Stage::Name(TextError { span, problem }, name.clone());
                return Ok(Need::Name { name, is_captured: is_definition(&self.forms, id) });
            }
            compiled => compiled?,
        };
        let (purpose, codes) = match item {
            Item::Define { name, code } => (Purpose::Define(name), vec![code]),
            Item::Pin { hash, code } => (Purpose::Pin(hash), vec![code]),
            Item::Assert(code) => (Purpose::Assert, vec![code]),
            Item::AssertEqual(left, right) => (Purpose::AssertEqual, vec![left, right]),
            Item::Import { file, names } => {
                self.stage = Stage::Import(file.clone(), names);
                return Ok(Need::Import(file));
            }
            Item::Form(code) => {
                self.stage = Stage::Taken;
                return Ok(Need::Form(code));
            }
            Item::Set { name, code } => {
                self.stage = Stage::Taken;
                return Ok(Need::Set(name, code));
            }
        };
        self.collect(environment, purpose, codes.into())
    }

    /// Once all values are there, they are what they are for.
    fn collect(
        &mut self,
        environment: &mut Environment,
        purpose: Purpose,
        mut left: VecDeque<Code>,
    ) -> Result<Need, TextError> {
        while let Some(code) = left.pop_front() {
            match code {
                Code::Value(value) => self.values.push(value),
                code => {
                    self.stage = Stage::Values(purpose, left);
                    return Ok(Need::Value(code));
                }
            }
        }
        let mut values = std::mem::take(&mut self.values).into_iter();
        let value = values.next().unwrap_or_default();
        match purpose {
            Purpose::Define(name) => {
                self.later.remove(&name);
                if !self.own.insert(name.clone()) {
                    return self.fail(Problem::Duplicate(name));
                }
                environment.define(&name, value.clone());
                self.outcome.definitions.push((name, value));
            }
            Purpose::Pin(hash) => match Value::pin(value) {
                Ok(Value::Pin(pin)) if pin.hash() != hash => {
                    return self.fail(Problem::WrongHash(pin.hash().to_string()));
                }
                Ok(pin) => environment.add_pin(&pin),
                Err(_) => return self.fail(Problem::TooLarge),
            },
            Purpose::Assert => match value {
                Value::Nat(nat) if !nat.is_zero() => self.outcome.assertions += 1,
                other => return self.fail(Problem::Assertion(shown(&other, environment))),
            },
            Purpose::AssertEqual => {
                let right = values.next().unwrap_or_default();
                if value != right {
                    let [left, right] = [value, right].map(|value| shown(&value, environment));
                    return self.fail(Problem::NotEqual { left, right });
                }
                self.outcome.assertions += 1;
            }
        }
        Ok(self.end())
    }
}

/// What a file needs of whoever runs it at one go.
pub trait Host {
    /// The value of an application that has all its arguments, or why there is none.
    fn evaluate(&mut self, redex: Value) -> Result<Value, String>;

    /// What another file defines, or why that is not known.
    fn import(&mut self, file: &str) -> Result<Vec<(String, Value)>, String>;
}

/// Runs a file at one go.
///
/// # Errors
/// What is wrong with it, or what went wrong, and where.
pub fn run(source: &str, environment: &mut Environment, host: &mut dyn Host) -> Result<Outcome, TextError> {
    let mut run = Run::new(source, false)?;
    let mut answer = Answer::None;
    loop {
        answer = match run.go_on(environment, answer)? {
            Need::End => return Ok(run.into_outcome()),
            Need::Value(Code::Value(value)) | Need::Form(Code::Value(value)) => Answer::Value(value),
            Need::Value(Code::Redex(redex)) | Need::Form(Code::Redex(redex)) => {
                host.evaluate(redex).map_or_else(Answer::Failed, Answer::Value)
            }
            Need::Import(file) => host.import(&file).map_or_else(Answer::Failed, Answer::Exports),
            // Without a self there is nothing to give.
            Need::Turn(_) | Need::Set(..) | Need::Name { .. } | Need::Value(_) | Need::Form(_) => Answer::None,
        };
    }
}

/// Whether a form defines something.
fn is_definition(forms: &Forms, id: FormId) -> bool {
    let head = forms.kids(id).first().and_then(|head| forms.as_name(*head));
    forms.kind(id) == Kind::List && head == Some("def")
}

/// The name that a form defines.
fn defined(forms: &Forms, id: FormId) -> Option<&str> {
    let [_, name, _] = forms.kids(id) else { return None };
    let name = if forms.kind(*name) == Kind::List { forms.kids(*name).first()? } else { name };
    forms.as_name(*name).filter(|_| is_definition(forms, id))
}

fn chosen(exports: Vec<(String, Value)>, names: Vec<(String, Span)>) -> Result<Vec<(String, Value)>, TextError> {
    if names.is_empty() {
        return Ok(exports);
    }
    let choose = |(name, span): (String, Span)| match exports.iter().find(|(export, _)| *export == name) {
        Some(export) => Ok(export.clone()),
        None => {
            let nearest = nearest(&name, exports.iter().map(|(name, _)| name.as_str()));
            Err(TextError { span, problem: Problem::Unbound { name, nearest, is_later: false } })
        }
    };
    names.into_iter().map(choose).collect()
}

fn shown(value: &Value, environment: &Environment) -> String {
    let mut names = Names::default();
    environment.iter().for_each(|(name, value)| names.add(name, value));
    brief(value, &names, WIDTH, SHOWN_DEPTH).text
}
