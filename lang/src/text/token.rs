//! Tokens: what a text is made of, one at a time. Nothing here knows how they nest.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::combinator::{map, recognize, value};
use nom::error::{ErrorKind, ParseError};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use super::error::Problem;
use super::forms::Kind;
use super::literal::{is_name_char, parse_hex, parse_nat, parse_text};
use crate::hash::PinHash;

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// White space, and whether a line ends in it, and whether an empty line is in it.
    Space {
        lines: usize,
    },
    Comment,
    Open(Kind),
    Close(char),
    /// What makes a form of the form after it.
    Prefix(Kind),
    Atom(Kind),
}

/// What is wrong with a token: so many bytes before the end of the text, for so many bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) left: usize,
    pub(super) length: usize,
    pub(super) problem: Problem,
}

impl ParseError<&str> for Fault {
    /// Of a character that begins no token. All that does not begin a token cannot be seen.
    fn from_error_kind(input: &str, _: ErrorKind) -> Self {
        let first = input.chars().next().unwrap_or_default();
        Self { left: input.len(), length: first.len_utf8(), problem: Problem::Control(first.into()) }
    }

    fn append(_: &str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

type Parsed<'a> = IResult<&'a str, Token, Fault>;

/// The first token of a text that is not empty.
pub(super) fn token(input: &str) -> Parsed<'_> {
    alt((space, comment, bracket, sharp, text, number, name)).parse(input)
}

fn fail<T>(at: &str, length: usize, problem: Problem) -> Result<T, nom::Err<Fault>> {
    Err(nom::Err::Failure(Fault { left: at.len(), length, problem }))
}

fn space(input: &str) -> Parsed<'_> {
    let lines = |space: &str| Token::Space { lines: space.matches('\n').count() };
    map(take_while1(char::is_whitespace), lines).parse(input)
}

fn comment(input: &str) -> Parsed<'_> {
    value(Token::Comment, preceded(tag(";"), take_while(|c| c != '\n'))).parse(input)
}

fn bracket(input: &str) -> Parsed<'_> {
    alt((
        value(Token::Open(Kind::List), tag("(")),
        value(Token::Open(Kind::Row), tag("[")),
        value(Token::Open(Kind::Table), tag("{")),
        value(Token::Close(')'), tag(")")),
        value(Token::Close(']'), tag("]")),
        value(Token::Close('}'), tag("}")),
        value(Token::Prefix(Kind::Quote), tag("'")),
    ))
    .parse(input)
}

fn sharp(input: &str) -> Parsed<'_> {
    alt((
        value(Token::Open(Kind::Set), tag("#{")),
        value(Token::Open(Kind::Frozen), tag("#(")),
        value(Token::Prefix(Kind::Discard), tag("#_")),
        bytes,
        pin,
        unknown,
    ))
    .parse(input)
}

fn bytes(input: &str) -> Parsed<'_> {
    let (rest, _) = tag("#x\"").parse(input)?;
    let (after, digits) = take_while(|c| c != '"' && c != '\n').parse(rest)?;
    if !after.starts_with('"') {
        return fail(input, input.len() - after.len(), Problem::UnclosedText);
    }
    match parse_hex(digits) {
        Some(_) => Ok((&after[1..], Token::Atom(Kind::Bytes))),
        None => fail(rest, digits.len().max(1), Problem::Bytes),
    }
}

fn pin(input: &str) -> Parsed<'_> {
    let (rest, _) = tag("#pin{").parse(input)?;
    let (after, hash) = take_while(|c: char| c.is_ascii_alphanumeric()).parse(rest)?;
    match PinHash::from_text(hash) {
        Some(_) if after.starts_with('}') => Ok((&after[1..], Token::Atom(Kind::Pin))),
        _ => fail(rest, hash.len().max(1), Problem::Hash),
    }
}

fn unknown(input: &str) -> Parsed<'_> {
    let (after, _) = recognize(preceded(tag("#"), take_while(is_name_char))).parse(input)?;
    fail(input, input.len() - after.len(), Problem::Sharp)
}

fn text(input: &str) -> Parsed<'_> {
    let (rest, _) = tag("\"").parse(input)?;
    let mut is_escaped = false;
    let end = rest.bytes().position(|byte| {
        let ends = (byte == b'"' && !is_escaped) || byte == b'\n';
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    let Some(end) = end.filter(|end| rest.as_bytes()[*end] == b'"') else {
        let line = input.lines().next().unwrap_or_default();
        return fail(input, line.len(), Problem::UnclosedText);
    };
    match parse_text(&rest[..end]) {
        Ok(_) => Ok((&rest[end + 1..], Token::Atom(Kind::Text))),
        Err((at, problem)) => fail(&rest[at..], 2, problem),
    }
}

fn number(input: &str) -> Parsed<'_> {
    if !input.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(nom::Err::Error(Fault::from_error_kind(input, ErrorKind::Digit)));
    }
    let (rest, digits) = take_while1(is_name_char).parse(input)?;
    match parse_nat(digits) {
        Ok(_) => Ok((rest, Token::Atom(Kind::Nat))),
        Err(problem) => fail(input, digits.len(), problem),
    }
}

fn name(input: &str) -> Parsed<'_> {
    value(Token::Atom(Kind::Name), take_while1(is_name_char)).parse(input)
}
