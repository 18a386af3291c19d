//! The words that bind names within a form: `fn`, `let`, `case`. `do` is in [`super::steps`].

use std::collections::HashSet;

use super::expression::{Function, VariableKind};
use super::pattern::Clause;
use super::resolve::{Resolver, Task};
use crate::nat::Nat;
use crate::text::{FormId, Kind, Problem, Span, TextError};

/// Functions nest no deeper: each gets what the ones in it use.
const NESTED_MAX: usize = 250;

const FN: Problem = Problem::Shape { form: "fn", shape: "(fn (parameter ..) body) or (fn name (parameter ..) body)" };
const LET: Problem = Problem::Shape { form: "let", shape: "(let (name value ..) body)" };
const CASE: Problem = Problem::Shape { form: "case", shape: "(case value pattern result ..)" };

impl<'a> Resolver<'a> {
    /// Whether a form is a function, and has a name.
    pub(super) fn is_function(&self, id: FormId) -> Option<bool> {
        let [head, next, ..] = self.forms.kids(id) else { return None };
        let is_fn = self.forms.kind(id) == Kind::List && self.forms.as_name(*head) == Some("fn");
        is_fn.then(|| self.forms.kind(*next) == Kind::Name)
    }

    pub(super) fn function_form(&mut self, id: FormId, given: Option<&'a str>) -> Result<(), TextError> {
        let (forms, span) = (self.forms, self.forms.span(id));
        let (name, parameters, body) = match *forms.kids(id) {
            [_, parameters, body] => (given, parameters, body),
            [_, name, parameters, body] => (Some(self.name(name)?), parameters, body),
            _ => return self.error(id, FN),
        };
        match forms.kind(parameters) {
            Kind::List if forms.kids(parameters).is_empty() => self.error(parameters, Problem::NoParameters),
            Kind::List => self.enter(name, forms.kids(parameters), body, span),
            _ => self.error(id, FN),
        }
    }

    /// Begins a function: its names mean its variables until it is left.
    pub(super) fn enter(
        &mut self,
        name: Option<&'a str>,
        parameters: &[FormId],
        body: FormId,
        span: Span,
    ) -> Result<(), TextError> {
        let function = self.program.functions.len();
        let depth = self.depth_within(self.forms.span(body))?;
        let (mut names, mut variables, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        let itself = self.program.variable(function, VariableKind::Itself, Some(parameters.len()));
        self.bind(name.unwrap_or("_"), itself, &mut names);
        for id in parameters {
            let name = self.name(*id)?;
            if name != "_" && !seen.insert(name) {
                return self.error(*id, Problem::Duplicate(name.to_owned()));
            }
            let variable = self.program.variable(function, VariableKind::Parameter, None);
            self.bind(name, variable, &mut names);
            variables.push(variable);
        }
        self.program.functions.push(Function {
            name: name.map_or(Nat::ZERO, Nat::symbol),
            parent: Some(self.current),
            itself: Some(itself),
            depth,
            free: Vec::new(),
            is_free: HashSet::new(),
            parameters: variables,
            lets: Vec::new(),
            body: 0,
        });
        self.current = function;
        self.tasks.extend([Task::Leave { function, names, span }, Task::Form(body)]);
        Ok(())
    }

    /// How deep a function in the current one is.
    pub(super) fn depth_within(&self, span: Span) -> Result<usize, TextError> {
        let depth = self.program.functions[self.current].depth + 1;
        if depth > NESTED_MAX { Err(TextError { span, problem: Problem::NestedFunctions }) } else { Ok(depth) }
    }

    pub(super) fn let_form(&mut self, id: FormId, rest: &[FormId]) -> Result<(), TextError> {
        let forms = self.forms;
        let [bindings, body] = *rest else { return self.error(id, LET) };
        let (pairs, odd) = forms.kids(bindings).as_chunks::<2>();
        if forms.kind(bindings) != Kind::List || !odd.is_empty() || pairs.is_empty() {
            return self.error(bindings, LET);
        }
        let (mut names, mut variables, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        let mut values = Vec::new();
        for [name, value] in pairs {
            let (id, name) = (*name, self.name(*name)?);
            values.push(Task::Named(*value, name));
            if name == "_" {
                variables.push(None);
                continue;
            }
            if !seen.insert(name) {
                return self.error(id, Problem::Duplicate(name.to_owned()));
            }
            let variable = self.program.variable(self.current, VariableKind::Let(None), self.parameter_count(*value));
            self.program.functions[self.current].lets.push(variable);
            self.bind(name, variable, &mut names);
            variables.push(Some(variable));
        }
        self.tasks.extend([Task::EndLet { variables, names }, Task::Form(body)]);
        self.tasks.extend(values.into_iter().rev());
        Ok(())
    }

    /// How many parameters a form has that is a function.
    pub(super) fn parameter_count(&self, id: FormId) -> Option<usize> {
        let parameters = *self.forms.kids(id).get(if self.is_function(id)? { 2 } else { 1 })?;
        Some(self.forms.kids(parameters).len())
    }

    pub(super) fn case_form(&mut self, id: FormId, rest: &[FormId]) -> Result<(), TextError> {
        let Some((value, clauses)) = rest.split_first() else { return self.error(id, CASE) };
        let (pairs, odd) = clauses.as_chunks::<2>();
        if !odd.is_empty() || pairs.is_empty() {
            return self.error(id, CASE);
        }
        let clauses = pairs.iter().map(|[pattern, result]| Clause { pattern: *pattern, result: *result }).collect();
        self.tasks.extend([Task::Look { clauses, span: self.forms.span(id) }, Task::Form(*value)]);
        Ok(())
    }
}
