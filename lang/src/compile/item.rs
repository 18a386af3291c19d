//! Outermost forms: definitions, imports, assertions, and forms that are there for their value.

use std::collections::HashSet;

use super::environment::Environment;
use super::expression::Program;
use super::lower::{is_function, lower};
use super::resolve::Resolver;
use crate::hash::PinHash;
use crate::text::{FormId, Forms, Kind, Problem, Span, TextError};
use crate::value::Value;

/// What a form comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// A value.
    Value(Value),
    /// An application that has all its arguments; its value is what evaluating it gives.
    Redex(Value),
    /// A function of what is given for the names that whoever compiles was told of, in their order.
    Function(Value),
}

/// An outermost form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A name given to a value.
    Define {
        /// The name.
        name: String,
        /// The value.
        code: Code,
    },
    /// The content of a pin that is known by its hash.
    Pin {
        /// The hash.
        hash: PinHash,
        /// The content.
        code: Code,
    },
    /// Names from another file: those given, or all.
    Import {
        /// The file.
        file: String,
        /// The names, and where they stand.
        names: Vec<(String, Span)>,
    },
    /// An entry of the machine's self, or all of it, replaced.
    Set {
        /// The entry, or `self`.
        name: String,
        /// What it becomes.
        code: Code,
    },
    /// Something that must be a number other than 0.
    Assert(Code),
    /// Two things that must be equal.
    AssertEqual(Code, Code),
    /// A form that is there for its value.
    Form(Code),
}

const DEF: Problem = Problem::Shape { form: "def", shape: "(def name value) or (def (name parameter ..) body)" };
const IMPORT: Problem = Problem::Shape { form: "import", shape: "(import \"file\") or (import \"file\" name ..)" };
const SET: Problem = Problem::Shape { form: "set!", shape: "(set! name value)" };
const ASSERT: Problem = Problem::Shape { form: "assert", shape: "(assert value)" };
const ASSERT_EQUAL: Problem = Problem::Shape { form: "assert-eq", shape: "(assert-eq value expected)" };

/// What a form may use besides what is defined.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around<'a> {
    /// Names that stand for values that are given when the form is evaluated.
    pub given: &'a [String],
    /// Whether there is a machine around it, whose self can be set.
    pub has_self: bool,
}

/// Compiles an outermost form. Of the names in `later` it is known that they are defined after it.
pub fn compile(
    forms: &Forms,
    id: FormId,
    environment: &Environment,
    later: &HashSet<String>,
    around: Around<'_>,
) -> Result<Item, TextError> {
    let resolver = || Resolver::new(forms, environment, later, around.given);
    let code = |id: FormId| lower(&resolver().form(id)?);
    let error = |problem| Err(TextError { span: forms.span(id), problem });
    let (head, rest) = match forms.kids(id).split_first() {
        Some((head, rest)) if forms.kind(id) == Kind::List => (forms.as_name(*head), rest),
        _ => (None, &[][..]),
    };
    Ok(match (head, rest) {
        (Some("def"), [name, value]) => return define(forms, *name, *value, forms.span(id), resolver),
        (Some("def"), _) => return error(DEF),
        (Some("import"), [file, names @ ..]) if forms.kind(*file) == Kind::Text => {
            let file = forms.as_bytes(*file).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
            let name = |id: &FormId| Ok((resolver().name(*id)?.to_owned(), forms.span(*id)));
            Item::Import { file, names: names.iter().map(name).collect::<Result<_, TextError>>()? }
        }
        (Some("import"), _) => return error(IMPORT),
        (Some("assert"), [value]) => Item::Assert(code(*value)?),
        (Some("assert"), _) => return error(ASSERT),
        (Some("assert-eq"), [value, expected]) => Item::AssertEqual(code(*value)?, code(*expected)?),
        (Some("assert-eq"), _) => return error(ASSERT_EQUAL),
        (Some("set!"), rest) if environment.get("set!").is_none() => match rest {
            _ if !around.has_self => return error(Problem::NoSelf),
            [name, value] => Item::Set { name: resolver().name(*name)?.to_owned(), code: code(*value)? },
            _ => return error(SET),
        },
        _ => Item::Form(code(id)?),
    })
}

fn define<'a>(
    forms: &'a Forms,
    name: FormId,
    value: FormId,
    span: Span,
    resolver: impl Fn() -> Resolver<'a>,
) -> Result<Item, TextError> {
    if let Some(hash) = forms.as_pin(name) {
        return Ok(Item::Pin { hash, code: lower(&resolver().form(value)?)? });
    }
    let (name, program) = match (forms.kind(name), forms.kids(name)) {
        (Kind::List, [_]) => return Err(TextError { span: forms.span(name), problem: Problem::NoParameters }),
        (Kind::List, [name, parameters @ ..]) => (*name, resolver().function(*name, parameters, value, span)?),
        (Kind::List, []) => return Err(TextError { span: forms.span(name), problem: DEF }),
        _ => (name, resolver().named(value, resolver().name(name)?)?),
    };
    let name = resolver().name(name)?.to_owned();
    if name == "_" {
        return Err(TextError { span, problem: Problem::NotAName });
    }
    Ok(Item::Define { name, code: pinned(&program, span)? })
}

/// A function that is defined is pinned; anything else is as it is.
fn pinned(program: &Program, span: Span) -> Result<Code, TextError> {
    match lower(program)? {
        Code::Value(law) if is_function(program) => {
            Ok(Code::Value(Value::pin(law).map_err(|_| TextError { span, problem: Problem::TooLarge })?))
        }
        code => Ok(code),
    }
}
