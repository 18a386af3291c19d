//! From expressions to laws.
//!
//! In the body of a law a number up to the last slot is that slot, `(0 f x)` applies, `(1 v k)` at the top is a let, `(2 c)` is
//! c, and anything else is itself. A constant that could be mistaken for one of these is quoted.

use std::collections::HashMap;

use super::expression::{ExpressionId, Function, FunctionId, Making, Meaning, Program, VariableId, VariableKind};
use super::item::Code;
use super::quote::{frozen, table};
use crate::nat::Nat;
use crate::text::{Problem, Span, TextError};
use crate::value::Value;

/// What an expression is in a law.
#[derive(Debug, Clone)]
enum Lowered {
    /// A value that is known.
    Constant(Value),
    /// A term of the law's body.
    Term(Value),
}

/// The value of a program, or what must be evaluated to have it.
pub(super) fn lower(program: &Program) -> Result<Code, TextError> {
    let mut laws: Vec<Option<Value>> = vec![None; program.functions.len()];
    // A function comes before those in it.
    for id in (1..program.functions.len()).rev() {
        let frame = Frame::of(program, id, &laws);
        let body = frame.body()?;
        laws[id] = frame.law(body);
    }
    let frame = Frame::of(program, 0, &laws);
    let body = frame.body()?;
    Ok(match body {
        Lowered::Constant(value) => Code::Value(value),
        body if program.is_given => Code::Function(frame.law(body).unwrap_or_default()),
        body => Code::Redex(Value::app(frame.law(body).unwrap_or_default(), vec![Value::word(0)])),
    })
}

/// Whether the program is one function that uses nothing around it.
pub(super) fn is_function(program: &Program) -> bool {
    let body = program.functions[0].body;
    matches!(program.expressions[body].meaning, Meaning::Function(id) if program.functions[id].free.is_empty())
}

/// What a let is.
#[derive(Debug, Clone, Copy)]
enum Let {
    Expression(ExpressionId),
    /// The function itself, given what it uses around it.
    Itself,
}

/// A function that calls itself gives itself all that it uses around it, in each call. If this would make for more terms than
/// this, it does so once.
const REPEATED_MAX: usize = 1000;

/// A function with the places of its variables.
struct Frame<'a> {
    program: &'a Program,
    function: &'a Function,
    id: FunctionId,
    /// Those of the functions in it.
    laws: &'a [Option<Value>],
    slots: HashMap<VariableId, u64>,
    lets: Vec<(VariableId, Let)>,
    slot_last: u64,
}

impl<'a> Frame<'a> {
    fn of(program: &'a Program, id: FunctionId, laws: &'a [Option<Value>]) -> Self {
        let function = &program.functions[id];
        let mut frame = Self { program, function, id, laws, slots: HashMap::new(), lets: Vec::new(), slot_last: 0 };
        // What is known needs no place, and neither does what nothing uses.
        frame.lets = (function.lets.iter())
            .filter(|variable| program.variables[**variable].uses > 0 && frame.constant(**variable).is_none())
            .filter_map(|variable| match program.variables[*variable].kind {
                VariableKind::Let(value) => Some((*variable, Let::Expression(value?))),
                VariableKind::Parameter | VariableKind::Itself => None,
            })
            .collect();
        let is_repeated =
            |itself: &VariableId| program.variables[*itself].uses.saturating_mul(function.free.len()) > REPEATED_MAX;
        frame.lets.extend(function.itself.filter(is_repeated).map(|itself| (itself, Let::Itself)));
        let variables = function.free.iter().chain(&function.parameters).copied();
        frame.slots = variables.chain(frame.lets.iter().map(|(variable, _)| *variable)).zip(1..).collect();
        frame.slot_last = (function.free.len() + function.parameters.len() + frame.lets.len()) as u64;
        frame
    }

    /// The value of a variable that is let be a constant.
    fn constant(&self, variable: VariableId) -> Option<Value> {
        let VariableKind::Let(Some(value)) = self.program.variables[variable].kind else { return None };
        match &self.program.expressions[value].meaning {
            Meaning::Constant(value) if self.program.variables[variable].owner == self.id => Some(value.clone()),
            Meaning::Function(id) if self.program.functions[*id].free.is_empty() => {
                self.laws.get(*id).cloned().flatten().filter(|_| self.program.variables[variable].owner == self.id)
            }
            _ => None,
        }
    }

    fn body(&self) -> Result<Lowered, TextError> {
        let body = self.expression(self.function.body)?;
        if self.lets.is_empty() {
            return Ok(body);
        }
        if let Lowered::Constant(_) = body {
            return Ok(body);
        }
        let mut term = self.term(body);
        for (_, value) in self.lets.iter().rev() {
            let value = match value {
                Let::Expression(value) => self.expression(*value)?,
                Let::Itself => self.itself(),
            };
            term = Value::app(Value::word(1), vec![self.term(value), term]);
        }
        Ok(Lowered::Term(term))
    }

    /// The law of this body.
    fn law(&self, body: Lowered) -> Option<Value> {
        let arity = (self.function.free.len() + self.function.parameters.len()) as u64;
        Value::law(self.function.name.clone(), Nat::word(arity), self.term(body))
    }

    fn expression(&self, id: ExpressionId) -> Result<Lowered, TextError> {
        let mut done: Vec<Lowered> = Vec::new();
        let mut left = vec![(id, false)];
        while let Some((id, is_taken_apart)) = left.pop() {
            let expression = &self.program.expressions[id];
            let lowered = match &expression.meaning {
                Meaning::Constant(value) => Lowered::Constant(value.clone()),
                Meaning::Variable(variable) => self.variable(*variable),
                Meaning::Function(function) => self.closure(*function),
                Meaning::Of(_, parts) if !is_taken_apart => {
                    left.push((id, true));
                    left.extend(parts.iter().rev().map(|part| (*part, false)));
                    continue;
                }
                Meaning::Of(making, parts) => {
                    let spans = parts.iter().map(|part| self.program.expressions[*part].span).collect::<Vec<_>>();
                    let parts = done.split_off(done.len() - parts.len());
                    self.made(*making, parts, &spans, expression.span)?
                }
            };
            done.push(lowered);
        }
        Ok(done.pop().unwrap_or(Lowered::Constant(Value::word(0))))
    }

    fn variable(&self, variable: VariableId) -> Lowered {
        if let Some(value) = self.constant(variable) {
            return Lowered::Constant(value);
        }
        match self.slots.get(&variable) {
            Some(slot) => Lowered::Term(Value::word(*slot)),
            None => self.itself(),
        }
    }

    /// The function itself, as others call it: without what it uses around it.
    fn itself(&self) -> Lowered {
        Lowered::Term(self.applied(Value::word(0), &self.function.free))
    }

    /// A function in this one, given what it uses of it.
    fn closure(&self, id: FunctionId) -> Lowered {
        let law = self.laws[id].clone().unwrap_or_default();
        match self.program.functions[id].free.as_slice() {
            [] => Lowered::Constant(law),
            free => Lowered::Term(self.applied(self.term(Lowered::Constant(law)), free)),
        }
    }

    fn applied(&self, function: Value, variables: &[VariableId]) -> Value {
        variables.iter().fold(function, |function, variable| apply(function, self.term(self.variable(*variable))))
    }

    fn made(&self, making: Making, parts: Vec<Lowered>, spans: &[Span], span: Span) -> Result<Lowered, TextError> {
        let at = |span: Span| move |problem: Problem| TextError { span, problem };
        let known = |what: &'static str| -> Result<Vec<Value>, TextError> {
            let value = |(part, span): (&Lowered, &Span)| match part {
                Lowered::Constant(value) => Ok(value.clone()),
                Lowered::Term(_) => Err(at(*span)(Problem::NotConstant(what))),
            };
            parts.iter().zip(spans).map(value).collect()
        };
        let is_known = parts.iter().all(|part| matches!(part, Lowered::Constant(_)));
        Ok(match making {
            Making::Call => {
                let mut terms = parts.into_iter().map(|part| self.term(part));
                let function = terms.next().unwrap_or_default();
                Lowered::Term(terms.fold(function, apply))
            }
            Making::Row if is_known => Lowered::Constant(Value::row(known("")?)),
            Making::Row => Lowered::Term(self.row(parts)),
            Making::Set => {
                let set = Value::set(known("a set's elements")?);
                Lowered::Constant(set.map_err(|_| at(span)(Problem::DuplicateKey("an element is")))?)
            }
            Making::Table if is_known => Lowered::Constant(table(known("")?).map_err(at(span))?),
            Making::Table => self.table(parts, spans, span)?,
            Making::Frozen => Lowered::Constant(frozen(known("the parts of #(..)")?).map_err(at(span))?),
            Making::Law => {
                let what = "the parts of a law";
                let [name, arity, body] = <[Value; 3]>::try_from(known(what)?).unwrap_or_default();
                let (Value::Nat(name), Value::Nat(arity)) = (name, arity) else {
                    return Err(at(span)(Problem::LawPart("a law's name and arity are numbers")));
                };
                let law = Value::law(name, arity, body);
                Lowered::Constant(law.ok_or_else(|| at(span)(Problem::LawPart("a law takes an argument at least")))?)
            }
            Making::Pin => match parts.into_iter().next() {
                Some(Lowered::Constant(value)) => {
                    Lowered::Constant(Value::pin(value).map_err(|_| at(span)(Problem::TooLarge))?)
                }
                part => {
                    let four = self.term(Lowered::Constant(Value::word(4)));
                    Lowered::Term(part.into_iter().fold(four, |four, part| apply(four, self.term(part))))
                }
            },
        })
    }

    fn row(&self, elements: Vec<Lowered>) -> Value {
        let constructor = self.term(Lowered::Constant(Value::cow(elements.len() as u64)));
        elements.into_iter().rev().fold(constructor, |row, element| apply(row, self.term(element)))
    }

    /// Keys must be known; values need not be. A set applied to a row is a table.
    fn table(&self, parts: Vec<Lowered>, spans: &[Span], span: Span) -> Result<Lowered, TextError> {
        let mut pairs = Vec::new();
        let mut parts = parts.into_iter().zip(spans);
        while let (Some((key, span)), Some((value, _))) = (parts.next(), parts.next()) {
            let Lowered::Constant(key) = key else {
                return Err(TextError { span: *span, problem: Problem::NotConstant("a table's keys") });
            };
            pairs.push((key, value));
        }
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let (keys, values) = pairs.into_iter().unzip();
        let keys = Value::set(keys).map_err(|_| TextError { span, problem: Problem::DuplicateKey("a key is") })?;
        Ok(Lowered::Term(apply(self.term(Lowered::Constant(keys)), self.row(values))))
    }

    /// As it stands in the body.
    fn term(&self, lowered: Lowered) -> Value {
        let value = match lowered {
            Lowered::Term(term) => return term,
            Lowered::Constant(value) => value,
        };
        let is_read_otherwise = match &value {
            Value::Nat(nat) => *nat <= Nat::word(self.slot_last),
            Value::App(app) => is_term(app.head(), app.args().len()),
            Value::Pin(_) | Value::Law(_) => false,
        };
        if is_read_otherwise { Value::app(Value::word(2), vec![value]) } else { value }
    }
}

/// Whether an application of this to so many arguments means something in a law's body.
pub(crate) fn is_term(head: &Value, args: usize) -> bool {
    let Value::Nat(head) = head else { return false };
    matches!((head.to_word(), args), (Some(0 | 1), 2) | (Some(2), 1))
}

fn apply(function: Value, argument: Value) -> Value {
    Value::app(Value::word(0), vec![function, argument])
}
