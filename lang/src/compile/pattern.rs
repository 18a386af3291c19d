//! `case`: tests one after another, and names for what is found, which are lets.
//!
//! `(case v 0 a [p 'x] b _ c)` is `(if (eql 0 v) a (if (if (is-row v) (if (eql (len v) 2) (eql 'x (idx 1 v)) 0) 0) b c))`, with
//! `p` let be `(idx 0 v)`. If no clause takes the value, the number `'case` is applied to it, which is a crash.

use std::collections::HashSet;

use super::expression::{ExpressionId, Making, Meaning, VariableId};
use super::quote::quote;
use super::resolve::{Resolver, Task};
use crate::text::{FormId, Kind, Problem, Span, TextError};
use crate::value::Value;

#[derive(Debug, Clone, Copy)]
pub(super) struct Clause {
    pub(super) pattern: FormId,
    pub(super) result: FormId,
}

impl<'a> Resolver<'a> {
    /// What is looked at is done: it gets a place of its own, and the clauses come, one after another.
    pub(super) fn look(&mut self, clauses: Vec<Clause>, span: Span) -> Result<(), TextError> {
        let looked_at = self.done.pop().unwrap_or_default();
        // A variable is such a place.
        let value = match self.program.expressions[looked_at].meaning {
            Meaning::Variable(variable) => variable,
            _ => self.program.let_be(self.current, looked_at),
        };
        let each: Vec<Task<'a>> = clauses.iter().rev().map(|clause| Task::Clause { clause: *clause, value }).collect();
        self.tasks.push(Task::EndCase { clauses, value, span });
        self.tasks.extend(each);
        Ok(())
    }

    /// One clause: its test, and its result where its names mean what they name.
    pub(super) fn clause(&mut self, clause: Clause, value: VariableId) -> Result<(), TextError> {
        let mut tests: Vec<ExpressionId> = Vec::new();
        let mut names = Vec::new();
        let mut seen = HashSet::new();
        let mut left = vec![(clause.pattern, value)];
        while let Some((pattern, value)) = left.pop() {
            let span = self.forms.span(pattern);
            match self.forms.kind(pattern) {
                Kind::Name => {
                    let name = self.name(pattern)?;
                    if name != "_" && !seen.insert(name) {
                        return self.error(pattern, Problem::Duplicate(name.to_owned()));
                    }
                    self.bind(name, value, &mut names);
                }
                Kind::Nat | Kind::Text | Kind::Bytes | Kind::Pin => {
                    let literal = quote(self.forms, pattern, self.environment)?;
                    tests.push(self.test(literal, value, span)?);
                }
                Kind::Quote => {
                    let literal = quote(self.forms, self.forms.kids(pattern)[0], self.environment)?;
                    tests.push(self.test(literal, value, span)?);
                }
                Kind::Row => {
                    let elements = self.forms.kids(pattern);
                    let value_here = self.variable(value, span);
                    tests.push(self.core_call("is-row", vec![value_here], span)?);
                    let value_here = self.variable(value, span);
                    let len = self.core_call("len", vec![value_here], span)?;
                    let count = self.program.expression(Meaning::Constant(Value::word(elements.len() as u64)), span);
                    tests.push(self.core_call("eql", vec![len, count], span)?);
                    let mut inner = Vec::new();
                    for (index, element) in (0..).zip(elements) {
                        if self.forms.as_name(*element) == Some("_") {
                            continue;
                        }
                        let index = self.program.expression(Meaning::Constant(Value::word(index)), span);
                        let value_here = self.variable(value, span);
                        let found = self.core_call("idx", vec![index, value_here], span)?;
                        inner.push((*element, self.program.let_be(self.current, found)));
                    }
                    left.extend(inner.into_iter().rev());
                }
                _ => return self.error(pattern, Problem::Pattern),
            }
        }
        // The first test is the outermost.
        let mut all = None;
        for test in tests.into_iter().rev() {
            let span = self.forms.span(clause.pattern);
            all = Some(match all {
                None => test,
                Some(rest) => {
                    let no = self.program.expression(Meaning::Constant(Value::word(0)), span);
                    self.core_call("if", vec![test, rest, no], span)?
                }
            });
        }
        self.tests.push(all);
        self.tasks.extend([Task::Unbind(names), Task::Form(clause.result)]);
        Ok(())
    }

    pub(super) fn end_case(&mut self, clauses: &[Clause], value: VariableId, span: Span) -> Result<(), TextError> {
        let results = self.done.split_off(self.done.len() - clauses.len());
        let tests = self.tests.split_off(self.tests.len() - clauses.len());
        if let Some(open) = tests.iter().position(Option::is_none)
            && let Some(after) = clauses.get(open + 1)
        {
            return self.error(after.pattern, Problem::NeverReached);
        }
        let mut chain = None;
        for (test, result) in tests.into_iter().zip(results).rev() {
            chain = Some(match (test, chain) {
                (None, _) => result,
                (Some(test), chain) => {
                    let rest = chain.unwrap_or_else(|| {
                        let crash = self.program.expression(Meaning::Constant(Value::symbol("case")), span);
                        let value = self.variable(value, span);
                        self.program.expression(Meaning::Of(Making::Call, vec![crash, value]), span)
                    });
                    self.core_call("if", vec![test, result, rest], span)?
                }
            });
        }
        self.done.extend(chain);
        Ok(())
    }

    fn test(&mut self, literal: Value, value: VariableId, span: Span) -> Result<ExpressionId, TextError> {
        let literal = self.program.expression(Meaning::Constant(literal), span);
        let value = self.variable(value, span);
        self.core_call("eql", vec![literal, value], span)
    }

    fn variable(&mut self, variable: VariableId, span: Span) -> ExpressionId {
        self.program.use_in(self.current, variable);
        self.program.expression(Meaning::Variable(variable), span)
    }

    fn core_call(
        &mut self,
        name: &'static str,
        args: Vec<ExpressionId>,
        span: Span,
    ) -> Result<ExpressionId, TextError> {
        let Some(function) = self.environment.core(name).cloned() else {
            return Err(TextError { span, problem: Problem::Missing { form: "case", name } });
        };
        let mut parts = vec![self.program.expression(Meaning::Constant(function), span)];
        parts.extend(args);
        Ok(self.program.expression(Meaning::Of(Making::Call, parts), span))
    }
}
