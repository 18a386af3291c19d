//! `do`: steps one after another. A step is a function of what comes after it, and so is the whole.
//!
//! `(do (x <- a) b (y = v) c)` is `(fn (k) (a (fn (x) (b (fn (_) (let (y v) (c k)))))))`, whatever `a`, `b` and `c` are: threads and
//! parsers of the base library are such functions.

use std::collections::HashSet;

use super::expression::{Function, Making, VariableId, VariableKind};
use super::resolve::{Resolver, Task};
use crate::nat::Nat;
use crate::text::{FormId, Kind, Problem, Span, TextError};

const DO: Problem =
    Problem::Shape { form: "do", shape: "(do step .. last), a step being (name <- form), (name = form) or a form" };

/// What a step does with what comes of it.
enum Step<'a> {
    /// `(name <- form)`, or a form.
    Give(&'a str, FormId),
    /// `(name = form)`
    Let(&'a str, FormId),
}

impl<'a> Resolver<'a> {
    pub(super) fn do_form(&mut self, id: FormId, steps: &'a [FormId]) -> Result<(), TextError> {
        if steps.is_empty() {
            return self.error(id, DO);
        }
        let span = self.forms.span(id);
        let next = self.begin("_", span)?;
        self.tasks.push(Task::Steps { steps, next, span });
        Ok(())
    }

    pub(super) fn steps(&mut self, steps: &'a [FormId], next: VariableId, span: Span) -> Result<(), TextError> {
        let Some((first, rest)) = steps.split_first() else { return Ok(()) };
        let is_last = rest.is_empty();
        match self.step_of(*first)? {
            Step::Give(name, form) if is_last && name == "_" => {
                self.tasks.extend([Task::Make(Making::Call, 2, span), Task::Use(next, span), Task::Form(form)]);
            }
            Step::Give(name, form) if !is_last => {
                self.tasks.push(Task::Make(Making::Call, 2, span));
                self.tasks.extend([Task::After { name, steps: rest, next, span }, Task::Form(form)]);
            }
            Step::Let(name, form) if !is_last => {
                let arity = self.parameter_count(form);
                let variable = self.program.variable(self.current, VariableKind::Let(None), arity);
                self.program.functions[self.current].lets.push(variable);
                let mut names = Vec::new();
                self.bind(name, variable, &mut names);
                self.tasks.push(Task::EndLet { variables: vec![Some(variable)], names });
                self.tasks.extend([Task::Steps { steps: rest, next, span }, Task::Named(form, name)]);
            }
            _ => return self.error(*first, DO),
        }
        Ok(())
    }

    /// The function of what a step gave.
    pub(super) fn after(
        &mut self,
        name: &'a str,
        steps: &'a [FormId],
        next: VariableId,
        span: Span,
    ) -> Result<(), TextError> {
        self.begin(name, span)?;
        self.tasks.push(Task::Steps { steps, next, span });
        Ok(())
    }

    fn step_of(&self, id: FormId) -> Result<Step<'a>, TextError> {
        if let (Kind::List, [name, arrow, form]) = (self.forms.kind(id), self.forms.kids(id)) {
            match self.forms.as_name(*arrow) {
                Some("<-") => return Ok(Step::Give(self.name(*name)?, *form)),
                Some("=") => return Ok(Step::Let(self.name(*name)?, *form)),
                _ => {}
            }
        }
        Ok(Step::Give("_", id))
    }

    /// Begins a function of one argument.
    fn begin(&mut self, name: &'a str, span: Span) -> Result<VariableId, TextError> {
        let depth = self.depth_within(span)?;
        let function = self.program.functions.len();
        let itself = self.program.variable(function, VariableKind::Itself, Some(1));
        let variable = self.program.variable(function, VariableKind::Parameter, None);
        let mut names = Vec::new();
        self.bind(name, variable, &mut names);
        self.program.functions.push(Function {
            name: Nat::ZERO,
            parent: Some(self.current),
            itself: Some(itself),
            depth,
            free: Vec::new(),
            is_free: HashSet::new(),
            parameters: vec![variable],
            lets: Vec::new(),
            body: 0,
        });
        self.current = function;
        self.tasks.push(Task::Leave { function, names, span });
        Ok(variable)
    }
}
