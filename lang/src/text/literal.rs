//! Names, numbers and texts: from characters to what they say, and back.

use std::fmt::Write as _;

use num_bigint::BigUint;

use super::error::Problem;
use crate::nat::Nat;

/// Longer decimal numbers are not read: the work grows with the square.
pub(super) const DECIMAL_DIGITS_MAX: usize = 100_000;

/// Larger numbers are printed in hexadecimal.
const DECIMAL_BITS_MAX: u64 = 4096;

/// What a text is cut with when it is printed in part.
pub(crate) const CUT: &str = "…";

/// Whether a character can be part of a name.
pub(super) fn is_name_char(character: char) -> bool {
    !character.is_whitespace() && !character.is_control() && !"()[]{}\";'#".contains(character)
}

/// Whether a text can be read as a name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.chars().all(is_name_char) && text.starts_with(|first: char| !first.is_ascii_digit()) && !text.contains(CUT)
}

/// A number, or why it is none.
pub(super) fn parse_nat(text: &str) -> Result<Nat, Problem> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let is_digit = |byte: &u8| char::from(*byte).is_digit(radix);
    let is_well_formed = digits.bytes().all(|byte| byte == b'_' || is_digit(&byte))
        && digits.bytes().next().is_some_and(|byte| is_digit(&byte))
        && digits.bytes().next_back().is_some_and(|byte| is_digit(&byte))
        && !digits.contains("__");
    if !is_well_formed {
        return Err(Problem::Number);
    }
    let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b'_').collect();
    if radix == 10 && digits.len() > DECIMAL_DIGITS_MAX {
        return Err(Problem::LongDecimal(digits.len()));
    }
    BigUint::parse_bytes(&digits, radix).map(Nat::from).ok_or(Problem::Number)
}

/// A number as it is printed.
pub(super) fn write_nat(nat: &Nat, out: &mut String) {
    let _ = if nat.bit_count() > DECIMAL_BITS_MAX { write!(out, "{nat:#x}") } else { write!(out, "{nat}") };
}

/// The bytes of a text between its quotes, or what is wrong with it and at which offset.
pub(super) fn parse_text(inner: &str) -> Result<Vec<u8>, (usize, Problem)> {
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find(|c: char| c == '\\' || c.is_control()) {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let here = inner.len() - rest.len() + at;
        let mut after = rest[at..].chars();
        let (character, escape) = (after.next(), after.clone().next());
        if let Some(character) = character.filter(|character| *character != '\\') {
            return Err((here, Problem::Control(character.into())));
        }
        let simple = match escape {
            Some('n') => Some(b'\n'),
            Some('r') => Some(b'\r'),
            Some('t') => Some(b'\t'),
            Some('"') => Some(b'"'),
            Some('\\') => Some(b'\\'),
            _ => None,
        };
        after.next();
        match (simple, escape) {
            (Some(byte), _) => bytes.push(byte),
            (None, Some('u')) => {
                let (character, length) = code_point(after.as_str()).ok_or((here, Problem::CodePoint))?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &after.as_str()[length..];
                continue;
            }
            (None, other) => return Err((here, Problem::Escape(other.unwrap_or('"')))),
        }
        rest = after.as_str();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// `{..}`: a character, and how many bytes say so.
fn code_point(text: &str) -> Option<(char, usize)> {
    let (digits, _) = text.strip_prefix('{')?.split_once('}')?;
    let is_short = (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_short)?;
    Some((char::from_u32(code)?, digits.len() + 2))
}

/// Bytes as they are printed: text if they are text.
pub(super) fn write_bytes(bytes: &[u8], out: &mut String) {
    let text = std::str::from_utf8(bytes).ok();
    // What is not meant as text seldom has no byte below a space.
    let Some(text) = text.filter(|text| text.chars().all(|c| !c.is_control() || "\n\r\t".contains(c))) else {
        out.push_str("#x\"");
        bytes.iter().for_each(|byte| {
            let _ = write!(out, "{byte:02x}");
        });
        return out.push('"');
    };
    out.push('"');
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '"' | '\\' => out.extend(['\\', character]),
            character => out.push(character),
        }
    }
    out.push('"');
}

/// The bytes of pairs of hexadecimal digits.
pub(super) fn parse_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if odd.is_empty() { bytes } else { None }
}

/// The name that a number stands for, if it stands for one.
#[must_use]
pub fn symbol_of(nat: &Nat) -> Option<String> {
    // A name is seldom longer; a large number that happens to be one is better off as a number.
    let name = (nat.bit_count() <= 8 * 64).then(|| String::from_utf8(nat.to_bytes_le()))?;
    name.ok().filter(|name| is_name(name))
}
