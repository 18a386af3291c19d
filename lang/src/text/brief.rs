//! What there is room for of a value: one form, of the first parts and levels of it, with `…` for what is left out. The work is
//! that of what is shown, except that sets are looked through.

use std::borrow::Cow;

use super::function::{Token, function};
use super::layout::format;
use super::literal::{CUT, write_bytes, write_nat};
use super::print::{Names, write_law};
use super::unique::Parts;
use crate::value::{Shape, Value};

/// The beginning of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// One form. If something is left out, it cannot be read back.
    pub text: String,
    /// Whether something is left out.
    pub is_cut: bool,
}

/// How many elements of a row, and bytes of a text or number, are shown.
pub(crate) const ELEMENTS_MAX: usize = 100;
pub(crate) const BYTES_MAX: usize = 1000;
/// How many parts are shown in all.
pub(crate) const PARTS_MAX: usize = 2000;

/// Larger laws are told by their parts.
const FUNCTION_PARTS_MAX: usize = 500;

enum Piece<'a> {
    Part(&'a Value, usize),
    Text(Cow<'static, str>),
}

/// A law as a function, if it is small.
fn as_function<'a>(law: &'a Value, names: &Names) -> Option<(Vec<Token>, Parts<'a>)> {
    if !law.has_fewer_parts(FUNCTION_PARTS_MAX) {
        return None;
    }
    let parts = Parts::of(law);
    let tokens = function(&parts, parts.top(), names, None).filter(|tokens| tokens.len() <= FUNCTION_PARTS_MAX)?;
    Some((tokens, parts))
}

/// What there is room for of a value, as one form, not deeper than so many levels.
#[must_use]
pub fn brief(value: &Value, names: &Names, width: usize, depth: usize) -> Brief {
    let mut out = String::new();
    let mut is_cut = false;
    let mut parts = 0;
    let mut left = vec![Piece::Part(value, 0)];
    while let Some(piece) = left.pop() {
        let (part, level) = match piece {
            Piece::Part(part, level) => (part, level),
            Piece::Text(text) => {
                is_cut |= text == CUT;
                out.push_str(&text);
                continue;
            }
        };
        parts += 1;
        let bytes = match part {
            Value::Nat(nat) => nat.byte_count(),
            Value::Law(law) if part.as_bar().is_none() => law.name().byte_count().max(law.arity().byte_count()),
            _ => 0,
        };
        let is_inner = matches!(part, Value::Law(_) | Value::App(_));
        if parts > PARTS_MAX || bytes > BYTES_MAX || (is_inner && level > depth) {
            left.push(Piece::Text(CUT.into()));
            continue;
        }
        let (mark, close, elements): (_, _, Vec<&Value>) = match (part, part.shape()) {
            (Value::Nat(nat), _) => {
                write_nat(nat, &mut out);
                continue;
            }
            (Value::Pin(pin), _) => {
                names.write_pin(pin.hash(), &mut out);
                continue;
            }
            (_, Some(Shape::Bar(bytes))) => {
                let mut shown = bytes.as_slice();
                if bytes.len() > BYTES_MAX {
                    // Not in the middle of a character.
                    let end = (BYTES_MAX - 3..=BYTES_MAX).rev().find(|end| bytes[*end] & 0xc0 != 0x80);
                    shown = &bytes[..end.unwrap_or(BYTES_MAX)];
                    left.extend([Piece::Text(CUT.into()), Piece::Text(" ".into())]);
                }
                write_bytes(shown, &mut out);
                continue;
            }
            (_, Some(Shape::Row(row))) => ("[", "]", row.iter().take(ELEMENTS_MAX + 1).collect()),
            (_, Some(Shape::Set(keys))) => ("#{", "}", keys.iter().take(ELEMENTS_MAX + 1).collect()),
            (_, Some(Shape::Tab(keys, values))) => {
                let pairs = keys.iter().zip(values.iter()).flat_map(|(key, value)| [key, value]);
                ("{", "}", pairs.take(ELEMENTS_MAX + 1).collect())
            }
            (Value::Law(law), _) => {
                if let Some((tokens, parts)) = as_function(part, names) {
                    left.extend(tokens.into_iter().rev().map(|token| match token {
                        Token::Text(text) => Piece::Text(text),
                        Token::Part(id) => Piece::Part(parts.sample(id), level + 1),
                    }));
                    continue;
                }
                write_law(law.name(), law.arity(), &mut out);
                ("", ")", vec![law.body()])
            }
            (Value::App(app), _) => {
                let parts = std::iter::once(app.head()).chain(app.args());
                ("#(", ")", parts.take(ELEMENTS_MAX + 1).collect())
            }
        };
        out.push_str(mark);
        left.push(Piece::Text(close.into()));
        for (index, element) in elements.into_iter().enumerate().rev() {
            let piece = if index == ELEMENTS_MAX { Piece::Text(CUT.into()) } else { Piece::Part(element, level + 1) };
            left.push(piece);
            left.extend((index > 0).then_some(Piece::Text(" ".into())));
        }
    }
    let text = format(&out, width).map(|text| text.trim_end().to_owned()).unwrap_or(out);
    Brief { text, is_cut }
}
