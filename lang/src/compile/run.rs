//! A file, form by form: names get their meanings, assertions are held to.

use std::collections::HashSet;

use super::environment::{Environment, nearest};
use super::item::{Code, Item, compile};
use crate::text::{FormId, Forms, Kind, Names, Problem, Span, TextError, WIDTH, brief, read};
use crate::value::Value;

/// What a file needs of whoever runs it.
pub trait Host {
    /// The value of an application that has all its arguments, or why there is none.
    fn evaluate(&mut self, redex: Value) -> Result<Value, String>;

    /// What another file defines, or why that is not known.
    fn import(&mut self, file: &str) -> Result<Vec<(String, Value)>, String>;
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

/// How much of a value an error shows.
const SHOWN_DEPTH: usize = 6;

/// Runs a file. Its definitions and imports go into the environment as they come.
pub fn run(source: &str, environment: &mut Environment, host: &mut dyn Host) -> Result<Outcome, TextError> {
    let forms = read(source)?;
    let mut later: HashSet<&str> = forms.top().iter().filter_map(|id| defined(&forms, *id)).collect();
    let mut outcome = Outcome::default();
    let mut own: HashSet<String> = HashSet::new();
    for id in forms.top() {
        let span = forms.span(*id);
        let error = |problem| Err(TextError { span, problem });
        let mut value = |code| match code {
            Code::Value(value) => Ok(value),
            Code::Redex(redex) => {
                host.evaluate(redex).map_err(|why| TextError { span, problem: Problem::Evaluation(why) })
            }
        };
        match compile(&forms, *id, environment, &later)? {
            Item::Define { name, code } => {
                let value = value(code)?;
                later.remove(name.as_str());
                if !own.insert(name.clone()) {
                    return error(Problem::Duplicate(name));
                }
                environment.define(&name, value.clone());
                outcome.definitions.push((name, value));
            }
            Item::Pin { hash, code } => match Value::pin(value(code)?) {
                Ok(Value::Pin(pin)) if pin.hash() != hash => {
                    return error(Problem::WrongHash(pin.hash().to_string()));
                }
                Ok(pin) => environment.add_pin(&pin),
                Err(_) => return error(Problem::TooLarge),
            },
            Item::Import { file, names } => {
                let exports = host.import(&file);
                let exports = exports.map_err(|why| TextError { span, problem: Problem::Import { file, why } })?;
                for (name, value) in chosen(exports, names)? {
                    if !own.insert(name.clone()) {
                        return error(Problem::Duplicate(name));
                    }
                    environment.define(&name, value);
                }
            }
            Item::Assert(code) => match value(code)? {
                Value::Nat(nat) if !nat.is_zero() => outcome.assertions += 1,
                other => return error(Problem::Assertion(shown(&other, environment))),
            },
            Item::AssertEqual(left, right) => {
                let (left, right) = (value(left)?, value(right)?);
                if left != right {
                    let [left, right] = [left, right].map(|value| shown(&value, environment));
                    return error(Problem::NotEqual { left, right });
                }
                outcome.assertions += 1;
            }
            Item::Form(code) => outcome.values.push(value(code)?),
        }
    }
    Ok(outcome)
}

/// The name that a form defines.
fn defined<'a>(forms: &Forms<'a>, id: FormId) -> Option<&'a str> {
    let [head, name, _] = forms.kids(id) else { return None };
    let is_definition = forms.kind(id) == Kind::List && forms.as_name(*head) == Some("def");
    let name = if forms.kind(*name) == Kind::List { forms.kids(*name).first()? } else { name };
    forms.as_name(*name).filter(|_| is_definition)
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
