//! What a form says once its names are resolved: functions with their variables, and expressions, each in one list.

use std::collections::HashSet;

use crate::nat::Nat;
use crate::text::Span;
use crate::value::Value;

pub(super) type FunctionId = usize;
pub(super) type VariableId = usize;
pub(super) type ExpressionId = usize;

/// A function. The first one stands for a whole outermost form, and has a parameter for each value that is given, or else one that nothing uses.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: Nat,
    pub(super) parent: Option<FunctionId>,
    /// What it calls itself. The first one has no such thing.
    pub(super) itself: Option<VariableId>,
    /// How many functions it is in.
    pub(super) depth: usize,
    /// Variables of functions around it that it uses, which become its first parameters.
    pub(super) free: Vec<VariableId>,
    pub(super) is_free: HashSet<VariableId>,
    pub(super) parameters: Vec<VariableId>,
    pub(super) lets: Vec<VariableId>,
    pub(super) body: ExpressionId,
}

/// A variable.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) owner: FunctionId,
    pub(super) kind: VariableKind,
    /// How many arguments it takes, if it is known to be a function.
    pub(super) arity: Option<usize>,
    pub(super) uses: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VariableKind {
    Parameter,
    /// What a function calls itself.
    Itself,
    /// What it means comes later than its name.
    Let(Option<ExpressionId>),
}

#[derive(Debug)]
pub(super) struct Expression {
    pub(super) meaning: Meaning,
    pub(super) span: Span,
}

#[derive(Debug)]
pub(super) enum Meaning {
    Constant(Value),
    Variable(VariableId),
    Function(FunctionId),
    /// Of expressions.
    Of(Making, Vec<ExpressionId>),
}

/// What expressions make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Making {
    /// The first applied to the others.
    Call,
    Row,
    Set,
    /// Keys and values in turn.
    Table,
    /// The application of the first to the others, itself.
    Frozen,
    /// Of name, arity and body.
    Law,
    Pin,
}

#[derive(Debug, Default)]
pub(super) struct Program {
    /// Whether values are given for the names of the first function's parameters.
    pub(super) is_given: bool,
    pub(super) functions: Vec<Function>,
    pub(super) variables: Vec<Variable>,
    pub(super) expressions: Vec<Expression>,
}

impl Program {
    pub(super) fn expression(&mut self, meaning: Meaning, span: Span) -> ExpressionId {
        self.expressions.push(Expression { meaning, span });
        self.expressions.len() - 1
    }

    pub(super) fn variable(&mut self, owner: FunctionId, kind: VariableKind, arity: Option<usize>) -> VariableId {
        self.variables.push(Variable { owner, kind, arity, uses: 0 });
        self.variables.len() - 1
    }

    /// A let of a function, and what it means.
    pub(super) fn let_be(&mut self, owner: FunctionId, value: ExpressionId) -> VariableId {
        let variable = self.variable(owner, VariableKind::Let(Some(value)), None);
        self.functions[owner].lets.push(variable);
        variable
    }

    /// A use of a variable in a function: every function between it and the variable's own gets it as an argument.
    pub(super) fn use_in(&mut self, function: FunctionId, variable: VariableId) {
        self.variables[variable].uses += 1;
        let owner = self.variables[variable].owner;
        let mut at = function;
        while at != owner {
            let inner = &mut self.functions[at];
            if !inner.is_free.insert(variable) {
                return;
            }
            inner.free.push(variable);
            let Some(parent) = inner.parent else { return };
            at = parent;
        }
    }
}
