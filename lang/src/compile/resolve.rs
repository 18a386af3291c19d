//! From a form to expressions: what each name means, and which function uses which variables.
//!
//! The forms still to be looked at are on a stack, with what is to be done after them: names go out of scope, parts become a
//! whole.

use std::collections::{HashMap, HashSet};

use super::environment::{Environment, nearest};
use super::expression::{ExpressionId, Function, FunctionId, Making, Meaning, Program, VariableId, VariableKind};
use super::pattern::Clause;
use super::{is_keyword, quote};
use crate::nat::Nat;
use crate::text::{FormId, Forms, Kind, Problem, Span, TextError, is_name};
use crate::value::Value;

const PIN: Problem = Problem::Shape { form: "pin", shape: "(pin value)" };
const QUOTE: Problem = Problem::Shape { form: "quote", shape: "(quote form)" };
const LAW: Problem = Problem::Shape { form: "law", shape: "(law 'name arity body)" };

/// What is to be done; the last one comes first.
pub(super) enum Task<'a> {
    Form(FormId),
    /// A function, or another form, that is to be called so.
    Named(FormId, &'a str),
    /// The last so many expressions make one.
    Make(Making, usize, Span),
    /// The body of a function is done: back to the one around it.
    Leave {
        function: FunctionId,
        names: Vec<&'a str>,
        span: Span,
    },
    /// The values of lets are done, and what they are for.
    EndLet {
        variables: Vec<Option<VariableId>>,
        names: Vec<&'a str>,
    },
    /// What a case looks at is done.
    Look {
        clauses: Vec<Clause>,
        span: Span,
    },
    /// The next clause.
    Clause {
        clause: Clause,
        value: VariableId,
    },
    Unbind(Vec<&'a str>),
    /// The steps of a `do` that are left, and what its last one is given.
    Steps {
        steps: &'a [FormId],
        next: VariableId,
        span: Span,
    },
    /// A function begins of what a step of a `do` gave, which is what the rest of them does.
    After {
        name: &'a str,
        steps: &'a [FormId],
        next: VariableId,
        span: Span,
    },
    Use(VariableId, Span),
    /// All clauses are done.
    EndCase {
        clauses: Vec<Clause>,
        value: VariableId,
        span: Span,
    },
}

pub(super) struct Resolver<'a> {
    pub(super) forms: &'a Forms,
    pub(super) environment: &'a Environment,
    later: &'a HashSet<String>,
    pub(super) program: Program,
    scope: HashMap<&'a str, Vec<VariableId>>,
    pub(super) current: FunctionId,
    pub(super) tasks: Vec<Task<'a>>,
    pub(super) done: Vec<ExpressionId>,
    /// The tests of the clauses that were begun.
    pub(super) tests: Vec<Option<ExpressionId>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        forms: &'a Forms,
        environment: &'a Environment,
        later: &'a HashSet<String>,
        given: &'a [String],
    ) -> Self {
        let mut program = Program { is_given: !given.is_empty(), ..Program::default() };
        program.functions.push(Function {
            name: Nat::ZERO,
            parent: None,
            itself: None,
            depth: 0,
            free: Vec::new(),
            is_free: HashSet::new(),
            parameters: Vec::new(),
            lets: Vec::new(),
            body: 0,
        });
        let mut scope: HashMap<&str, Vec<VariableId>> = HashMap::new();
        for index in 0..given.len().max(1) {
            let parameter = program.variable(0, VariableKind::Parameter, None);
            program.functions[0].parameters.push(parameter);
            if let Some(name) = given.get(index) {
                scope.insert(name, vec![parameter]);
            }
        }
        Self {
            forms,
            environment,
            later,
            program,
            scope,
            current: 0,
            tasks: Vec::new(),
            done: Vec::new(),
            tests: Vec::new(),
        }
    }

    /// The program that a form is.
    pub(super) fn form(mut self, id: FormId) -> Result<Program, TextError> {
        self.tasks.push(Task::Form(id));
        self.finish()
    }

    /// The program that is a form of this name.
    pub(super) fn named(mut self, id: FormId, name: &'a str) -> Result<Program, TextError> {
        self.program.functions[0].name = Nat::symbol(name);
        self.tasks.push(Task::Named(id, name));
        self.finish()
    }

    /// The program that is a function, by its name, parameters and body.
    pub(super) fn function(
        mut self,
        name: FormId,
        parameters: &[FormId],
        body: FormId,
        span: Span,
    ) -> Result<Program, TextError> {
        let name = self.name(name)?;
        self.enter(Some(name), parameters, body, span)?;
        self.finish()
    }

    fn finish(mut self) -> Result<Program, TextError> {
        while let Some(task) = self.tasks.pop() {
            self.step(task)?;
        }
        self.program.functions[0].body = self.done.pop().unwrap_or_default();
        Ok(self.program)
    }

    fn step(&mut self, task: Task<'a>) -> Result<(), TextError> {
        match task {
            Task::Form(id) => self.one(id),
            Task::Named(id, name) => match self.is_function(id) {
                Some(false) => self.function_form(id, Some(name)),
                _ => self.one(id),
            },
            Task::Make(making, count, span) => {
                let parts = self.done.split_off(self.done.len() - count);
                self.push(Meaning::Of(making, parts), span);
                Ok(())
            }
            Task::Leave { function, names, span } => {
                self.unbind(&names);
                self.program.functions[function].body = self.done.pop().unwrap_or_default();
                self.current = self.program.functions[function].parent.unwrap_or_default();
                self.push(Meaning::Function(function), span);
                Ok(())
            }
            Task::EndLet { variables, names } => {
                let body = self.done.pop().unwrap_or_default();
                let values = self.done.split_off(self.done.len() - variables.len());
                for (variable, value) in variables.into_iter().zip(values) {
                    if let Some(variable) = variable {
                        self.program.variables[variable].kind = VariableKind::Let(Some(value));
                    }
                }
                self.unbind(&names);
                self.done.push(body);
                Ok(())
            }
            Task::Look { clauses, span } => self.look(clauses, span),
            Task::Clause { clause, value } => self.clause(clause, value),
            Task::Unbind(names) => {
                self.unbind(&names);
                Ok(())
            }
            Task::EndCase { clauses, value, span } => self.end_case(&clauses, value, span),
            Task::Steps { steps, next, span } => self.steps(steps, next, span),
            Task::After { name, steps, next, span } => self.after(name, steps, next, span),
            Task::Use(variable, span) => {
                self.program.use_in(self.current, variable);
                self.push(Meaning::Variable(variable), span);
                Ok(())
            }
        }
    }

    pub(super) fn error<T>(&self, id: FormId, problem: Problem) -> Result<T, TextError> {
        Err(TextError { span: self.forms.span(id), problem })
    }

    pub(super) fn push(&mut self, meaning: Meaning, span: Span) {
        let id = self.program.expression(meaning, span);
        self.done.push(id);
    }

    pub(super) fn constant(&mut self, value: Value, span: Span) {
        self.push(Meaning::Constant(value), span);
    }

    /// What parts make, the parts being forms.
    fn make(&mut self, making: Making, parts: &[FormId], span: Span) {
        self.tasks.push(Task::Make(making, parts.len(), span));
        self.tasks.extend(parts.iter().rev().map(|id| Task::Form(*id)));
    }

    fn one(&mut self, id: FormId) -> Result<(), TextError> {
        let (forms, span) = (self.forms, self.forms.span(id));
        let kids = forms.kids(id);
        match forms.kind(id) {
            Kind::Nat | Kind::Text | Kind::Bytes | Kind::Pin => {
                let value = quote::quote(forms, id, self.environment)?;
                self.constant(value, span);
            }
            Kind::Quote => {
                let value = quote::quote(forms, kids[0], self.environment)?;
                self.constant(value, span);
            }
            Kind::Name => self.use_name(id)?,
            Kind::Row => self.make(Making::Row, kids, span),
            Kind::Set => self.make(Making::Set, kids, span),
            Kind::Table if kids.len() % 2 == 1 => return self.error(kids[kids.len() - 1], Problem::OddTable),
            Kind::Table => self.make(Making::Table, kids, span),
            Kind::Frozen => self.make(Making::Frozen, kids, span),
            Kind::List => self.list(id)?,
            // These are not read.
            Kind::Discard | Kind::Comment { .. } => {}
        }
        Ok(())
    }

    fn list(&mut self, id: FormId) -> Result<(), TextError> {
        let (kids, span) = (self.forms.kids(id), self.forms.span(id));
        let Some((head, rest)) = kids.split_first() else { return self.error(id, Problem::EmptyList) };
        match self.forms.as_name(*head) {
            Some("fn") => self.function_form(id, None),
            Some("let") => self.let_form(id, rest),
            Some("case") => self.case_form(id, rest),
            Some("do") => self.do_form(id, rest),
            Some("pin") if rest.len() == 1 => {
                self.make(Making::Pin, rest, span);
                Ok(())
            }
            Some("law") if rest.len() == 3 => {
                self.make(Making::Law, rest, span);
                Ok(())
            }
            Some("quote") if rest.len() == 1 => {
                let value = quote::quote(self.forms, rest[0], self.environment)?;
                self.constant(value, span);
                Ok(())
            }
            Some("pin") => self.error(id, PIN),
            Some("law") => self.error(id, LAW),
            Some("quote") => self.error(id, QUOTE),
            Some(word) if is_keyword(word) => self.error(*head, Problem::Outermost(word.to_owned())),
            _ if rest.is_empty() => self.error(id, Problem::NoArguments),
            name => {
                if let Some(name) = name {
                    self.check_arity(*head, name, rest.len())?;
                }
                self.make(Making::Call, kids, span);
                Ok(())
            }
        }
    }

    /// What a name means that is not taken by anything around it.
    fn use_name(&mut self, id: FormId) -> Result<(), TextError> {
        let (name, span) = (self.forms.text(id), self.forms.span(id));
        if let Some(variable) = self.scope.get(name).and_then(|variables| variables.last()) {
            let variable = *variable;
            self.program.use_in(self.current, variable);
            self.push(Meaning::Variable(variable), span);
            return Ok(());
        }
        if is_keyword(name) {
            return self.error(id, Problem::Keyword(name.to_owned()));
        }
        if !is_name(name) {
            return self.error(id, Problem::Cut);
        }
        let Some(value) = self.environment.get(name) else {
            let is_later = self.later.contains(name);
            let local = self.scope.iter().filter(|(_, variables)| !variables.is_empty()).map(|(name, _)| *name);
            let nearest = nearest(name, self.environment.iter().map(|(name, _)| name).chain(local));
            return self.error(id, Problem::Unbound { name: name.to_owned(), nearest, is_later });
        };
        self.constant(value.clone(), span);
        Ok(())
    }

    /// A function that is called by its name takes no more than its arguments.
    fn check_arity(&self, head: FormId, name: &str, given: usize) -> Result<(), TextError> {
        let takes = match self.scope.get(name).and_then(|variables| variables.last()) {
            Some(variable) => self.program.variables[*variable].arity.map(|arity| Nat::word(arity as u64)),
            None => self.environment.get(name).filter(|value| !matches!(value, Value::Nat(_))).map(Value::arity),
        };
        match takes {
            Some(takes) if takes < Nat::word(given as u64) => {
                let takes = if takes == 1 { "1 argument".to_owned() } else { format!("{takes} arguments") };
                self.error(head, Problem::TooManyArguments { name: name.to_owned(), takes, given })
            }
            _ => Ok(()),
        }
    }

    /// A name that is given to something.
    pub(super) fn name(&self, id: FormId) -> Result<&'a str, TextError> {
        match self.forms.as_name(id) {
            None => self.error(id, Problem::NotAName),
            Some(name) if is_keyword(name) => self.error(id, Problem::Keyword(name.to_owned())),
            Some(name) if !is_name(name) => self.error(id, Problem::Cut),
            Some(name) => Ok(name),
        }
    }

    /// Makes a name mean a variable, unless it is `_`, which means nothing.
    pub(super) fn bind(&mut self, name: &'a str, variable: VariableId, names: &mut Vec<&'a str>) {
        if name != "_" {
            self.scope.entry(name).or_default().push(variable);
            names.push(name);
        }
    }

    pub(super) fn unbind(&mut self, names: &[&'a str]) {
        for name in names {
            if let Some(variables) = self.scope.get_mut(name) {
                variables.pop();
            }
        }
    }
}
