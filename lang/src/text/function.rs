//! Laws as functions: `(fn f (a b) (g b a))` for a law of that name whose body, compiled, is the same again.
//!
//! A body is told as a function only if every constant in it is quoted where compiling would quote it and nowhere else, and
//! every let is used and no constant, because compiling leaves others out. Everything else is told by its parts, `(law ..)`.
//! Variables have names that nothing else has, so that no name that is meant to be known is taken by one.

use std::borrow::Cow;

use super::literal::{is_name, symbol_of};
use super::print::Names;
use super::unique::{PartId, Parts, Raw};
use crate::compile::is_term;
use crate::nat::Nat;

/// A piece of text, or a part that is written in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Text(Cow<'static, str>),
    Part(PartId),
}

/// Of larger bodies nobody reads the text; and a body that shares its parts can be far larger as text.
const TERMS_MAX: usize = 4096;
const SLOTS_MAX: u64 = 64;

/// What stands at a place of a body.
enum Term {
    Slot(usize),
    /// A function and its arguments.
    Call(PartId, Vec<PartId>),
    Constant(PartId),
}

struct Body<'a> {
    parts: &'a Parts<'a>,
    arity: usize,
    /// The terms of the lets, and the last one.
    lets: Vec<PartId>,
    body: PartId,
    /// What each slot is called.
    names: Vec<String>,
}

/// A law as a function, with its name; or as the head and body of a definition.
pub(super) fn function(parts: &Parts<'_>, id: PartId, names: &Names, defined: Option<&str>) -> Option<Vec<Token>> {
    let Raw::Law(name, arity, body) = parts.raw(id) else { return None };
    // What is already told as data is not told as a function.
    if parts.is_data(id) {
        return None;
    }
    let own = symbol_of(name).filter(|own| Some(own.as_str()) == defined || names.is_untaken(own));
    if own.is_none() && !name.is_zero() {
        return None;
    }
    let arity = arity.to_word().filter(|arity| *arity <= SLOTS_MAX).and_then(|arity| usize::try_from(arity).ok())?;
    let mut body = Body { parts, arity, lets: Vec::new(), body, names: Vec::new() };
    body.peel();
    let is_used = body.check()?;
    if (is_used[0] && own.is_none()) || is_used[arity + 1..].contains(&false) {
        return None;
    }
    body.names = variables(&is_used, own.as_deref(), names);
    let mut tokens = Vec::new();
    let parameters = body.names[1..=arity].join(" ");
    tokens.push(Token::Text(Cow::Owned(match (defined, &own) {
        (Some(defined), _) => format!("(def ({defined} {parameters}) "),
        (None, Some(own)) => format!("(fn {own} ({parameters}) "),
        (None, None) => format!("(fn ({parameters}) "),
    })));
    body.write(&mut tokens);
    tokens.push(Token::Text(")".into()));
    Some(tokens)
}

/// Names for slots: those that are not used have none.
fn variables(is_used: &[bool], own: Option<&str>, names: &Names) -> Vec<String> {
    let letters = (0..).map(|index: usize| {
        let letter = char::from(b'a' + u8::try_from(index % 26).unwrap_or_default());
        if index < 26 { letter.to_string() } else { format!("{letter}{}", index / 26) }
    });
    let mut free = letters.filter(|name| names.is_untaken(name) && Some(name.as_str()) != own);
    let mut all = vec![own.unwrap_or("_").to_owned()];
    all.extend(is_used[1..].iter().map(
        |is_used| {
            if *is_used { free.next().unwrap_or_default() } else { "_".to_owned() }
        },
    ));
    all
}

impl Body<'_> {
    /// Takes the lets off the body.
    fn peel(&mut self) {
        while let Raw::App([head, value, rest]) = self.parts.raw(self.body)
            && self.lets.len() < TERMS_MAX
            && self.is_number(*head, 1)
        {
            self.lets.push(*value);
            self.body = *rest;
        }
    }

    fn slot_last(&self) -> Nat {
        Nat::word((self.arity + self.lets.len()) as u64)
    }

    fn is_number(&self, id: PartId, word: u64) -> bool {
        matches!(self.parts.raw(id), Raw::Nat(nat) if *nat == word)
    }

    /// What a part says as a term, if compiling what it says gives it again.
    fn term(&self, id: PartId) -> Option<Term> {
        match self.parts.raw(id) {
            Raw::Nat(nat) if *nat <= self.slot_last() => Some(Term::Slot(usize::try_from(nat.to_word()?).ok()?)),
            Raw::App([head, literal]) if self.is_number(*head, 2) => {
                self.is_quoted(*literal).then_some(Term::Constant(*literal))
            }
            Raw::App([head, _, _]) if self.is_number(*head, 0) => {
                let (mut function, mut args) = (id, Vec::new());
                while let Raw::App([head, inner, arg]) = self.parts.raw(function)
                    && self.is_number(*head, 0)
                {
                    args.push(*arg);
                    function = *inner;
                    if args.len() > TERMS_MAX {
                        return None;
                    }
                }
                args.reverse();
                Some(Term::Call(function, args))
            }
            _ => (!self.is_quoted(id)).then_some(Term::Constant(id)),
        }
    }

    /// Whether a constant has to be quoted.
    fn is_quoted(&self, id: PartId) -> bool {
        match self.parts.raw(id) {
            Raw::Nat(nat) => *nat <= self.slot_last(),
            Raw::App([head, args @ ..]) => is_term(self.parts.sample(*head), args.len()),
            Raw::App([]) => false,
            Raw::Law(..) | Raw::Pin => false,
        }
    }

    /// Which slots are used, if the body can be told.
    fn check(&self) -> Option<Vec<bool>> {
        let mut is_used = vec![false; 1 + self.arity + self.lets.len()];
        // A let that is a constant would be left out, and so would those of a body that is one.
        let is_constant = |id: &PartId| matches!(self.term(*id), Some(Term::Constant(_)) | None);
        if self.lets.iter().any(is_constant) || (!self.lets.is_empty() && is_constant(&self.body)) {
            return None;
        }
        let mut left: Vec<PartId> = self.lets.iter().copied().chain([self.body]).collect();
        let mut count = 0;
        while let Some(id) = left.pop() {
            count += 1;
            if count > TERMS_MAX {
                return None;
            }
            match self.term(id)? {
                Term::Slot(slot) => is_used[slot] = true,
                Term::Call(function, args) => {
                    left.push(function);
                    left.extend(args);
                }
                Term::Constant(_) => {}
            }
        }
        Some(is_used)
    }

    fn write(&self, out: &mut Vec<Token>) {
        let text = |text: &'static str| Token::Text(text.into());
        let mut left: Vec<Result<PartId, Token>> = Vec::new();
        if self.lets.is_empty() {
            left.push(Ok(self.body));
        } else {
            left.extend([Err(text(")")), Ok(self.body), Err(text(") "))]);
            for (index, value) in self.lets.iter().enumerate().rev() {
                let space = if index > 0 { " " } else { "" };
                let name = &self.names[1 + self.arity + index];
                left.extend([Ok(*value), Err(Token::Text(format!("{space}{name} ").into()))]);
            }
            left.push(Err(text("(let (")));
        }
        while let Some(next) = left.pop() {
            let id = match next {
                Ok(id) => id,
                Err(token) => {
                    out.push(token);
                    continue;
                }
            };
            match self.term(id) {
                Some(Term::Slot(slot)) => out.push(Token::Text(self.names[slot].clone().into())),
                Some(Term::Call(function, args)) => self.write_call(function, args, &mut left),
                Some(Term::Constant(id)) => out.push(Token::Part(id)),
                None => {}
            }
        }
    }

    /// A call, or the row that it makes. A function is given no more than it takes at once.
    fn write_call(&self, function: PartId, args: Vec<PartId>, left: &mut Vec<Result<PartId, Token>>) {
        let text = |text: &'static str| Err(Token::Text(text.into()));
        let is_constant = |id: &PartId| matches!(self.term(*id), Some(Term::Constant(_)));
        let takes = match self.term(function) {
            Some(Term::Slot(0)) => self.arity,
            Some(Term::Constant(id)) => {
                let arity = self.parts.sample(id).arity().to_word();
                arity.and_then(|arity| usize::try_from(arity).ok()).unwrap_or(usize::MAX)
            }
            _ => usize::MAX,
        };
        let is_row = matches!(self.term(function), Some(Term::Constant(id)) if self.parts.is_constructor(id))
            && takes == args.len() + 1
            && !args.iter().all(is_constant);
        if is_row {
            left.push(text("]"));
            for (index, arg) in args.iter().enumerate() {
                left.push(Ok(*arg));
                left.extend((index + 1 < args.len()).then(|| text(" ")));
            }
            return left.push(text("["));
        }
        let mut args = args;
        if args.len() > takes {
            let more = args.split_off(takes);
            left.push(text(")"));
            left.extend(more.into_iter().rev().flat_map(|arg| [Ok(arg), text(" ")]));
            left.push(text(")"));
            left.extend(args.into_iter().rev().flat_map(|arg| [Ok(arg), text(" ")]));
            return left.extend([Ok(function), text("((")]);
        }
        left.push(text(")"));
        left.extend(args.into_iter().rev().flat_map(|arg| [Ok(arg), text(" ")]));
        left.extend([Ok(function), text("(")]);
    }
}

/// Whether a name can be given to what is printed.
pub(super) fn is_free(name: &str) -> bool {
    is_name(name) && name != "_" && !crate::compile::is_keyword(name)
}
